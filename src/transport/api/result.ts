/**
 * `GET /v2/tasks/{id}/result`: waits for the end of a task, then answers with the whole of it. On the front thread; holds
 * a subscription and a timer while it waits, no text.
 */
import type { TaskView } from '../../actors/serving/task-directory.ts';
import type { Handler } from '../http/application.ts';
import type { Exchange } from '../http/exchange.ts';
import type { TokenJson } from '../stream/token-frames.ts';
import { answerOf } from './answer.ts';
import { httpStatus } from './errors.ts';
import type { FrontParts } from './front-parts.ts';
import { type QueryFields, queryOf } from './query.ts';
import { taskJson } from './task-json.ts';
import { eventsExpired, findTask } from './task-lookup.ts';

export const resultQuery = {
	wait_ms: { kind: 'integer', minimum: 0, maximum: 60_000, default: 30_000, description: 'How long to wait for the end' },
} as const satisfies QueryFields;

export function resultHandler(parts: FrontParts): Handler {
	return (exchange) => {
		const query = queryOf(exchange.request.query, resultQuery);
		if (!query.ok) {
			exchange.fail(query.failure);
			return null;
		}
		findTask(parts, exchange.principal, exchange.params['id'] ?? '', 'follow', (found) => {
			exchange.guarded(() => {
				if (!found.ok) exchange.fail(found.failure);
				else if (found.value.log.ended) answer(exchange, found.value, parts);
				else if (!exchange.sink.closed) waitFor(exchange, found.value, query.value.wait_ms, parts);
			});
		});
		return null;
	};
}

/** Answers at the end of the task or of the waiting, whichever is first. */
function waitFor(exchange: Exchange, task: TaskView, waitMs: number, parts: FrontParts): void {
	let waiting = true;
	const finish = (): void => {
		if (!waiting) return;
		waiting = false;
		unsubscribe();
		stopTimer();
		exchange.guarded(() => answer(exchange, task, parts));
	};
	// the log may not be read while it tells of a move; one that is forgotten before its end will tell of none
	const unsubscribe = task.log.subscribe(() => {
		if (waiting) parts.clock.soon(() => (task.log.ended || task.log.forgotten ? finish() : undefined));
	});
	const stopTimer = parts.clock.after(waitMs, finish);
	exchange.sink.onAborted = () => {
		waiting = false;
		unsubscribe();
		stopTimer();
	};
}

function answer(exchange: Exchange, task: TaskView, parts: FrontParts): void {
	if (task.failure !== null) return exchange.fail(task.failure, [], undefined, { task_id: task.request.taskId });
	// also when a copy of another front thread's log was given up: the task may run on, and whoever asks again hears how it is
	if (!task.log.ended) return exchange.json(httpStatus.accepted, taskJson(task, parts.clock));
	// forgotten between its end and this turn: no text is not an empty text
	if (task.log.forgotten) return exchange.fail(eventsExpired(task.request.taskId));
	exchange.json(httpStatus.ok, { ...taskJson(task, parts.clock), ...outputOf(task) });
}

function outputOf(task: TaskView): Record<string, unknown> {
	// One number a text, in the order of the inputs.
	if (task.vectors !== null && task.request.workload === 'rerank') return { scores: task.vectors.map(([score]) => score) };
	if (task.vectors !== null) return { vectors: task.vectors.map((vector) => [...vector]) };
	const { text, reasoning, toolCalls, logprobs } = answerOf(task.log);
	return {
		text,
		...(reasoning === '' ? {} : { reasoning }),
		...(toolCalls.length === 0 ? {} : { tool_calls: toolCalls }),
		...(task.request.sampling.logprobs ? { logprobs: logprobs.map(scoreJson) } : {}),
	};
}

function scoreJson({ t, id, logprob, top_logprobs: tops }: TokenJson): Record<string, unknown> {
	const topJson = tops?.map(({ t: token, ...top }) => ({ token, ...top }));
	return { token: t, id, logprob, ...(topJson === undefined ? {} : { top_logprobs: topJson }) };
}
