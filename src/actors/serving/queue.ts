/**
 * The queue of one pool: who starts next, who stands where, and how much work is ahead of whom. Pure, on the control thread.
 *
 * Order: a task's key is when it was admitted, for a batch task plus `batchMaxWaitMs`; the smallest key is next, ties by
 * arrival. So interactive tasks go before batch tasks, FIFO inside a class, and a batch task that has waited
 * `batchMaxWaitMs` goes before every interactive task that came later: it cannot starve. A task that returns keeps its place.
 *
 * A treap with subtree sums (Seidel, Aragon, 1996): enqueue, dequeue, remove and the place of a task in O(log n).
 */
import type { PriorityClass } from './task-request.ts';

export interface QueueEntry {
	readonly taskId: string;
	readonly priority: PriorityClass;
	/** When its front admitted it, on `Host.now`. */
	readonly admittedAt: number;
	/** Bytes it holds while it waits. */
	readonly bytes: number;
	/** Milliseconds of one slot that it will take, as predicted. */
	readonly workMs: number;
}

export interface QueueBounds {
	readonly capacity: number;
	readonly bytesMax: number;
	readonly batchMaxWaitMs: number;
}

interface Node<E> {
	readonly entry: E;
	readonly key: number;
	readonly order: number;
	readonly weight: number;
	left: Node<E> | null;
	right: Node<E> | null;
	count: number;
	workMs: number;
}

/** Where an entry stands. */
export interface QueuePlace {
	/** Entries before it. */
	readonly position: number;
	/** Predicted work of those, ms of one slot. */
	readonly workAheadMs: number;
}

/** What a full queue does with a newcomer. */
export type FullPolicy = 'reject' | 'drop-lru' | 'shed-low-priority';

/**
 * Whom the policy drops for a newcomer: the oldest batch task, else (`drop-lru`, for an interactive newcomer) the oldest.
 * Undefined: nobody may be dropped. A batch newcomer never drops an interactive task.
 */
export function victimOf<E extends QueueEntry>(policy: FullPolicy, queue: WaitingQueue<E>, newcomer: PriorityClass): E | undefined {
	switch (policy) {
		case 'reject':
			return undefined;
		case 'shed-low-priority':
			return newcomer === 'interactive' ? queue.oldest('batch') : undefined;
		case 'drop-lru':
			return queue.oldest('batch') ?? (newcomer === 'interactive' ? queue.oldest('interactive') : undefined);
	}
}

export class WaitingQueue<E extends QueueEntry> {
	readonly bounds: QueueBounds;
	#root: Node<E> | null = null;
	readonly #byTask = new Map<string, Node<E>>();
	/** In order of arrival: the first of each is the oldest. */
	readonly #classes: Readonly<Record<PriorityClass, Map<string, E>>> = { interactive: new Map(), batch: new Map() };
	#bytes = 0;
	#order = 0;

	constructor(bounds: QueueBounds) {
		this.bounds = bounds;
	}

	get length(): number {
		return this.#byTask.size;
	}

	get bytes(): number {
		return this.#bytes;
	}

	get workMs(): number {
		return this.#root?.workMs ?? 0;
	}

	depth(priority: PriorityClass): number {
		return this.#classes[priority].size;
	}

	/** Whether one more of this size would be within bounds. */
	hasRoom(bytes: number): boolean {
		return this.length < this.bounds.capacity && this.#bytes + bytes <= this.bounds.bytesMax;
	}

