/**
 * Refs to actors of other systems. A carrier (a link to another thread) takes their messages and tells of their ends; here
 * are only the addresses and who watches them. A ref is kept strongly while it is watched, and weakly else: as long as
 * anybody holds it, its (carrier, id) gives the same object, so refs may be compared and used as keys.
 */
import { Address, tellEnd, type Watcher, type Watchers, withoutWatcher, withWatcher } from './address.ts';
import type { StopReason } from './behavior.ts';
import type { ActorRef, Delivery } from './ref.ts';

export interface ForeignCarrier {
	/** A message for the actor that the other side exported under `id`. Never throws. */
	tell(id: number, message: unknown): Delivery;
	/** Answered, sooner or later, by `ActorSystem.foreignTerminated`, also when it had ended before. */
	watch(id: number): void;
	unwatch(id: number): void;
}

const lost: StopReason = { kind: 'lost' };
const sweepLeast = 64;

/** What is known of one carrier. */
class Far {
	readonly carrier: ForeignCarrier;
	readonly watched = new Map<number, ForeignRef<never>>();
	readonly #known = new Map<number, WeakRef<ForeignRef<never>>>();
	#sweepAbove = sweepLeast;
	lost = false;

	constructor(carrier: ForeignCarrier) {
		this.carrier = carrier;
	}

	ref(id: number): ForeignRef<never> {
		const known = this.#known.get(id)?.deref();
		if (known !== undefined) return known;
		const ref = new ForeignRef<never>(this, id);
		this.#known.set(id, new WeakRef(ref));
		if (this.#known.size > this.#sweepAbove) this.#sweep();
		return ref;
	}

	/** Drops the ids whose refs nobody holds; as often as their number doubles, so at a constant cost a ref. */
	#sweep(): void {
		for (const [id, weak] of this.#known) if (weak.deref() === undefined) this.#known.delete(id);
		this.#sweepAbove = Math.max(sweepLeast, this.#known.size * 2);
	}
}

export class ForeignRef<in M> extends Address<M> {
	readonly id: number;
	readonly #far: Far;
	#watchers: Watchers = null;
	#ended: StopReason | null = null;

	constructor(far: Far, id: number) {
		super();
		this.#far = far;
		this.id = id;
	}

	get carrier(): ForeignCarrier {
		return this.#far.carrier;
	}

	tell(message: M): Delivery {
		return this.#ended !== null || this.#far.lost ? 'closed' : this.#far.carrier.tell(this.id, message);
	}

	addWatcher(watcher: Watcher): void {
		if (this.#ended !== null || this.#far.lost) {
			watcher.watchedEnded(this, this.#ended ?? lost);
			return;
		}
		const first = this.#watchers === null;
		this.#watchers = withWatcher(this.#watchers, watcher);
		if (!first) return;
		this.#far.watched.set(this.id, this);
		this.#far.carrier.watch(this.id);
	}

	removeWatcher(watcher: Watcher): void {
		if (this.#watchers === null) return;
		this.#watchers = withoutWatcher(this.#watchers, watcher);
		if (this.#watchers !== null) return;
		this.#far.watched.delete(this.id);
		if (!this.#far.lost) this.#far.carrier.unwatch(this.id);
	}

	/** By its table. Ids are never used again: what has ended stays so. */
	end(reason: StopReason): void {
		if (this.#ended !== null) return;
		this.#ended = reason;
		this.#far.watched.delete(this.id);
		const watchers = this.#watchers;
		this.#watchers = null;
		tellEnd(watchers, this, reason);
	}
}

export class ForeignTable {
	readonly #fars = new Map<ForeignCarrier, Far>();
	readonly #lost = new WeakMap<ForeignCarrier, Far>();

	/** Refs of other systems that are watched here. */
	get watched(): number {
		let sum = 0;
		for (const far of this.#fars.values()) sum += far.watched.size;
		return sum;
	}

	ref<M>(carrier: ForeignCarrier, id: number): ActorRef<M> {
		let far = this.#fars.get(carrier) ?? this.#lost.get(carrier);
		if (far === undefined) {
			far = new Far(carrier);
			this.#fars.set(carrier, far);
		}
		return far.ref(id);
	}

	/** The id of a ref that lives behind `carrier`; null for any other ref. */
	idBehind(carrier: ForeignCarrier, ref: ActorRef<never>): number | null {
		return ref instanceof ForeignRef && ref.carrier === carrier ? ref.id : null;
	}

	terminated(carrier: ForeignCarrier, id: number, reason: StopReason): void {
		this.#fars.get(carrier)?.watched.get(id)?.end(reason);
	}

	carrierLost(carrier: ForeignCarrier): void {
		const far = this.#fars.get(carrier) ?? this.#lost.get(carrier) ?? new Far(carrier);
		if (far.lost) return;
		far.lost = true;
		this.#fars.delete(carrier);
		this.#lost.set(carrier, far);
		for (const ref of [...far.watched.values()]) ref.end(lost);
	}
}
