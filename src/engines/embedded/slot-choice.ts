/**
 * Which idle slot takes a prompt: the one whose cache holds most of it; without one that is worth it, the one used longest
 * ago. Pure.
 */

export interface IdleSlot {
	/** Tokens at the beginning of the prompt that are in the slot's cache. */
	readonly shared: number;
	/** Grows with every use; 0: never used. */
	readonly lastUsed: number;
}

/** A smaller part of the prompt is not worth the rest of the cache, which goes: prompts of one template all begin alike. */
const worthwhileShare = 0.5;

/** The index of the best slot; −1 without any. */
export function chooseSlot(slots: readonly IdleSlot[], promptTokens: number): number {
	let best = -1;
	let bestShared = -1;
	let bestUsed = 0;
	for (const [index, slot] of slots.entries()) {
		const shared = slot.shared >= promptTokens * worthwhileShare ? slot.shared : 0;
		if (shared < bestShared || (shared === bestShared && slot.lastUsed >= bestUsed)) continue;
		best = index;
		bestShared = shared;
		bestUsed = slot.lastUsed;
	}
	return best;
}
