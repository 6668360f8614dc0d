/**
 * The three clocks on a running generation: until its first token, between tokens, and in all. Part of the Task actor,
 * same thread and turn. One timer serves all three: it is set once, not at each batch of tokens, looks when it fires, and sleeps until the
 * next of them may be due.
 */
import type { ActorContext } from '../kernel/behavior.ts';
import type { WatchdogTimeouts } from './messages.ts';
import type { TaskMessage } from './task-messages.ts';

export class Watchdog {
	readonly #ctx: ActorContext<TaskMessage>;
	readonly #timeouts: WatchdogTimeouts;
	readonly #startedAt: number;
	readonly #wallAt: number;
	#heard = false;

	/** The generation begins now; `ranMs`: others before it. A limit of 0 is none. */
	constructor(ctx: ActorContext<TaskMessage>, timeouts: WatchdogTimeouts, ranMs = 0) {
		this.#ctx = ctx;
		this.#timeouts = timeouts;
		this.#startedAt = ctx.now();
		this.#wallAt = timeouts.wallMs > 0 ? this.#startedAt + Math.max(1, timeouts.wallMs - ranMs) : never;
		this.#sleep(this.#startedAt, this.#startedAt);
	}

	/** The first tokens have come. */
	heard(): void {
		this.#heard = true;
	}

	/** The timer has fired, the last tokens have come at `heardAt`: what is wrong, or null when there is time left. */
	look(heardAt: number): string | null {
		const now = this.#ctx.now();
		const { firstTokenMs, idleMs, wallMs } = this.#timeouts;
		if (now >= this.#wallAt) return `the task ran for ${wallMs} ms, all that timeouts.wall_ms and its budgets allow`;
		if (this.#heard && now >= after(heardAt, idleMs)) return `no token came for ${idleMs} ms (timeouts.idle_ms)`;
		if (!this.#heard && now >= after(this.#startedAt, firstTokenMs))
			return `no token came within ${firstTokenMs} ms (timeouts.first_token_ms)`;
		this.#sleep(now, heardAt);
		return null;
	}

	stop(): void {
		this.#ctx.cancelTimer('watch');
	}

	/** Tokens may come the moment after this: from then on it must wake in time to miss them. */
	#sleep(now: number, heardAt: number): void {
		const { firstTokenMs, idleMs } = this.#timeouts;
		const silence = this.#heard ? after(heardAt, idleMs) : Math.min(after(this.#startedAt, firstTokenMs), after(now, idleMs));
		const due = Math.min(silence, this.#wallAt);
		if (due < never) this.#ctx.setTimer('watch', due - now, { type: 'watch' });
	}
}

const never = Number.POSITIVE_INFINITY;

/** A limit of 0 is none. */
function after(from: number, limitMs: number): number {
	return limitMs > 0 ? from + limitMs : never;
}
