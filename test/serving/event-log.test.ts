/** The event log by properties: whatever the texts, batches, cursors and limits, every reader sees the same events. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createParser } from 'eventsource-parser';
import fc from 'fast-check';
import { type PieceChannel, pieceIsReasoning, pieceIsToolCall } from '../../src/actors/serving/decode.ts';
import { EventLog } from '../../src/actors/serving/event-log.ts';
import type { EventLogView, LogSlice } from '../../src/actors/serving/event-log-view.ts';
import type { TopToken } from '../../src/actors/serving/top-tokens.ts';
import { pieceRecords, type TestPiece } from './piece-records.ts';

interface Seen {
	readonly seq: number;
	readonly name: string;
	readonly data: Record<string, unknown>;
}
interface Token {
	readonly t: string;
	readonly i: number;
	readonly n?: number;
	readonly id?: number;
	readonly logprob?: number | null;
	readonly c?: string;
	readonly top_logprobs?: readonly TopToken[];
}

const channelNames = { 0: undefined, [pieceIsReasoning]: 'reasoning', [pieceIsToolCall]: 'tool' } as const;

function parseFrames(bytes: Buffer): Seen[] {
	const seen: Seen[] = [];
	const parser = createParser({
		onEvent: (event) =>
			seen.push({
				seq: Number(event.id?.split('.').at(-1)),
				name: event.event ?? '',
				data: JSON.parse(event.data) as Record<string, unknown>,
			}),
		onError: (error) => {
			throw error;
		},
	});
	parser.feed(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
	return seen;
}

const bytesOf = (slice: LogSlice): Buffer => slice.bytes.subarray(slice.start, slice.end);

/** Reads to the end as a watcher does, checking each slice's bounds. */
function readAll(log: EventLogView, from: number, maxBytes: number, merged = false): Buffer {
	const parts: Buffer[] = [];
	let cursor = from;
	for (;;) {
		const slice = merged ? log.mergedSlice(cursor, maxBytes) : log.slice(cursor, maxBytes);
		if (slice === null) break;
		assert.ok(slice.lastSeq > cursor);
		const events = parseFrames(Buffer.from(bytesOf(slice)));
		if (slice.end - slice.start > maxBytes) assert.equal(events.length, 1);
		assert.equal(events[events.length - 1]?.seq, slice.lastSeq);
		parts.push(Buffer.from(bytesOf(slice)));
		cursor = slice.lastSeq;
	}
	assert.equal(cursor, Math.max(from, log.lastSeq));
	return Buffer.concat(parts);
}

const text = fc.oneof(
	fc.string({ unit: 'binary', maxLength: 24 }),
	fc.string({ unit: 'grapheme', maxLength: 12 }),
	fc.constantFrom(' the', '"', '\\', '\n\n', '\r\n', '\u0000\u001f', '👩‍👩‍👧', '\u2028', '\ufeff', 'data: x\n\nid: 9\n\n', ''),
);
/** Of 32 bits and of six decimals alike. */
const sixtyFourths = fc.integer({ min: -639_936, max: 0 }).map((value) => value / 64);
const piece: fc.Arbitrary<TestPiece> = fc.oneof(
	{ weight: 4, arbitrary: fc.record({ text }) },
	{ weight: 1, arbitrary: fc.record({ text, n: fc.integer({ min: 1, max: 255 }) }) },
	{ weight: 1, arbitrary: fc.record({ text, channel: fc.constantFrom<PieceChannel>(0, pieceIsReasoning, pieceIsToolCall) }) },
	{
		weight: 1,
		arbitrary: fc.record({
			text,
			n: fc.integer({ min: 1, max: 3 }),
			// One more means that there is none.
			id: fc.integer({ min: 0, max: 0xfffffffe }),
			logprob: fc.float({ max: 0, min: -1000, noNaN: true }),
			tops: fc.array(fc.oneof(fc.record({ t: text, logprob: sixtyFourths }), fc.record({ t: text, id: fc.nat(), logprob: sixtyFourths })), {
				maxLength: 5,
			}),
		}),
	},
);
const batches = fc.array(fc.array(piece, { minLength: 1, maxLength: 20 }), { maxLength: 40 });

