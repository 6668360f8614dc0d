/** What an operator orders of a pool, and what is answered. Types only, and plain data. */
import type { EngineKind, Failure } from './failure.ts';
import type { Worker } from './messages.ts';

export type PoolOperation =
	/** No task starts there any more; those that run may go on for `deadlineMs`. */
	| { readonly kind: 'drain'; readonly deadlineMs: number }
	| { readonly kind: 'undrain' }
	/** Its model is loaded whether a task waits or not; or unloaded, behind its last task. Of one that is loaded on demand. */
	| { readonly kind: 'load' | 'unload' }
	/** Its replicas are given another model, one after the other. */
	| { readonly kind: 'reload'; readonly model: string }
	/** Each of its engines is ended and started anew, and what it held in memory is gone. `models` may only name its own. */
	| {
			readonly kind: 'purge';
			readonly models: readonly string[];
			readonly drainFirst: boolean;
			readonly force: boolean;
			/** What it has cached on the disk goes, too. */
			readonly emptyCaches: boolean;
	  }
	/** A worker offers itself as a replica. Again with the same: nothing changes. */
	| { readonly kind: 'register'; readonly replicaId: string; readonly engine: EngineKind; readonly worker: Worker };

/** Answer to `control-pool`: it is under way, or why it is not. */
export interface PoolControlled {
	readonly type: 'pool-controlled';
	readonly failure: Failure | null;
	/** Of a reload: what the pool is given, as it names that. */
	readonly model?: string;
	/** Of a purge: the folders that are emptied as their engines end. */
	readonly cacheDirs?: readonly string[];
}
