/** `queue.preemption: soft`: batch tasks give their slots to interactive ones, and go on later: the production Dispatcher and Pool. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ControlWorld, type TestTask } from './control-world.ts';
import { poolSpec } from './summaries.ts';

const soft = (slots: number, batchMaxWaitMs = 60_000) =>
	ControlWorld.ready({ settings: { slots }, queue: { ...poolSpec().queue, preemption: 'soft', batchMaxWaitMs } });
const batch = { priority: 'batch' } as const;
const asked = (task: TestTask): number => task.all('leave-slot').length;
const preemptions = (world: ControlWorld): number => world.telemetry.total('preemptions_total', { pool_id: 'pool', reason: 'interactive' });

test('an interactive task that finds no slot gets that of the batch task that began last, which goes on before the other batch tasks', () => {
	const world = soft(2);
	const [first, last] = [world.submit('first', batch), world.submit('last', batch)];
	world.host.advance(1);
	const waiting = world.submit('waiting', batch);
	const quick = world.submit('quick');
	assert.deepEqual([first.state, last.state, quick.state, asked(first), asked(last)], ['running', 'queued', 'running', 0, 1]);
	assert.equal(preemptions(world), 1);
	quick.finish();
	world.host.run();
	assert.deepEqual([last.state, waiting.state], ['running', 'queued']);
	for (const task of [first, last]) task.finish();
	world.host.run();
	waiting.finish();
	assert.deepEqual(world.granted, ['first', 'last', 'quick', 'last', 'waiting']);
	world.assertQuiet();
});

test('as many are asked as interactive tasks wait; a batch task is never asked for another', () => {
	const world = soft(3);
	const running = world.submitAll(3, batch);
	world.submit('more', batch);
	assert.deepEqual(running.map(asked), [0, 0, 0]);
	const quick = [world.submit('a'), world.submit('b')];
	assert.deepEqual(running.map(asked), [0, 1, 1]);
	for (const task of quick) task.finish();
	world.host.run();
	for (const task of [...world.tasks.values()]) if (task.state === 'running') task.finish();
	world.host.run();
	for (const task of [...world.tasks.values()]) if (task.state === 'running') task.finish();
	world.assertQuiet();
});

test('interactive tasks, strict ones and those that cannot go on elsewhere keep their slots', () => {
	const world = soft(3);
	const kept = [world.submit('interactive'), world.submit('shaped', { ...batch, movable: false })];
	const stubborn = world.submit('stubborn', batch);
	stubborn.stays = true;
	const quick = world.submit('quick');
	assert.deepEqual([...kept.map(asked), asked(stubborn), quick.state], [0, 0, 1, 'queued']);
	world.host.advance(10_000);
	world.submit('another');
	assert.deepEqual([...kept.map(asked), asked(stubborn)], [0, 0, 1], 'asked once');
	assert.equal(preemptions(world), 0);
	for (const task of [...kept, stubborn]) task.finish();
	world.host.run();
	for (const id of ['quick', 'another']) world.tasks.get(id)?.finish();
	world.assertQuiet();
	const alone = soft(1);
	const strict = alone.submit('strict', { ...batch, strict: true, movable: false });
	const next = alone.submit('next');
	assert.deepEqual([asked(strict), next.state], [0, 'queued']);
	strict.finish();
	alone.host.run();
	next.finish();
	alone.assertQuiet();
});

test('a batch task is left alone for ten seconds once it has given a slot away, and for good once it has waited its time', () => {
	const world = soft(1, 30_000);
	const task = world.submit('batch', batch);
	const first = world.submit('first');
	assert.equal(asked(task), 1);
	first.finish();
	world.host.run();
	const second = world.submit('second');
	assert.deepEqual([task.state, second.state, asked(task)], ['running', 'queued', 1]);
	task.finish();
	world.host.run();
	second.finish();
	world.host.run();
	const old = world.submit('old', { ...batch, admittedAt: world.host.now() - 30_000 });
	const third = world.submit('third');
	assert.deepEqual([asked(old), third.state], [0, 'queued']);
	old.finish();
	world.host.run();
	third.finish();
	world.assertQuiet();
});

test('nobody is asked where preemption or migration is off', () => {
	for (const more of [{}, { queue: { ...poolSpec().queue, preemption: 'soft' as const }, migration: 'off' as const }]) {
		const world = ControlWorld.ready({ settings: { slots: 1 }, ...more });
		const task = world.submit('batch', batch);
		const quick = world.submit('quick');
		assert.deepEqual([asked(task), quick.state], [0, 'queued']);
		task.finish();
		world.host.run();
		quick.finish();
		world.assertQuiet();
	}
});

test('a task that goes on is not refused for a full queue, and goes where the same model is', () => {
	const resume = { poolId: 'a', modelDigest: 'sha256:ab', modelName: 'demo', tokens: 5 };
	const world = ControlWorld.ready([
		poolSpec({ poolId: 'a', aliases: [], settings: { slots: 1 }, queue: { ...poolSpec().queue, capacity: 1 } }),
		poolSpec({ poolId: 'b', aliases: [], model: 'scripted:other', settings: { slots: 1 } }),
	]);
	const toA = { modelRef: 'a' };
	const [running, queued] = [world.submit('running', toA), world.submit('queued', toA)];
	assert.equal(world.submit('refused', toA).only('refused').failure.code, 'ADMISSION_REJECT');
	const back = world.submit('back', { ...toA, resume });
	assert.deepEqual([back.state, back.poolId], ['queued', 'a']);
	world.control('a', { kind: 'drain', deadlineMs: 60_000 });
	world.host.advance(10);
	// It was asked for as `a`; `b` has the same model under another name.
	assert.deepEqual([back.state, back.poolId, queued.poolId], ['running', 'b', 'a']);
	world.configure(...world.pools.map((spec) => (spec.poolId === 'b' ? { ...spec, migration: 'off' as const } : spec)));
	world.host.advance(10);
	assert.equal(
		world.submit('not-there', { ...toA, resume }).only('refused').failure.code,
		'POOL_UNREADY',
		'b takes none that began elsewhere',
	);
	const nowhere = world.submit('nowhere', { ...toA, resume: { ...resume, modelDigest: 'sha256:cd' } });
	assert.equal(nowhere.state, 'refused');
	const pinned = world.submit('pinned', { ...toA, resume, placement: { ...running.summary.placement, mode: 'pin', pinPoolId: 'a' } });
	assert.equal(pinned.only('refused').failure.code, 'POOL_UNREADY', 'a pin is exclusive');
	back.finish();
	world.control('a', { kind: 'undrain' });
	running.finish();
	world.host.run();
	queued.finish();
	world.assertQuiet();
});
