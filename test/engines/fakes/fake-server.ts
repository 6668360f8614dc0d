/**
 * The other side of an engine's HTTP, for engines that tests make up: reads requests strictly, plays answers as the bytes that they are, and
 * misbehaves when told to. Nothing of an HTTP library, and nothing of what `src` reads and writes HTTP with. What a client
 * does that the engine's specification does not have is noted in `strayed`: a test that finds any has failed.
 */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { FakeExchange } from './fake-exchange.ts';
import type { Fault } from './faults.ts';

/** One request, as it came. */
export interface FakeRequest {
	readonly method: string;
	readonly path: string;
	/** Names in lower case. */
	readonly headers: ReadonlyMap<string, string>;
	readonly body: string;
	/** On which connection of the server, counted from 0. */
	readonly connection: number;
}

export type Handler = (exchange: FakeExchange, request: FakeRequest) => void;

export interface FakeServerOptions {
	/** Serves over TLS with this certificate. */
	readonly tls?: { readonly key: string; readonly cert: string };
}

export class FakeServer {
	readonly #server: Server;
	readonly #routes = new Map<string, Handler>();
	readonly #sockets = new Set<Socket>();
	readonly #faults: { readonly fault: Fault; readonly befalls: (request: FakeRequest) => boolean }[] = [];
	readonly asked: FakeRequest[] = [];
	/** To each of them, in the same order. */
	readonly answers: FakeExchange[] = [];
	readonly strayed: string[] = [];
	connections = 0;
	/** Connections whose client has closed its side or is gone, in that order. */
	readonly left: number[] = [];
	/** Cuts the bytes of the next answers apart: lengths of the parts, the last of which is the rest. */
	splits: readonly number[] = [];
	/** What every request must have, beside what HTTP asks for; null: no key is wanted. */
	key: string | null = null;
	/** Paths that need no key. */
	readonly keyless = new Set<string>();
	/** The engine's own answer to a request for which it has no route, or no key. */
	refuse: (exchange: FakeExchange, status: 401 | 404) => void = (exchange, status) => exchange.json(status, {});

