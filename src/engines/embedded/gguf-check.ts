/**
 * Reads the header of a GGUF file and refuses what llama.cpp would abort on: it asserts, and takes its process with it, where
 * a shape key is missing or a tensor lies outside the file. Bounded: it reads the header only, never trusts a count, and gives
 * up at limits no real model reaches. Format: GGUF v2 and v3, as specified by ggml (docs/gguf.md).
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** What is known of a model from its header. */
export interface GgufFacts {
	readonly version: number;
	readonly architecture: string;
	readonly name: string | null;
	readonly contextLength: number;
	readonly embeddingLength: number;
	readonly blockCount: number;
	readonly chatTemplate: string | null;
	/** 0 or absent: the model makes no embeddings of its own. */
	readonly poolingType: number;
	readonly tensorCount: number;
	readonly fileBytes: number;
}

/** The file cannot be loaded; the message says why in words for a person. */
export class GgufError extends Error {
	override readonly name = 'GgufError';
}

const headerBytesMax = 256 * 1024 * 1024;
const countMax = 1 << 20;
const stringBytesMax = 16 * 1024 * 1024;
const arrayItemsMax = 16 * 1024 * 1024;
const dimensionsMax = 4;
const windowBytes = 256 * 1024;
const defaultAlignment = 32;

/** GGUF value types by number; sizes of the fixed ones in bytes. */
const fixedSizes: Readonly<Record<number, number>> = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };
const typeString = 8;
const typeArray = 9;

/** Block length and block bytes of ggml tensor types, by number. A type that is not here is not judged by its size. */
const tensorBlocks: Readonly<Record<number, readonly [number, number]>> = {
	0: [1, 4],
	1: [1, 2],
	2: [32, 18],
	3: [32, 20],
	6: [32, 22],
	7: [32, 24],
	8: [32, 34],
	9: [32, 36],
	10: [256, 84],
	11: [256, 110],
	12: [256, 144],
	13: [256, 176],
	14: [256, 210],
	15: [256, 292],
	24: [1, 1],
	25: [1, 2],
	26: [1, 4],
	27: [1, 8],
	28: [1, 8],
	30: [1, 2],
};

type Scalar = number | bigint | boolean | string;

interface Tensor {
	readonly name: string;
	readonly elements: number;
	readonly rowLength: number;
	readonly type: number;
	readonly offset: number;
}

/** Keys without which llama.cpp aborts, for architectures with attention; checked as `<architecture>.<key>`. */
const shapeKeys = ['context_length', 'embedding_length', 'block_count', 'feed_forward_length', 'attention.head_count'] as const;

export function checkGguf(path: string): GgufFacts {
	const file = openSync(path, 'r');
	try {
		return new GgufHeader(file, fstatSync(file).size).read();
	} finally {
		closeSync(file);
	}
}

class GgufHeader {
	readonly #file: number;
	readonly #size: number;
	#window: Buffer = Buffer.alloc(0);
	#windowAt = 0;
	#at = 0;

	constructor(file: number, size: number) {
		this.#file = file;
		this.#size = size;
	}

