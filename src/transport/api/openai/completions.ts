/**
 * `POST /v1/chat/completions` and `POST /v1/completions`: each answer is a task as any other, told in the shape of OpenAI, whole or as a stream. On
 * the front thread.
 */
import { type Failure, failure } from '../../../actors/serving/failure.ts';
import type { TaskView } from '../../../actors/serving/task-directory.ts';
import type { TaskRequest } from '../../../actors/serving/task-request.ts';
import type { Handler } from '../../http/application.ts';
import type { Exchange } from '../../http/exchange.ts';
import { canceled, DialectFeed } from '../../stream/dialect-feed.ts';
import { emptyComment, sseHeaders } from '../../stream/sse.ts';
import { budgetHeaders } from '../budgets.ts';
import { httpStatus } from '../errors.ts';
import { watchersFull } from '../events.ts';
import { checkerOf } from '../field-problems.ts';
import { foreignHandler, nativeRequest } from '../foreign-body.ts';
import type { FrontParts } from '../front-parts.ts';
import type { Parsed } from '../json-body.ts';
import { seedMax } from '../schemas.ts';
import { whenEnded } from '../task-group.ts';
import { eventsExpired } from '../task-lookup.ts';
import { taskIdHeader, timingHeaders } from '../task-timing.ts';
import type { AnswerContext } from './answer-context.ts';
import { ChatDialect } from './chat-dialect.ts';
import { chatRequest, completionRequest, type GenerationRequest } from './chat-request.ts';
import { chatBodySchema, completionBodySchema } from './chat-schemas.ts';
import { CompletionDialect } from './completion-dialect.ts';
import { wholeChat, wholeCompletion } from './whole-answer.ts';

const checkChat = checkerOf(chatBodySchema);
const checkCompletion = checkerOf(completionBodySchema);

export function chatCompletionsHandler(parts: FrontParts): Handler {
	return generationHandler(parts, (json) => {
		const checked = checkChat(json);
		return checked.ok ? chatRequest(checked.value) : checked;
	});
}

export function completionsHandler(parts: FrontParts): Handler {
	return generationHandler(parts, (json) => {
		const checked = checkCompletion(json);
		return checked.ok ? completionRequest(checked.value) : checked;
	});
}

function generationHandler(parts: FrontParts, read: (json: unknown) => Parsed<GenerationRequest>): Handler {
	return foreignHandler(parts, {
		read,
		tasks(exchange, request) {
			const crowded = request.stream ? watchersFull(parts, exchange.principal) : null;
			return crowded === null ? tasksOf(parts, exchange, request) : { ok: false, failure: crowded };
		},
		answer(exchange, request, tasks, arrivedAt) {
			answer(parts, exchange, { request, tasks, arrivedAt, now: () => parts.clock.now(), wallNow: () => parts.clock.wallNow() });
		},
	});
}

/** A task for each answer. The first has the client's idempotency key, the others names that follow from it. */
function tasksOf(parts: FrontParts, exchange: Exchange, { bodies, n, path }: GenerationRequest): Parsed<readonly TaskRequest[]> {
	const tasks: TaskRequest[] = [];
	for (const body of bodies) {
		const base = nativeRequest(parts, exchange, body);
		if (!base.ok) return base;
		for (let choice = 0; choice < n; choice += 1) {
			const request = base.value;
			const { idempotencyKey } = request;
			// As a rule there is one, without a key: it is as it came.
			if (choice === 0 && request.bodyHash === '') {
				tasks.push(request);
				continue;
			}
			tasks.push({
				...request,
				taskId: choice === 0 ? request.taskId : parts.taskIds.next(),
				seed: (request.seed + choice) % (seedMax + 1),
				idempotencyKey: idempotencyKey === null || tasks.length === 0 ? idempotencyKey : `${idempotencyKey} ${tasks.length}`,
				bodyHash: request.bodyHash === '' ? '' : `${request.bodyHash} ${path} ${bodies.length} ${n}`,
			});
		}
	}
	return { ok: true, value: tasks };
}

function answer(parts: FrontParts, exchange: Exchange, context: AnswerContext): void {
	const { request, tasks } = context;
	if (!request.stream) {
		whenEnded(parts, exchange, tasks, () => {
			const problem = problemOf(tasks);
			const timing = timingHeaders(tasks, context.arrivedAt, context.now());
			if (problem !== null) return exchange.fail(problem, timing);
			const whole = request.path === 'chat' ? wholeChat(context) : wholeCompletion(context);
			exchange.json(httpStatus.ok, whole, [...budgetHeaders(tasks[0]?.budget ?? null), ...timing]);
		});
		return;
	}
	const headers = [...sseHeaders, ...budgetHeaders(tasks[0]?.budget ?? null), taskIdHeader(tasks)];
	exchange.sink.start(httpStatus.ok, exchange.headers(headers), emptyComment);
	const dialect = request.path === 'chat' ? new ChatDialect(context) : new CompletionDialect(context);
	parts.watchers.watch(new DialectFeed(tasks, dialect), exchange.sink, exchange.principal.keyName);
}

/** Why an answer of these tasks cannot be given, or is none. */
export function problemOf(tasks: readonly TaskView[]): Failure | null {
	for (const { failure: problem, finishReason, log, request } of tasks) {
		if (problem !== null) return problem;
		if (finishReason === 'canceled') return canceled();
		if (log.forgotten) return eventsExpired(request.taskId);
		if (!log.ended) return failure('WORKER_RESET', 'the thread that had the task is gone');
	}
	return null;
}