	constructor({ tls }: FakeServerOptions = {}) {
		const serve = (socket: Socket): void => this.#serve(socket);
		// Half-open: that a client has closed its side is ours to notice, as it is an engine's.
		this.#server =
			tls === undefined ? createServer({ allowHalfOpen: true }, serve) : createTlsServer({ ...tls, allowHalfOpen: true }, serve);
		this.#server.on('tlsClientError', () => undefined);
		this.#server.on('connection', (socket: Socket) => {
			this.#sockets.add(socket);
			socket.once('close', () => this.#sockets.delete(socket));
		});
	}

	/** On a free port, or at a path. */
	async listen(where: number | string = 0): Promise<string> {
		if (typeof where === 'number') this.#server.listen(where, '127.0.0.1');
		else this.#server.listen(where);
		await once(this.#server, 'listening');
		return typeof where === 'string' ? `unix:${where}` : `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
	}

	on(method: 'GET' | 'POST', path: string, handler: Handler): void {
		this.#routes.set(`${method} ${path}`, handler);
	}

	/** Befalls the next such request, once. */
	fault(fault: Fault, which: RegExp | ((request: FakeRequest) => boolean) = /./): void {
		this.#faults.push({ fault, befalls: which instanceof RegExp ? ({ path }) => which.test(path) : which });
	}

	/** Connections that are open. */
	get open(): number {
		return this.#sockets.size;
	}

	/** Its process goes, without a word. */
	kill(): void {
		for (const socket of this.#sockets) socket.resetAndDestroy();
		this.#server.close();
	}

	async close(): Promise<void> {
		for (const socket of this.#sockets) socket.destroy();
		if (!this.#server.listening) return;
		this.#server.close();
		await once(this.#server, 'close');
	}

	stray(words: string): void {
		this.strayed.push(words);
	}

	#serve(socket: Socket): void {
		const connection = this.connections++;
		const reader = new RequestReader(connection, (words) => this.stray(words));
		let exchange: FakeExchange | null = null;
		socket.setNoDelay(true);
		socket.on('error', () => undefined);
		const leave = (): void => {
			if (!this.left.includes(connection)) this.left.push(connection);
			exchange?.clientLeft();
			socket.end();
		};
		socket.on('end', () => exchange?.deaf === true || leave());
		socket.on('close', leave);
		socket.on('data', (bytes) => {
			const request = reader.push(bytes);
			if (request === null) return;
			if (exchange !== null && !exchange.over) this.stray(`${request.path} was asked for before the answer before it was whole`);
			exchange = new FakeExchange(socket, this.#takeFault(request), this.splits);
			this.#answer(exchange, request);
		});
	}

	#answer(exchange: FakeExchange, request: FakeRequest): void {
		this.asked.push(request);
		this.answers.push(exchange);
		if (exchange.spoiled) return;
		const keyed = this.key !== null && !this.keyless.has(request.path);
		if (keyed && request.headers.get('authorization') !== `Bearer ${this.key}`) return this.refuse(exchange, 401);
		const handler = this.#routes.get(`${request.method} ${request.path}`);
		if (handler === undefined) return this.refuse(exchange, 404);
		const before = this.strayed.length;
		try {
			handler(exchange, request);
		} catch (error) {
			// A request that strayed may be anything, and the test that sent it has failed.
			if (this.strayed.length === before) throw error;
			exchange.json(400, {});
		}
	}

	#takeFault(request: FakeRequest): Fault | null {
		const at = this.#faults.findIndex(({ befalls }) => befalls(request));
		return at < 0 ? null : (this.#faults.splice(at, 1)[0]?.fault ?? null);
	}
}

/** Requests one after the other, with one `Content-Length` or no body. */
class RequestReader {
	readonly #connection: number;
	readonly #stray: (words: string) => void;
	#seen: Buffer = Buffer.alloc(0);

	constructor(connection: number, stray: (words: string) => void) {
		this.#connection = connection;
		this.#stray = stray;
	}

	/** A request that is whole with these bytes. */
	push(bytes: Buffer): FakeRequest | null {
		this.#seen = Buffer.concat([this.#seen, bytes]);
		const headEnd = this.#seen.indexOf('\r\n\r\n');
		if (headEnd < 0) return null;
		const [first = '', ...lines] = this.#seen.toString('latin1', 0, headEnd).split('\r\n');
		const headers = new Map<string, string>();
		for (const line of lines) {
			const colon = line.indexOf(':');
			const name = line.slice(0, colon).toLowerCase();
			if (headers.has(name)) this.#stray(`${name} is sent twice`);
			headers.set(name, line.slice(colon + 1).trim());
		}
		const length = Number(headers.get('content-length') ?? 0);
		if (this.#seen.length < headEnd + 4 + length) return null;
		const body = this.#seen.toString('utf8', headEnd + 4, headEnd + 4 + length);
		this.#seen = this.#seen.subarray(headEnd + 4 + length);
		const [method = '', path = '', version] = first.split(' ');
		this.#judge(method, version, headers, `${method} ${path}`);
		return { method, path, headers, body, connection: this.#connection };
	}

	/** What any HTTP/1.1 server may ask of a client that sends JSON (RFC 9112, 3.2 and 6.3; RFC 9110, 8.3). */
	#judge(method: string, version: string | undefined, headers: ReadonlyMap<string, string>, what: string): void {
		if (version !== 'HTTP/1.1') this.#stray(`${what} is sent as ${version}`);
		if (!headers.has('host')) this.#stray(`${what} has no host`);
		if (headers.has('transfer-encoding')) this.#stray(`${what} has a transfer-encoding`);
		if (method !== 'POST') return;
		if (!headers.has('content-length')) this.#stray(`${what} has no content-length`);
		if (headers.get('content-length') === '0') return;
		const type = headers.get('content-type');
		if (type !== 'application/json') this.#stray(`${what} has content-type ${type}`);
	}
}
