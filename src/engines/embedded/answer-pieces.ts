/**
 * From the pieces of a generation to those of its answer, its thinking and its calls: each is told with the tokens that it was made of,
 * and none is counted twice. Pure, one per generation, in the llama.cpp host.
 */
import { type PieceChannel, pieceIsToolCall } from '../../actors/serving/decode.ts';
import type { GenerationSink } from '../wire/host-protocol.ts';
import type { EmitPiece } from '../wire/piece-assembler.ts';
import { AnswerParser, type AnswerShape } from './answer-parser.ts';

interface Told {
	readonly channel: PieceChannel;
	text: string;
}

/** A record counts its tokens in one byte. */
const tokensMax = 255;

export class AnswerPieces {
	readonly #parser: AnswerParser;
	readonly #emit: GenerationSink['piece'];
	/** Found in the text, and not given out. */
	#found: Told[] = [];
	/** Tokens of what has not been given out, and their ids where they are told. */
	#tokens = 0;
	#ids: number[] | null = null;

	constructor(shape: AnswerShape, emit: GenerationSink['piece'], newId: () => string) {
		this.#emit = emit;
		this.#parser = new AnswerParser(shape, (channel, text) => this.#find(channel, text), newId);
	}

	get calls(): number {
		return this.#parser.calls;
	}

	readonly take: EmitPiece = (text, tokens, tokenId, logprob, ids, tops) => {
		this.#tokens += tokens;
		if (ids !== null) this.#ids = [...(this.#ids ?? []), ...ids];
		this.#parser.push(text);
		this.#give(tokenId, logprob, tops);
	};

	/** What another engine has given out. */
	replay(text: string): void {
		this.#parser.push(text);
		this.#found = [];
	}

	finish(): void {
		this.#parser.finish();
		this.#give(-1, Number.NaN, null);
		// Tokens that became no text (marks, what stands between calls), or a text whose token was given out with another.
		for (const { channel, text } of this.#found) this.#emit(text, 1, -1, Number.NaN, null, null, channel);
		while (this.#tokens > 0) this.#piece('', Math.min(tokensMax, this.#tokens), -1, Number.NaN, null, 0);
	}

	#find(channel: PieceChannel, text: string): void {
		const last = this.#found.at(-1);
		if (last !== undefined && last.channel === channel && channel !== pieceIsToolCall) last.text += text;
		else this.#found.push({ channel, text });
	}

	/** Each with a token at least; what is left without waits for the next. */
	#give(tokenId: number, logprob: number, tops: string | null): void {
		while (this.#found.length > 0 && this.#tokens > 0) {
			const { channel, text } = this.#found.shift() as Told;
			const own = this.#found.length > 0 ? 1 : this.#tokens;
			for (let rest = own; rest > tokensMax; rest = this.#tokens) this.#piece('', tokensMax, -1, Number.NaN, null, 0);
			const size = Math.min(own, this.#tokens);
			if (channel === 0) this.#piece(text, size, tokenId, logprob, tops, channel);
			else this.#piece(text, size, -1, Number.NaN, null, channel);
		}
	}

	#piece(text: string, tokens: number, tokenId: number, logprob: number, tops: string | null, channel: PieceChannel): void {
		this.#tokens -= tokens;
		this.#emit(text, tokens, tokenId, logprob, this.#ids?.splice(0, tokens) ?? null, tops, channel);
	}
}
