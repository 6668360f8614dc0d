/** Tasks that die, engines that end, links that are full, settlements that come twice: no slot is lost, none is used twice. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { leaseKey } from '../../src/actors/serving/engine-life.ts';
import type { EngineThreadCommand, Lease, PlacementNews } from '../../src/actors/serving/messages.ts';
import { ControlWorld, type TestTask } from './control-world.ts';
import { poolSpec, summary, taskClaim } from './summaries.ts';

const leaseOf = (task: TestTask): Lease => {
	assert.ok(task.lease);
	return task.lease;
};

test('a task that dies in the queue leaves its place', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	const tasks = world.submitAll(3);
	tasks[1]?.die();
	world.host.run();
	tasks[0]?.finish();
	world.host.run();
	assert.deepEqual(world.granted, ['t0', 't2']);
	tasks[2]?.finish();
	world.assertQuiet();
});

test('a task that dies while running leaves its slot in quarantine until the engine shows it idle', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	const [running, waiting] = world.submitAll(2);
	running?.die(700);
	world.host.advance(690);
	assert.equal(waiting?.state, 'queued');
	const quarantined = world.telemetry.gauges.filter((each) => each.metric === 'slots' && each.labels['state'] === 'quarantined').at(-1);
	assert.equal(quarantined?.value, 1);
	world.host.advance(300);
	assert.equal(waiting?.state, 'running');
	waiting?.finish();
	world.assertQuiet();
});

test('a task that settles and ends in one turn is settled, not quarantined, whichever news is first', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	for (let index = 0; index < 10; index++) {
		const task = world.submit(`t${index}`);
		task.finish();
		world.host.run();
		assert.equal(world.submit(`n${index}`, {}, 0).state, 'running');
		world.host.advance(1);
	}
	world.assertQuiet();
	assert.equal(world.telemetry.total('tasks_started_total'), 20);
});

test('a cancel that the engine has not acknowledged keeps the slot until it has', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	const [running, waiting] = world.submitAll(2);
	running?.cancel(1_000);
	world.host.advance(990);
	assert.equal(waiting?.state, 'queued');
	world.host.advance(300);
	assert.equal(waiting?.state, 'running');
	waiting?.finish();
	world.assertQuiet();
});

test('an engine is told which leases nobody holds any more, and only those', () => {
	const world = ControlWorld.ready({ settings: { slots: 2 } });
	const [given, held] = world.submitAll(2);
	assert.ok(given && held);
	const lease = leaseOf(given);
	given.cancel(1_000);
	world.host.advance(10);
	assert.deepEqual(world.engines.life().revoked, [leaseKey(lease)]);
	world.host.advance(2_000);
	held.finish();
	world.assertQuiet();
});

test('an answer to an audit that was asked before a slot went to quarantine frees nothing', () => {
	const world = ControlWorld.ready({ settings: { slots: 2 } });
	const life = world.engines.life();
	const first = world.submit('first');
	first.cancel(50);
	life.auditMs = 200;
	world.host.advance(100);
	// Asked at 0 and answered at 200, when this one is under way: it was not yet in quarantine when the question was asked.
	const second = world.submit('second');
	const lease = leaseOf(second);
	life.over(lease);
	second.settle('canceled', 'unknown');
	world.host.run();
	life.busy.clear();
	world.host.advance(101);
	life.begin(lease);
	assert.deepEqual([...life.busy.keys()], [leaseKey(lease)]);
	const tasks = [world.submit('a'), world.submit('b')];
	assert.deepEqual(
		tasks.map((task) => task.state),
		['running', 'queued'],
	);
	life.over(lease);
	second.state = 'withdrawn';
	second.edge.close();
	world.host.advance(1_000);
	for (const task of tasks) task.finish();
	world.assertQuiet();
});

test('a second settlement has no effect and is counted, as are those of leases that never were', () => {
	const world = ControlWorld.ready({ settings: { slots: 2 } });
	const [first, other] = world.submitAll(2);
	assert.ok(first && other);
	const lease = leaseOf(first);
	first.finish();
	world.host.run();
	const next = world.submit('next');
	for (const slot of ['free', 'unknown'] as const) first.settle('completed', slot, lease);
	first.settle('completed', 'free', { ...lease, id: 99 });
	first.settle('completed', 'free', { ...lease, epoch: 0 });
	first.settle('completed', 'free', { ...lease, poolId: 'gone' });
	world.host.run();
	assert.equal(world.submit('waits').state, 'queued');
	for (const task of [other, next, world.tasks.get('waits')]) {
		task?.finish();
		world.host.run();
	}
	world.assertQuiet(5);
});

test('a quarantined slot does not come back by a second settlement that calls it free', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	const [running, waiting] = world.submitAll(2);
	assert.ok(running && waiting);
	const lease = leaseOf(running);
	running.cancel(1_000);
	running.settle('canceled', 'free', lease);
	world.host.advance(900);
	assert.equal(waiting.state, 'queued');
	world.host.advance(400);
	waiting.finish();
	world.assertQuiet(1);
});

test('when an engine ends its tasks are told, the others wait, and it serves them when it is back', () => {
	const world = ControlWorld.ready({ settings: { slots: 2 } });
	const tasks = world.submitAll(4);
	world.engines.life().end('killed');
	world.host.run();
	assert.deepEqual(world.states(), ['lost', 'lost', 'queued', 'queued']);
	const { failure } = (tasks[0] as TestTask).only('replica-lost');
	assert.equal(failure.code, 'WORKER_RESET');
	assert.ok(failure.message.includes('killed') && failure.message.includes('pool-0'));
	assert.equal(world.view().slotsTotal, 0);
	world.host.advance(1_200);
	assert.deepEqual(world.states(), ['lost', 'lost', 'running', 'running']);
	for (const task of tasks.slice(2)) task.finish();
	world.assertQuiet();
});

test('tasks that have not settled when their engine is back hold no slot of it', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	const stalled = world.submit('stalled');
	const lease = leaseOf(stalled);
	// A front that hears nothing for a while: its task neither settles nor dies.
	stalled.state = 'submitted';
	world.engines.life().end();
	world.host.advance(2_000);
	const next = world.submit('next');
	assert.equal(next.state, 'running');
	assert.equal(world.submit('waits').state, 'queued');
	stalled.settle('failed', 'unknown', lease);
	stalled.state = 'lost';
	stalled.edge.close();
	world.host.run();
	assert.equal(world.tasks.get('waits')?.state, 'queued');
	next.finish();
	world.host.run();
	world.tasks.get('waits')?.finish();
	world.assertQuiet();
});

test('an engine that does not start: who waits is told why, a newcomer hears when the next try is, and is served after it', () => {
	const world = new ControlWorld();
	world.engines.failsWith = 'no such file';
	world.startEngineThread();
	world.startControl();
	const early = world.submit('early');
	assert.equal(early.state, 'queued');
	world.host.advance(5);
	const dropped = early.only('refused').failure;
	assert.equal(dropped.code, 'POOL_UNREADY');
	assert.ok(dropped.message.includes('no such file'));
	const { failure } = world.submit('late').only('refused');
	assert.equal(failure.code, 'POOL_UNREADY');
	assert.ok((failure.retryAfterMs ?? 0) > 800 && (failure.retryAfterMs ?? 0) <= 1_100, `${failure.retryAfterMs}`);
	assert.deepEqual([world.view().state, world.view().lastError], ['failed', 'no such file']);
	world.engines.failsWith = null;
	world.host.advance(1_500);
	assert.equal(world.submit('served', {}, 1).state, 'running');
	world.host.advance(10);
	world.assertQuiet();
});

test('with one of two replicas down the other serves; with both down for the second time the pool has failed', () => {
	const world = ControlWorld.ready({ replicas: 2, settings: { slots: 1 } });
	const tasks = world.submitAll(3);
	world.engines.life('pool-0').end();
	world.host.run();
	assert.equal(world.view().state, 'ready');
	tasks[1]?.finish();
	world.host.run();
	assert.equal(tasks[2]?.lease?.replicaId, 'pool-1');
	world.engines.failsWith = 'still broken';
	world.engines.life('pool-1').end();
	world.host.run();
	const waits = world.submit('waits');
	assert.equal(waits.state, 'queued');
	world.host.advance(1_300);
	assert.equal(waits.state, 'refused');
	assert.equal(world.view().state, 'failed');
	world.engines.failsWith = null;
	world.host.advance(10_000);
	world.assertQuiet();
});

test('an engine thread that ends is replaced: its tasks are told, its replicas run on the new one', () => {
	const world = ControlWorld.ready({ replicas: 2, settings: { slots: 1 } });
	const tasks = world.submitAll(3);
	world.stopEngineThread();
	assert.deepEqual(world.states(), ['lost', 'lost', 'queued']);
	assert.equal(world.view().state, 'starting');
	world.host.advance(5_000);
	assert.equal(tasks[2]?.state, 'queued');
	world.startEngineThread();
	world.host.advance(10);
	assert.equal(tasks[2]?.state, 'running');
	tasks[2]?.finish();
	world.assertQuiet();
	assert.equal(world.engines.starts, 4);
});

test('an engine thread that ends before its replicas have named themselves is replaced all the same', () => {
	const world = new ControlWorld({ replicas: 2 });
	world.startControl();
	world.host.run();
	// It is told to start replicas and ends before it has read that.
	const silent = world.system.edge<never>(() => undefined);
	world.tell({ type: 'engine-joined', engineId: 'engine-0', replyTo: silent });
	world.host.run();
	silent.close();
	world.host.run();
	world.startEngineThread();
	world.host.advance(10);
	assert.equal(world.view().slotsTotal, 4);
	world.assertQuiet();
});

test('replicas are shared between the engine threads, and a new control thread asks each for the same ones, whoever joins first', () => {
	const world = new ControlWorld({ replicas: 4 });
	world.homes = ['engine-0', 'engine-1'];
	const startedBy = (...threads: readonly string[]): string[] => {
		const started: string[] = [];
		world.startControl();
		for (const engineId of threads) {
			const replyTo = world.system.edge<EngineThreadCommand>((command) => {
				if (command.type === 'start-replica') started.push(`${engineId} ${command.replica.replicaId}`);
			});
			world.tell({ type: 'engine-joined', engineId, replyTo });
			world.host.run();
		}
		world.stopControl();
		return started.sort();
	};
	const before = startedBy('engine-0', 'engine-1');
	assert.deepEqual(before, ['engine-0 pool-0', 'engine-0 pool-2', 'engine-1 pool-1', 'engine-1 pool-3']);
	assert.deepEqual(startedBy('engine-1', 'engine-0'), before);
});

test('who is dropped from the queue while nothing can be told to it is told as soon as something can', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 }, queue: { ...poolSpec().queue, capacity: 1, fullPolicy: 'drop-lru' } });
	const running = world.submit('running');
	const heard: string[] = [];
	const victim = world.system.edge<PlacementNews>((news) => heard.push(news.type), { mailboxMax: 1 });
	const newcomer = world.system.edge<PlacementNews>(() => undefined);
	world.tell({ type: 'submit', summary: summary('victim'), claim: taskClaim, again: false, replyTo: victim });
	world.tell({ type: 'submit', summary: summary('newcomer'), claim: taskClaim, again: false, replyTo: newcomer });
	world.host.run();
	assert.deepEqual(heard, ['queued']);
	world.host.advance(100);
	assert.deepEqual(heard, ['queued', 'refused']);
	for (const edge of [victim, newcomer]) edge.close();
	running.finish();
	world.assertQuiet();
});

test('a replica whose actor failed is asked for again', () => {
	const world = ControlWorld.ready();
	const tasks = world.submitAll(2);
	const life = world.engines.life();
	const { start } = world.engines;
	let bugs = 1;
	world.engines.start = (spec, ref) => {
		if (bugs-- > 0) throw new Error('a bug of the driver');
		return start.call(world.engines, spec, ref);
	};
	life.end();
	world.host.advance(1_500);
	assert.equal(world.system.stats.failures, 1);
	world.host.advance(3_000);
	assert.equal(world.view().state, 'ready');
	const next = world.submit('next');
	assert.equal(next.state, 'running');
	next.finish();
	world.host.advance(1_000);
	assert.deepEqual(
		tasks.map((task) => task.state),
		['lost', 'lost'],
	);
	assert.equal(world.view().slotsFree, 2);
});

test('a grant that a full link refuses is not lost: the task keeps its place, the slot stays free for others', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	const running = world.submit('running');
	const deaf = world.submit('deaf');
	const behind = world.submit('behind');
	const { tell } = deaf.edge;
	deaf.edge.tell = (news) => (news.type === 'granted' ? 'full' : tell.call(deaf.edge, news));
	running.finish();
	world.host.run();
	assert.deepEqual([deaf.state, behind.state], ['queued', 'running']);
	deaf.edge.tell = tell;
	behind.finish();
	world.host.advance(100);
	assert.equal(deaf.state, 'running');
	deaf.finish();
	world.assertQuiet();
});

test('a pool that fails takes its control thread along, for its ledger is gone', () => {
	const world = ControlWorld.ready();
	const task = world.submit('a');
	const control = world.dispatcher;
	assert.ok(control);
	// A settlement without a body is a bug of the front; the pool stumbles over it.
	control.tell({ type: 'settle', lease: leaseOf(task), settlement: null as never });
	world.host.run();
	assert.equal(control.tell({ type: 'front-reported', frontId: 'front-0' }), 'closed');
});
