/**
 * Whether a replica is given tasks, by how the last ones went. Pure; part of the Pool actor, one a replica. That it is open
 * outlives the control thread: the Replica keeps what it is told of it. Failures of one that is closed are counted anew.
 * ```
 *   closed ─5 failures in a row─► open ─30 s, doubling to 300 s─► half-open: one task at a time ─success─► closed
 *                                  ▲                                 └──────────────failure──────────────► open, for longer
 * ```
 */
export type BreakerState = 'closed' | 'open' | 'half-open';

/** A breaker that is not closed, as it is kept for the next control thread. Times on `Host.now`. */
export interface OpenBreaker {
	readonly failuresInRow: number;
	readonly openUntil: number;
	/** How long it opens for the next time. */
	readonly openMs: number;
	/** The last failure. */
	readonly why: string;
}

const failuresMax = 5;
const openFirstMs = 30_000;
const openMaxMs = 300_000;
/** An engine that dies fails all its tasks, and is reported dead: all that is one failure. */
const sameDeathMs = 2_000;

export class CircuitBreaker {
	#state: BreakerState = 'closed';
	#failuresInRow = 0;
	#openMs = openFirstMs;
	#openUntil = 0;
	#trial: string | null = null;
	#diedAt = Number.NEGATIVE_INFINITY;

	get state(): BreakerState {
		return this.#state;
	}

	get failuresInRow(): number {
		return this.#failuresInRow;
	}

	/** On `Host.now`; of no meaning unless open. */
	get openUntil(): number {
		return this.#openUntil;
	}

	/** Null: it is closed, and there is nothing to keep. */
	kept(why: string): OpenBreaker | null {
		if (this.#state === 'closed') return null;
		return { failuresInRow: this.#failuresInRow, openUntil: this.#openUntil, openMs: this.#openMs, why };
	}

	/** As an earlier control thread had it. */
	restore({ failuresInRow, openUntil, openMs }: OpenBreaker): void {
		this.#state = 'open';
		this.#failuresInRow = failuresInRow;
		this.#openUntil = openUntil;
		this.#openMs = openMs;
	}

	/** Whether one more task may start there. */
	get takes(): boolean {
		return this.#state === 'closed' || (this.#state === 'half-open' && this.#trial === null);
	}

	started(leaseKey: string): void {
		if (this.#state === 'half-open') this.#trial = leaseKey;
	}

	/** True: it has opened. */
	ended(leaseKey: string, verdict: 'success' | 'failure' | 'death' | 'neither', now: number): boolean {
		if (this.#trial === leaseKey) this.#trial = null;
		if (verdict === 'success') this.#close();
		if (verdict === 'death') return this.died(now);
		return verdict === 'failure' && this.#failed(now);
	}

	/** The engine is gone that had served. True: it has opened. */
	died(now: number): boolean {
		const again = now - this.#diedAt < sameDeathMs;
		this.#diedAt = now;
		return !again && this.#failed(now);
	}

	/** The time is over that it was open for. */
	tryAgain(): void {
		if (this.#state === 'open') this.#state = 'half-open';
	}

	/** Another engine stands where the failing one stood. */
	renew(): void {
		this.#close();
		this.#trial = null;
	}

	#close(): void {
		this.#state = 'closed';
		this.#failuresInRow = 0;
		this.#openMs = openFirstMs;
	}

	/** Of tasks that had begun before it opened, nothing new is learnt. */
	#failed(now: number): boolean {
		if (this.#state === 'open') return false;
		this.#failuresInRow += 1;
		if (this.#state === 'closed' && this.#failuresInRow < failuresMax) return false;
		this.#state = 'open';
		this.#openUntil = now + this.#openMs;
		this.#openMs = Math.min(openMaxMs, this.#openMs * 2);
		return true;
	}
}
