/**
 * HTTP/2 over node's own implementation, for `node-host.ts`: sessions and their streams as requests, with the same bodies and
 * bounds as over HTTP/1.1. On the front thread. WebSockets are not offered over it.
 */
import {
	constants,
	createServer,
	type Http2Server,
	type IncomingHttpHeaders,
	type ServerHttp2Session,
	type ServerHttp2Stream,
} from 'node:http2';
import type { Socket } from 'node:net';
import { Http2ResponseSink } from './h2-response-sink.ts';
import type { BugReport, HttpRequest, RequestHandler } from './http-host.ts';
import { IncomingBody } from './incoming-body.ts';

/** Requests at once on one connection: a client with more opens another. */
const streamsMax = 256;
/**
 * A client that has reset so many, and most of what it opened, is to connect anew. The library ends such a connection too, at a thousand in a short while
 * (`nghttp2_option_set_stream_reset_rate_limit`), but leaves it open.
 */
const resetsMax = 500;
const headBytesMax = 64 * 1024;
const headersMax = 2_000;

export interface Http2Bounds {
	readonly bodyBytesMax: number;
	/** Room for bytes of bodies among all that are being received. */
	readonly reserve: (bytes: number) => boolean;
	readonly bodyMs: number;
	/** Without a byte for so long a body is cut. */
	readonly slowBodyMs: number;
	/** A connection without requests is kept for so long. */
	readonly keepAliveMs: number;
}

export class Http2Front {
	readonly #server: Http2Server;
	readonly #sessions = new Set<ServerHttp2Session>();
	readonly #bounds: Http2Bounds;
	readonly #report: BugReport;
	readonly #handler: () => RequestHandler | null;

	constructor(bounds: Http2Bounds, handler: () => RequestHandler | null, report: BugReport) {
		this.#bounds = bounds;
		this.#handler = handler;
		this.#report = report;
		this.#server = createServer({
			settings: { enablePush: false, maxConcurrentStreams: streamsMax, maxHeaderListSize: headBytesMax },
			maxHeaderListPairs: headersMax,
			peerMaxConcurrentStreams: streamsMax,
		});
		this.#server.on('session', (session) => this.#onSession(session));
		// The typings lack the raw headers, in which one that came twice is there twice.
		this.#server.on('stream', (stream, headers, flags, raw?: readonly string[]) => this.#onStream(stream, headers, flags, raw ?? []));
	}

	/** A connection that speaks HTTP/2 from its first byte on, which is still to be read. */
	take(socket: Socket): void {
		this.#server.emit('connection', socket);
	}

	/** Requests that are under way go on; no new ones are taken. */
	drain(): void {
		for (const session of this.#sessions) session.close();
	}

	close(): void {
		for (const session of this.#sessions) session.destroy();
	}

	#onSession(session: ServerHttp2Session): void {
		this.#sessions.add(session);
		session.once('close', () => this.#sessions.delete(session));
		// What a peer does wrong is answered by the library, with the code of RFC 9113.
		session.on('error', () => undefined);
		let streams = 0;
		let opened = 0;
		let resets = 0;
		session.on('stream', (stream) => {
			streams += 1;
			opened += 1;
			stream.once('close', () => {
				streams -= 1;
				if (stream.rstCode !== constants.NGHTTP2_NO_ERROR) resets += 1;
				if (resets >= resetsMax && resets * 2 > opened) session.close();
			});
		});
		session.setTimeout(this.#bounds.keepAliveMs, () => {
			if (streams === 0) session.close();
		});
	}

	#onStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number, raw: readonly string[]): void {
		const sink = new Http2ResponseSink(stream, headers[':method'] === 'HEAD', this.#report);
		let body: IncomingBody | null = null;
		stream.once('close', () => {
			body?.abandon();
			sink.peerGone();
		});
		stream.on('aborted', () => sink.peerGone());
		stream.on('error', () => sink.peerGone());
		try {
			const receiver = this.#handler()?.onRequest(requestOf(headers, raw), sink) ?? null;
			if (receiver === null || sink.closed) {
				stream.resume();
				return;
			}
			body = new IncomingBody(receiver, this.#bounds.bodyBytesMax, this.#bounds.reserve, {
				bodyMs: this.#bounds.bodyMs,
				cut: () => sink.abort(),
			});
			this.#collect(stream, headers, body, (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0, sink);
		} catch (error) {
			this.#report('request handler', error);
			sink.abort();
		}
	}

	#collect(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, body: IncomingBody, empty: boolean, sink: Http2ResponseSink): void {
		const guarded = (work: () => void): void => {
			try {
				work();
			} catch (error) {
				this.#report('body receiver', error);
				sink.abort();
			}
		};
		if (empty) {
			stream.resume();
			return guarded(() => body.onData(noBytes, true));
		}
		stream.setTimeout(this.#bounds.slowBodyMs, () => stream.close(constants.NGHTTP2_CANCEL));
		if (Number(headers['content-length']) > this.#bounds.bodyBytesMax) guarded(() => body.refuse('too-large'));
		stream.on('data', (chunk: Buffer) => guarded(() => body.onData(chunk, false)));
		stream.once('end', () => {
			stream.setTimeout(0);
			guarded(() => body.onData(noBytes, true));
		});
	}
}

const noBytes = Buffer.alloc(0);

function requestOf(headers: IncomingHttpHeaders, raw: readonly string[]): HttpRequest {
	const fields = new Map<string, string>();
	let headerCount = 0;
	for (let at = 0; at < raw.length; at += 2) {
		const name = raw[at] as string;
		if (name.startsWith(':')) continue;
		headerCount += 1;
		const value = raw[at + 1] as string;
		const before = fields.get(name);
		fields.set(name, before === undefined ? value : `${before}, ${value}`);
	}
	// The authority is what Host was (RFC 9113, 8.3.1).
	const { ':authority': authority, ':path': path = '', ':method': method = '' } = headers;
	if (authority !== undefined) fields.set('host', authority);
	const mark = path.indexOf('?');
	return {
		method: method.toUpperCase(),
		path: mark < 0 ? path : path.slice(0, mark),
		query: mark < 0 ? '' : path.slice(mark + 1),
		header: (name) => fields.get(name),
		headerCount,
	};
}
