/**
 * A server that answers with the bytes that a test gives it, and tells what it was asked: the other side of an engine's HTTP
 * connection, without anything of an HTTP library.
 */
import { EventEmitter, once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer, type Server, type Socket } from 'node:net';

/** One request, as it came. */
export interface Asked {
	readonly head: string;
	readonly body: string;
	readonly socket: Socket;
	/** On which connection of the server, counted from 0. */
	readonly connection: number;
}

export class RawUpstream {
	readonly #server: Server;
	readonly #came = new EventEmitter();
	readonly asked: Asked[] = [];
	connections = 0;
	/** Ends of connections, in order. */
	readonly ended: number[] = [];
	answer: (asked: Asked) => void = () => undefined;

	constructor() {
		this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket));
	}

	/** Of the last request that had a body: between those that ask for work, readiness is looked at. */
	get lastBody(): Record<string, unknown> {
		return JSON.parse(this.asked.findLast(({ body }) => body !== '')?.body ?? '{}') as Record<string, unknown>;
	}

	/** On a port, a free one without, or at a path. */
	async listen(where: number | string = 0): Promise<string> {
		if (typeof where === 'number') this.#server.listen(where, '127.0.0.1');
		else this.#server.listen(where);
		await once(this.#server, 'listening');
		return typeof where === 'string' ? `unix:${where}` : `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
	}

	/** So many requests have come in all. */
	async hasBeenAsked(times: number): Promise<void> {
		while (this.asked.length < times) await once(this.#came, 'asked');
	}

	async close(): Promise<void> {
		for (const { socket } of this.asked) socket.destroy();
		this.#server.close();
		await once(this.#server, 'close');
	}

	#serve(socket: Socket): void {
		const connection = this.connections++;
		// The second part of an answer is not to wait for the client's word that it has the first.
		socket.setNoDelay(true);
		let seen = '';
		socket.on('error', () => undefined);
		socket.on('end', () => {
			this.ended.push(connection);
			socket.end();
		});
		socket.on('data', (bytes) => {
			seen += bytes.toString('latin1');
			const headEnd = seen.indexOf('\r\n\r\n');
			if (headEnd < 0) return;
			const length = Number(/content-length: (\d+)/.exec(seen)?.[1] ?? 0);
			if (seen.length < headEnd + 4 + length) return;
			const asked = { head: seen.slice(0, headEnd), body: seen.slice(headEnd + 4, headEnd + 4 + length), socket, connection };
			seen = seen.slice(headEnd + 4 + length);
			this.asked.push(asked);
			this.#came.emit('asked');
			this.answer(asked);
		});
	}
}

export const eventsHead = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n';

export function chunk(text: string): string {
	return `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
}
