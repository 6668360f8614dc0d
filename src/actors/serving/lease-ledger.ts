/**
 * The slots of a pool's replicas, as leases: every slot in use is named by the lease that holds it. Pure, owned by the Pool
 * actor on the control thread; in use = the sum of leases, asserted.
 *
 * ```
 *  (free) ──grant──► granted ──settle free──► (free)
 *                      ├──settle unknown, task died──► quarantined ──audit: idle──► (free)
 *                      └──replica lost──► void ──settle, task died──► (gone)
 *  after a control restart: ──adopt──► granted
 * ```
 */
import { leaseKey } from './engine-life.ts';
import type { Lease } from './messages.ts';
import { SessionSlots } from './session-slots.ts';

export type LeaseState = 'granted' | 'quarantined' | 'void';

export interface HeldLease {
	readonly lease: Lease;
	readonly taskId: string;
	/** Slots it holds: 1, or all of the replica. */
	readonly slots: number;
	state: LeaseState;
	/** How often its engine had been asked what it is busy with when the lease went to quarantine. */
	quarantinedAt: number;
}

interface ReplicaSlots {
	slots: number;
	/** Slots of its leases that are granted or quarantined. */
	inUse: number;
	quarantined: number;
	exclusive: boolean;
	readonly named: SessionSlots;
	/** Audits sent and answered: answers come in the order of the questions. */
	asked: number;
	answered: number;
}

export class LeaseLedger {
	readonly #poolId: string;
	readonly #epoch: number;
	readonly #replicas = new Map<string, ReplicaSlots>();
	readonly #leases = new Map<string, HeldLease>();
	/** Of the leases granted so far. */
	#lastId: number;

	/** `lastId`: of a pool by this name that came before, in the same epoch. */
	constructor(poolId: string, epoch: number, lastId = 0) {
		this.#poolId = poolId;
		this.#epoch = epoch;
		this.#lastId = lastId;
	}

	get lastId(): number {
		return this.#lastId;
	}

