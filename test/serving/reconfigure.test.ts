/** The configuration is read anew under tasks: pools come, go and change, and nothing that was accepted is dropped. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PoolSpec } from '../../src/actors/serving/pool-spec.ts';
import type { SessionTold } from '../../src/actors/serving/session-messages.ts';
import { ControlWorld } from './control-world.ts';
import { placement, poolSpec } from './summaries.ts';

const one = { settings: { slots: 1 } };
const spec = (poolId: string, more: Partial<PoolSpec> = {}): PoolSpec => poolSpec({ poolId, ...one, ...more });
const to = (pinPoolId: string) => placement({ mode: 'pin', pinPoolId });

test('a pool that is added starts and takes tasks, and the others notice nothing', () => {
	const world = ControlWorld.ready([spec('old')]);
	const running = world.submit('running', to('old'));
	world.configure(spec('old'), spec('new'));
	world.host.advance(100);
	assert.equal(world.view('new').state, 'ready');
	const there = world.submit('there', to('new'));
	assert.deepEqual([running.state, there.state], ['running', 'running']);
	assert.deepEqual(world.engines.models.length, 2, 'the engine of the old one was not touched');
	running.finish();
	there.finish();
	world.assertQuiet();
});

test('a pool that is left out takes nothing new, serves what it runs and what nobody else can take, and is gone with the last of it', () => {
	const world = ControlWorld.ready([
		spec('leaves', { model: 'scripted:a', aliases: ['a'] }),
		spec('stays', { model: 'scripted:b', aliases: ['b'] }),
	]);
	const running = world.submit('running', { modelRef: 'a' });
	const waits = world.submit('waits', { modelRef: 'a' });
	world.configure(spec('stays', { model: 'scripted:b', aliases: ['b'] }));
	world.host.advance(1_000);
	assert.deepEqual([running.state, waits.state, world.view('leaves').retiring], ['running', 'queued', true]);
	assert.equal(world.submit('late', { modelRef: 'a' }).only('refused').failure.code, 'NOT_FOUND');
	running.finish();
	world.host.advance(100);
	assert.equal(waits.state, 'running');
	waits.finish();
	world.host.advance(100);
	assert.deepEqual(
		world.views.map(({ poolId }) => poolId),
		['stays'],
	);
	assert.equal(world.engines.life('leaves-0').alive, false, 'its engine has ended');
	world.submit('other', { modelRef: 'b' }).finish();
	world.assertQuiet();
});

test('a pool that is left out ends though a front and an engine are lost, and nobody will say what became of a task', () => {
	const world = ControlWorld.ready([poolSpec({ poolId: 'a' }), poolSpec({ poolId: 'b' })]);
	const task = world.submit('task', { modelRef: 'a' });
	task.die();
	world.engines.life('a-0').end('died');
	world.host.advance(10);
	world.configure(...world.pools.filter(({ poolId }) => poolId === 'b'));
	world.host.advance(1_000);
	assert.deepEqual(world.views.map(({ poolId }) => poolId).sort(), ['a', 'b'], 'its settlement may still come');
	world.host.advance(20_000);
	assert.deepEqual(
		world.views.map(({ poolId }) => poolId),
		['b'],
	);
	world.assertQuiet();
});

test('what waits in a pool that is left out goes to another that can serve it', () => {
	const world = ControlWorld.ready([spec('leaves'), spec('stays')]);
	const holds = [world.submit('x', to('leaves')), world.submit('y', to('stays'))];
	const waits = world.submit('waits', placement({ mode: 'prefer', preferPools: ['leaves'] }));
	assert.equal(waits.poolId, 'leaves');
	world.configure(spec('stays'));
	world.host.advance(100);
	assert.equal(waits.poolId, 'stays');
	for (const hold of holds) hold.finish();
	world.host.run();
	waits.finish();
	world.assertQuiet();
});

test('a pool that is wanted again before its end goes on; one that was ending begins anew', () => {
	const world = ControlWorld.ready([spec('pool')]);
	const running = world.submit('running');
	world.configure(spec('other', { aliases: [] }));
	world.configure(spec('pool'), spec('other', { aliases: [] }));
	assert.equal(world.submit('new', to('pool')).state, 'queued');
	running.finish();
	world.host.advance(100);
	assert.equal(world.tasks.get('new')?.state, 'running');
	world.tasks.get('new')?.finish();
	world.host.advance(100);
	assert.equal(world.engines.lives.get('pool-0')?.alive, true);
	world.configure(spec('other', { aliases: [] }));
	world.configure(spec('pool'), spec('other', { aliases: [] }));
	world.host.advance(1_000);
	assert.equal(world.view('pool').state, 'ready');
	world.submit('last', to('pool')).finish();
	world.assertQuiet();
});

test('bounds, names and timeouts of a pool change in place: no engine starts anew, and no place is lost', () => {
	const world = ControlWorld.ready([spec('pool', { queue: { ...poolSpec().queue, capacity: 1 } })]);
	const running = world.submit('running');
	const first = world.submit('first');
	assert.equal(world.submit('too-many').only('refused').failure.code, 'ADMISSION_REJECT');
	world.configure(
		spec('pool', {
			aliases: ['default', 'fresh'],
			queue: { ...poolSpec().queue, capacity: 2 },
			timeouts: { firstTokenMs: 5, idleMs: 6, wallMs: 7 },
		}),
	);
	world.host.advance(100);
	const second = world.submit('second', { modelRef: 'fresh' });
	assert.deepEqual([first.state, second.state, world.engines.starts], ['queued', 'queued', 1]);
	running.finish();
	world.host.run();
	assert.deepEqual(first.only('granted').timeouts, { firstTokenMs: 5, idleMs: 6, wallMs: 7 });
	first.finish();
	world.host.run();
	second.finish();
	world.assertQuiet();
});

test('other settings of its engines come one replica after the other, each behind its last task', () => {
	const world = ControlWorld.ready([spec('pool', { replicas: 2 })]);
	const holds = [world.submit('x'), world.submit('y')];
	world.configure(spec('pool', { replicas: 2, settings: { slots: 3 } }));
	world.host.advance(1_000);
	assert.deepEqual([holds.map(({ state }) => state), world.engines.starts], [['running', 'running'], 2]);
	holds[0]?.finish();
	world.host.advance(100);
	assert.deepEqual([world.engines.starts, world.view().slotsTotal], [3, 4]);
	holds[1]?.finish();
	world.host.advance(100);
	assert.deepEqual([world.engines.starts, world.view().slotsTotal, world.view().lastError], [4, 6, null]);
	world.assertQuiet();
});

test('settings with which no engine starts are undone, and last_error says why', () => {
	const world = ControlWorld.ready([spec('pool')]);
	world.engines.failsWith = 'no such flag';
	world.configure(spec('pool', { settings: { slots: 2 } }));
	world.host.run();
	world.engines.failsWith = null;
	world.host.advance(3_000);
	assert.deepEqual([world.view().state, world.view().slotsTotal], ['ready', 1]);
	assert.equal(world.view().lastError, 'the changed settings failed, those from before serve again: no such flag');
	world.submit('task').finish();
	world.assertQuiet();
});

test('replicas are added at once and taken away behind their last task', () => {
	const world = ControlWorld.ready([spec('pool')]);
	const first = world.submit('first');
	const second = world.submit('second');
	assert.equal(second.state, 'queued');
	world.configure(spec('pool', { replicas: 3 }));
	world.host.advance(100);
	assert.deepEqual([second.state, second.lease?.replicaId, world.view().slotsTotal], ['running', 'pool-1', 3]);
	world.configure(spec('pool', { replicas: 1 }));
	world.host.advance(1_000);
	assert.deepEqual([second.state, world.view().replicas.map(({ replicaId }) => replicaId)], ['running', ['pool-0', 'pool-1']]);
	second.finish();
	world.host.advance(100);
	assert.deepEqual(
		world.view().replicas.map(({ replicaId }) => replicaId),
		['pool-0'],
	);
	world.configure(spec('pool', { replicas: 2 }));
	world.host.advance(100);
	assert.equal(world.view().slotsTotal, 2);
	first.finish();
	world.assertQuiet();
});

test('a new control thread has the pools that were configured last, and ends the engines of the others', () => {
	const world = ControlWorld.ready([spec('kept'), spec('left')]);
	const running = world.submit('running', to('kept'));
	const holds = world.submit('holds', to('left'));
	world.configure(spec('kept'));
	world.stopControl();
	holds.finish();
	world.startControl();
	world.host.advance(1_000);
	assert.equal(world.engines.life('left-0').alive, false);
	assert.equal(running.state, 'running');
	running.finish();
	world.assertQuiet();
});

test('a pool that began anew grants no lease again that one before it had granted, also a while after that had ended', () => {
	const world = ControlWorld.ready([spec('pool')]);
	const leases: string[] = [];
	const run = (id: string): void => {
		const task = world.submit(id, to('pool'));
		leases.push(`${task.lease?.epoch}.${task.lease?.id}`);
		task.finish();
		world.host.run();
	};
	run('first');
	for (const awayMs of [0, 5_000]) {
		world.configure(spec('other', { aliases: [] }));
		world.host.advance(awayMs);
		world.configure(spec('pool'), spec('other', { aliases: [] }));
		world.host.advance(1_000);
		run(`after ${awayMs}`);
	}
	assert.deepEqual(leases, ['1.1', '1.2', '1.3']);
	world.assertQuiet();
});

test('a new control thread ends the replicas that were to be taken away, each behind its last task', () => {
	const world = ControlWorld.ready([spec('pool', { replicas: 3 })]);
	const holds = world.submitAll(3);
	world.configure(spec('pool', { replicas: 1 }));
	world.stopControl();
	world.startControl();
	world.host.advance(1_000);
	const replicas = (): readonly string[] => world.view().replicas.map(({ replicaId }) => replicaId);
	assert.deepEqual([holds.map(({ state }) => state), replicas().length], [['running', 'running', 'running'], 3]);
	assert.equal(world.submit('new').state, 'queued');
	for (const hold of holds) hold.finish();
	world.host.advance(1_000);
	world.tasks.get('new')?.finish();
	world.host.advance(1_000);
	assert.deepEqual([replicas(), world.engines.starts], [['pool-0'], 3]);
	for (const replicaId of ['pool-1', 'pool-2']) assert.equal(world.engines.life(replicaId).alive, false);
	world.assertQuiet();
});

test('settings that come while others are on their way come behind them', () => {
	const world = ControlWorld.ready([spec('pool')]);
	const holds = world.submit('holds');
	world.configure(spec('pool', { settings: { slots: 2 } }));
	world.configure(spec('pool', { settings: { slots: 3 } }));
	holds.finish();
	world.host.advance(1_000);
	assert.deepEqual([world.view().slotsTotal, world.view().reloadingTo], [3, null]);
	world.assertQuiet();
});

test('settings that were undone are tried again when the configuration is read again, as it was', () => {
	const world = ControlWorld.ready([spec('pool')]);
	const changed = spec('pool', { settings: { slots: 2 } });
	world.engines.failsWith = 'no room';
	world.configure(changed);
	world.host.run();
	world.engines.failsWith = null;
	world.host.advance(3_000);
	assert.equal(world.view().slotsTotal, 1);
	const { starts } = world.engines;
	world.configure(changed);
	world.host.advance(1_000);
	assert.deepEqual([world.view().slotsTotal, world.view().lastError, world.engines.starts], [2, null, starts + 1]);
	world.configure(changed);
	world.host.advance(1_000);
	assert.equal(world.engines.starts, starts + 1, 'it has them by now');
	world.assertQuiet();
});

test('a new control thread goes on giving replicas the settings that are configured', () => {
	const world = ControlWorld.ready([spec('pool', { replicas: 2 })]);
	const holds = world.submitAll(2);
	world.configure(spec('pool', { replicas: 2, settings: { slots: 3 } }));
	world.stopControl();
	world.startControl();
	for (const hold of holds) hold.finish();
	world.host.advance(1_000);
	assert.deepEqual([world.view().slotsTotal, world.view().reloadingTo, world.engines.starts], [6, null, 4]);
	world.assertQuiet();
});

test('a pool that is configured anew, once its engines were told to end, is given new ones', () => {
	const world = ControlWorld.ready([spec('pool')]);
	world.stopControl();
	world.pools = [spec('other', { aliases: [] })];
	world.startControl();
	world.configure(spec('pool'), spec('other', { aliases: [] }));
	world.host.advance(2_000);
	assert.deepEqual([world.view('pool').state, world.view('pool').slotsTotal], ['ready', 1]);
	world.submit('task', to('pool')).finish();
	world.assertQuiet();
});

test('a task that has reserved what its pool allowed is given no more when the pool allows more', () => {
	const world = ControlWorld.ready([spec('pool', { maxTokensOut: 20 })]);
	const replyTo = world.system.edge<SessionTold>(() => replyTo.close());
	const operation = { kind: 'set-budgets', budgets: { tokens: 60, timeMs: 1_000_000_000 } } as const;
	world.dispatcher?.tell({ type: 'use-session', tenant: null, sessionId: 's', operation, replyTo });
	const holds = world.submit('holds');
	const waits = world.submit('waits', { sessionId: 's', maxTokens: null, promptTokens: 10 });
	world.configure(spec('pool', { maxTokensOut: 64, timeouts: { ...poolSpec().timeouts, wallMs: 2_000_000_000 } }));
	holds.finish();
	world.host.run();
	const { maxTokensOut, timeouts } = waits.only('granted');
	assert.deepEqual([maxTokensOut, timeouts.wallMs], [20, poolSpec().timeouts.wallMs]);
	waits.finish();
	world.assertQuiet();
});

test('what waits in a pool that is left out and is sent back from one that is full is served by its own, which ends behind it', () => {
	const full = spec('full', { queue: { ...spec('full').queue, capacity: 1 } });
	const world = ControlWorld.ready([spec('leaves'), full]);
	const holds = [world.submit('x', to('leaves')), world.submit('y', to('full'))];
	const waits = [1, 2, 3].map((n) => world.submit(`waits-${n}`, placement({ mode: 'prefer', preferPools: ['leaves'] })));
	assert.deepEqual(new Set(waits.map(({ poolId }) => poolId)), new Set(['leaves']));
	holds[0]?.finish();
	waits[0]?.cancel();
	world.configure(full);
	world.host.advance(1_000);
	for (let n = 0; n < 20; n += 1) {
		for (const task of world.tasks.values()) if (task.state === 'running') task.finish();
		world.host.advance(500);
	}
	assert.deepEqual(world.states().slice(-2), ['done', 'done']);
	assert.deepEqual(
		world.views.map(({ poolId }) => poolId),
		['full'],
	);
	world.assertQuiet();
});

test('a pool that ends answers no operator by silence', () => {
	const world = ControlWorld.ready([spec('pool'), spec('other')]);
	world.engines.life('pool-0').stopsIn = 1_000;
	world.configure(spec('other'));
	world.host.advance(100);
	assert.equal(world.control('pool', { kind: 'purge', models: [], drainFirst: true, force: false, emptyCaches: false })?.code, 'NOT_FOUND');
	world.host.advance(5_000);
	world.assertQuiet();
});

test('a replica that a control thread before this one was ending is gone with its end, and so is its pool', () => {
	const world = ControlWorld.ready([spec('pool', { replicas: 2 }), spec('other')]);
	world.engines.life('pool-1').stopsIn = 500;
	world.configure(spec('pool'), spec('other'));
	world.host.advance(100);
	world.stopControl();
	world.startControl();
	world.host.advance(2_000);
	assert.equal(world.view('pool').slotsTotal, world.view('pool').slotsFree);
	world.configure(spec('other'));
	world.host.advance(5_000);
	assert.deepEqual(
		world.views.map(({ poolId }) => poolId),
		['other'],
	);
	world.assertQuiet();
});
