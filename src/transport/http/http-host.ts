/**
 * The port between our HTTP code and a server library. `uws-host.ts` and `node-host.ts` implement it and pass one
 * conformance suite. All calls on the front thread; no callback given here may throw.
 */
import type { TlsFiles } from './certificate.ts';

export interface HttpHostOptions {
	readonly hostname: string;
	readonly port: number;
	/** Longest request body; above it the host calls `onBodyRefused` once and drops the rest. */
	readonly bodyBytesMax: number;
	/** Sum of bodies being received at once; above it a request's body is refused. */
	readonly inflightBodyBytesMax: number;
	/** Connections open at once, WebSockets among them; one more is closed as it comes. */
	readonly connectionsMax: number;
	/** Longest WebSocket message; one above it closes its connection with 1009. */
	readonly wsMessageBytesMax: number;
	/** Several front threads listen on the port together. Default: this one has it for itself, and a second daemon is refused. */
	readonly shared?: boolean;
	/** How long a body may take from its first bytes to its last. Default: a minute. */
	readonly bodyMs?: number;
	/** How long a head may take, where the library lets us say. Default: 10 s. */
	readonly headMs?: number;
	/** HTTP/2 beside HTTP/1.1 on the same port, where the library has it. Default: not. */
	readonly http2?: boolean;
	/** Default: no TLS. */
	readonly tls?: TlsFiles | null;
}

export interface HttpHost {
	/** `uws` or `node`: told in the start banner and logs. */
	readonly name: 'uws' | 'node';
	/** Told of each certificate that has come since the start: null, it is in use; else why it is not. Must not throw. */
	onCertificate: (problem: string | null) => void;
	/** Rejects with a `ListenError`. */
	listen(handler: RequestHandler): Promise<{ readonly port: number }>;
	/** No new connections; open requests go on, and each answer that begins from now on ends its connection. */
	stopListening(): void;
	/** Ends everything, now. Callable at any time, also twice, also from inside a callback. */
	close(): void;
}

export const bodyMsDefault = 60_000;

/** The address cannot be had. `code` is the system's: `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`, …; `ETLS`: the certificate cannot. */
export class ListenError extends Error {
	override readonly name = 'ListenError';
	readonly code: string;

	constructor(code: string, message: string) {
		super(message);
		this.code = code;
	}
}

/** Whether a server library can be used here: its binary may be missing for this platform. */
export type HostChoice = { readonly ok: true; readonly host: HttpHost } | { readonly ok: false; readonly reason: string };

/** Told of an exception that a host caught where it must not pass: a bug of ours. Must not throw. */
export type BugReport = (where: string, error: unknown) => void;

export type Header = readonly [name: string, value: string];

/** A request, copied out of the library's short-lived object. Header names are lower case. */
export interface HttpRequest {
	/** Upper case. */
	readonly method: string;
	/** Without the query; not decoded. */
	readonly path: string;
	/** Without `?`; '' when absent. */
	readonly query: string;
	/** Values of a repeated header are joined by `, `. */
	header(name: string): string | undefined;
	readonly headerCount: number;
}

export interface RequestHandler {
	/** Called at once, before the body. The sink outlives the request. */
	onRequest(request: HttpRequest, sink: ResponseSink): BodyReceiver | null;
	/** A request to become a WebSocket. Null: it was answered through the sink, and stays HTTP. */
	onUpgrade(request: HttpRequest, sink: ResponseSink): WebSocketAcceptance | null;
}

/** How an upgrade is answered. */
export interface WebSocketAcceptance {
	readonly headers: readonly Header[];
	/** The subprotocol chosen, one of those offered; null: none. */
	readonly protocol: string | null;
	/** The connection is open. Called once, unless it is gone before. */
	open(socket: WebSocketSink): WebSocketReceiver;
}

/** What comes from a WebSocket. Pings are answered by the host, and peers that do not answer its own are gone. */
export interface WebSocketReceiver {
	/** `message` is valid during the call only. */
	onMessage(message: Buffer, isText: boolean): void;
	/** All that the socket had refused has left. */
	onDrained(): void;
	/** Once, however it ended. The sink is closed. */
	onClosed(): void;
}

/** One WebSocket. Every call after it has closed is ignored. */
export interface WebSocketSink {
	readonly closed: boolean;
	/** One text message. False: the socket has refused some of it, which the host keeps; `onDrained` follows. */
	send(text: string): boolean;
	/** Bytes handed over and not yet taken by the kernel's socket buffer. */
	readonly bufferedBytes: number;
	/** Runs `writes`, all leaving in one packet where possible. */
	corked(writes: () => void): void;
	/** The closing handshake, with a code of RFC 6455, 7.4. */
	close(code: number, reason: string): void;
	/** Cuts the connection. */
	abort(): void;
}

/** What becomes of the body. `null` from `onRequest` means that the answer needs none: it is drained. Exactly one call. */
export interface BodyReceiver {
	/** `body` is valid during the call only: copy what is kept. */
	onBody(body: Buffer): void;
	onBodyRefused(why: 'too-large' | 'no-room'): void;
}

/**
 * One response. States: open → started → ended | aborted. Every call after ended or aborted is ignored; ask `closed` to
 * know. Each call is one packet where possible; callers batch several with `corked`.
 */
export interface ResponseSink {
	readonly closed: boolean;
	/** Whole response in one write. */
	respond(status: number, headers: readonly Header[], body: string | Buffer): void;
	/**
	 * Starts a streamed response. Its headers leave with the first write. `filler` is what means nothing to the reader
	 * (a comment): a host whose library does not tell how much it still holds sends it to find out. The answer to HEAD ends here.
	 */
	start(status: number, headers: readonly Header[], filler: Buffer): void;
	/**
	 * Writes `bytes[start, end)`, by default all of them; they never change afterwards. False: the socket refused some of it,
	 * which the host keeps. Write nothing more until `onWritable`, but for a few bytes that keep the connection alive; true for
	 * these says that everything has left and `onWritable` will not be called.
	 */
	write(bytes: Uint8Array, start?: number, end?: number): boolean;
	end(): void;
	/** Upper bound of the bytes handed over and not yet taken by the kernel's socket buffer. */
	readonly bufferedBytes: number;
	/** Runs `writes`, all leaving in one packet where possible. */
	corked(writes: () => void): void;
	/** Called once when the connection is gone before `end`, also by `abort`. Set by the one who streams. */
	onAborted: (() => void) | null;
	/** Called when a refused write has left. */
	onWritable: (() => void) | null;
	/** Cuts the connection. */
	abort(): void;
}
