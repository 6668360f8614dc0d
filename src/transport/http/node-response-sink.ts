/**
 * One response over node's server, as a state machine; on the front thread. The same states as over uWebSockets; node tells
 * by itself what it still holds, so the filler is not needed.
 */
import type { ServerResponse } from 'node:http';
import type { BugReport, Header, ResponseSink } from './http-host.ts';

const bodiless: readonly number[] = [204, 304];
/** What a response may hold that its socket has not taken before a write says so: more than one slice of a watcher. */
export const unsentMax = 128 * 1024;

export class NodeResponseSink implements ResponseSink {
	onAborted: (() => void) | null = null;
	onWritable: (() => void) | null = null;

	readonly #response: ServerResponse;
	readonly #closing: () => boolean;
	readonly #report: BugReport;
	#state: 'open' | 'started' | 'ended' | 'aborted' = 'open';
	#full = false;

	/** `closing`: whether the connection is to end with this response. */
	constructor(response: ServerResponse, closing: () => boolean, report: BugReport) {
		this.#response = response;
		this.#closing = closing;
		this.#report = report;
		response.sendDate = false;
		response.on('error', () => this.peerGone());
		response.on('drain', () => this.#drained());
	}

	get closed(): boolean {
		return this.#state === 'ended' || this.#state === 'aborted';
	}

	get bufferedBytes(): number {
		return this.#state === 'started' ? this.#response.writableLength : 0;
	}

	respond(status: number, headers: readonly Header[], body: string | Buffer): void {
		if (this.closed) return;
		if (this.#state === 'started') throw new Error('response sink: respond after start');
		this.#state = 'ended';
		const length: Header[] = bodiless.includes(status) ? [] : [['Content-Length', String(Buffer.byteLength(body))]];
		this.#writeHead(status, [...headers, ...length]);
		this.#response.end(bodiless.includes(status) ? undefined : body);
	}

	start(status: number, headers: readonly Header[], _filler: Buffer): void {
		if (this.closed) return;
		if (this.#state === 'started') throw new Error('response sink: started twice');
		this.#state = 'started';
		this.#writeHead(status, headers);
		if (this.#response.req.method === 'HEAD') this.end();
	}

	write(bytes: Uint8Array, start = 0, end = bytes.length): boolean {
		if (this.#state === 'open') throw new Error('response sink: write before start');
		if (this.#state !== 'started') return false;
		if (start === end) return !this.#full;
		// The log's bytes may be forgotten, never changed: they can wait in the socket's queue as they are.
		this.#response.write(bytes.subarray(start, end));
		// Not as the socket has it: with TLS that is a quarter of a slice.
		this.#full = this.#response.writableLength > unsentMax;
		return !this.#full;
	}

	end(): void {
		if (this.#state === 'open') throw new Error('response sink: end before start');
		if (this.#state !== 'started') return;
		this.#state = 'ended';
		const { socket } = this.#response;
		this.#response.end();
		if (this.#closing()) this.#response.once('finish', () => socket?.end());
	}

	corked(writes: () => void): void {
		this.#response.cork();
		try {
			writes();
		} finally {
			this.#response.uncork();
		}
	}

	abort(): void {
		if (this.closed) return;
		this.peerGone();
		this.#response.destroy();
	}

	/** The connection is gone, or soon will be. */
	peerGone(): void {
		if (this.closed) return;
		this.#state = 'aborted';
		this.#guarded('onAborted', this.onAborted);
	}

	#drained(): void {
		if (this.#state !== 'started' || !this.#full) return;
		this.#full = false;
		this.#guarded('onWritable', this.onWritable);
	}

	#writeHead(status: number, headers: readonly Header[]): void {
		const closing: Header[] = this.#closing() ? [['Connection', 'close']] : [];
		this.#response.writeHead(status, [...headers, ...closing].flat());
	}

	#guarded(where: string, callback: (() => void) | null): void {
		try {
			callback?.();
		} catch (error) {
			this.#report(where, error);
		}
	}
}
