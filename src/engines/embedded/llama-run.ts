/**
 * One generation on one slot of a llama.cpp context: its prompt in chunks, then a token a step, until it ends. Stepped by
 * `llama-backend.ts`, together with all others, so that one decode of the library serves all. Runs in the llama.cpp host.
 *
 * ```
 *  waiting ──prepare──► prefill ──(prompt taken)──► decode ──stop, length──► over
 *     └──────── cancel, at the next boundary of a step ────────► over ◄── failure
 * ```
 * `tokensOut` counts the tokens of what was given out. Tokens that end the text (end of turn) are not text and not counted;
 * those of a stop string neither.
 */
import { randomBytes } from 'node:crypto';
import type { LlamaContextSequence, LlamaGrammarEvaluationState, SequenceEvaluateOptions, Token } from 'node-llama-cpp';
import type { GenerationUsage } from '../../actors/serving/decode.ts';
import { failure } from '../../actors/serving/failure.ts';
import type { Sampling } from '../../actors/serving/task-request.ts';
import { type TopToken, topsJson, topToken } from '../../actors/serving/top-tokens.ts';
import type { GenerationSink, HostGeneration, HostRequest } from '../wire/host-protocol.ts';
import { type EmitPiece, PieceAssembler } from '../wire/piece-assembler.ts';
import type { AnswerShape } from './answer-parser.ts';
import { AnswerPieces } from './answer-pieces.ts';
import { TokenText } from './token-text.ts';
import type { Vocabulary } from './vocabulary.ts';

/** A sequence of the context. `run` is null while it is idle; its cache stays for the next prompt. */
export interface Slot {
	readonly sequence: LlamaContextSequence;
	/** What is in its cache. */
	tokens: readonly Token[];
	run: LlamaRun | null;
	/** Grows with every use; 0: never used. */
	lastUsed: number;
}

export interface RunParts {
	readonly request: HostRequest;
	readonly sink: GenerationSink;
	readonly slot: Slot;
	readonly prompt: readonly Token[];
	/** Tokens behind the prompt that another engine has made. */
	readonly resumed: readonly Token[];
	/** Most tokens to make: what was asked for, within the context. */
	readonly limit: number;
	readonly grammar: LlamaGrammarEvaluationState | null;
	/** What is to be found in what the model says; null: it is text. */
	readonly answer: AnswerShape | null;
	readonly vocabulary: Vocabulary;
}

interface Sampled {
	readonly token: Token;
	readonly confidence?: number;
	/** Of all that might have been taken, the likeliest first. */
	readonly probabilities?: ReadonlyMap<Token, number>;
}

/** Seeds of the library are of 32 bits. */
const seedsMax = 2 ** 32;
/** Tokens that the penalties look back at: llama.cpp's own default. */
const penaltyTokens = 64;

export class LlamaRun implements HostGeneration {
	readonly request: HostRequest;
	readonly #parts: RunParts;
	readonly #assembler: PieceAssembler;
	readonly #pieces: AnswerPieces | null;
	readonly #text: TokenText;
	readonly #startedAt = performance.now();
	/** How the text that it was to go on with ends already; null: it goes on. */
	readonly #endedAs: 'stop' | 'length' | null;
	/** Of the prompt and what it goes on with, not evaluated yet. */
	#rest: readonly Token[];
	#cached = 0;
	readonly #made: Token[];
	#sampling: AsyncGenerator<Sampled, void, void> | null = null;
	#lastToken = -1;
	#lastLogprob = Number.NaN;
	#lastTops: string | null = null;
	#firstAt = 0;
	#cancelled = false;
	over = false;

