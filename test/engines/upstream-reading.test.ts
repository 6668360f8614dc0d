/** What an engine sends over HTTP, cut anywhere: answers, events, deltas. The slow and plain way is the oracle of the fast one. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { DeltaShape } from '../../src/engines/upstream/delta-shape.ts';
import { EventScanner } from '../../src/engines/upstream/event-scan.ts';
import { ResponseError, ResponseReader } from '../../src/engines/upstream/http-response.ts';
import type { JsonPath } from '../../src/engines/upstream/json-ranges.ts';

interface Seen {
	readonly status: number;
	readonly headers: Readonly<Record<string, string>>;
	body: string;
	reusable: boolean | null;
}

/** In one buffer that is written over with every read, as a socket's is. */
function read(bytes: Buffer, cuts: readonly number[], push: (buffer: Buffer, start: number, end: number) => void): void {
	const buffer = Buffer.alloc(bytes.length + 8, 0x7a);
	let from = 0;
	for (const cut of [...cuts, bytes.length]) {
		if (cut <= from) continue;
		const at = cut % 8;
		buffer.fill(0x7a);
		bytes.copy(buffer, at, from, cut);
		push(buffer, at, at + cut - from);
		from = cut;
	}
}

function answers(text: string | Buffer, cuts: readonly number[] = [], closes = true): { seen: Seen[]; left: string | null } {
	const seen: Seen[] = [];
	const reader = new ResponseReader({
		onHead: (status, headers) => seen.push({ status, headers: Object.fromEntries(headers), body: '', reusable: null }),
		onBody(bytes, start, end) {
			(seen.at(-1) as Seen).body += bytes.toString('latin1', start, end);
		},
		onEnd(reusable) {
			(seen.at(-1) as Seen).reusable = reusable;
		},
	});
	read(Buffer.from(text), cuts, (buffer, start, end) => reader.push(buffer, start, end));
	return { seen, left: closes ? reader.close() : null };
}

const cutsOf = (text: string | Buffer): fc.Arbitrary<number[]> =>
	fc.array(fc.integer({ min: 0, max: Buffer.byteLength(text) }), { maxLength: 12 }).map((cuts) => cuts.sort((a, b) => a - b));

