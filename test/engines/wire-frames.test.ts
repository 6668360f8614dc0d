/** Frames by properties: whatever is packed comes out of any split of its bytes, and a length that lies ends the reader. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { FrameOutbox, FrameReader, ProtocolError, usageBytes } from '../../src/engines/wire/host-frames.ts';
import { readU32, readUsage } from '../../src/engines/wire/host-payloads.ts';
import { frameBytesMax, frameHeadBytes } from '../../src/engines/wire/host-protocol.ts';
import { ReadSlab } from '../../src/engines/wire/read-slab.ts';

interface Frame {
	readonly kind: number;
	readonly stream: number;
	readonly payload: Buffer;
}

const payload = fc
	.oneof(
		{ weight: 4, arbitrary: fc.uint8Array({ maxLength: 64 }) },
		{ weight: 1, arbitrary: fc.uint8Array({ size: 'max', maxLength: 6_000 }) },
	)
	.map((bytes) => Buffer.from(bytes));
const u32 = fc.nat({ max: 0xffff_ffff });
const anyFrame: fc.Arbitrary<Frame> = fc
	.tuple(fc.nat({ max: 255 }), u32, payload)
	.map(([kind, stream, bytes]) => ({ kind, stream, payload: bytes }));

/** Sizes of the parts that bytes are cut into; what is left is the last part. */
const anyCuts = fc.array(fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 5_000 })), { maxLength: 60 });

function pack(frames: readonly Frame[], outbox = new FrameOutbox()): Buffer {
	for (const { kind, stream, payload } of frames) {
		outbox.begin(kind, stream);
		outbox.bytes(payload);
		assert.equal(outbox.end(), true);
	}
	return drained(outbox);
}

function drained(outbox: FrameOutbox): Buffer {
	let bytes = Buffer.alloc(0);
	outbox.drain((packed) => {
		bytes = Buffer.from(packed);
		return false;
	});
	return bytes;
}

function cut(bytes: Buffer, sizes: readonly number[]): Buffer[] {
	const parts: Buffer[] = [];
	let at = 0;
	for (const size of sizes) {
		if (at >= bytes.length) break;
		parts.push(bytes.subarray(at, at + size));
		at += size;
	}
	if (at < bytes.length) parts.push(bytes.subarray(at));
	return parts;
}

/** Copies at once: what a visitor keeps without copying is tested apart. */
function collecting(frameMax?: number): { readonly reader: FrameReader; readonly frames: Frame[] } {
	const frames: Frame[] = [];
	const reader = new FrameReader((kind, stream, bytes, start, end) => {
		frames.push({ kind, stream, payload: Buffer.from(bytes.subarray(start, end)) });
	}, frameMax);
	return { reader, frames };
}

