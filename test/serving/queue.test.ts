/** The queue of a pool against a naive model: lists that are gone through anew at every look. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
	type Charge,
	type FullPolicy,
	type QueueBounds,
	type QueueEntry,
	type QueueMark,
	victimsFor,
	WaitingQueue,
} from '../../src/actors/serving/queue.ts';
import type { PriorityClass } from '../../src/actors/serving/task-request.ts';
import { NaiveQueue } from './naive-queue.ts';

const bounds: QueueBounds = { capacity: 1_000, bytesMax: 1_000_000, batchMaxWaitMs: 100, order: 'fifo' };

function entry(taskId: string, more: Partial<QueueEntry> = {}): QueueEntry {
	return {
		taskId,
		priority: 'interactive',
		tenant: 'a',
		admittedAt: 0,
		deadlineAt: null,
		bytes: 1,
		workMs: 10,
		cost: 10,
		costAtStart: more.cost ?? 10,
		...more,
	};
}

const idsOf = (queue: WaitingQueue<QueueEntry>): string[] => [...queue].map(({ taskId }) => taskId);

const which = fc.nat(1_000);
const step = fc.oneof(
	{
		weight: 4,
		arbitrary: fc.record({
			kind: fc.constant('enqueue' as const),
			priority: fc.constantFrom<PriorityClass>('interactive', 'batch'),
			tenant: fc.constantFrom('a', 'b', 'c', 'd'),
			admittedAt: fc.nat(300),
			deadlineAt: fc.option(fc.nat(500)),
			bytes: fc.nat(50),
			workMs: fc.nat(50),
			cost: fc.integer({ min: 1, max: 20 }),
			costAtStart: fc.nat(20),
		}),
	},
	{ weight: 1, arbitrary: fc.record({ kind: fc.constant('remove' as const), which }) },
	{ weight: 3, arbitrary: fc.record({ kind: fc.constant('start' as const) }) },
	{ weight: 2, arbitrary: fc.record({ kind: fc.constant('settle' as const), which, cost: fc.nat(60) }) },
	{ weight: 2, arbitrary: fc.record({ kind: fc.constant('served' as const), which, cost: fc.nat(60) }) },
	{ weight: 1, arbitrary: fc.record({ kind: fc.constant('age' as const), byMs: fc.nat(80) }) },
);

for (const order of ['fifo', 'deadline'] as const) {
	test(`order (${order}), places, depths and sums are those of lists that are gone through at every look`, () => {
		fc.assert(
			fc.property(fc.array(step, { maxLength: 80 }), fc.integer({ min: 1, max: 5 }), (steps, part) => {
				const queue = new WaitingQueue<QueueEntry>({ ...bounds, order });
				const naive = new NaiveQueue({ ...bounds, order });
				const running: [Charge, Charge][] = [];
				let made = 0;
				let now = 0;
				for (const each of steps) {
					const waiting = naive.inOrder();
					switch (each.kind) {
						case 'enqueue': {
							const { kind: _kind, ...more } = each;
							const added = entry(`t${made++}`, more);
							const place = queue.placeFor(added);
							queue.enqueue(added);
							naive.enqueue(added);
							assert.deepEqual(queue.placeOf(added.taskId), place, 'foretold and real place differ');
							break;
						}
						case 'remove': {
							const taskId = waiting[each.which % Math.max(1, waiting.length)]?.taskId;
							assert.equal(queue.remove(taskId ?? 'none')?.taskId, taskId);
							if (taskId !== undefined) naive.remove(taskId);
							break;
						}
						case 'start': {
							assert.equal(queue.first?.taskId, waiting[0]?.taskId);
							if (waiting[0] === undefined) break;
							const charge = queue.start(waiting[0].taskId);
							const naively = naive.start(waiting[0].taskId);
							assert.deepEqual(charge, naively);
							running.push([charge, naively]);
							break;
						}
						case 'settle': {
							const [settled] = running.splice(each.which % Math.max(1, running.length), 1);
							if (settled === undefined) break;
							queue.settle(settled[0], each.cost);
							naive.settle(settled[1], each.cost);
							break;
						}
						case 'served': {
							const charged = running[each.which % Math.max(1, running.length)];
							if (charged === undefined) break;
							queue.served(charged[0], each.cost);
							naive.served(charged[1], each.cost);
							assert.deepEqual(charged[0], charged[1]);
							break;
						}
						case 'age':
							now += each.byMs;
							queue.age(now);
							naive.age(now);
							break;
					}
					assert.equal(queue.length, naive.length);
					assert.equal(queue.bytes, naive.sum('bytes'));
					assert.equal(queue.workMs, naive.sum('workMs'));
				}
				const expected = naive.inOrder();
				assert.deepEqual(
					idsOf(queue),
					expected.map(({ taskId }) => taskId),
				);
				let workAheadMs = 0;
				const places = expected.map(({ taskId, workMs }, position) => {
					const place = { position, workAheadMs };
					assert.deepEqual(queue.placeOf(taskId), place);
					workAheadMs += workMs;
					return { taskId, place };
				});
				const walked: typeof places = [];
				let mark: QueueMark | null = null;
				do mark = queue.walk(mark, part, ({ taskId }, place) => void walked.push({ taskId, place }));
				while (mark !== null);
				assert.deepEqual(walked, places);
				for (const priority of ['interactive', 'batch'] as const) {
					assert.equal(queue.depth(priority), expected.filter((each) => each.priority === priority).length);
					assert.equal(queue.droppable(priority).next().value?.taskId, naive.oldest(priority)?.taskId);
				}
			}),
			{ numRuns: 300 },
		);
	});
}

test('interactive goes before batch, first come first served within a tenant', () => {
	const queue = new WaitingQueue<QueueEntry>(bounds);
	queue.enqueue(entry('b1', { priority: 'batch', admittedAt: 0 }));
	queue.enqueue(entry('i1', { admittedAt: 1 }));
	queue.enqueue(entry('b2', { priority: 'batch', admittedAt: 2 }));
	queue.enqueue(entry('i2', { admittedAt: 3 }));
	assert.deepEqual(idsOf(queue), ['i1', 'i2', 'b1', 'b2']);
});

test('where deadlines set the order, the one that must end first goes first, and those without one last', () => {
	const queue = new WaitingQueue<QueueEntry>({ ...bounds, order: 'deadline' });
	queue.enqueue(entry('whenever', { admittedAt: 0 }));
	queue.enqueue(entry('late', { admittedAt: 1, deadlineAt: 900 }));
	queue.enqueue(entry('soon', { admittedAt: 2, deadlineAt: 300 }));
	assert.deepEqual(idsOf(queue), ['soon', 'late', 'whenever']);
});

test('tenants share by tokens: who was served fewer goes next, however many wait', () => {
	const queue = new WaitingQueue<QueueEntry>(bounds);
	for (const index of [1, 2, 3, 4]) queue.enqueue(entry(`long${index}`, { tenant: 'long', cost: 30, admittedAt: index }));
	for (const index of [1, 2, 3, 4]) queue.enqueue(entry(`short${index}`, { tenant: 'short', cost: 10, admittedAt: 10 + index }));
	assert.deepEqual(idsOf(queue), ['long1', 'short1', 'short2', 'short3', 'long2', 'short4', 'long3', 'long4']);
	const charge = queue.start('long1');
	assert.deepEqual(charge, { tenant: 'long', class: 'interactive', cost: 30 });
	queue.settle(charge, 5);
	assert.deepEqual(idsOf(queue).slice(0, 3), ['short1', 'long2', 'short2'], 'what it came to counts, once it is known');
});

test('a tenant that comes back has saved nothing up, and what it was charged too much is still its own', () => {
	const queue = new WaitingQueue<QueueEntry>(bounds);
	for (let index = 0; index < 20; index++) queue.enqueue(entry(`busy${index}`, { tenant: 'busy', admittedAt: index }));
	for (let index = 0; index < 10; index++) queue.start(`busy${index}`);
	queue.enqueue(entry('back1', { tenant: 'back', admittedAt: 100 }));
	queue.enqueue(entry('back2', { tenant: 'back', admittedAt: 101 }));
	assert.deepEqual(idsOf(queue).slice(0, 4), ['back1', 'busy10', 'back2', 'busy11'], 'one each, not ten in a row');
});

test('a batch task that has waited its time goes on as an interactive task that came at that moment', () => {
	const queue = new WaitingQueue<QueueEntry>(bounds);
	queue.enqueue(entry('batch', { priority: 'batch', admittedAt: 0 }));
	queue.enqueue(entry('before', { admittedAt: 99 }));
	queue.enqueue(entry('after', { admittedAt: 101 }));
	queue.age(99);
	assert.deepEqual(idsOf(queue), ['before', 'after', 'batch']);
	queue.age(100);
	assert.deepEqual(idsOf(queue), ['before', 'batch', 'after']);
	assert.deepEqual(
		[queue.depth('batch'), queue.droppable('batch').next().value?.taskId],
		[1, 'batch'],
		'it is dropped as the batch task that it is',
	);
	assert.deepEqual(queue.start('before'), { tenant: 'a', class: 'interactive', cost: 10 });
	assert.equal(queue.start('batch').class, 'interactive');
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
	const queue = new WaitingQueue<QueueEntry>({ ...bounds, capacity: 2, bytesMax: 10 });
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
	const queue = new WaitingQueue<QueueEntry>({ ...bounds, capacity: 2 });
	queue.enqueue(entry('i1', { admittedAt: 0 }));
	queue.enqueue(entry('i2', { admittedAt: 1 }));
	const victims = (policy: FullPolicy, newcomer: PriorityClass, bytes = 1): string[] | undefined =>
		victimsFor(policy, queue, newcomer, bytes)?.map(({ taskId }) => taskId);
	const victim = (policy: FullPolicy, newcomer: PriorityClass): string | undefined => {
		const dropped = victims(policy, newcomer);
		assert.ok(dropped === undefined || dropped.length === 1);
		return dropped?.[0];
	};
	assert.deepEqual(
		[victim('drop-lru', 'interactive'), victim('drop-lru', 'batch'), victim('shed-low-priority', 'interactive')],
		['i1', undefined, undefined],
	);
	queue.bounds = { ...bounds, capacity: 4, bytesMax: 10 };
	queue.enqueue(entry('b1', { priority: 'batch', admittedAt: 2 }));
	queue.enqueue(entry('b2', { priority: 'batch', admittedAt: 3 }));
	assert.deepEqual([victim('drop-lru', 'interactive'), victim('drop-lru', 'batch')], ['b1', 'b1']);
	assert.deepEqual([victim('shed-low-priority', 'interactive'), victim('shed-low-priority', 'batch')], ['b1', undefined]);
	assert.deepEqual([victim('reject', 'interactive'), victim('reject', 'batch')], [undefined, undefined]);
	assert.deepEqual(victims('drop-lru', 'batch', 8), ['b1', 'b2'], 'as many as it takes');
	assert.deepEqual(victims('drop-lru', 'batch', 9), undefined, 'and nobody where all of them would not do');
	assert.deepEqual(victims('drop-lru', 'interactive', 9), ['b1', 'b2', 'i1']);
	assert.deepEqual(victims('shed-low-priority', 'interactive', 9), undefined);
	queue.remove('b1');
	assert.deepEqual(victims('shed-low-priority', 'batch', 1), [], 'nobody where there is room');
});

test('its depth stays logarithmic: work in a queue of 100 000 touches few entries', () => {
	const queue = new WaitingQueue<QueueEntry>({ ...bounds, capacity: 200_000 });
	const count = 100_000;
	for (let index = 0; index < count; index++) {
		queue.enqueue(
			entry(`t${index}`, { admittedAt: index, tenant: `tenant${index % 4}`, priority: index % 3 === 0 ? 'batch' : 'interactive' }),
		);
	}
	queue.age(50_000);
	// Linear work here would be 10¹⁰ steps: it would not end within the limit of the test run.
	for (let index = 0; index < count; index++) {
		const taskId = `t${count - 1 - index}`;
		assert.ok((queue.placeOf(taskId)?.position ?? count) < count - index);
		if (index % 2 === 0) queue.remove(taskId);
		else queue.settle(queue.start(taskId), 7);
	}
	assert.equal(queue.length, 0);
});

test('a place among very many tenants with a task each touches few of them', { timeout: 60_000 }, () => {
	const queue = new WaitingQueue<QueueEntry>({ ...bounds, capacity: 200_000 });
	const count = 100_000;
	for (let index = 0; index < count; index++) {
		const one = { admittedAt: index, tenant: `tenant${index}` };
		assert.equal(queue.placeFor({ ...entry('new'), ...one }).position, index);
		queue.enqueue(entry(`t${index}`, one));
	}
	// Looking at each tenant would be 10¹⁰ steps: it would not end within the limit.
	for (let index = 0; index < count; index++) {
		assert.equal(queue.placeOf(`t${count - 1}`)?.position, count - 1 - index);
		const { first } = queue;
		assert.equal(first?.taskId, index === count - 1 ? `t${count - 1}` : `t${index}`);
		if (first !== undefined && index < count - 1) queue.settle(queue.start(first.taskId), 7);
	}
	assert.equal(queue.length, 1);
});
