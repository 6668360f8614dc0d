/** What `WaitingQueue` must do, in the simplest words: plain lists, sorted and gone through at every look. */
import type { Charge, QueueBounds, QueueEntry } from '../../src/actors/serving/queue.ts';
import type { PriorityClass } from '../../src/actors/serving/task-request.ts';

interface Row {
	readonly entry: QueueEntry;
	readonly order: number;
	class: PriorityClass;
	since: number;
}

interface Tenants {
	readonly counters: Map<string, number>;
	/** The counter at which the last task was dispatched, the highest ever. */
	reached: number;
}

export class NaiveQueue {
	readonly #bounds: QueueBounds;
	#rows: Row[] = [];
	readonly #classes: Record<PriorityClass, Tenants> = {
		interactive: { counters: new Map(), reached: 0 },
		batch: { counters: new Map(), reached: 0 },
	};
	#order = 0;

	constructor(bounds: QueueBounds) {
		this.#bounds = bounds;
	}

	get length(): number {
		return this.#rows.length;
	}

	sum(field: 'bytes' | 'workMs'): number {
		return this.#rows.reduce((sum, { entry }) => sum + entry[field], 0);
	}

	oldest(priority: PriorityClass): QueueEntry | undefined {
		return this.#rows.filter(({ entry }) => entry.priority === priority).toSorted((a, b) => a.order - b.order)[0]?.entry;
	}

	enqueue(entry: QueueEntry): void {
		this.#lift(entry.priority, entry.tenant);
		this.#rows.push({ entry, order: ++this.#order, class: entry.priority, since: entry.admittedAt });
	}

	remove(taskId: string): void {
		this.#rows = this.#rows.filter(({ entry }) => entry.taskId !== taskId);
	}

	start(taskId: string): Charge {
		const row = this.#rows.find(({ entry }) => entry.taskId === taskId);
		if (row === undefined) throw new Error('not there');
		const { tenant, costAtStart: cost } = row.entry;
		const tenants = this.#classes[row.class];
		const counter = tenants.counters.get(tenant) ?? 0;
		tenants.reached = Math.max(tenants.reached, counter);
		tenants.counters.set(tenant, counter + cost);
		this.remove(taskId);
		return { tenant, class: row.class, cost };
	}

	/** What was charged, it stays charged for at least. */
	served(charge: Charge, cost: number): void {
		const { counters } = this.#classes[charge.class];
		const now = Math.max(charge.cost, cost);
		counters.set(charge.tenant, (counters.get(charge.tenant) ?? 0) + now - charge.cost);
		charge.cost = now;
	}

	settle(charge: Charge, cost: number): void {
		const { counters } = this.#classes[charge.class];
		counters.set(charge.tenant, (counters.get(charge.tenant) ?? 0) + cost - charge.cost);
	}

	age(now: number): void {
		const due = this.#rows.filter((row) => row.class === 'batch' && row.entry.admittedAt + this.#bounds.batchMaxWaitMs <= now);
		for (const row of due.toSorted((a, b) => a.entry.admittedAt - b.entry.admittedAt || a.order - b.order)) {
			this.#lift('interactive', row.entry.tenant);
			row.class = 'interactive';
			row.since = row.entry.admittedAt + this.#bounds.batchMaxWaitMs;
		}
	}

	/** As they would be dispatched: interactive first, each time the tenant with the smallest counter, and its first task. */
	inOrder(): QueueEntry[] {
		const sequence: QueueEntry[] = [];
		for (const priority of ['interactive', 'batch'] as const) {
			const counters = new Map(this.#classes[priority].counters);
			let rows = this.#rows.filter((row) => row.class === priority);
			while (rows.length > 0) {
				const heads = [...new Set(rows.map(({ entry }) => entry.tenant))].map(
					(tenant) => rows.filter(({ entry }) => entry.tenant === tenant).toSorted((a, b) => this.#compare(a, b))[0] as Row,
				);
				const counterOf = ({ entry }: Row): number => counters.get(entry.tenant) ?? 0;
				const next = heads.toSorted((a, b) => counterOf(a) - counterOf(b) || this.#compare(a, b))[0] as Row;
				counters.set(next.entry.tenant, counterOf(next) + next.entry.cost);
				sequence.push(next.entry);
				rows = rows.filter((row) => row !== next);
			}
		}
		return sequence;
	}

	/** A tenant that has nothing waiting is put level with where the last was dispatched, or with the least of those that wait. */
	#lift(priority: PriorityClass, tenant: string): void {
		const { counters, reached } = this.#classes[priority];
		const waiting = new Set(this.#rows.filter((row) => row.class === priority).map(({ entry }) => entry.tenant));
		if (waiting.has(tenant)) return;
		const least = Math.min(...[...waiting].map((each) => counters.get(each) ?? 0));
		counters.set(tenant, Math.max(counters.get(tenant) ?? reached, waiting.size === 0 ? reached : Math.min(reached, least)));
	}

	#compare(a: Row, b: Row): number {
		const deadline = ({ entry }: Row): number => (this.#bounds.order === 'deadline' ? (entry.deadlineAt ?? Number.MAX_SAFE_INTEGER) : 0);
		return deadline(a) - deadline(b) || a.since - b.since || a.order - b.order;
	}
}
