/**
 * How much memory a model takes, from the header of its file, before it is loaded; and whether there is so much. Pure.
 *
 * As llama.cpp of the pinned library reserves it: the KV cache by `llama_kv_cache` (llama-kv-cache.cpp: for each layer and cell, keys and
 * values of its KV heads; a cache for each sequence, its cells a multiple of 256) and `llama_kv_cache_iswa` (layers with a window), the
 * compute buffer by the largest tensors of a full batch without flash attention (`build_attn_mha` of llama-graph.cpp: scores of each head
 * for each cell, and their mask). Held against what it really reserves in `test/engines/embedded-memory.test.ts`.
 */
import { type Failure, failure } from '../../actors/serving/failure.ts';
import { gibibytes } from '../devices.ts';
import type { MemoryShape } from './memory-shape.ts';

export interface MemoryUse {
	readonly slots: number;
	/** Tokens of a slot. */
	readonly ctx: number;
	/** Tokens that are computed at once. */
	readonly batchTokens: number;
	/** The last so many layers are on the GPU, and with one more than there are what follows them; null: all. */
	readonly gpuLayers: number | null;
}

export interface MemoryNeed {
	readonly weightBytes: number;
	/** Of the weights and of the cache, what is not on the GPU where there is one. */
	readonly cpuWeightBytes: number;
	readonly cpuKvBytes: number;
	readonly kvBytes: number;
	readonly computeBytes: number;
	readonly slots: number;
	readonly ctx: number;
	/** Layers on the GPU, of so many that could be: what follows the layers counts as one. Null: whatever is best. */
	readonly gpuLayers: number | null;
	readonly layersMax: number;
}

/** Where it is to go. */
export interface MemoryRoom {
	/** `GPU 0 has`. */
	readonly where: string;
	readonly kind: 'gpu' | 'cpu';
	readonly freeBytes: number;
	readonly totalBytes: number;
	/** Of a system that does not tell what could be had: only the whole is held against the need. */
	readonly freeIsKnown: boolean;
}

const cellsPad = 256;
/** Keys and values are kept as f16. */
const kvElementBytes = 2;
const computeElementBytes = 4;
/** Rows of the embedding's length that a batch holds beside its largest tensor: measured. */
const embeddingRows = 6;
/** Work space of the GPU's libraries. */
const gpuOverheadBytes = 128 * 2 ** 20;

/** As llama.cpp counts the layers that a GPU may have: what follows them is one more. */
export function layersMaxOf({ layerBytes }: MemoryShape): number {
	return layerBytes.length + 1;
}

export function memoryNeed(shape: MemoryShape, { slots, ctx, batchTokens, gpuLayers }: MemoryUse): MemoryNeed {
	const cells = padded(ctx);
	const windowCells = Math.min(cells, padded(shape.window + batchTokens));
	const layersMax = layersMaxOf(shape);
	const onGpu = Math.min(gpuLayers ?? layersMax, layersMax);
	const firstOnGpu = shape.layerBytes.length - Math.min(onGpu, shape.layerBytes.length);
	let [elements, cpuElements] = [0, 0];
	for (const { index, keys, values, windowed } of shape.layers) {
		const own = (keys + values) * (windowed ? windowCells : cells);
		elements += own;
		if (index < firstOnGpu) cpuElements += own;
	}
	const tokens = Math.min(batchTokens, cells * slots);
	const largest = Math.max(cells * (shape.heads + 1), shape.vocabulary, shape.feedForward * 2);
	return {
		weightBytes: shape.weightBytes,
		cpuWeightBytes: onGpu === layersMax ? shape.cpuWeightBytes : cpuWeights(shape, firstOnGpu),
		cpuKvBytes: cpuElements * slots * kvElementBytes,
		kvBytes: elements * slots * kvElementBytes,
		computeBytes: tokens * (largest + embeddingRows * shape.embedding) * computeElementBytes,
		slots,
		ctx,
		gpuLayers: gpuLayers === null ? null : onGpu,
		layersMax,
	};
}

/** All but those of the layers from that one on. */
function cpuWeights({ weightBytes, layerBytes }: MemoryShape, firstOnGpu: number): number {
	return layerBytes.slice(firstOnGpu).reduce((rest, bytes) => rest - bytes, weightBytes);
}

