/**
 * One generation by an engine over HTTP: from the request to the news that its task hears, in the order of the engine's bytes.
 * Deltas of a known shape go from the socket's bytes to the task's records without a parse. Front threads.
 *
 * ```
 *  asking ──head 200──► reading ──ended, answer whole──► told
 *     │                    └──cancel──► leaving ──the engine closes──► told
 *     └──any other head──► refused ──body read──► told
 * ```
 */
import { performance } from 'node:perf_hooks';
import type { ActorRef } from '../../actors/kernel/ref.ts';
import {
	type DecodeNews,
	type FinishReason,
	type Generation,
	type GenerationUsage,
	type PieceChannel,
	pieceIsToolCall,
} from '../../actors/serving/decode.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import { textParts } from '../wire/text-parts.ts';
import {
	type AnswerReader,
	type AnswerSink,
	type Score,
	type ToolCallDelta,
	type UpstreamCall,
	type UpstreamEngine,
	unscored,
} from './adapter.ts';
import { EventScanner, type EventSink, EventTooLong } from './event-scan.ts';
import type { ResponseHeaders } from './http-response.ts';
import type { ReadBatch, Reading } from './read-batch.ts';
import { type RecordBlocks, RecordWriter } from './record-writer.ts';
import type { AnswerEvents, UpstreamConnection } from './upstream-connection.ts';
import { failureOf } from './upstream-errors.ts';

export interface GenerationPlace {
	readonly engine: UpstreamEngine;
	readonly call: UpstreamCall;
	readonly task: ActorRef<DecodeNews>;
	readonly blocks: RecordBlocks;
	readonly batch: ReadBatch;
	/** Opens, or uses again, a connection and sends the request. */
	send(answer: AnswerEvents, fresh: boolean): UpstreamConnection;
	/** What the engine says of an error; null: nothing that may be repeated. */
	problem(body: unknown): string | null;
	/** Once: nothing of it is left. */
	over(): void;
}

/** Of an answer that is no success: enough for its words. */
const problemBytesMax = 64 * 1024;
const answerBytesMax = 64 * 1024 * 1024;
/** An engine that has not closed its side by then has not noticed that we left: nobody knows what it does. */
const leaveMs = 1_900;
const unnoticed = 'the engine did not notice that its client left';
const wordsMax = 300;
const noText = Buffer.alloc(0);

export class UpstreamGeneration implements Generation, AnswerEvents, AnswerSink, EventSink, Reading {
	// What each read and token looks at comes first: it lies together.
	#state: 'asking' | 'reading' | 'refused' | 'leaving' | 'told' = 'asking';
	/** In the batch of those that have read something. */
	#waits = false;
	readonly #isEvents: boolean;
	#finishReason: FinishReason | null = null;
	#stoppedBy = -1;
	#failed: Failure | null = null;
	readonly #scanner: EventScanner;
	readonly #reader: AnswerReader;
	readonly #writer: RecordWriter;
	readonly #task: ActorRef<DecodeNews>;
	readonly #batch: ReadBatch;
	#firstAt: number | null = null;
	#lastAt = 0;
	#forsaken = false;
	readonly #place: GenerationPlace;
	#connection: UpstreamConnection;
	#status = 0;
	#retryAfter: string | null = null;
	/** Of an answer that is not read as events. */
	#body: Buffer[] = [];
	#bodyBytes = 0;
	#retried = false;
	#enough = false;
	#vectors: readonly Float32Array[] | null = null;
	#tokensIn = 0;
	#tokensCached = 0;
	#tokensOut: number | null = null;
	readonly #askedAt = performance.now();
	/** What the event under way has told. */
	#tokensRead = 0;
	#textRead = '';
	#otherRead = false;
	#leaveTimer: NodeJS.Timeout | null = null;

	constructor(place: GenerationPlace) {
		this.#place = place;
		this.#task = place.task;
		this.#batch = place.batch;
		this.#reader = place.call.reader;
		this.#isEvents = place.call.answers === 'text/event-stream';
		this.#writer = new RecordWriter(place.blocks, (bytes, start, end, count) => this.#tell({ type: 'pieces', bytes, start, end, count }));
		this.#scanner = new EventScanner(this);
		this.#connection = place.send(this, false);
	}

