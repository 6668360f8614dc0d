/** What is said of GGUF files before llama.cpp sees them: facts of good ones, clear refusals of all others, and quickly. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { checkGguf } from '../../src/engines/embedded/gguf-check.ts';
import { GgufError } from '../../src/engines/embedded/gguf-header.ts';
import { goldenContext, goldenGguf, goldenTemplate } from '../fixtures/golden-gguf.ts';
import { builtInModel, testFolder } from './embedded-world.ts';

const folder = testFolder();
after(() => folder.remove());

let files = 0;
function check(bytes: Buffer): ReturnType<typeof checkGguf> {
	files += 1;
	const path = join(folder.path, `${files % 8}.gguf`);
	writeFileSync(path, bytes);
	return checkGguf(path);
}

function refusal(bytes: Buffer): string {
	try {
		check(bytes);
	} catch (error) {
		assert.ok(error instanceof GgufError, String(error));
		return error.message;
	}
	throw new assert.AssertionError({ message: 'the file was accepted' });
}

function header(tensors: bigint, keys: bigint, rest: Buffer = Buffer.alloc(0)): Buffer {
	const bytes = Buffer.alloc(24);
	bytes.write('GGUF');
	bytes.writeUInt32LE(3, 4);
	bytes.writeBigUInt64LE(tensors, 8);
	bytes.writeBigUInt64LE(keys, 16);
	return Buffer.concat([bytes, rest]);
}

describe('a GGUF file', () => {
	it('tells what the built-in model is', () => {
		const { chatTemplate, memory, ...facts } = checkGguf(builtInModel);
		assert.match(chatTemplate ?? '', /im_start/);
		assert.deepEqual(
			[memory.layers.length, memory.heads, memory.window, memory.layers[0]],
			[5, 6, 0, { index: 0, keys: 96, values: 96, windowed: false }],
		);
		assert.deepEqual(facts, {
			version: 3,
			architecture: 'llama',
			name: 'orchestratord tiny chat',
			parameters: 2_422_848,
			quantization: 'Q8_0',
			contextLength: 1024,
			embeddingLength: 192,
			blockCount: 5,
			poolingType: 0,
			generates: true,
			fileBytes: 2_644_832,
		});
	});

	it('is accepted when it was made from scratch, with template and pooling', () => {
		const facts = check(goldenGguf({ chatTemplate: goldenTemplate, poolingType: 1 }));
		assert.equal(facts.contextLength, goldenContext);
		assert.equal(facts.quantization, 'F16');
		assert.equal(facts.chatTemplate, goldenTemplate);
		assert.equal(facts.poolingType, 1);
	});

	it('is refused when it is another kind of file, or none at all', () => {
		assert.match(refusal(Buffer.from('hello, this is a text file and no model')), /^not a GGUF file/);
		assert.match(refusal(Buffer.alloc(0)), /^not a GGUF file/);
		assert.match(refusal(Buffer.from('GGU')), /^not a GGUF file/);
		assert.match(refusal(Buffer.from('GGUF\u0003\0\0\0')), /^truncated/);
		assert.match(
			refusal(Buffer.concat([Buffer.from('GGUF'), Buffer.from([0, 0, 0, 3]), Buffer.alloc(16)])),
			/version 50331648 is not supported/,
		);
	});

	for (const key of [
		'general.architecture',
		'llama.context_length',
		'llama.embedding_length',
		'llama.block_count',
		'llama.feed_forward_length',
		'llama.attention.head_count',
		'tokenizer.ggml.model',
		'tokenizer.ggml.tokens',
	]) {
		it(`is refused without ${key}, by name`, () => {
			assert.ok(refusal(goldenGguf({ without: [key] })).includes(`the key ${key} is missing`));
		});
	}

	it('is refused when a shape key is zero, of the wrong type, or does not fit the others', () => {
		const withKey = (key: string, value: number) => refusal(goldenGguf({ keys: { [key]: { type: 'u32', value } } }));
		assert.match(withKey('llama.block_count', 0), /block_count is 0; it must be a whole number above 0/);
		assert.match(withKey('llama.block_count', 1_000_000), /at most 16384 are possible/);
		assert.match(withKey('llama.attention.head_count', 5), /which 5 attention heads cannot share/);
		assert.match(
			refusal(goldenGguf({ keys: { 'llama.embedding_length': { type: 'string', value: 'wide' } } })),
			/embedding_length is wide/,
		);
		assert.match(refusal(goldenGguf({ keys: { 'general.alignment': { type: 'u32', value: 48 } } })), /alignment is 48/);
	});

	it('is refused when its vocabulary has fewer scores or types than tokens', () => {
		assert.match(
			refusal(goldenGguf({ keys: { 'tokenizer.ggml.scores': { type: 'f32s', value: [1, 2] } } })),
			/scores has 2 items for \d+ tokens/,
		);
		assert.match(refusal(goldenGguf({ keys: { 'tokenizer.ggml.token_type': { type: 'i32s', value: [1] } } })), /token_type has 1 items/);
	});

	it('is refused when it is cut off anywhere, and says where a tensor would have ended', () => {
		const whole = goldenGguf();
		assert.match(refusal(whole.subarray(0, whole.length - 1024)), /^truncated: tensor blk\.0\.ffn_down\.weight ends at byte \d+ of \d+$/);
		fc.assert(
			fc.property(fc.integer({ min: 0, max: whole.length - 2048 }), (length) => {
				assert.match(refusal(whole.subarray(0, length)), /^(truncated|not a GGUF file)/);
			}),
			{ numRuns: 60 },
		);
	});

	it('is refused when its counts, lengths or extents are lies, without reading or reserving for them', () => {
		const startedAt = performance.now();
		assert.match(refusal(header(2n ** 63n, 1n)), /promises Infinity tensors/);
		assert.match(refusal(header(1n, 2n ** 40n)), /promises 1099511627776 keys/);
		assert.match(refusal(header(1_000_000n, 1_000_000n)), /^truncated/);
		const longKey = Buffer.alloc(8);
		longKey.writeBigUInt64LE(2n ** 62n);
		assert.match(refusal(header(0n, 1n, longKey)), /a string has Infinity bytes/);
		const hugeArray = Buffer.alloc(8 + 1 + 4 + 4 + 8);
		hugeArray.writeBigUInt64LE(1n, 0);
		hugeArray.write('k', 8);
		hugeArray.writeUInt32LE(9, 9);
		hugeArray.writeUInt32LE(8, 13);
		hugeArray.writeBigUInt64LE(16_000_000n, 17);
		assert.match(refusal(header(0n, 1n, hugeArray)), /^truncated/);
		// Generous: the point is that it is not minutes.
		assert.ok(performance.now() - startedAt < 2_000);
	});

	it('is refused when two tensors overlap', () => {
		const bytes = goldenGguf();
		// The second tensor's offset is made that of the first, which is 0.
		const at = bytes.indexOf('output_norm.weight') + 'output_norm.weight'.length + 4 + 8 + 4;
		bytes.writeBigUInt64LE(0n, at);
		assert.match(refusal(bytes), /tensors .* overlap/);
	});

	it('is either accepted or refused in words, whatever bytes are changed', () => {
		const whole = goldenGguf();
		const headerBytes = whole.indexOf('blk.0.ffn_down.weight') + 64;
		fc.assert(
			fc.property(fc.array(fc.tuple(fc.nat(headerBytes), fc.nat(255)), { minLength: 1, maxLength: 8 }), (changes) => {
				const bytes = Buffer.from(whole);
				for (const [at, byte] of changes) bytes[at] = byte;
				try {
					check(bytes);
				} catch (error) {
					assert.ok(error instanceof GgufError, String(error));
					assert.ok(error.message.length < 400);
				}
			}),
			{ numRuns: 200 },
		);
	});
});
