/** Frames and payloads by properties: any split of the bytes, any content, and whatever a peer may make of them. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { FrameOutbox, FrameReader, ProtocolError } from '../../src/engines/wire/host-frames.ts';
import * as payloads from '../../src/engines/wire/host-payloads.ts';
import { frameBytesMax, frameHeadBytes } from '../../src/engines/wire/host-protocol.ts';
import { StopMatcher } from '../../src/engines/wire/stop-matcher.ts';

interface Frame {
	readonly kind: number;
	readonly stream: number;
	readonly payload: Buffer;
}

const frameArbitrary = fc.record(
	{
		kind: fc.integer({ min: 0, max: 255 }),
		stream: fc.integer({ min: 0, max: 0xffff_ffff }),
		payload: fc.uint8Array({ maxLength: 3_000 }).map((bytes) => Buffer.from(bytes)),
	},
	{ noNullPrototype: true },
);

function packed(frames: readonly Frame[]): Buffer {
	const outbox = new FrameOutbox();
	for (const { kind, stream, payload } of frames) {
		outbox.begin(kind, stream);
		outbox.bytes(payload);
		assert.equal(outbox.end(), true);
	}
	let bytes = Buffer.alloc(0);
	outbox.drain((all) => {
		bytes = Buffer.from(all);
		return false;
	});
	assert.equal(outbox.length, 0);
	return bytes;
}

/** The bytes in parts, cut at the given places. */
function parts(bytes: Buffer, cuts: readonly number[]): Buffer[] {
	const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
	return [0, ...places].map((from, index) => Buffer.from(bytes.subarray(from, places[index] ?? bytes.length)));
}

function readAll(chunks: readonly Buffer[], frameMax?: number): { readonly frames: Frame[]; readonly reader: FrameReader } {
	const frames: Frame[] = [];
	const reader = new FrameReader((kind, stream, bytes, start, end) => {
		frames.push({ kind, stream, payload: Buffer.from(bytes.subarray(start, end)) });
	}, frameMax);
	for (const chunk of chunks) reader.push(chunk);
	return { frames, reader };
}

describe('frames', () => {
	it('come out as they went in, however the bytes are cut', () => {
		fc.assert(
			fc.property(fc.array(frameArbitrary, { maxLength: 12 }), fc.array(fc.nat(40_000), { maxLength: 20 }), (frames, cuts) => {
				const { frames: read, reader } = readAll(parts(packed(frames), cuts));
				assert.deepEqual(read, frames);
				assert.equal(reader.keptBytes, 0);
			}),
			{ numRuns: 300 },
		);
	});

	it('come out one byte at a time', () => {
		const frames = [
			{ kind: 1, stream: 7, payload: Buffer.from('hello') },
			{ kind: 255, stream: 0xffff_ffff, payload: Buffer.alloc(0) },
		];
		const bytes = packed(frames);
		assert.deepEqual(readAll([...bytes].map((byte) => Buffer.from([byte]))).frames, frames);
	});

	it('that are cut give nothing, and keep not much more than has come', () => {
		fc.assert(
			fc.property(frameArbitrary, fc.nat(3_000), (frame, cut) => {
				const bytes = packed([frame]);
				const { frames, reader } = readAll([bytes.subarray(0, cut % bytes.length)]);
				assert.deepEqual(frames, []);
				assert.ok(reader.keptBytes <= Math.max(1024, bytes.length * 2));
			}),
		);
	});

	it('whose length lies end the connection at once, and cost no memory before', () => {
		for (const length of [0, frameHeadBytes - 5, frameBytesMax + 1, 0xffff_ffff]) {
			const bytes = Buffer.alloc(frameHeadBytes);
			bytes.writeUInt32LE(length);
			assert.throws(() => readAll([bytes]), ProtocolError);
			assert.throws(() => readAll([...bytes].map((byte) => Buffer.from([byte]))), ProtocolError);
		}
		const long = Buffer.alloc(frameHeadBytes);
		long.writeUInt32LE(frameBytesMax);
		assert.ok(readAll([long]).reader.keptBytes <= 1024);
	});

	it('made of any bytes are frames or a protocol error, never anything else', () => {
		fc.assert(
			fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 8 }), (chunks) => {
				try {
					readAll(
						chunks.map((chunk) => Buffer.from(chunk)),
						4_096,
					);
				} catch (error) {
					assert.ok(error instanceof ProtocolError);
				}
			}),
			{ numRuns: 1_000 },
		);
	});

	it('that are too long are dropped by the outbox, which goes on', () => {
		const outbox = new FrameOutbox();
		outbox.begin(1, 1);
		outbox.bytes(Buffer.alloc(frameBytesMax));
		assert.equal(outbox.end(), false);
		outbox.begin(2, 2);
		outbox.text('fits');
		assert.equal(outbox.end(), true);
		outbox.drain((bytes) => {
			assert.deepEqual(readAll([bytes]).frames, [{ kind: 2, stream: 2, payload: Buffer.from('fits') }]);
			return false;
		});
	});

	it('handed to a socket that keeps them are not written over by the next', () => {
		const outbox = new FrameOutbox();
		const kept: Buffer[] = [];
		for (const text of ['first', 'second']) {
			outbox.begin(9, 9);
			outbox.text(text);
			outbox.end();
			outbox.drain((bytes) => {
				kept.push(bytes);
				return true;
			});
		}
		assert.deepEqual(
			kept.map((bytes) => readAll([bytes]).frames[0]?.payload.toString()),
			['first', 'second'],
		);
	});
});

