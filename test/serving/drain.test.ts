/** Pools that are drained, or fail, under tasks: the production Dispatcher and Pools; nothing that has a 202 is dropped. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ControlWorld, type TestTask } from './control-world.ts';
import { placement, poolSpec } from './summaries.ts';

const drain = (deadlineMs: number) => ({ kind: 'drain', deadlineMs }) as const;
const undrain = { kind: 'undrain' } as const;
const one = { slots: 1 };
const pools = (capacity = 256) => [
	poolSpec({ poolId: 'a', settings: one }),
	poolSpec({ poolId: 'b', settings: one, queue: { ...poolSpec().queue, capacity } }),
];
const toA = { modelRef: 'a' };

function finishAll(world: ControlWorld): void {
	for (;;) {
		const running = [...world.tasks.values()].filter(({ state }) => state === 'running');
		if (running.length === 0) return;
		for (const task of running) task.finish();
		world.host.run();
	}
}

/** As the control thread's role does. */
function retire(world: ControlWorld, models: readonly string[], deadlineMs = 0): void {
	world.admission.retired = new Set(models);
	world.dispatcher?.tell({ type: 'retire-models', models, untrusted: [], names: [], deadlineMs });
	world.host.run();
}

const states = (tasks: readonly TestTask[]): string[] => tasks.map(({ state }) => state);

test('a drained pool takes no task; its running ones go on, its queued ones move where they can be served, in their order', () => {
	const world = ControlWorld.ready(pools());
	const running = world.submit('running', placement({ mode: 'pin', pinPoolId: 'a' }));
	const beside = world.submit('beside', placement({ mode: 'pin', pinPoolId: 'b' }));
	const queued = [1, 2, 3].map((each) => world.submit(`q${each}`, placement({ preferPools: ['a'] })));
	assert.deepEqual(
		queued.map(({ poolId }) => poolId),
		['a', 'a', 'a'],
	);
	assert.equal(world.control('nowhere', drain(1))?.code, 'NOT_FOUND');
	assert.equal(world.control('a', drain(60_000)), null);
	world.host.advance(10);
	assert.deepEqual(
		queued.map(({ poolId }) => poolId),
		['b', 'b', 'b'],
	);
	assert.deepEqual([running.state, world.view('a').drainingUntil !== null, world.view('a').state], ['running', true, 'ready']);
	const refused = world.submit('pinned', placement({ mode: 'pin', pinPoolId: 'a' })).only('refused').failure;
	assert.deepEqual([refused.code, refused.message], ['POOL_UNREADY', 'a is draining']);
	assert.equal(world.submit('new').poolId, 'b');
	finishAll(world);
	assert.deepEqual(world.granted, ['running', 'beside', 'q1', 'q2', 'q3', 'new']);
	assert.deepEqual(states([running, beside, ...queued]), ['done', 'done', 'done', 'done', 'done']);
	assert.equal(world.control('a', undrain), null);
	const back = world.submit('back', placement({ mode: 'pin', pinPoolId: 'a' }));
	assert.equal(back.state, 'running');
	back.finish();
	world.assertQuiet();
});

test('a model that is retired drains its pools: new tasks and waiting ones are refused, running ones end or go at the deadline', () => {
	const world = ControlWorld.ready(pools().map((spec) => ({ ...spec, model: `scripted:${spec.poolId}`, aliases: ['both'] })));
	const running = world.submit('running', toA);
	const waiting = world.submit('waiting', toA);
	const moves = world.submit('moves', { modelRef: 'both', ...placement({ preferPools: ['a'] }) });
	assert.deepEqual([running.state, waiting.poolId, moves.poolId], ['running', 'a', 'a']);
	retire(world, ['scripted:a'], 60_000);
	world.host.advance(10);
	assert.deepEqual(
		[waiting.only('refused').failure.code, moves.poolId, world.view('a').drainingUntil !== null],
		['MODEL_DEPRECATED', 'b', true],
	);
	for (const modelRef of ['a', 'scripted:a']) {
		assert.equal(world.submit(`late-${modelRef}`, { modelRef }).only('refused').failure.code, 'MODEL_DEPRECATED');
	}
	assert.equal(world.submit('served', { modelRef: 'both' }).poolId, 'b');
	assert.equal(world.control('a', undrain)?.code, 'MODEL_DEPRECATED');
	assert.equal(world.control('b', { kind: 'reload', model: 'scripted:a' })?.code, 'MODEL_DEPRECATED');
	finishAll(world);
	assert.equal(running.state, 'done');
	retire(world, []);
	world.host.advance(10);
	const back = world.submit('back', toA);
	assert.equal(back.state, 'running');
	back.finish();
	world.assertQuiet();
});

test('nobody is sent to a pool behind the order to drain it, also before that has told what it made of it', () => {
	const world = ControlWorld.ready(pools());
	const replyTo = world.system.edge(() => undefined);
	world.tell({ type: 'control-pool', poolId: 'a', operation: drain(60_000), correlationId: 'c', replyTo });
	const task = world.submit('task', placement({ preferPools: ['a'] }));
	assert.equal(task.poolId, 'b');
	replyTo.close();
	task.finish();
	world.host.run();
	world.control('a', undrain);
	world.assertQuiet();
});

