/** The queue of a pool against a naive model: an array that is sorted anew at every look. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type QueueBounds, type QueueEntry, victimOf, WaitingQueue } from '../../src/actors/serving/queue.ts';
import type { PriorityClass } from '../../src/actors/serving/task-request.ts';

const bounds: QueueBounds = { capacity: 1_000, bytesMax: 1_000_000, batchMaxWaitMs: 100 };

function entry(taskId: string, more: Partial<QueueEntry> = {}): QueueEntry {
	return { taskId, priority: 'interactive', admittedAt: 0, bytes: 1, workMs: 10, ...more };
}

const idsOf = (queue: WaitingQueue<QueueEntry>): string[] => [...queue].map(({ taskId }) => taskId);

class NaiveQueue {
	readonly entries: { readonly entry: QueueEntry; readonly order: number }[] = [];
	#order = 0;

	enqueue(each: QueueEntry): void {
		this.entries.push({ entry: each, order: ++this.#order });
		const key = (of: QueueEntry): number => of.admittedAt + (of.priority === 'batch' ? bounds.batchMaxWaitMs : 0);
		this.entries.sort((a, b) => key(a.entry) - key(b.entry) || a.order - b.order);
	}

	remove(taskId: string): void {
		const at = this.entries.findIndex((each) => each.entry.taskId === taskId);
		if (at >= 0) this.entries.splice(at, 1);
	}

	get ids(): string[] {
		return this.entries.map((each) => each.entry.taskId);
	}

	sum(field: 'bytes' | 'workMs', until = this.entries.length): number {
		return this.entries.slice(0, until).reduce((sum, each) => sum + each.entry[field], 0);
	}
}

const step = fc.oneof(
	fc.record({
		kind: fc.constant('enqueue' as const),
		priority: fc.constantFrom<PriorityClass>('interactive', 'batch'),
		admittedAt: fc.nat(300),
		bytes: fc.nat(50),
		workMs: fc.nat(50),
	}),
	fc.record({ kind: fc.constant('remove' as const), which: fc.nat() }),
	fc.record({ kind: fc.constant('shift' as const) }),
);

test('order, places, depths and sums are those of a list sorted at every look', () => {
	fc.assert(
		fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
			const queue = new WaitingQueue<QueueEntry>(bounds);
			const naive = new NaiveQueue();
			let made = 0;
			for (const each of steps) {
				if (each.kind === 'enqueue') {
					const { priority, admittedAt, bytes, workMs } = each;
					const added = entry(`t${made++}`, { priority, admittedAt, bytes, workMs });
					const place = queue.placeFor(priority, admittedAt);
					queue.enqueue(added);
					naive.enqueue(added);
					assert.deepEqual(queue.placeOf(added.taskId), place, 'foretold and real place differ');
				} else {
					const ids = naive.ids;
					const taskId = each.kind === 'shift' ? ids[0] : ids[each.which % Math.max(1, ids.length)];
					assert.equal(queue.remove(taskId ?? 'none')?.taskId, taskId);
					if (taskId !== undefined) naive.remove(taskId);
				}
				assert.equal(queue.length, naive.entries.length);
				assert.equal(queue.bytes, naive.sum('bytes'));
				assert.equal(queue.workMs, naive.sum('workMs'));
			}
			assert.deepEqual(idsOf(queue), naive.ids);
			naive.ids.forEach((taskId, position) => {
				assert.equal(queue.at(position)?.taskId, taskId);
				assert.deepEqual(queue.placeOf(taskId), { position, workAheadMs: naive.sum('workMs', position) });
			});
			assert.equal(queue.at(queue.length), undefined);
			for (const priority of ['interactive', 'batch'] as const) {
				const ofClass = naive.entries.filter((each) => each.entry.priority === priority);
				assert.equal(queue.depth(priority), ofClass.length);
				const first = ofClass.toSorted((a, b) => a.order - b.order)[0];
				assert.equal(queue.oldest(priority)?.taskId, first?.entry.taskId);
			}
		}),
		{ numRuns: 200 },
	);
});

test('interactive goes before batch, first come first served within a class', () => {
	const queue = new WaitingQueue<QueueEntry>(bounds);
	queue.enqueue(entry('b1', { priority: 'batch', admittedAt: 0 }));
	queue.enqueue(entry('i1', { admittedAt: 1 }));
	queue.enqueue(entry('b2', { priority: 'batch', admittedAt: 2 }));
	queue.enqueue(entry('i2', { admittedAt: 3 }));
	assert.deepEqual(idsOf(queue), ['i1', 'i2', 'b1', 'b2']);
});

test('a batch task that has waited its time goes before every interactive task that comes later', () => {
	const queue = new WaitingQueue<QueueEntry>(bounds);
	queue.enqueue(entry('batch', { priority: 'batch', admittedAt: 0 }));
	queue.enqueue(entry('before', { admittedAt: 99 }));
	queue.enqueue(entry('after', { admittedAt: 101 }));
	assert.deepEqual(idsOf(queue), ['before', 'batch', 'after']);
});

test('a task that comes back stands where its admission puts it', () => {
	const queue = new WaitingQueue<QueueEntry>(bounds);
	for (const at of [1, 2, 3]) queue.enqueue(entry(`t${at}`, { admittedAt: at }));
	const first = queue.remove('t1');
	assert.ok(first);
	queue.enqueue(first);
	assert.deepEqual(idsOf(queue), ['t1', 't2', 't3']);
});

test('capacity and bytes both bound it, and a task is in it once', () => {
	const queue = new WaitingQueue<QueueEntry>({ capacity: 2, bytesMax: 10, batchMaxWaitMs: 100 });
	assert.equal(queue.hasRoom(11), false);
	queue.enqueue(entry('a', { bytes: 6 }));
	assert.equal(queue.hasRoom(5), false);
	assert.equal(queue.hasRoom(4), true);
	queue.enqueue(entry('b', { bytes: 4 }));
	assert.equal(queue.hasRoom(0), false);
	assert.throws(() => queue.enqueue(entry('a')));
	queue.remove('a');
	assert.deepEqual([queue.length, queue.bytes, queue.hasRoom(6)], [1, 4, true]);
});

test('who is dropped for a newcomer: nobody, the oldest batch task, or the oldest of all for an interactive one', () => {
	const queue = new WaitingQueue<QueueEntry>(bounds);
	queue.enqueue(entry('i1', { admittedAt: 0 }));
	queue.enqueue(entry('i2', { admittedAt: 1 }));
	const victim = (policy: Parameters<typeof victimOf>[0], newcomer: PriorityClass): string | undefined =>
		victimOf(policy, queue, newcomer)?.taskId;
	assert.deepEqual(
		[victim('drop-lru', 'interactive'), victim('drop-lru', 'batch'), victim('shed-low-priority', 'interactive')],
		['i1', undefined, undefined],
	);
	queue.enqueue(entry('b1', { priority: 'batch', admittedAt: 2 }));
	queue.enqueue(entry('b2', { priority: 'batch', admittedAt: 3 }));
	assert.deepEqual([victim('drop-lru', 'interactive'), victim('drop-lru', 'batch')], ['b1', 'b1']);
	assert.deepEqual([victim('shed-low-priority', 'interactive'), victim('shed-low-priority', 'batch')], ['b1', undefined]);
	assert.deepEqual([victim('reject', 'interactive'), victim('reject', 'batch')], [undefined, undefined]);
});

test('its depth stays logarithmic: work in a queue of 100 000 touches few entries', () => {
	const queue = new WaitingQueue<QueueEntry>({ ...bounds, capacity: 200_000 });
	const count = 100_000;
	for (let index = 0; index < count; index++) queue.enqueue(entry(`t${index}`, { admittedAt: index }));
	// Linear work here would be 10¹⁰ steps: it would not end within the limit of the test run.
	for (let index = 0; index < count; index++) {
		assert.equal(queue.placeOf(`t${count - 1 - index}`)?.position, count - 1 - index);
		queue.remove(`t${count - 1 - index}`);
	}
	assert.equal(queue.length, 0);
});
