/**
 * `POST /v2/tasks` and `POST /v2/tasks/preview`: from a body to the 202, or to what would become of it. On the front
 * thread; holds nothing of a task once it is opened.
 */
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { PlacementPreview, TaskSummary } from '../../actors/serving/messages.ts';
import { prefixesOf } from '../../actors/serving/prefix.ts';
import { featuresNeeded, promptBytesMax, requestBytes } from '../../actors/serving/prompt-bounds.ts';
import { keyAsk } from '../../actors/serving/rate-limit.ts';
import type { Opening } from '../../actors/serving/task-directory.ts';
import type { TaskRequest } from '../../actors/serving/task-request.ts';
import type { Handler } from '../http/application.ts';
import type { Exchange } from '../http/exchange.ts';
import { budgetHeaders } from './budgets.ts';
import { decisionJson } from './decision-json.ts';
import { envelopeOf, httpStatus } from './errors.ts';
import { streamOpened, wantsEvents, watchersFull } from './events.ts';
import { askFrom, type FrontParts, unanswered } from './front-parts.ts';
import { type Parsed, parseJsonBody } from './json-body.ts';
import { preparationOf } from './preparation.ts';
import { standingJson } from './standing.ts';
import { type TaskHeaders, taskRequestOf } from './task-body.ts';
import { acceptedJson } from './task-json.ts';

/** Counting a prompt and asking the control thread take well under a second; this is for a thread that is lost. */
const admissionMs = 10_000;
const previewMs = 2000;

export function submitHandler(parts: FrontParts): Handler {
	return (exchange) => {
		const streams = wantsEvents(exchange);
		const closed = admissionClosed(parts, exchange.correlationId) ?? (streams ? watchersFull(parts, exchange.principal) : null);
		if (closed !== null) {
			exchange.fail(closed);
			return null;
		}
		const take = (body: Buffer): void => {
			const request = requestOf(parts, exchange, body);
			if (!request.ok) return exchange.fail(refusedHere(parts, exchange.correlationId, request.failure));
			openTask(parts, request.value, (answer) => {
				exchange.guarded(() => {
					if (answer.ok && streams) streamOpened(parts, exchange, answer.opened.task);
					else if (answer.ok) {
						const accepted = acceptedJson(answer.opened);
						exchange.json(httpStatus.accepted, accepted, budgetHeaders(answer.opened.task.budget));
					} else exchange.fail(answer.failure);
				});
			});
		};
		return exchange.body(take, parts.options.bodyBytesMax, (why) => refusedHere(parts, exchange.correlationId, why));
	};
}

export function previewHandler(parts: FrontParts): Handler {
	return (exchange) =>
		exchange.body((body) => {
			const request = requestOf(parts, exchange, body);
			if (!request.ok) return exchange.fail(request.failure);
			const { keyName } = request.value;
			const limited = parts.rates.check(keyName, keyAsk(request.value, parts.directory.pools));
			if (limited === null) preview(parts, exchange, request.value);
			else exchange.json(httpStatus.ok, { feasible: false, error: envelopeOf(limited, exchange.correlationId), decision: null });
		}, parts.options.bodyBytesMax);
}

function requestOf(parts: FrontParts, exchange: Exchange, body: Buffer): Parsed<TaskRequest> {
	const json = parseJsonBody(body);
	if (!json.ok) return json;
	return requestFrom(parts, json.value, {
		correlationId: exchange.correlationId,
		idempotencyKey: exchange.request.header('idempotency-key'),
		principal: exchange.principal,
	});
}

/** The same for every way in. */
export function requestFrom(parts: FrontParts, json: unknown, headers: TaskHeaders): Parsed<TaskRequest> {
	const { onDisconnect, disconnectGraceMs } = parts.options;
	return taskRequestOf(json, headers, {
		onDisconnect,
		disconnectGraceMs: headers.leaves === true ? 0 : disconnectGraceMs,
		newTaskId: () => parts.taskIds.next(),
	});
}

/** Why no new task gets in right now; null when it may. */
export function admissionClosed(parts: FrontParts, correlationId: string): Failure | null {
	const closed = parts.gate();
	return closed === null ? null : refusedHere(parts, correlationId, closed);
}

