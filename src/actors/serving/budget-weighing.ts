/**
 * Whether a task fits into what is left of budgets, and what it takes of them: its worst case, or what there is. Pure; for those
 * who keep budgets, of sessions and of keys alike.
 */
import type { Amounts, Limits } from './budget.ts';
import { type Failure, failure } from './failure.ts';

/** What a task may come to at most, where it is not known yet which pool will have it. */
export interface WorstCase {
	readonly maxTokensOut: number;
	readonly wallMs: number;
	readonly costPerTokenIn: number;
	readonly costPerTokenOut: number;
	readonly gpus: number;
}

export interface Weighed {
	readonly reserve: Amounts;
	/** Bounds beside those of the task; null: none. */
	readonly outputCap: number | null;
	readonly wallCapMs: number | null;
}

export interface Asked {
	readonly tokensIn: number;
	/** Null: as many as the pool allows, or fewer where the budget ends before. */
	readonly maxTokens: number | null;
}

export interface BudgetOwner {
	/** As a sentence names it: `the session`. */
	readonly name: string;
	readonly retryAfterMs: number;
}

/** `left`: what may still be reserved. Without a limit of its own an answer is cut where the budget ends. */
export function weigh(left: Limits, { tokensIn, maxTokens }: Asked, worst: WorstCase, owner: BudgetOwner): Weighed | Failure {
	const byTokens = left.tokens === null ? Number.POSITIVE_INFINITY : Math.floor(left.tokens - tokensIn);
	const costOfPrompt = tokensIn * worst.costPerTokenIn;
	const byCost =
		left.cost === null || worst.costPerTokenOut === 0
			? Number.POSITIVE_INFINITY
			: Math.floor((left.cost - costOfPrompt) / worst.costPerTokenOut + 1e-9);
	const wanted = maxTokens ?? worst.maxTokensOut;
	const least = maxTokens ?? 1;
	if (byTokens < least) return spent(owner, 'tokens', `${Math.ceil(tokensIn)} tokens of prompt and ${least} of answer`, left.tokens ?? 0);
	if (byCost < least || (left.cost !== null && costOfPrompt > left.cost))
		return spent(owner, 'cost', `${costOfPrompt + least * worst.costPerTokenOut}`, left.cost ?? 0);
	const tokensOut = Math.min(wanted, byTokens, byCost);
	if (left.timeMs !== null && worst.wallMs > 0 && left.timeMs < 1) return spent(owner, 'time', '1 ms', left.timeMs);
	if (left.gpuMs !== null && worst.gpus > 0 && left.gpuMs < 1) return spent(owner, 'gpu', '1 ms', left.gpuMs);
	const byGpu = left.gpuMs === null || worst.gpus === 0 ? Number.POSITIVE_INFINITY : left.gpuMs / worst.gpus;
	const wallMs = Math.min(worst.wallMs, left.timeMs ?? Number.POSITIVE_INFINITY, byGpu);
	const reserve = {
		tokens: tokensIn + tokensOut,
		timeMs: wallMs,
		cost: costOfPrompt + tokensOut * worst.costPerTokenOut,
		gpuMs: wallMs * worst.gpus,
	};
	return {
		reserve,
		// Also where it is what pools allow now: they may allow more by the time that it runs.
		outputCap: maxTokens === null && (left.tokens !== null || left.cost !== null) ? tokensOut : null,
		wallCapMs: left.timeMs !== null || (left.gpuMs !== null && worst.gpus > 0) ? wallMs : null,
	};
}

function spent({ name, retryAfterMs }: BudgetOwner, kind: 'tokens' | 'time' | 'cost' | 'gpu', needs: string, left: number): Failure {
	const words = `${name}'s ${kind} budget has ${left} left; the task needs ${needs}`;
	return failure('ADMISSION_REJECT', words, { policyLabel: `budget.${kind}`, retryAfterMs });
}
