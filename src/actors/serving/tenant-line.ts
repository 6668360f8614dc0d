/**
 * The line of one tenant inside a class: its waiting tasks in their order, with prefix sums of their number, their work and
 * their cost. A treap with subtree sums (Seidel, Aragon, "Randomized Search Trees", 1996): insert, remove, search and sums in
 * O(log n). Pure.
 */
import type { QueueEntry } from './queue.ts';

/** Where an entry stands inside its line: smaller goes first. */
export interface LineKey {
	/** When it must have ended, on `Host.now`, where deadlines set the order; else 0, and Infinity without a deadline. */
	readonly deadline: number;
	/** When it was admitted; for a batch task that has aged, when it did. */
	readonly since: number;
	/** Arrivals of the queue, counted: no two have the same. */
	readonly order: number;
}

export interface LineNode<E> extends LineKey {
	readonly entry: E;
	readonly weight: number;
	/** Of a task that stands in two lines: its place in the other. */
	readonly twin: LineNode<E> | null;
	left: LineNode<E> | null;
	right: LineNode<E> | null;
	/** Of the subtree. */
	count: number;
	workMs: number;
	cost: number;
}

/** A line as a node of a tree of lines (`line-tree.ts`). */
export interface LinePlace<E extends QueueEntry> {
	readonly weight: number;
	left: TenantLine<E> | null;
	right: TenantLine<E> | null;
	/** Of the subtree. */
	count: number;
	workMs: number;
	cost: number;
	/** Its task that is dispatched last, and its tag. */
	last: LineNode<E> | null;
	lastTag: number;
}

/** What stands before a place. */
export interface Ahead {
	readonly count: number;
	/** Predicted work, ms of one slot. */
	readonly workMs: number;
}

/** Sums over the entries before a place. In numbers of its own: a property that is added to again and again makes a new object each time. */
export class Sums {
	readonly #sums = new Float64Array(3);

	get count(): number {
		return this.#sums[0] as number;
	}

	get workMs(): number {
		return this.#sums[1] as number;
	}

	/** Tokens. */
	get cost(): number {
		return this.#sums[2] as number;
	}

	clear(): void {
		this.#sums.fill(0);
	}

	add(count: number, workMs: number, cost: number): void {
		const sums = this.#sums;
		sums[0] = (sums[0] as number) + count;
		sums[1] = (sums[1] as number) + workMs;
		sums[2] = (sums[2] as number) + cost;
	}
}

export function lineNode<E extends QueueEntry>(entry: E, { deadline, since, order }: LineKey, twin: LineNode<E> | null): LineNode<E> {
	return {
		entry,
		deadline,
		since,
		order,
		twin,
		weight: mixed(order),
		left: null,
		right: null,
		count: 1,
		workMs: entry.workMs,
		cost: entry.cost,
	};
}

export class TenantLine<E extends QueueEntry> {
	readonly tenant: string;
	/** Tokens that the tenant was served: the virtual token counter. Its first task has this as its tag. */
	counter = 0;
	/** Its tasks that hold a slot. */
	running = 0;
	/** The first of the line, and the last. */
	head: LineNode<E> | null = null;
	tail: LineNode<E> | null = null;
	/** Its place in the tree of those that wait, which is that tree's own. */
	readonly place: LinePlace<E>;
	#root: LineNode<E> | null = null;

	/** `number`: no two lines of a class have the same. */
	constructor(tenant: string, number: number) {
		this.tenant = tenant;
		this.place = { weight: mixed(number), left: null, right: null, count: 0, workMs: 0, cost: 0, last: null, lastTag: 0 };
	}

	get length(): number {
		return this.#root?.count ?? 0;
	}

	get workMs(): number {
		return this.#root?.workMs ?? 0;
	}

	get cost(): number {
		return this.#root?.cost ?? 0;
	}

	insert(node: LineNode<E>): void {
		this.#root = inserted(this.#root, node);
		if (this.head === null || goesBefore(node, this.head)) this.head = node;
		if (this.tail === null || goesBefore(this.tail, node)) this.tail = node;
	}

