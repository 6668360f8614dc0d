/**
 * The `HostBackend` of llama.cpp: runs over the slots of one context, advanced together. A step is one decode of the library
 * for all runs (a token each, or a chunk of a prompt), then one flush; runs join and leave between steps. Runs in the
 * llama.cpp host.
 */
import type { LlamaEmbeddingContext, LlamaGrammarEvaluationState, Token } from 'node-llama-cpp';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { PromptInput } from '../../actors/serving/task-request.ts';
import type { GenerationSink, HostBackend, HostFacts, HostGeneration, HostRequest } from '../wire/host-protocol.ts';
import { TemplateError } from './chat-template.ts';
import type { LoadedModel } from './llama-model.ts';
import { commonPrefix, LlamaRun, type Slot } from './llama-run.ts';

/** Ours: grows when the same seed would give other tokens. */
const samplerProfileVersion = 'llamacpp-1';

export class LlamaBackend implements HostBackend {
	readonly facts: HostFacts;
	/** Called after each step: the server's flush. */
	onStep: () => void = () => {};
	readonly #loaded: LoadedModel;
	readonly #slots: Slot[];
	readonly #runs = new Set<LlamaRun>();
	#stepping = false;
	#embedder: LlamaEmbeddingContext | null = null;
	/** Embeddings are made one at a time. */
	#embedding: Promise<void> = Promise.resolve();

	constructor(loaded: LoadedModel) {
		this.#loaded = loaded;
		const { context, gguf, prompts } = loaded;
		this.#slots = Array.from({ length: context.totalSequences }, () => ({ sequence: context.getSequence(), busy: false }));
		const embeds = gguf.poolingType > 0;
		this.facts = {
			engineVersion: loaded.engineVersion,
			modelName: loaded.name,
			modelDigest: loaded.digest,
			slots: this.#slots.length,
			ctx: loaded.ctx,
			workloads: embeds ? ['completion', 'embedding'] : ['completion'],
			samplerProfileVersion,
			chatTemplate: prompts.template?.bounds() ?? null,
			device: loaded.device,
			features: ['logprobs', 'stop', 'seed', 'grammar', 'json_schema', 'strict', ...(embeds ? ['embedding'] : [])],
		};
	}

