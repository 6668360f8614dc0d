/**
 * A server of files on loopback that misbehaves on demand: each fault is for one request of a path, in order; then it behaves. It knows
 * ranges and versions as real ones do, and remembers what it was asked.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';

export type Fault =
	| { readonly status: number; readonly headers?: Readonly<Record<string, string>>; readonly body?: string }
	/** As if it knew no ranges. */
	| { readonly noRange: true }
	/** It says that the file has another length. */
	| { readonly says: number }
	/** Nothing comes until the reader has left. */
	| { readonly silent: true }
	/** Behind so many bytes it waits until `go` is called, or `drop`, which cuts the connection. */
	| { readonly holdAfter: number };

export interface SourceFile {
	bytes: Buffer;
	/** Null: it names no version. */
	etag: string | null;
	/** Without a word of its length. */
	chunked?: boolean;
}

export interface Seen {
	readonly method: string;
	readonly path: string;
	readonly headers: IncomingMessage['headers'];
}

export class BadSource {
	readonly files = new Map<string, SourceFile>();
	readonly seen: Seen[] = [];
	/** Before anything else; true: it has answered. */
	onRequest: (request: IncomingMessage, response: ServerResponse) => boolean | Promise<boolean> = () => false;
	readonly #faults = new Map<string, Fault[]>();
	readonly #server: Server;
	#held: ((cut: boolean) => void)[] = [];
	#onHeld: () => void = () => undefined;
	port = 0;

	constructor() {
		this.#server = createServer((request, response) => {
			void this.#answer(request, response);
		});
	}

	async listen(): Promise<this> {
		await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
		const address = this.#server.address();
		this.port = address !== null && typeof address === 'object' ? address.port : 0;
		return this;
	}

	get url(): string {
		return `http://127.0.0.1:${this.port}`;
	}

	put(path: string, bytes: Buffer, etag: string | null = `"${bytes.length}-${bytes.at(-1) ?? 0}"`): string {
		this.files.set(path, { bytes, etag });
		return `${this.url}${path}`;
	}

	fault(path: string, ...faults: readonly Fault[]): void {
		this.#faults.set(path, [...(this.#faults.get(path) ?? []), ...faults]);
	}

	/** Of the requests for this path, the ranges that were asked for. */
	ranges(path: string): (string | undefined)[] {
		return this.seen.filter((each) => each.path === path).map(({ headers }) => headers.range);
	}

	/** When an answer is being held. */
	held(): Promise<void> {
		if (this.#held.length > 0) return Promise.resolve();
		return new Promise((resolve) => {
			this.#onHeld = resolve;
		});
	}

	go(): void {
		for (const go of this.#held.splice(0)) go(false);
	}

	drop(): void {
		for (const go of this.#held.splice(0)) go(true);
	}

	async close(): Promise<void> {
		this.#server.closeAllConnections();
		await new Promise((resolve) => this.#server.close(resolve));
	}

	async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
		const path = (request.url ?? '').split('?')[0] ?? '';
		this.seen.push({ method: request.method ?? '', path, headers: request.headers });
		if (await this.onRequest(request, response)) return;
		const fault = this.#faults.get(path)?.shift();
		if (fault !== undefined && 'status' in fault) {
			response.writeHead(fault.status, fault.headers ?? {}).end(fault.body ?? '');
			return;
		}
		if (fault !== undefined && 'silent' in fault) return;
		const file = this.files.get(path);
		if (file === undefined) {
			response.writeHead(404).end('no such file');
			return;
		}
		const { range, 'if-range': ifRange } = request.headers;
		const from = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? Number.NaN);
		const same = ifRange === undefined || ifRange === file.etag;
		const partial = range !== undefined && same && !(fault !== undefined && 'noRange' in fault);
		if (partial && from >= file.bytes.length) {
			response.writeHead(416, { 'content-range': `bytes */${file.bytes.length}` }).end();
			return;
		}
		const bytes = partial ? file.bytes.subarray(from) : file.bytes;
		const length = fault !== undefined && 'says' in fault ? fault.says : bytes.length;
		response.writeHead(partial ? 206 : 200, {
			...(file.chunked === true ? {} : { 'content-length': length }),
			...(file.etag === null ? {} : { etag: file.etag }),
			...(partial ? { 'content-range': `bytes ${from}-${file.bytes.length - 1}/${file.bytes.length}` } : {}),
		});
		if (request.method === 'HEAD') response.end();
		else if (fault !== undefined && 'holdAfter' in fault) {
			response.write(bytes.subarray(0, fault.holdAfter));
			const cut = await new Promise<boolean>((resolve) => {
				this.#held.push(resolve);
				this.#onHeld();
			});
			if (cut) request.socket.destroy();
			else response.end(bytes.subarray(fault.holdAfter));
		} else response.end(bytes);
	}
}