describe('frames', () => {
	it('come out as they went in, however their bytes are cut', () => {
		fc.assert(
			fc.property(fc.array(anyFrame, { maxLength: 12 }), anyCuts, (sent, sizes) => {
				const { reader, frames } = collecting();
				for (const part of cut(pack(sent), sizes)) reader.push(part);
				assert.deepEqual(frames, sent);
				assert.equal(reader.keptBytes, 0);
			}),
			{ numRuns: 300 },
		);
	});

	it('come out one byte at a time', () => {
		const sent = [
			{ kind: 1, stream: 7, payload: Buffer.from('hello') },
			{ kind: 255, stream: 0xffff_ffff, payload: Buffer.alloc(0) },
		];
		const { reader, frames } = collecting();
		for (const byte of pack(sent)) reader.push(Buffer.of(byte));
		assert.deepEqual(frames, sent);
	});

	it('come out as they went in when every read uses the same buffer again, and stay what they were', () => {
		fc.assert(
			fc.property(fc.array(anyFrame, { maxLength: 12 }), anyCuts, (sent, sizes) => {
				const kept: Frame[] = [];
				const reader = new FrameReader((kind, stream, bytes, start, end) => {
					kept.push({ kind, stream, payload: bytes.subarray(start, end) });
				});
				const slab = new ReadSlab();
				const platform = Buffer.alloc(64 * 1024);
				for (const part of cut(pack(sent), sizes)) {
					part.copy(platform);
					reader.push(slab.keep(platform, part.length));
					platform.fill(0xaa);
				}
				assert.deepEqual(kept, sent);
			}),
			{ numRuns: 100 },
		);
	});

	it('that are cut off give the whole ones before, and keep no more than twice what has arrived', () => {
		fc.assert(
			fc.property(fc.array(anyFrame, { minLength: 1, maxLength: 6 }), anyCuts, fc.nat(), (sent, sizes, seed) => {
				const bytes = pack(sent);
				const until = seed % bytes.length;
				const { reader, frames } = collecting();
				for (const part of cut(bytes.subarray(0, until), sizes)) {
					reader.push(part);
					assert.ok(reader.keptBytes <= Math.max(1024, 2 * bytes.length));
				}
				assert.deepEqual(frames, sent.slice(0, frames.length));
				const taken = frames.reduce((sum, frame) => sum + frameHeadBytes + frame.payload.length, 0);
				assert.ok(taken <= until && until < taken + frameHeadBytes + (sent[frames.length]?.payload.length ?? 0));
			}),
			{ numRuns: 150 },
		);
	});

	it('with a length below their head or above the limit end the reader, with nothing given of them', () => {
		const lying = fc.oneof(fc.nat({ max: frameHeadBytes - 5 }), fc.integer({ min: 201, max: 0xffff_ffff }));
		const small = fc.array(
			anyFrame.filter((frame) => frame.payload.length <= 100),
			{ maxLength: 5 },
		);
		fc.assert(
			fc.property(small, lying, fc.uint8Array({ maxLength: 40 }), anyCuts, (sent, length, rest, sizes) => {
				const head = Buffer.alloc(4);
				head.writeUInt32LE(length);
				const { reader, frames } = collecting(200);
				assert.throws(() => {
					for (const part of cut(Buffer.concat([pack(sent), head, rest]), sizes)) reader.push(part);
				}, ProtocolError);
				assert.deepEqual(frames, sent);
			}),
			{ numRuns: 150 },
		);
	});

	it('of garbage are frames or a protocol error, never anything else', () => {
		fc.assert(
			fc.property(fc.uint8Array({ size: 'max', maxLength: 3_000 }), anyCuts, (garbage, sizes) => {
				const { reader, frames } = collecting(1_000);
				try {
					for (const part of cut(Buffer.from(garbage), sizes)) reader.push(part);
				} catch (error) {
					assert.ok(error instanceof ProtocolError);
				}
				const taken = frames.reduce((sum, frame) => sum + frameHeadBytes + frame.payload.length, 0);
				assert.ok(taken <= garbage.length);
			}),
			{ numRuns: 300 },
		);
	});

	it('that promise a lot cost what has arrived, not what was promised', () => {
		const { reader, frames } = collecting();
		const head = Buffer.alloc(frameHeadBytes);
		head.writeUInt32LE(frameBytesMax);
		reader.push(head);
		assert.ok(reader.keptBytes <= 1024);
		for (let part = 0; part < 100; part += 1) reader.push(Buffer.alloc(1_000));
		assert.ok(reader.keptBytes <= 2 * (100_000 + frameHeadBytes));
		assert.deepEqual(frames, []);
	});

	it('are measured by the limit that holds when they come', () => {
		const { reader, frames } = collecting(10);
		const sent = [
			{ kind: 1, stream: 1, payload: Buffer.alloc(5) },
			{ kind: 2, stream: 2, payload: Buffer.alloc(50) },
		];
		const bytes = pack(sent);
		reader.push(bytes.subarray(0, 14));
		reader.frameMax = 100;
		reader.push(bytes.subarray(14));
		assert.deepEqual(frames, sent);
	});
});