	start(request: HostRequest, sink: GenerationSink): HostGeneration {
		if (request.workload === 'embedding') return this.#startEmbedding(request, sink);
		const started = new Starting();
		this.#begin(request, sink, started).catch((error: unknown) => {
			sink.failed(failure('INTERNAL', `the llama.cpp host failed: ${error instanceof Error ? error.message : String(error)}`));
		});
		return started;
	}

	count(input: PromptInput): Promise<number> {
		if (input.kind === 'inputs') {
			return Promise.resolve(input.inputs.reduce((sum, text) => sum + this.#loaded.model.tokenize(text, false).length, 0));
		}
		return new Promise((resolve) => resolve(this.#loaded.prompts.tokenize(input).length));
	}

	tokenize(text: string): Promise<readonly { readonly id: number; readonly text: string }[]> {
		const { model } = this.#loaded;
		return Promise.resolve(model.tokenize(text, false).map((id) => ({ id, text: model.detokenize([id], true) })));
	}

	async close(): Promise<void> {
		for (const run of this.#runs) run.cancel();
		await this.#loaded.context.dispose();
		await this.#loaded.model.dispose();
	}

	async #begin(request: HostRequest, sink: GenerationSink, started: Starting): Promise<void> {
		const prepared = await this.#prepare(request);
		if ('code' in prepared) {
			sink.failed(prepared);
			return;
		}
		if (started.cancelled) {
			sink.cancelled({ tokensIn: prepared.prompt.length, tokensCached: 0, tokensOut: 0, prefillMs: 0, decodeMs: 0 });
			return;
		}
		const slot = this.#chooseSlot(prepared.prompt);
		if (slot === null) {
			sink.failed(failure('INTERNAL', `all ${this.#slots.length} slots are taken`));
			return;
		}
		slot.busy = true;
		const run = new LlamaRun({ request, sink, slot, ...prepared });
		started.run = run;
		this.#runs.add(run);
		void this.#step();
	}

	/** The prompt as tokens and how much may be made of it, or why not. */
	async #prepare(request: HostRequest): Promise<{ prompt: Token[]; limit: number; grammar: LlamaGrammarEvaluationState | null } | Failure> {
		const { input } = request;
		if (request.workload !== 'completion' || input.kind === 'inputs')
			return invalid(`workload is ${request.workload}; this model does ${this.facts.workloads.join(' and ')}`);
		let prompt: Token[];
		try {
			prompt = this.#loaded.prompts.tokenize(input);
		} catch (error) {
			return invalid(error instanceof TemplateError || error instanceof Error ? error.message : String(error));
		}
		if (prompt.length === 0) return invalid('the prompt is empty: there is nothing to go on from');
		const ctx = Math.min(request.ctx, this.#loaded.ctx);
		const room = ctx - prompt.length;
		if (room < 1) return invalid(`the prompt has ${prompt.length} tokens; the context holds ${ctx}, with at least one for the answer`);
		if (request.maxTokensExplicit && request.maxTokens > room) {
			return invalid(`max_tokens is ${request.maxTokens}; after a prompt of ${prompt.length} tokens there is room for ${room}`);
		}
		const grammar = await this.#grammar(request);
		if (grammar !== null && 'code' in grammar) return grammar;
		return { prompt, limit: Math.min(request.maxTokens, room), grammar };
	}

	async #grammar(request: HostRequest): Promise<LlamaGrammarEvaluationState | Failure | null> {
		const { grammar, jsonSchema } = request.sampling;
		if (grammar === null && (jsonSchema === null || jsonSchema === undefined)) return null;
		const { LlamaGrammar, LlamaGrammarEvaluationState } = await import('node-llama-cpp');
		const { llama, model } = this.#loaded;
		try {
			const built =
				grammar === null
					? await llama.createGrammarForJsonSchema(jsonSchema as Parameters<typeof llama.createGrammarForJsonSchema>[0])
					: new LlamaGrammar(llama, { grammar });
			return new LlamaGrammarEvaluationState({ model, grammar: built });
		} catch (error) {
			const field = grammar === null ? 'sampling.json_schema' : 'sampling.grammar';
			return invalid(`${field} cannot be used: ${error instanceof Error ? error.message : String(error)}`);
		}
	}

	/** The idle slot whose cache shares most with the prompt. */
	#chooseSlot(prompt: readonly Token[]): Slot | null {
		let best: Slot | null = null;
		let bestPrefix = -1;
		for (const slot of this.#slots) {
			if (slot.busy) continue;
			const prefix = commonPrefix(slot.sequence.contextTokens, prompt);
			if (prefix <= bestPrefix) continue;
			best = slot;
			bestPrefix = prefix;
		}
		return best;
	}

	/** Steps while there is anything to step. One at a time. */
	async #step(): Promise<void> {
		if (this.#stepping) return;
		this.#stepping = true;
		while (this.#runs.size > 0) {
			const runs = [...this.#runs];
			await Promise.all(runs.map((run) => run.advance()));
			for (const run of runs) {
				await run.settle();
				if (run.over) this.#runs.delete(run);
			}
			this.onStep();
			// Requests and cancels that have arrived are read before the next step.
			await new Promise((resolve) => setImmediate(resolve));
		}
		this.#stepping = false;
	}

	#startEmbedding(request: HostRequest, sink: GenerationSink): HostGeneration {
		let cancelled = false;
		this.#embedding = this.#embedding.then(async () => {
			if (cancelled) sink.cancelled({ tokensIn: 0, tokensCached: 0, tokensOut: 0, prefillMs: 0, decodeMs: 0 });
			else await this.#embed(request, sink);
		});
		return {
			cancel() {
				cancelled = true;
			},
		};
	}

	async #embed(request: HostRequest, sink: GenerationSink): Promise<void> {
		const { model, gguf, ctx } = this.#loaded;
		if (gguf.poolingType === 0) {
			sink.failed(invalid('workload is embedding; this model makes no embeddings'));
			return;
		}
		const startedAt = performance.now();
		try {
			this.#embedder ??= await model.createEmbeddingContext({ contextSize: ctx });
			const texts = request.input.kind === 'inputs' ? request.input.inputs : [];
			const vectors: Float32Array[] = [];
			let tokensIn = 0;
			for (const [index, text] of texts.entries()) {
				const tokens = model.tokenize(text, false);
				if (tokens.length > ctx - 2) {
					sink.failed(invalid(`inputs[${index}] has ${tokens.length} tokens; at most ${ctx - 2} fit`));
					return;
				}
				tokensIn += tokens.length;
				vectors.push(unitLength((await this.#embedder.getEmbeddingFor(tokens)).vector));
			}
			sink.embedded(vectors, { tokensIn, tokensCached: 0, tokensOut: 0, prefillMs: performance.now() - startedAt, decodeMs: 0 });
		} catch (error) {
			sink.failed(failure('WORKER_RESET', `llama.cpp failed: ${error instanceof Error ? error.message : String(error)}`));
		}
	}
}

/** A generation between its request and its run: a cancel in that time is kept. */
class Starting implements HostGeneration {
	cancelled = false;
	run: LlamaRun | null = null;

	cancel(): void {
		this.cancelled = true;
		this.run?.cancel();
	}
}

function unitLength(vector: readonly number[]): Float32Array {
	const length = Math.hypot(...vector) || 1;
	return Float32Array.from(vector, (value) => value / length);
}

function invalid(words: string): Failure {
	return failure('INVALID_PARAMS', words);
}
