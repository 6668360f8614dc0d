/**
 * The queue of one pool: who starts next, who stands where, and how much work is ahead of whom. Pure, on the control thread.
 *
 * Interactive tasks go before batch tasks; inside a class tenants share by tokens (`fair-class.ts`); inside a tenant the first
 * admitted goes first or, with `order: deadline`, the one that must end first. A batch task that has waited `batchMaxWaitMs` is
 * `age`d: it goes on as an interactive task that came at that moment, so that no flood of those can starve it. A task that
 * returns keeps its place.
 *
 * Enqueue, dequeue and remove cost O(log n); a place O((1 + s) log n), s being the tenants with tasks on both sides of it: why that is
 * as good as can be had says `line-tree.ts`.
 */
import { FairClass, type Foreseen } from './fair-class.ts';
import { ShardedMap } from './sharded-map.ts';
import type { PriorityClass } from './task-request.ts';
import { type Ahead, type LineKey, type LineNode, lineNode, TenantLine } from './tenant-line.ts';

export interface QueueEntry {
	readonly taskId: string;
	readonly priority: PriorityClass;
	readonly tenant: string;
	/** When its front admitted it, on `Host.now`. */
	readonly admittedAt: number;
	/** When it must have ended, on `Host.now`; null: whenever. */
	readonly deadlineAt: number | null;
	/** Bytes it holds while it waits. */
	readonly bytes: number;
	/** Milliseconds of one slot that it will take, as predicted. */
	readonly workMs: number;
	/** It has had a slot, and its watchers a part of the answer: it is not dropped. */
	readonly begun?: boolean;
	/** Tokens that it will come to, as predicted: those that wait behind it are foreseen by them. A whole number, at least 1. */
	readonly cost: number;
	/** Of these, what its tenant is charged when it starts: those of its prompt. */
	readonly costAtStart: number;
}

export interface QueueBounds {
	readonly capacity: number;
	readonly bytesMax: number;
	readonly batchMaxWaitMs: number;
	readonly order: 'fifo' | 'deadline';
}

/** Where an entry stands. */
export interface QueuePlace {
	/** Entries before it. */
	readonly position: number;
	/** Predicted work of those, ms of one slot. */
	readonly workAheadMs: number;
}

/** A task that has a slot: what its tenant was charged up to now, and in which class. Its queue changes it. */
export interface Charge {
	readonly tenant: string;
	readonly class: PriorityClass;
	cost: number;
}

/** How far a walk through the queue has come. */
export interface QueueMark {
	readonly class: PriorityClass;
	readonly behind: Pick<Foreseen<QueueEntry>, 'tag' | 'key'> | null;
}

/** What a full queue does with a newcomer. */
export type FullPolicy = 'reject' | 'drop-lru' | 'shed-low-priority';

/**
 * Whom the policy drops so that a newcomer has room, none where there is some: the oldest batch tasks, then (`drop-lru`, for an
 * interactive newcomer) the oldest others. Null: all who may be dropped would not do, so nobody is. A batch newcomer never drops
 * an interactive task.
 */
export function victimsFor<E extends QueueEntry>(
	policy: FullPolicy,
	queue: WaitingQueue<E>,
	newcomer: PriorityClass,
	bytes: number,
): readonly E[] | null {
	if (queue.hasRoom(bytes)) return [];
	const classes = droppedFor(policy, newcomer);
	const sum = (of: (priority: PriorityClass) => number): number => classes.reduce((total, priority) => total + of(priority), 0);
	// Nobody is gone through for a newcomer that is too large for what all of them hold.
	const all = { count: sum((priority) => queue.depth(priority)), bytes: sum((priority) => queue.bytesOf(priority)) };
	if (!queue.hasRoom(bytes, all)) return null;
	const victims: E[] = [];
	const without = { count: 0, bytes: 0 };
	for (const priority of classes) {
		for (const victim of queue.droppable(priority)) {
			victims.push(victim);
			without.count += 1;
			without.bytes += victim.bytes;
			if (queue.hasRoom(bytes, without)) return victims;
		}
	}
	return null;
}

function droppedFor(policy: FullPolicy, newcomer: PriorityClass): readonly PriorityClass[] {
	if (policy === 'reject' || (policy === 'shed-low-priority' && newcomer === 'batch')) return [];
	return policy === 'drop-lru' && newcomer === 'interactive' ? ['batch', 'interactive'] : ['batch'];
}