	read(): GgufFacts {
		if (this.#size < 24 || this.#take(4).toString('latin1') !== 'GGUF')
			throw new GgufError('not a GGUF file: it does not begin with "GGUF"');
		const version = this.#u32();
		if (version !== 2 && version !== 3) throw new GgufError(`GGUF version ${version} is not supported; versions 2 and 3 are`);
		const tensorCount = this.#count('tensors');
		const keyCount = this.#count('keys');
		const keys = new Map<string, Scalar>();
		let tokens = 0;
		for (let index = 0; index < keyCount; index += 1) {
			const key = this.#string();
			const value = this.#value(this.#u32(), 0);
			if (typeof value === 'object') {
				if (key === 'tokenizer.ggml.tokens') tokens = value.items;
			} else keys.set(key, value);
		}
		const tensors = Array.from({ length: tensorCount }, () => this.#tensor());
		this.#checkTensors(tensors, numberOf(keys.get('general.alignment')) ?? defaultAlignment);
		return this.#facts(version, keys, tokens, tensors);
	}

	#facts(version: number, keys: ReadonlyMap<string, Scalar>, tokens: number, tensors: readonly Tensor[]): GgufFacts {
		const architecture = keys.get('general.architecture');
		if (typeof architecture !== 'string' || architecture === '') throw new GgufError('the key general.architecture is missing');
		for (const key of shapeKeys) {
			const value = keys.get(`${architecture}.${key}`);
			// Per-layer values come as arrays, which are not kept.
			if (value === undefined && !this.#arrayKeys.has(`${architecture}.${key}`))
				throw new GgufError(`the key ${architecture}.${key} is missing`);
			if (value !== undefined && !((numberOf(value) ?? 0) > 0))
				throw new GgufError(`the key ${architecture}.${key} is ${String(value)}; it must be a number above 0`);
		}
		if (typeof keys.get('tokenizer.ggml.model') !== 'string')
			throw new GgufError('the key tokenizer.ggml.model is missing: the file has no tokenizer');
		if (tokens === 0) throw new GgufError('the key tokenizer.ggml.tokens is missing or empty: the file has no vocabulary');
		if (!tensors.some((tensor) => tensor.name === 'token_embd.weight')) throw new GgufError('the tensor token_embd.weight is missing');
		const shape = (key: string): number => numberOf(keys.get(`${architecture}.${key}`)) ?? 0;
		return {
			version,
			architecture,
			name: stringOf(keys.get('general.name')),
			contextLength: shape('context_length'),
			embeddingLength: shape('embedding_length'),
			blockCount: shape('block_count'),
			chatTemplate: stringOf(keys.get('tokenizer.chat_template')),
			poolingType: shape('pooling_type'),
			tensorCount: tensors.length,
			fileBytes: this.#size,
		};
	}

	#checkTensors(tensors: readonly Tensor[], alignment: number): void {
		if (!Number.isInteger(alignment) || alignment < 1 || alignment > 1 << 20)
			throw new GgufError(`general.alignment is ${alignment}; it must be a small power of two`);
		const dataAt = Math.ceil(this.#at / alignment) * alignment;
		const extents: { readonly name: string; readonly from: number; readonly to: number }[] = [];
		for (const tensor of tensors) {
			const block = tensorBlocks[tensor.type];
			const from = dataAt + tensor.offset;
			if (block !== undefined && tensor.rowLength % block[0] !== 0) {
				throw new GgufError(`tensor ${tensor.name} has rows of ${tensor.rowLength}, which its type cannot hold`);
			}
			const to = from + (block === undefined ? 1 : (tensor.elements / block[0]) * block[1]);
			if (to > this.#size) throw new GgufError(`truncated: tensor ${tensor.name} ends at byte ${to} of ${this.#size}`);
			extents.push({ name: tensor.name, from, to });
		}
		extents.sort((a, b) => a.from - b.from);
		for (let index = 1; index < extents.length; index += 1) {
			const [before, after] = [extents[index - 1], extents[index]];
			if (before !== undefined && after !== undefined && after.from < before.to)
				throw new GgufError(`tensors ${before.name} and ${after.name} overlap`);
		}
	}

	#tensor(): Tensor {
		const name = this.#string();
		const dimensions = this.#u32();
		if (dimensions < 1 || dimensions > dimensionsMax)
			throw new GgufError(`tensor ${shown(name)} has ${dimensions} dimensions; 1 to ${dimensionsMax} are allowed`);
		let elements = 1;
		let rowLength = 0;
		for (let index = 0; index < dimensions; index += 1) {
			const length = this.#u64();
			if (index === 0) rowLength = length;
			elements *= length;
		}
		const type = this.#u32();
		const offset = this.#u64();
		if (!Number.isSafeInteger(elements) || elements < 1) throw new GgufError(`tensor ${shown(name)} has an impossible size`);
		return { name: shown(name), elements, rowLength, type, offset };
	}

	readonly #arrayKeys = new Set<string>();

	/** A value, or only the length of an array. */
	#value(type: number, depth: number): Scalar | { readonly items: number } {
		if (type === typeString) return this.#string();
		if (type === typeArray) return this.#array(depth);
		const size = fixedSizes[type];
		if (size === undefined) throw new GgufError(`a value has the unknown type ${type}`);
		const bytes = this.#take(size);
		switch (type) {
			case 0:
				return bytes.readUInt8();
			case 1:
				return bytes.readInt8();
			case 2:
				return bytes.readUInt16LE();
			case 3:
				return bytes.readInt16LE();
			case 4:
				return bytes.readUInt32LE();
			case 5:
				return bytes.readInt32LE();
			case 6:
				return bytes.readFloatLE();
			case 7:
				return bytes.readUInt8() !== 0;
			case 10:
				return bytes.readBigUInt64LE();
			case 11:
				return bytes.readBigInt64LE();
			default:
				return bytes.readDoubleLE();
		}
	}

	#array(depth: number): { readonly items: number } {
		if (depth > 1) throw new GgufError('arrays are nested too deeply');
		const type = this.#u32();
		const items = this.#u64();
		if (items > arrayItemsMax) throw new GgufError(`an array has ${items} items; at most ${arrayItemsMax} are read`);
		const size = fixedSizes[type];
		if (size !== undefined) this.#skip(items * size);
		else for (let index = 0; index < items; index += 1) this.#skipValue(type, depth);
		if (this.#lastKey !== '') this.#arrayKeys.add(this.#lastKey);
		return { items };
	}

	#skipValue(type: number, depth: number): void {
		if (type === typeString) this.#skip(this.#stringLength());
		else this.#value(type, depth + 1);
	}

