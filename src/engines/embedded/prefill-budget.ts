/**
 * How many prompt tokens a step may take, so that those who already decode wait little for their next token and a cancel
 * waits little for its step. One per context, pure but for what it has measured.
 */

/** Most tokens of one decode of the library: a step never needs a second. */
export const batchTokensMax = 512;
const leastTokens = 32;
/** What a step may take while others decode, and while nobody does. */
const sharedStepMs = 40;
const aloneStepMs = 250;
const newSampleWeight = 0.3;

export class PrefillBudget {
	/** Prompt tokens in a millisecond; 0: not measured yet. */
	#rate = 0;

	/** Prompt tokens of the next step. `fixed`: the same always, whatever was measured. */
	tokens(decoding: number, fixed: boolean): number {
		const room = batchTokensMax - decoding;
		if (fixed || this.#rate === 0) return room;
		const wanted = Math.floor(this.#rate * (decoding > 0 ? sharedStepMs : aloneStepMs));
		return Math.max(Math.min(leastTokens, room), Math.min(room, wanted));
	}

	measured(promptTokens: number, ms: number): void {
		// Few tokens say more about the step than about the tokens.
		if (promptTokens < leastTokens || ms <= 0) return;
		const rate = promptTokens / ms;
		this.#rate = this.#rate === 0 ? rate : this.#rate + newSampleWeight * (rate - this.#rate);
	}
}
