/** Where the time of a request went: stages that sum, also where its tasks are older than it. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { timingOf } from '../../src/transport/api/task-timing.ts';
import { FakeTask } from './fake-task.ts';

const time = fc.double({ min: 0, max: 1e6, noNaN: true });

describe('the stages of a request', () => {
	it('are never below 0 and sum to the total, whatever the order of the times', () => {
		const task = fc.record({ admittedAt: time, startedAt: fc.option(time), firstTokenAt: fc.option(time), endedAt: fc.option(time) });
		fc.assert(
			fc.property(fc.array(task, { minLength: 1, maxLength: 3 }), time, time, (tasks, arrivedAt, after) => {
				const now = arrivedAt + after;
				const { serverTiming, queueWaitMs } = timingOf(
					tasks.map((times) => Object.assign(new FakeTask(), times)),
					arrivedAt,
					now,
				);
				const stages = [...serverTiming.matchAll(/(\w+);dur=([\d.]+)/g)].map(([, , ms]) => Math.round(Number(ms) * 1000));
				assert.equal(stages.length, 7);
				const total = stages.pop() as number;
				assert.equal(
					stages.reduce((sum, each) => sum + each, 0),
					total,
				);
				assert.ok(stages.every((each) => each >= 0) && queueWaitMs >= 0);
				assert.ok(Math.abs(total / 1000 - after) < 0.01);
			}),
		);
	});
});
