/** WebSockets of `ws` as `WebSocketSink`s. On the front thread. */
import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';
import type { BugReport, WebSocketAcceptance, WebSocketReceiver, WebSocketSink } from './http-host.ts';

/** Without a word for so long, pings of ours included, a peer is gone. */
const idleMs = 120_000;
const internalError = 1011;
/** How long a peer may take to answer the closing handshake. */
const closeMs = 2_000;

export function acceptWebSocket(client: WebSocket, socket: Socket, acceptance: WebSocketAcceptance, report: BugReport): void {
	const sink = new NodeWebSocketSink(client, socket);
	let receiver: WebSocketReceiver | null = null;
	const guarded = (where: string, work: () => void): void => {
		try {
			work();
		} catch (error) {
			report(where, error);
			sink.close(internalError, 'a bug in the daemon');
		}
	};
	let heardAt = performance.now();
	const heard = (): void => {
		heardAt = performance.now();
	};
	const pings = setInterval(() => {
		if (performance.now() - heardAt > idleMs) client.terminate();
		else client.ping();
	}, idleMs / 2);
	pings.unref();
	client.on('pong', heard);
	client.on('ping', heard);
	client.on('message', (message: Buffer, isBinary: boolean) => {
		heard();
		if (!sink.closed) guarded('socket message', () => receiver?.onMessage(message, !isBinary));
	});
	// A frame that breaks the protocol, or is too long: the library closes with the right code.
	client.on('error', () => undefined);
	socket.on('drain', () => {
		if (!sink.closed && socket.writableLength === 0) guarded('socket drain', () => receiver?.onDrained());
	});
	client.on('close', () => {
		clearInterval(pings);
		sink.gone();
		guarded('socket close', () => receiver?.onClosed());
	});
	guarded('socket open', () => {
		receiver = acceptance.open(sink);
	});
}

class NodeWebSocketSink implements WebSocketSink {
	readonly #client: WebSocket;
	readonly #socket: Socket;
	#state: 'open' | 'closing' | 'gone' = 'open';
	#corked = false;

	constructor(client: WebSocket, socket: Socket) {
		this.#client = client;
		this.#socket = socket;
	}

	get closed(): boolean {
		return this.#state !== 'open';
	}

	get bufferedBytes(): number {
		return this.#corked ? 0 : this.#socket.writableLength;
	}

	send(text: string): boolean {
		if (this.closed) return false;
		this.#client.send(text);
		return !this.#socket.writableNeedDrain;
	}

	corked(writes: () => void): void {
		if (this.closed || this.#corked) return writes();
		this.#corked = true;
		this.#socket.cork();
		try {
			writes();
		} finally {
			this.#socket.uncork();
			this.#corked = false;
		}
	}

	close(code: number, reason: string): void {
		if (this.closed) return;
		this.#state = 'closing';
		this.#client.close(code, reason);
		setTimeout(() => this.#client.terminate(), closeMs).unref();
	}

	abort(): void {
		if (this.#state === 'gone') return;
		this.#state = 'closing';
		this.#client.terminate();
	}

	gone(): void {
		this.#state = 'gone';
	}
}
