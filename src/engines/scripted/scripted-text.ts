/**
 * What the scripted engine says: a walk through a word list that prompt and seed decide. Pure, so that a test can say what
 * must come out.
 */

import { type TopToken, topsJson } from '../../actors/serving/top-tokens.ts';

const words = [
	'the', 'fox', 'lantern', 'river', 'über', 'quiet', 'moon', 'said', '“yes”', 'walked', 'blue', 'stone', '日本', 'under',
	'morning', 'bird', 'café', 'window', 'slowly', 'seven', 'tree', '🦊', 'a', 'path', 'wind', 'then', 'home', 'light',
	'back\\slash', 'tab\tbed', 'and', 'end.',
] as const; // biome-ignore format: a list

/** FNV-1a over the UTF-16 units: a starting point for the walk, not for secrets. */
export function hashText(text: string): number {
	let hash = 0x811c9dc5;
	for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
	return hash >>> 0;
}

/** Index in the vocabulary of the `index`-th token of an answer. */
export function scriptedTokenId(promptHash: number, seed: number, index: number): number {
	let mixed = (promptHash ^ Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b)) >>> 0;
	mixed = Math.imul(mixed ^ (mixed >>> 15), 0x2c1b3c6d);
	mixed = Math.imul(mixed ^ (mixed >>> 12), 0x297a2d39);
	return ((mixed ^ (mixed >>> 15)) >>> 0) % words.length;
}

/** Its log-probability: exact in 32 bits. */
export function scriptedLogprob(id: number): number {
	return -((id % 7) + 1) / 8;
}

/** As if the token that was taken had been the likeliest, and the next words of the list were less and less so. */
export function scriptedTops(id: number, text: string, count: number): string | null {
	const tops = Array.from({ length: Math.min(count, words.length) }, (_, place): TopToken => {
		const other = (id + place) % words.length;
		return { t: place === 0 ? text : ` ${words[other] ?? ''}`, id: other, logprob: scriptedLogprob(id) - place / 8 };
	});
	return topsJson(tops);
}

/** Text of the `index`-th token: a word, with a space before it except at the start. */
export function scriptedText(prompt: string, seed: number, index: number): string {
	return tokenText(scriptedTokenId(hashText(prompt), seed, index), index);
}

export function tokenText(id: number, index: number): string {
	return index === 0 ? (words[id] ?? '') : ` ${words[id] ?? ''}`;
}

/** The scripted tokenizer: each run of non-spaces with the spaces before it is a token. */
export function scriptedTokens(text: string): string[] {
	return text.match(/\s*\S+|\s+$/g) ?? [];
}
