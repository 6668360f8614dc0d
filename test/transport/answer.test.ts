/** A whole answer is what its pieces say one behind the other, whatever characters they have and wherever thoughts lie between them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { pieceIsReasoning } from '../../src/actors/serving/decode.ts';
import { EventLog } from '../../src/actors/serving/event-log.ts';
import { answerOf } from '../../src/transport/api/answer.ts';
import { pieceRecords } from '../serving/piece-records.ts';

const text = fc.oneof(
	fc.constantFrom(' word', '"', '\\', '\n', '\u0001', 'ö', '😀', '\\n', 'a"b\\'),
	fc.string({ unit: 'grapheme', maxLength: 300 }),
);
const pieces = fc.array(fc.record({ text, thought: fc.boolean() }), { maxLength: 80 });

test('a whole answer is its pieces, in their order, each run of a kind as one', () => {
	fc.assert(
		fc.property(pieces, (said) => {
			const log = new EventLog(1_000_000);
			log.append('started', '{}');
			for (const { text: words, thought } of said)
				assert.ok(log.appendPieces(pieceRecords([thought ? { text: words, channel: pieceIsReasoning } : { text: words }])));
			log.append('end', '{}');
			const expected: { kind: string; text: string }[] = [];
			for (const { text: words, thought } of said) {
				const kind = thought ? 'reasoning' : 'text';
				const last = expected.at(-1);
				if (last?.kind === kind) last.text += words;
				else if (words !== '') expected.push({ kind, text: words });
			}
			const answer = answerOf(log);
			assert.deepEqual(answer.segments, expected);
			const whole = (wanted: boolean): string => said.map((piece) => (piece.thought === wanted ? piece.text : '')).join('');
			assert.equal(answer.text, whole(false));
			assert.equal(answer.reasoning, whole(true));
		}),
	);
});