test('tasks that no other pool can serve wait, and start when the pool takes tasks again', () => {
	const world = ControlWorld.ready(pools());
	const running = world.submit('running', toA);
	const waiting = [1, 2].map((each) => world.submit(`w${each}`, toA));
	world.control('a', drain(60_000));
	running.finish();
	world.host.advance(5_000);
	assert.deepEqual(states(waiting), ['queued', 'queued']);
	assert.equal(world.submit('late', toA).only('refused').failure.code, 'POOL_UNREADY');
	waiting[0]?.cancel();
	world.host.run();
	world.control('a', undrain);
	finishAll(world);
	assert.deepEqual(states(waiting), ['withdrawn', 'done']);
	world.assertQuiet();
});

test('a task that finds the other pool full goes back, and drops nobody there', () => {
	const world = ControlWorld.ready(pools(1));
	world.submit('runs-a', toA);
	world.submit('runs-b', { modelRef: 'b' });
	const there = world.submit('there', { modelRef: 'b' });
	const queued = [1, 2].map((each) => world.submit(`q${each}`, placement({ preferPools: ['a'] })));
	world.control('a', drain(60_000));
	world.host.advance(10);
	assert.deepEqual(states([there, ...queued]), ['queued', 'queued', 'queued']);
	world.control('a', undrain);
	finishAll(world);
	assert.deepEqual(states([there, ...queued]), ['done', 'done', 'done']);
	world.assertQuiet();
});

test('tasks that still run at the deadline are told to go, and their slots come back', () => {
	const world = ControlWorld.ready(pools());
	const short = world.submit('short', toA, 500);
	world.control('a', drain(1_000));
	world.host.advance(400);
	assert.equal(short.state, 'running');
	world.host.advance(600);
	assert.equal(short.state, 'done');
	world.control('a', undrain);
	const long = world.submit('long', toA);
	world.control('a', drain(1_000));
	world.host.advance(1_001);
	assert.equal(long.state, 'lost');
	assert.equal(long.only('leave-slot').reason, 'drained');
	world.host.advance(1_000);
	world.control('a', undrain);
	world.assertQuiet();
});

test('a new control thread goes on draining, and the tasks that wait there wait on', () => {
	const world = ControlWorld.ready(pools());
	const running = world.submit('running', toA);
	const waiting = world.submit('waiting', toA);
	world.control('a', drain(60_000));
	world.host.advance(300);
	const deadlineAt = world.view('a').drainingUntil;
	assert.ok(deadlineAt !== null);
	world.draining = [{ poolId: 'a', deadlineAt }];
	world.stopControl();
	world.startControl();
	world.host.advance(1_000);
	assert.deepEqual([world.view('a').drainingUntil, waiting.state, running.state], [deadlineAt, 'queued', 'running']);
	running.finish();
	world.host.advance(1_000);
	assert.equal(waiting.state, 'queued');
	world.control('a', undrain);
	finishAll(world);
	assert.equal(waiting.state, 'done');
	world.assertQuiet();
});

test('the queued tasks of a pool that fails for good move too; those that nobody else can serve are told why', () => {
	const world = ControlWorld.ready(pools());
	world.submit('runs-a', toA);
	world.submit('runs-b', { modelRef: 'b' });
	const movable = world.submit('movable', placement({ preferPools: ['a'] }));
	const bound = world.submit('bound', toA);
	world.engines.failsWith = 'no such device';
	world.engines.life('a-0').end('died');
	world.host.advance(5_000);
	assert.deepEqual([movable.poolId, movable.state], ['b', 'queued']);
	assert.deepEqual([bound.state, bound.only('refused').failure.code], ['refused', 'POOL_UNREADY']);
	assert.match(bound.only('refused').failure.message, /a cannot serve: .*no such device/);
	world.engines.failsWith = null;
	world.host.advance(60_000);
	finishAll(world);
	assert.equal(movable.state, 'done');
	world.assertQuiet();
});

test('a task cancelled on its way to another pool is in neither queue', () => {
	const world = ControlWorld.ready(pools());
	world.submit('runs-a', toA);
	world.submit('runs-b', { modelRef: 'b' });
	const moved = world.submit('moved', placement({ preferPools: ['a'] }));
	// Both in one turn: the withdrawal finds nothing in the pool that it names.
	world.tell({
		type: 'control-pool',
		poolId: 'a',
		operation: drain(60_000),
		correlationId: 'c',
		replyTo: world.system.edge(() => undefined),
	});
	moved.cancel();
	world.host.advance(1_000);
	assert.equal(moved.state, 'withdrawn');
	finishAll(world);
	world.host.advance(1_000);
	assert.equal(world.view('b').queueDepth.interactive, 0);
});
