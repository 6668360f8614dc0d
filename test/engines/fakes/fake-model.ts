/**
 * The model of fake engines: a vocabulary, a tokenizer and a next token that follows from those before it (and from the seed, where it
 * is sampled). Some characters are made of several tokens, as byte-level vocabularies have them. Pure.
 */

export const beginOfText = 256;
export const endOfText = 257;

const words = [
	' the',
	' fox',
	' ran',
	' over',
	' a',
	' hill',
	' and',
	' saw',
	' one',
	' bright',
	' star',
	'.',
	' Then',
	' it',
	' slept',
	' till',
	' morning',
	' once',
	'Once',
	' upon',
	' time',
	' story',
	' ünïque',
	' 日本',
	' 🦊',
	' "quoted"',
	'\n',
	' naïve',
	' end',
	'-less',
];
/** Characters that the vocabulary has only as bytes. */
const bytewise = ['é', '語', '🌟'].map((character) => [...Buffer.from(character)]);

const texts: readonly Buffer[] = [
	...Array.from({ length: 256 }, (_, byte) => Buffer.of(byte)),
	Buffer.alloc(0),
	Buffer.alloc(0),
	...words.map((word) => Buffer.from(word)),
];
const firstWord = 258;

export function bytesOf(id: number): Buffer {
	return texts[id] ?? Buffer.alloc(0);
}

/** The longest words first, else bytes. */
export function tokenize(text: string): number[] {
	const ids: number[] = [];
	const bytes = Buffer.from(text);
	for (let at = 0; at < bytes.length; ) {
		let best = -1;
		for (let id = firstWord; id < texts.length; id += 1) {
			const word = bytesOf(id);
			if (bytes.subarray(at, at + word.length).equals(word) && (best < 0 || word.length > bytesOf(best).length)) best = id;
		}
		ids.push(best < 0 ? (bytes[at] as number) : best);
		at += best < 0 ? 1 : bytesOf(best).length;
	}
	return ids;
}

export interface Next {
	readonly id: number;
	/** Natural logarithm. */
	readonly logprob: number;
}

/**
 * `seed`: null where the most likely token is taken. The same tokens before it are followed by the same. `whole`: none is a part of a
 * character.
 */
export function nextToken(before: readonly number[], seed: number | null, whole = false): Next {
	const open = openCharacter(before);
	if (open !== null) return { id: open, logprob: -0.125 };
	const hash = hashOf(before, seed ?? 0);
	const character = whole ? undefined : bytewise[hash % 11];
	const id = character === undefined ? firstWord + (hash % words.length) : (character[0] as number);
	return { id, logprob: -((hash >>> 8) % 1000) / 512 };
}

/** The likeliest tokens where that one was taken as the likeliest, which is the first: of bytes that are no character alone, too. */
export function likeliest(taken: Next, count: number): Next[] {
	return Array.from({ length: count }, (_, place) =>
		place === 0 ? taken : { id: (taken.id + 37 * place) % texts.length, logprob: taken.logprob - place / 4 },
	);
}

/** The byte that goes on with a character whose first bytes are the last tokens. */
function openCharacter(before: readonly number[]): number | null {
	for (const bytes of bytewise) {
		for (let made = bytes.length - 1; made > 0; made -= 1) {
			const last = before.slice(-made);
			if (last.length === made && last.every((id, index) => id === bytes[index])) return bytes[made] as number;
		}
	}
	return null;
}

function hashOf(ids: readonly number[], seed: number): number {
	let hash = (0x811c9dc5 ^ seed) >>> 0;
	for (const id of ids) {
		hash = Math.imul(hash ^ id, 0x01000193) >>> 0;
		hash = (hash ^ (hash >>> 15)) >>> 0;
	}
	return Math.imul(hash, 0x9e3779b1) >>> 0;
}
