/**
 * Vectors of texts, in a context of its own beside the one that generates: one text at a time, in the order of the requests.
 * Runs in the llama.cpp host.
 */
import type { LlamaEmbeddingContext, LlamaModel } from 'node-llama-cpp';
import { failure } from '../../actors/serving/failure.ts';
import type { PromptInput } from '../../actors/serving/task-request.ts';
import type { GenerationSink, HostGeneration } from '../wire/host-protocol.ts';

export class LlamaEmbedder {
	readonly #context: LlamaEmbeddingContext;
	readonly #model: LlamaModel;
	readonly #tokensMax: number;
	/** Ends when all requests so far have. */
	#last: Promise<void> = Promise.resolve();

	private constructor(model: LlamaModel, context: LlamaEmbeddingContext, ctx: number) {
		this.#model = model;
		this.#context = context;
		// The library wants one to spare.
		this.#tokensMax = ctx - 1;
	}

	static async create(model: LlamaModel, ctx: number, threads: number): Promise<LlamaEmbedder> {
		// A text must go through in one batch: llama.cpp aborts otherwise, for models that read in both directions.
		return new LlamaEmbedder(model, await model.createEmbeddingContext({ contextSize: ctx, batchSize: ctx, threads }), ctx);
	}

	/** Tokens of all texts, with those that the model wants around each. */
	count(input: PromptInput): number {
		return textsOf(input).reduce((sum, text) => sum + this.#context.calculateInputLength(this.#model.tokenize(text)), 0);
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

	async #embed(input: PromptInput, sink: GenerationSink, state: { readonly cancelled: boolean }): Promise<void> {
		const startedAt = performance.now();
		const texts = textsOf(input).map((text) => this.#model.tokenize(text));
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
