/**
 * Supervision as data and one pure function, after OTP's `supervisor`: how often a failing child is started again, how
 * fast, and when it is given up. Here one function decides and nothing acts: it knows no actor, clock or generator.
 */

export interface SupervisionSpec {
	readonly onFailure: 'restart' | 'stop';
	/** More than `restarts` failures within `withinMs` give the child up. */
	readonly intensity: { readonly restarts: number; readonly withinMs: number };
	/**
	 * Delay of the n-th restart in a row: `firstMs` × 2ⁿ⁻¹, at most `maxMs`, ± `jitter` as a fraction. A row ends when the
	 * child has run for `stableMs` (default: `intensity.withinMs`).
	 */
	readonly backoff: { readonly firstMs: number; readonly maxMs: number; readonly jitter: number; readonly stableMs?: number };
	/** How long a draining child may take before it is stopped anyway. */
	readonly shutdownMs: number;
}

/** A child without a spec: a bug ends it. */
export const stopOnFailure: SupervisionSpec = {
	onFailure: 'stop',
	intensity: { restarts: 0, withinMs: 0 },
	backoff: { firstMs: 0, maxMs: 0, jitter: 0 },
	shutdownMs: 5_000,
};

/** What a supervisor remembers of a child between failures. Times in ms, on one clock. */
export interface RestartHistory {
	/** The failures within `intensity.withinMs` of the last one, oldest first. */
	readonly failedAt: readonly number[];
	/** Restarts since it last was stable. */
	readonly inRow: number;
	/** When it was last to start: `-Infinity` before the first failure. */
	readonly startedAt: number;
}

export const noFailures: RestartHistory = { failedAt: [], inRow: 0, startedAt: Number.NEGATIVE_INFINITY };

export type RestartDecision =
	| { readonly decision: 'restart'; readonly delayMs: number; readonly history: RestartHistory }
	| { readonly decision: 'stop' };

/**
 * What to do about a failure at `now`.
 * @param random in [0, 1), for the jitter
 * @returns with a restart, its delay and what to remember for the next failure
 */
export function decideRestart(spec: SupervisionSpec, history: RestartHistory, now: number, random: number): RestartDecision {
	if (spec.onFailure === 'stop') return { decision: 'stop' };
	const { restarts, withinMs } = spec.intensity;
	const recent = history.failedAt.filter((at) => now - at <= withinMs);
	if (recent.length >= restarts) return { decision: 'stop' };
	const { firstMs, maxMs, jitter, stableMs = withinMs } = spec.backoff;
	const inRow = now - history.startedAt >= stableMs ? 0 : history.inRow;
	// Above 2³⁰ any sensible maximum has been reached; without the bound the power would overflow to Infinity × 0.
	const backoffMs = Math.min(maxMs, firstMs * 2 ** Math.min(inRow, 30));
	const delayMs = Math.max(0, backoffMs * (1 + jitter * (2 * random - 1)));
	return { decision: 'restart', delayMs, history: { failedAt: [...recent, now], inRow: inRow + 1, startedAt: now + delayMs } };
}
