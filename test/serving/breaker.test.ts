/** The breaker of a replica: one that fails its tasks is left alone for a while, and tried again with one task. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ControlWorld, type TestTask } from './control-world.ts';
import { poolSpec } from './summaries.ts';

function fails(task: TestTask): void {
	task.fail();
	task.world.host.run();
}

function failTimes(world: ControlWorld, times: number, name = 'f'): void {
	for (let i = 0; i < times; i += 1) fails(world.submit(`${name}${i}`));
}

/** Also the open ones take a task again. */
function quiet(world: ControlWorld): void {
	world.host.advance(300_000);
	world.assertQuiet();
}

const breakers = (world: ControlWorld): string[] => world.view().replicas.map(({ breaker }) => breaker);

test('five failures in a row open the breaker of a replica; the other one serves on', () => {
	const world = ControlWorld.ready({ replicas: 2, settings: { slots: 1 } });
	const elsewhere = world.submit('elsewhere');
	assert.equal(elsewhere.lease?.replicaId, 'pool-0');
	failTimes(world, 5);
	world.host.advance(300);
	assert.deepEqual(breakers(world), ['closed', 'open']);
	assert.match(world.view().lastError ?? '', /pool-1 failed 5 times in a row, last with WORKER_RESET; it is tried again in 30 s/);
	const waits = world.submit('waits');
	assert.equal(waits.state, 'queued', 'not on the open one');
	elsewhere.finish();
	world.host.run();
	assert.equal(waits.lease?.replicaId, 'pool-0');
	waits.finish();
	quiet(world);
});

test('a success in between starts the count anew, and what clients do does not count', () => {
	const world = ControlWorld.ready({ settings: { slots: 2 } });
	failTimes(world, 4);
	world.submit('good').finish();
	world.host.run();
	failTimes(world, 4, 'g');
	const left = world.submit('left');
	left.cancel();
	world.host.advance(300);
	assert.deepEqual(breakers(world), ['closed']);
	quiet(world);
});

test('tasks that were cut by a watchdog, that the engine failed or that broke it count; what else ends a task does not', () => {
	for (const [reason, counts] of [
		['watchdog', true],
		['DECODE_TIMEOUT', true],
		['INTERNAL', true],
		['WORKER_RESET', true],
		['deadline', false],
		['disconnect', false],
		['INVALID_PARAMS', false],
		['ADMISSION_REJECT', false],
	] as const) {
		const world = ControlWorld.ready({ settings: { slots: 1 } });
		for (let i = 0; i < 5; i += 1) {
			const task = world.submit(`t${i}`);
			task.fail(reason);
			world.host.run();
		}
		world.host.advance(300);
		assert.deepEqual(breakers(world), [counts ? 'open' : 'closed'], reason);
		quiet(world);
	}
});

test('tasks that a drain has stopped say nothing of their engine, also where that did not let go in time', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	for (let i = 0; i < 6; i += 1) {
		const task = world.submit(`t${i}`);
		world.control('pool', { kind: 'drain', deadlineMs: 60_000 });
		task.fail('WORKER_RESET', 'unknown');
		world.host.advance(3_000);
		world.control('pool', { kind: 'undrain' });
	}
	world.host.advance(300);
	assert.deepEqual(breakers(world), ['closed']);
	quiet(world);
});

test('a task that was placed before its pool had told that its last breaker opened does not queue there', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	failTimes(world, 4);
	// In one turn: the scheduler decides before it hears from the pool.
	world.submit('last').fail();
	const behind = world.submit('behind');
	assert.equal(behind.only('refused').failure.code, 'REPLICA_EXHAUSTED');
	quiet(world);
});

test('with every breaker open nobody new may queue: REPLICA_EXHAUSTED, and when to come again', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	failTimes(world, 4);
	const last = world.submit('last');
	const queued = world.submit('queued');
	fails(last);
	assert.equal(queued.state, 'queued', 'it has its 202');
	world.host.advance(1_000);
	const refused = world.submit('refused');
	const { failure } = refused.only('refused');
	assert.equal(failure.code, 'REPLICA_EXHAUSTED');
	assert.ok(failure.retriable);
	assert.equal(failure.retryAfterMs, 29_000);
	assert.equal(world.preview().type, 'would-refuse');
	world.host.advance(28_900);
	assert.equal(queued.state, 'queued');
	world.host.advance(200);
	assert.equal(queued.state, 'running', 'it is the trial');
	const behind = world.submit('behind');
	queued.finish();
	world.host.run();
	assert.equal(behind.state, 'running');
	behind.finish();
	world.host.advance(300);
	assert.deepEqual(breakers(world), ['closed']);
	quiet(world);
});

