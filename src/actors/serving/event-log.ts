/**
 * The one sequenced truth of a task, on its front thread: each numbered event once, as the exact bytes of its SSE
 * frame. Written by the Task alone; watchers read it through `EventLogView`. It never drops or rewrites an event, never
 * waits for a reader, and after its terminal event takes nothing more.
 *
 * A chunk is one buffer: frames grow from its front, their u16 start offsets from its back, and a frame never spans two.
 * ```
 *   ┌ frame 1 │ frame 2 │ frame 3 │ → free ← │ off 3 │ off 2 │ off 1 ┐
 * ```
 */
import type { Pieces } from './decode.ts';
import { type EventLogView, eventId, type LoggedEventName, type LogSlice } from './event-log-view.ts';
import { decimalDigits, recordBytes, tokenFrameBytesMax, writeTokenFrame } from './token-frame.ts';

const chunkBytesMin = 1024;
/** Offsets are 16 bit; a longer frame gets a chunk to itself. */
const chunkBytesMax = 65_536;
const offsetBytes = 2;
/** A chunk that holds so much of its size is not made smaller at the end. */
const fullShare = 0.75;
const mergedHead = Buffer.from('\nevent: token\ndata: {"batch":[');
const mergedTail = Buffer.from(']}\n\n');
const eventField = '\nevent: '.length;
const tokenHeadBytes = '\nevent: token\ndata: '.length;
const frameTail = Buffer.from('\n\n');
const frameTailBytes = frameTail.length;
const plainHead = Buffer.from('id: ');

interface Chunk {
	bytes: Buffer;
	/** Of `bytes`: all that is done for each token is done through it. */
	view: DataView;
	/** Of `bytes`: asked of a view or a buffer it is a call. */
	size: number;
	readonly firstSeq: number;
	used: number;
	count: number;
}

/** Where a frame of no known length is written when it may not fit what is left of a chunk; one a thread. */
let scratch = Buffer.alloc(0);
let scratchView = viewOf(scratch);

export class EventLog implements EventLogView {
	lastSeq: number;
	ended = false;
	forgotten = false;
	/** Bytes allocated: what the log really holds of `tasks.log_bytes_max`. */
	bytes = 0;
	/** Token events logged: the next one's `i`. */
	pieces = 0;
	/** Model tokens logged: the sum of `n`. */
	tokens = 0;

	/** What is reserved for the log: chunks stay within it for as long as the frames themselves do. */
	bytesExpected: number;

	readonly firstSeq: number;
	readonly run: number | null;
	/** 0: it is no run. */
	readonly #runNumber: number;
	/** What stands before the number of each event. */
	readonly #head: Buffer;
	#chunks: Chunk[] = [];
	/** The last of them: that which is written to, and which live watchers read. */
	#last: Chunk | null = null;
	/** The first who subscribed, as a rule the only one, and those who came later. */
	#watcher: (() => void) | null = null;
	#others: readonly (() => void)[] | null = null;

	constructor(bytesExpected: number, firstSeq = 1, run: number | null = null) {
		this.bytesExpected = bytesExpected;
		this.run = run;
		this.#runNumber = run ?? 0;
		this.#head = run === null ? plainHead : Buffer.from(`id: ${run}.`);
		this.firstSeq = firstSeq;
		this.lastSeq = firstSeq - 1;
	}

	/** Somebody wants to hear of what comes. */
	get watched(): boolean {
		return this.#watcher !== null;
	}

	/** The next event as `append` would write it. */
	frameOf(name: Exclude<LoggedEventName, 'token'>, json: string): string {
		return `id: ${eventId(this, this.lastSeq + 1)}\nevent: ${name}\ndata: ${json}\n\n`;
	}

	/** Logs `started`, or the terminal event. `json` is one line. */
	append(name: Exclude<LoggedEventName, 'token'>, json: string): void {
		if (this.ended) throw new Error(`event log: ${name} after the terminal event`);
		const frame = this.frameOf(name, json);
		const chunk = this.#chunkFor(Buffer.byteLength(frame));
		this.#commit(chunk, chunk.used + chunk.bytes.write(frame, chunk.used));
		if (name !== 'started') {
			this.ended = true;
			this.#trim();
		}
		this.notify();
	}

