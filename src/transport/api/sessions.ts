/**
 * `/v2/sessions/{id}`: what links the tasks of a conversation, and what they may still use. On the front thread; the sessions
 * themselves are on the control thread. Never a prompt, never an output.
 */
import { failure } from '../../actors/serving/failure.ts';
import type { BudgetLeft, SessionOperation, SessionTold, SessionView } from '../../actors/serving/session-messages.ts';
import { isOperator } from '../auth/principal.ts';
import type { Handler } from '../http/application.ts';
import type { Exchange } from '../http/exchange.ts';
import { rounded } from './budgets.ts';
import { httpStatus } from './errors.ts';
import { checkerOf } from './field-problems.ts';
import { askFrom, type FrontParts, unanswered } from './front-parts.ts';
import { parseJsonBody } from './json-body.ts';
import { sessionBodySchema } from './schemas.ts';

const sessionMs = 5_000;
const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const checkBody = checkerOf(sessionBodySchema);

export function getSessionHandler(parts: FrontParts): Handler {
	return (exchange) => {
		useSession(parts, exchange, { kind: 'look' }, (session) => exchange.json(httpStatus.ok, sessionJson(session)));
		return null;
	};
}

/** Its tasks go on; what they still use is nobody's budget. */
export function deleteSessionHandler(parts: FrontParts): Handler {
	return (exchange) => {
		useSession(parts, exchange, { kind: 'forget' }, () => exchange.empty(httpStatus.noContent));
		return null;
	};
}

/** Opens the session when nobody has used it. */
export function putSessionHandler(parts: FrontParts): Handler {
	return (exchange) =>
		exchange.body((bytes) => {
			const json = parseJsonBody(bytes);
			if (!json.ok) return exchange.fail(json.failure);
			const body = checkBody(json.value);
			if (!body.ok) return exchange.fail(body.failure);
			const { tokens, time_ms: timeMs, cost, gpu_ms: gpuMs } = body.value.budgets;
			const budgets = Object.fromEntries(
				Object.entries({ tokens, timeMs, cost, gpuMs }).filter(([, value]) => value !== undefined),
			) as Partial<BudgetLeft>;
			useSession(parts, exchange, { kind: 'set-budgets', budgets }, (session) => exchange.json(httpStatus.ok, sessionJson(session)));
		}, parts.options.bodyBytesMax);
}

function useSession(parts: FrontParts, exchange: Exchange, operation: SessionOperation, use: (session: SessionView) => void): void {
	const id = exchange.params['id'] ?? '';
	if (!uuid.test(id)) return exchange.fail(failure('NOT_FOUND', 'there is no such session; the id of a session is a UUID'));
	const dispatcher = parts.dispatcher();
	if (dispatcher === null) return exchange.fail(unanswered('the scheduler', 'closed'));
	const sessionId = id.toLowerCase();
	const tenant = isOperator(exchange.principal) ? null : exchange.principal.tenant;
	askFrom<SessionTold>(
		parts,
		sessionMs,
		(replyTo) => dispatcher.tell({ type: 'use-session', sessionId, tenant, operation, replyTo }),
		(answer) => {
			exchange.guarded(() => {
				if (!answer.ok) return exchange.fail(unanswered('the scheduler', answer.reason));
				const { session, failure: problem } = answer.reply;
				if (problem !== null) return exchange.fail(problem);
				if (session === null) exchange.fail(failure('NOT_FOUND', 'there is no such session, or nobody has used it for long'));
				else use(session);
			});
		},
	);
}

function sessionJson({ sessionId, ttlMsRemaining, turns, kvWarm, kvBytes, budget }: SessionView) {
	const left = rounded(budget);
	return {
		session_id: sessionId,
		ttl_ms_remaining: ttlMsRemaining,
		turns,
		kv_bytes: kvBytes,
		kv_warmth: kvWarm,
		tokens_budget_remaining: left.tokens,
		time_budget_remaining_ms: left.timeMs,
		cost_budget_remaining: left.cost,
		gpu_budget_remaining_ms: left.gpuMs,
	};
}
