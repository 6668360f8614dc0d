/**
 * The `HostBackend` of llama.cpp: generations on the slots of one context, stepped together. A step is one decode of the
 * library for all of them (a token each, or a part of a prompt), then one flush; they join and leave between steps. Runs in
 * the llama.cpp host.
 */
import type { LlamaGrammarEvaluationState, Token } from 'node-llama-cpp';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { PromptInput, Workload } from '../../actors/serving/task-request.ts';
import { TemplateError } from '../chat-rendering.ts';
import type { GenerationSink, HostBackend, HostFacts, HostGeneration, HostRequest } from '../wire/host-protocol.ts';
import type { AnswerShape } from './answer-parser.ts';
import { GrammarError } from './grammar.ts';
import type { LoadedModel } from './llama-model.ts';
import { LlamaRun, type Slot } from './llama-run.ts';
import { kvBytesPerToken } from './memory-estimate.ts';
import { PrefillBudget } from './prefill-budget.ts';
import { chooseSlot } from './slot-choice.ts';

/** Ours: grows when the same request and seed would give other tokens. */
const samplerProfileVersion = 'llamacpp-1';

const contextsCounted = 4;
/** The answer is some thirty times longer, and read at once. */
const tokenizeBytesMax = 512 * 1024;

interface Prepared {
	readonly prompt: readonly Token[];
	/** What another engine has made of it. */
	readonly resumed: readonly Token[];
	readonly limit: number;
	readonly grammar: LlamaGrammarEvaluationState | null;
	readonly answer: AnswerShape | null;
}

export class LlamaBackend implements HostBackend {
	readonly facts: HostFacts;
	/** Called after each step: the server's flush. */
	onStep: () => void = () => {};
	readonly #loaded: LoadedModel;
	readonly #slots: readonly Slot[];
	readonly #budget = new PrefillBudget();
	/** In the order of their arrival. */
	readonly #runs = new Set<LlamaRun>();
	readonly #unprepared: LlamaRun[] = [];
	#stepping: Promise<void> | null = null;
	#uses = 0;
	#closing = false;

	constructor(loaded: LoadedModel) {
		this.#loaded = loaded;
		const { context } = loaded;
		this.#slots =
			context === null
				? []
				: Array.from({ length: loaded.slots }, () => ({ sequence: context.getSequence(), tokens: [], run: null, lastUsed: 0 }));
		this.facts = describe(loaded);
	}