describe('an outbox', () => {
	it('packs numbers, text, JSON and usage so that they read back, whatever its buffer has grown to', () => {
		const ms = fc.double({ min: 0, max: 1e12, noNaN: true });
		const usage = fc
			.tuple(u32, u32, u32, ms, ms)
			.map(([tokensIn, tokensCached, tokensOut, prefillMs, decodeMs]) => ({ tokensIn, tokensCached, tokensOut, prefillMs, decodeMs }));
		const text = fc.string({ unit: 'binary', size: 'max', maxLength: 4_000 });
		fc.assert(
			fc.property(fc.array(fc.tuple(usage, text, fc.json()), { maxLength: 6 }), (rows) => {
				const outbox = new FrameOutbox();
				for (const [each, words, json] of rows) {
					outbox.begin(7, 9);
					const mark = outbox.mark();
					outbox.u32(0);
					outbox.usage(each);
					outbox.text(words);
					outbox.json(json);
					outbox.u8(255);
					outbox.patchU32(mark, Buffer.byteLength(words));
					assert.equal(outbox.end(), true);
				}
				const { reader, frames } = collecting();
				reader.push(drained(outbox));
				assert.equal(frames.length, rows.length);
				for (const [index, [each, words, json]] of rows.entries()) {
					const { payload } = frames[index] as Frame;
					const textAt = 4 + usageBytes;
					const textBytes = readU32(payload, 0, payload.length);
					assert.deepEqual(readUsage(payload, 4, payload.length), each);
					assert.equal(payload.toString('utf8', textAt, textAt + textBytes), Buffer.from(words).toString());
					assert.equal(JSON.parse(payload.toString('utf8', textAt + textBytes, payload.length - 1)), json);
					assert.equal(payload.at(-1), 255);
				}
			}),
			{ numRuns: 60 },
		);
	});

	it('never writes into bytes that somebody still needs', () => {
		fc.assert(
			fc.property(fc.array(fc.tuple(fc.array(anyFrame, { maxLength: 4 }), fc.boolean()), { maxLength: 12 }), (writes) => {
				const outbox = new FrameOutbox();
				const needed: { readonly bytes: Buffer; readonly copy: Buffer }[] = [];
				for (const [frames, keeps] of writes) {
					for (const { kind, stream, payload } of frames) {
						outbox.begin(kind, stream);
						outbox.bytes(payload);
						outbox.end();
					}
					outbox.drain((packed) => {
						if (keeps) needed.push({ bytes: packed, copy: Buffer.from(packed) });
						return keeps;
					});
					assert.equal(outbox.length, 0);
				}
				for (const { bytes, copy } of needed) assert.ok(bytes.equals(copy));
			}),
			{ numRuns: 60 },
		);
	});

	it('drops the one frame that no reader takes, and keeps those around it', () => {
		const outbox = new FrameOutbox();
		const small = { kind: 1, stream: 1, payload: Buffer.from('before') };
		outbox.begin(small.kind, small.stream);
		outbox.bytes(small.payload);
		assert.equal(outbox.end(), true);
		outbox.begin(2, 2);
		outbox.bytes(Buffer.allocUnsafe(frameBytesMax - frameHeadBytes + 5));
		assert.equal(outbox.end(), false);
		const after = { kind: 3, stream: 3, payload: Buffer.from('after') };
		outbox.begin(after.kind, after.stream);
		outbox.bytes(after.payload);
		assert.equal(outbox.end(), true);
		const { reader, frames } = collecting();
		reader.push(drained(outbox));
		assert.deepEqual(frames, [small, after]);
	});

	it('takes the longest frame, and its reader too', () => {
		const outbox = new FrameOutbox();
		outbox.begin(2, 2);
		outbox.bytes(Buffer.alloc(frameBytesMax - (frameHeadBytes - 4), 7));
		assert.equal(outbox.end(), true);
		const lengths: number[] = [];
		const reader = new FrameReader((_kind, _stream, _bytes, start, end) => lengths.push(end - start));
		outbox.drain((packed) => {
			reader.push(packed);
			return false;
		});
		assert.deepEqual(lengths, [frameBytesMax - (frameHeadBytes - 4)]);
	});

	it('refuses a piece of no tokens, of too many, or of more text than a record holds, and goes on', () => {
		const outbox = new FrameOutbox();
		outbox.begin(67, 1);
		outbox.piece('a', 1, -1, Number.NaN);
		for (const refused of [() => outbox.piece('b', 0, -1, Number.NaN), () => outbox.piece('c', 256, -1, Number.NaN)]) {
			assert.throws(refused, RangeError);
		}
		assert.throws(() => outbox.piece('x'.repeat(65_536), 1, -1, Number.NaN), RangeError);
		outbox.piece('d', 255, 5, -0.5);
		assert.equal(outbox.end(), true);
		const { reader, frames } = collecting();
		reader.push(drained(outbox));
		const first = Buffer.from([1, 0, 1, 0, 97]);
		assert.deepEqual(frames[0]?.payload.subarray(0, 5), first);
		assert.equal(frames[0]?.payload.length, 5 + 12 + 1);
	});
});
