/**
 * What stands behind every ref: something that takes messages and can be watched. Actors, edges, reply slots and refs to
 * other threads extend it, so that a watcher need not know which it is.
 */
import type { StopReason } from './behavior.ts';
import type { ActorRef, Delivery } from './ref.ts';

export interface Watcher {
	/** At most once per `addWatcher`; never inside the call itself. */
	watchedEnded(address: Address<never>, reason: StopReason): void;
}

export abstract class Address<in M> implements ActorRef<M> {
	/** Id under which other threads know it; 0 = not exported. Written by `Exports` only. */
	exportedId = 0;
	abstract tell(message: M): Delivery;
	abstract addWatcher(watcher: Watcher): void;
	abstract removeWatcher(watcher: Watcher): void;
}

/** The watchable thing behind a ref. A ref that is none is a bug of its maker: only the kernel makes refs. */
export function addressOf<M>(ref: ActorRef<M>): Address<M> {
	if (ref instanceof Address) return ref;
	throw new Error('this ref was not made by the kernel: it can be told, not watched or exported');
}

/** Watchers of one address that is alive, and what became of it. */
export class Watchers {
	#watchers: Set<Watcher> | null = null;
	#ended: StopReason | null = null;

	get size(): number {
		return this.#watchers?.size ?? 0;
	}

	add(watcher: Watcher, address: Address<never>): void {
		if (this.#ended !== null) {
			watcher.watchedEnded(address, this.#ended);
			return;
		}
		this.#watchers ??= new Set();
		this.#watchers.add(watcher);
	}

	remove(watcher: Watcher): void {
		this.#watchers?.delete(watcher);
	}

	/** Tells all, once; those who come later are told at once. */
	end(address: Address<never>, reason: StopReason): void {
		if (this.#ended !== null) return;
		this.#ended = reason;
		const watchers = this.#watchers;
		this.#watchers = null;
		if (watchers !== null) for (const watcher of watchers) watcher.watchedEnded(address, reason);
	}
}