	#lastKey = '';

	#string(): string {
		const text = this.#take(this.#stringLength()).toString('utf8');
		this.#lastKey = text;
		return text;
	}

	#stringLength(): number {
		const length = this.#u64();
		if (length > stringBytesMax) throw new GgufError(`a string has ${length} bytes; at most ${stringBytesMax} are read`);
		return length;
	}

	#count(what: string): number {
		const count = this.#u64();
		if (count > countMax) throw new GgufError(`the header promises ${count} ${what}; at most ${countMax} are read`);
		return count;
	}

	#u32(): number {
		return this.#take(4).readUInt32LE();
	}

	#u64(): number {
		const value = this.#take(8).readBigUInt64LE();
		return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.POSITIVE_INFINITY : Number(value);
	}

	#skip(bytes: number): void {
		this.#at += bytes;
		this.#checkWithin(0);
	}

	#checkWithin(more: number): void {
		if (this.#at + more > this.#size) throw new GgufError(`truncated: the header goes beyond the end of the file at byte ${this.#size}`);
		if (this.#at + more > headerBytesMax) throw new GgufError(`the header is longer than ${headerBytesMax} bytes`);
	}

	/** The next bytes of the file, by way of a window. */
	#take(bytes: number): Buffer {
		this.#checkWithin(bytes);
		const from = this.#at - this.#windowAt;
		if (from < 0 || from + bytes > this.#window.length) {
			this.#window = Buffer.alloc(Math.min(Math.max(bytes, windowBytes), this.#size - this.#at));
			this.#windowAt = this.#at;
			let filled = 0;
			while (filled < this.#window.length) {
				const count = readSync(this.#file, this.#window, filled, this.#window.length - filled, this.#at + filled);
				if (count === 0) throw new GgufError('truncated: the file became shorter while it was read');
				filled += count;
			}
		}
		const start = this.#at - this.#windowAt;
		this.#at += bytes;
		return this.#window.subarray(start, start + bytes);
	}
}

function numberOf(value: Scalar | undefined): number | null {
	if (typeof value === 'number') return value;
	return typeof value === 'bigint' ? Number(value) : null;
}

function stringOf(value: Scalar | undefined): string | null {
	return typeof value === 'string' ? value : null;
}

function shown(name: string): string {
	return name.length > 80 ? `${name.slice(0, 80)}…` : name;
}
