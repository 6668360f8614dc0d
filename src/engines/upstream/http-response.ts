/**
 * One HTTP/1.1 response after the other from the bytes of a connection, for token streams: the body is told as the ranges in
 * which it lies, uncopied. Runs once per read and chunk on a front thread.
 *
 * A stated subset of RFC 9112, and nothing beside it: what could be read in two ways is refused. Lines end with CRLF; no folded
 * headers; one `Content-Length` at most, and none beside `Transfer-Encoding`, which may say `chunked` only; chunk extensions are
 * skipped, trailers refused. Answers 1xx are skipped. A body without either length ends with its connection.
 */

/** Header names in lower case; of a name that comes twice the values are joined by a comma. */
export type ResponseHeaders = ReadonlyMap<string, string>;

export interface ResponseSink {
	onHead(status: number, headers: ResponseHeaders): void;
	/** A part of the body: `bytes[start, end)`, which may be written over later. */
	onBody(bytes: Buffer, start: number, end: number): void;
	/** `reusable`: the connection may carry another request. */
	onEnd(reusable: boolean): void;
}

const headBytesMax = 64 * 1024;
const headersMax = 128;
const chunkLineMax = 512;
const lf = 0x0a;
const cr = 0x0d;
const statusPattern = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?$/;
const headerPattern = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t ]*([\t\x20-\x7e\x80-\xff]*)$/;
const lengthPattern = /^\d{1,15}$/;
const chunkPattern = /^([0-9A-Fa-f]{1,8})[\t ]*(?:;[\t\x20-\x7e\x80-\xff]*)?$/;

type State = 'head' | 'length' | 'until-close' | 'chunk-line' | 'chunk' | 'chunk-end' | 'last-line' | 'broken';

/** The other side does not speak the subset; the words say what it sent. */
export class ResponseError extends Error {}

export class ResponseReader {
	readonly #sink: ResponseSink;
	#state: State = 'head';
	/** What came of a line that is not whole yet. */
	#line = '';
	#headBytes = 0;
	#status = 0;
	#keepAlive = true;
	#headers = new Map<string, string>();
	/** Bytes of the body or chunk that are still to come. */
	#left = 0;

	constructor(sink: ResponseSink) {
		this.#sink = sink;
	}

	/** No answer is under way. */
	get idle(): boolean {
		return this.#state === 'head' && this.#headBytes === 0;
	}

	/** Throws `ResponseError`. The connection is then of no more use. */
	push(bytes: Buffer, start: number, end: number): void {
		let at = start;
		while (at < end) at = this.#state === 'chunk' ? this.#chunkBytes(bytes, at, end) : this.#step(bytes, at, end);
	}

	/** The connection has ended. Null: that is how this answer ends, or none was under way; else what is missing. */
	close(): string | null {
		const state = this.#state;
		this.#state = 'broken';
		if (state === 'until-close') {
			this.#sink.onEnd(false);
			return null;
		}
		if (state === 'broken' || (state === 'head' && this.#headBytes === 0)) return null;
		return state === 'head' ? 'it ended within the head of an answer' : 'it ended within the body of an answer';
	}

	#step(bytes: Buffer, at: number, end: number): number {
		switch (this.#state) {
			case 'chunk':
				return this.#chunkBytes(bytes, at, end);
			case 'length': {
				const until = Math.min(end, at + this.#left);
				this.#left -= until - at;
				const whole = this.#left === 0;
				if (whole) this.#state = 'head';
				this.#sink.onBody(bytes, at, until);
				if (whole) this.#end();
				return until;
			}
			case 'until-close':
				this.#sink.onBody(bytes, at, end);
				return end;
			case 'chunk-end':
				return this.#chunkEnd(bytes, at);
			case 'chunk-line':
				return this.#chunkLine(bytes, at, end);
			case 'broken':
				return this.#refuse('more bytes after an error');
			default:
				return this.#textLine(bytes, at, end);
		}
	}

	/** Of a chunk, as much as is there; with the CRLF behind it where all is there. */
	#chunkBytes(bytes: Buffer, at: number, end: number): number {
		const until = at + this.#left;
		if (until > end) {
			this.#left = until - end;
			this.#sink.onBody(bytes, at, end);
			return end;
		}
		const ended = until + 1 < end && bytes[until] === cr && bytes[until + 1] === lf;
		this.#left = 0;
		this.#state = ended ? 'chunk-line' : 'chunk-end';
		this.#sink.onBody(bytes, at, until);
		return ended ? until + 2 : until;
	}

	/** The CRLF behind a chunk; the next line begins behind it. */
	#chunkEnd(bytes: Buffer, at: number): number {
		const expected = this.#line === '' ? cr : lf;
		if (bytes[at] !== expected) return this.#refuse('a chunk is longer than it says');
		if (expected === cr) this.#line = '\r';
		else {
			this.#line = '';
			this.#state = 'chunk-line';
		}
		return at + 1;
	}

