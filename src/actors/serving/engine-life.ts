/**
 * The life half of an engine: what a Replica actor, on an engine thread, can do with the process or endpoint it looks
 * after. The byte half is `decode.ts`, on the front threads. Implemented in `engines/`; news comes back as messages.
 */
import type { ActorRef } from '../kernel/ref.ts';
import type { Failure } from './failure.ts';
import type { MemoryTold } from './memory-messages.ts';
import type { ReplicaFacts, ReplicaSpec } from './messages.ts';
import type { ModelFetch } from './warm-up-messages.ts';

export type LifeNews =
	/** Artifacts verified, process up, health answered and one token generated: it can serve. */
	| { readonly type: 'life-ready'; readonly facts: ReplicaFacts }
	/** Its model is fetched first; null: it is here, and the engine starts now. Before `life-ready` only, as often as there is something new. */
	| { readonly type: 'life-fetching'; readonly fetch: ModelFetch | null }
	/** It ended or could not start. Nothing more follows from this life. */
	| { readonly type: 'life-ended'; readonly failure: Failure }
	/** Of its devices, as far as anybody tells; after `life-ready`, again when it has changed. */
	| { readonly type: 'life-memory'; readonly vramFreeBytes: number | null }
	| { readonly type: 'life-audited'; readonly busyLeases: readonly string[] };

export interface EngineLife {
	/** Asks the engine which leases it still works on. For those in `revoked` it is to work no more, now and later. */
	audit(revoked: readonly string[]): void;
	/** Ends it: politely, then by force. `life-ended` follows. Idempotent. */
	stop(): void;
}

export type ModelChange = { readonly ok: true; readonly settings: unknown } | { readonly ok: false; readonly failure: Failure };

export interface EngineDriver {
	/** Starts a life; every news of it goes to `replica`. */
	start(spec: ReplicaSpec, replica: ActorRef<LifeNews>): EngineLife;
	/** What a pool with these settings would start another model with, once that has been looked at: nothing is stopped for it before. Absent: it cannot be changed. */
	withModel?(settings: unknown, model: string, answer: (change: ModelChange) => void): void;
	/**
	 * What an engine with these settings takes; `told` is called once, now or later, and `heard` before, while the model comes here first.
	 * Absent: nothing here.
	 */
	memory?(settings: unknown, model: string, told: (memory: MemoryTold) => void, heard: (fetch: ModelFetch) => void): void;
	/** What the engine of this replica, which does not run now, has cached on the disk is gone; its next life begins without. Null: done, else why not. */
	emptyCaches?(spec: ReplicaSpec): string | null;
}

type LeaseId = { readonly epoch: number; readonly id: number };

/** A start or an end asks for the key of one lease again and again: a text, and its hash, each time. */
let keyed: LeaseId = { epoch: 0, id: 0 };
let lastKey = '0.0';

/** The key of a lease on the wire and in audits. */
export function leaseKey(lease: LeaseId): string {
	if (lease === keyed) return lastKey;
	keyed = lease;
	lastKey = `${lease.epoch}.${lease.id}`;
	return lastKey;
}
