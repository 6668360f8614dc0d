/**
 * The lines of a class that have something waiting, by (counter, first task): whose turn is next, and what stands before a place. A
 * treap (Seidel, Aragon, 1996) of which each node knows the sums of its subtree and which of its tasks is dispatched last: lines
 * that lie before a place as a whole are counted together, and only those are looked into that have tasks on both sides of it. Pure.
 *
 * So a place costs O((1 + s) log n), s being the tenants with tasks on both sides: of them and those above them in the tree there are
 * O(s log n), and only in the s is anything searched. More cannot be had where s is large: a tenant that is charged moves all its tasks
 * among those of the others at once, and a structure that did such moves and told exact places each in O(s^(1-ε)), also on average over
 * many, would multiply Boolean matrices and vectors online in truly subcubic time (OMv: Henzinger, Krinninger, Nanongkai, Saranurak, STOC
 * 2015). For the columns of a matrix are lines, with a task in the window of the tags that is the row's where there is a 1; a vector is
 * who of them is charged twice as much, and so out of all windows; one line more has a task at each bound of a window, and the
 * difference of the places of two of these is an entry of the product: s charges and s places for each vector, and s vectors. With s
 * tasks in each of s lines that is √n a step. As much could be had for all n: the tasks of lines shorter than √n one by one in one tree,
 * moved one by one when their tenant is charged. It is charged at each start, each end and five times a second in between, so
 * that starts would pay for places; it was left.
 */
import type { QueueEntry } from './queue.ts';
import { goesBefore, type LineKey, type LinePlace, type Sums, type TenantLine } from './tenant-line.ts';

type Line<E extends QueueEntry> = TenantLine<E>;

export class LineTree<E extends QueueEntry> {
	#root: Line<E> | null = null;
	#size = 0;

	get size(): number {
		return this.#size;
	}

	/** Whose turn it is. */
	get first(): Line<E> | null {
		let line = this.#root;
		while (line !== null && line.place.left !== null) line = line.place.left;
		return line;
	}

	/** It has something waiting. Neither its counter nor its first task may change while it is here. */
	insert(line: Line<E>): void {
		this.#size += 1;
		this.#root = inserted(this.#root, line);
	}

	remove(line: Line<E>): void {
		this.#size -= 1;
		this.#root = removed(this.#root, line);
	}

	/** Tasks behind its first have come or gone. */
	changed(line: Line<E>): void {
		refresh(this.#root, line);
	}

	/** Adds to `sums` what is dispatched before a task with this tag and key, as far as it can be foreseen. */
	addBefore(tag: number, key: LineKey, sums: Sums): void {
		addBefore(this.#root, tag, key, sums);
	}

	/** The one behind it, in the order of turns. */
	next(line: Line<E>): Line<E> | null {
		let at = this.#root;
		let found: Line<E> | null = null;
		while (at !== null) {
			if (isBefore(line, at)) {
				found = at;
				at = at.place.left;
			} else at = at.place.right;
		}
		return found;
	}

	*[Symbol.iterator](): Generator<Line<E>, undefined> {
		for (let line = this.first; line !== null; line = this.next(line)) yield line;
	}
}

/** Whether a task with one tag and key is dispatched before another. */
function comesBefore(tag: number, key: LineKey, otherTag: number, other: LineKey): boolean {
	return tag < otherTag || (tag === otherTag && goesBefore(key, other));
}

function isBefore<E extends QueueEntry>(a: Line<E>, b: Line<E>): boolean {
	return a.head !== null && b.head !== null && comesBefore(a.counter, a.head, b.counter, b.head);
}

function addBefore<E extends QueueEntry>(line: Line<E> | null, tag: number, key: LineKey, sums: Sums): void {
	if (line === null) return;
	const { left, right, last, lastTag, count, workMs, cost } = line.place;
	if (last !== null && comesBefore(lastTag, last, tag, key)) {
		sums.add(count, workMs, cost);
		return;
	}
	addBefore(left, tag, key, sums);
	// Nor have those behind it anything before the place.
	if (line.head === null || !comesBefore(line.counter, line.head, tag, key)) return;
	const { tail, counter, cost: own } = line;
	// One that is above those with tasks on both sides need not have any behind the place itself.
	if (tail !== null && comesBefore(counter + own - tail.entry.cost, tail, tag, key)) sums.add(line.length, line.workMs, own);
	else line.addBeforeTag(tag, key, sums);
	addBefore(right, tag, key, sums);
}

function update<E extends QueueEntry>(line: Line<E>): Line<E> {
	const { place, tail } = line;
	const { left, right } = place;
	place.count = line.length + (left?.place.count ?? 0) + (right?.place.count ?? 0);
	place.workMs = line.workMs + (left?.place.workMs ?? 0) + (right?.place.workMs ?? 0);
	place.cost = line.cost + (left?.place.cost ?? 0) + (right?.place.cost ?? 0);
	place.last = tail;
	place.lastTag = tail === null ? 0 : line.counter + line.cost - tail.entry.cost;
	takeLast(place, left);
	takeLast(place, right);
	return line;
}

function takeLast<E extends QueueEntry>(place: LinePlace<E>, below: Line<E> | null): void {
	if (below === null) return;
	const { last, lastTag } = below.place;
	if (last === null || (place.last !== null && comesBefore(lastTag, last, place.lastTag, place.last))) return;
	place.last = last;
	place.lastTag = lastTag;
}

function refresh<E extends QueueEntry>(root: Line<E> | null, line: Line<E>): void {
	if (root === null) throw new Error(`the line of ${line.tenant} does not wait`);
	if (root !== line) refresh(isBefore(line, root) ? root.place.left : root.place.right, line);
	update(root);
}

function inserted<E extends QueueEntry>(root: Line<E> | null, line: Line<E>): Line<E> {
	if (root === null) {
		line.place.left = null;
		line.place.right = null;
		return update(line);
	}
	if (line.place.weight < root.place.weight) {
		splitBelow(root, line);
		return update(line);
	}
	if (isBefore(line, root)) root.place.left = inserted(root.place.left, line);
	else root.place.right = inserted(root.place.right, line);
	return update(root);
}

/** A tree becomes the two sides of a line: those before it, and the rest. */
function splitBelow<E extends QueueEntry>(root: Line<E> | null, line: Line<E>): void {
	const { place } = line;
	if (root === null) {
		place.left = null;
		place.right = null;
	} else if (isBefore(root, line)) {
		splitBelow(root.place.right, line);
		root.place.right = place.left;
		place.left = update(root);
	} else {
		splitBelow(root.place.left, line);
		root.place.left = place.right;
		place.right = update(root);
	}
}

function removed<E extends QueueEntry>(root: Line<E> | null, line: Line<E>): Line<E> | null {
	if (root === null) throw new Error(`the line of ${line.tenant} does not wait`);
	if (root === line) return merged(line.place.left, line.place.right);
	if (isBefore(line, root)) root.place.left = removed(root.place.left, line);
	else root.place.right = removed(root.place.right, line);
	return update(root);
}

function merged<E extends QueueEntry>(before: Line<E> | null, after: Line<E> | null): Line<E> | null {
	if (before === null) return after;
	if (after === null) return before;
	if (before.place.weight < after.place.weight) {
		before.place.right = merged(before.place.right, after);
		return update(before);
	}
	after.place.left = merged(before, after.place.left);
	return update(after);
}
