/** A control thread that is replaced: what ran goes on, what waited keeps its place, and nothing is granted before all is known. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PlacementNews } from '../../src/actors/serving/messages.ts';
import { ControlWorld, type TestTask } from './control-world.ts';
import { summary, taskClaim } from './summaries.ts';

test('running tasks keep their slots, waiting ones their order; the leases of the new one are of its epoch', () => {
	const world = ControlWorld.ready({ settings: { slots: 2 } });
	const tasks = world.submitAll(6);
	world.stopControl();
	world.host.advance(1_000);
	world.startControl();
	world.host.advance(100);
	assert.deepEqual(world.states(), ['running', 'running', 'queued', 'queued', 'queued', 'queued']);
	for (const task of tasks) {
		task.finish();
		world.host.advance(10);
	}
	assert.deepEqual(world.granted, ['t0', 't1', 't2', 't3', 't4', 't5']);
	assert.deepEqual(
		tasks.map((task) => task.lease?.epoch),
		[1, 1, 2, 2, 2, 2],
	);
	world.assertQuiet();
});

test('nothing is granted before every front has reported, however free the slots look', () => {
	const world = ControlWorld.ready({ settings: { slots: 2 } });
	const running = world.submit('running');
	world.stopControl();
	world.startControl('silent');
	world.host.advance(1_000);
	const heard: PlacementNews[] = [];
	const other = world.system.edge<PlacementNews>((news) => heard.push(news));
	world.tell({ type: 'submit', summary: summary('other'), claim: taskClaim, again: false, replyTo: other });
	world.host.advance(1_000);
	assert.deepEqual(
		heard.map((news) => news.type),
		['queued'],
	);
	world.tell({ type: 'front-reported', frontId: 'front-9' });
	world.host.advance(10);
	assert.equal(heard.length, 1);
	other.close();
	world.frontReports();
	world.host.advance(300);
	assert.equal(world.view().slotsFree, 1);
	running.finish();
	world.assertQuiet();
});

test('a front that dies before it has reported is waited for no longer', () => {
	const world = ControlWorld.ready();
	const running = world.submit('running');
	world.stopControl();
	world.startControl('silent');
	world.tell({ type: 'front-joined', frontId: 'front-0', draining: [], replyTo: world.front });
	world.host.run();
	running.die(2_000);
	world.front.close();
	world.host.advance(300);
	world.front = world.newFront();
	world.tell({ type: 'front-joined', frontId: 'front-0', draining: [], replyTo: world.front });
	world.host.advance(10);
	// The engine still works for the dead task, which may have been a strict one: nobody joins it there.
	const [first, second] = [world.submit('first'), world.submit('second')];
	assert.deepEqual([first.state, second.state], ['queued', 'queued']);
	world.host.advance(3_000);
	assert.deepEqual([first.state, second.state], ['running', 'running']);
	for (const task of [first, second]) task.finish();
	world.assertQuiet();
});

test('work that nobody reports is found by asking the engine, and its slot is not granted until it is over', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	world.submit('forgotten').die(1_500);
	world.stopControl();
	world.startControl();
	const next = world.submit('next');
	world.host.advance(1_400);
	assert.equal(next.state, 'queued');
	world.host.advance(500);
	assert.equal(next.state, 'running');
	next.finish();
	world.assertQuiet();
});

test('a lease that is settled while no control thread is there is not held by the next', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	const task = world.submit('a');
	world.stopControl();
	task.finish();
	world.startControl();
	world.host.advance(10);
	const next = world.submit('b', {}, 5);
	assert.equal(next.state, 'running');
	world.host.advance(10);
	world.assertQuiet();
});

test('a settlement of a lease that the new control thread was not told of has no effect, and is counted', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	const old = world.submit('old');
	const { lease } = old;
	assert.ok(lease);
	old.finish();
	world.stopControl();
	world.startControl();
	world.host.advance(10);
	const running = world.submit('running');
	// The same number, of the epoch before.
	assert.equal(running.lease?.id, lease.id);
	old.settle('completed', 'free', lease);
	world.host.run();
	assert.equal(world.submit('waits').state, 'queued');
	running.finish();
	world.host.run();
	world.tasks.get('waits')?.finish();
	world.assertQuiet(1);
});

test('a strict task keeps its replica over a restart', () => {
	const world = ControlWorld.ready({ settings: { slots: 3 } });
	const strict = world.submit('strict', { strict: true });
	world.stopControl();
	world.startControl();
	world.host.advance(500);
	const next = world.submit('next');
	assert.deepEqual([strict.state, next.state, world.view().slotsFree], ['running', 'queued', 0]);
	strict.finish();
	world.host.run();
	assert.equal(next.state, 'running');
	next.finish();
	world.assertQuiet();
});

test('engine first or front first: the order of joining does not matter', () => {
	for (const order of ['front', 'engine'] as const) {
		const world = ControlWorld.ready({ settings: { slots: 2 } });
		const tasks = world.submitAll(3);
		world.stopControl();
		world.startControl(order === 'front' ? 'reports' : 'silent');
		world.host.advance(400);
		if (order === 'engine') world.frontReports();
		world.host.advance(300);
		assert.deepEqual(world.states(), ['running', 'running', 'queued'], order);
		for (const task of tasks) {
			task.finish();
			world.host.advance(10);
		}
		world.assertQuiet();
	}
});

test('an engine that ended while no control thread was there: its tasks are told, its successor is not double-booked', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	const lost = world.submit('lost');
	world.stopControl();
	world.engines.life().end();
	world.host.advance(100);
	world.startControl();
	world.host.advance(10);
	const waits = world.submit('waits');
	assert.equal(waits.state, 'queued', 'it has served before: it is waited for');
	world.host.advance(1_200);
	// The lease of the old life is held until its task has settled, which hears of the end by its own connection.
	assert.equal(waits.state, 'queued');
	lost.settle('failed', 'unknown');
	lost.state = 'lost';
	lost.edge.close();
	world.host.advance(400);
	assert.equal(waits.state, 'running');
	waits.finish();
	world.assertQuiet();
});

test('a cancel on its way when the control thread dies ends in no grant', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	const tasks = world.submitAll(3);
	(tasks[1] as TestTask).cancel();
	world.stopControl();
	world.startControl();
	world.host.advance(10);
	for (const task of [tasks[0], tasks[2]]) {
		task?.finish();
		world.host.advance(10);
	}
	assert.deepEqual(world.granted, ['t0', 't2']);
	world.assertQuiet();
});
