/** A pool as the configuration wants it. Made by the composition root; plain data, crosses to the control thread once, and again when it is changed. */
import type { PerfPrior } from './eta.ts';
import type { EngineKind } from './failure.ts';
import type { WatchdogTimeouts } from './messages.ts';

export type Residency =
	| { readonly kind: 'always' }
	| {
			readonly kind: 'on_demand';
			/** Without a task for so long, it is unloaded; 0: not before others want its memory. */
			readonly idleMs: number;
			/** It stays for so long at least, once it is loaded. */
			readonly minResidentMs: number;
			/** Once it is loaded it stays. */
			readonly pinned: boolean;
	  };

export interface PoolSpec {
	readonly poolId: string;
	readonly engine: EngineKind;
	readonly provider: 'embedded' | 'managed' | 'external';
	/** What a `model_ref` may call it, besides the aliases and the pool's id. */
	readonly model: string;
	readonly aliases: readonly string[];
	/** Null: whatever the engine sees. */
	readonly devices: readonly number[] | null;
	/** When its model is in memory. */
	readonly residency: Residency;
	/** What an engine with it takes, as configured; null: as it is estimated and measured. */
	readonly memoryBytes: number | null;
	readonly replicas: number;
	/** Of a replica, until it says how many it has. */
	readonly slots: number;
	/** Whether others may register themselves. */
	readonly workers: boolean;
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
	readonly perfPrior: PerfPrior & {
		/** From the start of an engine until it is ready; null: nobody has said. */
		readonly loadMs: number | null;
	};
	/** In the operator's currency. */
	readonly prices: { readonly perTokenIn: number; readonly perTokenOut: number };
	/** Where its replicas cache what they can make again, a folder each, by their ids; null: they have none on the disk. */
	readonly cacheDir: string | null;
	/** The engine's part: only its driver looks inside. */
	readonly settings: unknown;
}

/** The spec of a pool that runs: what a changed configuration says is read where it is used. Part of the Pool actor. */
export class LivePoolSpec implements PoolSpec {
	#now: PoolSpec;

	constructor(spec: PoolSpec) {
		this.#now = spec;
	}

	/** Id and engine are those that it was made with. */
	become(spec: PoolSpec): void {
		if (spec.poolId !== this.poolId || spec.engine !== this.engine) throw new Error(`${this.poolId} cannot become another pool`);
		this.#now = spec;
	}

	get poolId(): string {
		return this.#now.poolId;
	}

	get engine(): EngineKind {
		return this.#now.engine;
	}

	/** Whether this would change nothing. */
	is(next: PoolSpec): boolean {
		return JSON.stringify(next) === JSON.stringify(this.#now);
	}

	get provider(): PoolSpec['provider'] {
		return this.#now.provider;
	}

	get model(): string {
		return this.#now.model;
	}

	get aliases(): readonly string[] {
		return this.#now.aliases;
	}

	get devices(): readonly number[] | null {
		return this.#now.devices;
	}

	get residency(): Residency {
		return this.#now.residency;
	}

	get memoryBytes(): number | null {
		return this.#now.memoryBytes;
	}

	get workers(): boolean {
		return this.#now.workers;
	}

	get replicas(): number {
		return this.#now.replicas;
	}

	get slots(): number {
		return this.#now.slots;
	}

	get maxTokensOut(): number {
		return this.#now.maxTokensOut;
	}

	get queue(): PoolSpec['queue'] {
		return this.#now.queue;
	}

	get migration(): 'on' | 'off' {
		return this.#now.migration;
	}

	get timeouts(): WatchdogTimeouts {
		return this.#now.timeouts;
	}

	get perfPrior(): PoolSpec['perfPrior'] {
		return this.#now.perfPrior;
	}

	get prices(): PoolSpec['prices'] {
		return this.#now.prices;
	}

	get cacheDir(): string | null {
		return this.#now.cacheDir;
	}

	get settings(): unknown {
		return this.#now.settings;
	}
}
