/**
 * The port between our HTTP code and a server library. `uws-host.ts` and, later, `node-host.ts` implement it and pass one
 * conformance suite. All calls on the front thread; no callback given here may throw.
 */

export interface HttpHostOptions {
	readonly hostname: string;
	readonly port: number;
	/** Longest request body; above it the host calls `onBodyTooLarge` once and drops the rest. */
	readonly bodyBytesMax: number;
	/** Sum of bodies being received at once; above it a request is refused with 503. */
	readonly inflightBodyBytesMax: number;
	readonly headerCountMax: number;
}

export interface HttpHost {
	/** `uws` or `node`: told in the start banner and logs. */
	readonly name: string;
	listen(handler: RequestHandler): Promise<{ readonly port: number }>;
	/** No new connections or requests; open ones go on. */
	stopListening(): void;
	/** Ends everything, now. */
	close(): void;
}

/** A request, copied out of the library's short-lived object. Header names are lower case. */
export interface HttpRequest {
	readonly method: string;
	/** Without the query; not decoded. */
	readonly path: string;
	/** Without `?`; '' when absent. */
	readonly query: string;
	header(name: string): string | undefined;
	readonly remoteAddress: string;
}

export interface RequestHandler {
	/** Called at once, before the body. The sink outlives the request. */
	onRequest(request: HttpRequest, sink: ResponseSink): BodyReceiver | null;
}

/** What becomes of the body. `null` from `onRequest` means that the answer needs none: it is drained. */
export interface BodyReceiver {
	onBody(body: Buffer): void;
	onBodyTooLarge(): void;
}

/**
 * One response. States: open → headers sent → ended | aborted. Every call after ended or aborted is ignored; ask
 * `closed` to know. A library's `cork` is applied by the host: callers batch with `corked`.
 */
export interface ResponseSink {
	readonly closed: boolean;
	/** Whole response in one write. */
	respond(status: number, headers: readonly (readonly [string, string])[], body: string | Buffer): void;
	/** Starts a streamed response. */
	start(status: number, headers: readonly (readonly [string, string])[]): void;
	/** False: the socket refused some of it, which the host keeps; write nothing more until `onWritable`. */
	write(bytes: Buffer | string): boolean;
	end(): void;
	/** Bytes handed over and not yet taken by the kernel's socket buffer. */
	readonly bufferedBytes: number;
	/** Runs `writes`, all leaving in one packet where possible. */
	corked(writes: () => void): void;
	/** Called once when the peer is gone before `end`. Set by the one who streams. */
	onAborted: (() => void) | null;
	/** Called when a refused write has left. */
	onWritable: (() => void) | null;
	/** Cuts the connection. */
	abort(): void;
}