	/** Bounds are the caller's to ask (`hasRoom`). A task that is there already is a bug. */
	enqueue(entry: E): void {
		if (this.#byTask.has(entry.taskId)) throw new Error(`task ${entry.taskId} is queued already`);
		this.#order += 1;
		const node: Node<E> = {
			entry,
			key: this.keyOf(entry),
			order: this.#order,
			weight: weightOf(this.#order),
			left: null,
			right: null,
			count: 1,
			workMs: entry.workMs,
		};
		const [before, after] = split(this.#root, node.key, node.order);
		this.#root = merge(merge(before, node), after);
		this.#byTask.set(entry.taskId, node);
		this.#classes[entry.priority].set(entry.taskId, entry);
		this.#bytes += entry.bytes;
	}

	get(taskId: string): E | undefined {
		return this.#byTask.get(taskId)?.entry;
	}

	/** The entry at a place, 0 being next. */
	at(position: number): E | undefined {
		let node = this.#root;
		let rest = position;
		while (node !== null) {
			const left = node.left?.count ?? 0;
			if (rest < left) node = node.left;
			else if (rest === left) return node.entry;
			else {
				rest -= left + 1;
				node = node.right;
			}
		}
		return undefined;
	}

	remove(taskId: string): E | undefined {
		const node = this.#byTask.get(taskId);
		if (node === undefined) return undefined;
		const [before, rest] = split(this.#root, node.key, node.order);
		const [, after] = split(rest, node.key, node.order + 1);
		this.#root = merge(before, after);
		this.#byTask.delete(taskId);
		this.#classes[node.entry.priority].delete(taskId);
		this.#bytes -= node.entry.bytes;
		return node.entry;
	}

	placeOf(taskId: string): QueuePlace | null {
		const node = this.#byTask.get(taskId);
		return node === undefined ? null : this.#placeBefore(node.key, node.order);
	}

	/** Where a task would stand that came now. */
	placeFor(priority: PriorityClass, admittedAt: number): QueuePlace {
		return this.#placeBefore(this.keyOf({ priority, admittedAt }), this.#order + 1);
	}

	/** The one that came first of a class. */
	oldest(priority: PriorityClass): E | undefined {
		return this.#classes[priority].values().next().value;
	}

	/** All, next first. */
	*[Symbol.iterator](): Iterator<E> {
		const path: Node<E>[] = [];
		let node = this.#root;
		while (node !== null || path.length > 0) {
			while (node !== null) {
				path.push(node);
				node = node.left;
			}
			const next = path.pop() as Node<E>;
			yield next.entry;
			node = next.right;
		}
	}

	keyOf(entry: Pick<QueueEntry, 'priority' | 'admittedAt'>): number {
		return entry.admittedAt + (entry.priority === 'batch' ? this.bounds.batchMaxWaitMs : 0);
	}

	#placeBefore(key: number, order: number): QueuePlace {
		let position = 0;
		let workAheadMs = 0;
		let node = this.#root;
		while (node !== null) {
			if (isBefore(node, key, order)) {
				position += (node.left?.count ?? 0) + 1;
				workAheadMs += (node.left?.workMs ?? 0) + node.entry.workMs;
				node = node.right;
			} else node = node.left;
		}
		return { position, workAheadMs };
	}
}

function isBefore(node: Node<QueueEntry>, key: number, order: number): boolean {
	return node.key < key || (node.key === key && node.order < order);
}

/** Heap priority: well mixed, and the same in every run (splitmix32's finisher). */
function weightOf(order: number): number {
	let mixed = (order + 0x9e3779b9) >>> 0;
	mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
	mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
	return (mixed ^ (mixed >>> 16)) >>> 0;
}

function update<E extends QueueEntry>(node: Node<E>): Node<E> {
	node.count = 1 + (node.left?.count ?? 0) + (node.right?.count ?? 0);
	node.workMs = node.entry.workMs + (node.left?.workMs ?? 0) + (node.right?.workMs ?? 0);
	return node;
}

/** Those before (key, order), and the rest. */
function split<E extends QueueEntry>(node: Node<E> | null, key: number, order: number): [Node<E> | null, Node<E> | null] {
	if (node === null) return [null, null];
	if (isBefore(node, key, order)) {
		const [before, after] = split(node.right, key, order);
		node.right = before;
		return [update(node), after];
	}
	const [before, after] = split(node.left, key, order);
	node.left = after;
	return [before, update(node)];
}

function merge<E extends QueueEntry>(before: Node<E> | null, after: Node<E> | null): Node<E> | null {
	if (before === null) return after;
	if (after === null) return before;
	if (before.weight < after.weight) {
		before.right = merge(before.right, after);
		return update(before);
	}
	after.left = merge(before, after.left);
	return update(after);
}
