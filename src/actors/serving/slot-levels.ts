/**
 * When a slot is free for work that has other work before it: the slots of a pool as vessels that fill up evenly, from where
 * each comes free. List scheduling (Graham, 1969) starts the next task a little below that level, where the first slot comes
 * free while the others still work: half a task's length, on average. The level needs only the sum of the work ahead: O(log s)
 * for s slots. Pure; made once for a state of the slots.
 */
export class SlotLevels {
	/** When each slot comes free, ms from now, ascending; at least one. A list: one is made at each start and end, and typed arrays are slow to make. */
	readonly #freeInMs: number[];
	/** Work that fills all slots up to the level of each. */
	readonly #workTo: number[];

	/** How long a task holds a slot, on average: as it is known by now. */
	taskMs: number;

	/** `freeInMs`: of every slot, 0 for a free one. Without any, the work itself is the answer. */
	constructor(freeInMs: readonly number[], taskMs: number) {
		this.#freeInMs = freeInMs.length === 0 ? [0] : ascending(freeInMs);
		// Of its length at once; each is overwritten.
		this.#workTo = this.#freeInMs.slice();
		let work = 0;
		let before = this.#freeInMs[0] as number;
		for (let index = 0; index < this.#freeInMs.length; index += 1) {
			const at = this.#freeInMs[index] as number;
			work += index * (at - before);
			before = at;
			this.#workTo[index] = work;
		}
		this.taskMs = taskMs;
	}

	/** Milliseconds until a task starts that has `workAheadMs` of one slot before it. */
	startMs(workAheadMs: number): number {
		let low = 0;
		let high = this.#workTo.length - 1;
		while (low < high) {
			const middle = (low + high + 1) >> 1;
			if ((this.#workTo[middle] ?? 0) <= workAheadMs) low = middle;
			else high = middle - 1;
		}
		const levelMs = (this.#freeInMs[low] ?? 0) + (workAheadMs - (this.#workTo[low] ?? 0)) / (low + 1);
		const belowLevelMs = (this.taskMs / 2) * (1 - 1 / this.#freeInMs.length);
		return Math.max(this.#freeInMs[0] ?? 0, levelMs - belowLevelMs);
	}
}

/** Tasks come in the order in which they started, which is near to that in which they end: few moves, as a rule. */
const insertedMax = 64;

function ascending(times: readonly number[]): number[] {
	const sorted = times.slice();
	if (sorted.length > insertedMax) return sorted.sort((a, b) => a - b);
	for (let index = 1; index < sorted.length; index += 1) {
		const time = sorted[index] as number;
		let at = index;
		for (; at > 0 && (sorted[at - 1] as number) > time; at -= 1) sorted[at] = sorted[at - 1] as number;
		sorted[at] = time;
	}
	return sorted;
}
