/**
 * Which idle slot takes a prompt: the one that leaves the least to compute, now and for those whose cache it would erase.
 * Pure.
 */

export interface IdleSlot {
	/** Tokens in the slot's cache. */
	readonly cached: number;
	/** Tokens of it that the prompt begins with. */
	readonly shared: number;
	/** Grows with every use; 0: never used. */
	readonly lastUsed: number;
}

/**
 * The index of the best slot; −1 without any. What would be erased counts the less the longer ago it was used, and nothing
 * at all in the slot that was used longest ago: else one long conversation would keep its slot for ever.
 */
export function chooseSlot(slots: readonly IdleSlot[], promptTokens: number): number {
	const byAge = [...slots.keys()].sort((a, b) => (slots[a]?.lastUsed ?? 0) - (slots[b]?.lastUsed ?? 0));
	let best = -1;
	let bestCost = Number.POSITIVE_INFINITY;
	for (const [rank, index] of byAge.entries()) {
		const slot = slots[index];
		if (slot === undefined) continue;
		const cost = promptTokens - slot.shared + ((slot.cached - slot.shared) * rank) / byAge.length;
		if (cost >= bestCost) continue;
		best = index;
		bestCost = cost;
	}
	return best;
}
