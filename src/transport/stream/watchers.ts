/**
 * All readers of a front thread, event streams and WebSockets: pumps those for whom a log moved, once per turn; lets long
 * replays take turns; and keeps the time of all of them with one timer. Bounded in number; holds no events.
 */
import type { Telemetry } from '../../actors/kernel/telemetry.ts';
import type { TaskView } from '../../actors/serving/task-directory.ts';
import type { Clock } from '../clock.ts';
import type { ResponseSink } from '../http/http-host.ts';
import type { Feed } from './feed.ts';
import { NativeFeed } from './native-feed.ts';
import { Watcher, type WatcherLimits, type WatcherOwner } from './watcher.ts';

type ReaderBugReport = (where: string, error: unknown, correlationId: string) => void;

export interface WatchersOptions extends WatcherLimits {
	/** Tasks watched at once with one key, over all its connections; without keys, by all. */
	readonly watchersMax: number;
}

/** One connection that reads. */
export interface Reader {
	/** Whose it is, in logs. */
	readonly correlationId: string;
	/** In the list of those for whom a log moved. Kept by the set. */
	waiting: boolean;
	/** In the list of those with more than one slice to write. Kept by the set. */
	replaying: boolean;
	/** What it has to write is the end of something: no batching. */
	readonly hasEnd: boolean;
	/** One bounded write of what is new. */
	pump(now: number): void;
	/** Called about once a second. */
	tick(now: number): void;
	/** Ends the connection; the reader may resume elsewhere. */
	cut(): void;
}

const tickMsMax = 1000;
const tickMsMin = 10;
const latencySampleMs = 100;

export class Watchers implements WatcherOwner {
	readonly limits: WatchersOptions;
	readonly #clock: Clock;
	readonly #telemetry: Telemetry;
	readonly #report: ReaderBugReport;
	readonly #all = new Set<Reader>();
	#streams = 0;
	#socketWatches = 0;
	readonly #byKey = new Map<string | null, number>();
	readonly #keyOf = new WeakMap<Watcher, string | null>();
	readonly #stops: (() => void)[];
	#marked: Reader[] = [];
	#more: Reader[] = [];
	#batching = false;
	/** When the first watcher of this turn was marked, if this turn is sampled. */
	#markedAt: number | null = null;
	#sampledAt = Number.NEGATIVE_INFINITY;

	/** `onTurnEnd` runs its hook behind each turn of the actors of this thread. */
	constructor(
		options: WatchersOptions,
		clock: Clock,
		onTurnEnd: (hook: () => void) => () => void,
		telemetry: Telemetry,
		report: ReaderBugReport,
	) {
		this.limits = options;
		this.#clock = clock;
		this.#telemetry = telemetry;
		this.#report = report;
		const shortest = Math.min(options.stallMs, options.heartbeatMs > 0 ? options.heartbeatMs : Number.POSITIVE_INFINITY);
		const tickMs = Math.max(tickMsMin, Math.min(tickMsMax, Math.floor(shortest / 4)));
		this.#stops = [clock.every(tickMs, () => this.#tick()), onTurnEnd(() => this.#turnEnded())];
	}

	/** Tasks that are watched, once for each reader. */
	get count(): number {
		return this.#streams + this.#socketWatches;
	}

	/** Tasks that are watched with a key; null: without one. */
	countOf(keyName: string | null): number {
		return this.#byKey.get(keyName) ?? 0;
	}

	/** Watches `task` from behind `after` on; `sink` has been started. */
	attach(task: TaskView, sink: ResponseSink, after: number, verbose: boolean, keyName: string | null = null): void {
		this.watch(new NativeFeed(task, after, verbose), sink, keyName);
	}

	/** Sends `feed` to its end; `sink` has been started. */
	watch(feed: Feed, sink: ResponseSink, keyName: string | null): void {
		if (sink.closed) return;
		const watcher = new Watcher(feed, sink, this);
		this.#all.add(watcher);
		this.#keyOf.set(watcher, keyName);
		this.#count(keyName, 1);
		this.#streams += 1;
		this.#telemetry.gauge('sse_watchers', {}, this.#streams);
		watcher.open();
	}

