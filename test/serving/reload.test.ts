/** A pool gets another model, one replica after the other, under tasks; what does not work is undone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ControlWorld } from './control-world.ts';

const a = 'scripted:demo';
const b = 'scripted:other';
const reload = (model: string) => ({ kind: 'reload', model }) as const;
const two = { replicas: 2, settings: { slots: 1 } };

test('a reload gives its replicas the new model one at a time, each when its last task has ended; nothing is dropped', () => {
	const world = ControlWorld.ready(two);
	const first = world.submit('first');
	const second = world.submit('second');
	assert.deepEqual([first.lease?.replicaId, second.lease?.replicaId], ['pool-0', 'pool-1']);
	const waits = world.submit('waits');
	assert.equal(world.control('pool', reload(b)), null);
	world.host.advance(1_000);
	assert.deepEqual([first.state, second.state], ['running', 'running'], 'no task is stopped for it');
	assert.deepEqual([world.view().model, world.view().reloadingTo], [a, b]);
	assert.equal(world.control('pool', reload('scripted:third'))?.code, 'CONFLICT');
	second.finish();
	world.host.advance(1_000);
	assert.equal(waits.lease?.replicaId, 'pool-1', 'the other one serves on meanwhile');
	assert.deepEqual(world.engines.models, [`pool-0 ${a}`, `pool-1 ${a}`]);
	first.finish();
	world.host.advance(1_000);
	assert.deepEqual(world.engines.models.slice(2), [`pool-0 ${b}`], 'not both at once');
	const onNew = world.submit('on-new');
	assert.equal(onNew.lease?.replicaId, 'pool-0');
	waits.finish();
	world.host.advance(1_000);
	assert.deepEqual(world.engines.models.slice(2), [`pool-0 ${b}`, `pool-1 ${b}`]);
	assert.deepEqual([world.view().model, world.view().reloadingTo, world.view().lastError], [b, null, null]);
	onNew.finish();
	assert.equal(world.submit('by-old-name', { modelRef: a }).only('refused').failure.code, 'NOT_FOUND');
	const byName = world.submit('by-name', { modelRef: b });
	byName.finish();
	world.assertQuiet();
});

test('the same model is no reload; a model that is wrong stops nothing, and last_error says why', () => {
	const world = ControlWorld.ready(two);
	assert.equal(world.control('pool', reload(a)), null);
	world.engines.wrongModels.add(b);
	assert.equal(world.control('pool', reload(b)), null);
	world.host.advance(1_000);
	assert.deepEqual(world.engines.models, [`pool-0 ${a}`, `pool-1 ${a}`]);
	assert.deepEqual([world.view().model, world.view().reloadingTo, world.view().state], [a, null, 'ready']);
	assert.equal(world.view().lastError, `the reload to ${b} was not begun: ${b} is cut off`);
	assert.equal(world.control('nowhere', reload(b))?.code, 'NOT_FOUND');
	world.submit('task').finish();
	world.assertQuiet();
});

test('a model that does not load is undone: the old one runs again, and last_error says why', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	world.engines.brokenModels.add(b);
	const running = world.submit('running');
	const waits = world.submit('waits');
	world.control('pool', reload(b));
	running.finish();
	world.host.advance(5_000);
	assert.deepEqual(world.engines.models, [`pool-0 ${a}`, `pool-0 ${b}`, `pool-0 ${a}`]);
	assert.equal(waits.state, 'running', 'it waited');
	assert.deepEqual([world.view().model, world.view().reloadingTo, world.view().state], [a, null, 'ready']);
	assert.match(
		world.view().lastError ?? '',
		/the reload to scripted:other failed, scripted:demo serves again: scripted:other does not load/,
	);
	waits.finish();
	assert.equal(world.control('pool', reload('scripted:third')), null);
	world.host.advance(1_000);
	assert.deepEqual([world.view().model, world.view().lastError?.includes('reload') ?? false], ['scripted:third', false]);
	world.assertQuiet();
});

test('a model that fails on the second replica is undone on the first one too', () => {
	const world = ControlWorld.ready(two);
	const holds = [world.submit('x'), world.submit('y')];
	world.control('pool', reload(b));
	holds[0]?.finish();
	world.host.advance(1_000);
	assert.deepEqual(world.engines.models.slice(2), [`pool-0 ${b}`]);
	world.engines.brokenModels.add(b);
	holds[1]?.finish();
	world.host.advance(5_000);
	assert.deepEqual(world.engines.models.slice(2), [`pool-0 ${b}`, `pool-1 ${b}`, `pool-1 ${a}`, `pool-0 ${a}`]);
	assert.deepEqual([world.view().model, world.view().slotsTotal], [a, 2]);
	world.assertQuiet();
});

test('a new control thread finds the model that its predecessor gave the pool, and finishes what that had begun', () => {
	const world = ControlWorld.ready(two);
	const holds = [world.submit('x'), world.submit('y')];
	world.control('pool', reload(b));
	holds[0]?.finish();
	world.host.advance(1_000);
	world.stopControl();
	world.startControl();
	world.host.advance(1_000);
	assert.equal(world.view().reloadingTo, b);
	holds[1]?.finish();
	world.host.advance(1_000);
	assert.deepEqual([world.view().model, world.view().reloadingTo], [b, null]);
	world.stopControl();
	world.startControl();
	world.host.advance(1_000);
	assert.deepEqual([world.view().model, world.view().reloadingTo], [b, null]);
	assert.deepEqual(world.engines.models.slice(2), [`pool-0 ${b}`, `pool-1 ${b}`]);
	world.assertQuiet();
});

test('an engine thread that is lost during a reload is no end of it', () => {
	const world = ControlWorld.ready(two);
	world.engines.loadMs = null;
	world.control('pool', reload(b));
	world.host.advance(100);
	world.engines.loadMs = 0;
	world.stopEngineThread();
	world.startEngineThread();
	world.host.advance(10_000);
	assert.deepEqual([world.view().model, world.view().reloadingTo, world.view().slotsTotal], [b, null, 2]);
	world.assertQuiet();
});

const purge = (more: { readonly models?: readonly string[]; readonly drainFirst?: boolean; readonly force?: boolean } = {}) =>
	({ kind: 'purge', models: [], drainFirst: true, force: false, ...more }) as const;

test('a purge starts each engine anew, one at a time and when its last task has ended', () => {
	const world = ControlWorld.ready(two);
	const holds = [world.submit('x'), world.submit('y')];
	assert.equal(world.control('pool', purge({ drainFirst: false }))?.code, 'CONFLICT');
	assert.equal(world.control('pool', purge({ models: [b] }))?.code, 'NOT_FOUND');
	assert.equal(world.control('pool', purge({ models: [a] })), null);
	assert.equal(world.control('pool', purge())?.code, 'CONFLICT', 'one is under way');
	world.host.advance(1_000);
	assert.equal(world.engines.starts, 2);
	holds[1]?.finish();
	world.host.advance(1_000);
	assert.equal(world.engines.starts, 2, 'the first comes first');
	holds[0]?.finish();
	world.host.advance(1_000);
	assert.deepEqual(world.engines.models.slice(2), [`pool-0 ${a}`, `pool-1 ${a}`]);
	assert.deepEqual([world.view().model, world.view().reloadingTo, world.view().lastError], [a, null, null]);
	world.assertQuiet();
});

test('a purge by force waits for nobody: tasks hear that their replica is gone', () => {
	const world = ControlWorld.ready({ settings: { slots: 2 } });
	const task = world.submit('x');
	assert.equal(world.control('pool', purge({ force: true })), null);
	world.host.advance(1_000);
	assert.equal(task.state, 'lost');
	assert.match(task.only('replica-lost').failure.message, /started anew/);
	assert.equal(world.engines.starts, 2);
	world.assertQuiet();
});
