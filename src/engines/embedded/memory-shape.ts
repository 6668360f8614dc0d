/**
 * Of a GGUF header, what the memory of its model depends on: bytes of weights, and what each layer keeps of each token. Pure. Keys and
 * their defaults as llama.cpp reads them (`llama_model::load_hparams` of llama-model.cpp, `n_embd_k_gqa` of llama-hparams.cpp).
 */
import type { GgufHeader } from './gguf-header.ts';
import { tensorTypes } from './gguf-types.ts';

export interface MemoryShape {
	/** Of all tensors. */
	readonly weightBytes: number;
	/** Of those, what stays with the CPU: the table of token embeddings, unless it is the output, too. */
	readonly cpuWeightBytes: number;
	readonly vocabulary: number;
	readonly embedding: number;
	/** Of the layer that has most. */
	readonly feedForward: number;
	readonly heads: number;
	/** Those with a KV cache. */
	readonly layers: readonly LayerShape[];
	/** Of the weights, those of each layer, in their order. */
	readonly layerBytes: readonly number[];
	/** Tokens that a layer with a window looks back at; 0: none has one. */
	readonly window: number;
}

export interface LayerShape {
	/** Its place among all layers. */
	readonly index: number;
	/** Numbers that it keeps of each token: keys of its KV heads, and values. */
	readonly keys: number;
	readonly values: number;
	/** It keeps the tokens of the window only. */
	readonly windowed: boolean;
}

/**
 * Of how many layers one, the last, looks back at everything, where the file does not say: calls of `set_swa_pattern` in llama-model.cpp.
 * Others that have a window are taken to keep everything, which is more than they may need.
 */
const windowEvery: Readonly<Record<string, number>> = {
	llama4: 4,
	gemma2: 2,
	gemma3: 6,
	gemma3n: 5,
	cohere2: 4,
	olmo2: 4,
	exaone4: 4,
	'gpt-oss': 2,
};

export function memoryShapeOf(header: GgufHeader, architecture: string): MemoryShape {
	const { keys, arrayItems, layerNumbers, tensors } = header;
	const number = (name: string): number => {
		const value = keys.get(`${architecture}.${name}`);
		return typeof value === 'number' || typeof value === 'bigint' ? Number(value) : 0;
	};
	const perLayer = (name: string, layer: number, otherwise: number): number => {
		const key = `${architecture}.${name}`;
		return layerNumbers.get(key)?.[layer] ?? (keys.has(key) ? number(name) : otherwise);
	};
	const layerCount = number('block_count');
	const embedding = number('embedding_length');
	const window = number('attention.sliding_window');
	const pattern = number('attention.sliding_window_pattern') || (windowEvery[architecture] ?? 0);
	const stated = layerNumbers.get(`${architecture}.attention.sliding_window_pattern`);
	let [mostHeads, mostForward] = [0, 0];
	const layers: LayerShape[] = [];
	for (let layer = 0; layer < layerCount; layer += 1) {
		const heads = perLayer('attention.head_count', layer, 0);
		const kvHeads = perLayer('attention.head_count_kv', layer, heads);
		const headSize = heads === 0 ? 0 : embedding / heads;
		mostHeads = Math.max(mostHeads, heads);
		mostForward = Math.max(mostForward, perLayer('feed_forward_length', layer, 0));
		// Layers without attention keep a state of fixed size, which is small.
		if (kvHeads === 0) continue;
		const windowed = stated === undefined ? pattern > 0 && layer % pattern < pattern - 1 : stated[layer] === 1;
		layers.push({
			index: layer,
			keys: kvHeads * (number('attention.key_length') || headSize),
			values: kvHeads * (number('attention.value_length') || headSize),
			windowed: window > 0 && windowed,
		});
	}
	let [weightBytes, tableBytes] = [0, 0];
	const layerBytes = Array.from({ length: layerCount }, () => 0);
	for (const { name, elements, type } of tensors) {
		const { block, bytes } = tensorTypes[type] ?? { block: 1, bytes: 0 };
		const size = (elements / block) * bytes;
		weightBytes += size;
		const layer = Number(/^blk\.(\d+)\./.exec(name)?.[1] ?? -1);
		if (layerBytes[layer] !== undefined) layerBytes[layer] += size;
		if (name === 'token_embd.weight') tableBytes = size;
	}
	return {
		weightBytes,
		cpuWeightBytes: tensors.some(({ name }) => name === 'output.weight') ? tableBytes : 0,
		vocabulary: arrayItems.get('tokenizer.ggml.tokens') ?? 0,
		embedding,
		feedForward: mostForward,
		heads: mostHeads,
		layers,
		layerBytes,
		window,
	};
}