	/** A connection that watches many tasks: it says how many. */
	addSocket(reader: Reader): void {
		this.#all.add(reader);
		this.#telemetry.gauge('ws_sockets', {}, this.#all.size - this.#streams);
	}

	removeSocket(reader: Reader): void {
		if (this.#all.delete(reader)) this.#telemetry.gauge('ws_sockets', {}, this.#all.size - this.#streams);
	}

	socketWatches(change: number, keyName: string | null): void {
		this.#socketWatches += change;
		this.#count(keyName, change);
		this.#telemetry.gauge('ws_watchers', {}, this.#socketWatches);
	}

	now(): number {
		return this.#clock.now();
	}

	marked(watcher: Reader): void {
		if (watcher.waiting) return;
		watcher.waiting = true;
		this.#marked.push(watcher);
		if (this.#marked.length > 1) return;
		const now = this.#clock.now();
		if (now - this.#sampledAt >= latencySampleMs) this.#markedAt = now;
		if (this.limits.microbatchMs === 0 || this.#batching) return;
		this.#batching = true;
		this.#clock.after(this.limits.microbatchMs, () => {
			this.#batching = false;
			this.#drain();
		});
	}

	hasMore(watcher: Reader): void {
		if (watcher.replaying) return;
		watcher.replaying = true;
		this.#more.push(watcher);
		if (this.#more.length === 1) this.#clock.soon(() => this.#replay());
	}

	closed(watcher: Watcher): void {
		if (!this.#all.delete(watcher)) return;
		this.#streams -= 1;
		this.#count(this.#keyOf.get(watcher) ?? null, -1);
		this.#telemetry.gauge('sse_watchers', {}, this.#streams);
	}

	#count(keyName: string | null, change: number): void {
		const count = this.countOf(keyName) + change;
		if (count === 0) this.#byKey.delete(keyName);
		else this.#byKey.set(keyName, count);
	}

	/** Cuts every connection. */
	close(): void {
		for (const stop of this.#stops) stop();
		for (const watcher of this.#all) watcher.cut();
	}

	#turnEnded(): void {
		if (this.#marked.length === 0) return;
		if (this.limits.microbatchMs === 0) return this.#drain();
		// an end waits for nothing
		const now = this.#clock.now();
		for (const watcher of this.#marked) if (watcher.hasEnd) this.#pump(watcher, now);
	}

	#drain(): void {
		const marked = this.#marked;
		this.#marked = [];
		// One look at the clock for all: each costs as much as what a token needs here.
		const now = this.#clock.now();
		for (let i = 0; i < marked.length; i++) {
			const watcher = marked[i] as Reader;
			watcher.waiting = false;
			if (!watcher.replaying) this.#pump(watcher, now);
		}
		if (this.#markedAt === null) return;
		this.#sampledAt = this.#clock.now();
		this.#telemetry.observe('relay_latency_us', {}, (this.#sampledAt - this.#markedAt) * 1000);
		this.#markedAt = null;
	}

	#replay(): void {
		const more = this.#more;
		this.#more = [];
		const now = this.#clock.now();
		for (const watcher of more) {
			watcher.replaying = false;
			this.#pump(watcher, now);
		}
	}

	#tick(): void {
		const now = this.#clock.now();
		for (const watcher of this.#all) {
			try {
				watcher.tick(now);
			} catch (error) {
				this.#failed(watcher, error);
			}
		}
	}

	#pump(watcher: Reader, now: number): void {
		try {
			watcher.pump(now);
		} catch (error) {
			this.#failed(watcher, error);
		}
	}

	#failed(watcher: Reader, error: unknown): void {
		this.#report('watcher', error, watcher.correlationId);
		watcher.cut();
	}
}
