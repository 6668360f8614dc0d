/**
 * `HttpHost` over uWebSockets.js, in the front thread that calls it. The only importer of that library. An exception that
 * reaches it ends the whole process, so every callback is guarded here, whatever its owner promised.
 *
 * What the library does by itself, and no code of ours can change: slow heads and bodies are cut after about 10 s without
 * a byte; a request behind one that is still being answered ends the connection (pipelining of quick ones works); more than
 * 98 headers are never answered; HTTP/1.0 and malformed heads get its own bare answer; `Expect: 100-continue` is answered.
 */

import type { HttpResponse, TemplatedApp, HttpRequest as UwsRequest, us_listen_socket, us_socket_context_t } from 'uWebSockets.js';
import { createRequire } from 'node:module';
import { connect, createServer } from 'node:net';
import { readCertificate, watchCertificate } from './certificate.ts';
import {
	type BugReport,
	bodyMsDefault,
	type HostChoice,
	type HttpHost,
	type HttpHostOptions,
	type HttpRequest,
	ListenError,
	type RequestHandler,
	type WebSocketAcceptance,
} from './http-host.ts';
import { IncomingBody } from './incoming-body.ts';
import { inUse, whyNot } from './listen-problems.ts';
import { UwsResponseSink } from './response-sink.ts';
import { type SocketData, uwsWebSocketBehavior } from './uws-websocket.ts';

type UwsApp = TemplatedApp & {
	listen(host: string, port: number, options: number, done: (socket: us_listen_socket | false) => void): unknown;
};

/** As it is at run time: the typings lack the four-argument `listen`. */
interface UwsModule {
	App(): UwsApp;
	SSLApp(options: { readonly cert_file_name: string; readonly key_file_name: string }): UwsApp;
	us_listen_socket_close(socket: us_listen_socket): void;
	us_socket_local_port(socket: us_listen_socket): number;
}

/** Loads the native library; `ok: false` when it has no binary for this platform. */
export function loadUwsHost(options: HttpHostOptions, report: BugReport): HostChoice {
	try {
		const uws = createRequire(import.meta.url)('uWebSockets.js') as UwsModule;
		return { ok: true, host: new UwsHost(uws, options, report) };
	} catch (error) {
		const [firstLine] = (error instanceof Error ? error.message : String(error)).split('\n');
		return { ok: false, reason: `uWebSockets.js cannot be loaded on this system: ${firstLine}` };
	}
}

class UwsHost implements HttpHost {
	readonly name = 'uws';
	onCertificate: (problem: string | null) => void = () => undefined;
	readonly #uws: UwsModule;
	readonly #options: HttpHostOptions;
	readonly #report: BugReport;
	/** The last one listens; those before it had an earlier certificate, and go on with the connections that they have. */
	readonly #apps: UwsApp[] = [];
	#stopWatching: () => void = () => undefined;
	#handler: RequestHandler | null = null;
	#listening: us_listen_socket | null = null;
	#stopping = false;
	#closed = false;
	#connections = 0;
	/** Body bytes held for requests that are not complete. */
	#inflightBodyBytes = 0;

	constructor(uws: UwsModule, options: HttpHostOptions, report: BugReport) {
		this.#uws = uws;
		this.#options = options;
		this.#report = report;
	}

