/** `/v2/ws`: takes the connection, and gives its session what the HTTP paths do with tasks. On the front thread. */
import { failure } from '../../actors/serving/failure.ts';
import type { Principal } from '../auth/principal.ts';
import type { UpgradeHandler } from '../http/application.ts';
import { type SocketActions, SocketSession } from '../stream/socket-session.ts';
import { watchersFull } from './events.ts';
import type { FrontParts } from './front-parts.ts';
import { admissionClosed, openTask, refusedHere, requestFrom } from './submit.ts';
import { acceptedJson } from './task-json.ts';
import { findTask } from './task-lookup.ts';
import { cancelTask } from './tasks.ts';

export const webSocketPath = '/v2/ws';
export const subprotocol = 'orchestratord.v2';

/** Takes clients that offer the subprotocol, and those that offer none. */
export function webSocketHandler(parts: FrontParts): UpgradeHandler {
	return (exchange) => {
		const offered = exchange.request.header('sec-websocket-protocol');
		const protocols = (offered ?? '').split(',').map((each) => each.trim());
		if (offered !== undefined && !protocols.includes(subprotocol)) {
			exchange.fail(failure('INVALID_PARAMS', `Sec-WebSocket-Protocol does not offer ${subprotocol}, the only one here`));
			return null;
		}
		return {
			headers: exchange.headers(),
			protocol: offered === undefined ? null : subprotocol,
			open: (socket) => new SocketSession(socket, exchange.correlationId, actionsOf(parts, exchange.principal), parts.watchers),
		};
	};
}

/** With the key that the connection was opened with, which is asked for anew each time: what it watches already goes on without. */
function actionsOf(parts: FrontParts, opener: Principal): SocketActions {
	return {
		keyName: opener.keyName,
		draining: parts.draining,
		find(taskId, use) {
			const known = parts.readmit(opener);
			if (known.ok) findTask(parts, known.principal, taskId, 'follow', use);
			else use(known);
		},
		watchesRefused: () => watchersFull(parts, opener),
		submit(body, correlationId, opened, refused) {
			const known = parts.readmit(opener);
			if (!known.ok) return refused(known.failure);
			const closed = admissionClosed(parts, correlationId);
			if (closed !== null) return refused(closed);
			const request = requestFrom(parts, body, { correlationId, idempotencyKey: undefined, principal: known.principal });
			if (!request.ok) return refused(refusedHere(parts, correlationId, request.failure));
			openTask(parts, request.value, (answer) => {
				if (answer.ok) opened(answer.opened.task, acceptedJson(answer.opened));
				else refused(answer.failure);
			});
		},
		cancel(taskId, done, refused) {
			const known = parts.readmit(opener);
			if (known.ok) cancelTask(parts, known.principal, taskId, done, refused);
			else refused(known.failure);
		},
	};
}
