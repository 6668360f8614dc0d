/** What was decided of a task and why: Dispatcher and Pool to those who ask. Types only. */
import type { Failure } from './failure.ts';

export interface Considered {
	readonly poolId: string;
	/** Why not; null: feasible. */
	readonly refusedFor: Failure | null;
	/** Checks that it passed: of several refusals the one that came furthest says most. */
	readonly passed: number;
	/** Of this task there, ms from now. */
	readonly predictedStartMs: number;
	readonly predictedEndMs: number;
}

/** What told the chosen pool from the others that could have had the task. */
export type DecidedBy =
	| 'pin'
	| 'only_one'
	| 'ready'
	| 'room'
	| 'predicted_end'
	| 'affinity'
	| 'least_loaded'
	| 'free_memory'
	| 'tokens_per_s'
	| 'pool_id';

/** Times of one decision, µs: whole, and their sum is the total. */
export interface DecisionStages {
	/** The directory of tasks, and what else is asked before the pools. */
	readonly admission: number;
	/** What speaks against each pool. */
	readonly feasibility: number;
	/** Which of those that are left. */
	readonly ranking: number;
	/** To the pool, or back to the task. */
	readonly handover: number;
}

export interface DecisionRecord {
	/** On `Host.now`. */
	readonly at: number;
	readonly outcome: 'assigned' | 'none';
	readonly poolId: string | null;
	readonly decidedBy: DecidedBy | null;
	readonly fallback: boolean;
	readonly considered: readonly Considered[];
	readonly stages: DecisionStages;
}

/** Answer to `explain`. Null: it was too long ago, or another control thread that decided. */
export interface PlacementExplained {
	readonly type: 'explained';
	readonly decision: DecisionRecord | null;
}
