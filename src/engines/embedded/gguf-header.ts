/**
 * Reads the header of a GGUF file: keys, array lengths, tensor extents. Never trusts a count or a length, reads through a
 * small window, and gives up at limits that no real model reaches. Judges nothing; `gguf-check.ts` does.
 * Format: GGUF versions 2 and 3, little-endian, as specified in ggml's docs/gguf.md.
 */
import { fstatSync, readSync } from 'node:fs';

/** The file cannot be loaded; the message says why in words for a person. */
export class GgufError extends Error {
	override readonly name = 'GgufError';
}

export type GgufScalar = number | bigint | boolean | string;

export interface GgufTensor {
	readonly name: string;
	readonly elements: number;
	/** Elements of a row: the first dimension. */
	readonly rowLength: number;
	readonly type: number;
	/** From the beginning of the tensor data. */
	readonly offset: number;
}

export interface GgufHeader {
	readonly version: number;
	readonly keys: ReadonlyMap<string, GgufScalar>;
	/** Items of each array; what is in them is not kept, */
	readonly arrayItems: ReadonlyMap<string, number>;
	/** but for those that have a number for each layer. */
	readonly layerNumbers: ReadonlyMap<string, readonly number[]>;
	readonly tensors: readonly GgufTensor[];
	/** Where the header ends. */
	readonly bytes: number;
	readonly fileBytes: number;
}

const headerBytesMax = 256 * 1024 * 1024;
const countMax = 1 << 20;
const keyBytesMax = 64 * 1024;
const stringBytesMax = 16 * 1024 * 1024;
const arrayItemsMax = 16 * 1024 * 1024;
const arrayDepthMax = 2;
const dimensionsMax = 4;
const layersMax = 1024;
/** Keys whose value may differ from layer to layer, and that say how much memory it takes. */
const layerKey = /\.(attention\.(head_count|head_count_kv|sliding_window_pattern)|feed_forward_length)$/;
const windowBytes = 256 * 1024;
const leastFileBytes = 24;

const typeString = 8;
const typeArray = 9;
/** Bytes of the value types of fixed size, by number. */
const fixedBytes: Readonly<Record<number, number>> = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };

/** Throws `GgufError`, or what the file system says. */
export function readGgufHeader(file: number): GgufHeader {
	return new HeaderReader(file, fstatSync(file).size).read();
}

/** A name from a file, short enough for a message. */
export function shown(name: string): string {
	return name.length > 80 ? `${name.slice(0, 80)}…` : name;
}

class HeaderReader {
	readonly #file: number;
	readonly #fileBytes: number;
	readonly #arrayItems = new Map<string, number>();
	readonly #layerNumbers = new Map<string, readonly number[]>();
	#window: Buffer = Buffer.alloc(0);
	#windowAt = 0;
	#at = 0;

	constructor(file: number, fileBytes: number) {
		this.#file = file;
		this.#fileBytes = fileBytes;
	}

