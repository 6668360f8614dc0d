/**
 * What a front thread notes of its tasks that have their 202, in memory that outlives it: who they are, never what they were asked or said. The
 * thread that takes its place reads it, and so denies none of them, whatever else was lost in the same moment. Written by one thread, the front
 * of that name; read once, when that is gone.
 *
 * | bytes | of a cell |
 * |---|---|
 * | 0 … 3 | bytes of the entry; 0: the cell is free. Written last |
 * | 4 … 7 | the size of the cell: 64 · 2ⁿ bytes. Written once, before the end is moved behind it |
 * | 8 … 15 | which entry is the later one, where a task has two: a float |
 * | 16 … | the entry, as JSON |
 *
 * The first cell has no entry: its first four bytes say where the last one ends. A cell that is free is used again for an entry of its size.
 */
import type { KnownTask } from './home-messages.ts';
import type { PriorityClass, Workload } from './task-request.ts';

export interface NotedTask extends KnownTask {
	/** Null: it is expired; its events are gone and its id is remembered. */
	readonly about: AboutTask | null;
}

export interface AboutTask {
	readonly modelRef: string;
	readonly workload: Workload;
	readonly priority: PriorityClass;
	readonly sessionId: string | null;
	readonly correlationId: string;
	/** On `Host.now`. */
	readonly admittedAt: number;
}

export interface TaskBook {
	/** Notes it, in place of what stands in `cell`. Answers where; there is no room for more: where it was, or `noCell`. */
	put(task: NotedTask, cell: number): number;
	forget(cell: number): void;
	/** What the thread before this one had noted, in the order in which it had. */
	recall(): readonly { readonly task: NotedTask; readonly cell: number }[];
}

export const noCell = 0;

/** Where nobody is to know more than the thread itself. */
export const noBook: TaskBook = { put: () => noCell, forget: () => undefined, recall: () => [] };

/** It may grow, up to what was said when it was made; memory that was not used is not taken. */
export type BookMemory = SharedArrayBuffer;

const headBytes = 16;
const cellBytesMin = 64;
const firstBytes = 256 * 1024;
/** A front that keeps ten thousand tasks, and the ids of as many as it ever does, uses a fifth of that. */
const bytesMaxDefault = 64 * 1024 * 1024;

export function bookMemory(bytesMax = bytesMaxDefault): BookMemory {
	return new SharedArrayBuffer(Math.min(firstBytes, bytesMax), { maxByteLength: bytesMax });
}

export class SharedTaskBook implements TaskBook {
	readonly #memory: BookMemory;
	/** Views of all of it: follow its growth. */
	readonly #words: Int32Array;
	readonly #orders: Float64Array;
	#bytes: Buffer;
	/** Cells that are free, by the exponent of their size. */
	readonly #free: number[][] = [];
	#order = 0;

	constructor(memory: BookMemory) {
		this.#memory = memory;
		this.#words = new Int32Array(memory);
		this.#orders = new Float64Array(memory);
		this.#bytes = Buffer.from(memory, 0, memory.byteLength);
		if (this.#end === 0) this.#end = cellBytesMin;
	}

	put(task: NotedTask, before: number): number {
		const text = JSON.stringify(task);
		const length = Buffer.byteLength(text);
		const cell = this.#cellFor(headBytes + length);
		if (cell === noCell) return before;
		this.#bytes.write(text, cell + headBytes);
		this.#orders[cell / 8 + 1] = ++this.#order;
		Atomics.store(this.#words, cell / 4, length);
		this.forget(before);
		return cell;
	}

	forget(cell: number): void {
		if (cell === noCell) return;
		Atomics.store(this.#words, cell / 4, 0);
		this.#freeOf(this.#words[cell / 4 + 1] as number).push(cell);
	}

	recall(): readonly { readonly task: NotedTask; readonly cell: number }[] {
		const found = new Map<string, { readonly task: NotedTask; readonly cell: number; readonly order: number }>();
		for (let cell = cellBytesMin; cell < this.#end; cell += this.#words[cell / 4 + 1] as number) {
			const length = Atomics.load(this.#words, cell / 4);
			const order = this.#orders[cell / 8 + 1] as number;
			if (length === 0) {
				this.#freeOf(this.#words[cell / 4 + 1] as number).push(cell);
				continue;
			}
			this.#order = Math.max(this.#order, order);
			const task = JSON.parse(this.#bytes.toString('utf8', cell + headBytes, cell + headBytes + length)) as NotedTask;
			const other = found.get(task.taskId);
			if (other !== undefined) this.forget(order > other.order ? other.cell : cell);
			if (other === undefined || order > other.order) found.set(task.taskId, { task, cell, order });
		}
		return [...found.values()].sort((a, b) => a.order - b.order).map(({ task, cell }) => ({ task, cell }));
	}

	get #end(): number {
		return Atomics.load(this.#words, 0);
	}

	set #end(end: number) {
		Atomics.store(this.#words, 0, end);
	}

	/** Of so many bytes at least; free. */
	#cellFor(bytes: number): number {
		const size = cellBytesMin * 2 ** Math.max(0, Math.ceil(Math.log2(bytes / cellBytesMin)));
		const free = this.#freeOf(size).pop();
		if (free !== undefined) return free;
		const cell = this.#end;
		if (!this.#reaches(cell + size)) return noCell;
		this.#words[cell / 4 + 1] = size;
		this.#end = cell + size;
		return cell;
	}

	#reaches(end: number): boolean {
		const { byteLength, maxByteLength } = this.#memory;
		if (end <= byteLength) return true;
		if (end > maxByteLength) return false;
		this.#memory.grow(Math.min(maxByteLength, Math.max(end, byteLength * 2)));
		this.#bytes = Buffer.from(this.#memory, 0, this.#memory.byteLength);
		return true;
	}

	#freeOf(size: number): number[] {
		const exponent = Math.round(Math.log2(size / cellBytesMin));
		for (let at = this.#free.length; at <= exponent; at += 1) this.#free.push([]);
		return this.#free[exponent] as number[];
	}
}
