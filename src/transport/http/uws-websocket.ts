/**
 * WebSockets of uWebSockets.js as `WebSocketSink`s. An exception that reaches the library ends the process: every callback is
 * guarded. On the front thread.
 */
import type { BugReport, WebSocketAcceptance, WebSocketReceiver, WebSocketSink } from './http-host.ts';

/** What is used of the library's WebSocket. */
interface RawWebSocket {
	getUserData(): SocketData;
	/** 1: sent; 0: sent as far as the socket took it, the rest is kept; 2: dropped. */
	send(text: string): number;
	getBufferedAmount(): number;
	cork(writes: () => void): unknown;
	/** Calls the close handler before it returns. */
	end(code: number, reason: string): unknown;
	close(): unknown;
}

/** What the library keeps for us with each connection. */
export interface SocketData {
	readonly acceptance: WebSocketAcceptance;
	live: { readonly sink: UwsWebSocketSink; readonly receiver: WebSocketReceiver } | null;
}

/** Without a word for so long, pings of ours included, a peer is gone. */
const idleSeconds = 120;
const tooBig = 1009;
const internalError = 1011;
/** The library cuts a connection in the middle of a message above its own limit, without a code: ours is below that. */
const slackBytes = 1024 * 1024;

/** Settings and callbacks of the library. */
export interface UwsWebSocketBehavior {
	readonly maxPayloadLength: number;
	readonly maxBackpressure: number;
	readonly idleTimeout: number;
	open(socket: RawWebSocket): void;
	message(socket: RawWebSocket, message: ArrayBuffer, isBinary: boolean): void;
	drain(socket: RawWebSocket): void;
	close(socket: RawWebSocket): void;
}

export function uwsWebSocketBehavior(messageBytesMax: number, report: BugReport, ended: () => void): UwsWebSocketBehavior {
	const guarded = (where: string, socket: RawWebSocket, work: () => void): void => {
		try {
			work();
		} catch (error) {
			report(where, error);
			socket.getUserData().live?.sink.close(internalError, 'a bug in the daemon');
		}
	};
	return {
		maxPayloadLength: messageBytesMax * 2 + slackBytes,
		// Nothing is ever dropped: who sends looks at what waits.
		maxBackpressure: 0,
		idleTimeout: idleSeconds,
		open(socket) {
			const data = socket.getUserData();
			const sink = new UwsWebSocketSink(socket);
			guarded('socket open', socket, () => {
				data.live = { sink, receiver: data.acceptance.open(sink) };
			});
			if (data.live === null) sink.close(internalError, 'a bug in the daemon');
		},
		message(socket, message, isBinary) {
			const { live } = socket.getUserData();
			if (live === null || live.sink.closed) return;
			if (message.byteLength > messageBytesMax) live.sink.close(tooBig, `a message is longer than ${messageBytesMax} bytes`);
			else guarded('socket message', socket, () => live.receiver.onMessage(Buffer.from(message), !isBinary));
		},
		drain(socket) {
			const { live } = socket.getUserData();
			if (live === null || live.sink.closed || socket.getBufferedAmount() > 0) return;
			guarded('socket drain', socket, () => live.receiver.onDrained());
		},
		close(socket) {
			ended();
			const { live } = socket.getUserData();
			if (live === null) return;
			live.sink.gone();
			try {
				live.receiver.onClosed();
			} catch (error) {
				report('socket close', error);
			}
		},
	};
}

class UwsWebSocketSink implements WebSocketSink {
	readonly #socket: RawWebSocket;
	#state: 'open' | 'closing' | 'gone' = 'open';

	constructor(socket: RawWebSocket) {
		this.#socket = socket;
	}

	get closed(): boolean {
		return this.#state !== 'open';
	}

	get bufferedBytes(): number {
		return this.#state === 'gone' ? 0 : this.#socket.getBufferedAmount();
	}

	send(text: string): boolean {
		if (this.closed) return false;
		return this.#socket.send(text) === 1;
	}

	corked(writes: () => void): void {
		if (this.closed) return writes();
		let thrown: { readonly error: unknown } | null = null;
		this.#socket.cork(() => {
			try {
				writes();
			} catch (error) {
				thrown = { error };
			}
		});
		rethrow(thrown);
	}

	close(code: number, reason: string): void {
		if (this.closed) return;
		this.#state = 'closing';
		this.#socket.end(code, reason);
	}

	abort(): void {
		if (this.#state === 'gone') return;
		this.#state = 'closing';
		this.#socket.close();
	}

	/** The library has let go of the connection: it may not be touched again. */
	gone(): void {
		this.#state = 'gone';
	}
}

function rethrow(thrown: { readonly error: unknown } | null): void {
	if (thrown !== null) throw thrown.error;
}