describe('an answer', () => {
	const chunked = (body: string): string => `${Buffer.byteLength(body, 'latin1').toString(16)}\r\n${body}\r\n`;
	const whole = [
		'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n',
		`${chunked('data: one\n\n')}${chunked('data: two\n\n')}a;name=value\r\n0123456789\r\n0\r\n\r\n`,
		'HTTP/1.1 404 Not Found\r\ncontent-length: 7\r\nX-A: 1\r\nx-a:  2 \r\n\r\nnothing',
		'HTTP/1.1 204 No Content\r\n\r\n',
		'HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: Keep-Alive, Close\r\n\r\n',
		'HTTP/1.0 503 \r\n\r\ngone for now',
	].join('');

	it('is read as it was sent, wherever it is cut', () => {
		const expected = answers(whole);
		assert.deepEqual(expected.seen, [
			{
				status: 200,
				headers: { 'content-type': 'text/event-stream', 'transfer-encoding': 'chunked' },
				body: 'data: one\n\ndata: two\n\n0123456789',
				reusable: true,
			},
			{ status: 404, headers: { 'content-length': '7', 'x-a': '1, 2' }, body: 'nothing', reusable: true },
			{ status: 204, headers: {}, body: '', reusable: true },
			{ status: 200, headers: { 'content-length': '0', connection: 'Keep-Alive, Close' }, body: '', reusable: false },
			{ status: 503, headers: {}, body: 'gone for now', reusable: false },
		]);
		assert.equal(expected.left, null);
		for (let cut = 1; cut < whole.length; cut += 1) assert.deepEqual(answers(whole, [cut]), expected, `cut at ${cut}`);
		fc.assert(fc.property(cutsOf(whole), (cuts) => assert.deepEqual(answers(whole, cuts), expected)));
	});

	const refused: Readonly<Record<string, RegExp>> = {
		'HTTP/2 200 OK\r\n\r\n': /status line/,
		'<html>\r\n': /status line/,
		'HTTP/1.1 200 OK\n\n': /carriage return/,
		'HTTP/1.1 200 OK\r\nA : b\r\n\r\n': /header/,
		'HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n': /header/,
		'HTTP/1.1 200 OK\r\nA: \0\r\n\r\n': /header/,
		'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n': /twice/,
		'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n': /two lengths/,
		'HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n': /no number/,
		'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n': /transfer-encoding/,
		'HTTP/1.1 101 Switching Protocols\r\n\r\n': /protocol/,
		'HTTP/1.1 103 Early\r\nContent-Length: 2\r\n\r\n': /1xx/,
		'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n': /length/,
		'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n': /length/,
		'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n123456789\r\n': /length/,
		'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n': /longer/,
		'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n': /trailers/,
		[`HTTP/1.1 200 OK\r\nA: ${'x'.repeat(70_000)}\r\n\r\n`]: /too long/,
		[`HTTP/1.1 200 OK\r\n${Array.from({ length: 130 }, (_, index) => `a${index}: b\r\n`).join('')}\r\n`]: /too many/,
		[`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;${'x'.repeat(600)}\r\n`]: /too long/,
	};
	for (const [text, words] of Object.entries(refused)) {
		it(`that could be read in two ways, or never ends, is refused: ${JSON.stringify(text.slice(0, 70))}`, () => {
			const isRefused = (cuts: readonly number[]): void =>
				assert.throws(
					() => answers(text, cuts),
					(error) => error instanceof ResponseError && words.test(error.message),
				);
			isRefused([]);
			fc.assert(fc.property(cutsOf(text), isRefused), { numRuns: 20 });
		});
	}

	it('that its connection cuts off is known to be cut', () => {
		const cutOff = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n';
		assert.match(answers(cutOff).left ?? '', /within the body/);
		assert.match(answers('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc').left ?? '', /within the body/);
		assert.match(answers('HTTP/1.1 200 OK\r\ncontent-').left ?? '', /within the head/);
		assert.equal(answers('').left, null);
	});
});

interface Told {
	readonly name: string;
	readonly data: string;
}

function events(bytes: Buffer, cuts: readonly number[]): Told[] {
	const told: Told[] = [];
	const scanner = new EventScanner({
		onFrame: () => -1,
		onEvent: (name, data, start, end) => told.push({ name, data: data.toString('utf8', start, end) }),
	});
	read(bytes, cuts, (buffer, start, end) => scanner.push(buffer, start, end));
	return told;
}