	/** A fresh engine. One that was there before must have been dropped. */
	addReplica(replicaId: string, slots: number): void {
		if (this.#replicas.has(replicaId)) throw new Error(`${replicaId} is in the ledger already`);
		this.#replicas.set(replicaId, {
			slots,
			inUse: 0,
			quarantined: 0,
			exclusive: false,
			named: new SessionSlots(slots),
			asked: 0,
			answered: 0,
		});
	}

	has(replicaId: string): boolean {
		return this.#replicas.has(replicaId);
	}

	/** Its process is gone: its leases hold nothing any more. Returns those that tasks still think they have. */
	dropReplica(replicaId: string): HeldLease[] {
		this.#replicas.delete(replicaId);
		const lost: HeldLease[] = [];
		for (const [name, held] of this.#leases) {
			if (held.lease.replicaId !== replicaId) continue;
			if (held.state === 'granted') {
				held.state = 'void';
				lost.push(held);
			} else if (held.state === 'quarantined') this.#leases.delete(name);
		}
		return lost;
	}

	free(replicaId: string): number {
		const replica = this.#replicas.get(replicaId);
		return replica === undefined || replica.exclusive ? 0 : replica.slots - replica.inUse;
	}

	isIdle(replicaId: string): boolean {
		return this.#replicas.get(replicaId)?.inUse === 0;
	}

	/** The caller has made sure that there is room. */
	grant(replicaId: string, taskId: string, exclusive: boolean, sessionId: string | null = null): Lease {
		const replica = this.#replicas.get(replicaId);
		if (replica === undefined || this.free(replicaId) < 1 || (exclusive && replica.inUse > 0))
			throw new Error(`no slot of ${replicaId} for ${taskId}`);
		this.#lastId += 1;
		const slot = exclusive ? null : replica.named.choose(sessionId);
		const named = slot === null ? {} : { slot };
		const lease: Lease = { epoch: this.#epoch, id: this.#lastId, poolId: this.#poolId, replicaId, exclusive, ...named };
		this.#hold(lease, taskId, replica, sessionId);
		return lease;
	}

	/** A lease that an earlier control thread granted and a front reports. False when its engine is gone. */
	adopt(lease: Lease, taskId: string): boolean {
		const replica = this.#replicas.get(lease.replicaId);
		if (replica === undefined) return false;
		const held = this.#leases.get(leaseKey(lease));
		if (held !== undefined) {
			if (held.state === 'quarantined') {
				held.state = 'granted';
				replica.quarantined -= held.slots;
			}
			return held.state === 'granted';
		}
		this.#hold(lease, taskId, replica);
		return true;
	}

	#hold(lease: Lease, taskId: string, replica: ReplicaSlots, sessionId: string | null = null): void {
		const slots = lease.exclusive ? replica.slots : 1;
		replica.inUse += slots;
		if (lease.exclusive) replica.exclusive = true;
		replica.named.hold(lease.slot ?? null, sessionId);
		this.#leases.set(leaseKey(lease), { lease, taskId, slots, state: 'granted', quarantinedAt: 0 });
	}

	get(lease: Pick<Lease, 'epoch' | 'id'>): HeldLease | undefined {
		return this.#leases.get(leaseKey(lease));
	}

	/** The slot is free again, or was already. False when the lease is not known: settled before, or of an older epoch. */
	release(lease: Pick<Lease, 'epoch' | 'id'>): boolean {
		const name = leaseKey(lease);
		const held = this.#leases.get(name);
		if (held === undefined) return false;
		this.#leases.delete(name);
		if (held.state === 'void') return true;
		const replica = this.#replicas.get(held.lease.replicaId);
		if (replica === undefined) return true;
		replica.inUse -= held.slots;
		if (held.state === 'quarantined') replica.quarantined -= held.slots;
		if (held.lease.exclusive) replica.exclusive = false;
		replica.named.free(held.lease.slot ?? null);
		return true;
	}

	/** Nobody uses the slot, and nobody knows whether the engine does. */
	quarantine(lease: Pick<Lease, 'epoch' | 'id'>): boolean {
		const held = this.#leases.get(leaseKey(lease));
		if (held === undefined) return false;
		if (held.state === 'void') this.#leases.delete(leaseKey(lease));
		else if (held.state === 'granted') {
			const replica = this.#replicas.get(held.lease.replicaId);
			held.state = 'quarantined';
			held.quarantinedAt = replica?.asked ?? 0;
			if (replica !== undefined) replica.quarantined += held.slots;
		}
		return true;
	}

	/** The engine is being asked what it is busy with. */
	asked(replicaId: string): void {
		const replica = this.#replicas.get(replicaId);
		if (replica !== undefined) replica.asked += 1;
	}

	/**
	 * What an engine said to be busy with, by `leaseKey`: the quarantined rest is free, as far as it was in quarantine when
	 * this question was asked; an older answer knows nothing of it. Returns the keys that came free.
	 */
	audited(replicaId: string, busy: ReadonlySet<string>): string[] {
		const replica = this.#replicas.get(replicaId);
		if (replica === undefined) return [];
		replica.answered += 1;
		const freed: string[] = [];
		for (const [key, held] of [...this.#leases]) {
			if (held.state !== 'quarantined' || held.lease.replicaId !== replicaId || busy.has(key)) continue;
			if (held.quarantinedAt >= replica.answered) continue;
			this.release(held.lease);
			freed.push(key);
		}
		return freed;
	}

	/**
	 * Work of an engine that no task has reported: held in quarantine until it is over. Of one that is alone there nobody can
	 * say whether its lease was exclusive, so it is taken for that.
	 */
	quarantineUnknown(replicaId: string, busy: ReadonlySet<string>): void {
		const replica = this.#replicas.get(replicaId);
		if (replica === undefined) return;
		for (const name of busy) {
			if (this.#leases.has(name) || replica.inUse >= replica.slots) continue;
			const [epoch = 0, id = 0] = name.split('.').map(Number);
			const exclusive = busy.size === 1 && replica.inUse === 0;
			this.#hold({ epoch, id, poolId: this.#poolId, replicaId, exclusive }, '', replica);
			this.quarantine({ epoch, id });
		}
	}

	/**
	 * Keys of its leases that no task holds any more. A request of one may still lie unsent behind a full socket, where no audit
	 * sees it: the engine is told to refuse it. What no task has reported may have one yet, and is left alone.
	 */
	revoked(replicaId: string): string[] {
		const left = [...this.#leases.values()].filter((held) => held.state === 'quarantined' && held.taskId !== '');
		return left.filter((held) => held.lease.replicaId === replicaId).map((held) => leaseKey(held.lease));
	}

	/** Slots of a replica in a state. */
	slotsIn(replicaId: string, state: 'granted' | 'quarantined'): number {
		const replica = this.#replicas.get(replicaId);
		if (replica === undefined) return 0;
		return state === 'quarantined' ? replica.quarantined : replica.inUse - replica.quarantined;
	}

	held(state: LeaseState): HeldLease[] {
		return [...this.#leases.values()].filter((held) => held.state === state);
	}

	/** In use = the sum of leases, never above what there is. Returns what is wrong, in words; null when nothing is. */
	drift(): string | null {
		for (const [replicaId, replica] of this.#replicas) {
			const granted = this.#sum(replicaId, 'granted');
			const quarantined = this.#sum(replicaId, 'quarantined');
			if (granted + quarantined !== replica.inUse)
				return `${replicaId}: ${replica.inUse} slots in use, leases hold ${granted + quarantined}`;
			if (quarantined !== replica.quarantined)
				return `${replicaId}: ${replica.quarantined} slots in quarantine, leases hold ${quarantined}`;
			if (replica.inUse > replica.slots) return `${replicaId}: ${replica.inUse} slots in use of ${replica.slots}`;
			const named = this.#namedDrift(replicaId, replica.named);
			if (named !== null) return `${replicaId}: ${named}`;
		}
		return null;
	}

	#namedDrift(replicaId: string, named: SessionSlots): string | null {
		const slots: number[] = [];
		let unnamed = 0;
		for (const { lease, state } of this.#leases.values()) {
			if (lease.replicaId !== replicaId || state === 'void') continue;
			if (lease.slot === undefined) unnamed += 1;
			else slots.push(lease.slot);
		}
		return named.drift(slots, unnamed);
	}

	/** As the leases themselves say. */
	#sum(replicaId: string, state: LeaseState): number {
		let sum = 0;
		for (const held of this.#leases.values()) if (held.lease.replicaId === replicaId && held.state === state) sum += held.slots;
		return sum;
	}
}
