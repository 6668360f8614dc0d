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
	const scanner = new EventScanner({ onEvent: (name, data, start, end) => told.push({ name, data: data.toString('utf8', start, end) }) });
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
		const scanner = new EventScanner({ onEvent: (_name, data, start, end) => told.push(data.toString('utf8', start, end)) });
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

	it('that has the shape of one that was parsed is what a parse makes of it', () => {
		let matched = 0;
		fc.assert(
			fc.property(fc.array(made, { minLength: 2, maxLength: 8 }), fc.boolean(), (deltas, spaced) => {
				const shape = new DeltaShape(text, [count]);
				for (const delta of deltas) {
					const bytes = Buffer.from(`x${spaced ? JSON.stringify(delta, null, 1) : JSON.stringify(delta)}}`);
					if (shape.match(bytes, 1, bytes.length - 1)) {
						matched += 1;
						const found = bytes.toString('utf8', shape.textStart, shape.textEnd);
						assert.equal(JSON.parse(`"${found}"`), delta.choices[0].text);
						assert.equal(shape.escaped, found.includes('\\'));
						const n = shape.number(bytes, 1);
						if (delta.usage.n !== null) assert.equal(n, JSON.parse(JSON.stringify(delta.usage.n)));
						else assert.ok(Number.isNaN(n));
					} else shape.learn(bytes, 1, bytes.length - 1);
				}
			}),
			{ numRuns: 500 },
		);
		assert.ok(matched > 100, `${matched} matched`);
	});

	it('that differs in any byte outside its text and numbers is not taken for one', () => {
		const learned = '{"choices":[{"index":0,"text":"ab"}],"usage":{"n":12},"last":null}';
		fc.assert(
			fc.property(fc.nat(learned.length - 1), fc.integer({ min: 0, max: 255 }), (at, byte) => {
				const shape = new DeltaShape(text, [count]);
				shape.learn(Buffer.from(learned), 0, learned.length);
				const bytes = Buffer.from(learned);
				bytes[at] = byte;
				if (!shape.match(bytes, 0, bytes.length)) return;
				const parsed = JSON.parse(bytes.toString('utf8'));
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

	it('without a text in its place teaches nothing', () => {
		const shape = new DeltaShape(text, [count]);
		for (const other of ['{"choices":[]}', '{"choices":[{"text":7}]}', '{"choices":[{"text":"a","text":"b"}]}', '[]', '7']) {
			shape.learn(Buffer.from(other), 0, other.length);
			assert.equal(shape.match(Buffer.from(other), 0, other.length), false, other);
		}
	});
});
