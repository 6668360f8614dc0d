/**
 * Judges a GGUF file before llama.cpp loads it: where a shape key is missing or a tensor lies outside the file llama.cpp
 * asserts, and takes its process with it. Also says what is worth knowing of the model. Reads the header only.
 */
import { closeSync, openSync } from 'node:fs';
import { GgufError, type GgufHeader, type GgufScalar, readGgufHeader, shown } from './gguf-header.ts';
import { fileTypes, tensorTypes } from './gguf-types.ts';
import { type MemoryShape, memoryShapeOf } from './memory-shape.ts';

/** What is known of a model from its header. */
export interface GgufFacts {
	readonly version: number;
	readonly architecture: string;
	readonly name: string | null;
	/** Elements of all tensors. */
	readonly parameters: number;
	/** `Q4_K_M`, …: as the file says, else the type of most of its tensor bytes. */
	readonly quantization: string;
	readonly contextLength: number;
	readonly embeddingLength: number;
	readonly blockCount: number;
	readonly chatTemplate: string | null;
	/** 0: none, or not said. 1 mean, 2 cls, 3 last, 4 rank. */
	readonly poolingType: number;
	/** False: an encoder, it makes vectors and no text. */
	readonly generates: boolean;
	readonly fileBytes: number;
	/** What its memory depends on. */
	readonly memory: MemoryShape;
}

/** Architectures without attention, or with it in some layers only: they need not have attention's keys. */
const recurrent = /^(mamba|rwkv|arwkv|jamba|falcon-h1|falcon_h1|granitehybrid|nemotron_h|plamo2|lfm2|kimi-linear)/;
/** Architectures that only encode. */
const encoder = /^(bert|nomic-bert|nomic-bert-moe|jina-bert-v2|jina-bert-v3|neo-bert|modern-bert|eurobert|t5encoder|gemma-embedding)$/;

const alwaysKeys = ['context_length', 'embedding_length', 'block_count'];
const attentionKeys = ['feed_forward_length', 'attention.head_count'];
const defaultAlignment = 32;
const alignmentMax = 1 << 20;
const blockCountMax = 1 << 14;

/** Throws `GgufError` with words for a person, or what the file system says. */
export function checkGguf(path: string): GgufFacts {
	const file = openSync(path, 'r');
	try {
		const header = readGgufHeader(file);
		return new GgufJudge(header).facts();
	} finally {
		closeSync(file);
	}
}

class GgufJudge {
	readonly #header: GgufHeader;
	readonly #architecture: string;

	constructor(header: GgufHeader) {
		this.#header = header;
		const architecture = header.keys.get('general.architecture');
		if (typeof architecture !== 'string' || architecture === '') throw new GgufError('the key general.architecture is missing');
		this.#architecture = shown(architecture);
	}

