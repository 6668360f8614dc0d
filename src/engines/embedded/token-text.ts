/**
 * Tokens to text as they come: whole characters only. A token that ends inside a character waits for the next; the text of a
 * token may depend on those before it (a leading space), so a few are kept. One per generation, pure but for the vocabulary.
 */

/** Ids to text, after the ids that went before. */
export type Detokenize = (ids: readonly number[], before: readonly number[]) => string;

const replacement = '\u{FFFD}';
/** A character has at most four bytes: more unfinished tokens than that are not going to become one. */
const unfinishedMax = 4;
const beforeKept = 8;

export class TokenText {
	readonly #detokenize: Detokenize;
	#before: number[];
	#unfinished: number[] = [];

	constructor(detokenize: Detokenize, prompt: readonly number[]) {
		this.#detokenize = detokenize;
		this.#before = prompt.slice(-beforeKept);
	}

	/** The text that this token completes; '' when it is only a part of a character. */
	push(id: number): string {
		this.#unfinished.push(id);
		const text = this.#detokenize(this.#unfinished, this.#before);
		if (text.endsWith(replacement) && this.#unfinished.length < unfinishedMax) return '';
		this.#take();
		return text;
	}

	/** What never became whole, as U+FFFD; '' when nothing is left. */
	finish(): string {
		if (this.#unfinished.length === 0) return '';
		const text = this.#detokenize(this.#unfinished, this.#before);
		this.#take();
		return text;
	}

	#take(): void {
		this.#before = [...this.#before, ...this.#unfinished].slice(-beforeKept);
		this.#unfinished = [];
	}
}
