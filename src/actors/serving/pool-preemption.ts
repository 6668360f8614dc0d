/**
 * Which batch tasks are to give their slots to interactive ones that wait, under `queue.preemption: soft`. Part of the Pool
 * actor on the control thread; pure but for what it remembers of whom it asked.
 *
 * Each waiting interactive task gets one batch task asked at most. The one that was given its slot last goes first: the least is
 * lost. Spared are those that cannot go on elsewhere, those that have waited their `batch_max_wait_ms` (they count as
 * interactive), and those that have given a slot away a moment ago.
 */
import { leaseKey } from './engine-life.ts';
import type { Lease, Settlement } from './messages.ts';
import type { PoolSpec } from './pool-spec.ts';
import type { Running } from './pool-tasks.ts';

/** Whoever has not answered by then will not: another may be asked. */
const answerMs = 3_000;
/** A task keeps its next slots for this long after it has given one away. */
const sparedMs = 10_000;

export class PoolPreemption {
	readonly #spec: PoolSpec;
	/** When each lease was asked for. */
	readonly #asked = new Map<string, number>();
	/** When each task last gave a slot away; in the order of that. */
	readonly #gave = new Map<string, number>();

	constructor(spec: PoolSpec) {
		this.#spec = spec;
	}

	/** `waiting`: interactive tasks in the queue, while no slot is free. */
	victims(waiting: number, running: Iterable<Running>, now: number): Running[] {
		if (this.#spec.queue.preemption === 'off' || this.#spec.migration === 'off') return [];
		let wanted = waiting;
		const held = new Set<string>();
		for (const { lease } of running) held.add(leaseKey(lease));
		for (const key of this.#asked.keys()) if (!held.has(key)) this.#asked.delete(key);
		for (const at of this.#asked.values()) if (now - at < answerMs) wanted -= 1;
		if (wanted <= 0) return [];
		const eligible = [...running].filter((each) => this.#mayGo(each, now));
		return eligible.sort((a, b) => b.startedAt - a.startedAt || b.lease.id - a.lease.id).slice(0, wanted);
	}

	asked(lease: Lease, now: number): void {
		this.#asked.set(leaseKey(lease), now);
	}

	/** Whether it left its slot because it was asked to. */
	settled({ lease, summary: { taskId } }: Running, { outcome, reason }: Settlement, now: number): boolean {
		if (!this.#asked.delete(leaseKey(lease)) || outcome !== 'moved' || reason !== 'preempted') return false;
		this.#gave.delete(taskId);
		this.#gave.set(taskId, now);
		for (const [each, at] of this.#gave) {
			if (now - at < sparedMs) break;
			this.#gave.delete(each);
		}
		return true;
	}

	#mayGo({ lease, summary, goneAt }: Running, now: number): boolean {
		if (summary.priority !== 'batch' || !summary.movable || lease.exclusive || goneAt !== null) return false;
		if (this.#asked.has(leaseKey(lease)) || now - summary.admittedAt >= this.#spec.queue.batchMaxWaitMs) return false;
		return now - (this.#gave.get(summary.taskId) ?? Number.NEGATIVE_INFINITY) >= sparedMs;
	}
}
