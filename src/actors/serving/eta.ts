/**
 * What a pool was measured to do: prefill and decode rates by the number of tasks that share the engine, output lengths, how
 * long slots are held, and how wrong past predictions were. Pure; one `PaceMeter` a pool, on the control thread. No constant
 * per position.
 */
import { ErrorRatios } from './error-ratios.ts';
import { OutputLengths } from './output-lengths.ts';
import type { PriorityClass } from './task-request.ts';

/** Weight of the newest sample in the moving averages. */
const newest = 0.2;
const retryPriorMs = 1_000;
const retryMaxMs = 30_000;

/** Of usual text, for prompts that nobody counted. */
export const bytesPerToken = 4;

/** What is taken for true before anything was measured. */
export interface PerfPrior {
	readonly prefillTokensPerS: number;
	readonly decodeTokensPerS: number;
	readonly tokensOut: number;
	/** Somebody has said so of this very pool: deadlines are judged by it. */
	readonly configured?: boolean;
}

export interface WorkEstimate {
	readonly promptTokens: number;
	/** What the client expects, or null. */
	readonly expectedTokens: number | null;
	readonly maxTokens: number;
}

export interface FinishedRun {
	/** From the grant of its slot to its end. */
	readonly heldMs: number;
	readonly tokensIn: number;
	readonly tokensOut: number;
	readonly prefillMs: number;
	readonly decodeMs: number;
	/** Tasks that ran on its engine, itself included. */
	readonly depth: number;
	/** `ended`: the answer is whole; `cut`: it might have had more tokens; `failed`: it says nothing. */
	readonly answer: 'ended' | 'cut' | 'failed';
}

export class PaceMeter {
	/** Used until something was measured. */
	prior: PerfPrior;
	readonly #prefillTokensPerS = new RateByDepth();
	readonly #decodeTokensPerS = new RateByDepth();
	readonly #lengths = new OutputLengths();
	#heldMs: number | null = null;
	/** Of tasks that waited, by class: from their admission to their start. Batch tasks are overtaken by what is still to come. */
	readonly starts: Readonly<Record<PriorityClass, ErrorRatios>> = { interactive: new ErrorRatios(), batch: new ErrorRatios() };
	/** Of tasks that were done, by class: from their admission to their end. */
	readonly ends: Readonly<Record<PriorityClass, ErrorRatios>> = { interactive: new ErrorRatios(), batch: new ErrorRatios() };

	constructor(prior: PerfPrior) {
		this.prior = prior;
	}

	get estimated(): 'prior' | 'measured' {
		return this.#decodeTokensPerS.empty ? 'prior' : 'measured';
	}

	/** Whether a prediction is more than a guess that is the same for every pool. */
	get founded(): boolean {
		return this.prior.configured === true || this.estimated === 'measured';
	}

	/** A run that ended. Runs without tokens say nothing of the pace. */
	finished({ heldMs, tokensIn, tokensOut, prefillMs, decodeMs, depth, answer }: FinishedRun): void {
		this.#heldMs = blend(this.#heldMs, heldMs);
		if (prefillMs > 0 && tokensIn > 0) this.#prefillTokensPerS.add(depth, (tokensIn * 1000) / prefillMs);
		if (decodeMs > 0 && tokensOut > 1) this.#decodeTokensPerS.add(depth, ((tokensOut - 1) * 1000) / decodeMs);
		if (answer !== 'failed') this.#lengths.add(tokensOut, answer === 'cut');
	}

	/** Of an engine with `depth` tasks. */
	prefillMsPerToken(depth: number): number {
		return 1000 / (this.#prefillTokensPerS.at(depth) ?? this.prior.prefillTokensPerS);
	}

	decodeMsPerToken(depth: number): number {
		return 1000 / (this.#decodeTokensPerS.at(depth) ?? this.prior.decodeTokensPerS);
	}

	/** Tokens that a task will make. */
	tokensOut(work: WorkEstimate): number {
		return this.#moreTokens(work, 0);
	}

	/** Milliseconds that a task will hold a slot of an engine with `depth` tasks. */
	serviceMs(work: WorkEstimate, depth: number): number {
		return this.leftMs(work, depth, 0);
	}

	/** Milliseconds that are left of a task that has held its slot for `heldMs`. */
	leftMs(work: WorkEstimate, depth: number, heldMs: number): number {
		const prefillMs = work.promptTokens * this.prefillMsPerToken(depth);
		const msPerToken = this.decodeMsPerToken(depth);
		const made = Math.max(0, heldMs - prefillMs) / msPerToken;
		return Math.max(0, prefillMs - heldMs) + this.#moreTokens(work, made) * msPerToken;
	}

	/** How long a task holds a slot: as measured, whatever the outcome, else as those that wait would (`foreseenMs`), else as its like. */
	heldMs(foreseenMs: number | null): number {
		return this.#heldMs ?? foreseenMs ?? this.serviceMs({ promptTokens: 0, expectedTokens: null, maxTokens: this.prior.tokensOut }, 1);
	}

	/**
	 * After how long a refused client may find a place: busy slots come free at this rate. Not the time between two ends, which
	 * would count the hours in which nobody asked.
	 */
	retryAfterMs(slots: number): number {
		if (this.#heldMs === null) return retryPriorMs;
		return Math.ceil(Math.min(retryMaxMs, Math.max(1, this.#heldMs / Math.max(1, slots))));
	}

	#moreTokens({ expectedTokens, maxTokens }: WorkEstimate, made: number): number {
		const expected = expectedTokens ?? (this.#lengths.empty ? this.prior.tokensOut : null);
		if (expected !== null && made < expected) return Math.max(0, Math.min(expected, maxTokens) - made);
		return this.#lengths.expectedMore(made, maxTokens);
	}
}

/** A moving average for each doubling of the tasks that share an engine. */
class RateByDepth {
	readonly #rates: (number | undefined)[] = [];

	get empty(): boolean {
		return this.#rates.length === 0;
	}

	add(depth: number, rate: number): void {
		const doubling = doublingOf(depth);
		this.#rates[doubling] = blend(this.#rates[doubling] ?? null, rate);
	}

	/** Of the nearest depth that was measured, the deeper first. */
	at(depth: number): number | null {
		const doubling = doublingOf(depth);
		for (let off = 0; off < this.#rates.length + doubling; off += 1) {
			const rate = this.#rates[doubling + off] ?? this.#rates[doubling - off];
			if (rate !== undefined) return rate;
		}
		return null;
	}
}

/** 1, 2, 3–4, 5–8, … */
function doublingOf(depth: number): number {
	return 32 - Math.clz32(Math.ceil(Math.max(1, depth)) - 1);
}

function blend(average: number | null, sample: number): number {
	return average === null ? sample : average + newest * (sample - average);
}