	#newApp(): UwsApp {
		const { tls = null, connectionsMax, wsMessageBytesMax } = this.#options;
		const app = tls === null ? this.#uws.App() : this.#uws.SSLApp({ cert_file_name: tls.cert, key_file_name: tls.key });
		app.filter((response, change) => {
			this.#connections += Number(change) > 0 ? 1 : -1;
			if (Number(change) > 0 && this.#connections > connectionsMax) response.close();
		});
		// A connection that has become a WebSocket is not told of any more when it ends.
		const socketEnded = (): void => {
			this.#connections -= 1;
		};
		app.ws<SocketData>('/*', {
			...uwsWebSocketBehavior(wsMessageBytesMax, this.#report, socketEnded),
			upgrade: (response, request, context) => this.#onUpgrade(response, request, context),
		});
		app.any('/*', (response, request) => this.#onRequest(response, request));
		this.#apps.push(app);
		return app;
	}

	async listen(handler: RequestHandler): Promise<{ readonly port: number }> {
		const { hostname, shared } = this.#options;
		if (this.#closed || this.#handler !== null) throw new Error('uws host: listen works once, before close');
		this.#handler = handler;
		// The library's own exclusive mode cannot have a port on which a connection was just closed: a front that comes back,
		// or a daemon, would be refused for a minute. So the port is shared, and who listens there already is asked for before.
		if (shared !== true && this.#options.port !== 0 && (await answers(hostname, this.#options.port)))
			throw inUse(hostname, this.#options.port);
		// A port that the library chooses itself is bound so that nobody can have it again soon.
		const port = this.#options.port === 0 ? await freePort(hostname) : this.#options.port;
		const { tls = null } = this.#options;
		if (tls !== null) readCertificate(tls);
		const socket = await this.#listenOn(port);
		if (socket === false) throw await whyNot(hostname, port);
		if (this.#closed) throw new Error('uws host: closed while it began to listen');
		this.#listening = socket;
		const bound = this.#uws.us_socket_local_port(socket);
		if (tls !== null)
			this.#stopWatching = watchCertificate(
				tls,
				() => void this.#takeOver(bound),
				(problem) => this.onCertificate(problem),
			);
		return { port: bound };
	}

	#listenOn(port: number): Promise<us_listen_socket | false> {
		return new Promise((resolve) => {
			this.#newApp().listen(this.#options.hostname, port, 0, (token) => resolve(token));
		});
	}

	/** An app has one certificate for its life: a new one listens beside it, and then alone. Open connections stay where they are. */
	async #takeOver(port: number): Promise<void> {
		const socket = await this.#listenOn(port);
		const before = this.#listening;
		if (socket === false || before === null || this.#closed) {
			if (socket !== false && !this.#closed) this.#uws.us_listen_socket_close(socket);
			return;
		}
		this.#listening = socket;
		this.#uws.us_listen_socket_close(before);
	}

	stopListening(): void {
		this.#stopping = true;
		this.#stopWatching();
		const socket = this.#listening;
		this.#listening = null;
		if (socket !== null && !this.#closed) this.#uws.us_listen_socket_close(socket);
	}

	close(): void {
		if (this.#closed) return;
		this.#closed = true;
		this.#stopping = true;
		this.#stopWatching();
		this.#listening = null;
		for (const app of this.#apps) app.close();
	}

	#onRequest(response: HttpResponse, raw: UwsRequest): void {
		const method = raw.getMethod().toUpperCase();
		const sink = new UwsResponseSink(response, method === 'HEAD', () => this.#stopping, this.#report);
		let body: IncomingBody | null = null;
		response.onAborted(() => {
			body?.abandon();
			sink.peerGone();
		});
		try {
			const request = new CopiedRequest(method, raw);
			if (unsureLength(request)) return sink.abort();
			const receiver = this.#handler?.onRequest(request, sink) ?? null;
			// a response that has ended may not be touched any more: the library drains its body
			if (receiver === null || sink.closed) return;
			const incoming = new IncomingBody(receiver, this.#options.bodyBytesMax, this.#reserve, {
				bodyMs: this.#options.bodyMs ?? bodyMsDefault,
				cut: () => sink.abort(),
			});
			body = incoming;
			if (Number(request.header('content-length')) > this.#options.bodyBytesMax) incoming.refuse('too-large');
			if (sink.closed) return;
			response.onData((chunk, last) => {
				try {
					incoming.onData(Buffer.from(chunk), last);
				} catch (error) {
					this.#report('body receiver', error);
					sink.abort();
				}
			});
		} catch (error) {
			this.#report('request handler', error);
			sink.abort();
		}
	}

	/** In one go: the library takes an upgrade within its handler, or not at all. */
	#onUpgrade(response: HttpResponse, raw: UwsRequest, context: us_socket_context_t): void {
		const sink = new UwsResponseSink(response, false, () => this.#stopping, this.#report);
		response.onAborted(() => sink.peerGone());
		try {
			const request = new CopiedRequest('GET', raw);
			const acceptance = this.#handler?.onUpgrade(request, sink) ?? null;
			if (acceptance !== null && !sink.closed) upgrade(response, request, acceptance, context);
		} catch (error) {
			this.#report('upgrade handler', error);
			sink.abort();
		}
	}

	/** False: there is no room for so many more bytes. A negative number gives back. */
	readonly #reserve = (bytes: number): boolean => {
		if (bytes > 0 && this.#inflightBodyBytes + bytes > this.#options.inflightBodyBytesMax) return false;
		this.#inflightBodyBytes += bytes;
		return true;
	};
}

function upgrade(response: HttpResponse, request: HttpRequest, acceptance: WebSocketAcceptance, context: us_socket_context_t): void {
	const key = request.header('sec-websocket-key') ?? '';
	const extensions = request.header('sec-websocket-extensions') ?? '';
	response.cork(() => {
		response.writeStatus('101 Switching Protocols');
		for (const [name, value] of acceptance.headers) response.writeHeader(name, value);
		response.upgrade<SocketData>({ acceptance, live: null }, key, acceptance.protocol ?? '', extensions, context);
	});
}

/**
 * Where the request ends is not certain (RFC 9112, 6.3), and the library makes a choice of its own: of two lengths it takes the
 * first, and every encoding for chunked. Whoever passed the request on may have chosen otherwise, so that what is behind it could be
 * a request of somebody else's making: the connection ends here.
 */
function unsureLength(request: HttpRequest): boolean {
	const length = request.header('content-length');
	const encoding = request.header('transfer-encoding');
	if (length !== undefined && !/^\d{1,15}$/.test(length)) return true;
	return encoding !== undefined && (length !== undefined || encoding.toLowerCase() !== 'chunked');
}

/** The library's request dies with the handler. */
class CopiedRequest implements HttpRequest {
	readonly method: string;
	readonly path: string;
	readonly query: string;
	headerCount = 0;
	readonly #headers = new Map<string, string>();

	constructor(method: string, raw: UwsRequest) {
		this.method = method;
		this.path = raw.getUrl();
		// The library's types have it as a text; where there is none it is undefined.
		this.query = raw.getQuery() ?? '';
		raw.forEach((name, value) => {
			this.headerCount += 1;
			const before = this.#headers.get(name);
			this.#headers.set(name, before === undefined ? value : `${before}, ${value}`);
		});
	}

	header(name: string): string | undefined {
		return this.#headers.get(name);
	}
}

function freePort(hostname: string): Promise<number> {
	return new Promise((resolve, reject) => {
		const server = createServer();
		server.once('error', (error: NodeJS.ErrnoException) => reject(new ListenError(error.code ?? 'UNKNOWN', error.message)));
		server.listen({ host: hostname, port: 0, exclusive: true }, () => {
			const address = server.address();
			server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
		});
	});
}

/** Whether somebody takes connections there. */
function answers(hostname: string, port: number): Promise<boolean> {
	return new Promise((resolve) => {
		const socket = connect({ host: hostname, port });
		socket.setTimeout(answersMs, () => socket.destroy());
		socket.once('connect', () => {
			socket.destroy();
			resolve(true);
		});
		socket.once('error', () => resolve(false));
		socket.once('close', () => resolve(false));
	});
}

const answersMs = 1_000;
