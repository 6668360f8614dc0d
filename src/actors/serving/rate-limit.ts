/**
 * What a front asks before a task costs anything: the rate of its key, in requests and in tokens, and what its key may use in all. A
 * port; the limits are of the whole daemon, whichever front a request came to.
 */
import { bytesPerToken } from './eta.ts';
import { type Failure } from './failure.ts';
import type { PoolView } from './messages.ts';
import { inputBytes, outputTokensMax } from './prompt-bounds.ts';
import type { TaskRequest } from './task-request.ts';

export interface RateLimit {
	/** Takes one request and `tokens` of the key's rate and budget, or says why not. Of a request without a key: null. */
	take(keyName: string | null, tokens: number): Failure | null;
	/** What `take` would say; takes nothing. */
	check(keyName: string | null, tokens: number): Failure | null;
	/** So many fewer tokens were used than were taken, or more where it is negative. */
	giveBack(keyName: string | null, tokens: number): void;
}

export const noRateLimit: RateLimit = { take: () => null, check: () => null, giveBack: () => undefined };

/** What a task is charged before it has run: its prompt as long as its bytes usually are, and the longest answer. */
export function tokensExpected(request: TaskRequest, pools: readonly PoolView[]): number {
	return Math.ceil(inputBytes(request.input) / bytesPerToken) + outputTokensMax(request, pools);
}
