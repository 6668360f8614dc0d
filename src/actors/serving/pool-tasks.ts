/**
 * The tasks of one pool whose actors it watches: those in the queue by their ref, those with a lease by both. Part of the
 * Pool actor; says whose death means what.
 */
import { addressOf } from '../kernel/address.ts';
import type { ActorRef } from '../kernel/ref.ts';
import { RefMap } from '../kernel/ref-map.ts';
import { leaseKey } from './engine-life.ts';
import type { WorkEstimate } from './eta.ts';
import type { Lease, PlacementNews, TaskSummary } from './messages.ts';
import type { Charge, QueueEntry } from './queue.ts';
import type { SessionTerms } from './session-messages.ts';

export interface Waiting extends QueueEntry {
	readonly summary: TaskSummary;
	readonly terms: SessionTerms;
	readonly ref: ActorRef<PlacementNews>;
	/** Milliseconds that it will hold its slots. */
	readonly serviceMs: number;
	readonly enqueuedAt: number;
	/** When it would start as the slots alone would have it, and what was told. */
	readonly startMs: number;
	readonly predictedStartMs: number;
	readonly predictedEndMs: number;
	/** A load was counted in. */
	readonly cold: boolean;
	toldPosition: number;
	/** As it was told last; `toldAt` is when. */
	toldStartMs: number;
	/** A load was told of. */
	toldWarm: boolean;
	toldAt: number;
}

export interface Running {
	readonly lease: Lease;
	readonly summary: TaskSummary;
	/** As it was foreseen when it started. */
	readonly work: WorkEstimate;
	readonly terms: SessionTerms;
	readonly ref: ActorRef<PlacementNews>;
	/** Tasks of its engine, itself included, when it started. */
	readonly depth: number;
	/** What was predicted of it when it was queued, and when that was; null: by an earlier control thread, or with a load in it. */
	readonly predicted: { readonly at: number; readonly endMs: number } | null;
	/** Slots that it holds. */
	readonly slots: number;
	readonly charge: Charge;
	readonly startedAt: number;
	/** When its actor was gone before its settlement had come. */
	goneAt: number | null;
}

/** The watching half of an actor's context. */
interface Watch {
	watch(ref: ActorRef<never>): void;
	unwatch(ref: ActorRef<never>): void;
}

export class PoolTasks {
	readonly #watch: Watch;
	readonly #running = new Map<string, Running>();
	readonly #refs = new RefMap<Waiting | Running>();
	/** Changes with what runs. */
	version = 0;

	constructor(watch: Watch) {
		this.#watch = watch;
	}

	get runningCount(): number {
		return this.#running.size;
	}

	/** It is in the queue from here on. */
	waits(waiting: Waiting): void {
		this.#refs.set(addressOf(waiting.ref), waiting);
		this.#watch.watch(waiting.ref);
	}

	follows(task: Waiting): boolean {
		return this.#refs.get(addressOf(task.ref)) === task;
	}

	/** It left the queue without a lease. */
	left({ ref }: Waiting): void {
		this.#refs.delete(addressOf(ref));
		this.#watch.unwatch(ref);
	}

	/** It has a lease, from the queue or from an earlier control thread. */
	runs(running: Running): void {
		this.version += 1;
		this.#running.set(leaseKey(running.lease), running);
		this.#refs.set(addressOf(running.ref), running);
		this.#watch.watch(running.ref);
	}

	holding(lease: Pick<Lease, 'epoch' | 'id'>): Running | undefined {
		return this.#running.get(leaseKey(lease));
	}

	on(replicaId: string): Running[] {
		return [...this.#running.values()].filter(({ lease }) => lease.replicaId === replicaId);
	}

	/** Its lease is over. A task that has come back to the queue in the meantime is still followed. */
	ended(key: string): Running | undefined {
		const running = this.#running.get(key);
		if (running === undefined) return undefined;
		this.version += 1;
		this.#running.delete(key);
		const address = addressOf(running.ref);
		if (this.#refs.get(address) === running) {
			this.#refs.delete(address);
			this.#watch.unwatch(running.ref);
		}
		return running;
	}

	/** Its actor is gone. What it ran stays known: its settlement may still be on its way. Undefined: nothing of ours. */
	gone(ref: ActorRef<never>, now: number): Waiting | Running | undefined {
		const address = addressOf(ref);
		const task = this.#refs.get(address);
		this.#refs.delete(address);
		if (task !== undefined && 'lease' in task) task.goneAt = now;
		return task;
	}

	/** Those whose actors were gone by then, and whose settlements have not come. */
	goneBefore(then: number): Running[] {
		return [...this.#running.values()].filter(({ goneAt }) => goneAt !== null && goneAt <= then);
	}

	[Symbol.iterator](): Iterator<Running> {
		return this.#running.values();
	}
}
