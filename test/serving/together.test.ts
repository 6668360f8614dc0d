/** The front and the control half together: from a request to its end, through cancels, quarantine and a lost control thread. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TaskView } from '../../src/actors/serving/task-directory.ts';
import { namesOf } from './front-world.ts';
import { slots, Together } from './together-world.ts';

const whole = ['started', 'token', 'token', 'token', 'token', 'token', 'end'];

test('a hundred tasks over three slots: all run, in the order they came, and every slot is free again', () => {
	const together = new Together();
	const tasks = Array.from({ length: 100 }, (_, i) => together.open(`t${i}`));
	together.world.host.advance(100 * 120);
	for (const task of tasks) assert.deepEqual(namesOf(task), whole);
	assert.deepEqual(
		together.started,
		tasks.map((task) => task.request.taskId),
	);
	together.assertQuiet();
});

test('cancelled in the queue and while running: the slots serve the others at once', () => {
	const together = new Together();
	const tasks = Array.from({ length: 10 }, (_, i) => together.open(`t${i}`));
	together.world.host.advance(50);
	for (const at of [0, 4, 9]) assert.equal(together.world.cancel(tasks[at] as TaskView), 'done');
	together.world.host.advance(2000);
	assert.deepEqual(
		tasks.map((task) => task.state),
		['canceled', 'done', 'done', 'done', 'canceled', 'done', 'done', 'done', 'done', 'canceled'],
	);
	assert.deepEqual([together.started.includes('t4'), together.started.includes('t9')], [false, false]);
	together.assertQuiet();
});

test('an engine that ignores a cancel keeps its slot in quarantine until it shows it idle', () => {
	const together = new Together(1, 400);
	together.world.decode.onCancel = () => undefined;
	const task = together.open('t0');
	together.world.host.advance(100);
	together.world.cancel(task);
	together.world.host.advance(4000);
	assert.equal(together.world.registry.liveCount, 0);
	assert.equal(together.world.registry.pools[0]?.slotsFree, slots - 1);
	together.world.host.advance(10_000);
	together.assertQuiet();
});

test('a strict task waits for all slots of its replica, and is alone on it', () => {
	const together = new Together();
	together.open('t0');
	const strict = together.open('strict', { strict: true });
	const after = together.open('t2');
	together.world.host.advance(60);
	assert.deepEqual([strict.state, after.state], ['queued', 'queued']);
	together.world.host.advance(80);
	assert.deepEqual([strict.state, after.state], ['running', 'queued']);
	together.world.host.advance(1000);
	assert.deepEqual([strict.state, after.state], ['done', 'done']);
	together.assertQuiet();
});

test('the control thread is replaced in mid-stream: no stream stops, the queued are served by the new one', () => {
	const together = new Together(1, 16, 100);
	const tasks = Array.from({ length: 8 }, (_, i) => together.open(`t${i}`));
	together.world.host.advance(350);
	together.stopControl();
	const tokens = tasks[0]?.tokensOut ?? 0;
	together.world.host.advance(300);
	assert.ok((tasks[0]?.tokensOut ?? 0) > tokens);
	together.startControl();
	together.world.host.advance(10_000);
	for (const task of tasks) assert.equal(task.state, 'done', JSON.stringify(task.failure));
	assert.deepEqual(
		together.started,
		tasks.map((task) => task.request.taskId),
	);
	together.assertQuiet();
});
