/**
 * All watchers of a front thread: pumps those whose log moved, once per turn; lets long replays take turns; and keeps the
 * time of all of them with one timer. Bounded in number; holds no events.
 */
import type { Telemetry } from '../../actors/kernel/telemetry.ts';
import type { TaskView } from '../../actors/serving/task-directory.ts';
import type { Clock } from '../clock.ts';
import type { BugReport, ResponseSink } from '../http/http-host.ts';
import { Watcher, type WatcherLimits, type WatcherOwner } from './watcher.ts';

export interface WatchersOptions extends WatcherLimits {
	readonly watchersMax: number;
}

const tickMsMax = 1000;
const tickMsMin = 10;
const latencySampleMs = 100;

export class Watchers implements WatcherOwner {
	readonly limits: WatchersOptions;
	readonly #clock: Clock;
	readonly #telemetry: Telemetry;
	readonly #report: BugReport;
	readonly #all = new Set<Watcher>();
	readonly #stops: (() => void)[];
	#marked: Watcher[] = [];
	#more: Watcher[] = [];
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
		report: BugReport,
	) {
		this.limits = options;
		this.#clock = clock;
		this.#telemetry = telemetry;
		this.#report = report;
		const shortest = Math.min(options.stallMs, options.heartbeatMs > 0 ? options.heartbeatMs : Number.POSITIVE_INFINITY);
		const tickMs = Math.max(tickMsMin, Math.min(tickMsMax, Math.floor(shortest / 4)));
		this.#stops = [clock.every(tickMs, () => this.#tick()), onTurnEnd(() => this.#turnEnded())];
	}

	get count(): number {
		return this.#all.size;
	}

	get full(): boolean {
		return this.#all.size >= this.limits.watchersMax;
	}

	/** Watches `task` from behind `after` on; `sink` has been started. */
	attach(task: TaskView, sink: ResponseSink, after: number, verbose: boolean): void {
		if (sink.closed) return;
		const watcher = new Watcher(task, sink, after, verbose, this);
		this.#all.add(watcher);
		this.#telemetry.gauge('sse_watchers', {}, this.#all.size);
		watcher.open();
	}

	now(): number {
		return this.#clock.now();
	}

	marked(watcher: Watcher): void {
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

	hasMore(watcher: Watcher): void {
		if (watcher.replaying) return;
		watcher.replaying = true;
		this.#more.push(watcher);
		if (this.#more.length === 1) this.#clock.soon(() => this.#replay());
	}

	closed(watcher: Watcher): void {
		this.#all.delete(watcher);
		this.#telemetry.gauge('sse_watchers', {}, this.#all.size);
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
		for (const watcher of this.#marked) if (watcher.task.log.ended) this.#pump(watcher);
	}

	#drain(): void {
		const marked = this.#marked;
		this.#marked = [];
		for (let i = 0; i < marked.length; i++) {
			const watcher = marked[i] as Watcher;
			watcher.waiting = false;
			if (!watcher.replaying) this.#pump(watcher);
		}
		if (this.#markedAt === null) return;
		this.#sampledAt = this.#clock.now();
		this.#telemetry.observe('relay_latency_us', {}, (this.#sampledAt - this.#markedAt) * 1000);
		this.#markedAt = null;
	}

	#replay(): void {
		const more = this.#more;
		this.#more = [];
		for (const watcher of more) {
			watcher.replaying = false;
			this.#pump(watcher);
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

	#pump(watcher: Watcher): void {
		try {
			watcher.pump();
		} catch (error) {
			this.#failed(watcher, error);
		}
	}

	#failed(watcher: Watcher, error: unknown): void {
		this.#report('watcher', error);
		watcher.cut();
	}
}
