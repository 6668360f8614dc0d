/**
 * Pools that are loaded on demand, over fake engines on one device of 100 bytes: who is loaded when, who leaves for whom, and that no task is
 * lost over it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PoolSpec, Residency } from '../../src/actors/serving/pool-spec.ts';
import { ControlWorld } from './control-world.ts';
import { placement, poolSpec } from './summaries.ts';

const onDemand: Residency = { kind: 'on_demand', idleMs: 60_000, minResidentMs: 1_000, pinned: false };

function pool(poolId: string, memory: number | null, more: Partial<PoolSpec> = {}): PoolSpec {
	return poolSpec({ poolId, model: `scripted:${poolId}`, aliases: [], residency: onDemand, settings: { slots: 2, memory }, ...more });
}

function world(...pools: readonly PoolSpec[]): ControlWorld {
	const made = ControlWorld.ready(pools);
	made.engines.loadMs = 400;
	return made;
}

const to = (poolId: string) => ({ modelRef: `scripted:${poolId}` });
const statesOf = (made: ControlWorld): string[] => made.views.map(({ state }) => state);

test('a model is not loaded at the start, but with the first task; the tasks that come meanwhile wait for the one load', () => {
	const made = world(pool('a', 60));
	assert.deepEqual([made.engines.starts, statesOf(made)], [0, ['unloaded']]);
	const first = made.submit('t1', to('a'), 100);
	const second = made.submit('t2', to('a'), 100);
	assert.deepEqual([first.state, second.state], ['queued', 'queued']);
	assert.equal(first.standing.warmUp?.status, 'running');
	made.host.advance(50);
	assert.deepEqual(statesOf(made), ['starting']);
	made.host.advance(1_000);
	assert.deepEqual([made.engines.starts, made.states(), statesOf(made)], [1, ['done', 'done'], ['ready']]);
	assert.equal(made.telemetry.total('model_loads_total'), 1);
});

test('a model without a task is unloaded after idle_ms, and never before', () => {
	const made = world(pool('a', 60));
	made.submit('t1', to('a'), 100);
	made.host.advance(600);
	assert.deepEqual(made.states(), ['done']);
	made.host.advance(30_000);
	made.submit('t2', to('a'), 100);
	made.host.advance(59_900);
	assert.deepEqual(statesOf(made), ['ready']);
	made.host.advance(300);
	assert.deepEqual([statesOf(made), made.engines.heldBytes], [['unloaded'], 0]);
	made.submit('t3', to('a'), 100);
	made.host.advance(1_000);
	assert.deepEqual([made.states(), made.engines.starts], [['done', 'done', 'done'], 2]);
	made.assertQuiet();
});

test('two models that do not fit together take turns: one is in memory at a time, and every task is answered', () => {
	const made = world(pool('a', 60), pool('b', 60));
	for (let n = 0; n < 6; n++) {
		made.submit(`t${n}`, to(n % 2 === 0 ? 'a' : 'b'), 100);
		for (let step = 0; step < 60; step++) {
			made.host.advance(50);
			assert.ok(made.engines.heldBytes <= 60, `${made.engines.heldBytes} bytes are held`);
		}
		assert.equal(made.tasks.get(`t${n}`)?.state, 'done');
	}
	assert.equal(made.engines.starts, 6);
	made.assertQuiet();
});

test('models that fit together stay together', () => {
	const made = world(pool('a', 50), pool('b', 50));
	made.submit('t1', to('a'), 100);
	made.submit('t2', to('b'), 100);
	made.host.advance(1_000);
	assert.deepEqual([made.states(), statesOf(made), made.engines.heldBytes], [['done', 'done'], ['ready', 'ready'], 100]);
});

test('a model that decodes is not unloaded for another: its task ends first, and those that wait in its pool wait for its return', () => {
	const made = world(pool('a', 60), pool('b', 60));
	const runs = made.submit('t1', to('a'));
	made.host.advance(2_000);
	assert.equal(runs.state, 'running');
	const wants = made.submit('t2', to('b'), 100);
	made.host.advance(10);
	const behind = made.submit('t3', to('a'), 100);
	made.host.advance(20_000);
	assert.deepEqual([runs.state, wants.state, behind.state], ['running', 'queued', 'queued']);
	assert.deepEqual(statesOf(made), ['unloading', 'unloaded']);
	assert.equal(wants.standing.warmUp?.status, 'waiting');
	runs.finish();
	made.host.advance(450);
	assert.deepEqual(statesOf(made), ['unloaded', 'ready']);
	made.host.advance(5_000);
	assert.deepEqual([wants.state, behind.state, statesOf(made)], ['done', 'done', ['ready', 'unloaded']]);
	made.assertQuiet();
});

test('a model that is loaded stays for min_resident_ms, whoever else wants its memory, and whoever waits is told how long', () => {
	const made = world(pool('a', 60, { residency: { ...onDemand, minResidentMs: 5_000 } }), pool('b', 60));
	made.submit('t1', to('a'), 100);
	made.host.advance(600);
	assert.equal(made.tasks.get('t1')?.state, 'done');
	made.submit('t2', to('b'), 100);
	made.host.advance(4_000);
	assert.deepEqual(statesOf(made), ['ready', 'unloaded']);
	const later = made.submit('t3', to('b'), 100);
	const { predictedStartMs, warmUp } = later.standing;
	assert.equal(warmUp?.status, 'waiting');
	assert.ok(predictedStartMs > 700, String(predictedStartMs));
	made.host.advance(2_000);
	assert.deepEqual(made.states(), ['done', 'done', 'done']);
});

test('a pinned model stays, once it is loaded; what cannot fit beside it is refused in numbers, and is tried again later', () => {
	const made = world(pool('a', 60, { residency: { ...onDemand, pinned: true, idleMs: 500 } }), pool('b', 60));
	made.submit('t1', to('a'), 100);
	made.host.advance(5_000);
	assert.deepEqual(statesOf(made), ['ready', 'unloaded']);
	const refused = made.submit('t2', to('b'), 100);
	made.host.advance(100);
	assert.equal(refused.state, 'refused');
	const { failure } = refused.only('refused');
	assert.match(
		failure.message,
		/it needs 1 MiB of memory of GPU 0, and 1 MiB may be used, a part of which is held by pools that are always loaded or pinned/,
	);
	assert.deepEqual([statesOf(made), failure.retriable], [['ready', 'failed'], true]);
	made.host.advance(15_000);
	assert.deepEqual(statesOf(made), ['ready', 'unloaded']);
	assert.equal(made.control('a', { kind: 'unload' }), null);
	made.submit('t3', to('b'), 100);
	made.host.advance(2_000);
	assert.equal(made.tasks.get('t3')?.state, 'done');
});

test('a model that is larger than its device is refused for good, until the configuration changes', () => {
	const made = world(pool('a', 101));
	const refused = made.submit('t1', to('a'));
	made.host.advance(100);
	assert.deepEqual([refused.state, refused.only('refused').failure.retriable, made.engines.starts], ['refused', false, 0]);
	made.host.advance(60_000);
	assert.deepEqual(statesOf(made), ['failed']);
	made.configure(pool('a', 60));
	made.submit('t2', to('a'), 100);
	made.host.advance(1_000);
	assert.equal(made.tasks.get('t2')?.state, 'done');
});

test('pools that are always loaded keep their memory, and are counted', () => {
	const made = world(pool('always', 50, { residency: { kind: 'always' } }), pool('a', 40), pool('b', 40));
	made.submit('t1', to('a'), 100);
	made.host.advance(2_000);
	made.submit('t2', to('b'), 100);
	made.host.advance(2_000);
	assert.deepEqual(
		[made.states(), statesOf(made)],
		[
			['done', 'done'],
			['ready', 'unloaded', 'ready'],
		],
	);
	assert.equal(made.engines.heldBytes, 90);
});

test('what was measured counts, where it is more than was thought', () => {
	const made = world(pool('a', 40), pool('b', 40));
	made.engines.measured.set('scripted:a', 70);
	made.submit('t1', to('a'), 100);
	made.host.advance(2_000);
	made.submit('t2', to('b'), 100);
	made.host.advance(2_000);
	assert.deepEqual(statesOf(made), ['unloaded', 'ready']);
});

test('a model of which nobody knows what it takes is alone with its device', () => {
	const made = world(pool('a', null), pool('b', 1));
	made.submit('t1', to('b'), 100);
	made.host.advance(2_000);
	made.submit('t2', to('a'), 100);
	made.host.advance(2_000);
	assert.deepEqual(statesOf(made), ['ready', 'unloaded']);
	// What an operator says is known.
	made.configure(pool('a', null, { memoryBytes: 30 }), pool('b', 1));
	made.submit('t3', to('b'), 100);
	made.host.advance(2_000);
	assert.deepEqual(statesOf(made), ['ready', 'ready']);
});

test('whoever gives up waiting leaves the memory to those that are there', () => {
	const made = world(pool('a', 60), pool('b', 60));
	const runs = made.submit('t1', to('a'));
	made.host.advance(2_000);
	const wants = made.submit('t2', to('b'));
	made.host.advance(10);
	const behind = made.submit('t3', to('a'), 100);
	assert.equal(behind.state, 'queued');
	wants.cancel();
	made.host.advance(10);
	assert.deepEqual([wants.state, behind.state, statesOf(made)], ['withdrawn', 'running', ['ready', 'unloaded']]);
	made.host.advance(200);
	runs.finish();
	made.host.advance(10);
	made.assertQuiet();
});

test('those that come first have the memory first, and nobody waits for ever behind a pool that is always busy', () => {
	const made = world(pool('a', 60), pool('b', 60), pool('c', 60));
	for (let n = 0; n < 60; n++) {
		made.submit(`a${n}`, to('a'), 300);
		made.host.advance(100);
		if (n === 20) made.submit('b', to('b'), 100);
		if (n === 21) made.submit('c', to('c'), 100);
	}
	made.host.advance(20_000);
	assert.ok(made.states().every((state) => state === 'done'));
	const order = made.granted.filter((id) => id === 'b' || id === 'c' || id === 'a59');
	assert.deepEqual(order, ['b', 'c', 'a59']);
	made.assertQuiet();
});

test('an operator loads a model before a task comes, and unloads it behind the last one', () => {
	const made = world(pool('a', 60), pool('always', 10, { residency: { kind: 'always' } }));
	assert.equal(made.control('a', { kind: 'load' }), null);
	made.host.advance(1_000);
	assert.deepEqual(statesOf(made), ['ready', 'ready']);
	const runs = made.submit('t1', to('a'));
	assert.equal(made.control('a', { kind: 'unload' }), null);
	made.host.advance(1_000);
	assert.deepEqual([runs.state, statesOf(made)], ['running', ['unloading', 'ready']]);
	runs.finish();
	made.host.advance(1_000);
	assert.deepEqual(statesOf(made), ['unloaded', 'ready']);
	assert.equal(made.control('always', { kind: 'unload' })?.code, 'CONFLICT');
	assert.equal(made.control('nowhere', { kind: 'load' })?.code, 'NOT_FOUND');
});

test('a load that fails is told to those that wait, and the next task tries again once the engine does', () => {
	const made = world(pool('a', 60));
	made.engines.failsWith = 'the file is cut off';
	const waits = made.submit('t1', to('a'));
	made.host.advance(100);
	assert.equal(waits.state, 'refused');
	assert.match(waits.only('refused').failure.message, /the file is cut off/);
	made.engines.failsWith = null;
	made.host.advance(3_000);
	made.submit('t2', to('a'), 100);
	made.host.advance(1_000);
	assert.equal(made.tasks.get('t2')?.state, 'done');
});

test('how long a load takes is learned, and is part of what is foretold of a model that is not loaded', () => {
	const made = world(pool('a', 60));
	made.submit('t1', to('a'), 100);
	made.host.advance(1_000);
	made.control('a', { kind: 'unload' });
	made.host.advance(100);
	assert.deepEqual(statesOf(made), ['unloaded']);
	const next = made.submit('t2', to('a'), 100);
	const { predictedStartMs, warmUp } = next.standing;
	assert.ok(Math.abs(predictedStartMs - 400) < 20, String(predictedStartMs));
	assert.deepEqual([warmUp?.status, Math.round(warmUp?.leftMs ?? 0)], ['running', 400]);
});

test('a new control thread finds what is loaded, and shares the memory out as it is', () => {
	const made = world(pool('a', 60), pool('b', 60));
	made.submit('t1', to('a'), 100);
	const runs = made.submit('t2', to('a'));
	made.host.advance(2_000);
	made.stopControl();
	made.host.advance(100);
	made.startControl();
	const wants = made.submit('t3', to('b'), 100);
	made.host.advance(500);
	assert.deepEqual([made.engines.starts, runs.state, wants.state], [1, 'running', 'queued']);
	runs.finish();
	for (let step = 0; step < 60; step++) {
		made.host.advance(50);
		assert.ok(made.engines.heldBytes <= 60);
	}
	assert.deepEqual([wants.state, statesOf(made)], ['done', ['unloaded', 'ready']]);
	made.stopControl();
	made.startControl();
	made.host.advance(500);
	assert.deepEqual(statesOf(made), ['unloaded', 'ready']);
	made.assertQuiet();
});

test('an engine thread that is lost takes the model with it, which comes back', () => {
	const made = world(pool('a', 60), pool('b', 60));
	const runs = made.submit('t1', to('a'));
	made.host.advance(2_000);
	const wants = made.submit('t2', to('b'), 100);
	made.host.advance(100);
	made.stopEngineThread();
	made.host.advance(100);
	made.startEngineThread();
	made.host.advance(5_000);
	assert.deepEqual([runs.state, wants.state], ['lost', 'done']);
	made.assertQuiet();
});

test('a pool that is configured no more gives its memory back, and one that becomes always loaded is loaded', () => {
	const made = world(pool('a', 60), pool('b', 60));
	made.submit('t1', to('a'), 100);
	made.host.advance(2_000);
	made.configure(pool('b', 60));
	made.submit('t2', to('b'), 100);
	made.host.advance(2_000);
	assert.deepEqual([made.states(), statesOf(made), made.engines.heldBytes], [['done', 'done'], ['ready'], 60]);
	made.configure(pool('b', 60), pool('c', 30, { residency: onDemand }));
	made.configure(pool('b', 60), pool('c', 30, { residency: { kind: 'always' } }));
	made.host.advance(2_000);
	assert.deepEqual(statesOf(made), ['ready', 'ready']);
});

test('a pin waits for the model; a pool that is drained is unloaded as soon as it is empty', () => {
	const made = world(pool('a', 60));
	const pinned = made.submit('t1', { ...to('a'), ...placement({ mode: 'pin', pinPoolId: 'a' }) }, 100);
	made.host.advance(50);
	const behind = made.submit('t2', { ...to('a'), ...placement({ mode: 'pin', pinPoolId: 'a' }) }, 300);
	made.host.advance(450);
	assert.deepEqual([pinned.state, behind.state], ['running', 'running']);
	assert.equal(made.control('a', { kind: 'drain', deadlineMs: 30_000 }), null);
	made.host.advance(150);
	assert.deepEqual([behind.state, statesOf(made)], ['running', ['ready']]);
	made.host.advance(500);
	assert.deepEqual([behind.state, statesOf(made)], ['done', ['unloaded']]);
});

test('where no pool is loaded on demand nobody asks what models take', () => {
	const made = world(pool('a', 60, { residency: { kind: 'always' } }));
	made.submit('t1', to('a'), 100);
	made.host.advance(1_000);
	assert.deepEqual([made.states(), made.engines.memoryAsked], [['done'], 0]);
});

test('an unload is the end of a purge: the engine that comes next is new, and its caches are emptied before it serves', () => {
	const made = world(pool('a', 60, { cacheDir: '/caches/a' }));
	const purge = { kind: 'purge', models: [], drainFirst: true, force: false, emptyCaches: true } as const;
	const runs = made.submit('t1', to('a'));
	made.host.advance(1_000);
	assert.equal(made.control('a', purge), null);
	assert.equal(made.control('a', { kind: 'unload' }), null);
	runs.finish();
	made.host.advance(1_000);
	assert.deepEqual([statesOf(made), made.views[0]?.reloadingTo, made.engines.emptied], [['unloaded'], null, []]);
	assert.deepEqual(made.views[0]?.purging?.replicas, ['a-0'], 'it outlives the control thread');
	made.submit('t2', to('a'), 100);
	made.host.advance(5_000);
	assert.deepEqual([made.states(), made.engines.emptied, made.views[0]?.purging], [['done', 'done'], ['a-0'], null]);
	made.assertQuiet();
});

test('an engine that was unloaded with an open breaker leaves nothing behind, and the next one begins with a closed one', () => {
	const made = world(pool('a', 60, { residency: { ...onDemand, idleMs: 5_000, minResidentMs: 0 } }));
	for (let n = 0; n < 5; n++) {
		const task = made.submit(`t${n}`, to('a'));
		made.host.advance(1_000);
		task.fail();
		made.host.advance(300);
	}
	assert.deepEqual(
		made.views[0]?.replicas.map(({ breaker }) => breaker),
		['open'],
	);
	made.host.advance(20_000);
	assert.deepEqual(statesOf(made), ['unloaded']);
	assert.deepEqual(
		made.views[0]?.replicas.map(({ breaker }) => breaker),
		['closed'],
	);
	made.assertQuiet();
});

test('memory is not given twice where a pool tells what it holds just behind asking for more', () => {
	const made = world(pool('a', 60), pool('b', 60));
	made.engines.loadMs = 2_000;
	const tasks = [made.submit('t1', to('a'), 100), made.submit('t2', to('b'), 100), made.submit('t3', to('a'), 100)];
	for (let step = 0; step < 400; step++) {
		if (step === 3) tasks.push(made.submit('t4', to('b'), 100), made.submit('t5', to('a'), 100));
		made.host.advance(50);
		assert.ok(made.engines.heldBytes <= 60, `${made.engines.heldBytes} bytes are held`);
	}
	assert.deepEqual(new Set(made.states()), new Set(['done']));
	made.assertQuiet();
});

test('a replica that is one too many is waited for before the memory of its pool is free', () => {
	const two = pool('a', 40, { replicas: 2, settings: { slots: 1, memory: 40 } });
	const made = world(two, pool('b', 80));
	const runs = [made.submit('t1', to('a')), made.submit('t2', to('a'))];
	made.host.advance(2_000);
	assert.deepEqual([runs[0]?.lease?.replicaId, runs[1]?.lease?.replicaId], ['a-0', 'a-1']);
	made.configure({ ...two, replicas: 1 }, pool('b', 80));
	made.submit('t3', to('b'), 100);
	runs[0]?.finish();
	made.host.advance(5_000);
	assert.deepEqual([statesOf(made), made.tasks.get('t3')?.state], [['unloading', 'unloaded'], 'queued']);
	made.configure(two, pool('b', 80));
	runs[1]?.finish();
	for (let step = 0; step < 100; step++) {
		made.host.advance(50);
		assert.ok(made.engines.heldBytes <= 80, `${made.engines.heldBytes} bytes are held`);
	}
	assert.equal(made.tasks.get('t3')?.state, 'done');
	made.assertQuiet();
});

test('a new control thread counts the memory of replicas that are more than are wanted', () => {
	const two = pool('a', 40, { replicas: 2, settings: { slots: 1, memory: 40 } });
	const made = world(two);
	made.submit('t1', to('a'), 100);
	made.host.advance(2_000);
	made.stopControl();
	made.pools = [{ ...two, replicas: 1 }];
	made.startControl();
	made.configure(two);
	made.host.advance(500);
	assert.equal(made.engines.heldBytes, 80);
	assert.equal(statesOf(made)[0], 'ready');
	made.host.advance(120_000);
	assert.deepEqual([statesOf(made), made.engines.heldBytes], [['unloaded'], 0]);
	made.assertQuiet();
});
