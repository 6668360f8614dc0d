/**
 * One response over uWebSockets, as a state machine; on the front thread. Nothing here may throw into the library, and no
 * call reaches a response that the library has taken back.
 *
 *   open    ── respond ─────────────→ ended
 *   open    ── start ───────────────→ started        (HEAD: → ended)
 *   started ── write refused ───────→ started, full ── filler accepted → started
 *   started ── end ─────────────────→ ended
 *   open | started ── abort | peer gone → aborted
 *
 * What the library does not say: a small write inside a cork is accepted into the cork's buffer, and what the socket then
 * refuses is kept without a word; and once a writable handler is set it drains nothing by itself. So a writable event is
 * answered with a write of `filler`, whose result tells whether all before it has left.
 */
import { STATUS_CODES } from 'node:http';
import type { BugReport, Header, ResponseSink } from './http-host.ts';

/** The part of a library's response that the sink drives. */
export interface RawResponse {
	writeStatus(status: string): unknown;
	writeHeader(name: string, value: string): unknown;
	/** False: the socket refused some of it, now kept by the library. */
	write(chunk: Uint8Array): boolean;
	end(body?: string | Uint8Array, closeConnection?: boolean): unknown;
	/** Only without arguments: a length leaves the response open, and `undefined` for it is sent as a number. */
	endWithoutBody(): unknown;
	cork(writes: () => void): unknown;
	/** Calls the aborted handler before it returns. */
	close(): unknown;
	onWritable(handler: (offset: number) => boolean): unknown;
}

/** What a cork takes without asking the socket. */
const corkBytes = 16 * 1024;
const bodiless: readonly number[] = [204, 304];
const nothing = Buffer.alloc(0);
const drainOnly = (): void => undefined;

/**
 * Short writes, one or a few tokens each, go through memory of this thread, as views that are made once for each length. It is in the
 * processor's caches, which the bytes of a log's buffer and what the engine knows of that are not; and nothing is allocated.
 */
const shortBytesMax = 512;
const short = new Uint8Array(shortBytesMax);
const shortViews: Uint8Array[] = [];
for (let length = 0; length <= shortBytesMax; length += 1) shortViews.push(short.subarray(0, length));
/** What `writeCorked` is to write, and what came of it: one closure for all responses of a thread. */
let corkedRaw: RawResponse | null = null;
let corkedBytes: Uint8Array = nothing;
let corkedAccepted = true;
const writeCorked = (): void => {
	if (corkedRaw !== null) corkedAccepted = corkedRaw.write(corkedBytes);
};

export class UwsResponseSink implements ResponseSink {
	onAborted: (() => void) | null = null;
	onWritable: (() => void) | null = null;
	bufferedBytes = 0;

	readonly #raw: RawResponse;
	readonly #head: boolean;
	readonly #closing: () => boolean;
	readonly #report: BugReport;
	#state: 'open' | 'started' | 'ended' | 'aborted' = 'open';
	#filler: Uint8Array = nothing;
	/** A write was refused and has not left yet, as far as is known. */
	#full = false;
	#corked = false;

	/** `head`: the request was a HEAD. `closing`: whether the connection is to end with this response. */
	constructor(raw: RawResponse, head: boolean, closing: () => boolean, report: BugReport) {
		this.#raw = raw;
		this.#head = head;
		this.#closing = closing;
		this.#report = report;
	}

	get closed(): boolean {
		return this.#state === 'ended' || this.#state === 'aborted';
	}

