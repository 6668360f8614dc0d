/**
 * One class of a queue: fair between tenants by tokens, in each tenant's own order. Pure.
 *
 * Each tenant has a virtual token counter; the tenant with the smallest goes next and is charged for its task (Sheng et al.,
 * "Fairness in Serving Large Language Models", OSDI 2024): its prompt when the task gets its slot, output as it is served. Nobody
 * is charged for what is only foreseen; that is what places in the queue are foreseen by. A tenant that comes back after it had
 * nothing waiting is lifted, so that nobody saves up: to where the last task was dispatched from (Goyal, Vin, Cheng, "Start-time Fair
 * Queueing", SIGCOMM 1996), so that it need not wait for another turn of those that were there.
 *
 * Lines with waiting tasks are a binary heap by (counter, first task). A task's tag is its tenant's counter and the cost of
 * those before it in its line: tasks are dispatched in order of tags, as long as nothing comes or goes. Enqueue, dequeue and
 * remove cost O(log n); a place O(k log n), k being the tenants with a task before it.
 */
import type { QueueEntry } from './queue.ts';
import { type Ahead, goesBefore, type LineKey, type LineNode, TenantLine } from './tenant-line.ts';

/** An entry of the class in the order of dispatch, as it is foreseen. */
export interface Foreseen<E> {
	readonly entry: E;
	readonly tag: number;
	readonly key: LineKey;
}

/** Lines of tenants without any task are dropped beyond this many: their counters are behind, as a rule. */
const idleMax = 1_024;

export class FairClass<E extends QueueEntry> {
	readonly #lines = new Map<string, TenantLine<E>>();
	readonly #heap: TenantLine<E>[] = [];
	/** The highest counter that a task was dispatched at. */
	#reached = 0;
	#count = 0;
	#workMs = 0;

	get length(): number {
		return this.#count;
	}

	get workMs(): number {
		return this.#workMs;
	}

	/** The next to be dispatched. */
	get first(): E | undefined {
		return this.#heap[0]?.head?.entry;
	}

	insert(node: LineNode<E>): void {
		const line = this.#line(node.entry.tenant);
		const waits = line.heapIndex >= 0;
		if (!waits) line.counter = this.#lifted(line);
		line.insert(node);
		if (waits) this.#settle(line);
		else {
			line.heapIndex = this.#heap.push(line) - 1;
			this.#up(line);
		}
		this.#count += 1;
		this.#workMs += node.entry.workMs;
	}

	remove(node: LineNode<E>): void {
		const line = this.#lines.get(node.entry.tenant);
		if (line === undefined || line.heapIndex < 0) throw new Error(`no line of ${node.entry.tenant}`);
		line.remove(node);
		this.#count -= 1;
		this.#workMs = this.#count === 0 ? 0 : this.#workMs - node.entry.workMs;
		if (line.head !== null) return this.#settle(line);
		this.#leave(line);
		this.#forgetIdle();
	}

	/** A task of the tenant has a slot: it is charged. */
	started(tenant: string, cost: number): void {
		const line = this.#line(tenant);
		this.#reached = Math.max(this.#reached, line.counter);
		line.running += 1;
		this.#charge(line, cost);
	}

	/** A task of the tenant that has a slot was served more. */
	served(tenant: string, more: number): void {
		this.#charge(this.#line(tenant), more);
	}

	/** Its slot is back: `correction` is what it came to beyond what it was charged, in tokens, below zero too. */
	ended(tenant: string, correction: number): void {
		const line = this.#line(tenant);
		line.running = Math.max(0, line.running - 1);
		this.#charge(line, correction);
		this.#forgetIdle();
	}

	/** What stands before a waiting entry. */
	ahead(node: LineNode<E>): Ahead {
		return this.#aheadOf(this.#lines.get(node.entry.tenant) ?? null, node.entry.tenant, node);
	}

	/** What would stand before an entry that came now. */
	aheadOfNew(tenant: string, key: LineKey): Ahead {
		return this.#aheadOf(this.#lines.get(tenant) ?? null, tenant, key);
	}

	/** Tokens that the tenant was charged, beside those before it was lifted. */
	counterOf(tenant: string): number {
		return this.#lines.get(tenant)?.counter ?? 0;
	}

	/** In the order of dispatch, from the start or behind what was foreseen last. Stop before anything changes. */
	*foreseen(behind: Pick<Foreseen<E>, 'tag' | 'key'> | null = null): Generator<Foreseen<E>, undefined> {
		const cursors = new CursorHeap<E>();
		if (behind === null) {
			// Lines come in as their parents in the heap are passed: none that is not reached is looked at.
			if (this.#heap.length > 0) cursors.push(this.#cursorOf(0));
		} else {
			const from = { ...behind.key, order: behind.key.order + 0.5 };
			for (const line of this.#heap) {
				const first = line.firstFrom(behind.tag, from);
				if (first !== null) cursors.push({ line, node: first.node, tag: first.tag, opens: -1 });
			}
		}
		for (let cursor = cursors.pop(); cursor !== undefined; cursor = cursors.pop()) {
			const { line, node, tag, opens } = cursor;
			yield { entry: node.entry, tag, key: node };
			for (const child of opens < 0 ? [] : [2 * opens + 1, 2 * opens + 2]) {
				if (child < this.#heap.length) cursors.push(this.#cursorOf(child));
			}
			const next = line.next(node);
			if (next !== null) cursors.push({ line, node: next, tag: tag + node.entry.cost, opens: -1 });
		}
	}

	#cursorOf(index: number): Cursor<E> {
		const line = this.#heap[index] as TenantLine<E>;
		return { line, node: line.head as LineNode<E>, tag: line.counter, opens: index };
	}

	#aheadOf(own: TenantLine<E> | null, tenant: string, key: LineKey): Ahead {
		const sums: Ahead = { count: 0, workMs: 0, cost: 0 };
		let tag: number;
		if (own !== null && own.heapIndex >= 0) {
			own.addBefore(key, sums);
			tag = own.counter + sums.cost;
		} else tag = this.#lifted(own);
		this.#addOthers(0, tenant, tag, key, sums);
		return sums;
	}

