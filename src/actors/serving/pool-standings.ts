/**
 * Who in the queue is told of a new place, or that it starts at another time than it was told, and when. Part of the Pool actor: one
 * pass over all that wait, in parts; a second apart, and the longer apart the more were told.
 */
import type { PoolState } from './pool-state.ts';
import type { Waiting } from './pool-tasks.ts';
import type { QueueMark } from './queue.ts';

const passMs = 1_000;
/** On average, over a pool. */
const toldPerMs = 20;
/** Entries of one part, a third of a millisecond or so: eight pools that tell at the same time hold up the thread for no more than two or three. */
const partLength = 128;
/** Between two parts the thread does what else has come: also what comes from outside, which a message to oneself would not let in. */
const restMs = 1;
/** What was told of a start is told anew once it is off by more than this, and by more than this part of it. */
const nearMs = 1_000;
const nearPart = 0.25;
/** A timer may fire a little early. */
const earlyMs = 2;

export class PoolStandings {
	readonly #pool: PoolState;
	#due = false;
	#told = 0;

	constructor(pool: PoolState) {
		this.#pool = pool;
	}

	/** Whoever waits is told from now on. */
	watch(): void {
		if (this.#due || this.#pool.queue.length === 0) return;
		this.#due = true;
		this.#pool.ctx.setTimer('standings', Math.max(passMs, this.#told / toldPerMs), { type: 'standings-due', from: null });
		this.#told = 0;
	}

	/** A part of one pass, from a mark on: who moved is told, and while an engine loads all are; none twice a second. */
	tell(from: QueueMark | null): void {
		const { queue, forecast, ctx, outlook } = this.#pool;
		const { startMs, warmUp } = outlook;
		const now = ctx.now();
		const slots = { startMs, warmUp, now };
		const next = queue.walk(from, partLength, (waiting, place) => {
			if (now - waiting.toldAt < passMs - earlyMs) return;
			const standing = forecast.standingAt(waiting.summary, place, waiting.serviceMs, slots);
			// Who waits for a model hears how far that is, and what is left of a load, and that it is over.
			if (waiting.toldPosition === place.position && warmUp === null && !waiting.toldWarm && holds(waiting, standing.predictedStartMs, now))
				return;
			waiting.toldWarm = warmUp !== null;
			waiting.toldPosition = place.position;
			waiting.toldStartMs = standing.predictedStartMs;
			waiting.toldAt = now;
			this.#told += 1;
			const onTimeProbability = forecast.onTime(waiting.summary, standing, now, warmUp);
			waiting.ref.tell({ type: 'standing-changed', standing, onTimeProbability });
		});
		if (next !== null) return ctx.setTimer('standings', restMs, { type: 'standings-due', from: next });
		this.#due = false;
		this.watch();
	}
}

/** Whether what was told of a start is still near enough to what is foreseen by now. */
function holds({ toldStartMs, toldAt }: Waiting, startMs: number, now: number): boolean {
	const off = Math.abs(startMs - Math.max(0, toldStartMs - (now - toldAt)));
	return off <= Math.max(nearMs, nearPart * startMs);
}
