/**
 * The data of server-sent events, as the byte ranges in which they lie: one scan for line ends, no copy but of what a read has
 * cut apart. Runs once per event on a front thread. WHATWG HTML, 9.2.6: lines end with LF, CR or CRLF; several `data` lines are
 * joined by LF; comments and other fields are passed over, but for `event`.
 */

export interface EventSink {
	/** Where the event that begins at `at` ends, if it lies in `bytes` wholly and is known by its bytes; else −1. */
	onFrame(bytes: Buffer, at: number, end: number): number;
	/**
	 * Data of one event: `bytes[start, end)`, valid during the call. `name`: of its `event` field, '' without. Where the whole event
	 * lies in `bytes`, it lies in `bytes[frameStart, frameEnd)`; else `frameStart` is −1.
	 */
	onEvent(name: string, bytes: Buffer, start: number, end: number, frameStart: number, frameEnd: number): void;
}

/** More than any delta, and what an answer in one event may have. */
export const eventBytesMax = 16 * 1024 * 1024;
const lf = 0x0a;
const cr = 0x0d;
const colon = 0x3a;
const space = 0x20;
const dataField = Buffer.from('data');
const eventField = Buffer.from('event');

/** An event, or a line of one, is longer than any that is expected. */
export class EventTooLong extends Error {}

export class EventScanner {
	readonly #sink: EventSink;
	/** What comes next begins an event: nothing of one has come yet. */
	#fresh = false;
	/** The line before ended with CR: an LF behind it belongs to that. */
	#behindCr = false;
	/** Where the event under way began in the bytes of this read; −1: in another's. */
	#frameStart = 0;
	/** The beginning of a line whose end is still to come. */
	#cut: Buffer[] = [];
	#cutBytes = 0;
	/** The data lines of the event so far; the last one may lie in the bytes of the read under way. */
	#data: Buffer[] = [];
	#dataBytes = 0;
	#bytes: Buffer | null = null;
	#start = 0;
	#end = 0;
	#name = '';
	#first = true;

	constructor(sink: EventSink) {
		this.#sink = sink;
	}

	/** Throws `EventTooLong`. */
	push(bytes: Buffer, start: number, end: number): void {
		let at = start;
		if (this.#behindCr && at < end) {
			this.#behindCr = false;
			if (bytes[at] === lf) at += 1;
		}
		let fresh = this.#fresh;
		this.#frameStart = fresh ? at : -1;
		while (at < end) {
			if (fresh) {
				const frameEnd = this.#sink.onFrame(bytes, at, end);
				if (frameEnd >= 0) {
					at = frameEnd;
					continue;
				}
				this.#frameStart = at;
			}
			const lineEnd = lineEndFrom(bytes, at, end);
			if (lineEnd < 0) break;
			const crlf = bytes[lineEnd] === cr && lineEnd + 1 < end && bytes[lineEnd + 1] === lf;
			const behind = crlf ? lineEnd + 2 : lineEnd + 1;
			if (bytes[lineEnd] === cr && behind === end && !crlf) this.#behindCr = true;
			if (this.#cutBytes > 0) fresh = this.#cutLine(bytes, at, lineEnd);
			else fresh = this.#line(bytes, at, lineEnd, behind);
			at = behind;
		}
		this.#fresh = fresh && at >= end;
		if (this.#fresh) return;
		this.#keepData();
		if (at < end) this.#keepCut(bytes, at, end);
	}

	/** A line that came in parts. */
	#cutLine(bytes: Buffer, start: number, end: number): boolean {
		this.#cut.push(bytes.subarray(start, end));
		const line = Buffer.concat(this.#cut);
		this.#cut = [];
		this.#cutBytes = 0;
		this.#frameStart = -1;
		return this.#line(line, 0, line.length, -1);
	}

	/** True: it was the last one of an event. */
	#line(bytes: Buffer, from: number, end: number, behind: number): boolean {
		let start = from;
		if (this.#first) {
			this.#first = false;
			// A byte order mark.
			if (end - start >= 3 && bytes[start] === 0xef && bytes[start + 1] === 0xbb && bytes[start + 2] === 0xbf) start += 3;
		}
		if (start === end) {
			this.#dispatch(behind);
			return true;
		}
		if (isField(bytes, start, end, dataField)) {
			this.#keepData();
			this.#bytes = bytes;
			this.#start = valueAt(bytes, start + dataField.length, end);
			this.#end = end;
		} else if (isField(bytes, start, end, eventField)) {
			this.#name = bytes.toString('utf8', valueAt(bytes, start + eventField.length, end), end);
		}
		return false;
	}

	/** `behind`: where the next event begins in this read. */
	#dispatch(behind: number): void {
		const name = this.#name;
		this.#name = '';
		if (this.#data.length === 0) {
			const bytes = this.#bytes;
			this.#bytes = null;
			if (bytes !== null) this.#sink.onEvent(name, bytes, this.#start, this.#end, this.#frameStart, behind);
			return;
		}
		this.#keepData();
		const parts = this.#data.flatMap((part, index) => (index === 0 ? [part] : [newline, part]));
		this.#data = [];
		this.#dataBytes = 0;
		const data = Buffer.concat(parts);
		this.#sink.onEvent(name, data, 0, data.length, -1, -1);
	}

	/** What lies in bytes that will be written over, or has a line behind it. */
	#keepData(): void {
		if (this.#bytes === null) return;
		this.#dataBytes += this.#end - this.#start + 1;
		if (this.#dataBytes > eventBytesMax) throw new EventTooLong(`an event has more than ${eventBytesMax} bytes`);
		this.#data.push(Buffer.from(this.#bytes.subarray(this.#start, this.#end)));
		this.#bytes = null;
	}

	#keepCut(bytes: Buffer, start: number, end: number): void {
		this.#cutBytes += end - start;
		if (this.#cutBytes > eventBytesMax) throw new EventTooLong(`a line has more than ${eventBytesMax} bytes`);
		this.#cut.push(Buffer.from(bytes.subarray(start, end)));
	}
}

const newline = Buffer.from('\n');

function lineEndFrom(bytes: Buffer, from: number, end: number): number {
	for (let at = from; at < end; at += 1) if (bytes[at] === lf || bytes[at] === cr) return at;
	return -1;
}

function isField(bytes: Buffer, start: number, end: number, name: Buffer): boolean {
	const { length } = name;
	if (end - start < length) return false;
	for (let at = 0; at < length; at += 1) if (bytes[start + at] !== name[at]) return false;
	return end - start === length || bytes[start + length] === colon;
}

/** Behind the colon and one space. */
function valueAt(bytes: Buffer, at: number, end: number): number {
	if (at >= end) return end;
	return at + 1 < end && bytes[at + 1] === space ? at + 2 : at + 1;
}
