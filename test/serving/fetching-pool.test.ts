/** A pool whose model is fetched before its engine starts: tasks wait for it, and are told how far it is and when they will start. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ModelFetch } from '../../src/actors/serving/warm-up-messages.ts';
import { ControlWorld } from './control-world.ts';
import { poolSpec } from './summaries.ts';

const loadMs = 3_000;
const fetching = (more: Partial<ModelFetch> = {}): ModelFetch => ({
	status: 'running',
	bytesDone: 1_000,
	bytesTotal: 4_000,
	leftMs: 30_000,
	note: null,
	...more,
});

/** Its engine has not been started: its model is on its way. */
function fetchingPool(): ControlWorld {
	const world = new ControlWorld({ perfPrior: { ...poolSpec().perfPrior, loadMs } });
	world.engines.loadMs = null;
	world.startEngineThread();
	world.startControl();
	world.host.run();
	world.engines.life().fetching(fetching());
	world.host.run();
	return world;
}

test('a task that waits for a model is told of its fetch and of the load behind it, and of each again as it comes nearer', () => {
	const world = fetchingPool();
	const task = world.submit('t');
	const { standing } = task.only('queued');
	assert.deepEqual(standing.warmUp, { status: 'waiting', leftMs: loadMs, fetch: fetching() });
	assert.ok(standing.predictedStartMs >= 30_000 + loadMs, String(standing.predictedStartMs));
	for (let second = 1; second <= 3; second += 1) {
		world.engines.life().fetching(fetching({ bytesDone: 1_000 * (second + 1), leftMs: 30_000 - 10_000 * second }));
		world.host.advance(1_100);
	}
	const told = task.all('standing-changed').map((news) => news.standing.warmUp?.fetch?.bytesDone);
	assert.deepEqual([...new Set(told)], [2_000, 3_000, 4_000]);
	world.engines.life().fetching(null);
	world.host.run();
	assert.equal(world.view().fetch, null);
	world.host.advance(1_000);
	// The load is counted from its own beginning.
	const next = world.submit('u').only('queued').standing;
	assert.deepEqual([next.warmUp?.status, next.warmUp?.fetch], ['running', null]);
	assert.ok(Math.abs((next.warmUp?.leftMs ?? 0) - (loadMs - 1_000)) < 50, JSON.stringify(next.warmUp));
	world.engines.life().ready();
	world.host.run();
	assert.equal(task.state, 'running');
});

test('how long a model was on its way is no part of how long its engine loads', () => {
	const world = fetchingPool();
	world.host.advance(500_000);
	world.engines.life().fetching(null);
	world.host.advance(2_000);
	world.engines.life().ready();
	world.host.run();
	world.engines.life().end();
	world.host.advance(1_500);
	const left = world.submit('t').only('queued').standing.warmUp?.leftMs ?? 0;
	assert.ok(left > 1_000 && left <= 2_000, String(left));
});

test('nobody knows when a model comes whose source says no length: no number is told, and a deadline is not refused for it', () => {
	const world = fetchingPool();
	world.engines.life().fetching(fetching({ bytesTotal: null, leftMs: null, status: 'waiting', note: 'in line' }));
	world.host.run();
	const { standing } = world.submit('t', { deadlineAt: world.host.now() + 500_000 }).only('queued');
	assert.equal(standing.warmUp?.leftMs, null);
	assert.equal(standing.warmUp?.fetch?.note, 'in line');
});

test('a fetch that fails fails the pool, which tries it again; a new control thread hears how far it is', () => {
	const world = fetchingPool();
	assert.deepEqual(world.view().fetch, fetching());
	world.stopControl();
	world.startControl();
	world.host.run();
	assert.deepEqual(world.view().fetch, fetching());
	const { starts } = world.engines;
	world.engines.life().end('the source answered 404');
	world.host.run();
	assert.deepEqual([world.view().state, world.view().fetch], ['failed', null]);
	while (world.engines.starts === starts) world.host.advance(100);
});