function logOf(
	runs: readonly (readonly TestPiece[])[],
	started: boolean,
	end: 'end' | 'error' | null,
	bytesExpected: number,
	run: number | null = null,
): EventLog {
	const log = new EventLog(bytesExpected, 1, run);
	if (started) log.append('started', JSON.stringify({ seed: 7, model_digest: null }));
	for (const run of runs) assert.equal(log.appendPieces(pieceRecords(run)), true);
	if (end !== null) log.append(end, JSON.stringify({ finish_reason: 'stop', message: 'ü\n' }));
	return log;
}

const anyLog = fc.record({
	runs: batches,
	started: fc.boolean(),
	end: fc.constantFrom<'end' | 'error' | null>('end', 'error', null),
	bytesExpected: fc.constantFrom(0, 3000, 1 << 20),
});

test('every frame parses, in order, with the text, index, n, id, logprob and likeliest tokens of its piece', () => {
	fc.assert(
		fc.property(anyLog, ({ runs, started, end, bytesExpected }) => {
			const log = logOf(runs, started, end, bytesExpected);
			const events = parseFrames(readAll(log, 0, 1 << 30));
			assert.deepEqual(
				events.map((event) => event.seq),
				events.map((_, at) => at + 1),
			);
			const pieces = runs.flat();
			const tokens = events.filter((event) => event.name === 'token').map((event) => event.data as unknown as Token);
			assert.deepEqual(
				tokens.map((token) => [token.t, token.i, token.n ?? 1, token.id, token.c]),
				pieces.map((wanted, at) => [wanted.text, at, wanted.n ?? 1, wanted.id, channelNames[wanted.channel ?? 0]]),
			);
			tokens.forEach((token, at) => {
				assert.equal(JSON.stringify(token.top_logprobs ?? []), JSON.stringify(pieces[at]?.tops ?? []));
				const wanted = pieces[at]?.logprob;
				if (wanted === undefined) assert.equal(token.logprob, undefined);
				else assert.ok(typeof token.logprob === 'number' && Math.abs(token.logprob - wanted) <= 5.1e-7, `${token.logprob} for ${wanted}`);
			});
			assert.equal(
				log.tokens,
				tokens.reduce((sum, token) => sum + (token.n ?? 1), 0),
			);
			assert.equal(log.pieces, pieces.length);
			assert.equal(events[0]?.name === 'started', started);
			const terminal = events.filter((event) => event.name === 'end' || event.name === 'error');
			assert.deepEqual(
				terminal.map((event) => event.seq),
				end === null ? [] : [log.lastSeq],
			);
			assert.equal(log.ended, end !== null);
		}),
		{ numRuns: 150 },
	);
});

test('slices concatenated from any cursor with any limit equal the log', () => {
	fc.assert(
		fc.property(anyLog, fc.double({ min: 0, max: 1, noNaN: true }), fc.integer({ min: 1, max: 5000 }), (spec, share, maxBytes) => {
			const log = logOf(spec.runs, spec.started, spec.end, spec.bytesExpected);
			const whole = readAll(log, 0, 1 << 30);
			const cursor = Math.floor(share * log.lastSeq);
			const tail = readAll(log, cursor, maxBytes);
			assert.equal(Buffer.compare(tail, whole.subarray(whole.length - tail.length)), 0);
			assert.equal(parseFrames(tail).length, log.lastSeq - cursor);
			assert.equal(log.slice(log.lastSeq, maxBytes), null);
			assert.equal(log.mergedSlice(log.lastSeq, maxBytes), null);
		}),
		{ numRuns: 150 },
	);
});

test('a slice takes as many frames as the limit holds, to the byte', () => {
	const log = logOf([[{ text: 'a' }, { text: 'bc' }, { text: 'd' }, { text: 'e' }]], false, null, 4096);
	const frame = (log.slice(0, 1)?.end ?? 0) - (log.slice(0, 1)?.start ?? 0);
	const two = 2 * frame + 1;
	assert.deepEqual(
		[1, two - 1, two, two + frame - 1, two + frame].map((limit) => log.slice(0, limit)?.lastSeq),
		[1, 1, 2, 2, 3],
	);
});

