/**
 * One reader of one task's events: a cursor into the log, never a buffer. On the front thread. Writes a bounded slice at a
 * time, and nothing more once the socket has refused one, so that a reader that stalls costs that slice and its cursor.
 *
 *   live    ── write refused ──────────→ blocked
 *   blocked ── all has left ───────────→ behind      (tokens merged, no metrics)
 *   behind  ── cursor at the end ──────→ live
 *   blocked ── stall_ms without progress → closed    (connection cut; it may resume)
 *   live | behind ── terminal event written → closed
 */
import type { TaskView } from '../../actors/serving/task-directory.ts';
import type { ResponseSink } from '../http/http-host.ts';
import { emptyComment, keepAliveComment, metricsFrame } from './sse.ts';
import type { Reader } from './watchers.ts';

export interface WatcherLimits {
	/** 0 = no keep-alives. */
	readonly heartbeatMs: number;
	readonly stallMs: number;
	/** Always merge: the set collects for this long. */
	readonly microbatchMs: number;
}

/** What a watcher needs of the set that it belongs to. */
export interface WatcherOwner {
	readonly limits: WatcherLimits;
	now(): number;
	/** The log moved: pump me at the end of the turn. */
	marked(watcher: Watcher): void;
	/** There is more than one slice: pump me again once others had their turn. */
	hasMore(watcher: Watcher): void;
	closed(watcher: Watcher): void;
}

const sliceBytes = 64 * 1024;
/** Of a reader whose socket has refused a write: what it leaves unsent must be small beside what it can take in `stallMs`. */
const behindSliceBytes = 16 * 1024;
/** The server library ends a connection under backpressure to which nothing is written for about 10 s. */
const commentMs = 5000;
/** No socket is full after fewer bytes than this. */
const fullAfterBytes = 16 * 1024;
const metricsMs = 1000;

export class Watcher implements Reader {
	readonly task: TaskView;
	waiting = false;
	replaying = false;
	readonly #sink: ResponseSink;
	readonly #owner: WatcherOwner;
	readonly #verbose: boolean;
	readonly #unsubscribe: () => void;
	/** The last seq that was handed to the socket. */
	#cursor: number;
	#state: 'live' | 'blocked' | 'behind' | 'closed' = 'live';
	#writtenAt: number;
	#progressAt: number;
	#sentBytes = 0;
	/** Nothing written since the last write that was known to have left. */
	#proven = true;
	#metricsAt = Number.NEGATIVE_INFINITY;
	#standingVersion = -1;
	#phase: TaskView['phase'] | null = null;

	constructor(task: TaskView, sink: ResponseSink, after: number, verbose: boolean, owner: WatcherOwner) {
		this.task = task;
		this.#sink = sink;
		this.#owner = owner;
		this.#verbose = verbose;
		// below the first event there is nothing to write
		this.#cursor = Math.max(after, task.log.firstSeq - 1);
		this.#writtenAt = owner.now();
		this.#progressAt = this.#writtenAt;
		sink.onAborted = () => this.#close();
		sink.onWritable = () => this.#unblock();
		this.#unsubscribe = task.log.subscribe(() => owner.marked(this));
		task.ref.tell({ type: 'watcher-attached' });
	}

	get correlationId(): string {
		return this.task.request.correlationId;
	}

	get hasEnd(): boolean {
		return this.task.log.ended;
	}

	get isClosed(): boolean {
		return this.#state === 'closed';
	}

