/**
 * One multiplexed connection to an engine host, from the side that asks: a front thread's token streams, or a replica's
 * control connection. The read path runs once per batch of tokens: one copy of what was read, one scan for frames, one
 * message per stream and frame; nothing per token.
 */
import { connect, type Socket } from 'node:net';
import type { ActorRef } from '../../actors/kernel/ref.ts';
import type { CountNews, DecodeNews, Generation, TokenizeNews } from '../../actors/serving/decode.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { PromptInput } from '../../actors/serving/task-request.ts';
import { checkPieces, FrameOutbox, FrameReader, ProtocolError, readJson, readU32, readUsage } from './host-frames.ts';
import { fromHost, type HostFacts, type HostRequest, hostProtocolVersion, toHost } from './host-protocol.ts';

/** Where a host listens and what it must be shown. Never logged whole. */
export interface HostAddress {
	readonly socketPath: string;
	/** 32 bytes. */
	readonly secret: Buffer;
}

/** `unix:<path>#<secret, hex>`: the opaque address of `ReplicaFacts`. */
export function formatAddress(address: HostAddress): string {
	return `unix:${address.socketPath}#${address.secret.toString('hex')}`;
}

export function parseAddress(address: string): HostAddress {
	const hash = address.lastIndexOf('#');
	if (!address.startsWith('unix:') || hash < 0) throw new Error('not the address of an engine host');
	return { socketPath: address.slice('unix:'.length, hash), secret: Buffer.from(address.slice(hash + 1), 'hex') };
}

/** What an idle connection tells its owner. */
export interface HostConnectionEvents {
	onWelcome?(facts: HostFacts): void;
	/** Once. Every stream was failed before. */
	onClosed(why: string): void;
	/** Bugs of this side: a message that its actor refused. */
	onBug(words: string): void;
}

type Waiting =
	| { readonly kind: 'generation'; readonly task: ActorRef<DecodeNews> }
	| { readonly kind: 'count'; readonly replyTo: ActorRef<CountNews>; readonly timer: NodeJS.Timeout }
	| { readonly kind: 'tokenize'; readonly replyTo: ActorRef<TokenizeNews>; readonly timer: NodeJS.Timeout }
	| { readonly kind: 'audit'; readonly done: (busyLeases: readonly string[]) => void }
	| { readonly kind: 'ping'; readonly done: () => void };

const readBufferBytes = 64 * 1024;
const answerMs = 5_000;

export class HostConnection {
	readonly #events: HostConnectionEvents;
	readonly #socket: Socket;
	readonly #outbox = new FrameOutbox();
	readonly #waiting = new Map<number, Waiting>();
	readonly #reader = new FrameReader((kind, stream, bytes, start, end) => this.#onFrame(kind, stream, bytes, start, end));
	#lastStream = 0;
	#flushScheduled = false;
	#closed = false;
	/** Before the host's welcome no request has reached it. */
	#welcomed = false;

