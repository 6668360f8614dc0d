/**
 * From model tokens to pieces that may be shown: holds back what may still become a stop string, and tokens without text of
 * their own until the next that has some. Pure, one per generation, in a host process.
 *
 * Whole tokens leave or wait; only the token in which a stop string begins leaves in part. The tokens of the stop string
 * itself are neither shown nor counted.
 */
import { StopMatcher } from './stop-matcher.ts';

/** `ids`: of all tokens of the piece, when they are to be told; the list is used again. `tops`: the likeliest beside the last of them. */
export type EmitPiece = (
	text: string,
	tokens: number,
	tokenId: number,
	logprob: number,
	ids: readonly number[] | null,
	tops: string | null,
) => void;

interface HeldToken {
	/** End of its text in the held text. */
	end: number;
	readonly tokens: number;
	readonly tokenId: number;
	readonly logprob: number;
	readonly ids: readonly number[] | null;
	readonly tops: string | null;
}

/** A record's token count is one byte. */
const tokensMax = 255;
const shownMax = 1024;

export class PieceAssembler {
	readonly #stops: StopMatcher;
	readonly #emit: EmitPiece;
	readonly #tellIds: boolean;
	/** Not null: what it is given has been shown by another engine, and comes out here alone. */
	#replay: ((text: string) => void) | null = null;
	#held = '';
	/** Held text up to here has been given out. */
	#shown = 0;
	#tokens: HeldToken[] = [];
	/** Tokens without text that wait for the next piece. */
	#carried = 0;
	/** Ids of those, when they are to be told. */
	#carriedIds: number[] = [];
	/** Model tokens given out so far. */
	tokensOut = 0;

	/** Empty stop strings are ignored. */
	constructor(stops: readonly string[], emit: EmitPiece, tellIds = false) {
		this.#stops = new StopMatcher(stops);
		this.#emit = emit;
		this.#tellIds = tellIds;
	}

	/** Place of the stop string that ended it, among those that were given; −1: none did. */
	get stoppedBy(): number {
		return this.#stops.found;
	}

	/**
	 * Takes the texts of tokens that were given out before, by another engine: it goes on behind them. `stopped` when a stop string
	 * is in them, `ended` when they end as only a finished generation does, with tokens that never got a text. `replay` is told their texts.
	 */
	resume(texts: readonly string[], replay: (text: string) => void = () => undefined): 'stopped' | 'ended' | 'goes-on' {
		this.#replay = replay;
		const stopped = texts.some((text) => this.push(text, -1, Number.NaN));
		this.#replay = null;
		// Of these alone some are given out before they have a text.
		const ended = this.#carried > 0 && this.#carried !== tokensMax;
		this.#shown = this.#held.length;
		this.#tokens = [];
		this.#carried = 0;
		this.#carriedIds = [];
		this.tokensOut = 0;
		return stopped ? 'stopped' : ended ? 'ended' : 'goes-on';
	}

	/**
	 * One more token; text of whole characters only, '' when it has none yet. True: a stop string is there, generation ends.
	 * `tokenId` and `tops` are for the client, when it asked; `id` for whoever goes on with this elsewhere.
	 */
	push(text: string, tokenId: number, logprob: number, id = -1, tops: string | null = null): boolean {
		if (text === '') {
			// A generation without text must be seen to go on; but behind held text, these may be tokens of a stop string.
			if (this.#carried >= tokensMax && this.#tokens.length === 0) this.#flushCarried();
			this.#carried += 1;
			if (this.#tellIds) this.#carriedIds.push(id);
			return false;
		}
		const tokens = this.#carried + 1;
		this.#carried = 0;
		if (this.#tellIds) this.#carriedIds.push(id);
		if (this.#stops.idle) {
			this.#give(text, tokens, tokenId, logprob, this.#carriedIds, tops);
			this.#carriedIds.length = 0;
			return false;
		}
		const ids = this.#carriedIds;
		if (this.#tellIds) this.#carriedIds = [];
		const textAt = this.#held.length;
		const stop = this.#stops.feed(text);
		this.#held += text;
		this.#tokens.push({ end: this.#held.length, tokens, tokenId, logprob, ids, tops });
		if (stop === null) {
			this.#release(this.#held.length - this.#stops.pending);
			return false;
		}
		const stopAt = textAt + stop;
		this.#release(stopAt);
		const first = this.#tokens[0];
		if (stopAt > this.#shown && first !== undefined) {
			this.#give(this.#held.slice(this.#shown, stopAt), first.tokens, first.tokenId, first.logprob, first.ids, first.tops);
		}
		this.#held = '';
		this.#shown = 0;
		this.#tokens = [];
		return true;
	}

	/** Tokens without text leave now, where no text is held that may be a part of a stop string. */
	giveTextless(): void {
		if (this.#tokens.length === 0) this.#flushCarried();
	}

	/** Text for the tokens that wait without: a character that never became whole. True: a stop string is there. */
	complete(text: string, tokenId: number, logprob: number, tops: string | null = null): boolean {
		this.#carried = Math.max(0, this.#carried - 1);
		return this.push(text, tokenId, logprob, this.#carriedIds.pop(), tops);
	}

	/** The generation ended otherwise: what was held is text after all. */
	finish(): void {
		this.#release(this.#held.length);
		this.#flushCarried();
	}

	#release(until: number): void {
		let count = 0;
		for (const token of this.#tokens) {
			if (token.end > until) break;
			this.#give(this.#held.slice(this.#shown, token.end), token.tokens, token.tokenId, token.logprob, token.ids, token.tops);
			this.#shown = token.end;
			count += 1;
		}
		if (count > 0) this.#tokens.splice(0, count);
		// Where a stop string may begin at every token, some text is held for ever: what was shown must not pile up before it.
		if (this.#tokens.length > 0 && this.#shown < shownMax) return;
		this.#held = this.#held.slice(this.#shown);
		for (const token of this.#tokens) token.end -= this.#shown;
		this.#shown = 0;
	}

	#give(text: string, tokens: number, tokenId: number, logprob: number, ids: readonly number[] | null, tops: string | null): void {
		if (this.#replay !== null) return this.#replay(text);
		this.tokensOut += tokens;
		const told = this.#tellIds ? ids : null;
		if (tokens <= tokensMax) return this.#emit(text, tokens, tokenId, logprob, told, tops);
		let from = 0;
		for (; tokens - from > tokensMax; from += tokensMax) {
			this.#emit('', tokensMax, -1, Number.NaN, told?.slice(from, from + tokensMax) ?? null, null);
		}
		this.#emit(text, tokens - from, tokenId, logprob, told?.slice(from) ?? null, tops);
	}

	#flushCarried(): void {
		if (this.#carried === 0) return;
		const carried = this.#carried;
		this.#carried = 0;
		this.#give('', carried, -1, Number.NaN, this.#carriedIds, null);
		this.#carriedIds = [];
	}
}
