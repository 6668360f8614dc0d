/**
 * Who runs next. Everything with work waits in one queue; a turn runs it in order, each for a bounded activation, until the
 * queue is empty or the turn's budget is spent, and then lets the host see to its I/O. One per system, single thread.
 */
import type { Host } from './host.ts';
import { Ring } from './ring.ts';
import { errorFields } from './telemetry.ts';

export interface Runnable {
	/** Owned by the scheduler: it waits in the queue, or runs. */
	scheduled: boolean;
	/** Handles up to `max` items; returns how many it handled. Must not throw. */
	run(max: number): number;
	readonly hasWork: boolean;
}

export interface TurnBudget {
	/** Messages of one activation of one actor. */
	readonly activationMax: number;
	readonly turnMessagesMax: number;
	readonly turnMs: number;
}

/** Messages between two looks at the clock: one look costs about as much as one message. */
const clockEvery = 16;

export class Scheduler {
	readonly #host: Host;
	readonly #budget: TurnBudget;
	readonly #queue = new Ring<Runnable>(Number.POSITIVE_INFINITY);
	readonly #hooks = new Set<() => void>();
	readonly #turn = (): void => this.#runTurn();
	#pending = false;
	#running = false;
	messages = 0;
	/** The time as it was looked at last, at the beginning of the turn or `clockEvery` messages ago. */
	lookedAt = 0;

	constructor(host: Host, budget: TurnBudget) {
		this.#host = host;
		this.#budget = budget;
	}

	get running(): boolean {
		return this.#running;
	}

	schedule(runnable: Runnable): void {
		if (runnable.scheduled) return;
		runnable.scheduled = true;
		this.#queue.pushBeyond(runnable);
		if (this.#pending || this.#running) return;
		this.#pending = true;
		this.#host.defer(this.#turn);
	}

	onTurnEnd(hook: () => void): () => void {
		this.#hooks.add(hook);
		return () => {
			this.#hooks.delete(hook);
		};
	}

	/** Runs until nothing is left, one turn after the other without the host between them. Outside any turn only. */
	runToEnd(): void {
		while (this.#queue.length > 0 && !this.#running) this.#runTurn();
	}

	#runTurn(): void {
		if (this.#running) return;
		this.#pending = false;
		this.#running = true;
		try {
			this.#runQueue();
			// Also when the budget ran out: what was made must leave before more is made.
			for (const hook of this.#hooks) this.#runHook(hook);
		} finally {
			this.#running = false;
			// What hooks told waits for the host as well: else a hook that always tells would never let it in.
			if (this.#queue.length > 0 && !this.#pending) {
				this.#pending = true;
				this.#host.yieldThen(this.#turn);
			}
		}
	}

	#runQueue(): void {
		const { activationMax, turnMessagesMax, turnMs } = this.#budget;
		this.lookedAt = this.#host.now();
		const until = this.lookedAt + turnMs;
		let handled = 0;
		let lookAt = clockEvery;
		for (let runnable = this.#queue.shift(); runnable !== undefined; runnable = this.#queue.shift()) {
			const more = runnable.run(activationMax);
			handled += more;
			this.messages += more;
			runnable.scheduled = false;
			if (runnable.hasWork) this.schedule(runnable);
			if (handled >= turnMessagesMax) return;
			if (handled >= lookAt) {
				lookAt = handled + clockEvery;
				this.lookedAt = this.#host.now();
				if (this.lookedAt > until) return;
			}
		}
	}

	#runHook(hook: () => void): void {
		try {
			hook();
		} catch (error) {
			this.#host.telemetry.log('error', 'turn-end-failed', errorFields(error));
		}
	}
}
