/** The control thread at work: who is queued, who is refused, who starts, and what the front is told of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PlacementNews } from '../../src/actors/serving/messages.ts';
import { ControlWorld, type TestTask } from './control-world.ts';
import { placement, poolSpec, summary, taskClaim } from './summaries.ts';

const ids = (tasks: readonly TestTask[]): string[] => tasks.map((task) => task.id);
const queueOf = (more: Partial<ReturnType<typeof poolSpec>['queue']>): Partial<ReturnType<typeof poolSpec>> => ({
	queue: { ...poolSpec().queue, ...more },
});

test('a task with a free slot is queued at place 0 and granted at once, with all that it needs to run', () => {
	const world = ControlWorld.ready();
	const task = world.submit('a', { ctx: 100 });
	assert.deepEqual(
		task.news.map((each) => each.type),
		['queued', 'granted'],
	);
	const { standing, poolId, engine, onTimeProbability } = task.only('queued');
	assert.deepEqual([standing.position, standing.predictedStartMs, poolId, engine, onTimeProbability], [0, 0, 'pool', 'scripted', null]);
	const granted = task.only('granted');
	assert.deepEqual([granted.ctx, granted.maxTokensOut, granted.replica.replicaId], [100, 64, 'pool-0']);
	assert.deepEqual(granted.timeouts, poolSpec().timeouts);
	assert.deepEqual(granted.lease, { epoch: 1, id: 1, poolId: 'pool', replicaId: 'pool-0', exclusive: false });
	task.finish();
	world.assertQuiet();
});

test('tasks start in the order they came, as slots come free', () => {
	const world = ControlWorld.ready();
	const tasks = world.submitAll(20, {}, 50);
	world.host.advance(20 * 50);
	assert.deepEqual(world.granted, ids(tasks));
	assert.ok(world.states().every((state) => state === 'done'));
	world.assertQuiet();
});

test('interactive tasks start before batch tasks that came earlier; a batch task that has waited its time goes first', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 }, ...queueOf({ batchMaxWaitMs: 1_000 }) });
	const running = world.submit('running');
	world.submit('batch-1', { priority: 'batch' });
	world.submit('batch-2', { priority: 'batch' });
	world.submit('early');
	world.host.advance(1_001);
	world.submit('late');
	running.finish();
	for (const taskId of ['early', 'batch-1', 'batch-2', 'late']) {
		world.host.run();
		world.tasks.get(taskId)?.finish();
	}
	assert.deepEqual(world.granted, ['running', 'early', 'batch-1', 'batch-2', 'late']);
	world.assertQuiet();
});

test('a preview foretells what a submission would hear, and leaves nothing behind', () => {
	const world = ControlWorld.ready();
	assert.deepEqual(world.preview().type, 'would-queue');
	const refused = world.preview({ modelRef: 'nope' });
	assert.equal(refused.type === 'would-refuse' && refused.failure.code, 'NOT_FOUND');
	const tasks = world.submitAll(4);
	const preview = world.preview({ deadlineAt: world.host.now() + 1 });
	assert.ok(preview.type === 'would-queue');
	assert.deepEqual([preview.standing.position, preview.standing.queueDepth, preview.onTimeProbability], [2, 2, 0]);
	assert.equal(world.telemetry.total('placement_decisions_total'), tasks.length, 'previews are no decisions');
	const real = world.submit('real');
	assert.deepEqual({ ...preview.standing, queueDepth: 3 }, real.only('queued').standing);
	for (const task of [...tasks, real]) {
		task.finish();
		world.host.run();
	}
	world.assertQuiet();
});

test('a deadline that no measured pace can meet is refused at once, with the earliest end; one that may be met is queued', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	// Before anything was measured, nobody knows.
	assert.equal(world.submit('unknown', { deadlineAt: world.host.now() + 1 }).state, 'running');
	world.host.advance(160);
	world.tasks.get('unknown')?.finish();
	world.host.run();
	const running = world.submit('running');
	const hopeless = { deadlineAt: world.host.now() + 20 };
	const { failure } = world.submit('hopeless', hopeless).only('refused');
	assert.equal(failure.code, 'DEADLINE_UNMET');
	assert.match(failure.message, /deadline_ms leaves 20 ms; the earliest that this can end in pool is in about \d+ ms/);
	const preview = world.preview(hopeless);
	assert.equal(preview.type === 'would-refuse' && preview.failure.code, 'DEADLINE_UNMET');
	const possible = world.submit('possible', { deadlineAt: world.host.now() + 60_000 });
	assert.equal(possible.state, 'queued');
	for (const task of [running, possible]) {
		task.finish();
		world.host.run();
	}
	world.assertQuiet();
});

test('how wrong each prediction of a start was is told as real over predicted', () => {
	const world = ControlWorld.ready({ replicas: 1 });
	const running = Array.from({ length: 20 }, (_, index) => world.submit(`t${index}`)).filter(({ state }) => state === 'running');
	const waits = world.submit('waits');
	assert.equal(waits.state, 'queued');
	const predictedMs = waits.only('queued').standing.predictedStartMs;
	world.host.advance(3 * predictedMs);
	for (const task of running) task.finish();
	world.host.advance(1);
	const ratios = world.telemetry.samples.filter(({ metric }) => metric === 'eta_error_ratio').map(({ value }) => value);
	assert.ok(
		ratios.slice(0, running.length).every((ratio) => ratio === 1),
		'those that found a free slot',
	);
	assert.ok(
		ratios.some((ratio) => ratio > 2),
		ratios.join(),
	);
});

test('where pins are not allowed, one is refused in words, and what it would have pinned is served without', () => {
	const world = new ControlWorld();
	world.pinning = false;
	world.startEngineThread();
	world.startControl();
	world.host.advance(10);
	const { poolId } = world.pools[0] as { poolId: string };
	const { failure } = world.submit('a', placement({ pinPoolId: poolId })).only('refused');
	assert.equal(failure.code, 'INVALID_PARAMS');
	assert.match(failure.message, /^placement\.pin_pool_id is ".*"; pins are not allowed here \(placement\.pinning\)/);
	assert.equal(world.submit('b', placement({ mode: 'pin' })).only('refused').failure.code, 'INVALID_PARAMS');
	const served = world.submit('c', placement({ preferPools: [poolId] }));
	assert.equal(served.state, 'running');
	served.finish();
	world.host.advance(1);
	world.assertQuiet();
});

test('refusals of placement reach the task in their own words', () => {
	const world = ControlWorld.ready();
	assert.equal(world.submit('a', { modelRef: 'nope' }).only('refused').failure.code, 'NOT_FOUND');
	assert.equal(world.submit('b', placement({ mode: 'pin', pinPoolId: 'nope' })).only('refused').failure.code, 'INVALID_PARAMS');
	assert.equal(world.submit('c', { ctx: 4_096 }).only('refused').failure.code, 'INVALID_PARAMS');
	assert.equal(world.submit('d', { needs: ['grammar'] }).only('refused').failure.code, 'INVALID_PARAMS');
	assert.equal(world.telemetry.total('placement_decisions_total', { outcome: 'none', pinned: 'true' }), 1);
	assert.equal(world.telemetry.total('placement_decisions_total', { outcome: 'none', pinned: 'false' }), 3);
	world.assertQuiet();
});

test('a task that is told in the very first turn of the control thread waits for its pool, and is not told that there is none', () => {
	const world = new ControlWorld();
	world.startEngineThread();
	world.startControl();
	const task = world.submit('first');
	world.host.advance(10);
	assert.equal(task.state, 'running');
	task.finish();
	world.assertQuiet();
});

test('tasks of one turn spread over like pools', () => {
	const world = ControlWorld.ready([poolSpec({ poolId: 'a' }), poolSpec({ poolId: 'b' })]);
	const pools = Array.from({ length: 4 }, (_, index) => {
		const heard: PlacementNews[] = [];
		const edge = world.system.edge<PlacementNews>((news) => heard.push(news));
		world.tell({ type: 'submit', summary: summary(`t${index}`), claim: taskClaim, again: false, replyTo: edge });
		return heard;
	});
	world.host.run();
	assert.deepEqual(
		pools.map(([first]) => first?.type === 'queued' && first.poolId),
		['a', 'b', 'a', 'b'],
	);
});

test('slots are used on the replica with most free ones', () => {
	const world = ControlWorld.ready({ replicas: 2, settings: { slots: 2 } });
	const tasks = world.submitAll(4);
	assert.deepEqual(
		tasks.map((task) => task.lease?.replicaId),
		['pool-0', 'pool-1', 'pool-0', 'pool-1'],
	);
	for (const task of tasks) task.finish();
	world.assertQuiet();
});

test('a withdrawn task is out of the queue, hears so once, and those behind it move up', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	const tasks = world.submitAll(4);
	tasks[2]?.cancel();
	world.host.run();
	assert.equal(tasks[2]?.state, 'withdrawn');
	world.tell({ type: 'withdraw', poolId: 'pool', taskId: 't2', reason: 'client' });
	world.tell({ type: 'withdraw', poolId: 'nope', taskId: 't3', reason: 'client' });
	world.host.advance(1_000);
	assert.equal(tasks[3]?.standing.position, 1);
	for (const task of tasks) {
		if (task.state === 'withdrawn') continue;
		task.finish();
		world.host.run();
	}
	assert.deepEqual(world.granted, ['t0', 't1', 't3']);
	world.assertQuiet();
});

test('a task id that is in the queue already is refused, and the one in the queue stays', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	const [running, waiting] = world.submitAll(2);
	const heard: PlacementNews[] = [];
	const edge = world.system.edge<PlacementNews>((news) => heard.push(news));
	world.tell({ type: 'submit', summary: summary('t1'), claim: taskClaim, again: false, replyTo: edge });
	world.host.run();
	edge.close();
	assert.ok(heard.length === 1 && heard[0]?.type === 'refused' && heard[0].failure.code === 'CONFLICT');
	running?.finish();
	world.host.run();
	waiting?.finish();
	world.assertQuiet();
});

test('who waits hears with its new place how likely it is in time, as it is by now', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	world.submit('measured', {}, 160);
	world.host.advance(200);
	const [running, next] = world.submitAll(2);
	const late = world.submit('late', { deadlineAt: world.host.now() + 2_050 });
	assert.equal(late.only('queued').onTimeProbability, 1);
	world.host.advance(1_500);
	running?.finish();
	world.host.advance(510);
	assert.equal(late.only('standing-changed').onTimeProbability, 0);
	for (const task of [next, late]) {
		task?.finish();
		world.host.run();
	}
	world.assertQuiet();
});

test('who waits hears at most once a second that it will start at another time than it was told, and by no other', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	// Each is foreseen to take 1.3 s.
	const tasks = Array.from({ length: 6 }, (_, index) => world.submit(`t${index}`, { maxTokens: 64, expectedTokens: 64 }));
	const last = tasks[5] as TestTask;
	const told = last.only('queued').standing;
	world.host.advance(900);
	assert.equal(last.all('standing-changed').length, 0, 'all goes as it was foreseen');
	// The first one does not end.
	world.host.advance(10_000);
	const changes = last.all('standing-changed').map(({ standing }) => standing);
	assert.ok(changes.length >= 2 && changes.length <= 10, `${changes.length}`);
	for (const [index, { at, position, predictedStartMs }] of changes.entries()) {
		assert.equal(position, told.position);
		assert.ok(at - (changes[index - 1] ?? told).at >= 990);
		assert.ok(predictedStartMs > 4_000, 'four of them are before it, however late it is');
	}
	for (const task of tasks) {
		task.finish();
		world.host.run();
	}
	world.assertQuiet();
});

test('who waits hears of a new place at most once a second, and only when it is another', () => {
	// Much time between two places would be told for its own sake.
	const perfPrior = { ...poolSpec().perfPrior, prefillTokensPerS: 1e6, decodeTokensPerS: 1e6 };
	const world = ControlWorld.ready({ settings: { slots: 1 }, perfPrior });
	const tasks = world.submitAll(6);
	const last = tasks[5] as TestTask;
	world.host.advance(5_000);
	assert.equal(last.all('standing-changed').length, 0);
	for (const task of tasks.slice(0, 3)) {
		task.finish();
		world.host.advance(10);
	}
	world.host.advance(1_000);
	assert.deepEqual(
		last.all('standing-changed').map((each) => each.standing.position),
		[1],
	);
	tasks[3]?.finish();
	world.host.advance(1_000);
	assert.deepEqual(
		last.all('standing-changed').map((each) => each.standing.position),
		[1, 0],
	);
	const fresh = world.submit('fresh', { admittedAt: 0 });
	world.host.advance(900);
	assert.equal(last.all('standing-changed').length, 2);
	for (const task of [...tasks.slice(4, 5), fresh, last]) {
		task.finish();
		world.host.run();
	}
	world.assertQuiet();
});

test('who has just come hears no more within a second, though a pass over the queue comes by', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	const [running, first] = world.submitAll(3);
	// Passes begin with the first that waits, and are a second apart.
	world.host.advance(600);
	const late = world.submit('late');
	assert.equal(late.only('queued').standing.position, 2);
	running?.finish();
	world.host.advance(900);
	assert.equal(late.all('standing-changed').length, 0);
	world.host.advance(1_000);
	assert.equal(late.all('standing-changed')[0]?.standing.position, 1);
	for (const task of [first, world.tasks.get('t2'), late]) {
		task?.finish();
		world.host.run();
	}
	world.assertQuiet();
});

test('a pass over a long queue lets other messages in between, and misses nobody', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 }, ...queueOf({ capacity: 5_000 }) });
	const tasks = world.submitAll(3_000);
	tasks[0]?.finish();
	world.host.advance(1_100);
	for (const [index, task] of tasks.entries()) {
		if (index >= 2)
			assert.deepEqual(
				task.all('standing-changed').map((each) => each.standing.position),
				[index - 2],
			);
	}
	for (const task of tasks.slice(2)) task.cancel();
	world.host.run();
	tasks[1]?.finish();
	world.assertQuiet();
});

test('predicted starts are 0 with a free slot and grow along the queue; measured once tasks have run', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	const tasks = world.submitAll(5, {}, 200);
	const starts = tasks.map((task) => task.only('queued').standing.predictedStartMs);
	assert.equal(starts[0], 0);
	for (let index = 1; index < starts.length; index++) assert.ok((starts[index] ?? 0) > (starts[index - 1] ?? 0));
	assert.equal(tasks[4]?.only('queued').standing.estimated, 'prior');
	world.host.advance(2_000);
	assert.equal(world.submit('next', {}, 10).only('queued').standing.estimated, 'measured');
	world.host.advance(100);
	world.assertQuiet();
});

test('a strict task waits for an idle replica, has all of it, and is not overtaken there', () => {
	const world = ControlWorld.ready({ replicas: 2, settings: { slots: 2 } });
	const before = world.submitAll(4);
	const strict = world.submit('strict', { strict: true });
	const behind = Array.from({ length: 6 }, (_, index) => world.submit(`behind-${index}`, {}, 30));
	before[0]?.finish();
	world.host.run();
	assert.equal(strict.state, 'queued');
	// One replica is kept for the strict task; the other goes on serving those behind it.
	before[1]?.finish();
	world.host.advance(500);
	assert.equal(strict.state, 'queued');
	assert.ok(behind.every((task) => task.state === 'done'));
	before[2]?.finish();
	world.host.run();
	assert.equal(strict.state, 'running');
	assert.equal(strict.lease?.exclusive, true);
	const late = world.submit('late');
	assert.notEqual(late.lease?.replicaId, strict.lease?.replicaId);
	for (const task of [before[3], strict, late]) task?.finish();
	world.assertQuiet();
});

test('a strict task is not starved by others that keep coming', () => {
	const world = ControlWorld.ready({ replicas: 2, settings: { slots: 2 } });
	for (let index = 0; index < 8; index++) world.submit(`before-${index}`, {}, 70 + 13 * index);
	const strict = world.submit('strict', { strict: true }, 10);
	for (let index = 0; index < 100; index++) {
		world.submit(`behind-${index}`, {}, 40 + (index % 7) * 11);
		world.host.advance(10);
	}
	assert.equal(strict.state, 'done');
	world.host.advance(10_000);
	world.assertQuiet();
});

test('the front hears of a change of state at once, of counts at most four times a second, and of nothing when nothing changed', () => {
	const world = ControlWorld.ready();
	assert.equal(world.view().state, 'ready');
	const told = world.broadcasts.length;
	const tasks = world.submitAll(10);
	for (const task of tasks) {
		task.finish();
		world.host.advance(20);
	}
	assert.equal(world.broadcasts.length, told);
	world.host.advance(250);
	assert.equal(world.broadcasts.length, told + 1);
	world.host.advance(60_000);
	assert.equal(world.broadcasts.length, told + 1);
	world.engines.life().end('boom');
	world.host.run();
	assert.equal(world.broadcasts.length, told + 2);
	assert.deepEqual([world.view().state, world.view().lastError], ['starting', 'boom']);
	world.host.advance(2_000);
	assert.deepEqual([world.view().state, world.view().lastError], ['ready', 'boom']);
	world.assertQuiet();
});

test('counters and gauges say what happened, under the names and labels of the contract', () => {
	const world = ControlWorld.ready();
	const tasks = world.submitAll(3, { priority: 'batch' });
	world.host.advance(100);
	const { telemetry } = world;
	const labels = { engine: 'scripted', engine_version: '1.2', pool_id: 'pool', priority: 'batch' };
	assert.equal(telemetry.total('tasks_enqueued_total', labels), 3);
	assert.equal(telemetry.total('tasks_started_total', { ...labels, replica_id: 'pool-0' }), 2);
	const gauge = (metric: string, match: Record<string, string>): number | undefined =>
		telemetry.gauges
			.filter((each) => each.metric === metric && Object.entries(match).every(([name, value]) => each.labels[name] === value))
			.at(-1)?.value;
	assert.equal(gauge('queue_depth', labels), 1);
	assert.equal(gauge('queue_depth', { ...labels, priority: 'interactive' }), 0);
	assert.equal(gauge('slots', { pool_id: 'pool', replica_id: 'pool-0', state: 'busy' }), 2);
	assert.equal(gauge('slots', { pool_id: 'pool', replica_id: 'pool-0', state: 'free' }), 0);
	assert.equal(gauge('replica_state', { pool_id: 'pool', replica_id: 'pool-0', state: 'ready' }), 1);
	assert.equal(gauge('replica_state', { pool_id: 'pool', replica_id: 'pool-0', state: 'starting' }), 0);
	for (const task of tasks) {
		task.finish();
		world.host.run();
	}
	world.assertQuiet();
	assert.equal(gauge('queue_depth', labels), 0);
	assert.equal(gauge('slots', { pool_id: 'pool', replica_id: 'pool-0', state: 'free' }), 2);
});

test('what waited before the engine was known is counted under its version once that is, and not twice', () => {
	const world = new ControlWorld();
	world.startControl();
	const task = world.submit('a');
	const depths = new Map<string, number>();
	const look = (): number => {
		world.host.advance(1_000);
		for (const { metric, labels, value } of world.telemetry.gauges)
			if (metric === 'queue_depth') depths.set(Object.values(labels).join(), value);
		return [...depths.values()].reduce((sum, depth) => sum + depth, 0);
	};
	assert.equal(look(), 1);
	world.startEngineThread();
	assert.equal(look(), 0);
	task.finish();
	world.assertQuiet();
});
