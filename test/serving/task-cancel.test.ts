/** Cancelling a task, by its client or because its last watcher left, in every state it can be in. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FrontWorld, lastOf, namesOf, withdrawn } from './front-world.ts';

test('cancelled while queued: withdrawn, an end without a started, and a grant on its way is given back unused', () => {
	const world = new FrontWorld();
	const task = world.queued('a');
	assert.equal(world.cancel(task), 'done');
	assert.deepEqual(namesOf(task), ['end']);
	const { data } = lastOf(task);
	assert.deepEqual([data['finish_reason'], data['canceled'], data['tokens_out'], data['model_digest']], ['canceled', true, 0, null]);
	const lease = world.control.grant('a');
	world.run();
	assert.deepEqual(
		world.control.settlementsOf(lease).map((settle) => settle.settlement.outcome),
		['unused'],
	);
	assert.equal(world.decode.generations.length, 0);
	assert.equal(world.telemetry.total('tasks_canceled_total', { reason: 'client', pool_id: 'pool' }), 1);
	world.assertAtRest();
});

test('cancelled while queued and still in the queue: the pool says so', () => {
	const world = new FrontWorld();
	const task = world.queued('a');
	world.cancel(task);
	assert.equal(world.cancel(task), 'done');
	withdrawn(world, 'a');
	assert.equal(world.cancel(task), 'closed');
});

test('cancelled before any pool had it: opened as cancelled, and withdrawn as soon as a pool answers', () => {
	const world = new FrontWorld();
	const opened = world.open('a');
	assert.equal(world.cancel(world.view('a')), 'done');
	const [answer] = opened.answers;
	assert.ok(answer?.type === 'task-opened');
	assert.deepEqual([answer.task.state, answer.poolId], ['canceled', '']);
	assert.equal(world.control.of('withdraw').length, 0);
	world.control.queue('a', 0);
	world.run();
	withdrawn(world, 'a');
	assert.equal(world.view('a').state, 'canceled');
});

test('cancelled while it is being counted: never submitted', () => {
	const world = new FrontWorld();
	world.open('a', { input: { kind: 'prompt', text: 'x'.repeat(600), raw: true } });
	world.cancel(world.view('a'));
	world.decode.counts[0]?.tell({ type: 'prompt-counted', tokens: 3 });
	world.assertAtRest();
	assert.equal(world.control.of('submit').length, 0);
});

for (const phase of ['prefill', 'decode'] as const) {
	test(`cancelled in ${phase}: the log closes in the turn, the engine is told once, the slot is free at its answer`, () => {
		const world = new FrontWorld();
		world.decode.onCancel = () => undefined;
		const { task, generation, lease } = world.running('a');
		if (phase === 'decode') generation.pieces({ text: 'secret' });
		world.run();
		assert.equal(world.cancel(task), 'done');
		assert.equal(generation.cancels, 1);
		const { lastSeq } = task.log;
		generation.pieces({ text: 'late', n: 3 });
		assert.equal(world.cancel(task), 'done');
		assert.deepEqual(namesOf(task), phase === 'decode' ? ['started', 'token', 'end'] : ['started', 'end']);
		assert.deepEqual([lastOf(task).data['canceled'], lastOf(task).data['tokens_in'], task.log.lastSeq], [true, 5, lastSeq]);
		assert.equal(world.control.settlementsOf(lease).length, 0);
		world.host.advance(30);
		generation.cancelled();
		world.run();
		assert.deepEqual(
			world.control.settlementsOf(lease).map(({ settlement }) => [settlement.outcome, settlement.slot, settlement.reason]),
			[['canceled', 'free', 'client']],
		);
		assert.deepEqual(
			world.telemetry.samples.filter((sample) => sample.metric === 'cancel_latency_ms'),
			[{ metric: 'cancel_latency_ms', labels: { stage: 'slot-free' }, value: 30 }],
		);
		assert.equal(world.telemetry.total('wasted_tokens_total', { reason: 'client' }), 3);
		assert.equal(generation.cancels, 1);
		world.assertAtRest();
	});

	test(`cancelled in ${phase}, and the engine never answers: its slot is quarantined after two seconds`, () => {
		const world = new FrontWorld();
		world.decode.onCancel = () => undefined;
		const { task, generation, lease } = world.running('a');
		if (phase === 'decode') generation.pieces({ text: 'x' });
		world.cancel(task);
		world.host.advance(1999);
		assert.equal(world.control.settlementsOf(lease).length, 0);
		world.host.advance(1);
		assert.deepEqual(
			world.control.settlementsOf(lease).map(({ settlement }) => [settlement.outcome, settlement.slot]),
			[['canceled', 'unknown']],
		);
		world.assertAtRest();
		generation.cancelled();
		world.run();
		assert.equal(world.control.of('settle').length, 1);
	});
}

test('cancelled as the engine ends by itself: one terminal event, and the slot is free', () => {
	const world = new FrontWorld();
	world.decode.onCancel = () => undefined;
	const { task, generation, lease } = world.running('a');
	world.cancel(task);
	generation.end();
	world.run();
	assert.deepEqual(namesOf(task), ['started', 'end']);
	assert.equal(task.state, 'canceled');
	assert.deepEqual(
		world.control.settlementsOf(lease).map(({ settlement }) => [settlement.outcome, settlement.slot]),
		[['canceled', 'free']],
	);
	world.assertAtRest();
});

test('an end that was there first wins over a cancel', () => {
	const world = new FrontWorld();
	const { task, generation } = world.running('a');
	generation.end();
	assert.equal(world.cancel(task), 'done');
	assert.deepEqual([task.state, namesOf(task)], ['done', ['started', 'end']]);
	world.assertAtRest();
});

// ── watchers ─────────────────────────────────────────────────────────────────────────────────────────────────────

test('on_disconnect cancel: once the last watcher has been gone for the grace, not when one came back', () => {
	const world = new FrontWorld();
	const { task, generation } = world.running('a', { onDisconnect: 'cancel' });
	task.ref.tell({ type: 'watcher-attached' });
	task.ref.tell({ type: 'watcher-attached' });
	task.ref.tell({ type: 'watcher-gone' });
	world.host.advance(5000);
	assert.equal(task.watchers, 1);
	task.ref.tell({ type: 'watcher-gone' });
	world.host.advance(1999);
	task.ref.tell({ type: 'watcher-attached' });
	world.host.advance(5000);
	assert.equal(task.state, 'running');
	task.ref.tell({ type: 'watcher-gone' });
	world.host.advance(2000);
	assert.equal(task.state, 'canceled');
	assert.equal(generation.cancels, 1);
	assert.equal(world.telemetry.total('tasks_canceled_total', { reason: 'disconnect', replica_id: 'pool-0' }), 1);
	world.assertAtRest();
});

test('on_disconnect cancel: a task that nobody ever watched runs on, and so does a detached one', () => {
	const world = new FrontWorld();
	const unwatched = world.running('a', { onDisconnect: 'cancel' });
	const detached = world.running('b');
	detached.task.ref.tell({ type: 'watcher-attached' });
	detached.task.ref.tell({ type: 'watcher-gone' });
	world.host.advance(10_000);
	assert.deepEqual([unwatched.task.state, detached.task.state], ['running', 'running']);
	unwatched.generation.end();
	detached.generation.end();
	world.assertAtRest();
});

test('on_disconnect cancel without a grace: at once, in the queue too', () => {
	const world = new FrontWorld();
	const task = world.queued('a', { onDisconnect: 'cancel', disconnectGraceMs: 0 });
	task.ref.tell({ type: 'watcher-attached' });
	task.ref.tell({ type: 'watcher-gone' });
	world.run();
	assert.equal(task.state, 'canceled');
	withdrawn(world, 'a');
});

test('a task at rest counts no watchers: those who read on have nobody to tell that they leave', () => {
	const world = new FrontWorld();
	const { task, generation } = world.running('a');
	task.ref.tell({ type: 'watcher-attached' });
	generation.end();
	world.run();
	task.ref.tell({ type: 'watcher-gone' });
	world.run();
	assert.equal(task.watchers, 0);
	assert.deepEqual(
		world.telemetry.lines.filter(({ event }) => event === 'watcher-miscounted'),
		[],
	);
	world.assertAtRest();
});

test('a watcher that leaves twice is said aloud and does no harm', () => {
	const world = new FrontWorld();
	const { task, generation } = world.running('a', { onDisconnect: 'cancel', disconnectGraceMs: 0 });
	task.ref.tell({ type: 'watcher-gone' });
	world.run();
	assert.deepEqual([task.state, task.watchers], ['running', 0]);
	assert.equal(world.telemetry.lines.at(-1)?.event, 'watcher-miscounted');
	generation.end();
	world.assertAtRest();
});
