/** `GET /v2/tasks/{id}/result`: who waits for the end of a task gets the whole of it, once. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { failure } from '../../src/actors/serving/failure.ts';
import * as schemas from '../../src/transport/api/response-schemas.ts';
import { taskRequest } from './fake-task.ts';
import { json, refused } from './published-answers.ts';
import { startFront, type TestFront } from './test-front.ts';

let front: TestFront;
before(async () => {
	front = await startFront();
});
after(() => front.close());

function newTask() {
	const id = crypto.randomUUID();
	return { id, task: front.tasks.add(taskRequest({ taskId: id })) };
}

describe('a task', () => {
	it('gives its whole result to the one who waits for its end', async () => {
		const { id, task } = newTask();
		const early = await json(await front.fetch(`/v2/tasks/${id}/result?wait_ms=0`), 202, schemas.taskSchema);
		assert.equal(early['state'], 'queued');
		const waiting = front.fetch(`/v2/tasks/${id}/result`);
		await front.inTurn(() => {
			task.start();
			task.tokens('whole ', 'text \u{1f98a}');
			task.end('length');
		});
		const result = await json(await waiting, 200, schemas.resultSchema);
		assert.equal(result['text'], 'whole text \u{1f98a}');
		assert.equal(result['finish_reason'], 'length');
		const failed = newTask();
		failed.task.fail(failure('DECODE_TIMEOUT', 'too slow'));
		assert.equal((await refused(await front.fetch(`/v2/tasks/${failed.id}/result`), 504, 'DECODE_TIMEOUT'))['message'], 'too slow');
		const vectors = newTask();
		vectors.task.vectors = [new Float32Array([0.5, -1])];
		vectors.task.end();
		assert.deepEqual((await json(await front.fetch(`/v2/tasks/${vectors.id}/result`), 200, schemas.resultSchema))['vectors'], [[0.5, -1]]);
		await refused(await front.fetch(`/v2/tasks/${id}/result?wait_ms=99999999`), 400, 'INVALID_PARAMS');
	});

	it('does not take a result that was forgotten at its end for an empty one', async () => {
		const { id, task } = newTask();
		const { log } = task;
		const subscribe = log.subscribe.bind(log);
		const subscribed = new Promise<void>((resolve) => {
			log.subscribe = (moved) => {
				resolve();
				return subscribe(moved);
			};
		});
		const waiting = front.fetch(`/v2/tasks/${id}/result`);
		await subscribed;
		await front.inTurn(() => {
			task.start();
			task.tokens('gone');
			task.end();
			task.log.forget();
		});
		await refused(await waiting, 410, 'EVENTS_EXPIRED');
	});
});