	/** The common form, one to eight hex digits and CRLF in one read, without a string. */
	#chunkLine(bytes: Buffer, start: number, end: number): number {
		if (this.#line !== '') return this.#textLine(bytes, start, end);
		let size = 0;
		let at = start;
		for (; at < end && at - start < 8; at += 1) {
			const digit = hexDigit(bytes[at] as number);
			if (digit < 0) break;
			size = size * 16 + digit;
		}
		if (at === start || at + 1 >= end || bytes[at] !== cr || bytes[at + 1] !== lf) return this.#textLine(bytes, start, end);
		this.#chunk(size);
		return at + 2;
	}

	#textLine(bytes: Buffer, at: number, end: number): number {
		const lineEnd = bytes.indexOf(lf, at);
		const until = lineEnd < 0 || lineEnd >= end ? end : lineEnd + 1;
		const max = this.#state === 'head' ? headBytesMax - this.#headBytes : chunkLineMax;
		if (this.#line.length + until - at > max)
			return this.#refuse(this.#state === 'head' ? 'its head is too long' : 'a chunk line is too long');
		this.#line += bytes.toString('latin1', at, until);
		if (this.#state === 'head') this.#headBytes += until - at;
		if (!this.#line.endsWith('\n')) return until;
		if (!this.#line.endsWith('\r\n')) return this.#refuse('a line ends without a carriage return');
		const line = this.#line.slice(0, -2);
		this.#line = '';
		this.#onLine(line);
		return until;
	}

	#onLine(line: string): void {
		if (this.#state === 'last-line') {
			if (line !== '') this.#refuse('it has trailers');
			this.#state = 'head';
			this.#end();
		} else if (this.#state === 'chunk-line') {
			const size = chunkPattern.exec(line)?.[1];
			if (size === undefined) this.#refuse('a chunk has no length');
			else this.#chunk(Number.parseInt(size, 16));
		} else if (this.#status === 0) this.#onStatus(line);
		else if (line === '') this.#onHead();
		else this.#onHeader(line);
	}

	#chunk(size: number): void {
		this.#left = size;
		this.#state = size === 0 ? 'last-line' : 'chunk';
	}

	#onStatus(line: string): void {
		const match = statusPattern.exec(line);
		if (match === null) {
			this.#refuse('it does not begin with a status line of HTTP/1.1');
			return;
		}
		this.#status = Number(match[2]);
		this.#keepAlive = match[1] === '1';
	}

	#onHeader(line: string): void {
		const match = headerPattern.exec(line);
		if (match === null) {
			this.#refuse('a header has a form that is not taken');
			return;
		}
		const name = (match[1] as string).toLowerCase();
		const value = (match[2] as string).trimEnd();
		const before = this.#headers.get(name);
		if (before !== undefined && (name === 'content-length' || name === 'transfer-encoding')) this.#refuse(`it has ${name} twice`);
		if (before === undefined && this.#headers.size >= headersMax) this.#refuse('it has too many headers');
		this.#headers.set(name, before === undefined ? value : `${before}, ${value}`);
	}

	#onHead(): void {
		const status = this.#status;
		const headers = this.#headers;
		this.#headers = new Map();
		this.#headBytes = 0;
		this.#status = 0;
		const encoding = headers.get('transfer-encoding');
		const length = headers.get('content-length');
		if (status < 200) {
			if (status === 101) this.#refuse('it changes the protocol');
			if (encoding !== undefined || length !== undefined) this.#refuse('an answer 1xx has a body');
			return;
		}
		if (encoding !== undefined && length !== undefined) this.#refuse('it has two lengths');
		if (encoding !== undefined && encoding.toLowerCase() !== 'chunked') this.#refuse(`its transfer-encoding is ${encoding.slice(0, 40)}`);
		if (length !== undefined && !lengthPattern.test(length)) this.#refuse('its content-length is no number');
		const connection = (headers.get('connection') ?? '').toLowerCase().split(/[\t ]*,[\t ]*/);
		if (connection.includes('close')) this.#keepAlive = false;
		const empty = status === 204 || status === 304 || (encoding === undefined && length !== undefined && Number(length) === 0);
		if (encoding !== undefined && !empty) this.#state = 'chunk-line';
		else if (length !== undefined && !empty) {
			this.#left = Number(length);
			this.#state = 'length';
		} else if (!empty) this.#state = 'until-close';
		this.#sink.onHead(status, headers);
		if (empty) this.#end();
	}

	#end(): void {
		this.#sink.onEnd(this.#keepAlive);
	}

	#refuse(words: string): never {
		this.#state = 'broken';
		throw new ResponseError(words);
	}
}

function hexDigit(byte: number): number {
	if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
	const lower = byte | 0x20;
	return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
