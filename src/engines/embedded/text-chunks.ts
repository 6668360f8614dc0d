/**
 * Cuts long texts where no token reaches across, so that a tokenizer can take them in turns: some need quadratic time, and a
 * host that tokenizes megabytes at once gives nobody their next token. Pure.
 */
import type { SpecialGuard } from './special-guard.ts';

/** UTF-16 units of one turn: a few milliseconds for the slowest tokenizers. */
export const chunkLength = 8 * 1024;
const space = 0x20;
const letter = /^\p{L}/u;

/**
 * The chunks of a text, in order. A cut is before a space between a word and a letter, where tokenizers begin a new word;
 * without one in reach, anywhere but inside a character or the name of a special token.
 */
export function* chunksOf(text: string, guard: SpecialGuard): Generator<string, void, void> {
	let at = 0;
	while (text.length - at > chunkLength) {
		const end = cutBefore(text, at, at + chunkLength, guard);
		yield text.slice(at, end);
		at = end;
	}
	if (at < text.length || text === '') yield text.slice(at);
}

function cutBefore(text: string, from: number, most: number, guard: SpecialGuard): number {
	for (let place = most; place > from + chunkLength / 2; place -= 1) {
		if (isWordStart(text, place) && guard.nameAcross(text, place) < 0) return place;
	}
	const name = guard.nameAcross(text, most);
	// A name that fills the whole chunk is none that a model has.
	if (name > from) return name;
	return isLowSurrogate(text.charCodeAt(most)) ? most - 1 : most;
}

function isWordStart(text: string, place: number): boolean {
	return text.charCodeAt(place) === space && text.charCodeAt(place - 1) > space && letter.test(text.slice(place + 1, place + 3));
}

function isLowSurrogate(unit: number): boolean {
	return unit >= 0xdc00 && unit <= 0xdfff;
}
