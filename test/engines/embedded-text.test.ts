/** Model tokens to text: characters are never split, nothing is lost, and stop strings never show. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { TokenText, unfinishedBytes } from '../../src/engines/embedded/token-text.ts';
import { PieceAssembler } from '../../src/engines/wire/piece-assembler.ts';

/** A vocabulary whose tokens are given as bytes, by their index. */
function vocabularyOf(tokens: readonly Uint8Array[]) {
	return {
		bytes: (id: number) => tokens[id] ?? new Uint8Array(0),
		text(id: number): string | null {
			const bytes = Buffer.from(tokens[id] ?? []);
			const text = bytes.toString('utf8');
			return Buffer.from(text).equals(bytes) ? text : null;
		},
	};
}

/** Cuts bytes at the given places, taken modulo the length. */
function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
	const sorted = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
	return [...sorted, bytes.length].map((end, index) => bytes.subarray(index === 0 ? 0 : sorted[index - 1], end));
}

const manyCuts = fc.array(fc.nat(), { maxLength: 30 });

describe('the text of tokens', () => {
	it('is the same however its bytes are spread over tokens, and each part is whole characters', () => {
		fc.assert(
			fc.property(fc.string({ unit: 'grapheme', maxLength: 40 }), manyCuts, (text, places) => {
				const tokens = cut(Buffer.from(text), places);
				const reader = new TokenText(vocabularyOf(tokens));
				const parts = tokens.map((_token, id) => reader.push(id));
				assert.equal(parts.join(''), text);
				assert.ok(parts.every((part) => !part.includes('\u{FFFD}') || text.includes('\u{FFFD}')));
				assert.equal(reader.finish(), '');
			}),
		);
	});

	it('is what a decoder makes of all bytes at once, for bytes of any kind', () => {
		fc.assert(
			fc.property(fc.uint8Array({ maxLength: 40 }), manyCuts, (bytes, places) => {
				const tokens = cut(bytes, places);
				const reader = new TokenText(vocabularyOf(tokens));
				const parts = tokens.map((_token, id) => reader.push(id));
				assert.equal(parts.join('') + reader.finish(), Buffer.from(bytes).toString('utf8'));
			}),
		);
	});

	it('ends with one U+FFFD when its last character never became whole', () => {
		const reader = new TokenText(vocabularyOf([Buffer.from('a'), Buffer.from([0xf0, 0x9f]), Buffer.from([0xa6])]));
		assert.deepEqual([reader.push(0), reader.push(1), reader.push(2), reader.finish()], ['a', '', '', '\u{FFFD}']);
	});

	it('waits for at most three bytes of a character', () => {
		fc.assert(
			fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => {
				const open = unfinishedBytes(bytes);
				assert.ok(open >= 0 && open <= 3);
				const whole = Buffer.from(bytes.subarray(0, bytes.length - open)).toString('utf8');
				assert.ok(Buffer.from(bytes).toString('utf8').startsWith(whole));
			}),
		);
	});
});

/** Pieces and whether a stop string was met, for tokens with the given texts. */
function assemble(texts: readonly string[], stops: readonly string[]) {
	const pieces: { text: string; tokens: number; id: number }[] = [];
	const assembler = new PieceAssembler(stops, (text, tokens, id) => pieces.push({ text, tokens, id }));
	let stopped = false;
	for (const [id, text] of texts.entries()) {
		stopped = assembler.push(text, id, -0.5);
		if (stopped) break;
	}
	if (!stopped) assembler.finish();
	return { pieces, stopped, text: pieces.map((piece) => piece.text).join(''), tokensOut: assembler.tokensOut };
}

/** Where the stop string begins that is whole first, however the text is cut into tokens; the longest of several. */
function firstStop(texts: readonly string[], stops: readonly string[]): number {
	const whole = texts.join('');
	for (let end = 1; end <= whole.length; end += 1) {
		const found = stops.filter((stop) => whole.slice(0, end).endsWith(stop)).map((stop) => end - stop.length);
		if (found.length > 0) return Math.min(...found);
	}
	return -1;
}

const fewLetters = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 4 });
const stopStrings = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 5 }), {
	minLength: 1,
	maxLength: 3,
});

describe('stop strings', () => {
	it('never show, not even in part; everything before the first shows', () => {
		fc.assert(
			fc.property(fc.array(fewLetters, { maxLength: 25 }), stopStrings, (texts, stops) => {
				const { text, stopped, pieces, tokensOut } = assemble(texts, stops);
				const at = firstStop(texts, stops);
				assert.equal(stopped, at >= 0);
				assert.equal(text, at < 0 ? texts.join('') : texts.join('').slice(0, at));
				assert.equal(
					tokensOut,
					pieces.reduce((sum, piece) => sum + piece.tokens, 0),
				);
				assert.ok(tokensOut <= texts.length);
				if (at < 0) assert.equal(tokensOut, texts.length);
			}),
			{ numRuns: 2_000 },
		);
	});

	it('hold back only what may still become one', () => {
		fc.assert(
			fc.property(fc.array(fewLetters, { maxLength: 25 }), stopStrings, (texts, stops) => {
				let shown = '';
				let sofar = '';
				const assembler = new PieceAssembler(stops, (text) => {
					shown += text;
				});
				for (const text of texts) {
					sofar += text;
					if (assembler.push(text, -1, Number.NaN)) return;
					const open = Math.max(0, ...stops.map((stop) => longestBeginning(sofar, stop)));
					// Whole tokens leave: what is held is the possible stop and at most the rest of the token it begins in.
					assert.ok(sofar.length - shown.length < open + Math.max(...texts.map((each) => each.length), 1));
					if (open === 0) assert.equal(shown, sofar);
				}
			}),
			{ numRuns: 1_000 },
		);
	});

	it('may begin in one token and end in another, with a part of each shown or not counted', () => {
		const { pieces, stopped } = assemble(['one E', 'N', 'D two'], ['END']);
		assert.equal(stopped, true);
		assert.deepEqual(pieces, [{ text: 'one ', tokens: 1, id: 0 }]);
	});

	it('may be completed by a character that never became whole', () => {
		const pieces: string[] = [];
		const assembler = new PieceAssembler(['\u{FFFD}'], (text) => pieces.push(text));
		assembler.push('a', 1, -1);
		assembler.push('', 2, -1);
		assert.equal(assembler.complete('\u{FFFD}', 2, -1), true);
		assert.deepEqual(pieces, ['a']);
	});
});

function longestBeginning(text: string, stop: string): number {
	for (let length = Math.min(stop.length - 1, text.length); length > 0; length -= 1)
		if (text.endsWith(stop.slice(0, length))) return length;
	return 0;
}
