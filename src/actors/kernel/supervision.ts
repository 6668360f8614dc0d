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
	/** How long a stopping child may take to drain before it is stopped anyway. */
	readonly shutdownMs: number;
}