	read(): GgufHeader {
		if (this.#fileBytes < 4 || this.#take(4).toString('latin1') !== 'GGUF')
			throw new GgufError('not a GGUF file: it does not begin with "GGUF"');
		if (this.#fileBytes < leastFileBytes) throw new GgufError(`truncated: the whole file has ${this.#fileBytes} bytes`);
		const version = this.#u32();
		if (version !== 2 && version !== 3) throw new GgufError(`GGUF version ${version} is not supported; versions 2 and 3 are`);
		const tensorCount = this.#count('tensors');
		const keyCount = this.#count('keys');
		const keys = new Map<string, GgufScalar>();
		for (let index = 0; index < keyCount; index += 1) {
			const key = this.#string(keyBytesMax);
			const type = this.#u32();
			if (type === typeArray) this.#arrayItems.set(key, layerKey.test(key) ? this.#readNumbers(key) : this.#skipArray(1));
			else keys.set(key, this.#scalar(type, key));
		}
		const tensors: GgufTensor[] = [];
		for (let index = 0; index < tensorCount; index += 1) tensors.push(this.#tensor());
		const [arrayItems, layerNumbers] = [this.#arrayItems, this.#layerNumbers];
		return { version, keys, arrayItems, layerNumbers, tensors, bytes: this.#at, fileBytes: this.#fileBytes };
	}

	#tensor(): GgufTensor {
		const name = this.#string(keyBytesMax);
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
		return { name, elements, rowLength, type, offset };
	}

	#scalar(type: number, key: string): GgufScalar {
		if (type === typeString) return this.#string(stringBytesMax);
		const size = fixedBytes[type];
		if (size === undefined) throw new GgufError(`the key ${shown(key)} has the unknown value type ${type}`);
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

	/** Their number; of another kind than numbers, or of more than any model has layers, they are not kept. */
	#readNumbers(key: string): number {
		const before = this.#at;
		const type = this.#u32();
		const items = this.#u64();
		if (items > layersMax || fixedBytes[type] === undefined) {
			this.#at = before;
			return this.#skipArray(1);
		}
		this.#layerNumbers.set(
			key,
			Array.from({ length: items }, () => Number(this.#scalar(type, key))),
		);
		return items;
	}

	/** Its number of items. */
	#skipArray(depth: number): number {
		if (depth > arrayDepthMax) throw new GgufError('arrays are nested too deeply');
		const type = this.#u32();
		const items = this.#u64();
		if (items > arrayItemsMax) throw new GgufError(`an array has ${items} items; at most ${arrayItemsMax} are read`);
		const size = fixedBytes[type];
		if (size !== undefined) this.#skip(items * size);
		else if (type === typeString) for (let index = 0; index < items; index += 1) this.#skip(this.#length(stringBytesMax));
		else if (type === typeArray) for (let index = 0; index < items; index += 1) this.#skipArray(depth + 1);
		else throw new GgufError(`an array has items of the unknown type ${type}`);
		return items;
	}

	#string(bytesMax: number): string {
		return this.#take(this.#length(bytesMax)).toString('utf8');
	}

	#length(bytesMax: number): number {
		const length = this.#u64();
		if (length > bytesMax) throw new GgufError(`a string has ${length} bytes; at most ${bytesMax} are read`);
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

	/** Infinity for what no file can hold: every bound refuses it. */
	#u64(): number {
		const bytes = this.#take(8);
		const high = bytes.readUInt32LE(4);
		return high >= 0x200000 ? Number.POSITIVE_INFINITY : high * 0x1_0000_0000 + bytes.readUInt32LE(0);
	}

	#skip(bytes: number): void {
		this.#checkWithin(bytes);
		this.#at += bytes;
	}

	#checkWithin(more: number): void {
		if (this.#at + more > this.#fileBytes)
			throw new GgufError(`truncated: the header goes beyond the end of the file at byte ${this.#fileBytes}`);
		if (this.#at + more > headerBytesMax) throw new GgufError(`the header is longer than ${headerBytesMax} bytes`);
	}

	/** The next bytes of the file, by way of a window; valid until the next call. */
	#take(bytes: number): Buffer {
		this.#checkWithin(bytes);
		const from = this.#at - this.#windowAt;
		if (from + bytes > this.#window.length) this.#fill(bytes);
		const start = this.#at - this.#windowAt;
		this.#at += bytes;
		return this.#window.subarray(start, start + bytes);
	}

	#fill(bytes: number): void {
		this.#window = Buffer.allocUnsafe(Math.min(Math.max(bytes, windowBytes), this.#fileBytes - this.#at));
		this.#windowAt = this.#at;
		let filled = 0;
		while (filled < this.#window.length) {
			const count = readSync(this.#file, this.#window, filled, this.#window.length - filled, this.#at + filled);
			if (count === 0) throw new GgufError('truncated: the file became shorter while it was read');
			filled += count;
		}
	}
}