	/**
	 * Logs the pieces of one message, copying their bytes. False: the engine's records are malformed; those before the bad
	 * one are logged.
	 */
	appendPieces(pieces: Pieces): boolean {
		if (this.ended) throw new Error('event log: tokens after the terminal event');
		const from = pieces.bytes;
		const end = pieces.end;
		let at = pieces.start;
		let chunk = this.#last;
		while (at < end) {
			const bytes = recordBytes(from, at, end);
			if (bytes === 0) break;
			const seq = this.lastSeq + 1;
			const most = tokenFrameBytesMax(bytes);
			if (chunk !== null && roomIn(chunk) >= most) {
				this.#commit(chunk, writeTokenFrame(chunk.view, chunk.used, this.#runNumber, seq, this.pieces, from, at, bytes));
			} else {
				if (scratch.length < most) {
					scratch = Buffer.allocUnsafeSlow(Math.max(most, chunkBytesMin));
					scratchView = viewOf(scratch);
				}
				const length = writeTokenFrame(scratchView, 0, this.#runNumber, seq, this.pieces, from, at, bytes);
				chunk = this.#chunkFor(length);
				scratch.copy(chunk.bytes, chunk.used, 0, length);
				this.#commit(chunk, chunk.used + length);
			}
			this.pieces++;
			this.tokens += from[at + 2] as number;
			at += bytes;
		}
		this.notify();
		return at === end;
	}

	/** Logs whole frames of another log of the same task, which follow those that are here. */
	appendFrames(from: Buffer, start: number, end: number): void {
		let at = start;
		while (at < end) {
			if (this.ended) throw new Error('event log: frames after the terminal event');
			const next = from.indexOf(frameTail, at) + frameTailBytes;
			if (next < at + frameTailBytes || next > end) throw new Error('event log: a frame that is not whole');
			const name = nameOf(from, at + this.#head.length + decimalDigits(this.lastSeq + 1) + eventField);
			const chunk = this.#chunkFor(next - at);
			from.copy(chunk.bytes, chunk.used, at, next);
			this.#commit(chunk, chunk.used + next - at);
			if (name === 'token') this.pieces++;
			else if (name !== 'started') {
				this.ended = true;
				this.#trim();
			}
			at = next;
		}
		this.notify();
	}

	/** Drops every event. Watchers are told, and see `forgotten`. */
	forget(): void {
		this.#chunks = [];
		this.#last = null;
		this.bytes = 0;
		this.forgotten = true;
		this.notify();
	}

	slice(afterSeq: number, maxBytes: number): LogSlice | null {
		const from = Math.max(afterSeq + 1, this.firstSeq);
		const chunk = this.#chunkOf(from);
		if (chunk === null) return null;
		const first = from - chunk.firstSeq;
		const start = offsetOf(chunk, first);
		if (chunk.used - start <= maxBytes) {
			return { bytes: chunk.bytes, start, end: chunk.used, lastSeq: chunk.firstSeq + chunk.count - 1 };
		}
		// The last frame boundary within the limit.
		let low = first + 1;
		let high = chunk.count;
		while (low < high) {
			const middle = (low + high + 1) >> 1;
			if (offsetOf(chunk, middle) - start <= maxBytes) low = middle;
			else high = middle - 1;
		}
		return { bytes: chunk.bytes, start, end: offsetOf(chunk, low), lastSeq: chunk.firstSeq + low - 1 };
	}

	mergedSlice(behind: number, maxBytes: number): LogSlice | null {
		const afterSeq = Math.max(behind, this.firstSeq - 1);
		let chunkIndex = this.#indexOf(afterSeq + 1);
		if (chunkIndex < 0) return null;
		const first = this.slice(afterSeq, 1) as LogSlice;
		const bytesMax = Math.max(maxBytes, first.end - first.start);
		const out = new MergedFrames(this.#head, bytesMax, Math.min(bytesMax, this.#bytesAfter(afterSeq, chunkIndex)));
		for (let seq = afterSeq + 1; seq <= this.lastSeq; seq++) {
			let chunk = this.#chunks[chunkIndex] as Chunk;
			if (seq >= chunk.firstSeq + chunk.count) chunk = this.#chunks[++chunkIndex] as Chunk;
			const place = seq - chunk.firstSeq;
			if (!out.take(chunk.bytes, offsetOf(chunk, place), offsetOf(chunk, place + 1), seq)) break;
		}
		return out.finish();
	}

	forEach(behind: number, visit: (seq: number, name: LoggedEventName, json: string) => unknown): void {
		const afterSeq = Math.max(behind, this.firstSeq - 1);
		const last = this.lastSeq;
		let chunkIndex = this.#indexOf(afterSeq + 1);
		if (chunkIndex < 0) return;
		for (let seq = afterSeq + 1; seq <= last; seq++) {
			let chunk = this.#chunks[chunkIndex] as Chunk;
			if (seq >= chunk.firstSeq + chunk.count) chunk = this.#chunks[++chunkIndex] as Chunk;
			const place = seq - chunk.firstSeq;
			const nameAt = offsetOf(chunk, place) + this.#head.length + decimalDigits(seq) + eventField;
			const name = nameOf(chunk.bytes, nameAt);
			const jsonAt = nameAt + name.length + '\ndata: '.length;
			if (visit(seq, name, chunk.bytes.toString('utf8', jsonAt, offsetOf(chunk, place + 1) - frameTailBytes)) === false) return;
		}
	}

	subscribe(moved: () => void): () => void {
		this.#watch([...this.#all, moved]);
		let open = true;
		return () => {
			if (!open) return;
			open = false;
			// Two subscriptions may share one function: drop one.
			const at = this.#all.indexOf(moved);
			this.#watch(this.#all.filter((_, i) => i !== at));
		};
	}

	get #all(): readonly (() => void)[] {
		return this.#watcher === null ? [] : [this.#watcher, ...(this.#others ?? [])];
	}

	#watch(all: readonly (() => void)[]): void {
		const [first, ...others] = all;
		this.#watcher = first ?? null;
		this.#others = others.length === 0 ? null : others;
	}

	/** Tells the watchers to look: after each append, and by the Task when its standing or phase has changed. */
	notify(): void {
		const others = this.#others;
		this.#watcher?.();
		if (others !== null) for (const moved of others) moved();
	}

	#commit(chunk: Chunk, end: number): void {
		chunk.view.setUint16(chunk.size - offsetBytes * (chunk.count + 1), chunk.used, true);
		chunk.used = end;
		chunk.count++;
		this.lastSeq++;
	}

