/**
 * A queue with a bound: the lanes of an actor, the run queue of a system. Memory grows by doubling from nothing and is
 * kept. Owned by one actor or scheduler, single thread; it knows nothing of what it holds.
 */

const smallest = 8;

export class Ring<T> {
	/** Its length is 0 or a power of two. */
	#slots: (T | undefined)[] = [];
	#head = 0;
	#length = 0;
	readonly #max: number;

	/** `max`: items that `push` lets in; `Infinity` for no bound. */
	constructor(max: number) {
		this.#max = max;
	}

	get length(): number {
		return this.#length;
	}

	/** False when full: nothing was queued. */
	push(item: T): boolean {
		if (this.#length >= this.#max) return false;
		this.pushBeyond(item);
		return true;
	}

	/** Queues also above the bound: for items whose number is bounded elsewhere. They count towards `length`. */
	pushBeyond(item: T): void {
		if (this.#length === this.#slots.length) this.#grow();
		this.#slots[(this.#head + this.#length) & (this.#slots.length - 1)] = item;
		this.#length += 1;
	}

	/** The oldest item; undefined when empty. Where items may be undefined themselves, ask `length` first. */
	shift(): T | undefined {
		if (this.#length === 0) return undefined;
		const item = this.#slots[this.#head];
		this.#slots[this.#head] = undefined;
		this.#head = (this.#head + 1) & (this.#slots.length - 1);
		this.#length -= 1;
		return item;
	}

	/** Empties it and gives the memory back. */
	clear(): void {
		this.#slots = [];
		this.#head = 0;
		this.#length = 0;
	}

	#grow(): void {
		const old = this.#slots;
		const grown: (T | undefined)[] = new Array(Math.max(smallest, old.length * 2));
		for (let index = 0; index < this.#length; index += 1) grown[index] = old[(this.#head + index) & (old.length - 1)];
		this.#slots = grown;
		this.#head = 0;
	}
}