export class WaitingQueue<E extends QueueEntry> {
	/** May be replaced: those that wait keep their places. */
	bounds: QueueBounds;
	readonly #classes: Readonly<Record<PriorityClass, FairClass<E>>> = { interactive: new FairClass(), batch: new FairClass() };
	/** The twin of a batch task that has not aged: its place among those. */
	readonly #byTask = new ShardedMap<Seat<E>>();
	/** By the class that they asked for. */
	readonly #arrivals: Readonly<Record<PriorityClass, Arrivals<E>>> = { interactive: new Arrivals(), batch: new Arrivals() };
	/** Batch tasks that have not aged, by admission, whoever's they are. */
	readonly #young = new TenantLine<E>('', 0);
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
		return this.#classes.interactive.workMs + this.#classes.batch.workMs;
	}

	/** Of each, on average; null: nobody waits. */
	get meanWorkMs(): number | null {
		const { interactive, batch } = this.#classes;
		return this.length === 0 ? null : (interactive.workMs + batch.workMs) / this.length;
	}

	/** Of those that wait in a class, the aged among the interactive. */
	workOf(priority: PriorityClass): number {
		return this.#classes[priority].workMs;
	}

	depth(priority: PriorityClass): number {
		return this.#arrivals[priority].length;
	}

	/** Held by those that asked for a class. */
	bytesOf(priority: PriorityClass): number {
		return this.#arrivals[priority].bytes;
	}

	/** Whether one more of this size would be within bounds, were some not there. */
	hasRoom(bytes: number, without: { readonly count: number; readonly bytes: number } = nobody): boolean {
		return this.length - without.count < this.bounds.capacity && this.#bytes - without.bytes + bytes <= this.bounds.bytesMax;
	}

	/** Bounds are the caller's to ask (`hasRoom`). A task that is there already is a bug. */
	enqueue(entry: E): void {
		if (this.#byTask.has(entry.taskId)) throw new Error(`task ${entry.taskId} is queued already`);
		this.#order += 1;
		const seat: Seat<E> = { node: this.#insert(entry, entry.priority, this.#order), before: null, behind: null };
		this.#byTask.set(entry.taskId, seat);
		this.#arrivals[entry.priority].add(seat);
		this.#bytes += entry.bytes;
	}

	get(taskId: string): E | undefined {
		return this.#byTask.get(taskId)?.node.entry;
	}

	/** The next to be dispatched. */
	get first(): E | undefined {
		return this.#classes.interactive.first ?? this.#classes.batch.first;
	}

	remove(taskId: string): E | undefined {
		const seat = this.#byTask.get(taskId);
		if (seat === undefined) return undefined;
		this.#takeOut(seat.node);
		this.#forget(seat);
		return seat.node.entry;
	}

	/** A waiting task gets a slot: it leaves, and its tenant is charged for its prompt. */
	start(taskId: string): Charge {
		const seat = this.#byTask.get(taskId);
		if (seat === undefined) throw new Error(`task ${taskId} is not queued`);
		const { node } = seat;
		const { tenant, costAtStart: cost } = node.entry;
		const waitedIn = waitsIn(node);
		this.#classes[waitedIn].start(node, cost);
		if (node.twin !== null) this.#young.remove(node.twin);
		this.#forget(seat);
		return { tenant, class: waitedIn, cost };
	}

	#forget(seat: Seat<E>): void {
		const { taskId, priority, bytes } = seat.node.entry;
		this.#byTask.delete(taskId);
		this.#arrivals[priority].remove(seat);
		this.#bytes -= bytes;
	}

	/** A task of an earlier control thread holds a slot. */
	adopt(charge: Charge): void {
		this.#classes[charge.class].adopt(charge.tenant, charge.cost);
	}

	/** It has come to so many tokens by now: what was made since it was told last is charged. */
	served(charge: Charge, cost: number): void {
		if (cost <= charge.cost) return;
		this.#classes[charge.class].served(charge.tenant, cost - charge.cost);
		charge.cost = cost;
	}

	/** Its slot is back, and it came to `cost` tokens in truth. */
	settle(charge: Charge, cost: number): void {
		this.#classes[charge.class].ended(charge.tenant, cost - charge.cost);
	}

	/** Moves the batch tasks that have waited long enough. Places are those of the last call. */
	age(now: number): void {
		for (let { head } = this.#young; head !== null && head.since + this.bounds.batchMaxWaitMs <= now; { head } = this.#young) {
			const seat = this.#byTask.get(head.entry.taskId);
			if (seat === undefined) throw new Error(`task ${head.entry.taskId} aged after it had left`);
			this.#takeOut(seat.node);
			seat.node = this.#insert(head.entry, 'interactive', head.order);
		}
	}

	placeOf(taskId: string): QueuePlace | null {
		const node = this.#byTask.get(taskId)?.node;
		return node === undefined ? null : this.#placeIn(waitsIn(node), this.#classes[waitsIn(node)].ahead(node));
	}

	/** Where a task would stand that came now. */
	placeFor(entry: Pick<QueueEntry, 'priority' | 'tenant' | 'admittedAt' | 'deadlineAt'>): QueuePlace {
		const key = this.#keyOf(entry, entry.priority, this.#order + 1);
		return this.#placeIn(entry.priority, this.#classes[entry.priority].aheadOfNew(entry.tenant, key));
	}

	/** Those of a class that may be dropped, the one that came first first. Nothing may change before it is through or given up. */
	*droppable(priority: PriorityClass): Generator<E, undefined> {
		for (let seat = this.#arrivals[priority].first; seat !== null; seat = seat.behind) {
			if (seat.node.entry.begun !== true) yield seat.node.entry;
		}
	}

	/** All, next first. Nothing may change before it is through or given up. */
	*[Symbol.iterator](): Iterator<E> {
		for (const priority of ['interactive', 'batch'] as const) for (const { entry } of this.#classes[priority].foreseen()) yield entry;
	}

	/** Some entries with their places, in order; the mark where the next part begins, null at the end. */
	walk(from: QueueMark | null, atMost: number, visit: (entry: E, place: QueuePlace) => void): QueueMark | null {
		let left = atMost;
		for (const priority of ['interactive', 'batch'] as const) {
			if (from?.class === 'batch' && priority === 'interactive') continue;
			let behind = from?.class === priority ? from.behind : null;
			let place: QueuePlace | null = null;
			for (const foreseen of this.#classes[priority].foreseen(behind)) {
				if (left === 0) return { class: priority, behind };
				const { entry } = foreseen;
				place ??= this.placeOf(entry.taskId);
				if (place === null) throw new Error(`task ${entry.taskId} has no place`);
				visit(entry, place);
				place = { position: place.position + 1, workAheadMs: place.workAheadMs + entry.workMs };
				behind = foreseen;
				left -= 1;
			}
		}
		return null;
	}

	/** Tokens that a tenant was charged in a class. */
	counterOf(priority: PriorityClass, tenant: string): number {
		return this.#classes[priority].counterOf(tenant);
	}

	/** Bytes and numbers = the sums over those that wait, and `follows` each of them. Null: so it is; else what is wrong. */
	drift(follows: (entry: E) => boolean): string | null {
		let bytes = 0;
		for (const {
			node: { entry },
		} of this.#byTask.values()) {
			bytes += entry.bytes;
			if (!follows(entry)) return `task ${entry.taskId} waits, and nobody would hear of its end`;
		}
		if (bytes !== this.#bytes) return `${this.#bytes} bytes in the queue, its tasks hold ${bytes}`;
		const { interactive, batch } = this.#classes;
		if (interactive.length + batch.length !== this.length)
			return `${interactive.length} and ${batch.length} tasks in the classes of the queue, ${this.length} in all`;
		return null;
	}

	#insert(entry: E, priority: PriorityClass, order: number): LineNode<E> {
		const young = priority === 'batch' ? lineNode(entry, { deadline: 0, since: entry.admittedAt, order }, null) : null;
		const node = lineNode(entry, this.#keyOf(entry, priority, order), young);
		this.#classes[priority].insert(node);
		if (young !== null) this.#young.insert(young);
		return node;
	}

	#takeOut(node: LineNode<E>): void {
		this.#classes[waitsIn(node)].remove(node);
		if (node.twin !== null) this.#young.remove(node.twin);
	}

	#keyOf(entry: Pick<QueueEntry, 'priority' | 'admittedAt' | 'deadlineAt'>, priority: PriorityClass, order: number): LineKey {
		const deadline = this.bounds.order === 'deadline' ? (entry.deadlineAt ?? Number.POSITIVE_INFINITY) : 0;
		const aged = entry.priority === 'batch' && priority === 'interactive';
		return { deadline, since: entry.admittedAt + (aged ? this.bounds.batchMaxWaitMs : 0), order };
	}

	#placeIn(priority: PriorityClass, ahead: Ahead): QueuePlace {
		const { interactive } = this.#classes;
		if (priority === 'interactive') return { position: ahead.count, workAheadMs: ahead.workMs };
		return { position: interactive.length + ahead.count, workAheadMs: interactive.workMs + ahead.workMs };
	}
}

/** An entry, with its neighbours in order of arrival. */
interface Seat<E> {
	node: LineNode<E>;
	before: Seat<E> | null;
	behind: Seat<E> | null;
}

/** In order of arrival: the first is the oldest. */
class Arrivals<E extends QueueEntry> {
	first: Seat<E> | null = null;
	length = 0;
	bytes = 0;
	#last: Seat<E> | null = null;

	add(seat: Seat<E>): void {
		seat.before = this.#last;
		if (this.#last === null) this.first = seat;
		else this.#last.behind = seat;
		this.#last = seat;
		this.length += 1;
		this.bytes += seat.node.entry.bytes;
	}

	remove({ before, behind, node }: Seat<E>): void {
		this.bytes -= node.entry.bytes;
		if (before === null) this.first = behind;
		else before.behind = behind;
		if (behind === null) this.#last = before;
		else behind.before = before;
		this.length -= 1;
	}
}

const nobody = { count: 0, bytes: 0 };

/** The class that it waits in: its own, or `interactive` once it has aged. */
function waitsIn<E extends QueueEntry>({ entry, twin }: LineNode<E>): PriorityClass {
	return entry.priority === 'batch' && twin !== null ? 'batch' : 'interactive';
}
