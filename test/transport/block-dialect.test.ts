/** Streams of blocks, in the forms of Anthropic and of responses: what they say is what the same answer says when it is given whole. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { pieceIsReasoning, pieceIsToolCall } from '../../src/actors/serving/decode.ts';
import { MessageDialect, wholeMessage } from '../../src/transport/api/anthropic/message-dialect.ts';
import { ResponseDialect } from '../../src/transport/api/responses/response-dialect.ts';
import { responseJson } from '../../src/transport/api/responses/response-json.ts';
import type { Dialect } from '../../src/transport/stream/dialect-feed.ts';
import { DialectFeed } from '../../src/transport/stream/dialect-feed.ts';
import { pieceRecords, type TestPiece } from '../serving/piece-records.ts';
import { FakeClock } from './fake-clock.ts';
import { FakeTask } from './fake-task.ts';

interface Event {
	readonly type: string;
	readonly sequence_number: number;
	readonly content_block: Record<string, unknown>;
	readonly delta: { readonly text?: string; readonly thinking?: string; readonly partial_json?: string };
	readonly response: object;
}

const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 20 }), fc.constantFrom('"', '\\', '\n\n', ' the', '🦊', ''));
const said: fc.Arbitrary<TestPiece> = fc.oneof(
	{ weight: 4, arbitrary: fc.record({ text, n: fc.constantFrom(1, 2) }) },
	{ weight: 2, arbitrary: fc.record({ text, channel: fc.constant(pieceIsReasoning) }) },
);
/** A call in three pieces, as engines tell them. */
function call(index: number): TestPiece[] {
	const head = { index, id: `call_${index}`, type: 'function', function: { name: 'add', arguments: '' } };
	const parts = ['{"a":', '1}'].map((part) => ({ index, function: { arguments: part } }));
	return [head, ...parts].map((delta) => ({ text: JSON.stringify(delta), channel: pieceIsToolCall }));
}
const answer = fc
	.array(fc.oneof({ weight: 5, arbitrary: fc.array(said, { maxLength: 6 }) }, { weight: 1, arbitrary: fc.constant('call' as const) }), {
		maxLength: 8,
	})
	.map((runs) => {
		let calls = 0;
		return runs.map((run) => (run === 'call' ? call(calls++) : run));
	});
const reads = fc.array(fc.record({ bytes: fc.integer({ min: 1, max: 2000 }), merged: fc.boolean() }), { minLength: 1, maxLength: 4 });

function ended(runs: readonly (readonly TestPiece[])[]): FakeTask {
	const task = new FakeTask();
	task.log.append('started', '{}');
	for (const run of runs) if (run.length > 0) task.log.appendPieces(pieceRecords(run));
	task.log.append('end', JSON.stringify({ tokens_in: 1, tokens_out: 2, finish_reason: 'stop' }));
	task.state = 'done';
	task.finishReason = 'stop';
	return task;
}

function eventsOf(task: FakeTask, dialect: Dialect, how: readonly { readonly bytes: number; readonly merged: boolean }[]): Event[] {
	const feed = new DialectFeed([task], dialect);
	let read = '';
	for (let turn = 0; !feed.finished; turn += 1) {
		const { bytes, merged } = how[turn % how.length] as { bytes: number; merged: boolean };
		const part = feed.next(bytes, merged);
		assert.ok(part !== null, 'nothing is written, and there is more');
		read += Buffer.from(part.bytes).toString('utf8', part.start, part.end);
	}
	return read
		.split('\n\n')
		.filter((each) => each.startsWith('event: '))
		.map((each) => JSON.parse(each.slice(each.indexOf('\ndata: ') + 7)) as Event);
}

/** As clients put it together. */
function contentOf(events: readonly Event[]): unknown[] {
	const content: Record<string, unknown>[] = [];
	let json = '';
	for (const { type, content_block: block, delta } of events) {
		const last = content.at(-1);
		if (type === 'content_block_start') {
			content.push({ ...block });
			json = '';
		} else if (type === 'content_block_delta' && last !== undefined) {
			if (delta.text !== undefined) last['text'] = `${String(last['text'])}${delta.text}`;
			if (delta.thinking !== undefined) last['thinking'] = `${String(last['thinking'])}${delta.thinking}`;
			json += delta.partial_json ?? '';
		} else if (type === 'content_block_stop' && last !== undefined && json !== '') last['input'] = JSON.parse(json);
	}
	return content;
}

describe('a stream of blocks', () => {
	it('says to clients of Anthropic what the whole message says, whether or not thoughts are told', () => {
		fc.assert(
			fc.property(answer, reads, fc.boolean(), (runs, how, thinking) => {
				const task = ended(runs);
				const request = { model: 'm', body: { model_ref: 'm' }, stream: true, thinking };
				const context = { request, task, arrivedAt: 0, now: () => 1 };
				const events = eventsOf(task, new MessageDialect(context), how);
				assert.deepEqual(contentOf(events), (wholeMessage(context) as { content: unknown[] }).content);
				assert.equal(events[0]?.type, 'message_start');
				assert.equal(events.at(-1)?.type, 'message_stop');
				const open = events.filter(({ type }) => /_start$|_stop$/.test(type)).map(({ type }) => type);
				assert.deepEqual(
					open.slice(1, -1),
					open.slice(1, -1).map((_, at) => (at % 2 === 0 ? 'content_block_start' : 'content_block_stop')),
				);
			}),
			{ numRuns: 80 },
		);
	});

	it('gives the events of a response the same numbers however it is read, and tells those behind any of them', () => {
		fc.assert(
			fc.property(answer, reads, fc.nat(60), (runs, how, after) => {
				const task = ended(runs);
				const clock = new FakeClock();
				const context = { recipe: { echo: {}, items: [], background: true }, task, arrivedAt: 0, clock, after: -1 };
				const all = eventsOf(task, new ResponseDialect(context), [{ bytes: 100_000, merged: false }]);
				assert.deepEqual(
					all.map(({ sequence_number: sequence }) => sequence),
					all.map((_, at) => at),
				);
				assert.deepEqual(all.at(-1)?.response, JSON.parse(JSON.stringify(responseJson(context.recipe, task, clock))));
				assert.deepEqual(eventsOf(task, new ResponseDialect({ ...context, after }), how), all.slice(after + 1));
			}),
			{ numRuns: 80 },
		);
	});
});
