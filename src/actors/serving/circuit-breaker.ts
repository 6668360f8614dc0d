/**
 * Whether a replica is given tasks, by how the last ones went. Pure; part of the Pool actor, one a replica. It forgets with the
 * control thread: the first tasks of the next one find out anew.
 * ```
 *   closed ─5 failures in a row─► open ─30 s, doubling to 300 s─► half-open: one task at a time ─success─► closed
 *                                  ▲                                 └──────────────failure──────────────► open, for longer
 * ```
 */
import type { Settlement } from './messages.ts';

export type BreakerState = 'closed' | 'open' | 'half-open';

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

/**
 * What the end of a task says of its engine. A client that leaves, a deadline that passes and a request that is wrong say
 * nothing; a watchdog and a generation that broke do.
 */
export function verdictOf({ outcome, slot, reason }: Settlement): 'success' | 'failure' | 'death' | 'neither' {
	if (outcome === 'completed') return 'success';
	if (reason === 'watchdog' || reason === 'DECODE_TIMEOUT' || reason === 'INTERNAL') return 'failure';
	if (reason === 'unreachable' || reason === 'replica-lost') return 'death';
	if (reason === 'WORKER_RESET') return slot === 'free' ? 'failure' : 'death';
	return 'neither';
}
