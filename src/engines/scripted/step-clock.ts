/**
 * The decode clock of the scripted engine: one tick for all streams, at a pace that does not drift. Runs in its host process.
 */

/** From here on there is no pace: steps follow each other as fast as the event loop turns. */
export const flatOutRate = 1_000_000;
/** Steps of one tick without pace: fewer, larger flushes. */
const flatOutSteps = 8;
/** A clock that is further behind (the process was stopped, or the machine is too slow) lets the lost time go. */
const lagMaxMs = 250;

export class StepClock {
	readonly #periodMs: number;
	readonly #tick: (steps: number) => void;
	#timer: NodeJS.Timeout | null = null;
	#immediate: NodeJS.Immediate | null = null;
	#dueAt = 0;

	/** `tick` gets the number of steps that are due: more than one when the pace is faster than a timer. */
	constructor(stepsPerS: number, tick: (steps: number) => void) {
		this.#periodMs = stepsPerS >= flatOutRate ? 0 : 1000 / stepsPerS;
		this.#tick = tick;
	}

	/** The first step is one period from now. Does nothing while it runs. */
	start(): void {
		if (this.#timer !== null || this.#immediate !== null) return;
		this.#dueAt = performance.now() + this.#periodMs;
		this.#schedule();
	}

	/** To be called from within `tick`, or at the end of all. */
	stop(): void {
		if (this.#timer !== null) clearTimeout(this.#timer);
		if (this.#immediate !== null) clearImmediate(this.#immediate);
		this.#timer = null;
		this.#immediate = null;
	}

	#schedule(): void {
		if (this.#periodMs === 0) this.#immediate = setImmediate(() => this.#fire(flatOutSteps));
		else this.#timer = setTimeout(() => this.#fire(this.#stepsDue()), Math.max(0, this.#dueAt - performance.now()));
	}

	/** Counted from the last due time, not from now: what a late timer costs, the next one gives back. */
	#stepsDue(): number {
		const lag = performance.now() - this.#dueAt;
		const steps = 1 + Math.floor(Math.min(Math.max(0, lag), lagMaxMs) / this.#periodMs);
		this.#dueAt += lag > lagMaxMs ? lag + this.#periodMs : steps * this.#periodMs;
		return steps;
	}

	#fire(steps: number): void {
		const ticking = this.#timer ?? this.#immediate;
		this.#tick(steps);
		// Stopped, or stopped and started again, by the tick.
		if ((this.#timer ?? this.#immediate) === ticking) this.#schedule();
	}
}
