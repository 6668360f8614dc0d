/**
 * What one task reports of itself: its metrics and its log lines. Never a prompt or an output; nothing per token:
 * token counts and gaps leave at most every `sampleMs`.
 */
import type { Labels, Telemetry } from '../kernel/telemetry.ts';
import type { GenerationUsage } from './decode.ts';
import type { CancelReason } from './task-directory.ts';
import type { TaskRecord } from './task-record.ts';

const sampleMs = 500;

export class TaskTelemetry {
	readonly #telemetry: Telemetry;
	readonly #task: TaskRecord;
	#replica: Labels = {};
	#pool: Labels = {};
	/** Tokens since `#windowAt`, the time of the last token of the window before; the first batch has no gap before it. */
	#windowTokens = 0;
	#windowGaps = 0;
	#windowAt = 0;

	constructor(telemetry: Telemetry, task: TaskRecord) {
		this.#telemetry = telemetry;
		this.#task = task;
		this.#relabel();
	}

	admitted(): void {
		this.#relabel();
		const standing = this.#task.standing;
		const position = standing?.position ?? 0;
		const seconds = ((standing?.predictedStartMs ?? 0) / 1000).toFixed(1);
		const place = position === 0 ? 'next to start' : `${position} to start before it`;
		this.#log('task-admitted', `Queued on ${this.#task.poolId}: ${place}, in about ${seconds} s.`);
	}

	refused(): void {
		const failure = this.#task.failure;
		this.#telemetry.count('tasks_rejected_total', { engine: failure?.engine ?? '', reason: failure?.code ?? '' });
		this.#log('task-refused', `Refused: ${failure?.message ?? ''}.`, { code: failure?.code });
	}

	placed(): void {
		this.#relabel();
		const { replicaId, poolId } = this.#task;
		this.#log('task-placed', `Given a slot of ${replicaId} in ${poolId}.`);
	}

	/** The engine took the prompt. */
	started(tokensCached: number): void {
		const { tokensIn } = this.#task;
		this.#telemetry.count('tokens_in_total', this.#replica, tokensIn);
		this.#log('task-started', `Prefill of ${tokensIn} tokens, ${tokensCached} of them cached.`, { tokens_cached: tokensCached });
	}

	firstToken(now: number): void {
		this.#telemetry.observe('latency_first_token_ms', this.#pool, now - this.#task.admittedAt);
		this.#windowAt = now;
	}

	tokens(now: number, tokens: number): void {
		this.#windowTokens += tokens;
		if (tokens !== this.#task.tokensOut) this.#windowGaps += tokens;
		if (now - this.#windowAt >= sampleMs) this.#sample(now);
	}

	ended(now: number, cut: CancelReason | null): void {
		const task = this.#task;
		if (this.#windowTokens > 0) this.#sample(now);
		if (cut !== null) this.#telemetry.count('tasks_canceled_total', { ...this.#replica, reason: cut });
		const tokens = `${task.tokensOut} tokens out`;
		if (task.state === 'canceled') {
			this.#log('task-canceled', `Cancelled (${cut}): ${tokens}.`, { reason: cut });
		} else if (task.failure !== null) {
			this.#log('task-failed', `Failed: ${task.failure.message}; ${tokens}.`, { code: task.failure.code, reason: cut });
		} else {
			this.#telemetry.observe('latency_decode_ms', this.#pool, task.decodeMs);
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
	wasted(usage: GenerationUsage, reason: string): void {
		const tokens = usage.tokensOut - this.#task.tokensOut;
		if (tokens > 0) this.#telemetry.count('wasted_tokens_total', { reason }, tokens);
	}

	/** Something that should not happen and hurts nobody: counted, said once. */
	odd(event: string, human: string): void {
		this.#log(event, human, {}, 'warn');
	}

	#sample(now: number): void {
		this.#telemetry.count('tokens_out_total', this.#replica, this.#windowTokens);
		if (this.#windowGaps > 0) this.#telemetry.observe('inter_token_latency_ms', this.#pool, (now - this.#windowAt) / this.#windowGaps);
		this.#windowTokens = 0;
		this.#windowGaps = 0;
		this.#windowAt = now;
	}

	#relabel(): void {
		const { engine, engineVersion, poolId, replicaId, request } = this.#task;
		const [engineLabel, versionLabel, poolLabel] = [engine ?? '', engineVersion ?? '', poolId ?? ''];
		this.#replica = { engine: engineLabel, engine_version: versionLabel, pool_id: poolLabel, replica_id: replicaId ?? '' };
		this.#pool = { engine: engineLabel, engine_version: versionLabel, pool_id: poolLabel, priority: request.priority };
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
