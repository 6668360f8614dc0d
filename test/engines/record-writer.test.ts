/** Records of an engine over HTTP, read again: whatever stands beside a text is of that text. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type TopToken, topsJson } from '../../src/actors/serving/top-tokens.ts';
import { RecordBlocks, RecordWriter } from '../../src/engines/upstream/record-writer.ts';
import { readPieces, type SeenPiece } from './decode-world.ts';

const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 });
const top = fc.record(
	{ t: text, id: fc.nat(), logprob: fc.integer({ min: -9_000, max: 0 }).map((value) => value / 8) },
	{ noNullPrototype: true },
);
const added = fc.record({
	text,
	tokens: fc.integer({ min: 1, max: 4 }),
	tellsIds: fc.boolean(),
	scored: fc.boolean(),
	tops: fc.array(top, { maxLength: 3 }),
});

/** What was written, read from the messages that tell it. */
function written(write: (writer: RecordWriter) => void): readonly SeenPiece[] {
	const seen: SeenPiece[] = [];
	const writer = new RecordWriter(new RecordBlocks(), (bytes, start, end, count) =>
		seen.push(...readPieces({ type: 'pieces', bytes, start, end, count })),
	);
	write(writer);
	writer.finish();
	return seen;
}

function add(writer: RecordWriter, said: string, tokens: number, id = -1, logprob = Number.NaN): void {
	const json = Buffer.from(JSON.stringify(said));
	writer.add(json, 1, json.length - 1, json.includes(0x5c), tokens, id, logprob);
}

describe('a record', () => {
	it('has the ids, the score and the likeliest tokens that were told for it, and no others', () => {
		fc.assert(
			fc.property(fc.array(added, { minLength: 1, maxLength: 12 }), (all) => {
				const seen = written((writer) => {
					for (const [index, { text: said, tokens, tellsIds, scored, tops }] of all.entries()) {
						if (tellsIds) for (let token = 0; token < tokens; token += 1) writer.willTell(index * 10 + token);
						const json = topsJson(tops);
						if (json !== null) writer.willShow(json);
						add(writer, said, tokens, scored ? index : -1, -0.5);
					}
				});
				assert.deepEqual(
					seen.map(({ text: said, tokens, tokenId, logprob, tops, ids }) => ({ said, tokens, tokenId, logprob, tops, ids })),
					all.map(({ text: said, tokens, tellsIds, scored, tops }, index) => ({
						said,
						tokens,
						tokenId: scored ? index : null,
						logprob: scored ? -0.5 : null,
						// Of a token that nobody asked for, nothing is beside.
						tops: scored ? tops : [],
						ids: tellsIds ? Array.from({ length: tokens }, (_, token) => index * 10 + token) : [],
					})),
				);
			}),
		);
	});

	it('leaves out the likeliest tokens that it has no room for, the least likely first', () => {
		const long: TopToken[] = [1, 2, 3].map((id) => ({ t: 'ü'.repeat(15_000), id, logprob: -id }));
		const [piece] = written((writer) => {
			writer.willShow(topsJson(long) ?? '');
			add(writer, 'x', 1, 1, -1);
		});
		assert.deepEqual(piece?.tops, long.slice(0, 2));
	});
});
