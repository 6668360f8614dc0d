/**
 * The three clocks on a running generation: until its first token, between tokens, and in all. Part of the Task actor,
 * same thread and turn. Its timer is not set again at each batch of tokens, nor is it told of each: it looks when it fires, and
 * sleeps for the rest.
 */
import type { ActorContext } from '../kernel/behavior.ts';
import type { WatchdogTimeouts } from './messages.ts';
import type { TaskMessage } from './task-messages.ts';

export class Watchdog {
	readonly #ctx: ActorContext<TaskMessage>;
	readonly #timeouts: WatchdogTimeouts;
	readonly #startedAt: number;
	#heard = false;

	/** The generation begins now; `ranMs`: others before it. A limit of 0 is none. */
	constructor(ctx: ActorContext<TaskMessage>, timeouts: WatchdogTimeouts, ranMs = 0) {
		this.#ctx = ctx;
		this.#timeouts = timeouts;
		this.#startedAt = ctx.now();
		this.#sleep(timeouts.firstTokenMs);
		if (timeouts.wallMs > 0) ctx.setTimer('wall', Math.max(1, timeouts.wallMs - ranMs), { type: 'wall-reached' });
	}

	/** The first tokens have come. */
	heard(): void {
		this.#heard = true;
		this.#sleep(this.#timeouts.idleMs);
	}

	/** The timer has fired, the last tokens have come at `heardAt`: what is wrong, or null when there is time left. */
	look(heardAt: number): string | null {
		const limitMs = this.#heard ? this.#timeouts.idleMs : this.#timeouts.firstTokenMs;
		const leftMs = (this.#heard ? heardAt : this.#startedAt) + limitMs - this.#ctx.now();
		if (leftMs > 0) {
			this.#sleep(leftMs);
			return null;
		}
		return this.#heard
			? `no token came for ${limitMs} ms (timeouts.idle_ms)`
			: `no token came within ${limitMs} ms (timeouts.first_token_ms)`;
	}

	wall(): string {
		return `the task ran for ${this.#timeouts.wallMs} ms, all that timeouts.wall_ms and its budgets allow`;
	}

	stop(): void {
		this.#ctx.cancelTimer('watch');
		this.#ctx.cancelTimer('wall');
	}

	#sleep(delayMs: number): void {
		if (delayMs > 0) this.#ctx.setTimer('watch', delayMs, { type: 'watch' });
		else this.#ctx.cancelTimer('watch');
	}
}
