/** A pool as the configuration wants it. Made by the composition root; plain data, crosses to the control thread once. */
import type { PerfPrior } from './eta.ts';
import type { EngineKind } from './failure.ts';
import type { WatchdogTimeouts } from './messages.ts';

export interface PoolSpec {
	readonly poolId: string;
	readonly engine: EngineKind;
	readonly provider: 'embedded' | 'managed' | 'external';
	/** What a `model_ref` may call it, besides the aliases and the pool's id. */
	readonly model: string;
	readonly aliases: readonly string[];
	/** Null: whatever the engine sees. */
	readonly devices: readonly number[] | null;
	readonly replicas: number;
	readonly maxTokensOut: number;
	readonly queue: {
		readonly capacity: number;
		readonly bytesMax: number;
		readonly fullPolicy: 'reject' | 'drop-lru' | 'shed-low-priority';
		readonly batchMaxWaitMs: number;
		/** Of the tasks of one tenant in one class. */
		readonly order: 'fifo' | 'deadline';
		/** `soft`: a batch task gives its slot to an interactive one that waits, and goes on later. */
		readonly preemption: 'off' | 'soft';
	};
	/** Whether its tasks go on elsewhere when they lose their slots. */
	readonly migration: 'on' | 'off';
	readonly timeouts: WatchdogTimeouts;
	readonly perfPrior: PerfPrior;
	/** In the operator's currency. */
	readonly prices: { readonly perTokenIn: number; readonly perTokenOut: number };
	/** The engine's part: only its driver looks inside. */
	readonly settings: unknown;
}