	start(request: HostRequest, sink: GenerationSink): HostGeneration {
		const { embedder } = this.#loaded;
		if (request.workload === 'embedding' && embedder !== null) return embedder.start(request.input, sink);
		const starting = new Starting();
		this.#begin(request, sink, starting).catch((error: unknown) => {
			sink.failed(failure('INTERNAL', `the llama.cpp host failed: ${error instanceof Error ? error.message : String(error)}`));
		});
		return starting;
	}

	/** Exact up to a few contexts; of a longer prompt, at least that. */
	async count(input: PromptInput): Promise<number> {
		const { embedder, vocabulary, prompts, ctx } = this.#loaded;
		const most = ctx * contextsCounted;
		if (input.kind !== 'inputs') return (await prompts.tokenize(input, most)).tokens.length;
		if (embedder !== null) return embedder.count(input);
		let sum = 0;
		for (const text of input.inputs) sum += (await vocabulary.tokenize(text, { special: false, continued: false, most })).length;
		return sum;
	}

	async tokenize(text: string): Promise<readonly { readonly id: number; readonly text: string }[]> {
		const bytes = Buffer.byteLength(text);
		if (bytes > tokenizeBytesMax) throw new Error(`text has ${bytes} bytes; at most ${tokenizeBytesMax} are tokenized at once`);
		const { vocabulary } = this.#loaded;
		const ids = await vocabulary.tokenize(text, { special: false, continued: false, most: Number.POSITIVE_INFINITY });
		return ids.map((id) => ({ id, text: vocabulary.shown(id) }));
	}

	async close(): Promise<void> {
		this.#closing = true;
		for (const run of this.#runs) run.cancel();
		await this.#stepping;
		await this.#loaded.dispose();
	}

	async #begin(request: HostRequest, sink: GenerationSink, starting: Starting): Promise<void> {
		const prepared = await this.#prepare(request);
		if ('code' in prepared) {
			sink.failed(prepared);
			return;
		}
		if (starting.cancelled || this.#closing) {
			sink.cancelled({ tokensIn: prepared.prompt.length, tokensCached: 0, tokensOut: 0, prefillMs: 0, decodeMs: 0 });
			return;
		}
		const slot = this.#idleSlot([...prepared.prompt, ...prepared.resumed]);
		if (slot === null) {
			// Leases are one to a slot: whoever asks for more has lost count.
			sink.failed(failure('REPLICA_EXHAUSTED', `all ${this.#slots.length} slots are taken`, { retryAfterMs: 1_000 }));
			return;
		}
		const run = new LlamaRun({ request, sink, slot, vocabulary: this.#loaded.vocabulary, ...prepared });
		this.#uses += 1;
		slot.lastUsed = this.#uses;
		slot.run = run;
		starting.run = run;
		this.#runs.add(run);
		this.#unprepared.push(run);
		this.#stepping ??= this.#stepAll();
	}

	/** The prompt as tokens and how many may be made of it, or why not. */
	async #prepare(request: HostRequest): Promise<Prepared | Failure> {
		const { input, workload } = request;
		if (workload !== 'completion' || this.#slots.length === 0)
			return invalid(`workload is ${workload}; this model does ${this.facts.workloads.join(' and ')}`);
		if (input.kind === 'inputs') return invalid('a completion needs a prompt or messages; inputs are for embedding');
		try {
			const ctx = Math.min(request.ctx, this.#loaded.ctx);
			const { tokens: prompt, answer } = await this.#loaded.prompts.tokenize(input, ctx * contextsCounted);
			const room = ctx - prompt.length;
			if (prompt.length === 0) return invalid('the prompt is empty: there is nothing to go on from');
			const atLeast = prompt.length > ctx * contextsCounted ? 'at least ' : '';
			if (room < 1)
				return invalid(`the prompt has ${atLeast}${prompt.length} tokens; the context holds ${ctx}, with at least one for the answer`);
			if (request.maxTokensExplicit && request.maxTokens > room)
				return invalid(
					`max_tokens is ${request.maxTokens}; the prompt has ${prompt.length} tokens, which leaves ${room} of a context of ${ctx}`,
				);
			const resumed = (request.resume?.ids ?? []) as readonly Token[];
			if (resumed.length > room || resumed.some((id) => id >= this.#loaded.vocabulary.size))
				return invalid('resume.ids are not tokens of this model, or more than its context holds');
			const toolUse = input.kind === 'messages' ? (input.toolUse ?? null) : null;
			const grammar = await this.#loaded.grammars.stateFor(request.sampling, toolUse);
			// The library lets nobody tell a grammar which tokens were there before.
			if (grammar !== null && resumed.length > 0) return invalid('resume.ids are given with a grammar, which cannot go on in its middle');
			// Under a grammar nothing is thought, and only calls are looked for.
			const shape = grammar === null || answer === null ? answer : answer.tools.length === 0 ? null : { ...answer, thinks: false };
			return { prompt, resumed, limit: Math.min(request.maxTokens, room), grammar, answer: shape };
		} catch (error) {
			if (error instanceof TemplateError || error instanceof GrammarError) return invalid(error.message);
			throw error;
		}
	}

	#idleSlot(prompt: readonly Token[]): Slot | null {
		const idle = this.#slots.filter((slot) => slot.run === null);
		const best = chooseSlot(
			idle.map((slot) => ({ shared: commonPrefix(slot.tokens, prompt), lastUsed: slot.lastUsed })),
			prompt.length,
		);
		return idle[best] ?? null;
	}

	/** Steps while there is anything to step. Never rejects. */
	async #stepAll(): Promise<void> {
		while (this.#runs.size > 0) {
			// Others may begin while one is prepared: none is stepped before it is.
			for (let run = this.#unprepared.shift(); run !== undefined; run = this.#unprepared.shift()) {
				if (!run.cancelled) await run.prepare();
			}
			await this.#step();
			for (const run of this.#runs) {
				await run.settle();
				if (run.over) this.#runs.delete(run);
			}
			this.onStep();
		}
		this.#stepping = null;
	}

	/** All that decode get their token; what room is left in the batch goes to prompts, the earliest first. */
	async #step(): Promise<void> {
		const runs = [...this.#runs].filter((run) => !run.over && !run.cancelled);
		const decoding = runs.filter((run) => run.promptLeft === 0);
		const strict = runs.some((run) => run.request.strict);
		let room = this.#budget.tokens(decoding.length, strict);
		const steps = decoding.map((run) => run.step(0));
		let promptTokens = 0;
		for (const run of runs) {
			const chunk = Math.min(room, run.promptLeft);
			if (chunk === 0) continue;
			room -= chunk;
			promptTokens += chunk;
			steps.push(run.step(chunk));
		}
		const startedAt = performance.now();
		await Promise.all(steps);
		this.#budget.measured(promptTokens, performance.now() - startedAt);
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

function describe(loaded: LoadedModel): HostFacts {
	const workloads: Workload[] = [];
	if (loaded.context !== null) workloads.push('completion');
	if (loaded.embedder !== null) workloads.push('embedding');
	return {
		engineVersion: loaded.engineVersion,
		modelName: loaded.name,
		modelDigest: loaded.digest,
		slots: loaded.slots,
		ctx: loaded.ctx,
		workloads,
		samplerProfileVersion,
		chatTemplate: loaded.prompts.template?.bounds() ?? null,
		device: loaded.device,
		memory: loaded.memory,
		...(loaded.context === null ? {} : { kvBytesPerToken: kvBytesPerToken(loaded.gguf.memory) }),
		features:
			loaded.context === null
				? workloads
				: [
						...workloads,
						...['logprobs', 'top_logprobs', 'stop', 'seed', 'grammar', 'json_schema', 'strict', 'resume', 'ignore_eos', 'min_tokens'],
						...(loaded.prompts.tools ? ['tools'] : []),
					],
	};
}

function commonPrefix(a: readonly number[], b: readonly number[]): number {
	const most = Math.min(a.length, b.length);
	let length = 0;
	while (length < most && a[length] === b[length]) length += 1;
	return length;
}

function invalid(words: string): Failure {
	return failure('INVALID_PARAMS', words);
}