/** Counted and logged here because no task and no actor has seen it. Its words may quote the request: they are for the client. */
export function refusedHere(parts: FrontParts, correlationId: string, why: Failure): Failure {
	const { telemetry } = parts.system.host;
	const { code } = why;
	telemetry.count('tasks_rejected_total', { engine: '', reason: code });
	telemetry.log('info', 'task-refused', { correlation_id: correlationId, code, human: `Refused before it became a task: ${code}.` });
	return why;
}

type Opened = Extract<Opening, { readonly type: 'task-opened' }>;

/** `answer` is called exactly once. */
export function openTask(
	parts: FrontParts,
	request: TaskRequest,
	answer: (answer: { readonly ok: true; readonly opened: Opened } | { readonly ok: false; readonly failure: Failure }) => void,
): void {
	askFrom<Opening>(
		parts,
		admissionMs,
		(replyTo) => parts.tasks.tell({ type: 'open-task', request, replyTo }),
		(reply) => {
			if (!reply.ok) answer({ ok: false, failure: refusedHere(parts, request.correlationId, unanswered('the scheduler', reply.reason)) });
			else if (reply.reply.type === 'task-refused') answer({ ok: false, failure: reply.reply.failure });
			else answer({ ok: true, opened: reply.reply });
		},
		// the client was told that it is not admitted: nobody knows of this task
		(late) => {
			if (late.type === 'task-opened' && late.fresh) late.task.ref.tell({ type: 'cancel', reason: 'client', replyTo: null });
		},
	);
}

function preview(parts: FrontParts, exchange: Exchange, request: TaskRequest): void {
	const dispatcher = parts.dispatcher();
	if (dispatcher === null) return exchange.fail(unanswered('the scheduler', 'closed'));
	const summary = summaryOf(request, parts);
	askFrom<PlacementPreview>(
		parts,
		previewMs,
		(replyTo) => dispatcher.tell({ type: 'preview', summary, replyTo }),
		(answer) => {
			exchange.guarded(() => {
				if (!answer.ok) return exchange.fail(unanswered('the scheduler', answer.reason));
				exchange.json(httpStatus.ok, previewJson(answer.reply, request, exchange.correlationId));
			});
		},
	);
}

function previewJson(preview: PlacementPreview, request: TaskRequest, correlationId: string) {
	const decision = decisionJson(preview.decision);
	if (preview.type === 'would-refuse') return { feasible: false, error: envelopeOf(preview.failure, correlationId), decision };
	return {
		feasible: true,
		pool_id: preview.poolId,
		engine: preview.engine,
		...standingJson(preview.standing),
		queue_depth: preview.standing.queueDepth,
		preparation: { steps: preparationOf(preview.poolId, preview.standing.warmUp) },
		...(request.deadlineMs === null || preview.onTimeProbability === null ? {} : { on_time_probability: preview.onTimeProbability }),
		decision,
	};
}

/** As a Task would send it, but for the count of its prompt: what only a tokenizer can tell is left to the real run. */
function summaryOf(request: TaskRequest, parts: FrontParts): TaskSummary {
	const now = parts.clock.now();
	return {
		taskId: request.taskId,
		sessionId: request.sessionId,
		correlationId: request.correlationId,
		workload: request.workload,
		modelRef: request.modelRef,
		engine: request.engine,
		priority: request.priority,
		tenant: request.tenant,
		promptTokens: null,
		promptBytes: promptBytesMax(request, parts.directory.pools),
		ctx: request.ctx,
		maxTokens: request.maxTokens,
		expectedTokens: request.expectedTokens,
		deadlineAt: request.deadlineMs === null ? null : now + request.deadlineMs,
		admittedAt: now,
		strict: request.strict,
		samplerProfileVersion: request.samplerProfileVersion,
		needs: featuresNeeded(request),
		placement: request.placement,
		prefixes: prefixesOf(request),
		queuedBytes: requestBytes(request),
		movable: false,
		resume: null,
		held: null,
		counted: true,
		recalled: false,
	};
}

/** What a draining front answers to new tasks. */
export const shuttingDown = failure('POOL_UNREADY', 'the daemon is shutting down', { retryAfterMs: 5000 });