	constructor(parts: RunParts) {
		this.#parts = parts;
		this.request = parts.request;
		const { request, prompt, resumed } = parts;
		this.#rest = [...prompt, ...resumed];
		this.#made = [...resumed];
		const { answer, sink, vocabulary } = parts;
		const pieces = answer === null ? null : new AnswerPieces(answer, sink.piece, newCallId);
		this.#pieces = pieces;
		const emit: EmitPiece = pieces === null ? sink.piece : pieces.take;
		this.#assembler = new PieceAssembler(request.sampling.stop, emit, request.tellIds);
		this.#text = new TokenText(answer === null ? vocabulary : vocabulary.withMarks);
		const texts = resumed.map((token) => this.#text.push(token));
		const state = this.#assembler.resume(texts, pieces === null ? undefined : (text) => pieces.replay(text));
		const ended = state === 'ended' && request.sampling.ignoreEos !== true;
		this.#endedAs = state === 'stopped' ? 'stop' : resumed.length >= parts.limit ? 'length' : ended ? 'stop' : null;
	}

	/** Prompt tokens that are still to be evaluated; 0 once it decodes. */
	get promptLeft(): number {
		return this.#rest.length;
	}

	get cancelled(): boolean {
		return this.#cancelled;
	}

	cancel(): void {
		this.#cancelled = true;
	}

	/** Keeps what the slot's cache has in common with the prompt, and erases the rest. Before the first step. */
	async prepare(): Promise<void> {
		const { slot, prompt, request, sink } = this.#parts;
		const { sequence } = slot;
		const tokens = this.#rest;
		try {
			if (request.strict || request.kvHint === 'cold') await sequence.clearHistory();
			// All but the last token: there is nothing to sample from without evaluating one.
			else await sequence.adaptStateToTokens(tokens.slice(0, -1), false);
			// What the library could not cut it has erased, so its own count is the truth.
			this.#cached = sequence.nextTokenIndex;
			this.#rest = tokens.slice(this.#cached);
			this.#cached = Math.min(this.#cached, prompt.length);
			sink.started(prompt.length, this.#cached);
			if (this.#endedAs === null) return;
			const usage = this.#usage();
			await this.#end();
			sink.ended(this.#endedAs, usage, this.#assembler.stoppedBy);
		} catch (error) {
			await this.#fail(error);
		}
	}

	/** One step: `promptTokens` of the prompt, or a token when none is left. Never rejects. */
	async step(promptTokens: number): Promise<void> {
		try {
			if (this.#rest.length > promptTokens) await this.#prefill(promptTokens);
			else await this.#decode();
		} catch (error) {
			await this.#fail(error);
		}
	}

	/** Between steps: a cancel takes effect, and is acknowledged when the slot is idle. */
	async settle(): Promise<void> {
		if (!this.#cancelled || this.over) return;
		await this.#end();
		this.#parts.sink.cancelled(this.#usage());
	}

	async #prefill(promptTokens: number): Promise<void> {
		const chunk = this.#rest.slice(0, promptTokens);
		await this.#parts.slot.sequence.evaluateWithoutGeneratingNewTokens(chunk);
		this.#rest = this.#rest.slice(chunk.length);
	}

	async #decode(): Promise<void> {
		if (this.#sampling === null) {
			this.#sampling = this.#startSampling(this.#rest.slice());
			this.#rest = [];
		}
		const next = await this.#sampling.next();
		if (this.#firstAt === 0) this.#firstAt = performance.now();
		if (this.#cancelled) return;
		if (next.done === true) await this.#finish('stop');
		else await this.#onToken(next.value);
	}

	#startSampling(tokens: Token[]): AsyncGenerator<Sampled, void, void> {
		const { request, grammar, slot } = this.#parts;
		const options = evaluateOptions(request, grammar, () => this.#recent());
		const { logprobs, topLogprobs = 0 } = request.sampling;
		if (!logprobs) return slot.sequence.evaluateWithMetadata(tokens, {}, options);
		return topLogprobs === 0
			? slot.sequence.evaluateWithMetadata(tokens, { confidence: true }, options)
			: slot.sequence.evaluateWithMetadata(tokens, { confidence: true, probabilities: true }, options);
	}

	async #onToken({ token, confidence, probabilities }: Sampled): Promise<void> {
		const ends = this.#parts.vocabulary.endsText(token);
		if (ends && !this.#goesOnBehindEnds()) return this.#finish('stop');
		this.#made.push(token);
		if (confidence !== undefined) {
			this.#lastToken = token;
			this.#lastLogprob = logOf(confidence);
			this.#lastTops = probabilities === undefined ? null : this.#topsOf(probabilities);
		}
		const stopped = this.#assembler.push(this.#text.push(token), this.#lastToken, this.#lastLogprob, token, this.#lastTops);
		if (stopped) await this.#finish('stop');
		else if (this.#made.length >= this.#parts.limit) await this.#finish('length');
		// It has no text and never will: whoever waits sees that it goes on.
		else if (ends) this.#assembler.giveTextless();
	}

	/** Of the token that is next. */
	#goesOnBehindEnds(): boolean {
		const { ignoreEos, minTokens = 0 } = this.request.sampling;
		// Behind the end of a grammar nothing else may come.
		return this.#parts.grammar === null && (ignoreEos === true || this.#made.length < minTokens);
	}

	#topsOf(probabilities: ReadonlyMap<Token, number>): string | null {
		const { request, vocabulary } = this.#parts;
		const most = request.sampling.topLogprobs ?? 0;
		const tops: TopToken[] = [];
		for (const [token, probability] of probabilities) {
			if (tops.length === most) break;
			tops.push(topToken(vocabulary.shownBytes(token), token, logOf(probability)));
		}
		return topsJson(tops);
	}

	async #finish(reason: 'stop' | 'length'): Promise<void> {
		const left = this.#text.finish();
		const stopped = left !== '' && this.#assembler.complete(left, this.#lastToken, this.#lastLogprob, this.#lastTops);
		this.#assembler.finish();
		this.#pieces?.finish();
		const usage = this.#usage();
		await this.#end();
		const ended = stopped ? 'stop' : reason;
		const calls = ended === 'stop' && (this.#pieces?.calls ?? 0) > 0;
		this.#parts.sink.ended(calls ? 'tool_calls' : ended, usage, this.#assembler.stoppedBy);
	}

	/** The slot is idle afterwards. */
	async #end(): Promise<void> {
		this.over = true;
		await this.#sampling?.return();
		const { slot, prompt } = this.#parts;
		slot.tokens = [...prompt, ...this.#made].slice(0, slot.sequence.nextTokenIndex);
		slot.run = null;
	}

	async #fail(error: unknown): Promise<void> {
		await this.#end();
		const { slot, sink } = this.#parts;
		// What the failed step has left in the cache is unknown.
		slot.tokens = [];
		await slot.sequence.clearHistory();
		sink.failed(failure('WORKER_RESET', `llama.cpp failed: ${error instanceof Error ? error.message : String(error)}`));
	}

	/** What the penalties see: the end of the prompt, then what was made. */
	#recent(): Token[] {
		const made = this.#made.slice(-penaltyTokens);
		const fromPrompt = penaltyTokens - made.length;
		return fromPrompt === 0 ? made : [...this.#parts.prompt.slice(-fromPrompt), ...made];
	}

	#usage(): GenerationUsage {
		const now = performance.now();
		return {
			tokensIn: this.#parts.prompt.length,
			tokensCached: this.#cached,
			tokensOut: this.#assembler.tokensOut,
			prefillMs: (this.#firstAt === 0 ? now : this.#firstAt) - this.#startedAt,
			decodeMs: this.#firstAt === 0 ? 0 : now - this.#firstAt,
		};
	}
}

function evaluateOptions(
	request: HostRequest,
	grammar: LlamaGrammarEvaluationState | null,
	recent: () => Token[],
): SequenceEvaluateOptions {
	const { sampling } = request;
	// One that goes on must not draw again what the one before it has drawn.
	const seed = (request.seed + (request.resume?.ids.length ?? 0)) % seedsMax;
	return {
		temperature: sampling.temperature,
		topK: sampling.topK,
		topP: sampling.topP,
		minP: sampling.minP,
		seed,
		// Second line of defence: the limit keeps a run within its slot, so the library never has to make room.
		contextShift: { strategy: refuseToShift },
		...(grammar === null ? {} : { grammarEvaluationState: grammar }),
		...(sampling.ignoreEos === true || (sampling.minTokens ?? 0) > 0 ? { yieldEogToken: true } : {}),
		...(isPenalised(sampling)
			? {
					repeatPenalty: {
						punishTokens: recent,
						maxPunishTokens: penaltyTokens,
						penalty: sampling.repeatPenalty,
						frequencyPenalty: sampling.frequencyPenalty,
						presencePenalty: sampling.presencePenalty,
					},
				}
			: {}),
	};
}

function logOf(probability: number): number {
	return Math.log(Math.max(probability, Number.MIN_VALUE));
}

function isPenalised(sampling: Sampling): boolean {
	return sampling.repeatPenalty !== 1 || sampling.presencePenalty !== 0 || sampling.frequencyPenalty !== 0;
}

/** Nine letters and digits: the one form that every model's template takes. */
function newCallId(): string {
	return randomBytes(12).toString('base64url').replaceAll(/[-_]/g, 'x').slice(0, 9);
}

function refuseToShift(): never {
	throw new Error('the context is full');
}