/** Line by line, over a string that is all there. */
function plainEvents(text: string): Told[] {
	const told: Told[] = [];
	let name = '';
	let data: string[] = [];
	const lines = text.replace(/^\uFEFF/, '').split(/\r\n|\n|\r/);
	for (const line of lines.slice(0, -1)) {
		const [, field, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
		if (line === '') {
			if (data.length > 0) told.push({ name, data: data.join('\n') });
			name = '';
			data = [];
		} else if (field === 'data') data.push(value ?? '');
		else if (field === 'event') name = value ?? '';
	}
	return told;
}

describe('events', () => {
	const line = fc.oneof(
		fc.constantFrom(
			'data: one',
			'data:two',
			'data',
			'data:',
			'data:  three',
			'event: delta',
			'event',
			': comment',
			'id: 7',
			'retry: 9',
			'date: x',
			'',
		),
		fc.string({ unit: 'grapheme', maxLength: 20 }).map((text) => `data: ${text.replaceAll(/[\r\n]/g, '')}`),
	);
	const stream = fc
		.array(fc.tuple(line, fc.constantFrom('\n', '\r\n', '\r')), { maxLength: 30 })
		.map((lines) => lines.map(([text, end]) => text + end).join(''));

	it('are those that a plain reading finds, wherever they are cut', () => {
		fc.assert(
			fc.property(stream, fc.boolean(), fc.infiniteStream(fc.nat()), (text, marked, numbers) => {
				const bytes = Buffer.from(marked ? `\uFEFF${text}` : text);
				const cuts = Array.from({ length: 8 }, () => (numbers.next().value as number) % (bytes.length + 1)).sort((a, b) => a - b);
				assert.deepEqual(events(bytes, cuts), plainEvents(text));
			}),
			{ numRuns: 500 },
		);
	});

	it('that end with a carriage return are told before the next read comes', () => {
		const told: string[] = [];
		const scanner = new EventScanner({
			onFrame: () => -1,
			onEvent: (_name, data, start, end) => told.push(data.toString('utf8', start, end)),
		});
		const bytes = Buffer.from('data: a\r\n\r');
		scanner.push(bytes, 0, bytes.length);
		assert.deepEqual(told, ['a']);
		const rest = Buffer.from('\ndata: b\r\r');
		scanner.push(rest, 0, rest.length);
		assert.deepEqual(told, ['a', 'b']);
	});
});

describe('a delta', () => {
	const text: JsonPath = ['choices', 0, 'text'];
	const count: JsonPath = ['usage', 'n'];
	const made = fc.record({
		id: fc.constantFrom('a', 'b"{'),
		choices: fc.tuple(
			fc.record({
				index: fc.constant(0),
				text: fc.oneof(fc.string({ unit: 'binary', maxLength: 12 }), fc.constantFrom('"', '\\', '\u0007', 'é🦊', '\ud83e')),
			}),
		),
		usage: fc.record({ n: fc.oneof(fc.integer(), fc.double({ noNaN: true, noDefaultInfinity: true }), fc.constant(null)) }),
		last: fc.constantFrom(null, 'stop'),
	});

	interface Read {
		readonly text: string;
		readonly n: number | null;
	}

	/** As a generation reads them: by their bytes where these are known, else by a parse, which teaches. */
	function deltas(bytes: Buffer, cuts: readonly number[]): { read: Read[]; matched: number } {
		const shape = new DeltaShape(text, [count], [['id']]);
		const said: Read[] = [];
		let matched = 0;
		const scanner = new EventScanner({
			onFrame(buffer, at, end) {
				const frameEnd = shape.frameEnd(buffer, at, end);
				if (frameEnd < 0) return -1;
				const found = buffer.toString('utf8', shape.textStart, shape.textEnd);
				assert.equal(shape.escaped, found.includes('\\'));
				const n = shape.number(buffer, 1);
				said.push({ text: JSON.parse(`"${found}"`), n: Number.isNaN(n) ? null : n });
				matched += 1;
				return frameEnd;
			},
			onEvent(_name, buffer, start, end, frameStart, frameEnd) {
				const event = parsed(buffer.toString('utf8', start, end));
				said.push(event);
				if (frameStart >= 0) shape.learn(event.text, buffer, start, end, frameStart, frameEnd);
			},
		});
		read(bytes, cuts, (buffer, start, end) => scanner.push(buffer, start, end));
		return { read: said, matched };
	}

	function parsed(data: string): Read {
		const { choices, usage } = JSON.parse(data) as { choices: [{ text: string }]; usage: { n: number | null } };
		return { text: choices[0].text, n: usage.n };
	}

	it('that has the shape of one that was parsed is what a parse makes of it, wherever its stream is cut', () => {
		let matched = 0;
		const frame = fc.tuple(
			made,
			fc.constantFrom('data: ', 'data:'),
			fc.constantFrom('\n\n', '\n\n', '\r\n\r\n', '\r\r', '\n\r\n', '\n: comment\n\n'),
			fc.constantFrom('', '', '', 'event: delta\n', 'id: 7\n', ': ping\n\n', 'data: {"choices":\n', '\n'),
		);
		fc.assert(
			fc.property(fc.array(frame, { minLength: 2, maxLength: 8 }), fc.boolean(), fc.infiniteStream(fc.nat()), (frames, same, numbers) => {
				const [{ id, last }, firstField, firstEnd, firstBefore] = frames[0] as (typeof frames)[number];
				const stream = frames
					.map(([delta, ...others]) => {
						const [field, end, before] = same ? [firstField, firstEnd, firstBefore] : others;
						const alike = same ? { ...delta, id, last } : delta;
						const json = JSON.stringify(alike);
						if (!before.startsWith('data')) return `${before}${field}${json}${end}`;
						// One event in two lines: its key has to come before all else.
						const { choices, ...rest } = alike;
						return `${before}${field}${JSON.stringify(choices)},${JSON.stringify(rest).slice(1)}${end}`;
					})
					.join('');
				const bytes = Buffer.from(`: opened\n\n${stream}`);
				const cuts = Array.from({ length: 6 }, () => (numbers.next().value as number) % (bytes.length + 1)).sort((a, b) => a - b);
				const expected = plainEvents(bytes.toString()).map(({ data }) => parsed(data));
				assert.deepEqual(deltas(bytes, cuts).read, expected);
				const whole = deltas(bytes, []);
				assert.deepEqual(whole.read, expected);
				matched += whole.matched;
			}),
			{ numRuns: 500 },
		);
		assert.ok(matched > 200, `${matched} matched`);
	});

	it('that differs in any byte outside its text and numbers is not taken for one', () => {
		const learned = '{"choices":[{"index":0,"text":"ab"}],"usage":{"n":12},"last":null}';
		const framed = `data: ${learned}\n\n`;
		const known = Buffer.from(framed);
		fc.assert(
			fc.property(fc.nat(framed.length - 1), fc.integer({ min: 0, max: 255 }), (at, byte) => {
				const shape = new DeltaShape(text, [count]);
				shape.learn('ab', known, 6, 6 + learned.length, 0, known.length);
				const bytes = Buffer.from(framed);
				bytes[at] = byte;
				const frameEnd = shape.frameEnd(bytes, 0, bytes.length);
				if (frameEnd < 0 || byte === known[at]) return;
				assert.equal(frameEnd, bytes.length);
				assert.ok(at >= 6 && at < 6 + learned.length, 'its field name and line ends are as learned');
				const parsed = JSON.parse(bytes.toString('utf8', 6, 6 + learned.length));
				const other = JSON.parse(learned);
				assert.equal(JSON.parse(`"${bytes.toString('utf8', shape.textStart, shape.textEnd)}"`), parsed.choices[0].text);
				assert.equal(shape.number(bytes, 1), parsed.usage.n);
				assert.deepEqual(
					{ ...parsed, choices: [{ ...parsed.choices[0], text: '' }], usage: {} },
					{ ...other, choices: [{ index: 0, text: '' }], usage: {} },
				);
			}),
			{ numRuns: 3_000 },
		);
	});

	it('that is not whole yet is not taken for one', () => {
		const learned = Buffer.from('data: {"choices":[{"text":"ab"}],"usage":{"n":12},"last":null}\n\n');
		const shape = new DeltaShape(text, [count]);
		shape.learn('ab', learned, 6, learned.length - 2, 0, learned.length);
		for (let end = 0; end < learned.length; end += 1) assert.equal(shape.frameEnd(learned, 0, end), -1, `cut at ${end}`);
		assert.equal(shape.frameEnd(learned, 0, learned.length), learned.length);
	});

	it('without a text in its place teaches nothing, nor one behind whose last line another byte of its end may come', () => {
		const shape = new DeltaShape(text, [count]);
		const teaches = (bytes: Buffer): boolean => {
			shape.learn('a', bytes, 0, bytes.length - 2, 0, bytes.length);
			return shape.frameEnd(bytes, 0, bytes.length) >= 0;
		};
		for (const other of [
			'{"choices":[]}',
			'{"choices":[{"text":7}]}',
			'{"choices":[{"text":"b"}]}',
			'{"choices":[{"text":"a","text":"a"}]}',
			'[]',
			'7',
		])
			assert.equal(teaches(Buffer.from(`${other}\n\n`)), false, other);
		assert.equal(teaches(Buffer.from('{"choices":[{"text":"a"}]}\n\n')), true);
		assert.equal(teaches(Buffer.from('{"choices":[{"text":"a"}]}\r\r')), false);
	});
});
