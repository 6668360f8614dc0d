/** What a full queue does with newcomers, and with those that wait in it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ControlWorld } from './control-world.ts';
import { poolSpec } from './summaries.ts';

const queueOf = (more: Partial<ReturnType<typeof poolSpec>['queue']>): Partial<ReturnType<typeof poolSpec>> => ({
	queue: { ...poolSpec().queue, ...more },
});

test('a full queue refuses with a time to come back, and takes tasks again when there is room', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 }, ...queueOf({ capacity: 3 }) });
	const tasks = world.submitAll(4);
	const refused = world.submit('over').only('refused').failure;
	assert.deepEqual(
		[refused.code, refused.policyLabel, refused.retryAfterMs, refused.poolId],
		['ADMISSION_REJECT', 'reject', 1_000, 'pool'],
	);
	assert.equal(world.preview().type, 'would-refuse');
	assert.equal(world.telemetry.total('admission_backpressure_events_total', { policy: 'reject' }), 1);
	world.host.advance(4_000);
	tasks[0]?.finish();
	world.host.run();
	const later = world.submit('later');
	assert.equal(later.state, 'queued');
	// One slot was held for four seconds: that is how fast places come free.
	assert.equal(world.submit('over again').only('refused').failure.retryAfterMs, 4_000);
	for (const task of [...tasks.slice(1), later]) {
		task.finish();
		world.host.run();
	}
	world.assertQuiet();
});

test('a task that comes back from the journal is refused by no full queue and no prediction', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 }, ...queueOf({ capacity: 3 }) });
	const tasks = world.submitAll(4);
	assert.equal(world.submit('over').only('refused').failure.code, 'ADMISSION_REJECT');
	const recalled = world.submit('recalled', { recalled: true, deadlineAt: world.host.now() + 1 });
	assert.equal(recalled.state, 'queued');
	for (const task of [...tasks, recalled]) {
		task.finish();
		world.host.run();
	}
	world.assertQuiet();
});

test('a queue is bounded by bytes too, and a request that never fits is wrong for good', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 }, ...queueOf({ bytesMax: 5_000 }) });
	const tasks = [world.submit('a'), world.submit('b', { queuedBytes: 3_000 })];
	assert.equal(world.submit('c', { queuedBytes: 2_001 }).only('refused').failure.code, 'ADMISSION_REJECT');
	tasks.push(world.submit('d', { queuedBytes: 2_000 }));
	const never = world.submit('e', { queuedBytes: 5_001 }).only('refused').failure;
	assert.deepEqual([never.code, never.retriable], ['INVALID_PARAMS', false]);
	for (const number of ['5001', '5000']) assert.ok(never.message.includes(number));
	for (const task of tasks) {
		task.finish();
		world.host.run();
	}
	world.assertQuiet();
});

test('drop-lru makes room by the oldest batch task, which is told', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 }, ...queueOf({ capacity: 2, fullPolicy: 'drop-lru' }) });
	const running = world.submit('running');
	const batch = world.submit('batch', { priority: 'batch' });
	const first = world.submit('first');
	const second = world.submit('second');
	assert.equal(batch.only('refused').failure.code, 'QUEUE_FULL_DROP_LRU');
	assert.deepEqual([first.state, second.state], ['queued', 'queued']);
	const newcomer = world.submit('newcomer', { priority: 'batch' });
	assert.equal(newcomer.only('refused').failure.code, 'QUEUE_FULL_DROP_LRU');
	assert.equal(world.telemetry.total('tasks_dropped_total', { pool_id: 'pool', priority: 'batch' }), 1);
	for (const task of [running, first, second]) {
		task.finish();
		world.host.run();
	}
	world.assertQuiet();
});

test('nobody is dropped for a task that would have no room all the same', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 }, ...queueOf({ bytesMax: 100, fullPolicy: 'drop-lru' }) });
	world.submit('running', { queuedBytes: 1 }, 10);
	world.submit('interactive', { queuedBytes: 60 }, 10);
	const batch = world.submit('batch', { priority: 'batch', queuedBytes: 30 }, 10);
	const large = world.submit('large', { priority: 'batch', queuedBytes: 50 });
	assert.equal(large.only('refused').failure.code, 'QUEUE_FULL_DROP_LRU');
	assert.equal(batch.state, 'queued');
	assert.equal(world.submit('fits', { priority: 'batch', queuedBytes: 40 }, 10).state, 'queued');
	assert.equal(batch.only('refused').failure.code, 'QUEUE_FULL_DROP_LRU');
	world.host.advance(100);
	world.assertQuiet();
});
