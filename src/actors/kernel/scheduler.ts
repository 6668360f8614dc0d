/**
 * Who runs next. Everything with work waits in one queue; a turn runs it in order, each for a bounded activation, until the
 * queue is empty or the turn's budget is spent, and then lets the host see to its I/O. One per system, single thread.
 */
import type { Host } from './host.ts';
import { Ring } from './ring.ts';

export interface Runnable {
	/** Owned by the scheduler: it waits in the queue. */
	scheduled: boolean;
	/** Handles up to `max` items; returns how many it handled. */
	run(max: number): number;
	readonly hasWork: boolean;
}

export interface TurnBudget {
	/** Messages of one activation of one actor. */
	readonly activationMax: number;
	readonly turnMessagesMax: number;
	readonly turnMs: number;
}

const clockEvery = 256;

export class Scheduler {
	readonly #host: Host;
	readonly #budget: TurnBudget;
	readonly #queue = new Ring<Runnable>(Number.POSITIVE_INFINITY);
	readonly #hooks = new Set<() => void>();
	readonly #turn = (): void => this.#runTurn();
	#pending = false;
	#running = false;
	messages = 0;

	constructor(host: Host, budget: TurnBudget) {
		this.#host = host;
		this.#budget = budget;
	}

	schedule(runnable: Runnable): void {
		if (runnable.scheduled) return;
		runnable.scheduled = true;
		this.#queue.push(runnable);
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

	/** Runs until nothing is left, without regard to budgets: for shutdown, outside any turn. */
	runToEnd(): void {
		while (this.#queue.length > 0) this.#runTurn();
	}

	#runTurn(): void {
		this.#pending = false;
		if (this.#running) return;
		this.#running = true;
		const { activationMax, turnMessagesMax, turnMs } = this.#budget;
		let handled = 0;
		let checkAt = clockEvery;
		const startedAt = this.#host.now();
		for (let runnable = this.#queue.shift(); runnable !== undefined; runnable = this.#queue.shift()) {
			handled += runnable.run(activationMax);
			runnable.scheduled = false;
			if (runnable.hasWork) this.schedule(runnable);
			if (handled >= turnMessagesMax) break;
			if (handled >= checkAt) {
				checkAt = handled + clockEvery;
				if (this.#host.now() - startedAt > turnMs) break;
			}
		}
		this.messages += handled;
		this.#running = false;
		// Hooks see a finished turn also when its budget ran out: what was made must leave before more is made.
		for (const hook of this.#hooks) hook();
		if (this.#queue.length > 0 && !this.#pending) {
			this.#pending = true;
			this.#host.yieldThen(this.#turn);
		}
	}
}
