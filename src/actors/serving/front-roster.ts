/**
 * The fronts as the Dispatcher knows them: who is there, and what all are told of the pools. Part of the Dispatcher actor.
 */
import type { ActorRef } from '../kernel/ref.ts';
import type { FrontCommand, PoolView } from './messages.ts';

/** Counts may be this old at the fronts; a change of state is told at once. */
const broadcastMs = 250;

/** The timers of the actor: `broadcast-due` comes back by `tick`. */
interface Timers {
	setTimer(key: string, ms: number, message: RosterTick): void;
}

export interface RosterTick {
	readonly type: 'broadcast-due';
}

export class FrontRoster {
	readonly #timers: Timers;
	readonly #epoch: number;
	readonly #views: () => readonly PoolView[];
	readonly #fronts = new Map<string, ActorRef<FrontCommand>>();
	#broadcastDue = false;

	constructor(timers: Timers, epoch: number, views: () => readonly PoolView[]) {
		this.#timers = timers;
		this.#epoch = epoch;
		this.#views = views;
	}

	has(frontId: string): boolean {
		return this.#fronts.has(frontId);
	}

	join(frontId: string, ref: ActorRef<FrontCommand>): void {
		this.#fronts.set(frontId, ref);
		if (ref.tell({ type: 'pools-changed', epoch: this.#epoch, pools: this.#views() }) === 'full') this.#broadcastSoon();
	}

	/** The names of those that this ref was. */
	leave(ref: ActorRef<never>): string[] {
		const gone = [...this.#fronts].filter(([, each]) => each === ref).map(([frontId]) => frontId);
		for (const frontId of gone) this.#fronts.delete(frontId);
		return gone;
	}

	/** A pool stands otherwise than the fronts know: at once what changes what they do, the rest now and then. */
	poolChanged(before: PoolView, after: PoolView): void {
		if (!sameState(before, after)) this.broadcast();
		else if (!sameCounts(before, after)) this.#broadcastSoon();
	}

	/** False: one at least had no room for it. */
	tell(command: FrontCommand): boolean {
		let all = true;
		for (const front of this.#fronts.values()) all = front.tell(command) !== 'full' && all;
		return all;
	}

	broadcast(): void {
		const pools = this.#views();
		let missed = false;
		for (const front of this.#fronts.values()) {
			missed = front.tell({ type: 'pools-changed', epoch: this.#epoch, pools }) === 'full' || missed;
		}
		if (missed) this.#broadcastSoon();
	}

	/** `broadcast-due`. */
	tick(): void {
		this.#broadcastDue = false;
		this.broadcast();
	}

	#broadcastSoon(): void {
		if (this.#broadcastDue) return;
		this.#broadcastDue = true;
		this.#timers.setTimer('broadcast', broadcastMs, { type: 'broadcast-due' });
	}
}

/** What the fronts are told of at once. */
function sameState(a: PoolView, b: PoolView): boolean {
	if (a.state !== b.state || a.drainingUntil !== b.drainingUntil || a.replicas.length !== b.replicas.length) return false;
	if ((a.fetch === null) !== (b.fetch === null)) return false;
	if (
		a.residency !== b.residency ||
		a.retiring !== b.retiring ||
		a.model !== b.model ||
		a.reloadingTo !== b.reloadingTo ||
		a.lastError !== b.lastError
	)
		return false;
	if (left(a) !== left(b)) return false;
	return (
		a.replicas === b.replicas ||
		a.replicas.every((replica, index) => {
			const other = b.replicas[index];
			if (replica.state !== other?.state || replica.lastError !== other.lastError) return false;
			return replica.breaker === other.breaker && replica.facts?.address === other.facts?.address;
		})
	);
}

/** Of a purge; each that has started anew is told. */
function left({ purging }: PoolView): number {
	return purging?.replicas.length ?? 0;
}

/** What they are told of now and then. */
function sameCounts(a: PoolView, b: PoolView): boolean {
	return (
		a.fetch === b.fetch &&
		a.slotsTotal === b.slotsTotal &&
		a.slotsFree === b.slotsFree &&
		a.readyAt === b.readyAt &&
		a.queueDepth.interactive === b.queueDepth.interactive &&
		a.queueDepth.batch === b.queueDepth.batch
	);
}
