/**
 * From the pieces of a generation to those of its answer, its thinking and its calls: each is told with the tokens that it was made of,
 * and none is counted twice. Pure, one per generation, in the llama.cpp host.
 */
import { type PieceChannel, pieceIsToolCall } from '../../actors/serving/decode.ts';
import type { GenerationSink } from '../wire/host-protocol.ts';
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

	take(text: string, tokens: number, tokenId: number, logprob: number, ids: readonly number[] | null): void {
		this.#tokens += tokens;
		if (ids !== null) this.#ids = [...(this.#ids ?? []), ...ids];
		this.#parser.push(text);
		this.#give(tokenId, logprob);
	}

	/** What another engine has given out. */
	replay(text: string): void {
		this.#parser.push(text);
		this.#found = [];
	}

	finish(): void {
		this.#parser.finish();
		this.#give(-1, Number.NaN);
		// Tokens that became no text (marks, what stands between calls), or a text whose token was given out with another.
		for (const { channel, text } of this.#found) this.#emit(text, 1, -1, Number.NaN, null, channel);
		while (this.#tokens > 0) this.#piece('', Math.min(tokensMax, this.#tokens), -1, Number.NaN, 0);
	}

	#find(channel: PieceChannel, text: string): void {
		const last = this.#found.at(-1);
		if (last !== undefined && last.channel === channel && channel !== pieceIsToolCall) last.text += text;
		else this.#found.push({ channel, text });
	}

	/** Each with a token at least; what is left without waits for the next. */
	#give(tokenId: number, logprob: number): void {
		while (this.#found.length > 0 && this.#tokens > 0) {
			const { channel, text } = this.#found.shift() as Told;
			const own = this.#found.length > 0 ? 1 : this.#tokens;
			for (let rest = own; rest > tokensMax; rest = this.#tokens) this.#piece('', tokensMax, -1, Number.NaN, 0);
			const answer = channel === 0;
			this.#piece(text, Math.min(own, this.#tokens), answer ? tokenId : -1, answer ? logprob : Number.NaN, channel);
		}
	}

	#piece(text: string, tokens: number, tokenId: number, logprob: number, channel: PieceChannel): void {
		this.#tokens -= tokens;
		this.#emit(text, tokens, tokenId, logprob, this.#ids?.splice(0, tokens) ?? null, channel);
	}
}
