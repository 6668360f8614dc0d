/** Streams in the form of another API: what their chunks say is what the log says, however it is cut, merged and read. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { pieceIsReasoning, pieceIsToolCall } from '../../src/actors/serving/decode.ts';
import type { EventLog } from '../../src/actors/serving/event-log.ts';
import { answerOf } from '../../src/transport/api/answer.ts';
import { ChatDialect } from '../../src/transport/api/openai/chat-dialect.ts';
import { DialectFeed } from '../../src/transport/stream/dialect-feed.ts';
import { pieceRecords, type TestPiece } from '../serving/piece-records.ts';
import { FakeTask } from './fake-task.ts';

const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 40 }), fc.constantFrom('"', '\\', '\n\n', '\\"', ',"i":7}', ' the', '🦊', ''));
const piece: fc.Arbitrary<TestPiece> = fc.oneof(
	{ weight: 6, arbitrary: fc.record({ text, n: fc.constantFrom(1, 2, 17) }) },
	{ weight: 1, arbitrary: fc.record({ text, channel: fc.constant(pieceIsReasoning) }) },
	{
		weight: 1,
		arbitrary: text.map(
			(said): TestPiece => ({ text: JSON.stringify({ index: 0, function: { arguments: said } }), channel: pieceIsToolCall }),
		),
	},
	{ weight: 1, arbitrary: fc.record({ text, id: fc.nat(9), logprob: fc.constantFrom(-0.5, Number.NEGATIVE_INFINITY) }) },
);

interface Chunk {
	readonly usage?: { readonly completion_tokens: number } | null;
	readonly choices: readonly {
		readonly index: number;
		readonly delta: { content?: string; reasoning_content?: string; tool_calls?: { function: { arguments: string } }[] };
		readonly finish_reason: string | null;
	}[];
}

describe('a stream in another form', () => {
	it('says what the log says, whatever the pieces, the slices and the merging', () => {
		const runs = fc.array(fc.array(piece, { maxLength: 12 }), { maxLength: 8 });
		const reads = fc.array(fc.record({ bytes: fc.integer({ min: 1, max: 3000 }), merged: fc.boolean() }), { minLength: 1, maxLength: 6 });
		fc.assert(
			fc.property(fc.array(runs, { minLength: 1, maxLength: 3 }), reads, (choices, how) => {
				const tasks = choices.map(() => new FakeTask());
				const logs = tasks.map(({ log }) => log);
				const request = {
					path: 'chat',
					model: 'm',
					bodies: [],
					n: 1,
					stream: true,
					includeUsage: true,
					continuousUsage: true,
					logprobs: true,
					echo: null,
					custom: new Set<string>(),
				} as const;
				const feed = new DialectFeed(tasks, new ChatDialect({ request, tasks, arrivedAt: 0, now: () => 1, wallNow: () => 1 }));
				let read = '';
				let reader = 0;
				const next = (): boolean => {
					const { bytes, merged } = how[reader++ % how.length] as { bytes: number; merged: boolean };
					const part = feed.next(bytes, merged);
					if (part !== null) read += Buffer.from(part.bytes).toString('utf8', part.start, part.end);
					return part !== null;
				};
				const rounds = Math.max(...choices.map((each) => each.length));
				for (let round = 0; round <= rounds; round += 1) {
					for (const [index, each] of choices.entries()) {
						const log = logs[index] as EventLog;
						if (round === 0) log.append('started', '{}');
						const run = each[round];
						if (run !== undefined && run.length > 0) log.appendPieces(pieceRecords(run));
						if (round === rounds) log.append('end', JSON.stringify({ tokens_in: 1, tokens_out: 2, finish_reason: 'stop' }));
					}
					next();
				}
				while (!feed.finished) next();
				assert.equal(next(), false);
				const events = read
					.split('\n\n')
					.filter((each) => each.startsWith('data: {'))
					.map((each) => JSON.parse(each.slice(6)) as Chunk);
				assert.ok(read.endsWith('data: [DONE]\n\n'));
				for (const [index, log] of logs.entries()) {
					const deltas = events.flatMap((event) => event.choices.filter((choice) => choice.index === index));
					const wanted = answerOf(log);
					const told = events.filter((event) => event.choices[0]?.index === index).map(({ usage }) => usage?.completion_tokens ?? -1);
					assert.deepEqual(
						told.slice(0, -1),
						told.slice(0, -1).toSorted((a, b) => a - b),
					);
					// All that has a text was counted by the last chunk that has one; the end says what it was in all.
					assert.ok((told[0] ?? -1) === 0 && told.at(-1) === 2 && (told.at(-2) ?? -1) <= log.tokens, told.join());
					if (wanted.text !== '' && choices[index]?.flat().every(({ text }) => text !== '')) assert.equal(told.at(-2), log.tokens);
					assert.equal(deltas.map(({ delta }) => delta.content ?? '').join(''), wanted.text);
					assert.equal(deltas.map(({ delta }) => delta.reasoning_content ?? '').join(''), wanted.reasoning);
					const args = deltas.flatMap(({ delta }) => delta.tool_calls ?? []).map((call) => call.function.arguments);
					assert.equal(args.join(''), wanted.toolCalls.map((call) => call.function.arguments).join(''));
					assert.deepEqual(
						deltas.map(({ finish_reason: reason }) => reason).filter((reason) => reason !== null),
						['stop'],
					);
				}
			}),
			{ numRuns: 200 },
		);
	});

	it('ends all answers with the first that fails, and tells nothing behind it', () => {
		const tasks = [new FakeTask(), new FakeTask()] as const;
		const logs = tasks.map(({ log }) => log);
		const request = {
			path: 'chat',
			model: 'm',
			bodies: [],
			n: 2,
			stream: true,
			includeUsage: false,
			continuousUsage: false,
			logprobs: false,
			echo: null,
			custom: new Set<string>(),
		} as const;
		const feed = new DialectFeed(tasks, new ChatDialect({ request, tasks, arrivedAt: 0, now: () => 1, wallNow: () => 1 }));
		logs[1]?.append('error', JSON.stringify({ code: 'WORKER_RESET', message: 'gone', retriable: true }));
		const said = Buffer.from(feed.next(1 << 16, false)?.bytes ?? []).toString();
		assert.match(said, /^data: \{"error":\{"message":"gone","type":"server_error","code":"WORKER_RESET"/);
		assert.ok(!said.includes('[DONE]') && feed.finished);
		assert.equal(tasks[0].finishReason ?? tasks[0].state, 'canceled');
		assert.equal(feed.next(1 << 16, false), null);
	});
});
