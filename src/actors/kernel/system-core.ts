/** What the parts of one actor system share. Made by `ActorSystem`; no logic of its own beyond counting. */
import type { Address } from './address.ts';
import type { Host } from './host.ts';
import type { Scheduler } from './scheduler.ts';

export interface SystemCore {
	readonly host: Host;
	readonly scheduler: Scheduler;
	readonly exports: Exports;
	/** Alive now. */
	actors: number;
	timers: number;
	asks: number;
	edges: number;
	/** Since the start. */
	failures: number;
	deadLetter(path: string, count: number): void;
	rootEnded(name: string): void;
}

/** Ids under which other threads know local addresses. An id lives as long as what it names. */
export class Exports {
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
		}
		return address.exportedId;
	}

	find(id: number): Address<never> | undefined {
		return this.#byId.get(id);
	}

	remove(address: Address<never>): void {
		if (address.exportedId !== 0) this.#byId.delete(address.exportedId);
	}
}
