/**
 * Reads LMDB's file without LMDB, which maps it and takes what it finds there for true: a page that is spoiled or cut off would end the
 * process. Here each page is looked at before anything in it is believed, so that a damaged store can be told from a whole one, and what is
 * left of it read. Nothing is written.
 *
 * | page, bytes | holds | node, bytes | holds |
 * |---|---|---|---|
 * | 0 … 7 | its number | 0 … 3 | bytes of the value; of a branch, with 4 … 5: the page below |
 * | 8 … 15 | the transaction that wrote it | 4 … 5 | flags: value in pages of its own, value is a table |
 * | 18 … 19 | flags: branch, leaf, overflow, meta | 6 … 7 | bytes of the key |
 * | 20 … 23 | bytes of offsets, free from there; of an overflow page its pages | 8 … | key, then value |
 * | 24 … | offsets of nodes, from byte 24, u16 each | | |
 */
import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs';

/** What is wrong with a file, in words. */
export class PageProblem extends Error {
	override readonly name = 'PageProblem';
}

export interface StoredEntry {
	/** Of the table; '' for what lies beside the tables. */
	readonly table: string;
	readonly key: Buffer;
	readonly value: Buffer;
}

interface Node {
	readonly key: Buffer;
	readonly value: Buffer;
	readonly flags: number;
	/** Of a branch. */
	readonly below: bigint;
}

/** A table on the way through it. */
interface Tree {
	readonly table: string;
	/** Of its keys. */
	readonly order: (a: Buffer, b: Buffer) => number;
	/** The key before. */
	last: Buffer | null;
	readonly lost: ((words: string) => void) | undefined;
}

interface Meta {
	readonly pageBytes: number;
	readonly lastPage: number;
	readonly transaction: bigint;
	readonly root: bigint;
	readonly freeRoot: bigint;
}

const magic = 0xbeefc0de;
const headBytes = 24;
const metaBytes = 160;
const tableBytes = 48;
const nodeHeadBytes = 8;
const overflowBytes = 24;
const meta = { magic: 24, pageBytes: 48, freeTable: 48, mainTable: 96, lastPage: 144, transaction: 152 } as const;
const rootAt = 40;
const flags = { branch: 1, leaf: 2, overflow: 4 } as const;
const nodeFlags = { big: 1, table: 2 } as const;
const depthMax = 32;
/** Where the second head may lie. */
const pageSizes = [4_096, 8_192, 16_384, 32_768, 65_536];
const noPage = 2n ** 64n - 1n;

/** Null: there is none. Close it. */
export function openPages(path: string): PageWalk | null {
	return existsSync(path) ? new PageWalk(path) : null;
}

export class PageWalk {
	readonly #file: number;
	readonly #pages: number;
	readonly #pageBytes: number;
	readonly #root: bigint;
	readonly #freeRoot: bigint;
	readonly #seen = new Set<number>();
	#shallow = false;

