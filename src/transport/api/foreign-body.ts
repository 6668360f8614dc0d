/**
 * What the handlers of other APIs begin with: is the door open, is the body one that they know, may its tasks be. A refusal is counted and logged
 * as one of our own, and answered in the shape of the path. On the front thread.
 */
import type { Failure } from '../../actors/serving/failure.ts';
import type { TaskView } from '../../actors/serving/task-directory.ts';
import type { TaskRequest } from '../../actors/serving/task-request.ts';
import type { Handler } from '../http/application.ts';
import type { Exchange } from '../http/exchange.ts';
import type { FrontParts } from './front-parts.ts';
import { type Parsed, parseJsonBody } from './json-body.ts';
import type { TaskBody } from './schemas.ts';
import { admissionClosed, refusedHere, requestFrom } from './submit.ts';
import { leaveGroup, openGroup } from './task-group.ts';

/** A request as its API reads it, the tasks that it is, and how they are told. */
export interface ForeignRequest<R> {
	read(json: unknown): Parsed<R>;
	/** What has to be looked up before. `use`, once, before it returns or later. Default: nothing. */
	prepare?(exchange: Exchange, request: R, use: (prepared: Parsed<R>) => void): void;
	/** One at least; `arrivedAt` is on the clock of the front. */
	tasks(exchange: Exchange, request: R): Parsed<readonly TaskRequest[]>;
	/** All are open, and the client is there. */
	answer(exchange: Exchange, request: R, tasks: readonly TaskView[], arrivedAt: number): void;
}

export function foreignHandler<R>(parts: FrontParts, foreign: ForeignRequest<R>): Handler {
	return (exchange) => {
		const arrivedAt = parts.clock.now();
		const closed = admissionClosed(parts, exchange.correlationId);
		if (closed !== null) {
			exchange.fail(closed);
			return null;
		}
		const refuse = (why: Failure): void => exchange.fail(refusedHere(parts, exchange.correlationId, why));
		const open = (request: Parsed<R>): void => {
			if (!request.ok) return refuse(request.failure);
			const tasks = foreign.tasks(exchange, request.value);
			if (!tasks.ok) return refuse(tasks.failure);
			openGroup(parts, tasks.value, (opened) => {
				exchange.guarded(() => {
					if (!opened.ok) exchange.fail(opened.failure);
					else if (exchange.sink.closed) leaveGroup(opened.tasks);
					else foreign.answer(exchange, request.value, opened.tasks, arrivedAt);
				});
			});
		};
		const take = (body: Buffer): void => {
			const json = parseJsonBody(body);
			if (!json.ok) return refuse(json.failure);
			const request = foreign.read(withoutNulls(json.value));
			if (!request.ok || foreign.prepare === undefined) return open(request);
			foreign.prepare(exchange, request.value, (prepared) => {
				exchange.guarded(() => open(prepared));
			});
		};
		return exchange.body(take, parts.options.bodyBytesMax, (why) => refusedHere(parts, exchange.correlationId, why));
	};
}

/** Null is what many clients send for what they do not say. */
export function withoutNulls(value: unknown): unknown {
	if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
	let any = false;
	for (const each of Object.values(value)) any ||= each === null;
	return !any ? value : Object.fromEntries(Object.entries(value).filter(([, each]) => each !== null));
}

/** A native request of a client of another API: cancelled the moment that it leaves. */
export function nativeRequest(parts: FrontParts, exchange: Exchange, body: TaskBody): Parsed<TaskRequest> {
	return requestFrom(parts, body, {
		correlationId: exchange.correlationId,
		idempotencyKey: exchange.request.header('idempotency-key'),
		principal: exchange.principal,
		nameless: true,
		leaves: true,
	});
}
