/**
 * What one task reports of itself: its metrics and its log lines. Never a prompt or an output; nothing per token:
 * token counts and gaps leave at most every `sampleMs`.
 */
import type { Telemetry } from '../kernel/telemetry.ts';
import type { Failure, FailureCode } from './failure.ts';
import type { PoolView } from './messages.ts';
import type { CancelReason } from './task-directory.ts';
import type { TaskLabelBook, TaskLabels } from './task-labels.ts';
import type { TaskRecord } from './task-record.ts';
import type { TaskRequest } from './task-request.ts';

/** Between two samples of what a task was served. */
export const sampleMs = 500;

/** Why a running task leaves its slot and goes on in another. */
export const moveReasons = ['replica-lost', 'preempted', 'drained'] as const;
export type MoveReason = (typeof moveReasons)[number];

/** What the OpenTelemetry conventions call the workloads; `rerank` has no name there. */
export const genAiOperations = ['chat', 'text_completion', 'embeddings'] as const;

function operationOf({ workload, input }: TaskRequest): string {
	if (workload === 'embedding') return 'embeddings';
	if (workload === 'rerank') return 'rerank';
	return input.kind === 'messages' ? 'chat' : 'text_completion';
}

export class TaskTelemetry {
	readonly #telemetry: Telemetry;
	readonly #task: TaskRecord;
	readonly #pools: () => readonly PoolView[];
	readonly #book: TaskLabelBook;
	/** Its prompt is gone when it ends. */
	readonly #operation: string;
	#labels: TaskLabels;
	/** Told so far, until `#windowAt`, the time of the last of them. */
	#tokensTold = 0;
	#windowAt = 0;
	/** Of the window under way: those of its first batch, which has no gap before it. */
	#ungapped = 0;

	constructor(telemetry: Telemetry, task: TaskRecord, pools: () => readonly PoolView[], book: TaskLabelBook) {
		this.#telemetry = telemetry;
		this.#task = task;
		this.#pools = pools;
		this.#book = book;
		this.#operation = operationOf(task.request);
		this.#labels = book.of(task, this.#operation, pools());
	}

