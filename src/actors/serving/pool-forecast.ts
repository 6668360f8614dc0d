/**
 * What a pool tells of the future: when a task would start and end, and how likely in time. Part of the Pool actor; pure
 * over its queue and its measured pace.
 */
import { type PaceMeter, type PoolLoad, predictStartMs } from './eta.ts';
import type { QueueStanding, TaskSummary } from './messages.ts';
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
		return this.#pace.serviceMs({
			promptTokens: summary.promptTokens ?? summary.promptBytes / bytesPerToken,
			expectedTokens: summary.expectedTokens,
			maxTokens: summary.maxTokens ?? this.#maxTokensOut,
		});
	}

	startMs(workAheadMs: number, load: PoolLoad): number {
		return predictStartMs(workAheadMs, load);
	}

	/** Of a task that came now. */
	standingFor(summary: TaskSummary, load: PoolLoad): QueueStanding {
		return this.standingAt(this.#queue.placeFor(summary.priority, summary.admittedAt), this.serviceMs(summary), load);
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
