/**
 * How a thread is, as its metrics say it when they are asked for: its event loop, its actors, their mailboxes. Runs on the worker
 * thread; looks, and changes nothing. At each heartbeat it would cost an idle thread more than all else that it does.
 */
import type { ActorSystem } from '../kernel/system.ts';

export class Vitals {
	readonly #system: ActorSystem;
	readonly #thread: string;
	/** Actors, or kinds of them, that had a mailbox at the last look. */
	#shown: ReadonlyMap<string, number> = new Map();

	constructor(system: ActorSystem, thread: string) {
		this.#system = system;
		this.#thread = thread;
	}

	/** The last heartbeat came `lateMs` after its time. */
	show(lateMs: number): void {
		const { telemetry } = this.#system.host;
		const { actors, timers, asks } = this.#system.stats;
		const thread = { thread: this.#thread };
		telemetry.gauge('event_loop_lag_ms', thread, lateMs);
		telemetry.gauge('actors', thread, actors);
		telemetry.gauge('actor_timers', thread, timers);
		telemetry.gauge('actor_asks', thread, asks);
		const depths = this.#system.mailboxDepthsByKind();
		for (const [actor, depth] of depths) telemetry.gauge('mailbox_depth', { actor }, depth);
		for (const actor of this.#shown.keys()) if (!depths.has(actor)) telemetry.gauge('mailbox_depth', { actor }, 0);
		this.#shown = depths;
	}
}
