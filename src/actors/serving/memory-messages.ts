/**
 * What pools and the keeper of memory say to each other, on the control thread, and what an engine thread tells of the memory that a model
 * takes. Types, and the reasons there are.
 */
import type { ActorRef } from '../kernel/ref.ts';
import type { Failure } from './failure.ts';
import type { MemoryShare } from './memory-plan.ts';

/** Why a model is unloaded. */
export const leaveReasons = ['idle', 'memory', 'operator'] as const;
export type LeaveReason = (typeof leaveReasons)[number];

/** A device of this machine, or its main memory (`ram`). Each null: nobody tells. */
export interface DeviceMemory {
	readonly device: string;
	/** That engines may take, all together. */
	readonly totalBytes: number | null;
	readonly freeBytes: number | null;
}

/** What an engine with a model takes. */
export interface MemoryTold {
	/** Null: nobody knows before it has loaded. */
	readonly bytes: number | null;
	/** Devices that it is spread over, evenly; empty: it runs elsewhere. */
	readonly uses: readonly string[];
	/** All that there are, `ram` among them. */
	readonly devices: readonly DeviceMemory[];
}

/** As it was measured once it was ready. */
export interface MeasuredMemory {
	readonly ramBytes: number;
	readonly vramBytes: number;
}

/** What a pool is to the memory of the devices. */
export interface MemoryUse {
	/**
	 * `unsure`: a control thread before this one may have loaded it. `free`: it has none. `loading`, `resident`: it has what it was given.
	 * `leaving`: it gives it back. `permanent`: it has it for good.
	 */
	readonly phase: 'unsure' | 'free' | 'loading' | 'resident' | 'leaving' | 'permanent';
	readonly shares: readonly MemoryShare[];
	/** It has tasks. */
	readonly busy: boolean;
	readonly lastUsedAt: number;
	/** Before that it is asked to leave by nobody, on `Host.now`. */
	readonly mayLeaveAt: number;
	/** From being asked until its memory is free, ms, as far as it can be foretold. */
	readonly leavesInMs: number;
	/** Grants that it had heard of by then, in all. */
	readonly grants: number;
}

/** Dispatcher, Pool → keeper. */
export type MemoryCommand =
	/** There is such a pool; until it has told, nobody knows what it holds. */
	| { readonly type: 'pool-joined'; readonly poolId: string; readonly replyTo: ActorRef<MemoryNews> }
	| { readonly type: 'memory-use'; readonly poolId: string; readonly use: MemoryUse }
	/** Answered by `memory-granted` or `memory-refused`; `memory-expected` may come before. Asked again: it wants this instead. */
	| {
			readonly type: 'memory-wanted';
			readonly poolId: string;
			readonly shares: readonly MemoryShare[];
			readonly devices: readonly DeviceMemory[];
			/** How long it takes to load, ms, and to be allowed to stay behind that. */
			readonly loadMs: number;
			readonly minResidentMs: number;
	  }
	| { readonly type: 'memory-unwanted'; readonly poolId: string }
	| { readonly type: 'memory-due' };

/** Keeper → Pool. */
export type MemoryNews =
	/** It is the pool's until it tells that it is `free`. */
	| { readonly type: 'memory-granted' }
	| { readonly type: 'memory-refused'; readonly failure: Failure }
	/** Others leave first: about so long, ms. */
	| { readonly type: 'memory-expected'; readonly inMs: number }
	/** To leave, behind its last task; `backInMs`: when it may have its memory again behind that, should it want it, about. */
	| { readonly type: 'give-way'; readonly backInMs: number }
	/** Nobody wants its memory any more: it may stay, unless it is on its way. */
	| { readonly type: 'stay' };
