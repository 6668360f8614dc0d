/** Stop strings and the pieces that may be shown, against references that look at everything at once. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { PieceAssembler } from '../../src/engines/wire/piece-assembler.ts';
import { StopMatcher } from '../../src/engines/wire/stop-matcher.ts';

/** Few letters, so that stop strings overlap themselves, each other and the ends of texts. */
const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'ü', '🦊'), maxLength: 5 });
const someStops = fc.array(letters, { maxLength: 4 });

/** Where the first whole stop string begins, and how much of the end may still become one: by trying everything. */
function search(text: string, stops: readonly string[]): { readonly stopAt: number | null; readonly pending: number } {
	const wanted = stops.filter((stop) => stop !== '');
	for (let end = 1; end <= text.length; end += 1) {
		const starts = wanted.filter((stop) => text.slice(0, end).endsWith(stop)).map((stop) => end - stop.length);
		if (starts.length > 0) return { stopAt: Math.min(...starts), pending: 0 };
	}
	let pending = 0;
	for (const stop of wanted) {
		for (let length = 1; length < stop.length; length += 1) if (text.endsWith(stop.slice(0, length))) pending = Math.max(pending, length);
	}
	return { stopAt: null, pending };
}

describe('a stop matcher', () => {
	it('finds what is whole first, the longest of several, and holds no more than may become one, however the text is cut', () => {
		fc.assert(
			fc.property(fc.array(letters, { maxLength: 12 }), someStops, (texts, stops) => {
				const matcher = new StopMatcher(stops);
				let fed = '';
				for (const text of texts) {
					const found = matcher.feed(text);
					const { stopAt, pending } = search(fed + text, stops);
					assert.equal(found === null ? null : fed.length + found, stopAt);
					if (found !== null) return;
					assert.equal(matcher.pending, pending);
					fed += text;
				}
			}),
			{ numRuns: 1_500 },
		);
	});

	it('looks at each unit once, also where stop strings repeat themselves', () => {
		const matcher = new StopMatcher([`${'a'.repeat(10_000)}b`]);
		// By trying each beginning this would be 10¹⁰ comparisons.
		assert.equal(matcher.feed('a'.repeat(1_000_000)), null);
		assert.equal(matcher.pending, 10_000);
		assert.equal(matcher.feed('b'), -10_000);
	});
});

interface Shown {
	readonly text: string;
	readonly tokens: number;
	readonly tokenId: number;
}

function assembler(stops: readonly string[]): { readonly pieces: Shown[]; readonly assembler: PieceAssembler } {
	const pieces: Shown[] = [];
	return { pieces, assembler: new PieceAssembler(stops, (text, tokens, tokenId) => pieces.push({ text, tokens, tokenId })) };
}

describe('assembled pieces', () => {
	it('show at every moment what can no longer become a stop string, in whole tokens, and count each token once', () => {
		fc.assert(
			fc.property(fc.array(letters, { maxLength: 16 }), someStops, (tokens, stops) => {
				const { pieces, assembler: made } = assembler(stops);
				const shown = (): string => pieces.map((piece) => piece.text).join('');
				let pushed = '';
				for (const [index, token] of tokens.entries()) {
					const stopped = made.push(token, index, -1);
					pushed += token;
					const { stopAt, pending } = search(pushed, stops);
					assert.equal(stopped, stopAt !== null);
					assert.equal(
						pieces.reduce((sum, piece) => sum + piece.tokens, 0),
						made.tokensOut,
					);
					assert.ok(pieces.every((piece) => piece.text === (tokens[piece.tokenId] as string) || (stopped && piece === pieces.at(-1))));
					if (stopAt !== null) {
						assert.equal(shown(), pushed.slice(0, stopAt));
						return;
					}
					// Held: from the token on in which the possible stop string begins.
					let begins = 0;
					let end = 0;
					for (const each of tokens.slice(0, index + 1)) {
						end += each.length;
						if (end <= pushed.length - pending) begins = end;
					}
					assert.equal(shown(), pushed.slice(0, begins));
				}
				made.finish();
				assert.equal(shown(), pushed);
				assert.equal(made.tokensOut, tokens.length);
			}),
			{ numRuns: 1_500 },
		);
	});

	it('count every token, however many in a row have no text, and no piece has more than a record can say', () => {
		const ending = fc.constantFrom('text', 'complete', 'none');
		const quiet = fc.oneof(fc.nat(6), fc.integer({ min: 250, max: 260 }), fc.integer({ min: 505, max: 515 }));
		fc.assert(
			fc.property(fc.array(quiet, { minLength: 1, maxLength: 3 }), ending, fc.boolean(), (runs, last, watched) => {
				const { pieces, assembler: made } = assembler(watched ? ['never'] : []);
				let pushed = 0;
				const push = (text: string): void => {
					pushed += 1;
					assert.equal(made.push(text, pushed, -1), false);
				};
				for (const [index, count] of runs.entries()) {
					for (let each = 0; each < count; each += 1) push('');
					if (index < runs.length - 1 || last === 'text') push('x');
				}
				// The end of a character that never became whole belongs to the tokens that were pushed without text.
				if (last === 'complete' && (runs.at(-1) ?? 0) > 0) assert.equal(made.complete('\u{FFFD}', pushed, -1), false);
				made.finish();
				assert.equal(made.tokensOut, pushed);
				assert.ok(pieces.every(({ tokens }) => tokens >= 1 && tokens <= 255));
			}),
			{ numRuns: 300 },
		);
	});

	it('never show or count the tokens of a stop string, with or without text', () => {
		const { pieces, assembler: made } = assembler(['stop']);
		for (const text of ['one', ' st', ...Array.from({ length: 300 }, () => '')]) assert.equal(made.push(text, 1, -1), false);
		assert.equal(made.push('op', 1, -1), true);
		made.finish();
		assert.deepEqual(
			pieces.map(({ text, tokens }) => [text, tokens]),
			[
				['one', 1],
				[' ', 1],
			],
		);
	});
});
