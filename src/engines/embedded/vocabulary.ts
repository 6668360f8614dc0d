/**
 * The vocabulary of a loaded model: the exact bytes of each token, and the names of its special tokens. Runs in the llama.cpp
 * host.
 *
 * The library's own detokenizer is not used for text: it drops spaces (before `?`, `!`, `.` and `,`, and at the beginning)
 * and gives no bytes of characters that are spread over tokens. What is done here is llama.cpp's `token_to_piece`.
 */

import { setImmediate as turn } from 'node:timers/promises';
import type { LlamaModel, Token } from 'node-llama-cpp';
import { answerMarks } from './answer-parser.ts';
import { SpecialGuard } from './special-guard.ts';
import { chunksOf } from './text-chunks.ts';
import type { TokenBytes } from './token-text.ts';

export interface TokenizeOptions {
	readonly special: boolean;
	readonly continued: boolean;
	readonly most: number;
}

const marks: ReadonlySet<string> = new Set(answerMarks);
const noBytes: Uint8Array = new Uint8Array(0);

export class Vocabulary implements TokenBytes {
	/** Names of control tokens: those that must not come out of a user's text. */
	readonly specialNames: readonly string[];
	readonly #guard: SpecialGuard;
	readonly #model: LlamaModel;
	readonly #names: readonly string[];
	/** Filled as tokens are met; undefined: not met yet. */
	readonly #texts: (string | null | undefined)[];

	constructor(model: LlamaModel) {
		this.#model = model;
		this.#names = model.fileInfo.metadata.tokenizer.ggml.tokens;
		this.#texts = new Array<string | null | undefined>(this.#names.length);
		const special = new Set<string>();
		for (let id = 0; id < this.#names.length; id += 1) {
			const attributes = model.getTokenAttributes(id as Token);
			if (attributes.control || attributes.unknown) special.add(this.#names[id] ?? '');
		}
		special.delete('');
		this.specialNames = [...special];
		this.#guard = new SpecialGuard(this.specialNames);
	}

	/** The same where the marks of thinking and calls are looked for: as tokens of their own they have no text. */
	readonly withMarks: TokenBytes = {
		text: (id) => (marks.has(this.#names[id] ?? '') ? (this.#names[id] as string) : this.text(id)),
		bytes: (id) => (marks.has(this.#names[id] ?? '') ? Buffer.from(this.#names[id] as string) : this.bytes(id)),
	};

	/**
	 * A text as tokens, in turns with whatever else the process does. `special`: the names of special tokens in it are meant.
	 * `continued`: other text goes before, so no space is put before its first word. Ends early, with more than `most` tokens,
	 * when there are more.
	 */
	async tokenize(text: string, options: TokenizeOptions): Promise<Token[]> {
		const ids: Token[] = [];
		let continued = options.continued;
		for (const chunk of chunksOf(text, this.#guard)) {
			if (continued && ids.length > 0) await turn();
			// Only these put a space before the first word of a text.
			const trim = continued && this.#model.vocabularyType !== 'bpe';
			for (const id of this.#model.tokenize(chunk, options.special, trim ? 'trimLeadingSpace' : undefined)) ids.push(id);
			if (ids.length > options.most) break;
			continued = true;
		}
		return ids;
	}

	get size(): number {
		return this.#names.length;
	}

	text(id: number): string | null {
		let text = this.#texts[id];
		if (text === undefined) {
			const bytes = this.bytes(id);
			text = Buffer.from(bytes).toString('utf8');
			if (!Buffer.from(text).equals(bytes)) text = null;
			this.#texts[id] = text;
		}
		return text;
	}

	/** It says that the text is over: end of text, end of turn. */
	endsText(id: number): boolean {
		return this.#model.isEogToken(id as Token);
	}

	/** Empty for control tokens. */
	bytes(id: number): Uint8Array {
		const name = this.#names[id];
		if (name === undefined) return noBytes;
		const attributes = this.#model.getTokenAttributes(id as Token);
		if (attributes.control || attributes.unknown) return noBytes;
		if (attributes.userDefined) return Buffer.from(name);
		switch (this.#model.vocabularyType) {
			case 'bpe':
				return byteLevelBytes(name);
			case 'spm':
			case 'wpm':
			case 'ugm':
				return attributes.byte ? byteToken(name) : Buffer.from(name.replaceAll('▁', ' '));
			case 'rwkv':
				return escapedBytes(name);
			default:
				return attributes.byte ? byteToken(name) : Buffer.from(this.#model.detokenize([id as Token]));
		}
	}

	/** For people: a special token by its name, a broken character as U+FFFD. */
	shown(id: number): string {
		return Buffer.from(this.shownBytes(id)).toString('utf8');
	}

	/** A special token has those of its name. */
	shownBytes(id: number): Uint8Array {
		const { control, unknown } = this.#model.getTokenAttributes(id as Token);
		return control || unknown ? Buffer.from(this.#names[id] ?? '') : this.bytes(id);
	}

	name(id: number | null): string {
		return id === null ? '' : (this.#names[id] ?? '');
	}
}

/** `<0x0A>` */
function byteToken(name: string): Uint8Array {
	const match = /^<0x([0-9A-Fa-f]{2})>$/.exec(name);
	return match === null ? Buffer.from(name) : Buffer.from([Number.parseInt(match[1] as string, 16)]);
}

/** GPT-2's alphabet: printable Latin-1 bytes stand for themselves, the others for U+0100 and on, in their order. */
const byteOfLetter: ReadonlyMap<string, number> = makeByteAlphabet();

function makeByteAlphabet(): Map<string, number> {
	const letters = new Map<string, number>();
	let next = 0x100;
	for (let byte = 0; byte < 256; byte += 1) {
		const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
		letters.set(String.fromCodePoint(printable ? byte : next), byte);
		if (!printable) next += 1;
	}
	return letters;
}

function byteLevelBytes(name: string): Uint8Array {
	const bytes: number[] = [];
	for (const letter of name) {
		const byte = byteOfLetter.get(letter);
		// Letters outside the alphabet are in vocabularies that are not byte-level: they mean themselves.
		if (byte === undefined) bytes.push(...Buffer.from(letter === '▁' ? ' ' : letter));
		else bytes.push(byte);
	}
	return Uint8Array.from(bytes);
}

const escapes: Readonly<Record<string, number>> = { t: 9, n: 10, r: 13 };

/** RWKV's: `\n`, `\t`, `\r`, `\xHH`, and a backslash before any other character. */
function escapedBytes(name: string): Uint8Array {
	const parts: Buffer[] = [];
	const pattern = /\\x([0-9a-fA-F]{2})|\\(.)|([^\\]+)/gsu;
	for (const [, hex, escaped, plain] of name.matchAll(pattern)) {
		if (hex !== undefined) parts.push(Buffer.from([Number.parseInt(hex, 16)]));
		else if (escaped !== undefined) parts.push(escapes[escaped] === undefined ? Buffer.from(escaped) : Buffer.from([escapes[escaped]]));
		else parts.push(Buffer.from(plain ?? ''));
	}
	return Buffer.concat(parts);
}
