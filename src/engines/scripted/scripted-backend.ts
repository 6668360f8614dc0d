/**
 * The scripted engine: deterministic text at a configured pace, with faults on demand, behind the same frames as the real
 * one. For demos, tests and benches; served only where a pool asks for it. Runs in a host process.
 *
 * All streams share one clock: a tick is a decode step, one token for each, one flush. The first token leaves as soon as the
 * prompt is "prefilled".
 */
import type { GenerationUsage } from '../../actors/serving/decode.ts';
import { failure } from '../../actors/serving/failure.ts';
import type { PromptInput } from '../../actors/serving/task-request.ts';
import type { GenerationSink, HostBackend, HostFacts, HostGeneration, HostRequest } from '../wire/host-protocol.ts';
import { PieceAssembler } from '../wire/piece-assembler.ts';
import type { ScriptedFault, ScriptedSettings } from './scripted-settings.ts';
import { hashText, scriptedTokenId, scriptedTokens, tokenText } from './scripted-text.ts';

const flatOutRate = 1_000_000;
/** Tokens of one stream in one step when there is no pace. */
const flatOutStep = 8;
const embeddingDims = 16;
const messageTokens = 4;

interface Run {
	readonly request: HostRequest;
	readonly sink: GenerationSink;
	readonly assembler: PieceAssembler;
	readonly fault: ScriptedFault | null;
	readonly promptHash: number;
	readonly tokensIn: number;
	readonly limit: number;
	readonly atFullLength: 'stop' | 'length';
	readonly startedAt: number;
	firstAt: number;
	made: number;
	timer: NodeJS.Timeout | null;
	over: boolean;
}

export class ScriptedBackend implements HostBackend {
	readonly facts: HostFacts;
	/** Called after each step: the server's flush. */
	onStep: () => void = () => {};
	readonly #settings: ScriptedSettings;
	readonly #runs = new Set<Run>();
	readonly #decoding = new Set<Run>();
	#requests = 0;
	#clock: NodeJS.Timeout | NodeJS.Immediate | null = null;
	#dueAt = 0;

	constructor(settings: ScriptedSettings) {
		this.#settings = settings;
		this.facts = {
			engineVersion: 'scripted-1',
			modelName: settings.modelName,
			modelDigest: null,
			slots: settings.slots,
			ctx: settings.ctx,
			workloads: ['completion', 'embedding'],
			samplerProfileVersion: 'scripted-1',
			chatTemplate: { baseBytes: 0, perMessageBytes: messageTokens },
			device: 'none (scripted)',
			features: ['logprobs', 'stop', 'seed', 'embedding'],
		};
	}

