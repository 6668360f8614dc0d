/**
 * What a pool tells of the future: when a task would start and end, how sure that is, and what it will cost. Part of the Pool
 * actor; pure over its queue, its running tasks and its measured pace.
 */
import { ErrorRatios } from './error-ratios.ts';
import { bytesPerToken, type PaceMeter, type WorkEstimate } from './eta.ts';
import type { QueueStanding, Settlement, TaskSummary } from './messages.ts';
import type { QueueEntry, QueuePlace, WaitingQueue } from './queue.ts';
import type { SlotLevels } from './slot-levels.ts';
import type { PriorityClass } from './task-request.ts';

/** When a task starts that has so much work before it, ms from now. */
type Starts = Pick<SlotLevels, 'startMs'>;

export class PoolForecast {
	readonly #pace: PaceMeter;
	readonly #queue: WaitingQueue<QueueEntry>;
	readonly #bounds: { readonly maxTokensOut: number };

	constructor(pace: PaceMeter, queue: WaitingQueue<QueueEntry>, bounds: { readonly maxTokensOut: number }) {
		this.#pace = pace;
		this.#queue = queue;
		this.#bounds = bounds;
	}

	/** Milliseconds that the task will hold a slot of an engine with `depth` tasks. */
	serviceMs(summary: TaskSummary, depth: number): number {
		return this.#pace.serviceMs(this.#work(summary), depth);
	}

	/** Milliseconds that are left of one that has held its slot for `heldMs`. */
	leftMs(summary: TaskSummary, depth: number, heldMs: number): number {
		return this.#pace.leftMs(this.#work(summary), depth, heldMs);
	}

	/** Tokens that its tenant is charged when it starts, whatever becomes of it. */
	costAtStart(summary: TaskSummary): number {
		return Math.ceil(this.#work(summary).promptTokens);
	}

	/** Tokens that it will come to: a whole number, at least 1. */
	cost(summary: TaskSummary): number {
		const work = this.#work(summary);
		return Math.max(1, this.costAtStart(summary) + Math.ceil(this.#pace.tokensOut(work)));
	}

	/** What it has come to at least, when so many tokens were served. */
	costSoFar(summary: TaskSummary, tokensOut: number): number {
		return this.costAtStart(summary) + tokensOut;
	}

	/** What it came to. The prompt counts whatever became of it; where no engine could be reached, nothing. */
	costInTruth(summary: TaskSummary, { outcome, reason, tokensIn, tokensOut }: Settlement): number {
		if (outcome === 'unused' && reason === 'unreachable') return 0;
		return (tokensIn > 0 ? tokensIn : this.costAtStart(summary)) + tokensOut;
	}

	/** Of a task that came now. `startMs`: as the slots alone would have it, before the correction by what is usual. */
	foresee(summary: TaskSummary, serviceMs: number, slots: Starts): { readonly startMs: number; readonly standing: QueueStanding } {
		const place = this.#queue.placeFor(summary);
		const startMs = slots.startMs(place.workAheadMs);
		return { startMs, standing: this.standing(summary.priority, place.position, startMs, serviceMs) };
	}

	standingAt(priority: PriorityClass, place: QueuePlace, serviceMs: number, slots: Starts): QueueStanding {
		return this.standing(priority, place.position, slots.startMs(place.workAheadMs), serviceMs);
	}

	/** Null without a deadline. */
	onTime({ priority, deadlineAt }: TaskSummary, { predictedEndMs }: QueueStanding, now: number): number | null {
		return deadlineAt === null ? null : this.#pace.ends[priority].probabilityWithin(predictedEndMs, deadlineAt - now);
	}

	standing(priority: PriorityClass, position: number, startMs: number, serviceMs: number): QueueStanding {
		const starts = this.#pace.starts[priority];
		// Batch tasks stand behind the interactive ones, and are not said to start before them.
		const median = Math.max(starts.median, this.#pace.starts.interactive.median);
		const predictedStartMs = startMs === 0 ? 0 : ErrorRatios.p50Ms(startMs, median);
		const predictedEndMs = predictedStartMs + serviceMs;
		return {
			position,
			predictedStartMs,
			predictedEndMs,
			predictedStartP90Ms: startMs === 0 ? 0 : Math.max(predictedStartMs, starts.p90Ms(startMs)),
			predictedEndP90Ms: this.#pace.ends[priority].p90Ms(predictedEndMs),
			estimated: this.#pace.estimated,
			queueDepth: this.#queue.length,
		};
	}

	#work({ promptTokens, promptBytes, expectedTokens, maxTokens }: TaskSummary): WorkEstimate {
		return {
			promptTokens: promptTokens ?? promptBytes / bytesPerToken,
			expectedTokens,
			maxTokens: maxTokens ?? this.#bounds.maxTokensOut,
		};
	}
}
