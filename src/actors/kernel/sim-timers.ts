/**
 * The timers of a simulation: a binary heap by time, and by the order of setting where that is the same. A cleared timer
 * leaves at once, so that the number of timers is true at any moment.
 */

export interface SimTimer {
	readonly at: number;
	readonly order: number;
	readonly fire: () => void;
	/** Who set it. */
	readonly owner: object;
	/** Its place in the heap; −1 when it is not in it. Written by `SimTimers` only. */
	place: number;
}

export class SimTimers {
	readonly #heap: SimTimer[] = [];
	#order = 0;

	get size(): number {
		return this.#heap.length;
	}

	/** The next one to fire; undefined when there is none. */
	get next(): SimTimer | undefined {
		return this.#heap[0];
	}

	set(at: number, owner: object, fire: () => void): SimTimer {
		this.#order += 1;
		const timer: SimTimer = { at, order: this.#order, fire, owner, place: this.#heap.length };
		this.#heap.push(timer);
		this.#rise(timer);
		return timer;
	}

	/** Also of one that has fired or was removed: nothing happens. */
	remove(timer: SimTimer): void {
		const { place } = timer;
		if (this.#heap[place] !== timer) return;
		timer.place = -1;
		const last = this.#heap.pop();
		if (last === undefined || last === timer) return;
		this.#put(last, place);
		this.#rise(last);
		this.#sink(last);
	}

	removeOf(owner: object): void {
		for (const timer of this.#heap.filter((each) => each.owner === owner)) this.remove(timer);
	}

	#put(timer: SimTimer, place: number): void {
		this.#heap[place] = timer;
		timer.place = place;
	}

	#rise(timer: SimTimer): void {
		while (timer.place > 0) {
			const place = timer.place;
			const parent = this.#heap[(place - 1) >> 1];
			if (parent === undefined || isBefore(parent, timer)) return;
			const above = parent.place;
			this.#put(parent, place);
			this.#put(timer, above);
		}
	}

	#sink(timer: SimTimer): void {
		for (;;) {
			const place = timer.place;
			const left = this.#heap[place * 2 + 1];
			const right = this.#heap[place * 2 + 2];
			const child = left !== undefined && right !== undefined && isBefore(right, left) ? right : left;
			if (child === undefined || isBefore(timer, child)) return;
			const below = child.place;
			this.#put(child, place);
			this.#put(timer, below);
		}
	}
}

function isBefore(a: SimTimer, b: SimTimer): boolean {
	return a.at < b.at || (a.at === b.at && a.order < b.order);
}