	/** Lines whose first task comes later have nothing before the tag, nor have those below them in the heap. */
	#addOthers(index: number, tenant: string, tag: number, key: LineKey, sums: Ahead): void {
		const line = this.#heap[index];
		if (line === undefined || line.head === null) return;
		if (line.counter > tag || (line.counter === tag && line.tenant !== tenant && goesBefore(key, line.head))) return;
		if (line.tenant !== tenant) line.addBeforeTag(tag, key, sums);
		this.#addOthers(2 * index + 1, tenant, tag, key, sums);
		this.#addOthers(2 * index + 2, tenant, tag, key, sums);
	}

	#line(tenant: string): TenantLine<E> {
		const known = this.#lines.get(tenant);
		if (known !== undefined) return known;
		const line = new TenantLine<E>(tenant);
		line.counter = this.#reached;
		this.#lines.set(tenant, line);
		return line;
	}

	/** The counter of a tenant that had nothing waiting. */
	#lifted(line: TenantLine<E> | null): number {
		return Math.max(line?.counter ?? 0, Math.min(this.#reached, this.#heap[0]?.counter ?? this.#reached));
	}

	#charge(line: TenantLine<E>, cost: number): void {
		line.counter += cost;
		if (line.heapIndex >= 0) this.#settle(line);
	}

	/** What an idle line is worth is what it is ahead of the others: the most ahead are kept. */
	#forgetIdle(): void {
		if (this.#lines.size - this.#heap.length <= 2 * idleMax) return;
		const idle = [...this.#lines.values()].filter((line) => line.heapIndex < 0 && line.running === 0);
		idle.sort((a, b) => a.counter - b.counter);
		for (const line of idle.slice(0, Math.max(0, idle.length - idleMax))) this.#lines.delete(line.tenant);
	}

	// ── the heap of lines ────────────────────────────────────────────────────────────────────────────────────────

	#leave(line: TenantLine<E>): void {
		const index = line.heapIndex;
		line.heapIndex = -1;
		const last = this.#heap.pop();
		if (last === undefined || last === line) return;
		this.#heap[index] = last;
		last.heapIndex = index;
		this.#settle(last);
	}

	#settle(line: TenantLine<E>): void {
		this.#up(line);
		this.#down(line);
	}

	#up(line: TenantLine<E>): void {
		while (line.heapIndex > 0) {
			const parent = this.#heap[(line.heapIndex - 1) >> 1] as TenantLine<E>;
			if (!isFirst(line, parent)) return;
			this.#swap(line, parent);
		}
	}

	#down(line: TenantLine<E>): void {
		for (;;) {
			const left = this.#heap[2 * line.heapIndex + 1];
			const right = this.#heap[2 * line.heapIndex + 2];
			if (left === undefined) return;
			const least = right !== undefined && isFirst(right, left) ? right : left;
			if (!isFirst(least, line)) return;
			this.#swap(least, line);
		}
	}

	#swap(a: TenantLine<E>, b: TenantLine<E>): void {
		const index = a.heapIndex;
		a.heapIndex = b.heapIndex;
		b.heapIndex = index;
		this.#heap[a.heapIndex] = a;
		this.#heap[b.heapIndex] = b;
	}
}

function isFirst<E>(a: TenantLine<E & QueueEntry>, b: TenantLine<E & QueueEntry>): boolean {
	if (a.counter !== b.counter) return a.counter < b.counter;
	return a.head !== null && b.head !== null && goesBefore(a.head, b.head);
}

interface Cursor<E extends QueueEntry> {
	readonly line: TenantLine<E>;
	readonly node: LineNode<E>;
	readonly tag: number;
	/** Index in the heap of lines whose children come in behind it; −1: none. */
	readonly opens: number;
}

/** Cursors by (tag, key): a binary heap. */
class CursorHeap<E extends QueueEntry> {
	readonly #cursors: Cursor<E>[] = [];

	push(cursor: Cursor<E>): void {
		let index = this.#cursors.push(cursor) - 1;
		while (index > 0) {
			const parent = (index - 1) >> 1;
			const above = this.#cursors[parent] as Cursor<E>;
			if (!comesFirst(cursor, above)) break;
			this.#cursors[index] = above;
			index = parent;
		}
		this.#cursors[index] = cursor;
	}

	pop(): Cursor<E> | undefined {
		const first = this.#cursors[0];
		const last = this.#cursors.pop();
		if (first === undefined || last === undefined || first === last) return first;
		let index = 0;
		for (;;) {
			const child = 2 * index + 1;
			const left = this.#cursors[child];
			const right = this.#cursors[child + 1];
			if (left === undefined) break;
			const isRight = right !== undefined && comesFirst(right, left);
			const least = isRight ? right : left;
			if (!comesFirst(least, last)) break;
			this.#cursors[index] = least;
			index = isRight ? child + 1 : child;
		}
		this.#cursors[index] = last;
		return first;
	}
}

function comesFirst<E extends QueueEntry>(a: Cursor<E>, b: Cursor<E>): boolean {
	return a.tag < b.tag || (a.tag === b.tag && goesBefore(a.node, b.node));
}