test('merged slices carry the same events, a batch under the seq of its last token, in fewer bytes', () => {
	fc.assert(
		fc.property(anyLog, fc.double({ min: 0, max: 1, noNaN: true }), fc.integer({ min: 1, max: 5000 }), (spec, share, maxBytes) => {
			const log = logOf(spec.runs, spec.started, spec.end, spec.bytesExpected);
			const cursor = Math.floor(share * log.lastSeq);
			const plain = parseFrames(readAll(log, cursor, 1 << 30));
			const mergedBytes = readAll(log, cursor, maxBytes, true);
			assert.ok(mergedBytes.length <= readAll(log, cursor, 1 << 30).length);
			const unmerged: Seen[] = [];
			for (const event of parseFrames(mergedBytes)) {
				const batch = event.data['batch'] as Record<string, unknown>[] | undefined;
				if (batch === undefined) {
					unmerged.push(event);
					continue;
				}
				assert.equal(event.name, 'token');
				assert.ok(batch.length > 1);
				batch.forEach((data, at) => unmerged.push({ seq: event.seq - batch.length + 1 + at, name: 'token', data }));
			}
			assert.deepEqual(unmerged, plain);
		}),
		{ numRuns: 150 },
	);
});

test('the events of a run have its number before their own, in every form that they are read in', () => {
	fc.assert(
		fc.property(anyLog, fc.integer({ min: 1, max: 1_000_000 }), fc.integer({ min: 1, max: 5000 }), (spec, run, maxBytes) => {
			const plain = logOf(spec.runs, spec.started, spec.end, spec.bytesExpected);
			const log = logOf(spec.runs, spec.started, spec.end, spec.bytesExpected, run);
			for (const merged of [false, true]) {
				const text = readAll(log, 0, 1 << 30, merged).toString('utf8');
				const numbers = [...text.matchAll(/^id: (\d+)\.\d+$/gm)].map(([, of]) => Number(of));
				assert.ok(numbers.every((number) => number === run));
				assert.equal(text.replaceAll(`id: ${run}.`, 'id: '), readAll(plain, 0, 1 << 30, merged).toString('utf8'));
			}
			assert.deepEqual(parseFrames(readAll(log, 0, maxBytes)), parseFrames(readAll(plain, 0, 1 << 30)));
			const copy = new EventLog(0, 1, run);
			const whole = readAll(log, 0, 1 << 30);
			copy.appendFrames(whole, 0, whole.length);
			assert.deepEqual([readAll(copy, 0, 1 << 30), copy.pieces, copy.ended], [whole, log.pieces, log.ended]);
			const seen: string[] = [];
			log.forEach(0, (_seq, name, json) => seen.push(`${name} ${json}`));
			const expected: string[] = [];
			plain.forEach(0, (_seq, name, json) => expected.push(`${name} ${json}`));
			assert.deepEqual(seen, expected);
		}),
		{ numRuns: 60 },
	);
});

test('a reader that is not SSE gets name and JSON of each event', () => {
	fc.assert(
		fc.property(anyLog, fc.double({ min: 0, max: 1, noNaN: true }), (spec, share) => {
			const log = logOf(spec.runs, spec.started, spec.end, spec.bytesExpected);
			const cursor = Math.floor(share * log.lastSeq);
			const seen: Seen[] = [];
			log.forEach(cursor, (seq, name, json) => {
				assert.ok(!json.includes('\n'));
				seen.push({ seq, name, data: JSON.parse(json) as Record<string, unknown> });
			});
			assert.deepEqual(seen, parseFrames(readAll(log, cursor, 1 << 30)));
		}),
		{ numRuns: 60 },
	);
});

test('malformed UTF-8 becomes replacement characters, as the platform decoder makes them', () => {
	const bytes = fc.oneof(
		fc.uint8Array({ maxLength: 40 }),
		fc
			.array(fc.constantFrom(0xc0, 0xc2, 0xe0, 0xed, 0xf0, 0xf4, 0xff, 0x80, 0x90, 0x9f, 0xa0, 0xbf, 0x41), { maxLength: 24 })
			.map((list) => Uint8Array.from(list)),
	);
	fc.assert(
		fc.property(fc.array(bytes, { minLength: 1, maxLength: 8 }), (texts) => {
			const log = logOf([texts.map((bad) => ({ text: bad }))], false, null, 4096);
			const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
			assert.deepEqual(
				parseFrames(readAll(log, 0, 1 << 30)).map((event) => event.data['t']),
				texts.map((bad) => decoder.decode(bad)),
			);
		}),
		{ numRuns: 300 },
	);
});

test('every code point survives', () => {
	const runs: TestPiece[][] = [];
	for (let from = 0; from < 0x110000; from += 0x800) {
		const points: number[] = [];
		for (let point = from; point < from + 0x800; point++) if (point < 0xd800 || point > 0xdfff) points.push(point);
		runs.push([{ text: points.map((point) => String.fromCodePoint(point)).join('') }]);
	}
	const log = logOf(runs, true, 'end', 1 << 24);
	const texts: unknown[] = [];
	log.forEach(1, (_, name, json) => {
		if (name === 'token') texts.push((JSON.parse(json) as Token).t);
	});
	assert.deepEqual(
		texts,
		runs.map((run) => run[0]?.text),
	);
});

