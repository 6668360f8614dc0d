/**
 * The socket side of an engine host process: takes connections on a Unix socket, checks their secret, hands their requests
 * to the backend, and sends what the backend makes: one write per connection and decode step. Runs in the host process.
 */
import { timingSafeEqual } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import { failure } from '../../actors/serving/failure.ts';
import type { PromptInput } from '../../actors/serving/task-request.ts';
import { FrameOutbox, FrameReader, ProtocolError, readJson, readU32 } from './host-frames.ts';
import {
	fromHost,
	type GenerationSink,
	type HostBackend,
	type HostGeneration,
	type HostRequest,
	hostProtocolVersion,
	secretBytes,
	toHost,
} from './host-protocol.ts';

export interface HostServerOptions {
	readonly socketPath: string;
	readonly secret: Buffer;
	/** How long a new connection may take to show the secret. */
	readonly helloMs?: number;
	/** Bytes that may wait for a reader; above it the connection is cut and its streams are cancelled. */
	readonly unsentBytesMax?: number;
	/** True when the backend calls `flush` after each decode step: then pieces wait for it. */
	readonly stepped?: boolean;
	/** One line about a connection that was refused or cut. */
	readonly onTrouble?: (words: string) => void;
}

export class HostServer {
	readonly #backend: HostBackend;
	readonly #options: Required<HostServerOptions>;
	readonly #connections = new Set<HostPeer>();
	#server: Server | null = null;
	#flushScheduled = false;

	constructor(backend: HostBackend, options: HostServerOptions) {
		this.#backend = backend;
		this.#options = { helloMs: 2_000, unsentBytesMax: 64 * 1024 * 1024, stepped: false, onTrouble: () => {}, ...options };
	}

