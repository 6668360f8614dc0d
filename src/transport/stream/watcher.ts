/**
 * One reader of an HTTP stream: a feed, which is a cursor into a log, never a buffer. On the front thread. Writes a bounded slice at a
 * time, and nothing more once the socket has refused one, so that a reader that stalls costs that slice and its cursor.
 *
 *   live    ── write refused ──────────→ blocked
 *   blocked ── all has left ───────────→ behind      (tokens merged, no metrics)
 *   behind  ── cursor at the end ──────→ live
 *   blocked ── stall_ms without progress → closed    (connection cut; it may resume)
 *   live | behind ── terminal event written → closed
 */
import type { ResponseSink } from '../http/http-host.ts';
import type { Feed } from './feed.ts';
import { emptyComment, keepAliveComment } from './sse.ts';
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
const standingMs = 1000;

export class Watcher implements Reader {
	waiting = false;
	replaying = false;
	#state: 'live' | 'blocked' | 'behind' | 'closed' = 'live';
	readonly #feed: Feed;
	readonly #sink: ResponseSink;
	readonly #owner: WatcherOwner;
	/** Always, not only while it is behind. */
	readonly #merges: boolean;
	#writtenAt: number;
	#progressAt: number;
	#sentBytes = 0;
	/** Nothing written since the last write that was known to have left. */
	#proven = true;
	#standingAt = Number.NEGATIVE_INFINITY;
	#standingVersion = -1;
	#phase: string | null = null;

	constructor(feed: Feed, sink: ResponseSink, owner: WatcherOwner) {
		this.#feed = feed;
		this.#sink = sink;
		this.#owner = owner;
		this.#merges = owner.limits.microbatchMs > 0;
		this.#writtenAt = owner.now();
		this.#progressAt = this.#writtenAt;
		sink.onAborted = () => this.#close();
		sink.onWritable = () => this.#unblock();
		feed.attach(() => owner.marked(this));
	}

	get correlationId(): string {
		return this.#feed.correlationId;
	}

	get hasEnd(): boolean {
		return this.#feed.hasEnd;
	}

	get isClosed(): boolean {
		return this.#state === 'closed';
	}

	/** The first write: it carries the headers, so there is one even when nothing has happened yet. */
	open(): void {
		const now = this.#owner.now();
		this.#sink.corked(() => {
			this.pump(now);
			if (this.#sentBytes === 0 && !this.isClosed) this.#write(emptyComment, now);
		});
	}

	/** One bounded write of what is new. */
	pump(now: number): void {
		if (this.#state === 'closed' || this.#state === 'blocked') return;
		if (this.#feed.hasEnd) this.#sink.corked(() => this.#writeLast(now));
		else if (this.#standingDue(now)) this.#sink.corked(() => this.#writeWithStanding(now));
		else this.#writeSlice(now);
	}

	/** Called about once a second. */
	tick(now: number): void {
		const { heartbeatMs, stallMs } = this.#owner.limits;
		const quietMs = now - this.#writtenAt;
		if (this.#state === 'blocked') {
			if (now - this.#progressAt >= stallMs) this.#sink.abort();
			else if (quietMs >= commentMs && this.#write(emptyComment, now)) this.#unblock();
			return;
		}
		if (this.#state === 'closed') return;
		if (!this.#feed.hasEnd && this.#standingDue(now)) this.pump(now);
		else if (heartbeatMs > 0 && quietMs >= heartbeatMs) this.#write(keepAliveComment, now);
		else if (!this.#proven && quietMs >= commentMs && this.#sentBytes > fullAfterBytes) this.#prove(now);
	}

	/** Ends the connection; the reader may resume elsewhere. */
	cut(): void {
		this.#sink.abort();
	}

	#writeWithStanding(now: number): void {
		this.#writeStanding(now);
		if (this.#state !== 'blocked') this.#writeSlice(now);
	}

	#writeLast(now: number): void {
		this.#writeSlice(now);
		if (this.#state === 'closed' || this.#state === 'blocked' || !this.#feed.finished) return;
		this.#sink.end();
		this.#close();
	}

	#writeSlice(now: number): void {
		const feed = this.#feed;
		// dropped to make room, or at the end of its retention
		if (feed.lost) return this.cut();
		const behind = this.#state === 'behind';
		const range = feed.next(behind ? behindSliceBytes : sliceBytes, behind || this.#merges);
		if (range === null) return;
		this.#proven = false;
		if (!this.#write(range.bytes, now, range.start, range.end)) return;
		if (feed.hasMore) this.#owner.hasMore(this);
		else this.#state = 'live';
	}

	#standingDue(now: number): boolean {
		const { standingVersion, phase } = this.#feed;
		if (standingVersion === this.#standingVersion || this.#state !== 'live') return false;
		return phase !== this.#phase || now - this.#standingAt >= standingMs;
	}

	#writeStanding(now: number): void {
		this.#standingVersion = this.#feed.standingVersion;
		this.#phase = this.#feed.phase;
		this.#standingAt = now;
		const bytes = this.#feed.standing(now);
		if (bytes !== null) this.#write(bytes, now);
	}

	/** False: refused, or closed. */
	#write(bytes: Uint8Array, now: number, start = 0, end = bytes.length): boolean {
		this.#writtenAt = now;
		this.#sentBytes += end - start;
		if (this.#sink.write(bytes, start, end)) return true;
		if (this.#state === 'live' || this.#state === 'behind') {
			this.#state = 'blocked';
			this.#progressAt = now;
		}
		return false;
	}

	/** A small write is accepted before the socket is asked: a second one tells what became of it. */
	#prove(now: number): void {
		this.#proven = true;
		this.#write(emptyComment, now);
	}

	#unblock(): void {
		if (this.#state !== 'blocked') return;
		this.#state = 'behind';
		const now = this.#owner.now();
		this.#progressAt = now;
		this.#proven = true;
		this.pump(now);
		if (this.#state === 'behind' && !this.#feed.hasMore) this.#state = 'live';
	}

	#close(): void {
		if (this.#state === 'closed') return;
		this.#state = 'closed';
		this.#feed.leave();
		this.#owner.closed(this);
	}
}
