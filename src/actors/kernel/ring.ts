/**
 * A queue with a bound: the inbox of an actor, the run queue of a system. Memory grows by doubling from nothing to the
 * bound and is kept. Owned by one actor or scheduler, single thread; it knows nothing of what it holds.
 */

const smallest = 8;

export class Ring<T> {
	#slots: (T | undefined)[] = [];
	#head = 0;
	#length = 0;
	readonly #max: number;

	/** `max`: items it may hold, at least 1; `Infinity` for none. */
	constructor(max: number) {
		this.#max = max;
	}

	get length(): number {
		return this.#length;
	}

	/** False when full: nothing was queued. */
	push(item: T): boolean {
		if (this.#length >= this.#max) return false;
		if (this.#length === this.#slots.length) this.#grow();
		this.#slots[(this.#head + this.#length) & (this.#slots.length - 1)] = item;
		this.#length += 1;
		return true;
	}

	/** The oldest item; undefined when empty. */
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
