/**
 * The scripted engine: deterministic text at a configured pace, with faults on demand, behind the same frames as the real
 * one. For demos, tests and benches; served only where a pool asks for it. Runs in a host process.
 *
 * All streams share one clock: a tick is a decode step, one token for each, one flush. The first token leaves as soon as the
 * prompt is "prefilled".
 */
import type { FinishReason, GenerationUsage } from '../../actors/serving/decode.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { PromptInput } from '../../actors/serving/task-request.ts';
import {
	type GenerationSink,
	type HostBackend,
	type HostFacts,
	type HostGeneration,
	type HostRequest,
	selfTestLease,
} from '../wire/host-protocol.ts';
import { PieceAssembler } from '../wire/piece-assembler.ts';
import { countInput, inputText, messageTokens, scriptedScores, scriptedVectors } from './scripted-input.ts';
import { type ScriptedPlan, scriptedPlan } from './scripted-plan.ts';
import type { ScriptedFault, ScriptedSettings } from './scripted-settings.ts';
import { hashText, scriptedLogprob, scriptedTokenId, scriptedTokens, scriptedTops, tokenText } from './scripted-text.ts';
import { flatOutRate, StepClock } from './step-clock.ts';
import { TokenRecord } from './token-record.ts';

interface Run {
	readonly request: HostRequest;
	readonly sink: GenerationSink;
	readonly assembler: PieceAssembler;
	readonly fault: ScriptedFault | null;
	readonly promptHash: number;
	/** What it says first. */
	readonly plan: ScriptedPlan;
	/** Tokens that it says again; none: it says words. */
	readonly echo: readonly string[];
	readonly tokensIn: number;
	readonly limit: number;
	readonly atFullLength: FinishReason;
	readonly startedAt: number;
	firstAt: number;
	made: number;
	/** Tokens of its plan that were given out. */
	planned: number;
	timer: NodeJS.Timeout | null;
	over: boolean;
}

const ended: HostGeneration = { cancel() {} };
const scriptedFeatures = [
	...['completion', 'logprobs', 'top_logprobs', 'stop', 'seed', 'embedding', 'resume', 'tools'],
	...['json_schema', 'ignore_eos', 'min_tokens'],
];

export class ScriptedBackend implements HostBackend {
	readonly facts: HostFacts;
	/** Called after each step: the server's flush. */
	onStep: () => void = () => {};
	readonly #settings: ScriptedSettings;
	readonly #die: () => void;
	readonly #clock: StepClock;
	readonly #runs = new Set<Run>();
	readonly #decoding = new Set<Run>();
	readonly #record: TokenRecord | null;
	#tasks = 0;

	/** `die` ends the process at once: the fault of that name. */
	constructor(settings: ScriptedSettings, die: () => void) {
		this.#settings = settings;
		this.#die = die;
		this.#record = settings.record === null ? null : new TokenRecord(settings.record);
		this.#clock = new StepClock(settings.decodeTokensPerS, (steps) => this.#step(steps));
		this.facts = {
			engineVersion: 'scripted-1',
			modelName: settings.modelName,
			modelDigest: null,
			slots: settings.slots,
			ctx: settings.ctx,
			workloads: ['completion', 'embedding', 'rerank'],
			samplerProfileVersion: 'scripted-1',
			// The role's own bytes are counted by whoever asks; ": " adds no token to them.
			chatTemplate: { baseBytes: 0, perMessageBytes: messageTokens },
			device: 'none (scripted)',
			features: scriptedFeatures,
		};
	}

