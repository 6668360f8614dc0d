/** A pool gets another model, one replica after the other, under tasks; what does not work is undone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ModelChange } from '../../src/actors/serving/engine-life.ts';
import { failure } from '../../src/actors/serving/failure.ts';
import { ControlWorld } from './control-world.ts';
import { poolSpec } from './summaries.ts';

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

test('a model is the same by whatever name of a pool it is called, and where it would be started with the same settings', () => {
	const other = poolSpec({ poolId: 'other', model: 'file:/models/m.gguf', aliases: ['small'] });
	const world = ControlWorld.ready([poolSpec({ aliases: ['default', 'chat'] }), other]);
	for (const name of ['pool', 'chat', a]) {
		assert.equal(world.control('pool', reload(name)), null);
		assert.equal(world.controlled?.model, a);
	}
	for (const name of ['small', 'other', 'file:/models/m.gguf']) {
		assert.equal(world.control('other', reload(name)), null);
		assert.equal(world.controlled?.model, 'file:/models/m.gguf');
	}
	assert.equal(world.control('other', purge({ models: ['small'], drainFirst: false })), null);
	world.host.advance(1_000);
	assert.equal(world.engines.starts, 3, 'a purge is no reload');
	world.engines.sameModels.add('file:/models/link-to-m.gguf');
	assert.equal(world.control('other', reload('file:/models/link-to-m.gguf')), null);
	world.host.advance(1_000);
	assert.deepEqual([world.engines.starts, world.view('other').reloadingTo, world.view('other').lastError], [3, null, null]);
	assert.equal(world.control('pool', reload('small')), null);
	world.host.advance(1_000);
	assert.deepEqual([world.view('pool').model, world.engines.models.at(-1)], ['file:/models/m.gguf', 'pool-0 file:/models/m.gguf']);
	world.assertQuiet();
});

test('a driver may take its time to look at a model: nothing is stopped for it before, and one that is wrong stops nothing', () => {
	const world = ControlWorld.ready(two);
	const answers: ((change: ModelChange) => void)[] = [];
	world.engines.looks = (answer) => void answers.push(answer);
	assert.equal(world.control('pool', reload(b)), null);
	world.host.advance(1_000);
	assert.deepEqual([world.engines.starts, world.view().reloadingTo, answers.length], [2, b, 1]);
	answers[0]?.({ ok: false, failure: failure('NOT_FOUND', 'the engine does not have it') });
	world.host.advance(1_000);
	assert.deepEqual([world.engines.starts, world.view().reloadingTo], [2, null]);
	assert.match(world.view().lastError ?? '', /was not begun: the engine does not have it/);
	assert.equal(world.control('pool', reload(b)), null);
	world.host.advance(10);
	answers.at(-1)?.({ ok: true, settings: { slots: 1, model: b } });
	world.host.advance(1_000);
	assert.deepEqual([world.view().model, world.view().reloadingTo, world.engines.starts], [b, null, 4]);
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

interface Purge {
	readonly models?: readonly string[];
	readonly drainFirst?: boolean;
	readonly force?: boolean;
	readonly emptyCaches?: boolean;
}

const purge = (more: Purge = {}) => ({ kind: 'purge', models: [], drainFirst: true, force: false, emptyCaches: false, ...more }) as const;

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

const cached = { ...two, cacheDir: '/caches/pool' };

test('a purge that is told so empties the caches of each replica between its engines, and says where these are; no other does', () => {
	const world = ControlWorld.ready(cached);
	assert.equal(world.control('pool', purge()), null);
	world.host.advance(1_000);
	assert.deepEqual([world.engines.starts, world.engines.emptied], [4, []]);
	const running = world.submit('running');
	assert.equal(running.lease?.replicaId, 'pool-0');
	assert.equal(world.control('pool', purge({ emptyCaches: true })), null);
	assert.deepEqual(world.controlled?.cacheDirs, ['/caches/pool/pool-0', '/caches/pool/pool-1']);
	world.host.advance(1_000);
	assert.deepEqual(world.engines.emptied, [], 'its engine still works with them');
	running.finish();
	world.host.advance(1_000);
	assert.deepEqual(world.engines.emptied, ['pool-0', 'pool-1']);
	assert.deepEqual([world.engines.starts, world.view().reloadingTo, world.view().lastError], [6, null, null]);
	world.engines.life('pool-0').end();
	world.host.advance(5_000);
	assert.deepEqual([world.engines.starts, world.engines.emptied.length], [7, 2], 'a later start has what was cached since');
	assert.equal(world.control('pool', purge({ force: true, emptyCaches: true })), null);
	world.host.advance(1_000);
	assert.equal(world.engines.emptied.length, 4);
	world.assertQuiet();
	const without = ControlWorld.ready(two);
	assert.equal(without.control('pool', purge({ emptyCaches: true })), null);
	without.host.advance(1_000);
	assert.deepEqual([without.controlled?.cacheDirs, without.engines.emptied, without.engines.starts], [[], [], 4]);
	without.assertQuiet();
});

test('a purge outlives the control thread: what was left of it is gone on with, and what was done is not done again', () => {
	for (const reloadedBefore of [false, true]) {
		const world = ControlWorld.ready(cached);
		if (reloadedBefore) {
			world.control('pool', reload(b));
			world.host.advance(1_000);
		}
		const model = reloadedBefore ? b : a;
		const [x, y] = [world.submit('x'), world.submit('y')];
		const startsBefore = world.engines.starts;
		assert.equal(world.control('pool', purge({ emptyCaches: true })), null);
		x.finish();
		world.host.advance(1_000);
		assert.deepEqual([world.engines.emptied, world.view().purging?.replicas], [['pool-0'], ['pool-1']]);
		world.purging = [{ poolId: 'pool', ...(world.view().purging ?? assert.fail()) }];
		world.stopControl();
		world.startControl();
		world.host.advance(1_000);
		assert.deepEqual([world.view().reloadingTo, world.engines.emptied], [model, ['pool-0']], 'its task still runs');
		y.finish();
		world.host.advance(2_000);
		assert.deepEqual([world.engines.emptied, world.engines.starts - startsBefore], [['pool-0', 'pool-1'], 2]);
		assert.deepEqual(
			[world.view().model, world.view().reloadingTo, world.view().purging, world.view().lastError],
			[model, null, null, null],
		);
		world.assertQuiet();
	}
});

test('caches that cannot be emptied are told in last_error, and the pool serves on', () => {
	const world = ControlWorld.ready(cached);
	world.engines.cacheProblem = '/caches/pool/pool-0 could not be emptied (EACCES)';
	world.control('pool', purge({ emptyCaches: true }));
	world.host.advance(1_000);
	assert.deepEqual([world.view().state, world.view().reloadingTo, world.engines.starts], ['ready', null, 4]);
	assert.equal(world.view().lastError, 'the caches of pool-1 are as they were: /caches/pool/pool-0 could not be emptied (EACCES)');
	world.assertQuiet();
});

test('an engine thread that is lost before it has emptied what it was told to is told again', () => {
	const world = ControlWorld.ready({ ...cached, replicas: 1 });
	world.engines.life().stopsIn = 500;
	world.control('pool', purge({ emptyCaches: true }));
	world.host.advance(100);
	assert.deepEqual(world.engines.emptied, []);
	world.stopEngineThread();
	world.startEngineThread();
	world.host.advance(10_000);
	assert.deepEqual([world.engines.emptied, world.view().reloadingTo, world.view().slotsTotal], [['pool-0'], null, 1]);
	world.assertQuiet();
});

test('a replica that was to end while the others were exchanged, and stays after all, is exchanged too', () => {
	const world = ControlWorld.ready(two);
	const [x, y] = [world.submit('x'), world.submit('y')];
	assert.deepEqual([x.lease?.replicaId, y.lease?.replicaId], ['pool-0', 'pool-1']);
	world.control('pool', reload(b));
	world.configure(poolSpec({ ...two, replicas: 1 }));
	x.finish();
	world.host.advance(1_000);
	assert.deepEqual([world.view().model, world.engines.models.slice(2)], [b, [`pool-0 ${b}`]], 'the other one ends behind its task');
	world.configure(poolSpec(two));
	world.host.advance(1_000);
	assert.equal(world.view().slotsTotal, 2);
	y.finish();
	world.host.advance(1_000);
	assert.deepEqual(world.engines.models.slice(3), [`pool-1 ${b}`]);
	assert.deepEqual([world.view().slotsFree, world.view().reloadingTo], [2, null]);
	world.assertQuiet();
});

test('settings that are configured as a replica is to end are its own, too, when it stays', () => {
	const world = ControlWorld.ready(two);
	const y = [world.submit('x'), world.submit('y')][1];
	world.control('pool', purge());
	world.configure(poolSpec({ ...two, replicas: 1 }));
	world.configure(poolSpec({ ...two, replicas: 1, settings: { slots: 2 } }));
	world.configure(poolSpec({ ...two, settings: { slots: 2 } }));
	for (const task of world.tasks.values()) task.finish();
	world.host.advance(5_000);
	assert.equal(y?.state, 'done');
	assert.deepEqual([world.view().slotsTotal, world.view().slotsFree, world.view().reloadingTo], [4, 4, null]);
	world.assertQuiet();
});

test('an engine that is on its way out as the control thread is lost is not taken for ready', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	world.engines.life().stopsIn = 500;
	world.configure(poolSpec({ settings: { slots: 2 } }));
	world.host.advance(100);
	world.stopControl();
	world.startControl();
	world.host.advance(100);
	assert.equal(world.view().slotsTotal, 0);
	world.host.advance(2_000);
	assert.deepEqual([world.view().slotsTotal, world.view().slotsFree], [2, 2]);
	world.assertQuiet();
});