test('a half-open breaker lets one task through at a time, and stays open for longer each time it fails', () => {
	const world = ControlWorld.ready({ settings: { slots: 4 } });
	failTimes(world, 5);
	for (const [round, openMs] of [30_000, 60_000, 120_000, 240_000, 300_000, 300_000].entries()) {
		world.host.advance(openMs - 1_000);
		assert.deepEqual(breakers(world), ['open'], `${openMs}`);
		world.host.advance(1_000);
		assert.deepEqual(breakers(world), ['half-open'], `${openMs}`);
		const trial = world.submit(`trial${round}`);
		const second = world.submit(`second${round}`);
		assert.deepEqual([trial.state, second.state], ['running', 'queued']);
		second.cancel();
		fails(trial);
	}
	world.host.advance(300_000);
	const left = world.submit('left');
	left.cancel();
	world.host.run();
	const good = world.submit('good');
	assert.equal(good.state, 'running', 'a trial that said nothing makes room for the next');
	good.finish();
	world.host.run();
	const both = [world.submit('x'), world.submit('y')];
	assert.deepEqual(
		both.map(({ state }) => state),
		['running', 'running'],
	);
	for (const task of both) task.finish();
	quiet(world);
});

test('an engine that dies with many tasks has failed once; one that dies five times with its tasks is left alone', () => {
	const world = ControlWorld.ready({ settings: { slots: 8 } });
	for (let death = 1; death <= 5; death += 1) {
		const tasks = Array.from({ length: 8 }, (_, index) => world.submit(`d${death}-${index}`));
		world.engines.life().end();
		world.host.run();
		for (const task of tasks) assert.equal(task.state, 'lost');
		world.host.advance(20_000);
		assert.deepEqual(breakers(world), [death < 5 ? 'closed' : 'open'], `${death}`);
	}
	assert.match(world.view().lastError ?? '', /failed 5 times in a row, last with the engine died/);
	quiet(world);
});

test('those that wait for a pool without a replica that works go to one that has', () => {
	const world = ControlWorld.ready([
		poolSpec({ poolId: 'bad', settings: { slots: 1 } }),
		poolSpec({ poolId: 'good', aliases: ['default'], settings: { slots: 1 } }),
	]);
	const pinned = {
		placement: { mode: 'prefer', pinPoolId: null, preferPools: ['bad'], avoidPools: [], requireDeviceMask: null, allowFallback: true },
	} as const;
	for (let i = 0; i < 4; i += 1) fails(world.submit(`f${i}`, pinned));
	const last = world.submit('last', pinned);
	const waits = world.submit('waits', pinned);
	assert.equal(waits.only('queued').poolId, 'bad');
	fails(last);
	assert.equal(waits.all('queued').at(-1)?.poolId, 'good');
	assert.equal(waits.state, 'running');
	waits.finish();
	quiet(world);
});

test('an open breaker outlives the control thread: it is open as long as it would have been, and longer the next time', () => {
	const world = ControlWorld.ready({ settings: { slots: 2 } });
	failTimes(world, 5);
	world.host.advance(10_000);
	world.stopControl();
	world.host.advance(1_000);
	world.startControl();
	world.host.advance(300);
	assert.deepEqual(breakers(world), ['open']);
	assert.match(world.view().lastError ?? '', /pool-0 failed 5 times in a row, last with WORKER_RESET; it is tried again in 19 s/);
	assert.equal(world.submit('refused').only('refused').failure.code, 'REPLICA_EXHAUSTED');
	world.host.advance(18_000);
	assert.deepEqual(breakers(world), ['open']);
	world.host.advance(1_000);
	assert.deepEqual(breakers(world), ['half-open']);
	fails(world.submit('trial'));
	world.stopControl();
	world.host.advance(90_000);
	world.startControl();
	world.host.advance(300);
	assert.deepEqual(breakers(world), ['half-open'], 'its time was over meanwhile');
	world.submit('good').finish();
	world.host.advance(300);
	assert.deepEqual(breakers(world), ['closed']);
	world.stopControl();
	world.startControl();
	world.host.advance(300);
	assert.deepEqual(breakers(world), ['closed'], 'that it is closed again outlives it too');
	quiet(world);
});

test('a breaker that was open when its pool was given another model is not open for that', () => {
	const world = ControlWorld.ready({ settings: { slots: 2 } });
	failTimes(world, 5);
	assert.equal(world.control('pool', { kind: 'reload', model: 'scripted:other' }), null);
	world.host.advance(1_000);
	assert.deepEqual(breakers(world), ['closed']);
	world.stopControl();
	world.startControl();
	world.host.advance(1_000);
	assert.deepEqual(breakers(world), ['closed']);
	quiet(world);
});
