/**
 * What the queue of one pool should hold, told from what its actor is told and tells: for the bounds and the order of it. Sees
 * the control thread only, never the pool's own fields.
 */
import { ForeignRef } from '../../src/actors/kernel/foreign.ts';
import type { PlacementNews, TaskSummary } from '../../src/actors/serving/messages.ts';
import type { PoolMessage } from '../../src/actors/serving/pool-messages.ts';
import type { PoolSpec } from '../../src/actors/serving/pool-spec.ts';

interface Entry {
	readonly summary: TaskSummary;
	readonly order: number;
	readonly to: ForeignRef<PlacementNews>;
	queued: boolean;
	/** It has its 202, and stays whether there is room or not. */
	stays: boolean;
	/** At which message of the pool its grant found no room. */
	deniedAt: number;
	/** It was passed over; unless it turns out to have been gone already, somebody broke the order. */
	passedOver: string | null;
}

export class QueueModel {
	#spec: PoolSpec;
	/** How it is configured since: its actor may be yet to hear, or has begun with one of these. */
	#coming: PoolSpec[] = [];
	readonly #found: (checker: 'queueStaysInBounds' | 'queueIsFifo', words: string) => void;
	readonly #entries = new Set<Entry>();
	#messages = 0;

	constructor(spec: PoolSpec, found: (checker: 'queueStaysInBounds' | 'queueIsFifo', words: string) => void) {
		this.#spec = spec;
		this.#found = found;
	}

	willBe(spec: PoolSpec): void {
		this.#coming.push(spec);
	}

	/** The pool is about to handle a message. */
	handles(message: PoolMessage): void {
		this.#messages += 1;
		// Whoever waits is offered to other pools, and takes no place until the dispatcher has found nobody.
		// Those that wait keep their places under other bounds.
		const keeps = message.type === 'drain' || message.type === 'retire' || message.type === 'configure';
		if (keeps) for (const entry of this.#entries) entry.stays = true;
		if (message.type === 'configure') {
			this.#spec = message.spec;
			this.#coming = this.#coming.slice(this.#coming.indexOf(message.spec) + 1);
		}
		if (message.type !== 'enqueue') return;
		const { summary, origin, replyTo } = message;
		if (!(replyTo instanceof ForeignRef)) throw new Error('tasks live on other threads');
		// It was sent elsewhere from here, and is back.
		for (const entry of this.#entries) if (entry.to === replyTo && !entry.queued) this.#entries.delete(entry);
		this.#entries.add({
			summary,
			order: this.#messages,
			to: replyTo,
			queued: false,
			stays: origin?.kind === 'stays',
			deniedAt: 0,
			passedOver: null,
		});
	}

	/** The dispatcher is about to find another pool for it. */
	displaced(ref: unknown): void {
		this.#messages += 1;
		for (const entry of this.#entries) if (entry.to === ref) this.#entries.delete(entry);
	}

	/** The pool is about to hear that an actor has ended. */
	ended(ref: unknown): void {
		this.#messages += 1;
		for (const entry of this.#entries) if (entry.to === ref) this.#entries.delete(entry);
	}

	/** The control thread tells a task something; of another pool it is no business of ours. */
	tells(carrier: unknown, to: number, news: PlacementNews, accepted: boolean): void {
		const entry = [...this.#entries].find((each) => each.to.carrier === carrier && each.to.id === to);
		if (entry === undefined) return;
		if (accepted && entry.passedOver !== null) this.#found('queueIsFifo', entry.passedOver);
		if (accepted) entry.passedOver = null;
		switch (news.type) {
			case 'queued':
				if (news.poolId === this.#spec.poolId) this.#queued(entry);
				return;
			case 'granted':
				if (news.lease.poolId !== this.#spec.poolId) return;
				if (!accepted) entry.deniedAt = this.#messages;
				else {
					this.#checkOrder(entry);
					this.#entries.delete(entry);
				}
				return;
			case 'refused':
				if (accepted || !entry.queued || news.failure.code === 'QUEUE_FULL_DROP_LRU') this.#entries.delete(entry);
				return;
			case 'withdrawn':
				this.#entries.delete(entry);
				return;
			case 'standing-changed':
			case 'count-first':
			case 'replica-lost':
			case 'leave-slot':
				return;
		}
	}

	#queued(entry: Entry): void {
		entry.queued = true;
		// One that comes back from a slot always gets in.
		if (entry.summary.resume !== null) return;
		const bounds = [this.#spec, ...this.#coming].map((spec) => spec.queue);
		const capacity = Math.max(...bounds.map((each) => each.capacity));
		const bytesMax = Math.max(...bounds.map((each) => each.bytesMax));
		const queued = [...this.#entries].filter((each) => each.queued && !each.stays);
		const bytes = queued.reduce((sum, each) => sum + each.summary.queuedBytes, 0);
		const name = this.#spec.poolId;
		if (queued.length > capacity) this.#found('queueStaysInBounds', `${name}: ${queued.length} wait, its capacity is ${capacity}`);
		if (bytes > bytesMax) this.#found('queueStaysInBounds', `${name}: ${bytes} bytes wait, its bound is ${bytesMax}`);
	}

	/** Nobody of the same tenant and class who comes before waits on, but who could not be told just now. */
	#checkOrder(granted: Entry): void {
		const { strict, priority, tenant } = granted.summary;
		if (strict) return;
		const byDeadline = this.#spec.queue.order === 'deadline';
		// One that has aged goes before all that have not, whatever their deadlines.
		if (byDeadline && priority === 'batch') return;
		for (const other of this.#entries) {
			if (other === granted || !other.queued || other.summary.strict) continue;
			if (other.summary.priority !== priority || other.summary.tenant !== tenant) continue;
			if (other.deniedAt === this.#messages || !isBefore(other, granted, byDeadline)) continue;
			const words = `${granted.summary.taskId} was granted a slot before ${other.summary.taskId}, which comes first`;
			other.passedOver ??= `${this.#spec.poolId}: ${words}`;
		}
	}
}

function isBefore(a: Entry, b: Entry, byDeadline: boolean): boolean {
	const deadline = ({ summary }: Entry): number => summary.deadlineAt ?? Number.POSITIVE_INFINITY;
	if (byDeadline && deadline(a) !== deadline(b)) return deadline(a) < deadline(b);
	const before = a.summary.admittedAt - b.summary.admittedAt;
	return before < 0 || (before === 0 && a.order < b.order);
}
