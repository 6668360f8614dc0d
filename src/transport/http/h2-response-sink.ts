/**
 * One response over a stream of HTTP/2, as a state machine; on the front thread. The same states as over HTTP/1.1. What the peer's
 * window does not take waits in the stream, which tells how much that is.
 */
import { constants, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { BugReport, Header, ResponseSink } from './http-host.ts';
import { unsentMax } from './node-response-sink.ts';

const bodiless: readonly number[] = [204, 304];

export class Http2ResponseSink implements ResponseSink {
	onAborted: (() => void) | null = null;
	onWritable: (() => void) | null = null;

	readonly #stream: ServerHttp2Stream;
	readonly #head: boolean;
	readonly #report: BugReport;
	#state: 'open' | 'started' | 'ended' | 'aborted' = 'open';
	#full = false;

	/** `head`: the request was a HEAD. */
	constructor(stream: ServerHttp2Stream, head: boolean, report: BugReport) {
		this.#stream = stream;
		this.#head = head;
		this.#report = report;
		stream.on('drain', () => this.#drained());
	}

	get closed(): boolean {
		return this.#state === 'ended' || this.#state === 'aborted';
	}

	get bufferedBytes(): number {
		return this.#state === 'started' ? this.#stream.writableLength : 0;
	}

	respond(status: number, headers: readonly Header[], body: string | Buffer): void {
		if (this.closed) return;
		if (this.#state === 'started') throw new Error('response sink: respond after start');
		if (this.#stream.destroyed) return this.peerGone();
		this.#state = 'ended';
		const without = bodiless.includes(status);
		const length: Header[] = without ? [] : [['Content-Length', String(Buffer.byteLength(body))]];
		const ends = without || this.#head;
		this.#stream.respond(headersOf(status, [...headers, ...length]), { endStream: ends });
		if (!ends) this.#stream.end(body);
		this.#stopReceiving();
	}

	start(status: number, headers: readonly Header[], _filler: Buffer): void {
		if (this.closed) return;
		if (this.#state === 'started') throw new Error('response sink: started twice');
		// Reset in the same read as it was opened: its news are still on their way.
		if (this.#stream.destroyed) return this.peerGone();
		this.#state = 'started';
		const head = this.#head;
		this.#stream.respond(headersOf(status, headers), { endStream: head });
		if (head) this.#state = 'ended';
	}

	write(bytes: Uint8Array, start = 0, end = bytes.length): boolean {
		if (this.#state === 'open') throw new Error('response sink: write before start');
		if (this.#state !== 'started') return false;
		if (start === end) return !this.#full;
		this.#stream.write(bytes.subarray(start, end));
		this.#full = this.#stream.writableLength > unsentMax;
		return !this.#full;
	}

	end(): void {
		if (this.#state === 'open') throw new Error('response sink: end before start');
		if (this.#state !== 'started') return;
		this.#state = 'ended';
		this.#stream.end();
		this.#stopReceiving();
	}

	corked(writes: () => void): void {
		this.#stream.cork();
		try {
			writes();
		} finally {
			this.#stream.uncork();
		}
	}

	abort(): void {
		if (this.closed) return;
		this.peerGone();
		this.#stream.close(constants.NGHTTP2_INTERNAL_ERROR);
	}

	/** The stream is gone, or soon will be. */
	peerGone(): void {
		if (this.closed) return;
		this.#state = 'aborted';
		this.#guarded('onAborted', this.onAborted);
	}

	/** An answer before the end of the request: no more of that is wanted (RFC 9113, 8.1). */
	#stopReceiving(): void {
		const stream = this.#stream;
		if (!stream.readableEnded) stream.once('finish', () => stream.readableEnded || stream.close(constants.NGHTTP2_NO_ERROR));
	}

	#drained(): void {
		if (this.#state !== 'started' || !this.#full) return;
		this.#full = false;
		this.#guarded('onWritable', this.onWritable);
	}

	#guarded(where: string, callback: (() => void) | null): void {
		try {
			callback?.();
		} catch (error) {
			this.#report(where, error);
		}
	}
}

/** Names are lower case (RFC 9113, 8.2). */
function headersOf(status: number, headers: readonly Header[]): OutgoingHttpHeaders {
	const fields: OutgoingHttpHeaders = { ':status': status };
	for (const [name, value] of headers) {
		const lower = name.toLowerCase();
		const before = fields[lower];
		fields[lower] = before === undefined ? value : `${String(before)}, ${value}`;
	}
	return fields;
}
