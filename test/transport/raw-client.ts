/** A client made of one TCP socket, for what no HTTP library would send or stop reading. Waits for bytes, never for time. */
import { connect, type Socket } from 'node:net';

export interface Deferred<T> {
	readonly promise: Promise<T>;
	resolve(value: T): void;
}

export function deferred<T>(): Deferred<T> {
	let resolve: (value: T) => void = () => undefined;
	const promise = new Promise<T>((settle) => {
		resolve = settle;
	});
	return { promise, resolve };
}

export class RawClient {
	readonly socket: Socket;
	closed = false;
	#parts: string[] = [];
	readonly #watching = new Set<() => void>();

	private constructor(socket: Socket) {
		this.socket = socket;
		socket.on('data', (bytes) => {
			this.#parts.push(bytes.toString('latin1'));
			this.#look();
		});
		socket.on('error', () => this.#look());
		socket.on('close', () => {
			this.closed = true;
			this.#look();
		});
	}

	/** Everything received, as latin1. */
	get received(): string {
		if (this.#parts.length > 1) this.#parts = [this.#parts.join('')];
		return this.#parts[0] ?? '';
	}

	static async connect(port: number): Promise<RawClient> {
		return await new Promise((resolve, reject) => {
			const socket = connect({ port, host: '127.0.0.1', noDelay: true });
			socket.once('error', reject);
			socket.once('connect', () => resolve(new RawClient(socket)));
		});
	}

	/** Resolves when the bytes have been handed to the kernel. */
	async send(bytes: string | Buffer): Promise<void> {
		await new Promise<void>((resolve) => {
			this.socket.write(bytes, () => resolve());
		});
	}

	/** Resolves once `done` says so of what was received. */
	async until(done: (received: string) => boolean, blind = false): Promise<string> {
		return await new Promise((resolve, reject) => {
			const look = (): void => {
				if (done(blind ? '' : this.received)) {
					this.#watching.delete(look);
					resolve(blind ? '' : this.received);
				} else if (this.closed) {
					this.#watching.delete(look);
					reject(new Error(`the connection ended first; received: ${this.received.slice(-500)}`));
				}
			};
			this.#watching.add(look);
			look();
		});
	}

	/** Resolves once the last bytes are these; cheap for long streams. */
	async untilEndsWith(suffix: string): Promise<string> {
		await this.until(() => `${this.#parts.at(-2) ?? ''}${this.#parts.at(-1) ?? ''}`.endsWith(suffix), true);
		return this.received;
	}

	async untilClosed(): Promise<string> {
		return await new Promise((resolve) => {
			const look = (): void => {
				if (!this.closed) return;
				this.#watching.delete(look);
				resolve(this.received);
			};
			this.#watching.add(look);
			look();
		});
	}

	/** One request and the whole of an answer that has a Content-Length. */
	async exchange(request: string | Buffer): Promise<string> {
		const from = this.received.length;
		await this.send(request);
		await this.until((received) => wholeAnswer(received.slice(from)));
		return this.received.slice(from);
	}

	stopReading(): void {
		this.socket.pause();
	}

	readOn(): void {
		this.socket.resume();
	}

	end(): void {
		this.socket.destroy();
	}

	#look(): void {
		for (const look of this.#watching) look();
	}
}

function wholeAnswer(text: string): boolean {
	const head = text.indexOf('\r\n\r\n');
	if (head < 0) return false;
	const length = /content-length: (\d+)/i.exec(text.slice(0, head))?.[1];
	return length === undefined || text.length >= head + 4 + Number(length);
}

/** The text of a chunked body, as far as it has come. */
export function dechunked(answer: string): string {
	let at = answer.indexOf('\r\n\r\n') + 4;
	let body = '';
	for (;;) {
		const lineEnd = answer.indexOf('\r\n', at);
		const size = lineEnd < 0 ? 0 : Number.parseInt(answer.slice(at, lineEnd), 16);
		if (!(size > 0)) return body;
		body += answer.slice(lineEnd + 2, lineEnd + 2 + size);
		at = lineEnd + 2 + size + 2;
	}
}
