/**
 * One multiplexed connection to an engine host, from the side that asks: a front thread's token streams, or a replica's
 * control connection. The read path runs once per batch of tokens: one copy of what was read, one scan for frames, one
 * message per stream and read; nothing per token but the check that its record is whole.
 */
import { connect, type Socket } from 'node:net';
import type { ActorRef, Delivery } from '../../actors/kernel/ref.ts';
import type { CountNews, DecodeNews, Generation, TokenizeNews } from '../../actors/serving/decode.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { PromptInput } from '../../actors/serving/task-request.ts';
import { GenerationStream } from './generation-stream.ts';
import type { HostAddress } from './host-address.ts';
import { FrameOutbox, FrameReader, ProtocolError } from './host-frames.ts';
import {
	checkPieces,
	readEnd,
	readFacts,
	readFailure,
	readLeaseKeys,
	readTokens,
	readU32,
	readUsage,
	readVectors,
} from './host-payloads.ts';
import { frameBytesMax, fromHost, type HostFacts, type HostRequest, hostProtocolVersion, toHost } from './host-protocol.ts';
import { ReadSlab } from './read-slab.ts';

/** What a connection tells its owner. */
export interface HostConnectionEvents {
	onWelcome?(facts: HostFacts): void;
	/** Once. Every stream and question was failed before. */
	onClosed(why: string): void;
	/** Bugs of this side: a message that its actor refused. */
	onBug(words: string): void;
}

export interface HostConnectionLimits {
	/** How long a host may take over a count or a tokenize: one that is stopped or dead answers never. */
	readonly answerMs: number;
	/** Bytes that may wait for a host that does not read, before questions are refused at once. */
	readonly unsentBytesMax: number;
}

/** Something that an answer is due for. `late`: its asker was told that it took too long. */
type Waiting =
	| GenerationStream
	| {
			readonly kind: 'question';
			readonly timer: NodeJS.Timeout;
			/** Reads the answer; what it returns tells it. */
			take(kind: number, bytes: Buffer, start: number, end: number): () => void;
			fail(what: Failure): void;
	  }
	| { readonly kind: 'audit'; readonly done: (busyLeases: readonly string[]) => void }
	| { readonly kind: 'ping'; readonly done: () => void }
	| { readonly kind: 'late' };

const defaults: HostConnectionLimits = { answerMs: 5_000, unsentBytesMax: frameBytesMax };
const readBufferBytes = 64 * 1024;
/** Full reads in a row before timers, other sockets and a turn that is behind get their chance. */
const readsInARow = 4;
const streamMax = 0xffff_ffff;

export class HostConnection {
	readonly #events: HostConnectionEvents;
	readonly #limits: HostConnectionLimits;
	readonly #socket: Socket;
	readonly #outbox = new FrameOutbox();
	readonly #waiting = new Map<number, Waiting>();
	readonly #reader = new FrameReader((kind, stream, bytes, start, end) => this.#onFrame(kind, stream, bytes, start, end));
	readonly #slab = new ReadSlab();
	/** Streams that hold pieces of the read under way. */
	readonly #holding: GenerationStream[] = [];
	#fullReads = 0;
	#lastStream = 0;
	#flushScheduled = false;
	#closed = false;
	/** Until the host's welcome no request leaves: then it is certain that a lost one has not begun. */
	#welcomed = false;

