/** How much memory a model is said to need: held against what llama.cpp reserves, against known models, and against what there is. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { getLlama, LlamaLogLevel } from 'node-llama-cpp';
import type { Failure } from '../../src/actors/serving/failure.ts';
import { checkGguf } from '../../src/engines/embedded/gguf-check.ts';
import type { GgufHeader } from '../../src/engines/embedded/gguf-header.ts';
import { LoadError, loadModel } from '../../src/engines/embedded/llama-model.ts';
import {
	cpuPart,
	kvBytesPerToken,
	layersThatFit,
	type MemoryRoom,
	type MemoryUse,
	memoryNeed,
	memoryProblem,
} from '../../src/engines/embedded/memory-estimate.ts';
import { cpuRoom, gpuRoom } from '../../src/engines/embedded/memory-room.ts';
import { type MemoryShape, memoryShapeOf } from '../../src/engines/embedded/memory-shape.ts';
import { builtInModel, settings, testFolder } from './embedded-world.ts';

const folder = testFolder();
after(() => folder.remove());
const [mib, gib] = [2 ** 20, 2 ** 30];

/** A header of a model whose weights are not here. */
function shape(
	architecture: string,
	keys: Readonly<Record<string, number>>,
	layers: Readonly<Record<string, readonly number[]>> = {},
): MemoryShape {
	const named = <T>(of: Readonly<Record<string, T>>): Map<string, T> =>
		new Map(Object.entries(of).map(([key, value]) => [`${architecture}.${key}`, value]));
	const header: GgufHeader = {
		version: 3,
		keys: named(keys),
		arrayItems: new Map([['tokenizer.ggml.tokens', 128_256]]),
		layerNumbers: named(layers),
		tensors: [
			// Of type Q4_K: 144 bytes for 256 numbers.
			{ name: 'token_embd.weight', elements: 256 * 1000, rowLength: 256, type: 12, offset: 0 },
			{ name: 'output.weight', elements: 256 * 2000, rowLength: 256, type: 12, offset: 0 },
		],
		bytes: 0,
		fileBytes: 0,
	};
	return memoryShapeOf(header, architecture);
}

const llama8b = {
	block_count: 32,
	embedding_length: 4096,
	feed_forward_length: 14_336,
	'attention.head_count': 32,
	'attention.head_count_kv': 8,
};

