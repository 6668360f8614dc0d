/**
 * Model tokens to text as they come: whole characters only. The bytes of a token that ends inside a character wait for the
 * next, and so do its whole characters before them, so that each piece of text belongs to whole tokens. One per generation.
 */

/** What the vocabulary knows of a token's text. */
export interface TokenBytes {
	/** The text of a token that is whole characters by itself; null: only its bytes say. */
	text(id: number): string | null;
	bytes(id: number): Uint8Array;
}

const nothing: Uint8Array = new Uint8Array(0);

export class TokenText {
	readonly #vocabulary: TokenBytes;
	#unfinished: Uint8Array = nothing;

	constructor(vocabulary: TokenBytes) {
		this.#vocabulary = vocabulary;
	}

	/** The text that this token completes; '' while a character is not whole. */
	push(id: number): string {
		if (this.#unfinished.length === 0) {
			const whole = this.#vocabulary.text(id);
			if (whole !== null) return whole;
		}
		const bytes = Buffer.concat([this.#unfinished, this.#vocabulary.bytes(id)]);
		if (unfinishedBytes(bytes) > 0) {
			this.#unfinished = bytes;
			return '';
		}
		this.#unfinished = nothing;
		return bytes.toString('utf8');
	}

	/** What never became whole, its broken end as U+FFFD; '' when nothing waits. */
	finish(): string {
		const bytes = this.#unfinished;
		this.#unfinished = nothing;
		return Buffer.from(bytes).toString('utf8');
	}
}

/** Bytes at the end that are the beginning of a character. */
export function unfinishedBytes(bytes: Uint8Array): number {
	for (let back = 1; back <= 3 && back <= bytes.length; back += 1) {
		const byte = bytes[bytes.length - back] as number;
		if ((byte & 0xc0) === 0x80) continue;
		return characterBytes(byte) > back ? back : 0;
	}
	return 0;
}

/** Length of the character that a byte begins; 1 for bytes that begin none. */
function characterBytes(first: number): number {
	if (first >= 0xc2 && first <= 0xdf) return 2;
	if (first >= 0xe0 && first <= 0xef) return 3;
	return first >= 0xf0 && first <= 0xf4 ? 4 : 1;
}
