/**
 * What stands behind every ref: something that takes messages and can be watched. Actors, edges, reply slots and refs to
 * other threads extend it, so that a watcher need not know which it is. Nothing here runs an actor.
 */
import type { StopReason } from './behavior.ts';
import type { ActorRef, Delivery } from './ref.ts';

export interface Watcher {
	/** At most once per `addWatcher`, maybe inside it. Must not throw. */
	watchedEnded(address: Address<never>, reason: StopReason): void;
}

/** Null: nobody. One, as a rule, and then there is no set: a hundred thousand refs are watched by one each. */
export type Watchers = Watcher | Set<Watcher> | null;

export function withWatcher(watchers: Watchers, watcher: Watcher): Watchers {
	if (watchers === null || watchers === watcher) return watcher;
	return watchers instanceof Set ? watchers.add(watcher) : new Set([watchers, watcher]);
}

export function withoutWatcher(watchers: Watchers, watcher: Watcher): Watchers {
	if (!(watchers instanceof Set)) return watchers === watcher ? null : watchers;
	watchers.delete(watcher);
	return watchers.size === 0 ? null : watchers;
}

/** Who watched hears that it ended. The list is given up by its owner before. */
export function tellEnd(watchers: Watchers, address: Address<never>, reason: StopReason): void {
	if (watchers instanceof Set) for (const watcher of watchers) watcher.watchedEnded(address, reason);
	else watchers?.watchedEnded(address, reason);
}

let made = 0;

export abstract class Address<in M> implements ActorRef<M> {
	/** Of those of this thread that were made, counted: where many are kept, they are shared out by it. */
	readonly number = (made = (made + 1) | 0);
	/** Id under which other threads know it; 0 = not exported. Written by `Exports` only. */
	exportedId = 0;
	abstract tell(message: M): Delivery;
	abstract addWatcher(watcher: Watcher): void;
	abstract removeWatcher(watcher: Watcher): void;
}

/** An address on this thread: it knows its watchers, and after its end what became of it. */
export abstract class LocalAddress<in M> extends Address<M> {
	#watchers: Watchers = null;
	#ended: StopReason | null = null;

	addWatcher(watcher: Watcher): void {
		if (this.#ended !== null) {
			watcher.watchedEnded(this, this.#ended);
			return;
		}
		this.#watchers = withWatcher(this.#watchers, watcher);
	}

	removeWatcher(watcher: Watcher): void {
		this.#watchers = withoutWatcher(this.#watchers, watcher);
	}

	/** Tells all watchers, once; those who come later are told at once. By the owner of the address only. */
	end(reason: StopReason): void {
		if (this.#ended !== null) return;
		this.#ended = reason;
		const watchers = this.#watchers;
		this.#watchers = null;
		tellEnd(watchers, this, reason);
	}
}

/** One that ended before anybody asked. */
export class EndedAddress extends LocalAddress<unknown> {
	constructor(reason: StopReason) {
		super();
		this.end(reason);
	}

	tell(): Delivery {
		return 'closed';
	}
}

/** The watchable thing behind a ref. A ref that is none is a bug of its maker: only the kernel makes refs. */
export function addressOf<M>(ref: ActorRef<M>): Address<M> {
	if (ref instanceof Address) return ref;
	throw new Error('this ref was not made by the kernel: it can be told, not watched or exported');
}