	/** The first write: it carries the headers, so there is one even when nothing has happened yet. */
	open(): void {
		this.#sink.corked(() => {
			this.pump();
			if (this.#sentBytes === 0 && !this.isClosed) this.#write(emptyComment);
		});
	}

	/** One bounded write of what is new. */
	pump(): void {
		if (this.#state === 'closed' || this.#state === 'blocked') return;
		const { task } = this;
		if (task.log.ended) this.#sink.corked(this.#writeLast);
		else if (task.standingVersion !== this.#standingVersion && this.#metricsDue()) this.#sink.corked(this.#writeWithMetrics);
		else this.#writeSlice();
	}

	/** Called about once a second. */
	tick(now: number): void {
		const { heartbeatMs, stallMs } = this.#owner.limits;
		const quietMs = now - this.#writtenAt;
		if (this.#state === 'blocked') {
			if (now - this.#progressAt >= stallMs) this.#sink.abort();
			else if (quietMs >= commentMs && this.#write(emptyComment)) this.#unblock();
			return;
		}
		if (this.#state === 'closed') return;
		if (!this.task.log.ended && this.task.standingVersion !== this.#standingVersion && this.#metricsDue()) this.pump();
		else if (heartbeatMs > 0 && quietMs >= heartbeatMs) this.#write(keepAliveComment);
		else if (!this.#proven && quietMs >= commentMs && this.#sentBytes > fullAfterBytes) this.#prove();
	}

	/** Ends the connection; the reader may resume elsewhere. */
	cut(): void {
		this.#sink.abort();
	}

	readonly #writeWithMetrics = (): void => {
		this.#writeMetrics();
		if (this.#state !== 'blocked') this.#writeSlice();
	};

	readonly #writeLast = (): void => {
		this.#writeSlice();
		if (this.#state === 'closed' || this.#state === 'blocked' || this.#cursor < this.task.log.lastSeq) return;
		this.#sink.end();
		this.#close();
	};

	#writeSlice(): void {
		const { log } = this.task;
		// dropped to make room, or at the end of its retention: what is left, or would have come, cannot be had any more
		if (log.forgotten && (this.#cursor < log.lastSeq || !log.ended)) return this.cut();
		if (this.#cursor >= log.lastSeq) return;
		const merged = this.#state === 'behind' || this.#owner.limits.microbatchMs > 0;
		const slice = merged
			? log.mergedSlice(this.#cursor, this.#state === 'behind' ? behindSliceBytes : sliceBytes)
			: log.slice(this.#cursor, sliceBytes);
		if (slice === null) return;
		this.#cursor = slice.lastSeq;
		this.#proven = false;
		if (!this.#write(slice.bytes.subarray(slice.start, slice.end))) return;
		if (this.#cursor < log.lastSeq) this.#owner.hasMore(this);
		else this.#state = 'live';
	}

	#metricsDue(): boolean {
		if (this.#state !== 'live') return false;
		return this.task.phase !== this.#phase || this.#owner.now() - this.#metricsAt >= metricsMs;
	}

	#writeMetrics(): void {
		this.#standingVersion = this.task.standingVersion;
		this.#phase = this.task.phase;
		this.#metricsAt = this.#owner.now();
		this.#write(metricsFrame(this.task, this.#verbose));
	}

	/** False: refused, or closed. */
	#write(bytes: Uint8Array): boolean {
		const now = this.#owner.now();
		this.#writtenAt = now;
		this.#sentBytes += bytes.length;
		if (this.#sink.write(bytes)) return true;
		if (this.#state === 'live' || this.#state === 'behind') {
			this.#state = 'blocked';
			this.#progressAt = now;
		}
		return false;
	}

	/** A small write is accepted before the socket is asked: a second one tells what became of it. */
	#prove(): void {
		this.#proven = true;
		this.#write(emptyComment);
	}

	#unblock(): void {
		if (this.#state !== 'blocked') return;
		this.#state = 'behind';
		this.#progressAt = this.#owner.now();
		this.#proven = true;
		this.pump();
		if (this.#state === 'behind' && this.#cursor >= this.task.log.lastSeq) this.#state = 'live';
	}

	#close(): void {
		if (this.#state === 'closed') return;
		this.#state = 'closed';
		this.#unsubscribe();
		this.task.ref.tell({ type: 'watcher-gone' });
		this.#owner.closed(this);
	}
}
