/**
 * One connection to an engine host, from the host's side: a front thread's, or a replica's control connection. Checks its
 * secret, hands its requests to the backend, and packs what the backend makes of them into one outbox. Runs in the host
 * process.
 *
 * ```
 *  new ── hello with the secret ──► welcome ── closed, or cut ──► lost ── backend done with its streams ──► gone
 *   └── anything else, or too late ──► gone
 * ```
 */
import { timingSafeEqual } from 'node:crypto';
import type { Socket } from 'node:net';
import type { PieceChannel } from '../../actors/serving/decode.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import { FrameOutbox, FrameReader, ProtocolError } from './host-frames.ts';
import { readInput, readLeaseKeys, readRequest, readU32 } from './host-payloads.ts';
import {
	finishByStop,
	finishReasons,
	frameBytesMax,
	frameHeadBytes,
	fromHost,
	type GenerationSink,
	type HostBackend,
	type HostGeneration,
	type HostRequest,
	hostProtocolVersion,
	secretBytes,
	toHost,
} from './host-protocol.ts';

export interface PeerLimits {
	/** How long a new connection may take to show the secret. */
	readonly helloMs: number;
	/** Bytes that may wait for a reader; above it the connection is cut and its streams are cancelled. */
	readonly unsentBytesMax: number;
}

export interface PeerParts {
	readonly backend: HostBackend;
	readonly secret: Buffer;
	readonly limits: PeerLimits;
	/** Pieces wait for the backend's flush. */
	readonly stepped: boolean;
	/** Something waits for a flush that no step will bring. */
	hasOutput(): void;
	/** Closed, and the backend is done with its streams. */
	gone(): void;
	/** Of all connections. */
	busyLeases(): readonly string[];
	/** Of all connections, and for requests to come. */
	revoke(leaseKeys: readonly string[]): void;
	isRevoked(leaseKey: string): boolean;
	onTrouble(words: string): void;
}

interface Stream {
	readonly leaseKey: string;
	readonly generation: HostGeneration;
}

/** Records in one frame, each below 64 KiB + 12 bytes: the frame stays far below `frameBytesMax`. */
const piecesMax = 256;
const helloBytes = frameHeadBytes - 4 + secretBytes + 4;

export class HostPeer {
	readonly #socket: Socket;
	readonly #parts: PeerParts;
	readonly #outbox = new FrameOutbox();
	/** Before the secret was seen, no more is kept of a connection than it takes to see it. */
	readonly #reader = new FrameReader((kind, stream, bytes, start, end) => this.#onFrame(kind, stream, bytes, start, end), helloBytes);
	readonly #streams = new Map<number, Stream>();
	readonly #late: NodeJS.Timeout;
	#welcome = false;
	/** Stream whose `pieces` frame is open in the outbox; −1: none. */
	#openStream = -1;
	#openMark = 0;
	#openCount = 0;

