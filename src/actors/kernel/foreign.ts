/**
 * Refs to actors of other systems. A carrier (a link to another thread) takes their messages and tells of their ends; here
 * is only the address and who watches it. Only watched refs are kept, so that the table is bounded by the watches.
 */
import { Address, type Watcher } from './address.ts';
import type { StopReason } from './behavior.ts';
import type { ActorRef, Delivery } from './ref.ts';

export interface ForeignCarrier {
	tell(id: number, message: unknown): Delivery;
	/** Answered, sooner or later, by `ActorSystem.foreignTerminated`. */
	watch(id: number): void;
	unwatch(id: number): void;
}

const lost: StopReason = { kind: 'lost' };

export class ForeignRef<in M> extends Address<M> {
	readonly carrier: ForeignCarrier;
	readonly id: number;
	readonly #table: ForeignTable;
	readonly watchers = new Set<Watcher>();

	constructor(table: ForeignTable, carrier: ForeignCarrier, id: number) {
		super();
		this.#table = table;
		this.carrier = carrier;
		this.id = id;
	}

	tell(message: M): Delivery {
		return this.#table.isLost(this.carrier) ? 'closed' : this.carrier.tell(this.id, message);
	}

	addWatcher(watcher: Watcher): void {
		this.#table.addWatcher(this, watcher);
	}

	removeWatcher(watcher: Watcher): void {
		this.#table.removeWatcher(this, watcher);
	}
}

export class ForeignTable {
	readonly #watched = new Map<ForeignCarrier, Map<number, ForeignRef<never>>>();
	readonly #lost = new WeakSet<ForeignCarrier>();

	ref<M>(carrier: ForeignCarrier, id: number): ForeignRef<M> {
		return (this.#watched.get(carrier)?.get(id) as ForeignRef<M> | undefined) ?? new ForeignRef<M>(this, carrier, id);
	}

	/** The id of a ref that lives behind `carrier`; null for any other ref. */
	idBehind(carrier: ForeignCarrier, ref: ActorRef<never>): number | null {
		return ref instanceof ForeignRef && ref.carrier === carrier ? ref.id : null;
	}

	isLost(carrier: ForeignCarrier): boolean {
		return this.#lost.has(carrier);
	}

	addWatcher(ref: ForeignRef<never>, watcher: Watcher): void {
		if (this.#lost.has(ref.carrier)) {
			watcher.watchedEnded(ref, lost);
			return;
		}
		const first = ref.watchers.size === 0;
		ref.watchers.add(watcher);
		if (!first) return;
		let ofCarrier = this.#watched.get(ref.carrier);
		if (ofCarrier === undefined) {
			ofCarrier = new Map();
			this.#watched.set(ref.carrier, ofCarrier);
		}
		ofCarrier.set(ref.id, ref);
		ref.carrier.watch(ref.id);
	}

	removeWatcher(ref: ForeignRef<never>, watcher: Watcher): void {
		if (!ref.watchers.delete(watcher) || ref.watchers.size > 0) return;
		this.#watched.get(ref.carrier)?.delete(ref.id);
		if (!this.#lost.has(ref.carrier)) ref.carrier.unwatch(ref.id);
	}

	terminated(carrier: ForeignCarrier, id: number, reason: StopReason): void {
		const ref = this.#watched.get(carrier)?.get(id);
		if (ref === undefined) return;
		this.#watched.get(carrier)?.delete(id);
		const watchers = [...ref.watchers];
		ref.watchers.clear();
		for (const watcher of watchers) watcher.watchedEnded(ref, reason);
	}

	carrierLost(carrier: ForeignCarrier): void {
		this.#lost.add(carrier);
		for (const id of [...(this.#watched.get(carrier)?.keys() ?? [])]) this.terminated(carrier, id, lost);
		this.#watched.delete(carrier);
	}
}