	constructor(address: HostAddress, events: HostConnectionEvents) {
		this.#events = events;
		const buffer = Buffer.allocUnsafeSlow(readBufferBytes);
		this.#socket = connect({
			path: address.socketPath,
			onread: {
				buffer,
				callback: (length: number) => {
					this.#onRead(buffer, length);
					return true;
				},
			},
		});
		this.#socket.on('error', (error) => this.close(error.message));
		this.#socket.on('close', () => this.close('the engine host closed the connection'));
		this.#send(toHost.hello, 0, () => {
			this.#outbox.bytes(address.secret);
			this.#outbox.u32(hostProtocolVersion);
		});
	}

	get closed(): boolean {
		return this.#closed;
	}

	/** Streams and questions in flight. */
	get inFlight(): number {
		return this.#waiting.size;
	}

	start(request: HostRequest, task: ActorRef<DecodeNews>): Generation {
		const stream = this.#newStream();
		if (stream < 0) {
			task.tell({ type: 'decode-failed', failure: lost('the engine host is gone'), slot: 'unknown', began: 'no' });
			return { cancel() {} };
		}
		this.#waiting.set(stream, { kind: 'generation', task });
		this.#send(toHost.start, stream, () => this.#outbox.json(request));
		return {
			cancel: () => {
				if (this.#waiting.has(stream)) this.#send(toHost.cancel, stream, () => {});
			},
		};
	}

	count(input: PromptInput, replyTo: ActorRef<CountNews>): void {
		const stream = this.#newStream();
		if (stream < 0) {
			replyTo.tell({ type: 'count-failed', failure: lost('the engine host is gone') });
			return;
		}
		const timer = this.#answerTimer(stream, () => replyTo.tell({ type: 'count-failed', failure: lost('the engine host did not answer') }));
		this.#waiting.set(stream, { kind: 'count', replyTo, timer });
		this.#send(toHost.count, stream, () => this.#outbox.json(input));
	}

	tokenize(text: string, replyTo: ActorRef<TokenizeNews>): void {
		const stream = this.#newStream();
		if (stream < 0) {
			replyTo.tell({ type: 'tokenize-failed', failure: lost('the engine host is gone') });
			return;
		}
		const timer = this.#answerTimer(stream, () =>
			replyTo.tell({ type: 'tokenize-failed', failure: lost('the engine host did not answer') }),
		);
		this.#waiting.set(stream, { kind: 'tokenize', replyTo, timer });
		this.#send(toHost.tokenize, stream, () => this.#outbox.text(text));
	}

	/** Lease keys that the engine still works on. Never answered when the connection closes first. */
	audit(done: (busyLeases: readonly string[]) => void): void {
		this.#ask({ kind: 'audit', done }, toHost.audit);
	}

	ping(done: () => void): void {
		this.#ask({ kind: 'ping', done }, toHost.ping);
	}

	close(why: string): void {
		if (this.#closed) return;
		this.#closed = true;
		this.#socket.destroy();
		const waiting = [...this.#waiting.values()];
		this.#waiting.clear();
		for (const each of waiting) this.#fail(each, why);
		this.#events.onClosed(why);
	}

	#fail(waiting: Waiting, why: string): void {
		const what = lost(`connection to the engine host lost: ${why}`);
		switch (waiting.kind) {
			case 'generation':
				waiting.task.tell({ type: 'decode-failed', failure: what, slot: 'unknown', began: this.#welcomed ? 'maybe' : 'no' });
				return;
			case 'count':
				clearTimeout(waiting.timer);
				waiting.replyTo.tell({ type: 'count-failed', failure: what });
				return;
			case 'tokenize':
				clearTimeout(waiting.timer);
				waiting.replyTo.tell({ type: 'tokenize-failed', failure: what });
				return;
			case 'audit':
			case 'ping':
				return;
		}
	}

	#ask(waiting: Waiting, kind: number): void {
		const stream = this.#newStream();
		if (stream < 0) return;
		this.#waiting.set(stream, waiting);
		this.#send(kind, stream, () => {});
	}

	#answerTimer(stream: number, late: () => void): NodeJS.Timeout {
		return setTimeout(() => {
			if (this.#waiting.delete(stream)) late();
		}, answerMs).unref();
	}

	/** −1 when the connection is closed. */
	#newStream(): number {
		if (this.#closed) return -1;
		do this.#lastStream = (this.#lastStream + 1) % 0xffffffff;
		while (this.#lastStream === 0 || this.#waiting.has(this.#lastStream));
		return this.#lastStream;
	}

	/** All frames of a turn leave in one write. */
	#send(kind: number, stream: number, payload: () => void): void {
		this.#outbox.begin(kind, stream);
		payload();
		this.#outbox.end();
		if (this.#flushScheduled) return;
		this.#flushScheduled = true;
		queueMicrotask(() => {
			this.#flushScheduled = false;
			if (!this.#closed) this.#socket.write(this.#outbox.take());
		});
	}

	#onRead(buffer: Buffer, length: number): void {
		if (this.#closed) return;
		// The read buffer is reused by the next read; messages live longer.
		const bytes = Buffer.allocUnsafeSlow(length);
		buffer.copy(bytes, 0, 0, length);
		try {
			this.#reader.push(bytes);
		} catch (error) {
			if (!(error instanceof ProtocolError)) throw error;
			this.close(error.message);
		}
	}

	#onFrame(kind: number, stream: number, bytes: Buffer, start: number, end: number): void {
		if (this.#closed) return;
		if (kind === fromHost.welcome) {
			this.#welcomed = true;
			this.#events.onWelcome?.(readJson(bytes, start, end) as HostFacts);
			return;
		}
		const waiting = this.#waiting.get(stream);
		// An answer that nobody waits for any more: its deadline passed.
		if (waiting === undefined) return;
		if (waiting.kind === 'generation') {
			this.#onGeneration(waiting.task, kind, stream, bytes, start, end);
			return;
		}
		this.#waiting.delete(stream);
		switch (waiting.kind) {
			case 'count':
				clearTimeout(waiting.timer);
				if (kind === fromHost.counted) waiting.replyTo.tell({ type: 'prompt-counted', tokens: readU32(bytes, start, end) });
				else waiting.replyTo.tell({ type: 'count-failed', failure: failureIn(kind, bytes, start, end) });
				return;
			case 'tokenize':
				clearTimeout(waiting.timer);
				if (kind === fromHost.tokenized) {
					waiting.replyTo.tell({ type: 'tokenized', tokens: readJson(bytes, start, end) as { id: number; text: string }[] });
				} else waiting.replyTo.tell({ type: 'tokenize-failed', failure: failureIn(kind, bytes, start, end) });
				return;
			case 'audit':
				waiting.done(readJson(bytes, start, end) as string[]);
				return;
			case 'ping':
				waiting.done();
				return;
		}
	}

	#onGeneration(task: ActorRef<DecodeNews>, kind: number, stream: number, bytes: Buffer, start: number, end: number): void {
		let news: DecodeNews;
		switch (kind) {
			case fromHost.pieces: {
				const count = readU32(bytes, start, end);
				checkPieces(bytes, start + 4, end, count);
				news = { type: 'pieces', bytes, start: start + 4, end, count };
				break;
			}
			case fromHost.started:
				news = { type: 'decode-started', tokensIn: readU32(bytes, start, end), tokensCached: readU32(bytes, start + 4, end) };
				break;
			case fromHost.ended:
				news = { type: 'decode-ended', finishReason: bytes[start] === 0 ? 'stop' : 'length', usage: readUsage(bytes, start + 1, end) };
				break;
			case fromHost.cancelled:
				news = { type: 'decode-cancelled', usage: readUsage(bytes, start, end) };
				break;
			case fromHost.embedded:
				news = readVectors(bytes, start, end);
				break;
			case fromHost.failed:
				news = { type: 'decode-failed', failure: failureIn(kind, bytes, start, end), slot: 'free', began: 'maybe' };
				break;
			default:
				throw new ProtocolError(`frame of unknown kind ${kind} in a stream`);
		}
		if (kind !== fromHost.pieces && kind !== fromHost.started) this.#waiting.delete(stream);
		const delivery = task.tell(news);
		if (delivery === 'accepted') return;
		// A task that has ended takes no news; a full one means lost tokens: then its stream must end, loudly.
		if (delivery === 'full') this.#events.onBug(`a task refused ${news.type}: its mailbox is full`);
		if (this.#waiting.delete(stream)) this.#send(toHost.cancel, stream, () => {});
	}
}

function readVectors(bytes: Buffer, start: number, end: number): DecodeNews {
	const count = readU32(bytes, start, end);
	const dims = readU32(bytes, start + 4, end);
	let at = start + 8;
	if (at + count * dims * 4 > end) throw new ProtocolError('vectors end inside a number');
	const vectors: Float32Array[] = [];
	for (let index = 0; index < count; index += 1) {
		const vector = new Float32Array(dims);
		for (let dim = 0; dim < dims; dim += 1, at += 4) vector[dim] = bytes.readFloatLE(at);
		vectors.push(vector);
	}
	return { type: 'embedded', vectors, usage: readUsage(bytes, at, end) };
}

function failureIn(kind: number, bytes: Buffer, start: number, end: number): Failure {
	if (kind !== fromHost.failed) throw new ProtocolError(`frame of kind ${kind} where an answer was due`);
	return readJson(bytes, start, end) as Failure;
}

function lost(words: string): Failure {
	return failure('WORKER_RESET', words);
}
