/**
 * A pool that is being emptied: until when its running tasks may go on, and which of its waiting tasks are still to be offered
 * to other pools. Part of the Pool actor; pure.
 */
import type { Waiting } from './pool-tasks.ts';

/** Offered in one turn, before other messages have theirs. */
const offeredAtOnce = 256;

export class PoolDrain {
	/** On `Host.now`. */
	#deadlineAt: number | null = null;
	#unoffered: readonly Waiting[] = [];

	/** Null: it is not being drained. */
	get deadlineAt(): number | null {
		return this.#deadlineAt;
	}

	get active(): boolean {
		return this.#deadlineAt !== null;
	}

	/** Again: with another deadline. Those that nobody else could take are offered again. */
	begin(deadlineAt: number): void {
		this.#deadlineAt = deadlineAt;
	}

	/** All that wait now, in their order, are to be offered. */
	offer(waiting: readonly Waiting[]): void {
		this.#unoffered = waiting;
	}

	end(): void {
		this.#deadlineAt = null;
		this.#unoffered = [];
	}

	/** The next ones; none: all were. */
	next(): readonly Waiting[] {
		const part = this.#unoffered.slice(0, offeredAtOnce);
		this.#unoffered = this.#unoffered.slice(part.length);
		return part;
	}

	get done(): boolean {
		return this.#unoffered.length === 0;
	}
}
