/**
 * The time of day of what a host's clock has measured, in whole milliseconds since 1970. One instant always has the same one, also on other
 * threads with the same offset and after it was read back from disk: a system clock that is asked again each time is one off now and then.
 */

/** A system clock that was set, or a machine that slept: the offset is another one from then on. */
const driftMaxMs = 1_000;

export class WallTime {
	readonly #now: () => number;
	readonly #systemNow: () => number;
	#offset: number;

	/** `now`: of the host; `systemNow`: milliseconds since 1970; `offset`: between them, as `wallOffset` measured it. */
	constructor(now: () => number, systemNow: () => number, offset: number) {
		this.#now = now;
		this.#systemNow = systemNow;
		this.#offset = offset;
	}

	wallOf(at: number): number {
		this.#keepUp();
		return Math.round(this.#offset + at);
	}

	hostOf(wall: number): number {
		this.#keepUp();
		return wall - this.#offset;
	}

	#keepUp(): void {
		const offset = wallOffset(this.#now, this.#systemNow);
		if (Math.abs(offset - this.#offset) > driftMaxMs) this.#offset = offset;
	}
}

export function wallOffset(now: () => number, systemNow: () => number): number {
	return Math.round(systemNow() - now());
}
