/**
 * Vectors of texts, in a context of its own beside the one that generates: one text at a time, in the order of the requests.
 * Runs in the llama.cpp host.
 */
import type { LlamaEmbeddingContext, LlamaModel, Token } from 'node-llama-cpp';
import { failure } from '../../actors/serving/failure.ts';
import type { PromptInput } from '../../actors/serving/task-request.ts';
import type { GenerationSink, HostGeneration } from '../wire/host-protocol.ts';
import type { Vocabulary } from './vocabulary.ts';

export class LlamaEmbedder {
	readonly #context: LlamaEmbeddingContext;
	readonly #vocabulary: Vocabulary;
	readonly #tokensMax: number;
	/** Ends when all requests so far have. */
	#last: Promise<void> = Promise.resolve();

	private constructor(vocabulary: Vocabulary, context: LlamaEmbeddingContext, ctx: number) {
		this.#vocabulary = vocabulary;
		this.#context = context;
		// The library wants one to spare.
		this.#tokensMax = ctx - 1;
	}

	static async create(model: LlamaModel, vocabulary: Vocabulary, ctx: number, threads: number): Promise<LlamaEmbedder> {
		// A text must go through in one batch: llama.cpp aborts otherwise, for models that read in both directions.
		return new LlamaEmbedder(vocabulary, await model.createEmbeddingContext({ contextSize: ctx, batchSize: ctx, threads }), ctx);
	}

	/** Tokens of all texts, with those that the model wants around each. */
	async count(input: PromptInput): Promise<number> {
		let sum = 0;
		for (const text of textsOf(input)) sum += this.#context.calculateInputLength(await this.#tokenize(text));
		return sum;
	}

	start(input: PromptInput, sink: GenerationSink): HostGeneration {
		const state = { cancelled: false };
		this.#last = this.#last.then(() =>
			this.#embed(input, sink, state).catch((error: unknown) => {
				sink.failed(failure('WORKER_RESET', `llama.cpp failed: ${error instanceof Error ? error.message : String(error)}`));
			}),
		);
		return {
			cancel() {
				state.cancelled = true;
			},
		};
	}

	async dispose(): Promise<void> {
		await this.#last;
		await this.#context.dispose();
	}

	/** More than fit when there are more, not necessarily all. */
	#tokenize(text: string): Promise<Token[]> {
		return this.#vocabulary.tokenize(text, { special: false, continued: false, most: this.#tokensMax });
	}

	async #embed(input: PromptInput, sink: GenerationSink, state: { readonly cancelled: boolean }): Promise<void> {
		const startedAt = performance.now();
		const texts: Token[][] = [];
		for (const text of textsOf(input)) texts.push(await this.#tokenize(text));
		const lengths = texts.map((tokens) => this.#context.calculateInputLength(tokens));
		const tokensIn = lengths.reduce((sum, length) => sum + length, 0);
		const usage = () => ({ tokensIn, tokensCached: 0, tokensOut: 0, prefillMs: performance.now() - startedAt, decodeMs: 0 });
		const problem = lengths.findIndex((length) => length > this.#tokensMax || length === 0);
		if (texts.length === 0) sink.failed(failure('INVALID_PARAMS', 'inputs is empty; embedding needs at least one text'));
		else if (problem >= 0)
			sink.failed(failure('INVALID_PARAMS', `inputs[${problem}] has ${lengths[problem]} tokens; 1 to ${this.#tokensMax} are allowed`));
		else {
			sink.started(tokensIn, 0);
			const vectors: Float32Array[] = [];
			for (const tokens of texts) {
				if (state.cancelled) break;
				vectors.push(unitLength((await this.#context.getEmbeddingFor(tokens)).vector));
			}
			if (state.cancelled) sink.cancelled(usage());
			else sink.embedded(vectors, usage());
		}
	}
}

function textsOf(input: PromptInput): readonly string[] {
	switch (input.kind) {
		case 'inputs':
			return input.inputs;
		case 'prompt':
			return [input.text];
		case 'messages':
			return input.messages.map((message) => message.content);
	}
}

function unitLength(vector: readonly number[]): Float32Array {
	const length = Math.hypot(...vector) || 1;
	return Float32Array.from(vector, (value) => value / length);
}