	remove(node: LineNode<E>): void {
		this.#root = removed(this.#root, node);
		if (this.head === node) this.head = leftmost(this.#root);
		if (this.tail === node) this.tail = rightmost(this.#root);
	}

	/** Adds to `sums` what stands before `key`. */
	addBefore(key: LineKey, sums: Sums): void {
		let node = this.#root;
		while (node !== null) {
			if (goesBefore(node, key)) {
				addThrough(node, sums);
				node = node.right;
			} else node = node.left;
		}
	}

	/**
	 * Adds to `sums` the entries that are dispatched before one with this tag and key in another line: those with a smaller tag
	 * (`counter` and the cost of all before them in the line), or with the same and a smaller key.
	 */
	addBeforeTag(tag: number, key: LineKey, sums: Sums): void {
		let node = this.#root;
		let own = this.counter;
		while (node !== null) {
			const itsTag = own + (node.left?.cost ?? 0);
			if (itsTag < tag || (itsTag === tag && goesBefore(node, key))) {
				addThrough(node, sums);
				own = itsTag + node.entry.cost;
				node = node.right;
			} else node = node.left;
		}
	}

	/** The first that is not dispatched before (tag, key), with its own tag; null: there is none. */
	firstFrom(tag: number, key: LineKey): { readonly node: LineNode<E>; readonly tag: number } | null {
		let node = this.#root;
		let own = this.counter;
		let found: { node: LineNode<E>; tag: number } | null = null;
		while (node !== null) {
			const itsTag = own + (node.left?.cost ?? 0);
			if (itsTag < tag || (itsTag === tag && goesBefore(node, key))) {
				own = itsTag + node.entry.cost;
				node = node.right;
			} else {
				found = { node, tag: itsTag };
				node = node.left;
			}
		}
		return found;
	}

	/** The one behind `key`; null at the end. */
	next(key: LineKey): LineNode<E> | null {
		let node = this.#root;
		let found: LineNode<E> | null = null;
		while (node !== null) {
			if (goesBefore(key, node)) {
				found = node;
				node = node.left;
			} else node = node.right;
		}
		return found;
	}
}

export function goesBefore(a: LineKey, b: LineKey): boolean {
	if (a.deadline !== b.deadline) return a.deadline < b.deadline;
	return a.since < b.since || (a.since === b.since && a.order < b.order);
}

/** The node and its left side. */
function addThrough<E extends QueueEntry>({ left, entry }: LineNode<E>, sums: Sums): void {
	if (left === null) sums.add(1, entry.workMs, entry.cost);
	else sums.add(left.count + 1, left.workMs + entry.workMs, left.cost + entry.cost);
}

function rightmost<E>(root: LineNode<E> | null): LineNode<E> | null {
	let node = root;
	while (node !== null && node.right !== null) node = node.right;
	return node;
}

function leftmost<E>(root: LineNode<E> | null): LineNode<E> | null {
	let node = root;
	while (node !== null && node.left !== null) node = node.left;
	return node;
}

/** Heap priority: well mixed, and the same in every run (splitmix32's finisher). */
export function mixed(order: number): number {
	let bits = (order + 0x9e3779b9) >>> 0;
	bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
	bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
	return (bits ^ (bits >>> 16)) >>> 0;
}

function update<E extends QueueEntry>(node: LineNode<E>): LineNode<E> {
	const { entry, left, right } = node;
	node.count = 1 + (left?.count ?? 0) + (right?.count ?? 0);
	node.workMs = entry.workMs + (left?.workMs ?? 0) + (right?.workMs ?? 0);
	node.cost = entry.cost + (left?.cost ?? 0) + (right?.cost ?? 0);
	return node;
}

/** The tree with one node more, which goes where its weight lets it be above what is there. */
function inserted<E extends QueueEntry>(root: LineNode<E> | null, node: LineNode<E>): LineNode<E> {
	if (root === null) return update(node);
	if (node.weight < root.weight) {
		splitBelow(root, node);
		return update(node);
	}
	if (goesBefore(node, root)) root.left = inserted(root.left, node);
	else root.right = inserted(root.right, node);
	return update(root);
}

/** A tree becomes the two sides of a node: those before it, and the rest. */
function splitBelow<E extends QueueEntry>(root: LineNode<E> | null, node: LineNode<E>): void {
	if (root === null) {
		node.left = null;
		node.right = null;
	} else if (goesBefore(root, node)) {
		splitBelow(root.right, node);
		root.right = node.left;
		node.left = update(root);
	} else {
		splitBelow(root.left, node);
		root.left = node.right;
		node.right = update(root);
	}
}

function removed<E extends QueueEntry>(root: LineNode<E> | null, node: LineNode<E>): LineNode<E> | null {
	if (root === null) throw new Error(`task ${node.entry.taskId} is not in its line`);
	if (root === node) return merge(node.left, node.right);
	if (goesBefore(node, root)) root.left = removed(root.left, node);
	else root.right = removed(root.right, node);
	return update(root);
}

function merge<E extends QueueEntry>(before: LineNode<E> | null, after: LineNode<E> | null): LineNode<E> | null {
	if (before === null) return after;
	if (after === null) return before;
	if (before.weight < after.weight) {
		before.right = merge(before.right, after);
		return update(before);
	}
	after.left = merge(before, after.left);
	return update(after);
}