	// ── the task ─────────────────────────────────────────────────────────────────────────────────────────────────

	cancel(): void {
		if (this.#state === 'told' || this.#state === 'leaving') return;
		if (this.#state === 'refused') return this.#connection.close('the task was cancelled');
		this.#flush(performance.now());
		this.#state = 'leaving';
		this.#leave();
	}

	abandon(): void {
		this.#forsaken = true;
		this.cancel();
	}

	/** The front closes. */
	close(why: string): void {
		this.#connection.close(why);
	}

	// ── the connection ───────────────────────────────────────────────────────────────────────────────────────────

	onHead(status: number, headers: ResponseHeaders): void {
		if (this.#state !== 'asking') return;
		this.#status = status;
		this.#retryAfter = headers.get('retry-after') ?? null;
		const type = (headers.get('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
		if (status !== 200) {
			this.#state = 'refused';
			return;
		}
		this.#state = 'reading';
		if (type !== this.#place.call.answers) {
			const shown = /^[\w.+/-]{1,60}$/.test(type) ? type : 'no known type';
			this.failed(this.#broken(`the engine answered with ${shown}, not ${this.#place.call.answers}`));
			return;
		}
		this.#tell({ type: 'decode-started', tokensIn: this.#tokensIn, tokensCached: this.#tokensCached });
	}

	onBody(bytes: Buffer, start: number, end: number): void {
		if (this.#state === 'leaving' || this.#state === 'told') return;
		if (this.#state === 'reading' && this.#failed === null && this.#isEvents) {
			try {
				this.#scanner.push(bytes, start, end);
			} catch (error) {
				if (!(error instanceof EventTooLong)) throw error;
				this.failed(this.#broken(error.message));
			}
			return;
		}
		const max = this.#state === 'reading' ? answerBytesMax : problemBytesMax;
		if (this.#bodyBytes >= max) return;
		this.#bodyBytes += end - start;
		this.#body.push(Buffer.from(bytes.subarray(start, end)));
	}

	onReadEnd(): void {
		if (this.#state !== 'reading') return;
		if (this.#writer.count > 0 && !this.#waits) {
			this.#waits = true;
			this.#batch.add(this);
		}
		// What the engine has to say is said; it is not read on.
		if (this.#failed !== null) this.#connection.close('its answer cannot be used');
		else if (this.#enough && this.#leaveTimer === null) this.#leave();
	}

	tellRead(now: number): void {
		this.#waits = false;
		this.#flush(now);
	}

	onEnd(): void {
		switch (this.#state) {
			case 'leaving':
				return this.#cancelled();
			case 'refused':
				return this.#fail(this.#refusal(), 'free', 'maybe');
			case 'reading':
				return this.#atEnd();
			default:
				return this.#fail(this.#broken('the engine answered nothing'), 'free', 'maybe');
		}
	}

	onBroken(why: string, heard: boolean, sent: boolean): void {
		if (this.#state === 'told') return;
		if (this.#state === 'leaving') {
			if (this.#leaveTimer !== null && why !== unnoticed) return this.#cancelled();
			return this.#fail(this.#broken(why), 'unknown', 'maybe');
		}
		if (this.#failed !== null) return this.#fail(this.#failed, 'free', 'maybe');
		// One that was kept may have been closed by the engine as we wrote: nothing of an answer has come, so nothing is repeated.
		if (!heard && this.#connection.used && !this.#retried) {
			this.#retried = true;
			this.#connection = this.#place.send(this, true);
			return;
		}
		if (this.#state === 'reading' && this.#finishReason !== null) return this.#atEnd();
		const words = sent ? `the connection to the engine broke: ${why}` : `no connection to the engine: ${why}`;
		this.#fail(this.#broken(words), sent ? 'unknown' : 'free', sent ? 'maybe' : 'no');
	}

	// ── what the answer says ─────────────────────────────────────────────────────────────────────────────────────

	token(text: string, tokens = 1, { id, logprob, tops }: Score = unscored, channel: PieceChannel = 0): void {
		this.#tokensRead += 1;
		this.#textRead = text;
		if (tokens !== 1) this.#otherRead = true;
		if (this.#finishReason !== null || this.#failed !== null) return;
		const json = Buffer.from(JSON.stringify(text));
		if (tops !== null) this.#writer.willShow(tops);
		this.#writer.add(json, 1, json.length - 1, json.includes(0x5c), tokens, id, logprob, channel);
	}

	toolCall(delta: ToolCallDelta, tokens = 1): void {
		const { function: called, ...call } = delta;
		// Longer ones would not fit a record: their JSON may not be cut.
		const [first = '', ...more] = textParts(called.arguments ?? '');
		this.token(JSON.stringify({ ...call, function: { ...called, arguments: first } }), tokens, unscored, pieceIsToolCall);
		for (const part of more)
			this.token(JSON.stringify({ index: delta.index, function: { arguments: part } }), 0, unscored, pieceIsToolCall);
	}

	told(ids: readonly number[]): void {
		if (ids.length > 1) this.#otherRead = true;
		if (this.#finishReason !== null || this.#failed !== null) return;
		for (const id of ids) this.#writer.willTell(id);
	}

	used({ tokensIn, tokensCached, tokensOut }: { tokensIn?: number; tokensCached?: number; tokensOut?: number }): void {
		const [into, cached, out] = [this.#tokensIn, this.#tokensCached, this.#tokensOut];
		this.#tokensIn = count(tokensIn) ?? into;
		this.#tokensCached = count(tokensCached) ?? cached;
		this.#tokensOut = count(tokensOut) ?? out;
		if (this.#tokensIn !== into || this.#tokensCached !== cached || this.#tokensOut !== out) this.#otherRead = true;
	}

	ended(finishReason: FinishReason, stoppedBy = -1): void {
		this.#otherRead = true;
		if (this.#finishReason === null) this.#stoppedBy = stoppedBy;
		this.#finishReason ??= finishReason;
	}

	enough(): void {
		this.#otherRead = true;
		this.#enough = true;
	}

	vectors(vectors: readonly Float32Array[]): void {
		this.#otherRead = true;
		this.#vectors = vectors;
	}

	failed(problem: Failure): void {
		this.#otherRead = true;
		if (this.#finishReason === null) this.#failed ??= problem;
	}

	/** The hot path: a delta of the known shape, once per token. */
	onFrame(bytes: Buffer, at: number, end: number): number {
		const reader = this.#reader;
		const { shape } = reader;
		if (shape === null || this.#finishReason !== null || this.#failed !== null) return -1;
		const frameEnd = shape.frameEnd(bytes, at, end);
		const { textStart, textEnd, escaped } = shape;
		// Without a text it may be a token or none: its reader knows.
		if (frameEnd < 0 || textStart === textEnd) return -1;
		const channel = reader.channel ?? 0;
		if (reader.numbers === undefined) this.#writer.add(bytes, textStart, textEnd, escaped, 1, -1, Number.NaN, channel);
		else {
			const { tokens, id, logprob, told = -1 } = reader.numbers(shape, bytes);
			if (told >= 0) this.#writer.willTell(told);
			this.#writer.add(bytes, textStart, textEnd, escaped, tokens, id, logprob, channel);
		}
		return frameEnd;
	}

	onEvent(name: string, bytes: Buffer, start: number, end: number, frameStart: number, frameEnd: number): void {
		if (this.#failed !== null) return;
		const reader = this.#reader;
		const data = bytes.toString('utf8', start, end);
		const event = parsed(data);
		if (event === undefined) {
			if (reader.word?.(data, this) !== true) this.failed(this.#broken('the engine sent an event that is no JSON'));
			return;
		}
		this.#tokensRead = 0;
		this.#otherRead = false;
		try {
			reader.read(event, name, this);
		} catch (error) {
			if (!(error instanceof UnknownAnswer)) throw error;
			this.failed(this.#broken(error.message));
		}
		if (frameStart < 0 || this.#tokensRead !== 1 || this.#otherRead) return;
		reader.shape?.learn(this.#textRead, bytes, start, end, frameStart, frameEnd);
	}

	/** Tells what was read, as tokens of this moment. */
	#flush(now: number): void {
		if (this.#writer.count === 0) return;
		this.#lastAt = now;
		this.#firstAt ??= now;
		this.#writer.flush();
	}

	/** The answer is whole. */
	#atEnd(): void {
		const reader = this.#reader;
		if (this.#failed === null && !this.#isEvents) {
			const body = parsed(Buffer.concat(this.#body).toString());
			try {
				if (body === undefined) this.failed(this.#broken('the engine sent what is no JSON'));
				else reader.read(body, '', this);
			} catch (error) {
				if (!(error instanceof UnknownAnswer)) throw error;
				this.failed(this.#broken(error.message));
			}
		}
		if (this.#failed === null) reader.finish?.(this);
		if (this.#failed !== null) return this.#fail(this.#failed, 'free', 'maybe');
		// Tokens of which no delta told: parts of a character, or the end itself. They are a piece without text.
		const untold = (this.#tokensOut ?? 0) - this.#writer.counted;
		if (untold > 0) this.#writer.add(noText, 0, 0, false, untold, -1, Number.NaN);
		this.#flush(performance.now());
		this.#writer.finish();
		if (this.#finishReason === null) return this.#fail(this.#broken('the answer ended without its end'), 'free', 'maybe');
		const usage = this.#usage();
		this.#over(
			this.#vectors === null
				? { type: 'decode-ended', finishReason: this.#finishReason, stoppedBy: this.#stoppedBy, usage }
				: { type: 'embedded', vectors: this.#vectors, usage },
		);
	}

	#leave(): void {
		this.#connection.endOurSide();
		this.#leaveTimer ??= setTimeout(() => this.#connection.close(unnoticed), leaveMs);
	}

	#refusal(): Failure {
		const problem = failureOf(this.#status, this.#place.engine, this.#retryAfter, Date.now());
		const body = parsed(Buffer.concat(this.#body).toString());
		const words = body === undefined ? null : this.#place.problem(body);
		return words === null ? problem : { ...problem, message: `${problem.message} (${words.slice(0, wordsMax)})` };
	}

	#cancelled(): void {
		this.#over({ type: 'decode-cancelled', usage: this.#usage() });
	}

	#fail(problem: Failure, slot: 'free' | 'unknown', began: 'no' | 'maybe'): void {
		this.#over({ type: 'decode-failed', failure: problem, slot, began });
	}

	#over(news: DecodeNews): void {
		this.#flush(performance.now());
		this.#state = 'told';
		if (this.#leaveTimer !== null) clearTimeout(this.#leaveTimer);
		this.#tell(news);
		this.#body = [];
		this.#place.over();
	}

	#tell(news: DecodeNews): void {
		if (!this.#forsaken) this.#task.tell(news);
	}

	#broken(words: string): Failure {
		return failure('WORKER_RESET', words, { engine: this.#place.engine });
	}

	#usage(): GenerationUsage {
		const first = this.#firstAt ?? performance.now();
		return {
			tokensIn: this.#tokensIn,
			tokensCached: this.#tokensCached,
			tokensOut: this.#tokensOut ?? this.#writer.tokens,
			prefillMs: first - this.#askedAt,
			decodeMs: this.#firstAt === null ? 0 : this.#lastAt - first,
		};
	}
}

/** An answer of a form that its adapter does not know. */
export class UnknownAnswer extends Error {}

function parsed(text: string): unknown {
	try {
		return JSON.parse(text);
	} catch (error) {
		if (error instanceof SyntaxError) return undefined;
		throw error;
	}
}

function count(value: number | undefined): number | null {
	return value !== undefined && Number.isSafeInteger(value) && value >= 0 ? value : null;
}