	admitted(): void {
		this.#relabel();
		if (!this.#logs) return;
		const standing = this.#task.standing;
		const position = standing?.position ?? 0;
		const seconds = ((standing?.predictedStartMs ?? 0) / 1000).toFixed(1);
		const place = position === 0 ? 'next to start' : `${position} to start before it`;
		this.#log('task-admitted', `Queued on ${this.#task.poolId}: ${place}, in about ${seconds} s.`);
	}

	/** The daemon ends before it: the next one runs it. */
	suspended(): void {
		this.#log('task-suspended', 'Kept: it runs when the daemon is started again.');
	}

	refused(): void {
		const failure = this.#task.failure;
		this.#telemetry.count('tasks_rejected_total', { engine: failure?.engine ?? '', reason: failure?.code ?? '' });
		this.#log('task-refused', `Refused: ${wordsFor(failure)}.`, { code: failure?.code });
	}

	placed(): void {
		this.#relabel();
		if (!this.#logs) return;
		const { replicaId, poolId } = this.#task;
		this.#log('task-placed', `Given a slot of ${replicaId} in ${poolId}.`);
	}

	/** It has left its slot: what it has made there is told under that one's labels. */
	left(now: number): void {
		this.sample(now);
	}

	/** It has a slot to go on in. */
	movedOn(now: number, reason: MoveReason): void {
		this.#telemetry.count('migrations_total', { pool_id: this.#labels.pool['pool_id'] ?? '', reason });
		this.#relabel();
		this.#windowAt = now;
		const { replicaId, poolId, tokensOut } = this.#task;
		this.#log('task-migrated', `Goes on behind token ${tokensOut} in a slot of ${replicaId} in ${poolId} (${reason}).`, { reason });
	}

	/** The engine took the prompt. */
	started(tokensCached: number): void {
		const { tokensIn } = this.#task;
		this.#telemetry.count('tokens_in_total', this.#labels.replica, tokensIn);
		if (this.#logs)
			this.#log('task-started', `Prefill of ${tokensIn} tokens, ${tokensCached} of them cached.`, { tokens_cached: tokensCached });
	}

	/** The first tokens have been logged. */
	firstToken(now: number): void {
		const waitedMs = now - this.#task.admittedAt;
		this.#telemetry.observe('latency_first_token_ms', this.#labels.pool, waitedMs);
		this.#telemetry.observe('gen_ai_server_time_to_first_token', this.#labels.genAi, waitedMs / 1000);
		this.#windowAt = now;
		this.#ungapped = this.#task.tokensOut;
	}

	/** Tells of the tokens since the last sample, the last of which came `at`. */
	sample(at: number): void {
		const tokens = this.#task.tokensOut - this.#tokensTold;
		if (tokens === 0) return;
		this.#telemetry.count('tokens_out_total', this.#labels.replica, tokens);
		const gaps = tokens - this.#ungapped;
		if (gaps > 0) this.#telemetry.observe('inter_token_latency_ms', this.#labels.pool, (at - this.#windowAt) / gaps);
		this.#tokensTold += tokens;
		this.#ungapped = 0;
		this.#windowAt = at;
	}

	ended(now: number, cut: CancelReason | null): void {
		const task = this.#task;
		this.sample(now);
		if (cut !== null) this.#telemetry.count('tasks_canceled_total', this.#labels.canceled(cut));
		const errorType = task.state === 'canceled' ? 'canceled' : (task.failure?.code ?? '');
		this.#telemetry.observe('gen_ai_server_request_duration', this.#labels.ended(errorType), (now - task.admittedAt) / 1000);
		if (task.state !== 'canceled' && task.failure === null) {
			this.#telemetry.observe('latency_decode_ms', this.#labels.pool, task.decodeMs);
			const later = task.tokensOut - 1;
			if (later > 0) this.#telemetry.observe('gen_ai_server_time_per_output_token', this.#labels.genAi, task.decodeMs / later / 1000);
		}
		if (!this.#logs) return;
		const tokens = `${task.tokensOut} tokens out`;
		if (task.state === 'canceled') {
			this.#log('task-canceled', `Cancelled (${cut}): ${tokens}.`, { reason: cut });
		} else if (task.failure !== null) {
			this.#log('task-failed', `Failed: ${wordsFor(task.failure)}; ${tokens}.`, { code: task.failure.code, reason: cut });
		} else {
			this.#log('task-ended', `Done (${task.finishReason}): ${tokens} in ${Math.round(task.decodeMs)} ms.`, {
				finish_reason: task.finishReason,
			});
		}
	}

	/** The slot of a cut task is known to be free, or given up as unknown. */
	slotBack(sinceCutMs: number, slot: 'free' | 'unknown'): void {
		this.#telemetry.observe('cancel_latency_ms', { stage: slot === 'free' ? 'slot-free' : 'quarantined' }, sinceCutMs);
	}

	/** Tokens the engine made that no watcher will see. */
	wasted(tokens: number, reason: string): void {
		if (tokens > 0) this.#telemetry.count('wasted_tokens_total', { reason }, tokens);
	}

	/** Something that should not happen and hurts nobody: counted, said once. */
	odd(event: string, human: string): void {
		this.#log(event, human, {}, 'warn');
	}

	/** Its ordinary lines are written: where they are not, they are not made. */
	get #logs(): boolean {
		return this.#telemetry.logs?.('info') ?? true;
	}

	#relabel(): void {
		this.#labels = this.#book.of(this.#task, this.#operation, this.#pools());
	}

	#log(event: string, human: string, more: Readonly<Record<string, unknown>> = {}, level: 'info' | 'warn' = 'info'): void {
		const task = this.#task;
		this.#telemetry.log(level, event, {
			correlation_id: task.request.correlationId,
			task_id: task.request.taskId,
			session_id: task.request.sessionId ?? undefined,
			engine: task.engine ?? undefined,
			engine_version: task.engineVersion ?? undefined,
			pool_id: task.poolId ?? undefined,
			replica_id: task.replicaId ?? undefined,
			queue_position: task.standing?.position,
			predicted_start_ms: task.standing === null ? undefined : Math.round(task.standing.predictedStartMs),
			tokens_in: task.startedAt === null ? undefined : task.tokensIn,
			tokens_out: task.startedAt === null ? undefined : task.tokensOut,
			decode_time_ms: task.ended && task.startedAt !== null ? Math.round(task.decodeMs) : undefined,
			...more,
			human,
		});
	}
}

/** Their messages quote the request: names of its schema, what it asked for. That is for the client alone. */
const quoting: readonly FailureCode[] = ['INVALID_PARAMS', 'NOT_FOUND', 'CONFLICT'];

export function wordsFor(failure: Failure | null): string {
	if (failure === null) return '';
	return quoting.includes(failure.code) ? failure.code : failure.message;
}
