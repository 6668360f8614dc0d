/**
 * What a pool tells of the future: when a task would start and end, how sure that is, and what it will cost. Part of the Pool
 * actor; pure over its queue, its running tasks and its measured pace.
 */
import { ErrorRatios } from './error-ratios.ts';
import { bytesPerToken, type PaceMeter, type WorkEstimate } from './eta.ts';
import type { WarmUp } from './load-times.ts';
import type { QueueStanding, Settlement, TaskSummary } from './messages.ts';
import type { QueueEntry, QueuePlace, WaitingQueue } from './queue.ts';
import type { PriorityClass } from './task-request.ts';
import type { WarmUpTold } from './warm-up-messages.ts';

export interface Slots {
	/** When a task starts that has so much work before it, ms from now; a strict one, where a replica is idle. */
	startMs(workAheadMs: number, strict: boolean): number;
	/** What of that is left of a load; null: nothing. */
	readonly warmUp: WarmUp | null;
	/** On `Host.now`. */
	readonly now: number;
}

export class PoolForecast {
	readonly #pace: PaceMeter;
	readonly #queue: WaitingQueue<QueueEntry>;
	readonly #bounds: { readonly maxTokensOut: number };
	#worksOn: TaskSummary | null = null;
	#work: WorkEstimate = { promptTokens: 0, expectedTokens: null, maxTokens: 0 };

	constructor(pace: PaceMeter, queue: WaitingQueue<QueueEntry>, bounds: { readonly maxTokensOut: number }) {
		this.#pace = pace;
		this.#queue = queue;
		this.#bounds = bounds;
	}

	/** Milliseconds that the task will hold a slot of an engine with `depth` tasks. */
	serviceMs(summary: TaskSummary, depth: number): number {
		return this.#pace.serviceMs(this.workOf(summary), depth);
	}

	/** Tokens that its tenant is charged when it starts, whatever becomes of it. */
	costAtStart(summary: TaskSummary): number {
		return Math.ceil(this.workOf(summary).promptTokens);
	}

	/** Tokens that it will come to: a whole number, at least 1. */
	cost(summary: TaskSummary): number {
		const work = this.workOf(summary);
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
	foresee(summary: TaskSummary, serviceMs: number, slots: Slots): { readonly startMs: number; readonly standing: QueueStanding } {
		const place = this.#queue.placeFor(summary);
		const startMs = slots.startMs(place.workAheadMs, summary.strict);
		return { startMs, standing: this.standing(summary.priority, place.position, startMs, serviceMs, slots) };
	}

	standingAt({ priority, strict }: TaskSummary, place: QueuePlace, serviceMs: number, slots: Slots): QueueStanding {
		return this.standing(priority, place.position, slots.startMs(place.workAheadMs, strict), serviceMs, slots);
	}

	/** Null without a deadline. Of a load, what the past ones would leave of it is as likely as each other. */
	onTime({ priority, deadlineAt }: TaskSummary, { predictedEndMs }: QueueStanding, now: number, warmUp: WarmUp | null): number | null {
		if (deadlineAt === null) return null;
		const ends = this.#pace.ends[priority];
		if (warmUp === null) return ends.probabilityWithin(predictedEndMs, deadlineAt - now);
		let sum = 0;
		for (const each of warmUp.possibleMs) sum += ends.probabilityWithin(predictedEndMs - warmUp.p50Ms, deadlineAt - now - each);
		return sum / warmUp.possibleMs.length;
	}

	/** What past predictions came to says nothing of a load: it is added as it is. */
	standing(
		priority: PriorityClass,
		position: number,
		startMs: number,
		serviceMs: number,
		{ warmUp, now }: Pick<Slots, 'warmUp' | 'now'>,
	): QueueStanding {
		const starts = this.#pace.starts[priority];
		const loadMs = Math.min(startMs, warmUp?.p50Ms ?? 0);
		const loadP90Ms = Math.max(loadMs, warmUp?.p90Ms ?? 0);
		const waitMs = startMs - loadMs;
		// Batch tasks stand behind the interactive ones, and are not said to start before them.
		const median = Math.max(starts.median, this.#pace.starts.interactive.median);
		const predictedWaitMs = waitMs === 0 ? 0 : ErrorRatios.p50Ms(waitMs, median);
		const doneMs = predictedWaitMs + serviceMs;
		return {
			position,
			at: now,
			predictedStartMs: loadMs + predictedWaitMs,
			predictedEndMs: loadMs + doneMs,
			predictedStartP90Ms: loadP90Ms + (waitMs === 0 ? 0 : Math.max(predictedWaitMs, starts.p90Ms(waitMs))),
			predictedEndP90Ms: loadP90Ms + this.#pace.ends[priority].p90Ms(doneMs),
			estimated: warmUp === null || warmUp.basis === 'measured' ? this.#pace.estimated : 'prior',
			queueDepth: this.#queue.length,
			warmUp: warmUp === null ? null : toldOf(warmUp),
		};
	}

	/** Asked for again and again of one task as it comes: of the last one it is kept. */
	workOf(summary: TaskSummary): WorkEstimate {
		if (summary === this.#worksOn) return this.#work;
		const { promptTokens, promptBytes, expectedTokens, maxTokens } = summary;
		this.#worksOn = summary;
		this.#work = {
			promptTokens: promptTokens ?? promptBytes / bytesPerToken,
			expectedTokens,
			maxTokens: maxTokens ?? this.#bounds.maxTokensOut,
		};
		return this.#work;
	}
}

/** The load itself, without what comes before it. */
function toldOf({ status, basis, p50Ms, fetch }: WarmUp): WarmUpTold {
	const loadMs = fetch === null ? p50Ms : p50Ms - (fetch.leftMs ?? 0);
	return { status, leftMs: basis === 'guess' ? null : loadMs, fetch };
}
