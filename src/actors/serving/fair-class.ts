/**
 * One class of a queue: fair between tenants by tokens, in each tenant's own order. Pure.
 *
 * Each tenant has a virtual token counter; the tenant with the smallest goes next and is charged for its task (Sheng et al.,
 * "Fairness in Serving Large Language Models", OSDI 2024): its prompt when the task gets its slot, output as it is served. Nobody
 * is charged for what is only foreseen; that is what places in the queue are foreseen by. A tenant that comes back after it had
 * nothing waiting is lifted, so that nobody saves up: to where the last task was dispatched from (Goyal, Vin, Cheng, "Start-time Fair
 * Queueing", SIGCOMM 1996), so that it need not wait for another turn of those that were there.
 *
 * Lines with waiting tasks are a tree by (counter, first task). A task's tag is its tenant's counter and the cost of
 * those before it in its line: tasks are dispatched in order of tags, as long as nothing comes or goes. Enqueue, dequeue and
 * remove cost O(log n); a place O((1 + s) log n), s being the tenants with tasks on both sides of it (`line-tree.ts`).
 */
import { LineTree } from './line-tree.ts';
import type { QueueEntry } from './queue.ts';
import { type Ahead, goesBefore, type LineKey, type LineNode, Sums, TenantLine } from './tenant-line.ts';

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
	#linesMade = 0;
	readonly #waiting = new LineTree<E>();
	readonly #sums = new Sums();
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
		return this.#waiting.first?.head?.entry;
	}

	insert(node: LineNode<E>): void {
		const line = this.#line(node.entry.tenant);
		const { head } = line;
		const comesFirst = head === null || goesBefore(node, head);
		if (head === null) line.counter = this.#lifted(line);
		else if (comesFirst) this.#waiting.remove(line);
		line.insert(node);
		if (comesFirst) this.#waiting.insert(line);
		else this.#waiting.changed(line);
		this.#count += 1;
		this.#workMs += node.entry.workMs;
	}

	remove(node: LineNode<E>): void {
		const line = this.#lines.get(node.entry.tenant);
		if (line === undefined || line.head === null) throw new Error(`no line of ${node.entry.tenant}`);
		const isFirst = line.head === node;
		if (isFirst) this.#waiting.remove(line);
		line.remove(node);
		this.#left(node);
		if (line.head === null) return this.#forgetIdle();
		if (isFirst) this.#waiting.insert(line);
		else this.#waiting.changed(line);
	}

	/** A waiting task has a slot: it leaves, and its tenant is charged. What the class has reached is what it is dispatched at. */
	start(node: LineNode<E>, cost: number): void {
		const line = this.#line(node.entry.tenant);
		this.#waiting.remove(line);
		this.#reached = Math.max(this.#reached, line.counter);
		line.running += 1;
		line.counter += cost;
		line.remove(node);
		this.#left(node);
		if (line.head !== null) this.#waiting.insert(line);
	}

	/** A task of the tenant has a slot that was not waiting here: it is charged. */
	adopt(tenant: string, cost: number): void {
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
		return this.#before(this.#lines.get(node.entry.tenant) ?? null, node);
	}

	/** What would stand before an entry that came now. */
	aheadOfNew(tenant: string, key: LineKey): Ahead {
		return this.#before(this.#lines.get(tenant) ?? null, key);
	}

	/** Tokens that the tenant was charged, beside those before it was lifted. */
	counterOf(tenant: string): number {
		return this.#lines.get(tenant)?.counter ?? 0;
	}

	/** In the order of dispatch, from the start or behind what was foreseen last. Stop before anything changes. */
	*foreseen(behind: Pick<Foreseen<E>, 'tag' | 'key'> | null = null): Generator<Foreseen<E>, undefined> {
		const cursors = new CursorHeap<E>();
		// Lines come in as those before them are passed: none that is not reached is looked at.
		if (behind === null) this.#open(this.#waiting.first, cursors);
		else {
			const from = { ...behind.key, order: behind.key.order + 0.5 };
			for (const line of this.#waiting) {
				const first = line.firstFrom(behind.tag, from);
				if (first !== null) cursors.push({ line, node: first.node, tag: first.tag, opens: false });
			}
		}
		for (let cursor = cursors.pop(); cursor !== undefined; cursor = cursors.pop()) {
			const { line, node, tag, opens } = cursor;
			yield { entry: node.entry, tag, key: node };
			if (opens) this.#open(this.#waiting.next(line), cursors);
			const next = line.next(node);
			if (next !== null) cursors.push({ line, node: next, tag: tag + node.entry.cost, opens: false });
		}
	}

	#open(line: TenantLine<E> | null, cursors: CursorHeap<E>): void {
		if (line !== null) cursors.push({ line, node: line.head as LineNode<E>, tag: line.counter, opens: true });
	}

	/** Its own line is as the others: those before it there have smaller tags. */
	#before(own: TenantLine<E> | null, key: LineKey): Ahead {
		const sums = this.#sums;
		sums.clear();
		let tag: number;
		if (own !== null && own.head !== null) {
			own.addBefore(key, sums);
			tag = own.counter + sums.cost;
			sums.clear();
		} else tag = this.#lifted(own);
		this.#waiting.addBefore(tag, key, sums);
		return { count: sums.count, workMs: sums.workMs };
	}

	#left({ entry }: LineNode<E>): void {
		this.#count -= 1;
		this.#workMs = this.#count === 0 ? 0 : this.#workMs - entry.workMs;
	}

	#line(tenant: string): TenantLine<E> {
		const known = this.#lines.get(tenant);
		if (known !== undefined) return known;
		this.#linesMade += 1;
		const line = new TenantLine<E>(tenant, this.#linesMade);
		line.counter = this.#reached;
		this.#lines.set(tenant, line);
		return line;
	}

	/** The counter of a tenant that had nothing waiting. */
	#lifted(line: TenantLine<E> | null): number {
		return Math.max(line?.counter ?? 0, Math.min(this.#reached, this.#waiting.first?.counter ?? this.#reached));
	}

	#charge(line: TenantLine<E>, cost: number): void {
		const waits = line.head !== null;
		if (waits) this.#waiting.remove(line);
		line.counter += cost;
		if (waits) this.#waiting.insert(line);
	}

	/** What an idle line is worth is what it is ahead of the others: the most ahead are kept. */
	#forgetIdle(): void {
		if (this.#lines.size - this.#waiting.size <= 2 * idleMax) return;
		const idle = [...this.#lines.values()].filter((line) => line.head === null && line.running === 0);
		idle.sort((a, b) => a.counter - b.counter);
		for (const line of idle.slice(0, Math.max(0, idle.length - idleMax))) this.#lines.delete(line.tenant);
	}
}

interface Cursor<E extends QueueEntry> {
	readonly line: TenantLine<E>;
	readonly node: LineNode<E>;
	readonly tag: number;
	/** The line behind its line comes in behind it. */
	readonly opens: boolean;
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
