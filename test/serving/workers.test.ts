/** Workers join a pool as replicas, are given tasks as any, and are taken out when they stay away. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ControlWorld } from './control-world.ts';
import { poolSpec } from './summaries.ts';

const empty = poolSpec({ provider: 'external', workers: true, replicas: 0, settings: { slots: 1 } });
const register = (replicaId: string, slots = 1, url = 'http://10.0.0.7:8000') =>
	({ kind: 'register', replicaId, engine: 'scripted', worker: { url, slots } }) as const;

test('a pool of workers has tasks wait until one is there; the same again changes nothing', () => {
	const world = ControlWorld.ready([empty]);
	const waits = world.submit('waits');
	assert.deepEqual([waits.state, world.view().state], ['queued', 'starting']);
	assert.equal(world.control('pool', register('rack-7')), null);
	world.host.advance(100);
	assert.deepEqual([waits.state, waits.lease?.replicaId, world.view().state], ['running', 'rack-7', 'ready']);
	assert.equal(world.control('pool', register('rack-7')), null);
	world.host.advance(100);
	assert.equal(world.engines.starts, 1);
	assert.equal(world.control('pool', register('rack-8')), null);
	world.host.advance(100);
	const second = world.submit('second');
	assert.equal(second.lease?.replicaId, 'rack-8');
	waits.finish();
	second.finish();
	world.assertQuiet();
});

test('a worker is refused where none are taken, for another engine, and by a name that another has', () => {
	const world = ControlWorld.ready([empty, poolSpec({ poolId: 'own' })]);
	world.control('pool', register('rack-7'));
	world.host.advance(100);
	assert.match(world.control('own', register('rack-9'))?.message ?? '', /pool_id is own, which takes no workers/);
	assert.match(world.control('pool', { ...register('rack-9'), engine: 'vllm' })?.message ?? '', /engine is vllm; pool has scripted/);
	assert.equal(world.control('pool', register('rack-7', 1, 'http://10.0.0.8:8000'))?.code, 'CONFLICT');
	assert.equal(world.control('nowhere', register('rack-9'))?.code, 'NOT_FOUND');
	world.assertQuiet();
});

test('a worker that stays away is taken out, and may come back', () => {
	const world = ControlWorld.ready([empty]);
	world.control('pool', register('rack-7'));
	world.host.advance(100);
	world.engines.failsWith = 'connection refused';
	world.engines.life('rack-7').end();
	world.host.advance(600_000);
	assert.deepEqual(world.view().replicas, []);
	world.engines.failsWith = null;
	assert.equal(world.control('pool', register('rack-7')), null);
	world.host.advance(100);
	assert.equal(world.view().slotsTotal, 1);
	world.submit('task').finish();
	world.assertQuiet();
});

test('a new control thread knows a worker again once that has registered again, and its task has gone on meanwhile', () => {
	const world = ControlWorld.ready([empty]);
	world.control('pool', register('rack-7'));
	world.host.advance(100);
	const task = world.submit('task');
	world.stopControl();
	world.startControl();
	world.host.advance(100);
	assert.equal(task.state, 'running');
	assert.equal(world.control('pool', register('rack-7')), null);
	world.host.advance(1_000);
	assert.deepEqual([world.engines.starts, world.view().slotsTotal, world.view().slotsFree], [1, 1, 0]);
	task.finish();
	world.assertQuiet();
});
