/**
 * Who in the queue is told of a new place, and when. Part of the Pool actor: one pass over all that wait, in parts; a second
 * apart, and the longer apart the more were told.
 */
import type { PoolState } from './pool-state.ts';
import type { QueueMark } from './queue.ts';

const passMs = 1_000;
/** On average, over a pool. */
const toldPerMs = 20;
/** Entries of one part, before other messages have their turn. */
const partLength = 256;
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

	/** A part of one pass, from a mark on: who moved is told, none twice a second. */
	tell(from: QueueMark | null): void {
		const { queue, forecast, ctx } = this.#pool;
		const { levels, warmUp } = this.#pool;
		const slots = { startMs: (workAheadMs: number) => levels.startMs(workAheadMs), warmUp };
		const now = ctx.now();
		const next = queue.walk(from, partLength, (waiting, place) => {
			if (waiting.toldPosition === place.position || now - waiting.toldAt < passMs - earlyMs) return;
			waiting.toldPosition = place.position;
			waiting.toldAt = now;
			this.#told += 1;
			const standing = forecast.standingAt(waiting.priority, place, waiting.serviceMs, slots);
			waiting.ref.tell({ type: 'standing-changed', standing, onTimeProbability: forecast.onTime(waiting.summary, standing, now, warmUp) });
		});
		// The rest goes behind what waits.
		if (next !== null && ctx.self.tell({ type: 'standings-due', from: next }) === 'accepted') return;
		this.#due = false;
		this.watch();
	}
}
