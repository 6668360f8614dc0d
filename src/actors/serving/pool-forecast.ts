/**
 * What a pool tells of the future: when a task would start and end, and how likely in time. Part of the Pool actor; pure
 * over its queue and its measured pace.
 */
import { type PaceMeter, type PoolLoad, predictStartMs, type WorkEstimate } from './eta.ts';
import type { QueueStanding, Settlement, TaskSummary } from './messages.ts';
import type { QueueEntry, QueuePlace, WaitingQueue } from './queue.ts';

/** Bytes of a token of usual text, for prompts that nobody counted. */
const bytesPerToken = 4;

export class PoolForecast {
	readonly #pace: PaceMeter;
	readonly #queue: WaitingQueue<QueueEntry>;
	readonly #maxTokensOut: number;

	constructor(pace: PaceMeter, queue: WaitingQueue<QueueEntry>, maxTokensOut: number) {
		this.#pace = pace;
		this.#queue = queue;
		this.#maxTokensOut = maxTokensOut;
	}

	/** Milliseconds that the task will hold a slot. */
	serviceMs(summary: TaskSummary): number {
		return this.#pace.serviceMs(this.#work(summary));
	}

	/** Tokens that its tenant is charged when it starts: a whole number, at least 1. */
	cost(summary: TaskSummary): number {
		const work = this.#work(summary);
		return Math.max(1, Math.ceil(work.promptTokens) + Math.ceil(this.#pace.tokensOut(work)));
	}

	/** What it came to. The prompt counts whatever became of it; a slot that was not used at all, nothing. */
	costInTruth(summary: TaskSummary, { outcome, tokensIn, tokensOut }: Settlement): number {
		if (outcome === 'unused') return 0;
		return (tokensIn > 0 ? tokensIn : Math.ceil(this.#work(summary).promptTokens)) + tokensOut;
	}

	#work({ promptTokens, promptBytes, expectedTokens, maxTokens }: TaskSummary): WorkEstimate {
		return {
			promptTokens: promptTokens ?? promptBytes / bytesPerToken,
			expectedTokens,
			maxTokens: maxTokens ?? this.#maxTokensOut,
		};
	}

	startMs(workAheadMs: number, load: PoolLoad): number {
		return predictStartMs(workAheadMs, load);
	}

	/** Of a task that came now. */
	standingFor(summary: TaskSummary, load: PoolLoad): QueueStanding {
		return this.standingAt(this.#queue.placeFor(summary), this.serviceMs(summary), load);
	}

	standingAt(place: QueuePlace, serviceMs: number, load: PoolLoad): QueueStanding {
		const predictedStartMs = this.startMs(place.workAheadMs, load);
		return {
			position: place.position,
			predictedStartMs,
			predictedEndMs: predictedStartMs + serviceMs,
			estimated: this.#pace.estimated,
			queueDepth: this.#queue.length,
		};
	}

	/** Null without a deadline. */
	onTime(summary: TaskSummary, standing: QueueStanding, now: number): number | null {
		return summary.deadlineAt === null ? null : this.#pace.onTimeProbability(standing.predictedEndMs, summary.deadlineAt - now);
	}
}
