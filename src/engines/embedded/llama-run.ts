/**
 * One generation on one slot of a llama.cpp context: prefill in chunks, then a token a step, until it ends. Advanced step by
 * step by `llama-backend.ts`, together with all others, so that one decode serves all. Runs in the llama.cpp host.
 */
import type { LlamaContextSequence, LlamaGrammarEvaluationState, SequenceEvaluateOptions, Token } from 'node-llama-cpp';
import type { GenerationUsage } from '../../actors/serving/decode.ts';
import { failure } from '../../actors/serving/failure.ts';
import type { Sampling } from '../../actors/serving/task-request.ts';
import type { GenerationSink, HostRequest } from '../wire/host-protocol.ts';
import { PieceAssembler } from '../wire/piece-assembler.ts';
import { batchTokens } from './llama-model.ts';
import { TokenText } from './token-text.ts';

/** Tokens that the penalties look back at, as llama.cpp's own default. */
const penaltyTokens = 64;

/** A sequence of the context, and whether a run has it. */
export interface Slot {
	readonly sequence: LlamaContextSequence;
	busy: boolean;
}

export interface RunOptions {
	readonly request: HostRequest;
	readonly sink: GenerationSink;
	readonly slot: Slot;
	readonly prompt: readonly Token[];
	/** Most tokens to make: what was asked for, within the context. */
	readonly limit: number;
	readonly grammar: LlamaGrammarEvaluationState | null;
}

type Sampled = AsyncGenerator<{ readonly token: Token; readonly confidence?: number }, void, void>;

export class LlamaRun {
	readonly slot: Slot;
	readonly #options: RunOptions;
	readonly #assembler: PieceAssembler;
	readonly #text: TokenText;
	readonly #startedAt = performance.now();
	/** What the penalties see: the end of the prompt, then what was made. */
	readonly #recent: Token[];
	#rest: readonly Token[];
	#cached = 0;
	#prepared = false;
	#sampled: Sampled | null = null;
	#firstAt = 0;
	#made = 0;
	#cancelled = false;
	over = false;

	constructor(options: RunOptions) {
		this.#options = options;
		this.slot = options.slot;
		this.#rest = options.prompt;
		this.#recent = options.prompt.slice(-penaltyTokens);
		this.#assembler = new PieceAssembler(options.request.sampling.stop, options.sink.piece);
		const { model } = options.slot.sequence;
		this.#text = new TokenText((ids, before) => model.detokenize(ids as Token[], false, before as Token[]), options.prompt);
	}

	cancel(): void {
		this.#cancelled = true;
	}

	/** One step: a chunk of the prompt, or a token. Never rejects. */
	async advance(): Promise<void> {
		try {
			if (this.#cancelled) return;
			if (!this.#prepared) await this.#prepare();
			if (this.#rest.length > batchTokens) await this.#prefill();
			else await this.#decode();
		} catch (error) {
			await this.#end();
			this.#options.sink.failed(failure('WORKER_RESET', `llama.cpp failed: ${error instanceof Error ? error.message : String(error)}`));
		}
	}

	/** After a step: a cancel that came meanwhile takes effect, and is acknowledged. */
	async settle(): Promise<void> {
		if (!this.#cancelled || this.over) return;
		await this.#end();
		this.#options.sink.cancelled(this.#usage());
	}

	/** Keeps what the slot's cache has in common with the prompt, and erases the rest. */
	async #prepare(): Promise<void> {
		this.#prepared = true;
		const { sequence } = this.slot;
		const { prompt, request } = this.#options;
		const reuse = request.strict || request.kvHint === 'cold' ? 0 : commonPrefix(sequence.contextTokens, prompt);
		// At least one token must be evaluated, for there is nothing to sample from otherwise.
		this.#cached = Math.min(reuse, prompt.length - 1);
		if (this.#cached === 0) await sequence.clearHistory();
		else if (sequence.nextTokenIndex > this.#cached)
			await sequence.eraseContextTokenRanges([{ start: this.#cached, end: sequence.nextTokenIndex }]);
		// What could not be erased in place was erased whole.
		this.#cached = Math.min(this.#cached, sequence.nextTokenIndex);
		this.#rest = prompt.slice(this.#cached);
		this.#options.sink.started(prompt.length, this.#cached);
	}

	async #prefill(): Promise<void> {
		const chunk = this.#rest.slice(0, batchTokens);
		await this.slot.sequence.evaluateWithoutGeneratingNewTokens([...chunk]);
		this.#rest = this.#rest.slice(chunk.length);
	}

	async #decode(): Promise<void> {
		if (this.#sampled === null) {
			const { request, grammar } = this.#options;
			const options = evaluateOptions(request.sampling, request.seed, grammar, () => this.#recent);
			this.#sampled = this.slot.sequence.evaluateWithMetadata(
				[...this.#rest],
				{ confidence: request.sampling.logprobs },
				options,
			) as Sampled;
			this.#rest = [];
		}
		const next = await this.#sampled.next();
		if (this.#firstAt === 0) this.#firstAt = performance.now();
		if (this.#cancelled) return;
		if (next.done === true) await this.#finish('stop');
		else await this.#onToken(next.value.token, next.value.confidence);
	}

	async #onToken(token: Token, confidence: number | undefined): Promise<void> {
		this.#made += 1;
		this.#recent.push(token);
		if (this.#recent.length > penaltyTokens) this.#recent.shift();
		const wanted = this.#options.request.sampling.logprobs;
		const logprob = confidence === undefined ? Number.NaN : Math.log(Math.max(confidence, Number.MIN_VALUE));
		const stopped = this.#assembler.push(this.#text.push(token), wanted ? token : -1, wanted ? logprob : Number.NaN);
		if (stopped) await this.#finish('stop');
		else if (this.#made >= this.#options.limit) await this.#finish('length');
	}

	async #finish(reason: 'stop' | 'length'): Promise<void> {
		const left = this.#text.finish();
		if (left !== '') this.#assembler.complete(left);
		this.#assembler.finish();
		const usage = this.#usage();
		await this.#end();
		this.#options.sink.ended(reason, usage);
	}

	async #end(): Promise<void> {
		this.over = true;
		await this.#sampled?.return();
		this.slot.busy = false;
	}

	#usage(): GenerationUsage {
		const now = performance.now();
		return {
			tokensIn: this.#options.prompt.length,
			tokensCached: this.#cached,
			tokensOut: this.#assembler.tokensOut,
			prefillMs: (this.#firstAt === 0 ? now : this.#firstAt) - this.#startedAt,
			decodeMs: this.#firstAt === 0 ? 0 : now - this.#firstAt,
		};
	}
}

export function commonPrefix(a: readonly number[], b: readonly number[]): number {
	const most = Math.min(a.length, b.length);
	let length = 0;
	while (length < most && a[length] === b[length]) length += 1;
	return length;
}

function evaluateOptions(
	sampling: Sampling,
	seed: number,
	grammar: LlamaGrammarEvaluationState | null,
	recent: () => Token[],
): SequenceEvaluateOptions {
	const penalised = sampling.repeatPenalty !== 1 || sampling.presencePenalty !== 0 || sampling.frequencyPenalty !== 0;
	return {
		temperature: sampling.temperature,
		topK: sampling.topK,
		topP: sampling.topP,
		minP: sampling.minP,
		seed,
		...(grammar === null ? {} : { grammarEvaluationState: grammar }),
		...(penalised
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
