/** A pass over all that wait: in slices, between which the thread does what else there is. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ControlWorld, type TestTask } from './control-world.ts';
import { poolSpec } from './summaries.ts';

test('a pass over all that wait goes in slices, and a task that ends between two of them is dispatched at once', () => {
	const perfPrior = { ...poolSpec().perfPrior, prefillTokensPerS: 1e6, decodeTokensPerS: 1e6 };
	const queue = { ...poolSpec().queue, capacity: 5_000 };
	const world = ControlWorld.ready({ settings: { slots: 1 }, perfPrior, queue });
	const tasks = world.submitAll(1_000);
	const isTold = (task: TestTask): boolean => task.all('standing-changed').length > 0;
	const told = (): number => tasks.filter(isTold).length;
	tasks[0]?.finish();
	world.host.run();
	let slices = 0;
	let before = 0;
	for (let ms = 0; ms < 3_000 && before < 990; ms += 1) {
		world.host.advance(1);
		const now = told();
		if (now === before) continue;
		assert.ok(now - before <= 128, `${now - before} were told at once`);
		slices += 1;
		if (slices === 2) {
			// Another message than the next part of the pass.
			const running = tasks.find((task) => task.state === 'running') as TestTask;
			const granted = tasks.filter((task) => task.all('granted').length > 0).length;
			running.finish();
			world.host.run();
			assert.equal(tasks.filter((task) => task.all('granted').length > 0).length, granted + 1);
			assert.equal(told(), now, 'and the rest of the pass has waited');
		}
		before = now;
	}
	assert.ok(slices >= 8, `all in ${slices} slices`);
	assert.ok(before >= 990, `${before} of 1 000 were told`);
	for (const task of tasks) task.cancel();
	world.host.advance(1_000);
});