	start(request: HostRequest, sink: GenerationSink): HostGeneration {
		const tokensIn = countInput(request.input);
		const refusal = this.#refusal(request, tokensIn);
		if (refusal !== null) {
			sink.failed(refusal);
			return ended;
		}
		if (request.workload !== 'completion') {
			const vectors = request.workload === 'rerank' ? scriptedScores(request.input) : scriptedVectors(request.input);
			sink.embedded(vectors, { tokensIn, tokensCached: 0, tokensOut: 0, prefillMs: 0, decodeMs: 0 });
			return ended;
		}
		const prompt = inputText(request.input);
		const wanted = Math.min(request.maxTokens, Math.min(request.ctx, this.#settings.ctx) - tokensIn);
		const plan = scriptedPlan(request.input, request.sampling);
		const whole = this.#lengthOf(plan, request);
		const run: Run = {
			request,
			sink,
			assembler: new PieceAssembler(request.sampling.stop, sink.piece, request.tellIds),
			fault: this.#faultOf(request, prompt),
			promptHash: hashText(prompt),
			plan,
			echo: this.#settings.text === 'echo' ? scriptedTokens(prompt) : [],
			tokensIn,
			limit: Math.min(whole, wanted),
			atFullLength: whole > wanted ? 'length' : plan.ends === 'calls' ? 'tool_calls' : 'stop',
			startedAt: performance.now(),
			firstAt: 0,
			made: request.resume?.ids.length ?? 0,
			planned: 0,
			timer: null,
			over: false,
		};
		if (!this.#wouldHaveSaid(run)) {
			sink.failed(invalid('resume.ids are not the tokens of this prompt and seed'));
			return ended;
		}
		this.#runs.add(run);
		sink.started(tokensIn, 0);
		const resumedIds = run.request.resume?.ids.slice(plan.pieces.length) ?? [];
		const texts = resumedIds.map((id, index) => this.#textOf(run, id, index));
		const resumed = run.assembler.resume(texts);
		if (resumed !== 'goes-on') {
			this.#end(run, 'stop');
			return ended;
		}
		const toPrefill = tokensIn + run.made;
		const prefillMs = this.#settings.prefillTokensPerS >= flatOutRate ? 0 : (toPrefill / this.#settings.prefillTokensPerS) * 1000;
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
		for (const run of [...this.#runs]) this.#stop(run);
		this.#clock.stop();
		return Promise.resolve();
	}

	/** Tokens that it would say by itself. */
	#lengthOf(plan: ScriptedPlan, { sampling }: HostRequest): number {
		if (sampling.ignoreEos === true) return Number.POSITIVE_INFINITY;
		const words = plan.ends === 'words' ? Math.max(this.#settings.tokens, (sampling.minTokens ?? 0) - plan.pieces.length) : 0;
		return plan.pieces.length + words;
	}

	#refusal(request: HostRequest, tokensIn: number): Failure | null {
		const ctx = Math.min(request.ctx, this.#settings.ctx);
		if (request.workload !== 'completion') return null;
		if (request.input.kind === 'inputs') return invalid('a completion needs a prompt or messages; inputs are for embedding');
		if (request.sampling.grammar !== null) return invalid('sampling.grammar is set; the scripted engine has no grammars');
		if (tokensIn >= ctx) return invalid(`the prompt has ${tokensIn} tokens; the context holds ${ctx}, with at least one for the answer`);
		if (request.maxTokensExplicit && tokensIn + request.maxTokens > ctx) {
			return invalid(
				`max_tokens is ${request.maxTokens}; the prompt has ${tokensIn} tokens, which leaves ${ctx - tokensIn} of a context of ${ctx}`,
			);
		}
		if (this.#runs.size < this.#settings.slots) return null;
		// Leases are one to a slot: whoever asks for more has lost count.
		return failure('REPLICA_EXHAUSTED', `all ${this.#settings.slots} slots are taken`, { retryAfterMs: 1_000 });
	}

	/** What is to be gone on with is what every engine of this kind says at this place. */
	#wouldHaveSaid({ request, promptHash }: Run): boolean {
		const ids = request.resume?.ids ?? [];
		return ids.every((id, index) => id === scriptedTokenId(promptHash, request.seed, index));
	}

	/** The self-test of a starting replica is no task: it is not counted and meets its own faults only. */
	#faultOf(request: HostRequest, prompt: string): ScriptedFault | null {
		if (request.leaseKey === selfTestLease) return this.#settings.faults.find((fault) => fault.selfTest) ?? null;
		this.#tasks += 1;
		const hits = (fault: ScriptedFault): boolean =>
			!fault.selfTest &&
			(fault.nth === null || fault.nth === this.#tasks) &&
			(fault.promptContains === null || prompt.includes(fault.promptContains));
		return this.#settings.faults.find(hits) ?? null;
	}

	#begin(run: Run): void {
		run.timer = null;
		run.firstAt = performance.now();
		this.#decoding.add(run);
		this.#token(run);
		this.#stepped();
		if (this.#decoding.size > 0) this.#clock.start();
	}

	#step(steps: number): void {
		for (const run of this.#decoding) for (let step = 0; step < steps && this.#decoding.has(run); step += 1) this.#token(run);
		this.#stepped();
		if (this.#decoding.size === 0) this.#clock.stop();
	}

	/** What was made is on record before it leaves. */
	#stepped(): void {
		this.#record?.flush();
		this.onStep();
	}

	#token(run: Run): void {
		if (run.fault !== null && run.made === run.fault.afterTokens && this.#strike(run, run.fault)) return;
		this.#make(run);
	}

	#make(run: Run): void {
		if (run.made >= run.limit) {
			this.#end(run, run.atFullLength);
			return;
		}
		const index = run.made;
		run.made += 1;
		const id = scriptedTokenId(run.promptHash, run.request.seed, index);
		const planned = run.plan.pieces[index];
		if (planned !== undefined) {
			run.sink.piece(planned.text, 1, -1, Number.NaN, run.request.tellIds ? [id] : null, null, planned.channel);
			run.planned += 1;
			if (run.made >= run.limit) this.#end(run, run.atFullLength);
			return;
		}
		const text = this.#textOf(run, id, index - run.plan.pieces.length);
		this.#record?.made(run.request.seed, index, text);
		const { logprobs: wanted, topLogprobs = 0 } = run.request.sampling;
		const tops = topLogprobs === 0 ? null : scriptedTops(id, text, topLogprobs);
		if (run.assembler.push(text, wanted ? id : -1, wanted ? scriptedLogprob(id) : Number.NaN, id, tops)) this.#end(run, 'stop');
		else if (run.made >= run.limit) this.#end(run, run.atFullLength);
	}

	#textOf({ echo }: Run, id: number, index: number): string {
		if (this.#settings.text === 'clock') return `${process.hrtime.bigint() / 1000n} `;
		return echo[index % echo.length] ?? tokenText(id, index);
	}

	/** True when no token may follow now. */
	#strike(run: Run, fault: ScriptedFault): boolean {
		switch (fault.kind) {
			case 'stall':
				this.#decoding.delete(run);
				return true;
			case 'die':
				this.#stepped();
				this.#decoding.delete(run);
				this.#die();
				return true;
			case 'error':
				this.#finish(run);
				run.sink.failed(failure('WORKER_RESET', `scripted fault: error after ${run.made} tokens`));
				return true;
			case 'ignore-cancel':
				return false;
			case 'flood':
				while (!run.over) this.#make(run);
				return true;
		}
	}

	#cancel(run: Run): void {
		if (!run.over && run.fault?.kind !== 'ignore-cancel') this.#stop(run);
	}

	#stop(run: Run): void {
		this.#finish(run);
		run.sink.cancelled(this.#usage(run));
	}

	#end(run: Run, reason: FinishReason): void {
		this.#finish(run);
		run.assembler.finish();
		run.sink.ended(reason, this.#usage(run), run.assembler.stoppedBy);
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
			tokensOut: run.assembler.tokensOut + run.planned,
			prefillMs: prefillEnd - run.startedAt,
			decodeMs: run.firstAt === 0 ? 0 : now - run.firstAt,
		};
	}
}

function invalid(words: string): Failure {
	return failure('INVALID_PARAMS', words);
}
