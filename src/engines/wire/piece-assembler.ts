/**
 * From model tokens to pieces that may be shown: holds back what may still become a stop string, and tokens without text of
 * their own until the next that has some. Pure, one per generation, in a host process.
 *
 * Whole tokens leave or wait; only the token in which a stop string begins leaves in part. The tokens of the stop string
 * itself are neither shown nor counted.
 */

export type EmitPiece = (text: string, tokens: number, tokenId: number, logprob: number) => void;

interface HeldToken {
	/** End of its text in the held text. */
	end: number;
	readonly tokens: number;
	readonly tokenId: number;
	readonly logprob: number;
}

/** A record's token count is one byte. */
const tokensMax = 255;

export class PieceAssembler {
	readonly #stops: readonly string[];
	readonly #emit: EmitPiece;
	readonly #longestStop: number;
	#held = '';
	#tokens: HeldToken[] = [];
	/** Tokens without text that wait for the next piece. */
	#carried = 0;
	/** Model tokens given out so far. */
	tokensOut = 0;

	/** Empty stop strings are ignored. */
	constructor(stops: readonly string[], emit: EmitPiece) {
		this.#stops = stops.filter((stop) => stop !== '');
		this.#longestStop = this.#stops.reduce((longest, stop) => Math.max(longest, stop.length), 0);
		this.#emit = emit;
	}

	/** One more token; text of whole characters only, '' when it has none yet. True: a stop string is there, generation ends. */
	push(text: string, tokenId: number, logprob: number): boolean {
		if (text === '') {
			this.#carried += 1;
			if (this.#carried === tokensMax) this.#flushCarried();
			return false;
		}
		const tokens = this.#carried + 1;
		this.#carried = 0;
		if (this.#longestStop === 0) {
			this.#give(text, tokens, tokenId, logprob);
			return false;
		}
		const searchFrom = Math.max(0, this.#held.length - this.#longestStop + 1);
		this.#held += text;
		this.#tokens.push({ end: this.#held.length, tokens, tokenId, logprob });
		const stopAt = this.#findStop(searchFrom);
		if (stopAt >= 0) {
			this.#release(stopAt);
			const first = this.#tokens[0];
			if (stopAt > this.#shown && first !== undefined)
				this.#give(this.#held.slice(this.#shown, stopAt), first.tokens, first.tokenId, first.logprob);
			this.#held = '';
			this.#shown = 0;
			this.#tokens = [];
			return true;
		}
		this.#release(this.#held.length - this.#possibleStopLength());
		return false;
	}

	/** Text for the tokens that wait without: a character that never became whole. True: a stop string is there. */
	complete(text: string, tokenId: number, logprob: number): boolean {
		this.#carried = Math.max(0, this.#carried - 1);
		return this.push(text, tokenId, logprob);
	}

	/** The generation ended otherwise: what was held is text after all. */
	finish(): void {
		this.#release(this.#held.length);
		this.#flushCarried();
	}

	/** Held text up to here has been given out. */
	#shown = 0;

	#release(until: number): void {
		let count = 0;
		for (const token of this.#tokens) {
			if (token.end > until) break;
			this.#give(this.#held.slice(this.#shown, token.end), token.tokens, token.tokenId, token.logprob);
			this.#shown = token.end;
			count += 1;
		}
		if (count > 0) this.#tokens.splice(0, count);
		if (this.#tokens.length === 0) {
			this.#held = '';
			this.#shown = 0;
		}
	}

	#give(text: string, tokens: number, tokenId: number, logprob: number): void {
		this.tokensOut += tokens;
		this.#emit(text, tokens, tokenId, logprob);
	}

	#flushCarried(): void {
		if (this.#carried === 0) return;
		const carried = this.#carried;
		this.#carried = 0;
		this.#give('', carried, -1, Number.NaN);
	}

	#findStop(from: number): number {
		let first = -1;
		for (const stop of this.#stops) {
			const at = this.#held.indexOf(stop, from);
			if (at >= 0 && (first < 0 || at < first)) first = at;
		}
		return first;
	}

	/** Length of the longest end of the held text with which a stop string begins. */
	#possibleStopLength(): number {
		let longest = 0;
		for (const stop of this.#stops) {
			for (let length = Math.min(stop.length - 1, this.#held.length); length > longest; length -= 1) {
				if (this.#held.endsWith(stop.slice(0, length))) longest = length;
			}
		}
		return longest;
	}
}
