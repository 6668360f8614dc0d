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

export abstract class Address<in M> implements ActorRef<M> {
	/** Id under which other threads know it; 0 = not exported. Written by `Exports` only. */
	exportedId = 0;
	abstract tell(message: M): Delivery;
	abstract addWatcher(watcher: Watcher): void;
	abstract removeWatcher(watcher: Watcher): void;
}

/** An address on this thread: it knows its watchers, and after its end what became of it. */
export abstract class LocalAddress<in M> extends Address<M> {
	#watchers: Set<Watcher> | null = null;
	#ended: StopReason | null = null;

	addWatcher(watcher: Watcher): void {
		if (this.#ended !== null) {
			watcher.watchedEnded(this, this.#ended);
			return;
		}
		this.#watchers ??= new Set();
		this.#watchers.add(watcher);
	}

	removeWatcher(watcher: Watcher): void {
		this.#watchers?.delete(watcher);
	}

	/** Tells all watchers, once; those who come later are told at once. By the owner of the address only. */
	end(reason: StopReason): void {
		if (this.#ended !== null) return;
		this.#ended = reason;
		const watchers = this.#watchers;
		this.#watchers = null;
		if (watchers !== null) for (const watcher of watchers) watcher.watchedEnded(this, reason);
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
