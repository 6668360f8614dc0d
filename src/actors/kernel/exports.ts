/**
 * The ids under which other threads know local addresses. An id is given once, is never used again, and is known as long as
 * what it names is alive.
 */
import type { Address, Watcher } from './address.ts';

export class Exports implements Watcher {
	readonly #byId = new Map<number, Address<never>>();
	#lastId = 0;

	get size(): number {
		return this.#byId.size;
	}

	idOf(address: Address<never>): number {
		if (address.exportedId === 0) {
			this.#lastId += 1;
			address.exportedId = this.#lastId;
			this.#byId.set(this.#lastId, address);
			address.addWatcher(this);
		}
		return address.exportedId;
	}

	find(id: number): Address<never> | undefined {
		return this.#byId.get(id);
	}

	watchedEnded(address: Address<never>): void {
		this.#byId.delete(address.exportedId);
	}
}