const pieceArbitrary = fc.record({
	text: fc.string({ unit: 'binary', maxLength: 30 }),
	tokens: fc.integer({ min: 1, max: 255 }),
	tokenId: fc.option(fc.integer({ min: 0, max: 0xffff_ffff }), { nil: -1 }),
});

function piecesOf(pieces: readonly { readonly text: string; readonly tokens: number; readonly tokenId: number }[]): Buffer {
	const outbox = new FrameOutbox();
	for (const { text, tokens, tokenId } of pieces) outbox.piece(text, tokens, tokenId, -0.5);
	let bytes = Buffer.alloc(0);
	outbox.drain((all) => {
		bytes = Buffer.from(all);
		return false;
	});
	return bytes;
}

describe('payloads', () => {
	it('of pieces are whole for their own count, and for no other', () => {
		fc.assert(
			fc.property(fc.array(pieceArbitrary, { maxLength: 20 }), fc.integer({ min: -1, max: 1 }), (pieces, wrong) => {
				const bytes = piecesOf(pieces);
				const check = (count: number): void => payloads.checkPieces(bytes, 0, bytes.length, count);
				check(pieces.length);
				if (wrong !== 0 && pieces.length + wrong >= 0) assert.throws(() => check(pieces.length + wrong), ProtocolError);
				if (bytes.length > 0) assert.throws(() => payloads.checkPieces(bytes, 0, bytes.length - 1, pieces.length), ProtocolError);
			}),
		);
	});

	it('of garbage are a value or a protocol error, from every reader', () => {
		const readers: readonly ((bytes: Buffer, start: number, end: number) => unknown)[] = [
			payloads.readU32,
			payloads.readUsage,
			payloads.readEnd,
			payloads.readVectors,
			payloads.readFailure,
			payloads.readTokens,
			payloads.readLeaseKeys,
			payloads.readFacts,
			payloads.readRequest,
			payloads.readInput,
			(bytes, start, end) => payloads.checkPieces(bytes, start, end, bytes.length === 0 ? 3 : (bytes[0] as number)),
		];
		const bytesArbitrary = fc.oneof(
			fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes)),
			fc.json().map((json) => Buffer.from(json)),
			fc
				.constantFrom('{}', '[]', 'null', '{"kind":"messages","messages":[{}]}', '{"code":"NONE","message":"","retriable":true}')
				.map(Buffer.from),
		);
		fc.assert(
			fc.property(bytesArbitrary, fc.constantFrom(...readers), (bytes, read) => {
				try {
					read(bytes, 0, bytes.length);
				} catch (error) {
					assert.ok(error instanceof ProtocolError, String(error));
				}
			}),
			{ numRuns: 3_000 },
		);
	});
});

describe('a stop matcher', () => {
	it('finds what is whole first, the longest of several, however the text is cut', () => {
		const few = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 5 });
		fc.assert(
			fc.property(fc.array(few, { maxLength: 12 }), fc.array(few, { maxLength: 3 }), (texts, stops) => {
				const matcher = new StopMatcher(stops);
				const whole = texts.join('');
				let expected = -1;
				for (let end = 1; end <= whole.length && expected < 0; end++) {
					const starts = stops.filter((stop) => stop !== '' && whole.slice(0, end).endsWith(stop)).map((stop) => end - stop.length);
					if (starts.length > 0) expected = Math.min(...starts);
				}
				let fed = 0;
				let found = -1;
				for (const text of texts) {
					const at = matcher.feed(text);
					if (at !== null) {
						found = fed + at;
						break;
					}
					fed += text.length;
					assert.ok(matcher.pending < Math.max(1, ...stops.map((stop) => stop.length)));
				}
				assert.equal(found, expected);
			}),
			{ numRuns: 2_000 },
		);
	});
});
