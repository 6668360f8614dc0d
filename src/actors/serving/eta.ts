/**
 * When a waiting task will start: predicted work ahead over the slots, from what the pool was measured to do. Pure; one
 * `PaceMeter` a pool, on the control thread. No constant per position.
 */

/** Weight of the newest sample in the moving averages. */
const newest = 0.2;
/** Before anything was measured: a small model on a plain CPU. */
const prior = { prefillTokensPerS: 1_000, decodeTokensPerS: 50, tokensOut: 128 } as const;
const ratiosKept = 256;
/** Waits below this are alike: keeps ratios of tiny waits from being all noise. */
const ratioFloorMs = 50;
const retryPriorMs = 1_000;
const retryMaxMs = 30_000;

export interface WorkEstimate {
	readonly promptTokens: number;
	/** What the client expects, or null. */
	readonly expectedTokens: number | null;
	readonly maxTokens: number;
}

/** What a pool was measured to do: moving averages of finished runs. */
export class PaceMeter {
	#prefillTokensPerS: number | null = null;
	#decodeTokensPerS: number | null = null;
	#tokensOut: number | null = null;
	#heldMs: number | null = null;
	readonly #ratios = new Float64Array(ratiosKept);
	#ratioCount = 0;

	get estimated(): 'prior' | 'measured' {
		return this.#decodeTokensPerS === null ? 'prior' : 'measured';
	}

	/** A task that started: what was predicted when it was queued, and what it came to. Returns real over predicted. */
	started(predictedMs: number, waitedMs: number): number {
		const ratio = (waitedMs + ratioFloorMs) / (predictedMs + ratioFloorMs);
		this.#ratios[this.#ratioCount % ratiosKept] = ratio;
		this.#ratioCount += 1;
		return ratio;
	}

	/**
	 * How likely a task that is predicted to end in `predictedEndMs` ends within `allowedMs`: the part of past predictions
	 * whose error would have let it. Without any: whether the prediction itself fits.
	 */
	onTimeProbability(predictedEndMs: number, allowedMs: number): number {
		const known = Math.min(this.#ratioCount, ratiosKept);
		if (known === 0) return predictedEndMs <= allowedMs ? 1 : 0;
		let onTime = 0;
		for (let index = 0; index < known; index += 1) if (predictedEndMs * (this.#ratios[index] ?? 1) <= allowedMs) onTime += 1;
		return onTime / known;
	}

	/** A run that ended. Runs without tokens say nothing of the pace. */
	finished(run: {
		/** From the grant of its slot to its end. */
		readonly heldMs: number;
		readonly tokensIn: number;
		readonly tokensOut: number;
		readonly prefillMs: number;
		readonly decodeMs: number;
		readonly completed: boolean;
	}): void {
		this.#heldMs = blend(this.#heldMs, run.heldMs);
		if (run.prefillMs > 0 && run.tokensIn > 0)
			this.#prefillTokensPerS = blend(this.#prefillTokensPerS, (run.tokensIn * 1000) / run.prefillMs);
		if (run.decodeMs > 0 && run.tokensOut > 1)
			this.#decodeTokensPerS = blend(this.#decodeTokensPerS, ((run.tokensOut - 1) * 1000) / run.decodeMs);
		if (run.completed) this.#tokensOut = blend(this.#tokensOut, run.tokensOut);
	}

	/** Tokens that a task will make. */
	tokensOut(work: WorkEstimate): number {
		return Math.min(work.maxTokens, work.expectedTokens ?? this.#tokensOut ?? prior.tokensOut);
	}

	/** Milliseconds that a task will hold a slot. */
	serviceMs(work: WorkEstimate): number {
		const out = this.tokensOut(work);
		const prefill = work.promptTokens / (this.#prefillTokensPerS ?? prior.prefillTokensPerS);
		return (prefill + out / (this.#decodeTokensPerS ?? prior.decodeTokensPerS)) * 1000;
	}

	/** How long a task holds a slot: as measured, whatever the outcome, else as its like would. */
	get heldMs(): number {
		return this.#heldMs ?? this.serviceMs({ promptTokens: 0, expectedTokens: null, maxTokens: prior.tokensOut });
	}

	/**
	 * After how long a refused client may find a place: busy slots come free at this rate. Not the time between two ends, which
	 * would count the hours in which nobody asked.
	 */
	retryAfterMs(slots: number): number {
		if (this.#heldMs === null) return retryPriorMs;
		return Math.ceil(Math.min(retryMaxMs, Math.max(1, this.#heldMs / Math.max(1, slots))));
	}
}

function blend(average: number | null, sample: number): number {
	return average === null ? sample : average + newest * (sample - average);
}

/** What a pool is doing at this moment. */
export interface PoolLoad {
	/** Slots that serve; 0: nobody knows, so the work itself is the answer. */
	readonly slots: number;
	readonly slotsFree: number;
	/** What is left of the running tasks, ms of one slot. */
	readonly runningLeftMs: number;
}

/** Milliseconds until a task starts that has `workAheadMs` of queued work before it. */
export function predictStartMs(workAheadMs: number, load: PoolLoad): number {
	if (load.slotsFree > 0 && workAheadMs === 0) return 0;
	return (load.runningLeftMs + workAheadMs) / Math.max(1, load.slots);
}
