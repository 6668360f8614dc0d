/** Which front has which task, as the control thread knows it over the losses of fronts and its own: the production Dispatcher. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EdgeRef } from '../../src/actors/kernel/edge.ts';
import type { KnownTask, TaskClaimed } from '../../src/actors/serving/home-messages.ts';
import type { FrontCommand } from '../../src/actors/serving/messages.ts';
import { ControlWorld } from './control-world.ts';

const known = (taskId: string, keys: readonly string[] = []): KnownTask => ({ taskId, tenant: 'a', bodyHash: 'h', keys });

function joins(world: ControlWorld, frontId: string): EdgeRef<FrontCommand> {
	const front = world.newFront();
	world.tell({ type: 'front-joined', frontId, draining: [], replyTo: front });
	world.host.run();
	return front;
}

function reports(world: ControlWorld, frontId: string, ...tasks: readonly KnownTask[]): void {
	world.tell({ type: 'report-tasks', frontId, tasks });
	world.tell({ type: 'front-reported', frontId });
	world.host.run();
}

function claim(world: ControlWorld, frontId: string, task: KnownTask): TaskClaimed['verdict'] | undefined {
	const verdicts: TaskClaimed['verdict'][] = [];
	const edge = world.system.edge<TaskClaimed>(({ verdict }) => verdicts.push(verdict));
	world.tell({ type: 'claim-task', frontId, task, replyTo: edge });
	world.host.run();
	edge.close();
	return verdicts[0];
}

test('what a front had that was lost is its own until its successor has told what it knows; the rest is free then', () => {
	const world = ControlWorld.ready();
	const second = joins(world, 'front-1');
	reports(world, 'front-1');
	for (const taskId of ['with-202', 'without'])
		assert.deepEqual(claim(world, 'front-1', known(taskId, [`key-${taskId}`])), { kind: 'ours' });
	second.close();
	world.host.run();
	const elsewhere = (taskId: string) => ({ kind: 'elsewhere', frontId: 'front-1', taskId });
	for (const taskId of ['with-202', 'without']) assert.deepEqual(claim(world, 'front-0', known(taskId)), elsewhere(taskId));
	const successor = joins(world, 'front-1');
	assert.deepEqual(claim(world, 'front-0', known('without')), elsewhere('without'), 'it may be about to say so');
	reports(world, 'front-1', known('with-202', ['key-with-202']));
	assert.deepEqual(claim(world, 'front-0', known('with-202')), elsewhere('with-202'));
	assert.deepEqual(claim(world, 'front-0', known('other', ['key-with-202'])), elsewhere('with-202'));
	assert.deepEqual(claim(world, 'front-0', known('without', ['key-without'])), { kind: 'ours' });
	successor.close();
	world.host.run();
});

test('a new control thread gives no name away before each front has told what it knows, also where one was lost on the way', () => {
	const world = ControlWorld.ready();
	world.stopControl();
	world.startControl('silent');
	const other = joins(world, 'front-1');
	reports(world, 'front-1');
	assert.deepEqual(claim(world, 'front-1', known('x')), { kind: 'unsure' });
	const lost = joins(world, 'front-0');
	lost.close();
	world.host.run();
	assert.deepEqual(claim(world, 'front-1', known('x')), { kind: 'unsure' }, 'its successor may know it');
	joins(world, 'front-0');
	reports(world, 'front-0', known('x'));
	assert.deepEqual(claim(world, 'front-1', known('x')), { kind: 'elsewhere', frontId: 'front-0', taskId: 'x' });
	assert.deepEqual(claim(world, 'front-1', known('y')), { kind: 'ours' });
	other.close();
	world.host.run();
});