	facts(): GgufFacts {
		this.#checkShape();
		this.#checkVocabulary();
		const bytesByType = this.#checkTensors();
		const { keys, tensors, version, fileBytes } = this.#header;
		const fileType = fileTypes[numberOf(keys.get('general.file_type')) ?? -1];
		const dominant = [...bytesByType].sort((a, b) => b[1] - a[1])[0]?.[0];
		return {
			version,
			architecture: this.#architecture,
			name: stringOf(keys.get('general.name')),
			parameters: tensors.reduce((sum, tensor) => sum + tensor.elements, 0),
			quantization: fileType ?? dominant ?? 'unknown',
			contextLength: this.#shape('context_length'),
			embeddingLength: this.#shape('embedding_length'),
			blockCount: this.#shape('block_count'),
			chatTemplate: stringOf(keys.get('tokenizer.chat_template')),
			poolingType: this.#shape('pooling_type'),
			generates: !encoder.test(this.#architecture),
			fileBytes,
			memory: memoryShapeOf(this.#header, this.#architecture),
		};
	}

	#shape(key: string): number {
		return numberOf(this.#header.keys.get(`${this.#architecture}.${key}`)) ?? 0;
	}

	#checkShape(): void {
		const needed = recurrent.test(this.#architecture) ? alwaysKeys : [...alwaysKeys, ...attentionKeys];
		for (const name of needed) {
			const key = `${this.#architecture}.${name}`;
			const value = this.#header.keys.get(key);
			// Values that differ from layer to layer come as an array.
			if (value === undefined && !this.#header.arrayItems.has(key)) throw new GgufError(`the key ${key} is missing`);
			if (value !== undefined && !isCount(value))
				throw new GgufError(`the key ${key} is ${shown(String(value))}; it must be a whole number above 0`);
		}
		if (this.#shape('block_count') > blockCountMax)
			throw new GgufError(
				`the key ${this.#architecture}.block_count is ${this.#shape('block_count')}; at most ${blockCountMax} are possible`,
			);
		const heads = this.#shape('attention.head_count');
		const ownHeadSize = this.#header.keys.has(`${this.#architecture}.attention.key_length`);
		if (heads > 0 && !ownHeadSize && this.#shape('embedding_length') % heads !== 0)
			throw new GgufError(
				`${this.#architecture}.embedding_length is ${this.#shape('embedding_length')}, which ${heads} attention heads cannot share`,
			);
	}

	#checkVocabulary(): void {
		const { keys, arrayItems } = this.#header;
		if (typeof keys.get('tokenizer.ggml.model') !== 'string')
			throw new GgufError('the key tokenizer.ggml.model is missing: the file has no tokenizer');
		const tokens = arrayItems.get('tokenizer.ggml.tokens') ?? 0;
		if (tokens === 0) throw new GgufError('the key tokenizer.ggml.tokens is missing or empty: the file has no vocabulary');
		// llama.cpp reads these by token number, without looking at their length.
		for (const key of ['tokenizer.ggml.scores', 'tokenizer.ggml.token_type']) {
			const items = arrayItems.get(key);
			if (items !== undefined && items < tokens) throw new GgufError(`the key ${key} has ${items} items for ${tokens} tokens`);
		}
	}

	/** Bytes of each type of tensor. */
	#checkTensors(): Map<string, number> {
		const { keys, tensors, bytes, fileBytes } = this.#header;
		const alignment = numberOf(keys.get('general.alignment')) ?? defaultAlignment;
		if (!(alignment >= 1 && alignment <= alignmentMax && (alignment & (alignment - 1)) === 0))
			throw new GgufError(`general.alignment is ${alignment}; it must be a power of two`);
		const dataAt = Math.ceil(bytes / alignment) * alignment;
		const bytesByType = new Map<string, number>();
		const extents: { readonly name: string; readonly from: number; readonly to: number }[] = [];
		for (const tensor of tensors) {
			const type = tensorTypes[tensor.type];
			if (type !== undefined && tensor.rowLength % type.block !== 0)
				throw new GgufError(`tensor ${shown(tensor.name)} has rows of ${tensor.rowLength}, which type ${type.name} cannot hold`);
			const from = dataAt + tensor.offset;
			const size = type === undefined ? 1 : (tensor.elements / type.block) * type.bytes;
			if (from + size > fileBytes)
				throw new GgufError(`truncated: tensor ${shown(tensor.name)} ends at byte ${from + size} of ${fileBytes}`);
			if (type !== undefined) bytesByType.set(type.name, (bytesByType.get(type.name) ?? 0) + size);
			extents.push({ name: tensor.name, from, to: from + size });
		}
		extents.sort((a, b) => a.from - b.from);
		for (const [index, after] of extents.entries()) {
			const before = extents[index - 1];
			if (before !== undefined && after.from < before.to)
				throw new GgufError(`tensors ${shown(before.name)} and ${shown(after.name)} overlap`);
		}
		// The first of several files need not hold this one.
		const parts = numberOf(keys.get('split.count')) ?? 1;
		if (parts <= 1 && !tensors.some((tensor) => tensor.name === 'token_embd.weight'))
			throw new GgufError('the tensor token_embd.weight is missing');
		return bytesByType;
	}
}

function isCount(value: GgufScalar): boolean {
	const number = numberOf(value);
	return number !== null && Number.isInteger(number) && number > 0 && number < 2 ** 32;
}

function numberOf(value: GgufScalar | undefined): number | null {
	if (typeof value === 'number') return value;
	return typeof value === 'bigint' ? Number(value) : null;
}

function stringOf(value: GgufScalar | undefined): string | null {
	return typeof value === 'string' ? value : null;
}
