/** What the parts of one actor system share. Made by `ActorSystem`; types only. */
import type { Host } from './host.ts';
import type { Scheduler } from './scheduler.ts';

export interface SystemCore {
	readonly host: Host;
	readonly scheduler: Scheduler;
	/** `Host.trace`, looked up once. */
	readonly trace: Host['trace'] | undefined;
	/** `Host.check`, the same. */
	readonly check: Host['check'] | undefined;
	/** Alive now. */
	actors: number;
	timers: number;
	asks: number;
	edges: number;
	/** Since the start. */
	failures: number;
	/** Messages that were accepted and will never be read. */
	deadLetters(path: string, messages: readonly unknown[], about?: Readonly<Record<string, string>>): void;
	rootEnded(name: string): void;
}
