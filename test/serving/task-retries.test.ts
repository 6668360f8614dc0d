/** A task whose engine is gone before it began: back to the queue at its old place, and never a token twice. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failure } from '../../src/actors/serving/failure.ts';
import type { Lease } from '../../src/actors/serving/messages.ts';
import type { TaskView } from '../../src/actors/serving/task-directory.ts';
import { FrontWorld, lastOf, namesOf } from './front-world.ts';
import type { ScriptedGeneration } from './scripted-decode.ts';

const gone = failure('WORKER_RESET', 'gone');

/** Granted and sent to its engine, which has said nothing yet. */
function sent(world: FrontWorld): { readonly lease: Lease; readonly generation: ScriptedGeneration } {
	const lease = world.control.grant('a');
	world.run();
	const generation = world.decode.generations.at(-1);
	assert.ok(generation?.request.lease.id === lease.id);
	return { lease, generation };
}

/** It is submitted once more, as the one that it was; the pool queues it. */
function backInQueue(world: FrontWorld, submissions: number): void {
	world.host.advance(100);
	const submits = world.control.submits('a');
	assert.equal(submits.length, submissions);
	assert.equal(submits.at(-1)?.summary.admittedAt, submits[0]?.summary.admittedAt);
	world.control.queue('a', 0);
	world.run();
}

function finishes(world: FrontWorld, task: TaskView): void {
	const { generation, lease } = sent(world);
	generation.started();
	generation.pieces({ text: 'x' });
	generation.end();
	world.run();
	assert.deepEqual(
		namesOf(task).filter((name) => name !== 'queued' && name !== 'progress'),
		['started', 'token', 'end'],
	);
	assert.equal(world.control.settlementsOf(lease)[0]?.settlement.outcome, 'completed');
	world.assertAtRest();
}

test('an engine that nobody reaches has not begun: the task waits for another, many times if need be', () => {
	const world = new FrontWorld();
	const task = world.queued('a');
	for (let attempt = 0; attempt < 10; attempt++) {
		const { generation, lease } = sent(world);
		generation.failed(gone, 'unknown', 'no');
		world.run();
		assert.deepEqual(
			world.control.settlementsOf(lease).map(({ settlement }) => [settlement.outcome, settlement.slot]),
			[['unused', 'free']],
		);
		backInQueue(world, attempt + 2);
	}
	finishes(world, task);
});

test('an engine that nobody reaches for two seconds fails the task', () => {
	const world = new FrontWorld();
	const task = world.queued('a');
	let attempts = 0;
	for (; task.state !== 'failed'; attempts++) {
		sent(world).generation.failed(gone, 'unknown', 'no');
		world.host.advance(100);
		if (task.endedAt !== null) break;
		world.control.queue('a', 0);
		world.run();
	}
	assert.equal(attempts, 20);
	assert.equal(lastOf(task).data['code'], 'WORKER_RESET');
	world.assertAtRest();
});

for (const how of ['its connection is lost', 'its pool says so'] as const) {
	test(`an engine that dies with a request it has not begun: ${how}, and the task runs on the next`, () => {
		const world = new FrontWorld();
		const task = world.queued('a');
		const { generation, lease } = sent(world);
		if (how === 'its connection is lost') generation.failed(gone);
		else world.control.tell('a', { type: 'replica-lost', lease, failure: gone });
		world.run();
		assert.deepEqual(
			world.control.settlementsOf(lease).map(({ settlement }) => [settlement.outcome, settlement.slot]),
			[['unused', 'unknown']],
		);
		backInQueue(world, 2);
		// The connection of the dead one may live a little longer.
		if (!generation.over) {
			generation.started();
			generation.pieces({ text: 'late' });
		}
		finishes(world, task);
	});
}

test('a request that three engines have died of is not given to a fourth', () => {
	const world = new FrontWorld();
	const task = world.queued('a');
	for (const submissions of [2, 3]) {
		sent(world).generation.failed(gone);
		world.run();
		backInQueue(world, submissions);
	}
	sent(world).generation.failed(gone);
	world.run();
	assert.equal(lastOf(task).data['code'], 'WORKER_RESET');
	world.assertAtRest();
});

test('a request that its engine refuses is refused, once', () => {
	const world = new FrontWorld();
	const task = world.queued('a');
	sent(world).generation.failed(failure('INVALID_PARAMS', 'too long'), 'free');
	world.run();
	assert.equal(lastOf(task).data['code'], 'INVALID_PARAMS');
	world.assertAtRest();
});

test('an engine that has begun is not replaced by another: its task ends with its code', () => {
	const world = new FrontWorld();
	const { task, generation } = world.running('a');
	generation.failed(gone);
	world.run();
	assert.equal(lastOf(task).data['code'], 'WORKER_RESET');
	world.assertAtRest();
});

test('a cancel between two attempts ends the task, and nothing is submitted again', () => {
	const world = new FrontWorld();
	const task = world.queued('a');
	sent(world).generation.failed(gone, 'unknown', 'no');
	world.run();
	assert.equal(world.cancel(task), 'done');
	world.host.advance(1_000);
	assert.equal(world.control.submits('a').length, 1);
	assert.equal(lastOf(task).data['canceled'], true);
	world.assertAtRest();
});

test('a control thread that is replaced between two attempts gets the task once', () => {
	const world = new FrontWorld();
	const task = world.queued('a');
	sent(world).generation.failed(gone, 'unknown', 'no');
	world.run();
	world.control.edge.close();
	world.connect(2);
	assert.equal(world.control.submits('a').length, 1);
	world.host.advance(1_000);
	assert.equal(world.control.submits('a').length, 1);
	world.control.queue('a', 0);
	world.run();
	finishes(world, task);
});