	constructor(socket: Socket, parts: PeerParts) {
		this.#socket = socket;
		this.#parts = parts;
		this.#late = setTimeout(() => this.cut('no secret in time'), parts.limits.helloMs);
		this.#late.unref();
		socket.on('data', (chunk: Buffer) => this.#onData(chunk));
		socket.on('drain', () => this.flush());
		socket.on('error', (error) => this.cut(error.message));
		socket.on('close', () => {
			clearTimeout(this.#late);
			for (const { generation } of this.#streams.values()) generation.cancel();
			this.#maybeGone();
		});
	}

	busyLeases(): readonly string[] {
		return [...this.#streams.values()].map((stream) => stream.leaseKey);
	}

	/** Ends what runs on these leases. */
	cancelLeases(leaseKeys: ReadonlySet<string>): void {
		for (const { leaseKey, generation } of [...this.#streams.values()]) if (leaseKeys.has(leaseKey)) generation.cancel();
	}

	cut(why?: string): void {
		if (this.#socket.destroyed) return;
		if (why !== undefined) this.#parts.onTrouble(`connection cut: ${why}`);
		this.#socket.destroy();
	}

	/** One write for all streams. Behind a socket that is full, frames wait in the outbox, where they take no more than they are. */
	flush(): void {
		const socket = this.#socket;
		if (socket.destroyed) return;
		const blocked = socket.writableNeedDrain && socket.writableLength > 0;
		if (!blocked && this.#outbox.length > 0) {
			this.#closePieces();
			this.#outbox.drain(this.#write);
		}
		const unsent = socket.writableLength + this.#outbox.length;
		if (unsent > this.#parts.limits.unsentBytesMax) this.cut(`${unsent} bytes unread`);
	}

	/** The socket is done with bytes that it could hand to the platform at once. */
	readonly #write = (packed: Buffer): boolean => {
		this.#socket.write(packed);
		return this.#socket.writableLength > 0;
	};

	#onData(chunk: Buffer): void {
		try {
			this.#reader.push(chunk);
		} catch (error) {
			if (!(error instanceof ProtocolError)) throw error;
			this.cut(error.message);
		}
	}

	#onFrame(kind: number, stream: number, bytes: Buffer, start: number, end: number): void {
		// One of the frames before may have cut it.
		if (this.#socket.destroyed) return;
		if (!this.#welcome) {
			this.#onHello(kind, bytes, start, end);
			return;
		}
		const { backend } = this.#parts;
		switch (kind) {
			case toHost.start:
				this.#start(stream, readRequest(bytes, start, end));
				return;
			case toHost.cancel:
				this.#streams.get(stream)?.generation.cancel();
				return;
			case toHost.count: {
				const input = readInput(bytes, start, end);
				this.#answer(stream, fromHost.counted, async () => {
					const tokens = await backend.count(input);
					return () => this.#outbox.u32(tokens);
				});
				return;
			}
			case toHost.tokenize: {
				const text = bytes.toString('utf8', start, end);
				this.#answer(stream, fromHost.tokenized, async () => {
					const tokens = await backend.tokenize(text);
					return () => this.#outbox.json(tokens);
				});
				return;
			}
			case toHost.audit:
				this.#parts.revoke(readLeaseKeys(bytes, start, end));
				this.#frame(fromHost.audited, stream, () => this.#outbox.json(this.#parts.busyLeases()));
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
		if (!timingSafeEqual(bytes.subarray(start, start + secretBytes), this.#parts.secret)) throw new ProtocolError('wrong secret');
		const version = readU32(bytes, start + secretBytes, end);
		if (version !== hostProtocolVersion) throw new ProtocolError(`protocol version ${version}; this host speaks ${hostProtocolVersion}`);
		this.#welcome = true;
		this.#reader.frameMax = frameBytesMax;
		clearTimeout(this.#late);
		this.#frame(fromHost.welcome, 0, () => this.#outbox.json(this.#parts.backend.facts));
		this.flush();
	}

	#start(stream: number, request: HostRequest): void {
		if (this.#streams.has(stream)) throw new ProtocolError(`stream ${stream} is in use`);
		const sink = this.#sink(stream);
		if (this.#parts.isRevoked(request.leaseKey)) return sink.failed(failure('WORKER_RESET', 'the lease of this request was revoked'));
		try {
			const generation = this.#parts.backend.start(request, sink);
			if (!sink.over) this.#streams.set(stream, { leaseKey: request.leaseKey, generation });
		} catch (error) {
			// One request must not take the others with it; what it left behind in the backend, an audit does not show.
			this.#parts.onTrouble(`a request met a bug: ${whereOf(error)}`);
			sink.failed(bug());
		}
	}

	#sink(stream: number): GenerationSink & { readonly over: boolean } {
		let over = false;
		const outbox = this.#outbox;
		const last = (kind: number, payload: () => void): void => {
			if (over) return;
			over = true;
			this.#streams.delete(stream);
			if (this.#socket.destroyed) this.#maybeGone();
			else this.#answerOrBug(kind, stream, payload);
		};
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
			piece: (text, tokens, tokenId, logprob, ids = null, tops = null, channel = 0) => {
				if (!over) this.#piece(stream, text, tokens, tokenId, logprob, ids, tops, channel);
			},
			embedded: (vectors, usage) =>
				last(fromHost.embedded, () => {
					outbox.u32(vectors.length);
					outbox.u32(vectors[0]?.length ?? 0);
					for (const vector of vectors) {
						if (vector.length === 0 || vector.length !== vectors[0]?.length)
							throw new RangeError('vectors of different lengths, or of none');
						outbox.bytes(new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength));
					}
					outbox.usage(usage);
				}),
			ended: (finishReason, usage, stoppedBy = -1) =>
				last(fromHost.ended, () => {
					outbox.u8(finishReason === 'stop' && stoppedBy >= 0 ? finishByStop + stoppedBy : finishReasons.indexOf(finishReason));
					outbox.usage(usage);
				}),
			cancelled: (usage) => last(fromHost.cancelled, () => outbox.usage(usage)),
			failed: (what) => last(fromHost.failed, () => outbox.json(what)),
		};
	}

	/** Pieces of one stream that follow each other share a frame. */
	#piece(
		stream: number,
		text: string,
		tokens: number,
		tokenId: number,
		logprob: number,
		ids: readonly number[] | null,
		tops: string | null,
		channel: PieceChannel,
	): void {
		if (this.#socket.destroyed) return;
		if (this.#openStream !== stream || this.#openCount === piecesMax) {
			this.#closePieces();
			this.#outbox.begin(fromHost.pieces, stream);
			this.#openMark = this.#outbox.mark();
			this.#outbox.u32(0);
			this.#openStream = stream;
			this.#openCount = 0;
		}
		this.#outbox.piece(text, tokens, tokenId, logprob, ids, tops, channel);
		this.#openCount += 1;
		if (!this.#parts.stepped) this.#parts.hasOutput();
	}

	#closePieces(): void {
		if (this.#openStream < 0) return;
		this.#openStream = -1;
		if (this.#openCount === 0) {
			// Its first piece was more than a record holds.
			this.#outbox.drop();
			return;
		}
		this.#outbox.patchU32(this.#openMark, this.#openCount);
		this.#outbox.end();
	}

	/** What `payload` throws leaves nothing of the frame behind. */
	#frame(kind: number, stream: number, payload: () => void): void {
		if (this.#socket.destroyed) return;
		this.#closePieces();
		this.#outbox.begin(kind, stream);
		try {
			payload();
		} catch (error) {
			this.#outbox.drop();
			throw error;
		}
		if (!this.#outbox.end())
			this.#refuse(stream, failure('INVALID_PARAMS', `the answer is longer than ${frameBytesMax} bytes: ask for less`));
		this.#parts.hasOutput();
	}

	#refuse(stream: number, what: Failure): void {
		this.#frame(fromHost.failed, stream, () => this.#outbox.json(what));
	}

	/** The last that is said on a stream: it must be said, also where the backend gives what no frame can hold. */
	#answerOrBug(kind: number, stream: number, payload: () => void): void {
		try {
			this.#frame(kind, stream, payload);
		} catch (error) {
			this.#parts.onTrouble(`an answer met a bug: ${whereOf(error)}`);
			this.#refuse(stream, bug());
		}
	}

	/** The backend's answer to a question; what it throws is the asker's fault. */
	#answer(stream: number, kind: number, ask: () => Promise<() => void>): void {
		ask().then(
			(payload) => this.#answerOrBug(kind, stream, payload),
			(error: unknown) => this.#refuse(stream, failure('INVALID_PARAMS', error instanceof Error ? error.message : String(error))),
		);
	}

	/** A lost connection is known, and its leases busy, until the backend is done with its streams. */
	#maybeGone(): void {
		if (this.#streams.size === 0) this.#parts.gone();
	}
}

function bug(): Failure {
	return failure('INTERNAL', 'the engine host met a bug with this request');
}

/** Kind and place of a bug, without its message: that may quote a prompt. */
function whereOf(error: unknown): string {
	if (!(error instanceof Error)) return typeof error;
	return `${error.name} ${
		error.stack
			?.split('\n')
			.find((line) => /^\s+at /.test(line))
			?.trim() ?? ''
	}`;
}
