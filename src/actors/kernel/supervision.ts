/**
 * Supervision as data and one pure function, after OTP's `supervisor`: how often a failing child is started again, how
 * fast, and when it is given up.
 */

export interface SupervisionSpec {
	readonly onFailure: 'restart' | 'stop';
	/** More than `restarts` failures within `withinMs` give the child up. */
	readonly intensity: { readonly restarts: number; readonly withinMs: number };
	/** Delay of the n-th restart in a row: `firstMs` × 2ⁿ⁻¹, at most `maxMs`, ± `jitter` as a fraction. */
	readonly backoff: { readonly firstMs: number; readonly maxMs: number; readonly jitter: number };
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

export type RestartDecision = { readonly decision: 'restart'; readonly delayMs: number } | { readonly decision: 'stop' };

/**
 * What to do about a failure at `now`.
 * @param failures times of the earlier failures of this child, ms, oldest first
 * @param random in [0, 1), for the jitter
 */
export function decideRestart(spec: SupervisionSpec, failures: readonly number[], now: number, random: number): RestartDecision {
	if (spec.onFailure === 'stop') return { decision: 'stop' };
	const recent = failures.reduce((count, at) => (now - at <= spec.intensity.withinMs ? count + 1 : count), 0);
	if (recent >= spec.intensity.restarts) return { decision: 'stop' };
	const { firstMs, maxMs, jitter } = spec.backoff;
	const base = Math.min(maxMs, firstMs * 2 ** Math.min(recent, 30));
	return { decision: 'restart', delayMs: base * (1 + jitter * (2 * random - 1)) };
}

/** The failures that still count, with the one of `now`. */
export function rememberFailure(spec: SupervisionSpec, failures: readonly number[], now: number): number[] {
	return [...failures.filter((at) => now - at <= spec.intensity.withinMs), now];
}