	listen(): Promise<void> {
		const server = createServer((socket) => {
			const peer = new HostPeer(socket, this.#backend, this.#options, {
				hasOutput: () => this.#scheduleFlush(),
				closed: () => this.#connections.delete(peer),
				busyLeases: () => [...this.#connections].flatMap((each) => each.busyLeases()),
			});
			this.#connections.add(peer);
		});
		this.#server = server;
		return new Promise((resolve, reject) => {
			server.once('error', reject);
			server.listen(this.#options.socketPath, () => resolve());
		});
	}

	/** Sends what waits, one write per connection. A backend calls it after each decode step. */
	flush(): void {
		for (const peer of this.#connections) peer.flush();
	}

	/** For backends that know no steps, and answers between steps: at the end of the event loop's turn. */
	#scheduleFlush(): void {
		if (this.#flushScheduled) return;
		this.#flushScheduled = true;
		setImmediate(() => {
			this.#flushScheduled = false;
			this.flush();
		});
	}

	async close(): Promise<void> {
		for (const peer of [...this.#connections]) peer.cut();
		const server = this.#server;
		if (server !== null) await new Promise<void>((resolve) => server.close(() => resolve()));
		await this.#backend.close();
	}
}

interface PeerPort {
	hasOutput(): void;
	closed(): void;
	busyLeases(): string[];
}

interface Stream {
	readonly leaseKey: string;
	readonly generation: HostGeneration;
}

/** One connection: a front thread, or a replica's control connection. */
class HostPeer {
	readonly #socket: Socket;
	readonly #backend: HostBackend;
	readonly #options: Required<HostServerOptions>;
	readonly #port: PeerPort;
	readonly #outbox = new FrameOutbox();
	readonly #streams = new Map<number, Stream>();
	#welcome = false;
	/** Stream whose `pieces` frame is open in the outbox; −1: none. */
	#openStream = -1;
	#openMark = 0;
	#openCount = 0;

	constructor(socket: Socket, backend: HostBackend, options: Required<HostServerOptions>, port: PeerPort) {
		this.#socket = socket;
		this.#backend = backend;
		this.#options = options;
		this.#port = port;
		const reader = new FrameReader((kind, stream, bytes, start, end) => this.#onFrame(kind, stream, bytes, start, end));
		const late = setTimeout(() => this.cut('no secret in time'), options.helloMs);
		late.unref();
		socket.on('data', (chunk: Buffer) => {
			try {
				reader.push(chunk);
			} catch (error) {
				if (!(error instanceof ProtocolError)) throw error;
				this.cut(error.message);
			}
			if (this.#welcome) clearTimeout(late);
		});
		socket.on('error', (error) => this.cut(error.message));
		socket.on('close', () => {
			clearTimeout(late);
			this.#cancelAll();
			this.#maybeGone();
		});
	}

	busyLeases(): string[] {
		return [...this.#streams.values()].map((stream) => stream.leaseKey);
	}

	cut(why?: string): void {
		if (this.#socket.destroyed) return;
		if (why !== undefined) this.#options.onTrouble(`connection cut: ${why}`);
		this.#socket.destroy();
	}

	flush(): void {
		this.#closePieces();
		if (this.#outbox.length === 0 || this.#socket.destroyed) return;
		this.#socket.write(this.#outbox.take());
		if (this.#socket.writableLength > this.#options.unsentBytesMax) this.cut(`${this.#socket.writableLength} bytes unread`);
	}

	#onFrame(kind: number, stream: number, bytes: Buffer, start: number, end: number): void {
		if (!this.#welcome) {
			this.#onHello(kind, bytes, start, end);
			return;
		}
		switch (kind) {
			case toHost.start:
				this.#start(stream, readJson(bytes, start, end) as HostRequest);
				return;
			case toHost.cancel:
				this.#streams.get(stream)?.generation.cancel();
				return;
			case toHost.count:
				this.#answer(stream, this.#backend.count(readJson(bytes, start, end) as PromptInput), fromHost.counted, (tokens) =>
					this.#outbox.u32(tokens),
				);
				return;
			case toHost.tokenize:
				this.#answer(stream, this.#backend.tokenize(bytes.toString('utf8', start, end)), fromHost.tokenized, (tokens) =>
					this.#outbox.json(tokens),
				);
				return;
			case toHost.audit:
				this.#frame(fromHost.audited, stream, () => this.#outbox.json(this.#port.busyLeases()));
				return;
			case toHost.ping:
				this.#frame(fromHost.pong, stream, () => {});
				return;
			default:
				throw new ProtocolError(`frame of unknown kind ${kind}`);
		}
	}

	#onHello(kind: number, bytes: Buffer, start: number, end: number): void {
		if (kind !== toHost.hello || end - start !== secretBytes + 4) throw new ProtocolError('the first frame must be hello');
		if (!timingSafeEqual(bytes.subarray(start, start + secretBytes), this.#options.secret)) throw new ProtocolError('wrong secret');
		const version = readU32(bytes, start + secretBytes, end);
		if (version !== hostProtocolVersion) throw new ProtocolError(`protocol version ${version}; this host speaks ${hostProtocolVersion}`);
		this.#welcome = true;
		this.#frame(fromHost.welcome, 0, () => this.#outbox.json(this.#backend.facts));
		this.flush();
	}

	#start(stream: number, request: HostRequest): void {
		if (this.#streams.has(stream)) throw new ProtocolError(`stream ${stream} is in use`);
		const sink = this.#sink(stream);
		const generation = this.#backend.start(request, sink);
		if (!sink.over) this.#streams.set(stream, { leaseKey: request.leaseKey, generation });
	}

	#sink(stream: number): GenerationSink & { readonly over: boolean } {
		let over = false;
		const last = (kind: number, payload: () => void): void => {
			if (over) return;
			over = true;
			this.#streams.delete(stream);
			if (this.#socket.destroyed) this.#maybeGone();
			else this.#frame(kind, stream, payload);
		};
		const outbox = this.#outbox;
		return {
			get over() {
				return over;
			},
			started: (tokensIn, tokensCached) => {
				if (over) return;
				this.#frame(fromHost.started, stream, () => {
					outbox.u32(tokensIn);
					outbox.u32(tokensCached);
				});
			},
			piece: (text, tokens, tokenId, logprob) => {
				if (!over) this.#piece(stream, text, tokens, tokenId, logprob);
			},
			embedded: (vectors, usage) =>
				last(fromHost.embedded, () => {
					outbox.u32(vectors.length);
					outbox.u32(vectors[0]?.length ?? 0);
					for (const vector of vectors) outbox.bytes(new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength));
					outbox.usage(usage);
				}),
			ended: (finishReason, usage) =>
				last(fromHost.ended, () => {
					outbox.u8(finishReason === 'stop' ? 0 : 1);
					outbox.usage(usage);
				}),
			cancelled: (usage) => last(fromHost.cancelled, () => outbox.usage(usage)),
			failed: (what) => last(fromHost.failed, () => outbox.json(what)),
		};
	}

	/** Pieces of one stream that follow each other share a frame. */
	#piece(stream: number, text: string, tokens: number, tokenId: number, logprob: number): void {
		if (this.#socket.destroyed) return;
		if (this.#openStream !== stream) {
			this.#closePieces();
			this.#outbox.begin(fromHost.pieces, stream);
			this.#openMark = this.#outbox.mark();
			this.#outbox.u32(0);
			this.#openStream = stream;
			this.#openCount = 0;
		}
		this.#outbox.piece(text, tokens, tokenId, logprob);
		this.#openCount += 1;
		if (!this.#options.stepped) this.#port.hasOutput();
	}

	#closePieces(): void {
		if (this.#openStream < 0) return;
		this.#outbox.patchU32(this.#openMark, this.#openCount);
		this.#outbox.end();
		this.#openStream = -1;
	}

	#frame(kind: number, stream: number, payload: () => void): void {
		this.#closePieces();
		this.#outbox.begin(kind, stream);
		payload();
		this.#outbox.end();
		this.#port.hasOutput();
	}

	#answer<T>(stream: number, answer: Promise<T>, kind: number, payload: (value: T) => void): void {
		answer.then(
			(value) => this.#frame(kind, stream, () => payload(value)),
			(error: unknown) => {
				const what = failure('INVALID_PARAMS', error instanceof Error ? error.message : String(error));
				this.#frame(fromHost.failed, stream, () => this.#outbox.json(what));
			},
		);
	}

	/** A lost connection is known, and its leases busy, until the backend is done with its streams. */
	#maybeGone(): void {
		if (this.#streams.size === 0) this.#port.closed();
	}

	#cancelAll(): void {
		for (const { generation } of this.#streams.values()) generation.cancel();
	}
}
