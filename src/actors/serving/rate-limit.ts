/**
 * What a front asks before a task costs anything: the rate of its key, in requests and in tokens, and what its key may use in all. A
 * port; the limits are of the whole daemon, whichever front a request came to.
 */
import { type Amounts, nothing } from './budget.ts';
import type { Asked, WorstCase } from './budget-weighing.ts';
import { bytesPerToken } from './eta.ts';
import { type Failure } from './failure.ts';
import type { PoolView } from './messages.ts';
import { inputBytes, outputTokensMax, poolsNamed } from './prompt-bounds.ts';
import type { BudgetLeft } from './session-messages.ts';
import type { TaskRequest } from './task-request.ts';

/** Of one task, before it has run. */
export interface KeyAsk extends Asked {
	/** Of the rate: its prompt, and the longest answer. */
	readonly tokens: number;
	readonly worst: WorstCase;
}

/** What a task has taken of its key, and the bounds that follow from what was left; null: no bound, no budget. */
export interface KeyTerms {
	/** Of the rate: no more than its bucket holds. */
	readonly tokens: number;
	/** Of the budgets. */
	readonly reserved: Amounts;
	readonly outputCap: number | null;
	readonly wallCapMs: number | null;
	readonly left: BudgetLeft | null;
}

export interface RateLimit {
	/** Takes one request, its tokens of the key's rate, and its worst case of the key's budgets; or says why not. */
	take(keyName: string | null, ask: KeyAsk): KeyTerms | Failure;
	/** Why `take` would refuse; takes nothing. Null: it would not. */
	check(keyName: string | null, ask: KeyAsk): Failure | null;
	/** What was taken and not used comes back. */
	settle(keyName: string | null, terms: KeyTerms, used: Amounts): void;
}

/** Of a request without a key. */
export const noKeyTerms: KeyTerms = { tokens: 0, reserved: nothing, outputCap: null, wallCapMs: null, left: null };
export const noRateLimit: RateLimit = { take: () => noKeyTerms, check: () => null, settle: () => undefined };

/** A request that is no task. */
export const noTask: KeyAsk = {
	tokens: 0,
	tokensIn: 0,
	maxTokens: 0,
	worst: { maxTokensOut: 0, wallMs: 0, costPerTokenIn: 0, costPerTokenOut: 0, gpus: 0 },
};

/** A prompt is taken to be as long as its bytes usually are. */
export function keyAsk(request: TaskRequest, pools: readonly PoolView[]): KeyAsk {
	const tokensIn = Math.ceil(inputBytes(request.input) / bytesPerToken);
	const maxTokensOut = outputTokensMax(request, pools);
	const maxTokens = request.workload === 'completion' ? request.maxTokens : 0;
	const charges = poolsNamed(request.modelRef, pools).map((pool) => pool.charges);
	const most = (of: (each: PoolView['charges']) => number): number => charges.reduce((max, each) => Math.max(max, of(each)), 0);
	const worst = {
		maxTokensOut,
		wallMs: most(({ wallMs }) => wallMs),
		costPerTokenIn: most(({ perTokenIn }) => perTokenIn),
		costPerTokenOut: most(({ perTokenOut }) => perTokenOut),
		gpus: most(({ gpus }) => gpus),
	};
	return { tokens: tokensIn + maxTokensOut, tokensIn, maxTokens, worst };
}