/** The most layers that a GPU with so much memory left has room for, of a use that is for more of them; 0: none. */
export function layersThatFit(shape: MemoryShape, use: MemoryUse, freeBytes: number): number {
	const most = Math.min(use.gpuLayers ?? layersMaxOf(shape), layersMaxOf(shape));
	for (let gpuLayers = most; gpuLayers > 0; gpuLayers -= 1)
		if (gpuBytes(memoryNeed(shape, { ...use, gpuLayers })) <= freeBytes) return gpuLayers;
	return 0;
}

function gpuBytes({ weightBytes, cpuWeightBytes, kvBytes, cpuKvBytes, computeBytes }: MemoryNeed): number {
	return weightBytes - cpuWeightBytes + kvBytes - cpuKvBytes + computeBytes + gpuOverheadBytes;
}

/** What a token of a slot keeps in the cache, bytes, while no window is full. */
export function kvBytesPerToken({ layers }: MemoryShape): number {
	return layers.reduce((sum, { keys, values }) => sum + keys + values, 0) * kvElementBytes;
}

/** Why it is not loaded, in numbers; null: there is room. `fit`: layers that would fit on the GPU. */
export function memoryProblem(need: MemoryNeed, room: MemoryRoom, fit = 0): Failure | null {
	return room.kind === 'gpu' ? gpuProblem(need, room, fit) : cpuProblem(need, room);
}

/** What of it is on the CPU, where a GPU has the rest. */
export function cpuPart(need: MemoryNeed): MemoryNeed {
	return { ...need, weightBytes: need.cpuWeightBytes, kvBytes: need.cpuKvBytes };
}

function gpuProblem(need: MemoryNeed, { where, freeBytes, totalBytes }: MemoryRoom, fit: number): Failure | null {
	const bytes = gpuBytes(need);
	if (bytes <= freeBytes) return null;
	const { weightBytes, cpuWeightBytes, kvBytes, cpuKvBytes, gpuLayers, layersMax } = need;
	const parts = describeParts({ ...need, kvBytes: kvBytes - cpuKvBytes }, weightBytes - cpuWeightBytes);
	const has = `${where} ${gibibytes(freeBytes)} free of ${gibibytes(totalBytes)}`;
	const what = gpuLayers === null || gpuLayers === layersMax ? 'the model needs' : `${gpuLayers} of the model's ${layersMax} layers need`;
	const fewer = fit > 0 ? `gpu_layers: ${fit} (slower: the others stay on the CPU), ` : '';
	const words = `${what} ${gibibytes(bytes)} of GPU memory (${parts}), ${has}; use less ctx, fewer slots, a smaller model, ${fewer}or devices: [] for the CPU`;
	return failure('POOL_UNAVAILABLE', words, { retriable: bytes <= totalBytes });
}

/** Generous: the weights are pages of the file, which the system takes back and reads again. */
function cpuProblem(need: MemoryNeed, { where, freeBytes, totalBytes, freeIsKnown }: MemoryRoom): Failure | null {
	const ours = need.kvBytes + need.computeBytes;
	const bytes = need.weightBytes + ours;
	const fits = bytes <= totalBytes;
	if (fits && (!freeIsKnown || ours <= freeBytes)) return null;
	const has = fits ? `${where} ${gibibytes(freeBytes)} left of ${gibibytes(totalBytes)}` : `${where} ${gibibytes(totalBytes)}`;
	const words = `the model needs ${gibibytes(bytes)} of memory (${describeParts(need, need.weightBytes)}), ${has}; use less ctx, fewer slots or a smaller model`;
	return failure('POOL_UNAVAILABLE', words, { retriable: fits });
}

function describeParts({ kvBytes, computeBytes, slots, ctx }: MemoryNeed, weightBytes: number): string {
	const cache = `KV cache ${gibibytes(kvBytes)} for ${slots} slot${slots === 1 ? '' : 's'} of ${ctx} tokens`;
	return `weights ${gibibytes(weightBytes)}, ${cache}, computing ${gibibytes(computeBytes)}`;
}

function padded(cells: number): number {
	return Math.ceil(cells / cellsPad) * cellsPad;
}
