/**
 * `GET /v2/tasks/{id}/events`: checks where the reader wants to begin, then hands the response to a watcher. On the front
 * thread.
 */
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { TaskView } from '../../actors/serving/task-directory.ts';
import type { Principal } from '../auth/principal.ts';
import type { Handler } from '../http/application.ts';
import type { Exchange } from '../http/exchange.ts';
import { resumePoint } from '../stream/resume-point.ts';
import { emptyComment, sseHeaders } from '../stream/sse.ts';
import { budgetHeaders } from './budgets.ts';
import { httpStatus } from './errors.ts';
import { shown } from './field-problems.ts';
import type { FrontParts } from './front-parts.ts';
import { type QueryFields, queryOf } from './query.ts';
import { findTask } from './task-lookup.ts';

export const eventsQuery = {
	verbose: { kind: 'flag', description: 'Adds sentences for people to `metrics`' },
} as const satisfies QueryFields;

export function eventsHandler(parts: FrontParts): Handler {
	return (exchange) => {
		const query = queryOf(exchange.request.query, eventsQuery);
		if (!query.ok) {
			exchange.fail(query.failure);
			return null;
		}
		findTask(parts, exchange.principal, exchange.params['id'] ?? '', 'follow', (found) => {
			exchange.guarded(() => {
				const problem = found.ok ? attach(parts, exchange, found.value, query.value.verbose) : found.failure;
				if (problem !== null) exchange.fail(problem);
			});
		});
		return null;
	};
}

function attach(parts: FrontParts, exchange: Exchange, task: TaskView, verbose: boolean): Failure | null {
	const id = exchange.request.header('last-event-id') ?? '';
	const after = resumePoint(task.log, 'Last-Event-ID', id === '' ? '0' : id, shown(id));
	if (!after.ok) return after.failure;
	if (after.value > 0 && task.log.ended && after.value === task.log.lastSeq) {
		// Nothing will ever follow: with 204 a browser's EventSource stops asking.
		exchange.empty(httpStatus.noContent);
		return null;
	}
	const crowded = watchersFull(parts, exchange.principal);
	if (crowded !== null) return crowded;
	exchange.sink.start(httpStatus.ok, exchange.headers([...sseHeaders, ...budgetHeaders(task.budget)]), emptyComment);
	parts.watchers.attach(task, exchange.sink, after.value, verbose, exchange.principal.keyName);
	return null;
}

/** Null: one more may watch. */
export function watchersFull({ watchers }: FrontParts, { keyName }: Principal): Failure | null {
	const count = watchers.countOf(keyName);
	if (count < watchers.limits.watchersMax) return null;
	return failure(
		'ADMISSION_REJECT',
		`${count} event streams are open${keyName === null ? '' : ' with this key'}, the most that is allowed`,
		{
			retryAfterMs: 1000,
			policyLabel: 'watchers',
		},
	);
}

/** The stream of a task that was just opened, as the answer to its submission. */
export function streamOpened(parts: FrontParts, exchange: Exchange, task: TaskView): void {
	const { taskId } = task.request;
	if (exchange.sink.closed) {
		// It was watched by a client that is gone.
		task.ref.tell({ type: 'watcher-attached' });
		task.ref.tell({ type: 'watcher-gone' });
		return;
	}
	exchange.sink.start(
		httpStatus.ok,
		exchange.headers([...sseHeaders, ...budgetHeaders(task.budget), ['X-Task-Id', taskId], ['Location', `/v2/tasks/${taskId}`]]),
		emptyComment,
	);
	parts.watchers.attach(task, exchange.sink, 0, false, exchange.principal.keyName);
}

/** Whether the client would rather have the events than the 202. */
export function wantsEvents(exchange: Exchange): boolean {
	return /(?:^|,)\s*text\/event-stream\s*(?:[;,]|$)/i.test(exchange.request.header('accept') ?? '');
}