describe('the memory that a model needs', () => {
	it('is what llama.cpp reserves for it: cache, buffer and weights', async () => {
		let reserved: () => void = () => {};
		const sizes: { readonly buffer: string; readonly kind: string; readonly bytes: number }[] = [];
		const llama = await getLlama({
			gpu: false,
			build: 'never',
			skipDownload: true,
			progressLogs: false,
			maxThreads: 1,
			logLevel: LlamaLogLevel.info,
			logger(_level, message) {
				const [, buffer, kind, size] = /(\S+) +(model|KV|compute) buffer size = +([\d.]+) MiB/.exec(message) ?? [];
				if (buffer === undefined || kind === undefined) return;
				sizes.push({ buffer, kind, bytes: Number(size) * mib });
				// It comes last, some time after its context.
				if (kind === 'compute') reserved();
			},
		});
		const told = (kind: string): number => sizes.findLast((each) => each.kind === kind)?.bytes ?? Number.NaN;
		for (const path of [builtInModel, folder.golden()]) {
			const { memory } = checkGguf(path);
			sizes.length = 0;
			const model = await llama.loadModel({ modelPath: path, defaultContextFlashAttention: false });
			// Processors with units of their own for matrices have a part of the weights once more, in an order that suits these.
			const reordered = sizes.some(({ buffer, kind }) => kind === 'model' && buffer !== 'CPU_Mapped');
			for (const [slots, ctx] of [
				[4, 1024],
				[1, 3000],
			] as const) {
				const logged = new Promise<void>((resolve) => {
					reserved = resolve;
				});
				const context = await model.createContext({
					sequences: slots,
					contextSize: ctx,
					batchSize: 512,
					flashAttention: false,
					threads: 1,
				});
				await logged;
				const need = memoryNeed(memory, { slots, ctx, batchTokens: 512, gpuLayers: null });
				const words = `${path}: ${slots} × ${ctx}`;
				assert.equal(Math.abs(need.kvBytes - told('KV')) <= 0.01 * mib, true, `${words}: cache ${need.kvBytes} of ${told('KV')}`);
				const ratio = need.computeBytes / told('compute');
				assert.equal(ratio > 0.95 && ratio < 1.3, true, `${words}: computing ${need.computeBytes} of ${told('compute')}`);
				await context.dispose();
			}
			const less = memory.weightBytes - (sizes.find(({ buffer }) => buffer === 'CPU_Mapped')?.bytes ?? Number.NaN);
			assert.equal(reordered ? less > -0.1 * mib : Math.abs(less) < 0.1 * mib, true, `${path}: ${less} of ${memory.weightBytes} less`);
			await model.dispose();
		}
		await llama.dispose();
	});

	it('is that of known models: heads that share keys, windows, layers that differ', () => {
		const kv = (model: MemoryShape, ctx: number, slots = 1): number =>
			memoryNeed(model, { slots, ctx, batchTokens: 512, gpuLayers: null }).kvBytes;
		const llama = shape('llama', llama8b);
		assert.equal(kvBytesPerToken(llama), 128 * 1024, 'Llama 3 8B: 128 KiB a token');
		assert.equal(kv(llama, 8192), gib);
		assert.equal(kv(llama, 8192, 4), 4 * gib);
		assert.equal(kv(llama, 8000), gib, 'in steps of 256 cells');
		const { 'attention.head_count_kv': _grouped, ...everyHead } = llama8b;
		assert.equal(kv(shape('llama', everyHead), 8192), 4 * gib, 'without groups each head has its own');
		const gemma = {
			...llama8b,
			block_count: 48,
			'attention.sliding_window': 1024,
			'attention.key_length': 256,
			'attention.value_length': 256,
		};
		const cells = (full: number): number => 8 * 512 * 2 * (8 * full + 40 * (1024 + 512));
		assert.equal(kv(shape('gemma3', gemma), 32_768), cells(32_768), 'of six layers one keeps all');
		assert.equal(kv(shape('gemma3', { ...gemma, 'attention.sliding_window_pattern': 2 }), 1024), 8 * 512 * 2 * 48 * 1024);
		const hybrid = shape('lfm2', { ...llama8b, block_count: 4 }, { 'attention.head_count_kv': [0, 0, 8, 0] });
		assert.equal(kv(hybrid, 1024), 2 * 8 * 128 * 2 * 1024, 'a layer without attention keeps none');
	});

	it('is refused on a GPU that has not so much left, in numbers, for good if it can never have it', () => {
		const need = memoryNeed(shape('llama', llama8b), { slots: 4, ctx: 8192, batchTokens: 512, gpuLayers: null });
		const has = (free: number, total: number): Failure | null =>
			memoryProblem(need, gpuRoom({ free: free * gib, total: total * gib }, [0]));
		assert.equal(has(6, 8), null);
		assert.deepEqual(has(4.2, 8), {
			code: 'POOL_UNAVAILABLE',
			retriable: true,
			message:
				'the model needs 4.7 GiB of GPU memory (weights 1 MiB, KV cache 4.0 GiB for 4 slots of 8192 tokens, computing 576 MiB), GPU 0 has 4.2 GiB free of 8.0 GiB; use less ctx, fewer slots, a smaller model, or devices: [] for the CPU',
		});
		assert.equal(has(4, 4)?.retriable, false);
		assert.match(memoryProblem(need, gpuRoom({ free: 0, total: 1 }, [0, 2]))?.message ?? '', /GPUs 0, 2 together have 0 MiB free/);
	});

	it('is divided where only some layers are to be on the GPU, the last ones; and it is said how many would fit', () => {
		const weights = { ...llama8b, block_count: 4 };
		const whole = shape('llama', weights);
		const block = 0.5 * gib;
		const model: MemoryShape = { ...whole, weightBytes: whole.weightBytes + 4 * block, layerBytes: [block, block, block, block] };
		const use = (gpuLayers: number | null): MemoryUse => ({ slots: 1, ctx: 8192, batchTokens: 512, gpuLayers });
		const all = memoryNeed(model, use(null));
		assert.equal(all.kvBytes, gib / 8, 'four layers of 32 MiB');
		assert.deepEqual([all.cpuKvBytes, all.cpuWeightBytes], [0, model.cpuWeightBytes]);
		const some = memoryNeed(model, use(3));
		assert.deepEqual([some.cpuKvBytes, some.kvBytes], [gib / 32, gib / 8]);
		assert.equal(some.weightBytes - some.cpuWeightBytes, 3 * block, 'what follows the layers comes last');
		assert.deepEqual(memoryNeed(model, use(5)), { ...all, gpuLayers: 5 });
		assert.equal(memoryNeed(model, use(99)).gpuLayers, 5, 'no more than there are');
		const none = memoryNeed(model, use(0));
		assert.deepEqual([none.cpuWeightBytes, none.cpuKvBytes], [none.weightBytes, none.kvBytes]);
		assert.deepEqual([cpuPart(some).weightBytes, cpuPart(some).kvBytes], [some.cpuWeightBytes, some.cpuKvBytes]);

		const fits = (free: number, gpuLayers: number | null = null): number => layersThatFit(model, use(gpuLayers), free * gib);
		assert.deepEqual([fits(0.1), fits(1.4), fits(8), fits(8, 2)], [0, 1, 5, 2]);
		const tight = memoryProblem(some, gpuRoom({ free: 1.4 * gib, total: 8 * gib }, [0]), fits(1.4, 3));
		assert.match(tight?.message ?? '', /^3 of the model's 5 layers need 2\.\d GiB of GPU memory \(weights 1\.5 GiB, KV cache 96 MiB/);
		assert.match(tight?.message ?? '', /, gpu_layers: 1 \(slower: the others stay on the CPU\), or devices: \[\] for the CPU$/);
		assert.equal(memoryProblem(memoryNeed(model, use(1)), gpuRoom({ free: 1.4 * gib, total: 8 * gib }, [0])), null);
	});

	it('has the weights of each layer from the names of its tensors', () => {
		const { memory } = checkGguf(builtInModel);
		assert.ok(memory.layerBytes.length > 1 && memory.layerBytes.every((bytes) => bytes > 0));
		const ofLayers = memory.layerBytes.reduce((sum, bytes) => sum + bytes, 0);
		assert.ok(ofLayers < memory.weightBytes && memory.weightBytes - ofLayers >= memory.cpuWeightBytes);
	});

	it('is refused where layers are to be on a GPU that is not there', async () => {
		const loading = loadModel(settings(builtInModel, { gpuLayers: 4 }), { onLog() {}, onProgress() {} });
		await assert.rejects(loading, (error) => {
			assert.ok(error instanceof LoadError);
			assert.deepEqual([error.failure.code, error.failure.retriable], ['POOL_UNAVAILABLE', false]);
			return error.message.startsWith('gpu_layers is 4, but no GPU can be used here');
		});
		const none = await loadModel(settings(builtInModel, { gpuLayers: 0 }), { onLog() {}, onProgress() {} });
		assert.match(none.device, /^CPU/);
		await none.dispose();
	});

	it('is refused on a CPU only if cache and buffer find no room, or the whole cannot: weights are pages of their file', () => {
		const heavy: MemoryShape = { ...shape('llama', llama8b), weightBytes: 6 * gib };
		const need = memoryNeed(heavy, { slots: 1, ctx: 8192, batchTokens: 512, gpuLayers: null });
		const room = (free: number, more: Partial<MemoryRoom> = {}): MemoryRoom => ({
			...cpuRoom(),
			freeBytes: free * gib,
			totalBytes: 8 * gib,
			freeIsKnown: true,
			...more,
		});
		assert.equal(memoryProblem(need, room(2)), null);
		const tight = memoryProblem(need, room(1));
		assert.deepEqual([tight?.code, tight?.retriable], ['POOL_UNAVAILABLE', true]);
		assert.match(tight?.message ?? '', /needs 7\.6 GiB of memory \(weights 6\.0 GiB, .*, this machine has 1\.0 GiB left of 8\.0 GiB/);
		assert.equal(memoryProblem(need, room(1, { freeIsKnown: false })), null);
		const never = memoryProblem(need, room(7, { totalBytes: 7 * gib }));
		assert.deepEqual([never?.retriable, never?.message.includes('this machine has 7.0 GiB;')], [false, true]);
	});

	it('is looked at before a model is loaded', async () => {
		const path = folder.golden({ keys: { 'llama.context_length': { type: 'u32', value: 2 ** 31 - 1 } } });
		const huge = loadModel(settings(path, { ctx: 2_000_000_000, slots: 64 }), { onLog() {}, onProgress() {} });
		await assert.rejects(huge, (error) => {
			assert.ok(error instanceof LoadError);
			assert.deepEqual([error.failure.code, error.failure.retriable], ['POOL_UNAVAILABLE', false]);
			return /^the model needs [\d.]+ GiB of memory .* for 64 slots of 2000000000 tokens, .* this machine has [\d.]+ GiB/.test(
				error.message,
			);
		});
	});
});
