/** A clock that the test moves. `soon` work waits until it is run. */
import type { Clock } from '../../src/transport/clock.ts';

interface Timer {
	at: number;
	readonly every: number | null;
	readonly fire: () => void;
}

export class FakeClock implements Clock {
	#now = 1000;
	readonly #timers = new Set<Timer>();
	#soon: (() => void)[] = [];

	now(): number {
		return this.#now;
	}

	wallNow(): number {
		return 1_800_000_000_000 + this.#now;
	}

	wallOf(at: number): number {
		return Math.round(1_800_000_000_000 + at);
	}

	every(ms: number, fire: () => void): () => void {
		return this.#add({ at: this.#now + ms, every: ms, fire });
	}

	after(ms: number, fire: () => void): () => void {
		return this.#add({ at: this.#now + ms, every: null, fire });
	}

	soon(run: () => void): void {
		this.#soon.push(run);
	}

	get waiting(): number {
		return this.#timers.size + this.#soon.length;
	}

	/** Runs what was put off, once; what that puts off waits. */
	runSoon(): void {
		const due = this.#soon;
		this.#soon = [];
		for (const run of due) run();
	}

	advance(ms: number): void {
		const end = this.#now + ms;
		for (;;) {
			let next: Timer | null = null;
			for (const timer of this.#timers) if (timer.at <= end && (next === null || timer.at < next.at)) next = timer;
			if (next === null) break;
			this.#now = next.at;
			if (next.every === null) this.#timers.delete(next);
			else next.at += next.every;
			next.fire();
		}
		this.#now = end;
	}

	#add(timer: Timer): () => void {
		this.#timers.add(timer);
		return () => {
			this.#timers.delete(timer);
		};
	}
}