	start(request: HostRequest, sink: GenerationSink): HostGeneration {
		this.#requests += 1;
		const tokensIn = countInput(request.input);
		const refusal = this.#refusal(request, tokensIn);
		if (refusal !== null) {
			sink.failed(failure('INVALID_PARAMS', refusal));
			return { cancel() {} };
		}
		if (request.workload === 'embedding') {
			sink.embedded(embed(request.input), { tokensIn, tokensCached: 0, tokensOut: 0, prefillMs: 0, decodeMs: 0 });
			return { cancel() {} };
		}
		const prompt = promptText(request.input);
		const room = request.ctx - tokensIn;
		const wanted = Math.min(request.maxTokens, room);
		const run: Run = {
			request,
			sink,
			assembler: new PieceAssembler(request.sampling.stop, sink.piece),
			fault: this.#settings.faults.find((fault) => this.#hits(fault, prompt)) ?? null,
			promptHash: hashText(prompt),
			tokensIn,
			limit: Math.min(this.#settings.tokens, wanted),
			atFullLength: this.#settings.tokens <= wanted ? 'stop' : 'length',
			startedAt: performance.now(),
			firstAt: 0,
			made: 0,
			timer: null,
			over: false,
		};
		this.#runs.add(run);
		sink.started(tokensIn, 0);
		const prefillMs = this.#settings.prefillTokensPerS >= flatOutRate ? 0 : (tokensIn / this.#settings.prefillTokensPerS) * 1000;
		if (prefillMs < 1) this.#begin(run);
		else run.timer = setTimeout(() => this.#begin(run), prefillMs);
		return { cancel: () => this.#cancel(run) };
	}

	count(input: PromptInput): Promise<number> {
		return Promise.resolve(countInput(input));
	}

	tokenize(text: string): Promise<readonly { readonly id: number; readonly text: string }[]> {
		return Promise.resolve(scriptedTokens(text).map((token) => ({ id: hashText(token) % 65_536, text: token })));
	}

	close(): Promise<void> {
		for (const run of [...this.#runs]) this.#finish(run);
		this.#stopClock();
		return Promise.resolve();
	}

	#refusal(request: HostRequest, tokensIn: number): string | null {
		if (request.sampling.grammar !== null) return 'sampling.grammar is set; the scripted engine has no grammars';
		if (request.sampling.jsonSchema !== null) return 'sampling.json_schema is set; the scripted engine has no schemas';
		if (request.workload === 'rerank') return 'workload is rerank; the scripted engine does completion and embedding';
		if (tokensIn >= request.ctx)
			return `the prompt has ${tokensIn} tokens; the context holds ${request.ctx}, with at least one for the answer`;
		if (request.maxTokensExplicit && tokensIn + request.maxTokens > request.ctx) {
			return `max_tokens is ${request.maxTokens} and the prompt has ${tokensIn} tokens; together at most ${request.ctx} are allowed`;
		}
		if (this.#runs.size >= this.#settings.slots) return `all ${this.#settings.slots} slots are taken`;
		return null;
	}

	#hits(fault: ScriptedFault, prompt: string): boolean {
		return (fault.nth === null || fault.nth === this.#requests) && (fault.promptContains === null || prompt.includes(fault.promptContains));
	}

	#begin(run: Run): void {
		run.timer = null;
		run.firstAt = performance.now();
		this.#decoding.add(run);
		this.#token(run);
		this.onStep();
		this.#startClock();
	}

	#startClock(): void {
		if (this.#clock !== null || this.#decoding.size === 0) return;
		this.#dueAt = performance.now();
		this.#scheduleStep();
	}

	#scheduleStep(): void {
		const rate = this.#settings.decodeTokensPerS;
		if (rate >= flatOutRate) {
			this.#clock = setImmediate(() => this.#step(flatOutStep));
			return;
		}
		// The next tick is due relative to the last due time, not to now: the pace does not drift.
		this.#dueAt += 1000 / rate;
		this.#clock = setTimeout(() => this.#step(1), Math.max(0, this.#dueAt - performance.now()));
	}

	#stopClock(): void {
		if (this.#clock === null) return;
		clearTimeout(this.#clock as NodeJS.Timeout);
		clearImmediate(this.#clock as NodeJS.Immediate);
		this.#clock = null;
	}

	#step(tokens: number): void {
		this.#clock = null;
		for (const run of this.#decoding) for (let count = 0; count < tokens && !run.over; count += 1) this.#token(run);
		this.onStep();
		if (this.#decoding.size > 0) this.#scheduleStep();
	}

	#token(run: Run): void {
		if (run.fault !== null && run.made === run.fault.afterTokens && this.#strike(run, run.fault)) return;
		if (run.made >= run.limit) {
			this.#end(run, run.atFullLength);
			return;
		}
		const index = run.made;
		run.made += 1;
		const id = scriptedTokenId(run.promptHash, run.request.seed, index);
		const text = this.#settings.text === 'clock' ? `${process.hrtime.bigint() / 1000n} ` : tokenText(id, index);
		const wanted = run.request.sampling.logprobs;
		const stopped = run.assembler.push(text, wanted ? id : -1, wanted ? -((id % 7) + 1) / 8 : Number.NaN);
		if (stopped) this.#end(run, 'stop');
		else if (run.made >= run.limit) this.#end(run, run.atFullLength);
	}

	/** True when no token may follow now. */
	#strike(run: Run, fault: ScriptedFault): boolean {
		switch (fault.kind) {
			case 'stall':
				this.#decoding.delete(run);
				return true;
			case 'die':
				this.onStep();
				process.kill(process.pid, 'SIGKILL');
				return true;
			case 'error':
				this.#finish(run);
				run.sink.failed(failure('WORKER_RESET', `scripted fault: error after ${run.made} tokens`));
				return true;
			case 'ignore-cancel':
				return false;
			case 'flood':
				// The fault is over at the next index, so that the loop does not meet it again.
				while (!run.over && run.made < run.limit) {
					const before = run.made;
					run.made += 1;
					const id = scriptedTokenId(run.promptHash, run.request.seed, before);
					if (run.assembler.push(tokenText(id, before), -1, Number.NaN)) break;
				}
				this.#end(run, run.made >= run.limit ? run.atFullLength : 'stop');
				return true;
		}
	}

	#cancel(run: Run): void {
		if (run.over || run.fault?.kind === 'ignore-cancel') return;
		this.#finish(run);
		run.sink.cancelled(this.#usage(run));
	}

	#end(run: Run, reason: 'stop' | 'length'): void {
		if (run.over) return;
		this.#finish(run);
		run.assembler.finish();
		run.sink.ended(reason, this.#usage(run));
	}

	#finish(run: Run): void {
		run.over = true;
		if (run.timer !== null) clearTimeout(run.timer);
		this.#runs.delete(run);
		this.#decoding.delete(run);
	}

	#usage(run: Run): GenerationUsage {
		const now = performance.now();
		const prefillEnd = run.firstAt === 0 ? now : run.firstAt;
		return {
			tokensIn: run.tokensIn,
			tokensCached: 0,
			tokensOut: run.assembler.tokensOut,
			prefillMs: prefillEnd - run.startedAt,
			decodeMs: run.firstAt === 0 ? 0 : now - run.firstAt,
		};
	}
}

function promptText(input: PromptInput): string {
	switch (input.kind) {
		case 'prompt':
			return input.text;
		case 'messages':
			return input.messages.map((message) => `${message.role}: ${message.content}`).join('\n');
		case 'inputs':
			return input.inputs.join('\n');
	}
}

function countInput(input: PromptInput): number {
	const extra = input.kind === 'messages' ? input.messages.length * messageTokens : 0;
	return Math.max(1, scriptedTokens(promptText(input)).length + extra);
}

function embed(input: PromptInput): Float32Array[] {
	const texts = input.kind === 'inputs' ? input.inputs : [promptText(input)];
	return texts.map((text) => {
		const vector = new Float32Array(embeddingDims);
		for (let dim = 0; dim < embeddingDims; dim += 1) vector[dim] = (hashText(`${dim} ${text}`) / 2 ** 32) * 2 - 1;
		const length = Math.hypot(...vector);
		return vector.map((value) => value / length);
	});
}