	/** A chunk with room for a frame of `frameBytes`: the last one, or a new one. */
	#chunkFor(frameBytes: number): Chunk {
		if (this.#last !== null && roomIn(this.#last) >= frameBytes) return this.#last;
		// As much again as there is, within what was reserved while that lasts.
		const wanted = Math.min(Math.max(this.bytes, chunkBytesMin), chunkBytesMax, Math.max(this.bytesExpected - this.bytes, 0));
		const size = Math.max(wanted, frameBytes + offsetBytes);
		const bytes = Buffer.allocUnsafeSlow(size);
		const chunk: Chunk = { bytes, view: viewOf(bytes), size, firstSeq: this.lastSeq + 1, used: 0, count: 0 };
		this.#chunks.push(chunk);
		this.#last = chunk;
		this.bytes += size;
		return chunk;
	}

	/** The last chunk shrinks to what it holds: a finished task may be kept for minutes. */
	#trim(): void {
		const chunk = this.#last;
		if (chunk === null) return;
		const offsets = offsetBytes * chunk.count;
		const whole = chunk.bytes;
		// Of one that is nearly full there is little to be had.
		if (chunk.used + offsets > whole.length * fullShare) return;
		const exact = Buffer.allocUnsafeSlow(chunk.used + offsets);
		whole.copy(exact, 0, 0, chunk.used);
		whole.copy(exact, chunk.used, whole.length - offsets);
		chunk.bytes = exact;
		chunk.view = viewOf(exact);
		chunk.size = exact.length;
		this.bytes -= whole.length - exact.length;
	}

	#chunkOf(seq: number): Chunk | null {
		const last = this.#last;
		if (last !== null && seq >= last.firstSeq) return seq <= this.lastSeq ? last : null;
		const index = this.#indexOf(seq);
		return index < 0 ? null : (this.#chunks[index] as Chunk);
	}

	/** Index of the chunk that holds `seq`; −1 when there is none. */
	#indexOf(seq: number): number {
		if (seq > this.lastSeq || this.#chunks.length === 0) return -1;
		let high = this.#chunks.length - 1;
		if (seq >= (this.#chunks[high] as Chunk).firstSeq) return high;
		let low = 0;
		while (low < high) {
			const middle = (low + high + 1) >> 1;
			if ((this.#chunks[middle] as Chunk).firstSeq <= seq) low = middle;
			else high = middle - 1;
		}
		return low;
	}

	#bytesAfter(afterSeq: number, chunkIndex: number): number {
		const chunk = this.#chunks[chunkIndex] as Chunk;
		let bytes = chunk.used - offsetOf(chunk, afterSeq + 1 - chunk.firstSeq);
		for (let i = chunkIndex + 1; i < this.#chunks.length; i++) bytes += (this.#chunks[i] as Chunk).used;
		return bytes;
	}
}

/** Frame bytes that still fit beside the offset of the frame. */
function roomIn(chunk: Chunk): number {
	return chunk.used >= chunkBytesMax ? 0 : chunk.size - chunk.used - offsetBytes * (chunk.count + 1);
}

/** Start of the frame at `place`; of the one behind the last: the end of the bytes. */
function offsetOf(chunk: Chunk, place: number): number {
	return place === chunk.count ? chunk.used : chunk.view.getUint16(chunk.size - offsetBytes * (place + 1), true);
}

function viewOf(bytes: Buffer): DataView {
	return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function nameOf(bytes: Buffer, at: number): LoggedEventName {
	const first = bytes[at];
	if (first === 0x74) return 'token';
	if (first === 0x73) return 'started';
	return bytes[at + 1] === 0x6e ? 'end' : 'error';
}

/**
 * Builds one merged slice. Never longer than the frames it was made of: what a second token adds to a batch (a comma)
 * and what the batch adds to the first are less than the head that the second one loses.
 */
class MergedFrames {
	readonly #head: Buffer;
	readonly #bytes: Buffer;
	readonly #bytesMax: number;
	#used = 0;
	#lastSeq = 0;
	/** JSON of the run's tokens so far, as ranges; the frame's id is known only when the run has ended. */
	#run: { readonly bytes: Buffer; readonly start: number; readonly end: number }[] = [];
	#runBytes = 0;

	constructor(head: Buffer, bytesMax: number, bytesNeededMax: number) {
		this.#head = head;
		this.#bytesMax = bytesMax;
		this.#bytes = Buffer.allocUnsafeSlow(bytesNeededMax);
	}

	/** False: the event does not fit any more. The first one always does. */
	take(bytes: Buffer, start: number, end: number, seq: number): boolean {
		const digits = decimalDigits(seq);
		const nameAt = start + this.#head.length + digits + eventField;
		const token = nameOf(bytes, nameAt) === 'token';
		const json = start + this.#head.length + digits + tokenHeadBytes;
		const jsonBytes = end - frameTailBytes - json;
		const grown = token ? this.#batchBytes(digits, jsonBytes) : this.#batchBytes(0, 0) + (end - start);
		if (this.#used + grown > this.#bytesMax) return false;
		if (token) {
			this.#run.push({ bytes, start: json, end: json + jsonBytes });
			this.#runBytes += jsonBytes;
		} else {
			this.#closeRun();
			this.#used += bytes.copy(this.#bytes, this.#used, start, end);
		}
		this.#lastSeq = seq;
		return true;
	}

	finish(): LogSlice {
		this.#closeRun();
		return { bytes: this.#bytes, start: 0, end: this.#used, lastSeq: this.#lastSeq };
	}

	/** Bytes of the run as a frame, with one more token of `jsonBytes` when `digits` is not 0. */
	#batchBytes(digits: number, jsonBytes: number): number {
		const tokens = this.#run.length + (digits === 0 ? 0 : 1);
		if (tokens === 0) return 0;
		const idDigits = digits === 0 ? decimalDigits(this.#lastSeq) : digits;
		const inside = this.#runBytes + jsonBytes;
		if (tokens === 1) return this.#head.length + idDigits + tokenHeadBytes + inside + frameTailBytes;
		return this.#head.length + idDigits + mergedHead.length + inside + (tokens - 1) + mergedTail.length;
	}

	#closeRun(): void {
		const run = this.#run;
		if (run.length === 0) return;
		const out = this.#bytes;
		const batched = run.length > 1;
		let used = this.#used + this.#head.copy(out, this.#used);
		used += out.write(String(this.#lastSeq), used, 'latin1');
		used += batched ? mergedHead.copy(out, used) : out.write('\nevent: token\ndata: ', used, 'latin1');
		for (let i = 0; i < run.length; i++) {
			const part = run[i] as { readonly bytes: Buffer; readonly start: number; readonly end: number };
			if (i > 0) out[used++] = 0x2c;
			used += part.bytes.copy(out, used, part.start, part.end);
		}
		used += batched ? mergedTail.copy(out, used) : out.write('\n\n', used, 'latin1');
		this.#used = used;
		this.#run = [];
		this.#runBytes = 0;
	}
}