	/**
	 * `head`: of the last commit, or of that before it, none of whose pages is written over yet, or the one that is left of the two. Throws a
	 * `PageProblem` where it cannot be read.
	 */
	constructor(path: string, head: 'newest' | 'older' = 'newest') {
		this.#file = openSync(path, 'r');
		try {
			const { size } = fstatSync(this.#file);
			if (size === 0) throw new PageProblem('its file is empty');
			const used = head === 'newest' ? this.#newest() : this.#older();
			this.#pageBytes = used.pageBytes;
			// The last pages need not be there, where nothing lies in them.
			this.#pages = Math.min(Math.floor(size / used.pageBytes), used.lastPage + 1);
			this.#root = used.root;
			this.#freeRoot = used.freeRoot;
		} catch (error) {
			this.close();
			throw error;
		}
	}

	close(): void {
		closeSync(this.#file);
	}

	/** Throws a `PageProblem` where a page of a table, or of the list of free pages, is not what it should be. Values are not read. */
	check(): void {
		this.#seen.clear();
		this.#shallow = true;
		for (const _pages of this.#table('', this.#freeRoot, undefined, byNumber));
		for (const _entry of this.#table('', this.#root, undefined));
	}

	/** Every entry of every table. `lost`: what cannot be read is told and passed over; without it, it is thrown as a `PageProblem`. */
	*entries(lost?: (words: string) => void): Generator<StoredEntry> {
		this.#seen.clear();
		this.#shallow = false;
		yield* this.#table('', this.#root, lost);
	}

	*#table(
		table: string,
		root: bigint,
		lost: ((words: string) => void) | undefined,
		order: Tree['order'] = Buffer.compare,
	): Generator<StoredEntry> {
		if (root !== noPage) yield* this.#tree({ table, order, last: null, lost }, root, 0);
	}

	*#tree(tree: Tree, number: bigint, depth: number): Generator<StoredEntry> {
		const { table, lost } = tree;
		const page = this.#tried(lost, table, () => this.#page(number, depth));
		if (page === null) return;
		const isLeaf = (page.readUInt16LE(18) & flags.leaf) !== 0;
		const count = page.readUInt16LE(20) >> 1;
		for (let index = 0; index < count; index += 1) {
			const node = this.#tried(lost, table, () => (isLeaf ? ordered(tree, this.#node(page, index, true)) : this.#node(page, index, false)));
			if (node === null) continue;
			if (!isLeaf) yield* this.#tree(tree, node.below, depth + 1);
			else if ((node.flags & nodeFlags.table) !== 0) {
				const name = textOf(node.key);
				yield* this.#table(name, node.value.readBigUInt64LE(rootAt), lost);
			} else yield { table, key: node.key, value: node.value };
		}
	}

	#tried<T>(lost: ((words: string) => void) | undefined, table: string, read: () => T): T | null {
		if (lost === undefined) return read();
		try {
			return read();
		} catch (error) {
			if (!(error instanceof PageProblem)) throw error;
			lost(table === '' ? error.message : `${table}: ${error.message}`);
			return null;
		}
	}

	#page(number: bigint, depth: number): Buffer {
		const page = this.#read(number, 1);
		const kind = page.readUInt16LE(18);
		const isTree = (kind & flags.branch) !== 0 || (kind & flags.leaf) !== 0;
		const offsets = page.readUInt16LE(20);
		const upper = page.readUInt16LE(22);
		if (!isTree || (kind & flags.overflow) !== 0 || depth > depthMax) throw new PageProblem(`page ${number} is not what belongs there`);
		if (offsets % 2 !== 0 || offsets > upper || headBytes + upper > this.#pageBytes)
			throw new PageProblem(`page ${number} contradicts itself`);
		return page;
	}

	#node(page: Buffer, index: number, isLeaf: boolean): Node {
		const at = headBytes + page.readUInt16LE(headBytes + 2 * index);
		const wrong = (): PageProblem => new PageProblem(`entry ${index} of page ${page.readBigUInt64LE(0)} runs over its page`);
		if (at + nodeHeadBytes > this.#pageBytes) throw wrong();
		const size = page.readUInt32LE(at);
		const kind = page.readUInt16LE(at + 4);
		const keyEnd = at + nodeHeadBytes + page.readUInt16LE(at + 6);
		if (keyEnd > this.#pageBytes) throw wrong();
		const key = page.subarray(at + nodeHeadBytes, keyEnd);
		if (!isLeaf) return { key, value: page.subarray(0, 0), flags: 0, below: BigInt(size) | (BigInt(kind) << 32n) };
		const isBig = (kind & nodeFlags.big) !== 0;
		const inside = isBig ? overflowBytes : size;
		if (keyEnd + inside > this.#pageBytes || ((kind & nodeFlags.table) !== 0 && size !== tableBytes)) throw wrong();
		const value = isBig ? this.#overflow(page.readBigUInt64LE(keyEnd), size) : page.subarray(keyEnd, keyEnd + size);
		return { key, value, flags: kind, below: noPage };
	}

	/** A value that has pages of its own, one behind the other. */
	#overflow(number: bigint, size: number): Buffer {
		const pages = Math.ceil((headBytes + size) / this.#pageBytes);
		const bytes = this.#read(number, pages, this.#shallow ? 1 : pages);
		if ((bytes.readUInt16LE(18) & flags.overflow) === 0 || bytes.readUInt32LE(20) < pages)
			throw new PageProblem(`page ${number} is not what belongs there`);
		return bytes.subarray(headBytes, headBytes + size);
	}

	/** `wanted`: of the pages, so many are read. */
	#read(number: bigint, count: number, wanted = count): Buffer {
		if (number < 2n || number + BigInt(count) > BigInt(this.#pages))
			throw new PageProblem(`page ${number + BigInt(count) - 1n} is missing: the file has ${this.#pages} pages`);
		const first = Number(number);
		for (let page = first; page < first + count; page += 1) {
			if (this.#seen.has(page)) throw new PageProblem(`page ${page} belongs to two`);
			this.#seen.add(page);
		}
		const bytes = Buffer.allocUnsafeSlow(wanted * this.#pageBytes);
		const read = readSync(this.#file, bytes, 0, bytes.length, first * this.#pageBytes);
		if (read < bytes.length || bytes.readBigUInt64LE(0) !== number) throw new PageProblem(`page ${number} is not what belongs there`);
		return bytes;
	}

	#newest(): Meta {
		const first = this.#metaAt(0);
		if (first === null) throw new PageProblem('its file does not begin as one of LMDB does');
		const second = this.#metaAt(first.pageBytes);
		if (second === null) throw new PageProblem('its second head is missing');
		return second.transaction > first.transaction ? second : first;
	}

	/** Or the only one that can be read. */
	#older(): Meta {
		const heads = [0, ...pageSizes].map((at) => this.#metaAt(at)).filter((each) => each !== null);
		const [first, second] = heads;
		if (first === undefined) throw new PageProblem('neither of its heads can be read');
		return second !== undefined && second.transaction < first.transaction ? second : first;
	}

	#metaAt(from: number): Meta | null {
		const bytes = Buffer.alloc(metaBytes);
		if (readSync(this.#file, bytes, 0, metaBytes, from) < metaBytes || bytes.readUInt32LE(meta.magic) !== magic) return null;
		const pageBytes = bytes.readUInt32LE(meta.pageBytes);
		if (pageBytes < 256 || pageBytes > 65_536) return null;
		return {
			pageBytes,
			lastPage: Number(bytes.readBigUInt64LE(meta.lastPage)),
			transaction: bytes.readBigUInt64LE(meta.transaction),
			root: bytes.readBigUInt64LE(meta.mainTable + rootAt),
			freeRoot: bytes.readBigUInt64LE(meta.freeTable + rootAt),
		};
	}
}

/** Free pages lie under the number of the transaction that freed them, its lowest byte first. */
function byNumber(a: Buffer, b: Buffer): number {
	if (a.length !== 8 || b.length !== 8) throw new PageProblem('a key of the free pages is no number');
	const [one, other] = [a.readBigUInt64LE(), b.readBigUInt64LE()];
	return one < other ? -1 : one > other ? 1 : 0;
}

/** Keys of a table ascend. One that does not is none the less read, where what is lost is told. */
function ordered(tree: Tree, node: Node): Node {
	const { last, lost, table, order } = tree;
	if (node.key.length === 0) throw new PageProblem('a key is empty');
	if (last !== null && order(last, node.key) >= 0) {
		const problem = new PageProblem('a key is not where it belongs');
		if (lost === undefined) throw problem;
		lost(table === '' ? problem.message : `${table}: ${problem.message}`);
		return node;
	}
	tree.last = node.key;
	return node;
}

/** Names and keys that are texts end with a zero where they lie beside the tables. */
export function textOf(key: Buffer): string {
	const end = key.indexOf(0);
	return key.toString('utf8', 0, end < 0 ? key.length : end);
}
