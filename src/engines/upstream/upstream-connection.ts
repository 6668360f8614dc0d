/**
 * One HTTP/1.1 connection to an engine, from a front thread: one request at a time, its answer told in the ranges in which it lies
 * in what was read. Kept for the next request when the answer allows it.
 */
import { connect as connectPlain, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { type Endpoint, serverName } from './endpoint.ts';
import { ResponseError, type ResponseHeaders, ResponseReader, type ResponseSink } from './http-response.ts';

/** Who hears the answer to one request. After `onEnd` or `onBroken` nothing. */
export interface AnswerEvents {
	onHead(status: number, headers: ResponseHeaders): void;
	/** `bytes[start, end)` is written over with the next read. */
	onBody(bytes: Buffer, start: number, end: number): void;
	/** All of one read was told. */
	onReadEnd(): void;
	onEnd(): void;
	/** The connection is gone. `heard`: a part of the answer had come. `sent`: the request may have reached the engine. */
	onBroken(why: string, heard: boolean, sent: boolean): void;
}

export interface ConnectionEvents {
	/** It can take another request. */
	onIdle(connection: UpstreamConnection): void;
	onClosed(connection: UpstreamConnection): void;
}

/** Of all plain connections of a thread: what was read is used up, or copied, before the next read of any of them. */
const readBuffer = Buffer.allocUnsafeSlow(64 * 1024);

export class UpstreamConnection implements ResponseSink {
	// What each read looks at comes first: it lies together.
	readonly #reader = new ResponseReader(this);
	#answer: AnswerEvents | null = null;
	#heard = false;
	#closed = false;
	#connected = false;
	readonly #events: ConnectionEvents;
	readonly #socket: Socket;
	readonly #connectTimer: NodeJS.Timeout;
	/** It has carried a request before this one. */
	used = false;

	constructor(endpoint: Endpoint, connectMs: number, events: ConnectionEvents) {
		this.#events = events;
		this.#socket = this.#connect(endpoint);
		this.#socket.setNoDelay(true);
		this.#socket.setKeepAlive(true, 30_000);
		this.#connectTimer = setTimeout(() => this.close(`no connection within ${connectMs} ms`), connectMs);
		this.#socket.once(endpoint.tls ? 'secureConnect' : 'connect', () => {
			this.#connected = true;
			clearTimeout(this.#connectTimer);
		});
		this.#socket.on('error', (error: NodeJS.ErrnoException) => this.close(error.code ?? error.message));
		this.#socket.on('end', () => this.#onSocketEnd());
		this.#socket.on('close', () => this.close('the engine closed the connection'));
	}

	/** In one write: head and body leave together. */
	send(request: Buffer, answer: AnswerEvents): void {
		this.#answer = answer;
		this.#heard = false;
		this.#socket.ref();
		this.#socket.write(request);
	}

	/** Says that nothing more is wanted; the engine closes its side when it has noticed. */
	endOurSide(): void {
		this.#socket.end();
	}

	close(why: string): void {
		if (this.#closed) return;
		this.#closed = true;
		clearTimeout(this.#connectTimer);
		this.#socket.destroy();
		const answer = this.#answer;
		this.#answer = null;
		answer?.onBroken(why, this.#heard, this.#connected);
		this.#events.onClosed(this);
	}

	#connect(endpoint: Endpoint): Socket {
		const where = endpoint.socketPath === null ? { host: endpoint.host ?? '', port: endpoint.port } : { path: endpoint.socketPath };
		if (endpoint.tls) {
			const name = serverName(endpoint);
			const socket = connectTls({ ...where, ...(name === undefined ? {} : { servername: name }), ALPNProtocols: ['http/1.1'] });
			socket.on('data', (bytes: Buffer) => this.#onRead(bytes, bytes.length));
			return socket;
		}
		const onread = { buffer: readBuffer, callback: (length: number) => this.#onRead(readBuffer, length) };
		// Half-closed by us, it still tells when the engine closes its side.
		return connectPlain({ ...where, onread, allowHalfOpen: false });
	}

	#onRead(bytes: Buffer, length: number): boolean {
		if (this.#closed) return false;
		if (this.#answer === null) {
			this.close('it sent more than it was asked for');
			return false;
		}
		this.#heard = true;
		try {
			this.#reader.push(bytes, 0, length);
		} catch (error) {
			if (!(error instanceof ResponseError)) throw error;
			this.close(`its answer cannot be read: ${error.message}`);
			return false;
		}
		if (this.#closed) return false;
		this.#answer?.onReadEnd();
		if (this.#answer === null && !this.#reader.idle) this.close('it sent more than it was asked for');
		return true;
	}

	// ── the reader ───────────────────────────────────────────────────────────────────────────────────────────────

	onHead(status: number, headers: ResponseHeaders): void {
		this.#answer?.onHead(status, headers);
	}

	onBody(bytes: Buffer, start: number, end: number): void {
		this.#answer?.onBody(bytes, start, end);
	}

	onEnd(reusable: boolean): void {
		const answer = this.#answer;
		this.#answer = null;
		answer?.onReadEnd();
		answer?.onEnd();
		if (this.#closed) return;
		if (!reusable) return this.close('the engine keeps no connections');
		this.used = true;
		this.#socket.unref();
		this.#events.onIdle(this);
	}

	#onSocketEnd(): void {
		if (this.#closed) return;
		const missing = this.#reader.close();
		this.close(missing ?? 'the engine closed the connection');
	}
}