	respond(status: number, headers: readonly Header[], body: string | Buffer): void {
		if (this.closed) return;
		if (this.#state === 'started') throw new Error('response sink: respond after start');
		this.#cork(() => {
			this.#writeHead(status, headers);
			if (this.#head && !bodiless.includes(status)) this.#raw.writeHeader('Content-Length', String(Buffer.byteLength(body)));
			this.#state = 'ended';
			if (this.#head || bodiless.includes(status)) this.#endWithoutBody();
			else this.#raw.end(body, this.#closing());
		});
	}

	start(status: number, headers: readonly Header[], filler: Buffer): void {
		if (this.closed) return;
		if (this.#state === 'started') throw new Error('response sink: started twice');
		this.#filler = filler;
		this.#cork(() => {
			this.#writeHead(status, headers);
			if (this.#closing() && !this.#head) this.#raw.writeHeader('Connection', 'close');
			this.#state = 'started';
			if (this.#head) this.end();
			else this.#raw.onWritable(this.#onRawWritable);
		});
	}

	write(bytes: Uint8Array, start = 0, end = bytes.length): boolean {
		if (this.#state === 'open') throw new Error('response sink: write before start');
		if (this.#state !== 'started') return false;
		const length = end - start;
		if (length === 0) return !this.#full;
		const raw = this.#raw;
		corkedRaw = raw;
		if (length <= shortBytesMax) {
			for (let offset = 0; offset < length; offset += 1) short[offset] = bytes[start + offset] as number;
			corkedBytes = shortViews[length] as Uint8Array;
		} else corkedBytes = length === bytes.length ? bytes : bytes.subarray(start, end);
		// uncorked, one write is four packets: chunk head and tail, and the bytes between them
		if (this.#corked) writeCorked();
		else raw.cork(writeCorked);
		corkedBytes = nothing;
		this.#full = !corkedAccepted;
		if (this.#full) this.bufferedBytes += length;
		else this.bufferedBytes = length <= corkBytes ? length : 0;
		return corkedAccepted;
	}

	end(): void {
		if (this.#state === 'open') throw new Error('response sink: end before start');
		if (this.#state !== 'started') return;
		this.#cork(() => {
			this.#state = 'ended';
			if (this.#head) this.#endWithoutBody();
			// never with the library's own way to end the connection: it writes a header, here into the middle of the body
			else this.#raw.end();
		});
	}

	corked(writes: () => void): void {
		if (this.closed || this.#corked) writes();
		else this.#cork(writes);
	}

	abort(): void {
		if (this.closed) return;
		this.#raw.close();
		this.peerGone();
	}

	/** The library says that the connection is gone: the response may not be touched again. */
	peerGone(): void {
		if (this.closed) return;
		this.#state = 'aborted';
		this.bufferedBytes = 0;
		this.#guarded('onAborted', this.onAborted);
	}

	#writeHead(status: number, headers: readonly Header[]): void {
		this.#raw.writeStatus(statusLine(status));
		for (const [name, value] of headers) this.#raw.writeHeader(name, value);
	}

	#endWithoutBody(): void {
		if (this.#closing()) this.#raw.writeHeader('Connection', 'close');
		this.#raw.endWithoutBody();
	}

	readonly #onRawWritable = (): boolean => {
		if (this.#state !== 'started') return true;
		// an empty cork writes what the library holds; without it nothing ever would
		if (!this.#full || this.#filler.length === 0) this.#raw.cork(drainOnly);
		if (!this.#full) return true;
		if (this.#filler.length === 0) this.#full = false;
		else this.write(this.#filler);
		if (!this.#full) this.#guarded('onWritable', this.onWritable);
		return true;
	};

	/** An exception must not pass through the library: it is carried around it. */
	#cork(writes: () => void): void {
		let thrown: { readonly error: unknown } | null = null;
		const outer = this.#corked;
		this.#corked = true;
		this.#raw.cork(() => {
			try {
				writes();
			} catch (error) {
				thrown = { error };
			}
			this.#corked = outer;
		});
		rethrow(thrown);
	}

	#guarded(where: string, callback: (() => void) | null): void {
		try {
			callback?.();
		} catch (error) {
			this.#report(where, error);
		}
	}
}

/** Made once for each status. */
function statusLine(status: number): string {
	let line = statusLines.get(status);
	if (line === undefined) statusLines.set(status, (line = `${status} ${STATUS_CODES[status] ?? 'Unknown'}`));
	return line;
}

const statusLines = new Map<number, string>();

function rethrow(thrown: { readonly error: unknown } | null): void {
	if (thrown !== null) throw thrown.error;
}