	constructor(address: HostAddress, events: HostConnectionEvents, limits: Partial<HostConnectionLimits> = {}) {
		this.#events = events;
		this.#limits = { ...defaults, ...limits };
		const buffer = Buffer.allocUnsafeSlow(readBufferBytes);
		this.#socket = connect({
			path: address.socketPath,
			onread: { buffer, callback: (length: number) => this.#onRead(buffer, length) },
		});
		this.#socket.on('drain', () => this.#flush());
		this.#socket.on('error', (error: NodeJS.ErrnoException) => this.close(error.code ?? error.message));
		this.#socket.on('close', () => this.close('it was closed by the host'));
		this.#outbox.begin(toHost.hello, 0);
		this.#outbox.bytes(address.secret);
		this.#outbox.u32(hostProtocolVersion);
		this.#outbox.end();
		this.#outbox.drain(this.#write);
	}

	get closed(): boolean {
		return this.#closed;
	}

	/** Streams and questions that the host owes an answer or an end. */
	get inFlight(): number {
		return this.#waiting.size;
	}

	start(request: HostRequest, task: ActorRef<DecodeNews>): Generation {
		if (this.#closed) {
			task.tell({ type: 'decode-failed', failure: lost('the engine host is gone'), slot: 'unknown', began: 'no' });
			return { cancel() {}, abandon() {} };
		}
		const stream = new GenerationStream(this.#newStream(), task, this.#cancel);
		this.#waiting.set(stream.id, stream);
		if (!this.#send(toHost.start, stream.id, () => this.#outbox.json(request))) {
			this.#waiting.delete(stream.id);
			stream.tell({ type: 'decode-failed', failure: tooLong('the request'), slot: 'free', began: 'maybe' });
		}
		return stream;
	}

	/** Exactly one answer, after `answerMs` at the latest. */
	count(input: PromptInput, answered: (news: CountNews) => void): void {
		this.#ask(toHost.count, () => this.#outbox.json(input), {
			take: (kind, bytes, start, end) => {
				const news: CountNews =
					kind === fromHost.counted
						? { type: 'prompt-counted', tokens: readU32(bytes, start, end) }
						: { type: 'count-failed', failure: refusal(kind, bytes, start, end) };
				return () => answered(news);
			},
			fail: (what) => answered({ type: 'count-failed', failure: what }),
		});
	}

	/** Exactly one answer, after `answerMs` at the latest. */
	tokenize(text: string, replyTo: ActorRef<TokenizeNews>): void {
		this.#ask(toHost.tokenize, () => this.#outbox.text(text), {
			take: (kind, bytes, start, end) => {
				const news: TokenizeNews =
					kind === fromHost.tokenized
						? { type: 'tokenized', tokens: readTokens(bytes, start, end) }
						: { type: 'tokenize-failed', failure: refusal(kind, bytes, start, end) };
				return () => replyTo.tell(news);
			},
			fail: (what) => replyTo.tell({ type: 'tokenize-failed', failure: what }),
		});
	}

	/** Lease keys that the engine still works on; it is to work on none of `revoked`. Never answered when the connection closes first. */
	audit(revoked: readonly string[], done: (busyLeases: readonly string[]) => void): void {
		this.#tellHost(toHost.audit, { kind: 'audit', done }, () => this.#outbox.json(revoked));
	}

	/** Never answered when the connection closes first. */
	ping(done: () => void): void {
		this.#tellHost(toHost.ping, { kind: 'ping', done }, () => {});
	}

	close(why: string): void {
		if (this.#closed) return;
		this.#closed = true;
		this.#socket.destroy();
		const waiting = [...this.#waiting.values()];
		this.#waiting.clear();
		const what = lost(`connection to the engine host lost: ${why}`);
		const began = this.#welcomed ? 'maybe' : 'no';
		for (const each of waiting) {
			if (each.kind === 'generation') each.tell({ type: 'decode-failed', failure: what, slot: 'unknown', began });
			if (each.kind !== 'question') continue;
			clearTimeout(each.timer);
			each.fail(what);
		}
		this.#events.onClosed(why);
	}

	#ask(kind: number, payload: () => void, asker: Pick<Extract<Waiting, { kind: 'question' }>, 'take' | 'fail'>): void {
		if (this.#closed) return asker.fail(lost('the engine host is gone'));
		if (this.#socket.writableLength + this.#outbox.length > this.#limits.unsentBytesMax)
			return asker.fail(lost('the engine host does not read'));
		const stream = this.#newStream();
		if (!this.#send(kind, stream, payload)) return asker.fail(tooLong('the text'));
		const timer = setTimeout(() => {
			this.#waiting.set(stream, { kind: 'late' });
			asker.fail(lost('the engine host did not answer'));
		}, this.#limits.answerMs);
		this.#waiting.set(stream, { kind: 'question', timer: timer.unref(), ...asker });
	}

	#tellHost(kind: number, waiting: Waiting, payload: () => void): void {
		if (this.#closed) return;
		const stream = this.#newStream();
		this.#waiting.set(stream, waiting);
		this.#send(kind, stream, payload);
	}

	readonly #cancel = (stream: GenerationStream): void => {
		if (this.#waiting.get(stream.id) === stream) this.#send(toHost.cancel, stream.id, () => {});
	};

	/** Never one whose end is still due, however long ago that began. */
	#newStream(): number {
		do this.#lastStream = this.#lastStream === streamMax ? 1 : this.#lastStream + 1;
		while (this.#waiting.has(this.#lastStream));
		return this.#lastStream;
	}

	/** All frames of what the event loop had to run leave in one write. False: the frame is longer than any host takes. */
	#send(kind: number, stream: number, payload: () => void): boolean {
		this.#outbox.begin(kind, stream);
		payload();
		const fits = this.#outbox.end();
		if (!this.#flushScheduled) {
			this.#flushScheduled = true;
			setImmediate(this.#flushDue);
		}
		return fits;
	}

	readonly #flushDue = (): void => {
		this.#flushScheduled = false;
		this.#flush();
	};

	/** Behind a socket that is full, or not welcome yet, frames wait in the outbox. */
	#flush(): void {
		if (this.#closed || !this.#welcomed || this.#outbox.length === 0) return;
		if (this.#socket.writableNeedDrain && this.#socket.writableLength > 0) return;
		this.#outbox.drain(this.#write);
	}

	/** The socket is done with bytes that it could hand to the platform at once. */
	readonly #write = (packed: Buffer): boolean => {
		this.#socket.write(packed);
		return this.#socket.writableLength > 0;
	};

	/** False: no more for now. */
	#onRead(buffer: Buffer, length: number): boolean {
		if (this.#closed) return false;
		let problem: ProtocolError | null = null;
		try {
			this.#reader.push(this.#slab.keep(buffer, length));
		} catch (error) {
			if (!(error instanceof ProtocolError)) throw error;
			problem = error;
		}
		for (const stream of this.#holding) this.#delivered(stream, stream.tellPieces(), 'pieces');
		this.#holding.length = 0;
		if (problem !== null) this.close(problem.message);
		return this.#mayReadOn(length);
	}

	/** The platform reads on while reads are full. What is read waits in mailboxes, so the turns behind them must keep up. */
	#mayReadOn(length: number): boolean {
		if (length < readBufferBytes) this.#fullReads = 0;
		else this.#fullReads += 1;
		if (this.#fullReads < readsInARow) return true;
		this.#fullReads = 0;
		setImmediate(() => {
			if (!this.#closed) this.#socket.resume();
		});
		return false;
	}

	#onFrame(kind: number, stream: number, bytes: Buffer, start: number, end: number): void {
		if (this.#closed) return;
		if (!this.#welcomed) {
			if (kind !== fromHost.welcome) throw new ProtocolError('the first frame must be welcome');
			const facts = readFacts(bytes, start, end);
			this.#welcomed = true;
			this.#flush();
			this.#events.onWelcome?.(facts);
			return;
		}
		const waiting = this.#waiting.get(stream);
		if (waiting === undefined) throw new ProtocolError(`frame of kind ${kind} for stream ${stream}, which has ended`);
		if (waiting.kind === 'generation') {
			if (kind === fromHost.pieces) this.#onPieces(waiting, bytes, start, end);
			else this.#onNews(waiting, kind, bytes, start, end);
			return;
		}
		const tell = readAnswer(waiting, kind, bytes, start, end);
		// Before it is told: whoever hears it may close the connection, and is owed nothing more then.
		this.#waiting.delete(stream);
		tell();
	}

	#onPieces(stream: GenerationStream, bytes: Buffer, start: number, end: number): void {
		const count = readU32(bytes, start, end);
		checkPieces(bytes, start + 4, end, count);
		if (stream.holdsOther(bytes)) this.#delivered(stream, stream.tellPieces(), 'pieces');
		if (stream.hold(bytes, start + 4, end, count)) this.#holding.push(stream);
	}

	#onNews(stream: GenerationStream, kind: number, bytes: Buffer, start: number, end: number): void {
		const news = readNews(kind, bytes, start, end);
		if (kind !== fromHost.started) this.#waiting.delete(stream.id);
		this.#delivered(stream, stream.tell(news), news.type);
	}

	/** A task that has ended takes no news; a full one means lost tokens, which is a bug: its generation must end, loudly. */
	#delivered(stream: GenerationStream, delivery: Delivery, what: string): void {
		if (delivery === 'accepted') return;
		if (delivery === 'full') this.#events.onBug(`a task refused ${what}: its mailbox is full`);
		stream.forsake();
		stream.cancel();
	}
}

/** What is to be done with an answer that is as it should be. */
function readAnswer(waiting: Exclude<Waiting, GenerationStream>, kind: number, bytes: Buffer, start: number, end: number): () => void {
	switch (waiting.kind) {
		case 'question': {
			const tell = waiting.take(kind, bytes, start, end);
			clearTimeout(waiting.timer);
			return tell;
		}
		case 'audit': {
			if (kind !== fromHost.audited) throw unexpected(kind);
			const busyLeases = readLeaseKeys(bytes, start, end);
			return () => waiting.done(busyLeases);
		}
		case 'ping':
			if (kind !== fromHost.pong) throw unexpected(kind);
			return waiting.done;
		case 'late':
			return () => {};
	}
}

function readNews(kind: number, bytes: Buffer, start: number, end: number): DecodeNews {
	switch (kind) {
		case fromHost.started:
			return { type: 'decode-started', tokensIn: readU32(bytes, start, end), tokensCached: readU32(bytes, start + 4, end) };
		case fromHost.ended:
			return readEnd(bytes, start, end);
		case fromHost.cancelled:
			return { type: 'decode-cancelled', usage: readUsage(bytes, start, end) };
		case fromHost.embedded:
			return readVectors(bytes, start, end);
		case fromHost.failed:
			return { type: 'decode-failed', failure: readFailure(bytes, start, end), slot: 'free', began: 'maybe' };
		default:
			throw unexpected(kind);
	}
}

/** The failure that came instead of an answer. */
function refusal(kind: number, bytes: Buffer, start: number, end: number): Failure {
	if (kind !== fromHost.failed) throw unexpected(kind);
	return readFailure(bytes, start, end);
}

function lost(words: string): Failure {
	return failure('WORKER_RESET', words);
}

function tooLong(what: string): Failure {
	return failure('INVALID_PARAMS', `${what} is longer than the ${frameBytesMax} bytes that an engine host takes`);
}

function unexpected(kind: number): ProtocolError {
	return new ProtocolError(`frame of kind ${kind} where another was due`);
}