test('the longest piece of nothing but control characters gets a chunk of its own and leaves its neighbours whole', () => {
	const long = '\u0001'.repeat(65_535);
	const log = logOf([[{ text: 'a' }, { text: long }, { text: 'b' }, { text: long }]], true, 'end', 4096);
	const events = parseFrames(readAll(log, 0, 100));
	assert.deepEqual(
		events.map((event) => event.data['t']),
		[undefined, 'a', long, 'b', long, undefined],
	);
	assert.ok(log.bytes < 2 * 6 * 65_536 + 10_000);
});

test('log-probabilities that JSON has no number for are null, small ones are not negative zero', () => {
	const values = [0, -0, -1e-9, -0.5, -12.25, -123.000001, Number.NEGATIVE_INFINITY, Number.NaN, -1e12];
	const log = logOf([values.map((logprob) => ({ text: 'x', id: 1, logprob }))], false, null, 4096);
	const json: string[] = [];
	log.forEach(0, (_, __, line) => json.push(line.slice(line.indexOf('logprob":') + 9, -1)));
	assert.deepEqual(json, ['0', '0', '0', '-0.5', '-12.25', '-123', 'null', 'null', 'null']);
});

test('chunks stay within what was reserved, or within twice the frames where those outgrow it; the end trims them', () => {
	fc.assert(
		fc.property(batches, fc.integer({ min: 4096, max: 40_000 }), (runs, reserved) => {
			const log = new EventLog(reserved);
			for (const run of runs) log.appendPieces(pieceRecords(run));
			const frames = readAll(log, 0, 1 << 30).length;
			assert.ok(log.bytes <= Math.max(reserved, 2 * frames + 2048), `${log.bytes} held for ${frames} of ${reserved}`);
			log.append('end', '{}');
			assert.ok(log.bytes <= 1.5 * frames + 1024, `${log.bytes} kept for ${frames}`);
		}),
		{ numRuns: 100 },
	);
});

test('a record that runs over its range, or has neither a token nor a text, is refused and what came before is kept', () => {
	const good = pieceRecords([{ text: 'a' }, { text: 'bc' }]);
	for (const end of [good.end - 1, good.end - 2, good.end - 3, good.end + 1]) {
		const log = new EventLog(4096);
		assert.equal(log.appendPieces({ ...good, end }), false);
		assert.equal(log.pieces, end > good.end ? 2 : 1);
	}
	assert.equal(new EventLog(4096).appendPieces(pieceRecords([{ text: '', n: 0 }])), false);
	const further = new EventLog(4096);
	assert.equal(further.appendPieces(pieceRecords([{ text: 'a' }, { text: 'b', n: 0 }])), true);
	assert.deepEqual([further.pieces, further.tokens], [2, 1], 'a further part of a token');
});

test('nothing can be logged behind the terminal event', () => {
	const log = logOf([[{ text: 'a' }]], true, 'end', 4096);
	const before = readAll(log, 0, 1 << 20);
	assert.throws(() => log.appendPieces(pieceRecords([{ text: 'b' }])));
	assert.throws(() => log.append('error', '{}'));
	assert.equal(Buffer.compare(readAll(log, 0, 1 << 20), before), 0);
});

test('subscribers hear each batch once, until they leave, also when they leave while being told', () => {
	const log = new EventLog(4096);
	const heard: string[] = [];
	const stopFirst = log.subscribe(() => {
		heard.push('first');
		stopFirst();
	});
	const second = (): void => {
		heard.push('second');
	};
	const stopSecond = log.subscribe(second);
	log.subscribe(second);
	log.appendPieces(pieceRecords([{ text: 'a' }, { text: 'b' }, { text: 'c' }]));
	assert.deepEqual(heard.splice(0), ['first', 'second', 'second']);
	stopSecond();
	stopSecond();
	log.append('end', '{}');
	assert.deepEqual(heard.splice(0), ['second']);
	log.forget();
	assert.deepEqual(heard, ['second']);
	assert.equal(log.forgotten, true);
	assert.equal(log.slice(0, 100), null);
	assert.equal(log.mergedSlice(0, 100), null);
	assert.equal(log.bytes, 0);
});
