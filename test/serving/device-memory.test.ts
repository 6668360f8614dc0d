/** What pools hear of the memory of their devices, and what that means for tasks: the production Dispatcher, Pools and Replicas. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failure } from '../../src/actors/serving/failure.ts';
import { ControlWorld } from './control-world.ts';
import { poolSpec } from './summaries.ts';

const one = { slots: 1 };
const pools = () => [poolSpec({ poolId: 'a', settings: one }), poolSpec({ poolId: 'b', settings: one })];
const toA = { modelRef: 'a' };

function finishAll(world: ControlWorld): void {
	for (const task of world.tasks.values()) if (task.state === 'running') task.finish();
	world.host.run();
}

test('of two pools that are as good as each other, the one with more free memory on its devices has the task, as its engine told last', () => {
	const world = ControlWorld.ready(pools());
	world.engines.life('b-0').tellsFree(8 * 2 ** 30);
	world.host.advance(10);
	const first = world.preview().decision;
	assert.deepEqual([first.poolId, first.decidedBy], ['b', 'free_memory']);
	world.engines.life('a-0').tellsFree(24 * 2 ** 30);
	world.host.advance(10);
	assert.equal(world.preview().decision.poolId, 'a');
	world.engines.life('a-0').end('died');
	world.host.advance(5_000);
	const { decidedBy, poolId } = world.preview().decision;
	assert.deepEqual([poolId, decidedBy], ['b', 'free_memory'], 'what an engine had told is over with it');
	world.assertQuiet();
});

test('a pool whose engine can never run here refuses for good, also those that wait for it', () => {
	const world = ControlWorld.ready(pools());
	world.submit('runs-a', toA);
	const waits = world.submit('waits', toA);
	const words = 'the model needs 9.1 GiB, GPU 0 has 7.4 GiB';
	world.engines.failsWith = failure('POOL_UNAVAILABLE', words, { retriable: false });
	world.engines.life('a-0').end('died');
	world.host.advance(5_000);
	const late = world.submit('late', toA);
	world.host.advance(10);
	for (const task of [waits, late]) {
		const { code, retriable, message } = task.only('refused').failure;
		assert.deepEqual([code, retriable, message], ['POOL_UNAVAILABLE', false, `a cannot serve: ${words}`]);
	}
	world.engines.failsWith = null;
	world.host.advance(60_000);
	const again = world.submit('again', toA);
	world.host.advance(10);
	assert.equal(again.state, 'running', 'a machine that has changed serves');
	finishAll(world);
	world.assertQuiet();
});
