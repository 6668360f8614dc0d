/**
 * `HttpHost` over node's own servers and `ws`, in the front thread that calls it: for HTTP/2, for platforms on which the binary of
 * uWebSockets.js does not load, and for whoever prefers it. The same bodies, bounds and rules; about twice the CPU.
 *
 * What differs, for node's server decides it: pipelined requests wait for each other instead of ending the connection;
 * HTTP/1.0 is answered; malformed heads get node's bare 400, long ones 431; slow heads are cut after 10 s, bodies after 10 s
 * without a byte. One front thread: node 20 cannot share a port between threads.
 */
import { createServer, type IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import { Http2Front } from './h2-server.ts';
import {
	type BugReport,
	bodyMsDefault,
	type Header,
	type HttpHost,
	type HttpHostOptions,
	type HttpRequest,
	type RequestHandler,
} from './http-host.ts';
import { IncomingBody } from './incoming-body.ts';
import { NodeListener } from './node-listener.ts';
import { NodeResponseSink, unsentMax } from './node-response-sink.ts';
import { acceptWebSocket } from './node-websocket.ts';

const slowHeadMs = 10_000;
const slowBodyMs = 10_000;
const keepAliveMs = 60_000;
/** Connections that are too slow are looked for this often. */
const checkMs = 1_000;
/** Node drops what is above without a word: more than any configured bound. */
const headersMax = 2_000;
const headBytesMax = 64 * 1024;

export class NodeHost implements HttpHost {
	readonly name = 'node';
	onCertificate: (problem: string | null) => void = () => undefined;
	readonly #options: HttpHostOptions;
	readonly #report: BugReport;
	readonly #server: Server;
	readonly #sockets: WebSocketServer;
	readonly #h2: Http2Front | null;
	#listener: NodeListener | null = null;
	/** Headers of an upgrade that is being accepted. */
	#upgradeHeaders: readonly Header[] = [];
	#handler: RequestHandler | null = null;
	#stopping = false;
	#closed = false;
	/** Body bytes held for requests that are not complete. */
	#inflightBodyBytes = 0;

	constructor(options: HttpHostOptions, report: BugReport) {
		this.#options = options;
		this.#report = report;
		this.#server = createServer({
			headersTimeout: options.headMs ?? slowHeadMs,
			requestTimeout: 0,
			keepAliveTimeout: keepAliveMs,
			connectionsCheckingInterval: checkMs,
			maxHeaderSize: headBytesMax,
			highWaterMark: unsentMax,
			noDelay: true,
		});
		this.#server.maxHeadersCount = headersMax;
		this.#server.on('request', (request, response) => this.#onRequest(request, response));
		this.#server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) =>
			this.#onUpgrade(request, socket as Socket, head),
		);
		const bounds = {
			bodyBytesMax: options.bodyBytesMax,
			bodyMs: options.bodyMs ?? bodyMsDefault,
			reserve: this.#reserve,
			slowBodyMs,
			keepAliveMs,
		};
		this.#h2 = options.http2 === true ? new Http2Front(bounds, () => this.#handler, report) : null;
		this.#sockets = new WebSocketServer({
			noServer: true,
			maxPayload: options.wsMessageBytesMax,
			perMessageDeflate: false,
			clientTracking: true,
			handleProtocols: (offered) => this.#protocol ?? [...offered][0] ?? false,
		});
		this.#sockets.on('headers', (lines) => {
			for (const [name, value] of this.#upgradeHeaders) lines.push(`${name}: ${value}`);
		});
	}

	/** Of the upgrade that is being accepted. */
	#protocol: string | null = null;

	async listen(handler: RequestHandler): Promise<{ readonly port: number }> {
		if (this.#closed || this.#handler !== null) throw new Error('node host: listen works once, before close');
		this.#handler = handler;
		const { hostname, port, connectionsMax, tls = null, headMs = slowHeadMs } = this.#options;
		const onCertificate = (problem: string | null): void => this.onCertificate(problem);
		this.#listener = new NodeListener({ hostname, port, connectionsMax, slowHeadMs: headMs, tls, onCertificate }, this.#server, this.#h2);
		return this.#listener.listen();
	}

	stopListening(): void {
		this.#stopping = true;
		this.#listener?.stop();
	}

	close(): void {
		if (this.#closed) return;
		this.#closed = true;
		this.#stopping = true;
		for (const socket of this.#sockets.clients) socket.terminate();
		this.#listener?.close();
	}

	#onRequest(incoming: IncomingMessage, response: ServerResponse): void {
		const sink = new NodeResponseSink(response, () => this.#stopping, this.#report);
		let body: IncomingBody | null = null;
		response.once('close', () => {
			body?.abandon();
			sink.peerGone();
		});
		incoming.on('error', () => sink.peerGone());
		try {
			const receiver = this.#handler?.onRequest(requestOf(incoming), sink) ?? null;
			if (receiver === null || sink.closed) {
				incoming.resume();
				return;
			}
			const collected = new IncomingBody(receiver, this.#options.bodyBytesMax, this.#reserve, {
				bodyMs: this.#options.bodyMs ?? bodyMsDefault,
				cut: () => sink.abort(),
			});
			body = collected;
			this.#collect(incoming, collected, sink);
		} catch (error) {
			this.#report('request handler', error);
			sink.abort();
		}
	}

	#collect(incoming: IncomingMessage, body: IncomingBody, sink: NodeResponseSink): void {
		const guarded = (work: () => void): void => {
			try {
				work();
			} catch (error) {
				this.#report('body receiver', error);
				sink.abort();
			}
		};
		const { socket } = incoming;
		const slow = (): void => void socket.destroy();
		socket.setTimeout(slowBodyMs, slow);
		const done = (): void => {
			socket.setTimeout(0);
			socket.removeListener('timeout', slow);
		};
		incoming.once('close', done);
		if (Number(incoming.headers['content-length']) > this.#options.bodyBytesMax) guarded(() => body.refuse('too-large'));
		incoming.on('data', (chunk: Buffer) => guarded(() => body.onData(chunk, false)));
		incoming.once('end', () => {
			done();
			guarded(() => body.onData(noBytes, true));
		});
	}

	#onUpgrade(incoming: IncomingMessage, socket: Socket, head: Buffer): void {
		socket.on('error', () => socket.destroy());
		const response = new ServerResponse(incoming);
		response.shouldKeepAlive = false;
		response.assignSocket(socket);
		response.once('finish', () => socket.end());
		// Another protocol is offered, not demanded: the request is answered in this one.
		if (incoming.headers.upgrade?.toLowerCase() !== 'websocket') return this.#onRequest(incoming, response);
		const sink = new NodeResponseSink(response, () => true, this.#report);
		response.once('close', () => sink.peerGone());
		try {
			const acceptance = this.#handler?.onUpgrade(requestOf(incoming), sink) ?? null;
			if (acceptance === null || sink.closed) return;
			response.detachSocket(socket);
			this.#upgradeHeaders = acceptance.headers;
			this.#protocol = acceptance.protocol;
			this.#sockets.handleUpgrade(incoming, socket, head, (client) => acceptWebSocket(client, socket, acceptance, this.#report));
		} catch (error) {
			this.#report('upgrade handler', error);
			socket.destroy();
		} finally {
			this.#upgradeHeaders = [];
			this.#protocol = null;
		}
	}

	/** False: there is no room for so many more bytes. A negative number gives back. */
	readonly #reserve = (bytes: number): boolean => {
		if (bytes > 0 && this.#inflightBodyBytes + bytes > this.#options.inflightBodyBytesMax) return false;
		this.#inflightBodyBytes += bytes;
		return true;
	};
}

const noBytes = Buffer.alloc(0);

function requestOf(incoming: IncomingMessage): HttpRequest {
	const { rawHeaders } = incoming;
	const headers = new Map<string, string>();
	for (let at = 0; at < rawHeaders.length; at += 2) {
		const name = (rawHeaders[at] as string).toLowerCase();
		const value = rawHeaders[at + 1] as string;
		const before = headers.get(name);
		headers.set(name, before === undefined ? value : `${before}, ${value}`);
	}
	const target = pathOf(incoming.url ?? '/');
	const mark = target.indexOf('?');
	return {
		method: incoming.method ?? 'GET',
		path: mark < 0 ? target : target.slice(0, mark),
		query: mark < 0 ? '' : target.slice(mark + 1),
		header: (name) => headers.get(name),
		headerCount: rawHeaders.length / 2,
	};
}

/** A request to a proxy names the host as well (RFC 9112, 3.2.2). */
function pathOf(target: string): string {
	const absolute = /^https?:\/\/[^/?]*/i.exec(target);
	if (absolute === null) return target;
	const rest = target.slice(absolute[0].length);
	return rest.startsWith('/') ? rest : `/${rest}`;
}
