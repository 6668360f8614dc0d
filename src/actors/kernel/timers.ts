/**
 * The timers of one actor, by key. A timer that fired is a message in the lifecycle lane; its generation tells, when it is
 * read, whether it was replaced or cancelled in between: then it is dropped.
 */
import type { TimerHandle } from './host.ts';
import type { SystemCore } from './system-core.ts';

interface Entry {
	readonly handle: TimerHandle;
	readonly generation: number;
}

export class Timers<M> {
	readonly #system: SystemCore;
	readonly #fired: (key: string, generation: number, message: M) => void;
	readonly #entries = new Map<string, Entry>();
	#generation = 0;

	constructor(system: SystemCore, fired: (key: string, generation: number, message: M) => void) {
		this.#system = system;
		this.#fired = fired;
	}

	set(key: string, delayMs: number, message: M): void {
		this.cancel(key);
		this.#generation += 1;
		const generation = this.#generation;
		const handle = this.#system.host.setTimer(delayMs, () => this.#fired(key, generation, message));
		this.#entries.set(key, { handle, generation });
		this.#system.timers += 1;
	}

	cancel(key: string): void {
		const entry = this.#entries.get(key);
		if (entry === undefined) return;
		this.#entries.delete(key);
		this.#system.timers -= 1;
		this.#system.host.clearTimer(entry.handle);
	}

	cancelAll(): void {
		for (const key of [...this.#entries.keys()]) this.cancel(key);
	}

	/** Whether a fired timer is still wanted; it is used up by asking. */
	take(key: string, generation: number): boolean {
		const entry = this.#entries.get(key);
		if (entry?.generation !== generation) return false;
		this.#entries.delete(key);
		this.#system.timers -= 1;
		return true;
	}
}
