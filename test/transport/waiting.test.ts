/** What a request waits for and what becomes of it when that does not come: over the real server, with a clock that is moved. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MemoryGate } from '../../src/transport/http/memory-gate.ts';
import { FakeClock } from './fake-clock.ts';
import { taskRequest } from './fake-task.ts';
import { startFront, type TestFront } from './test-front.ts';

const body = { model_ref: 'default', prompt: 'hello' };

/** Lets the server work until `done`: each round is a request of its own. */
async function until(front: TestFront, done: () => boolean): Promise<void> {
	for (let round = 0; round < 1000 && !done(); round++) await (await front.fetch('/health')).arrayBuffer();
	assert.ok(done());
}

describe('a request that waits', () => {
	it('for an admission that does not come is told so, and a task that opens later is cancelled', async () => {
		const clock = new FakeClock();
		const front = await startFront({}, clock);
		front.tasks.answer = 'silence';
		const response = front.post('/v2/tasks', body);
		await until(front, () => front.tasks.silenced.length === 1);
		clock.advance(10_000);
		assert.equal((await response).status, 503);
		const [late] = front.tasks.silenced;
		assert.ok(late !== undefined);
		const task = front.tasks.open(late.request, late.replyTo);
		await until(front, () => task.told.length > 0);
		assert.deepEqual(
			task.told.map(({ type }) => type),
			['cancel'],
		);
		assert.equal(front.system.stats.edges, 0);
		front.close();
	});

	it('to stream a task as it opens, and leaves before that, has come and gone as a watcher', async () => {
		const front = await startFront();
		front.tasks.answer = 'silence';
		const text = JSON.stringify(body);
		const head = `POST /v2/tasks HTTP/1.1\r\nHost: 127.0.0.1:${front.port}\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\n`;
		const client = await front.raw();
		await client.send(`${head}Content-Length: ${text.length}\r\n\r\n${text}`);
		await until(front, () => front.tasks.silenced.length === 1);
		client.end();
		for (let round = 0; round < 20; round++) await (await front.fetch('/health')).arrayBuffer();
		const [late] = front.tasks.silenced;
		assert.ok(late !== undefined);
		const task = front.tasks.open(late.request, late.replyTo);
		await until(front, () => task.told.length > 0);
		assert.deepEqual(
			task.told.map(({ type }) => type),
			['watcher-attached', 'watcher-gone'],
		);
		front.close();
	});

	it('for a result is answered with where the task stands when the waiting is over', async () => {
		const clock = new FakeClock();
		const front = await startFront({}, clock);
		const idle = clock.waiting;
		const { taskId } = front.tasks.add(taskRequest()).request;
		const response = front.fetch(`/v2/tasks/${taskId}/result?wait_ms=500`);
		await until(front, () => clock.waiting > idle);
		clock.advance(500);
		assert.equal((await response).status, 202);
		assert.equal(((await (await response).json()) as Record<string, unknown>)['state'], 'queued');
		assert.equal(clock.waiting, idle);
		front.close();
	});

	it('for a result leaves nothing behind when its client goes', async () => {
		const clock = new FakeClock();
		const front = await startFront({}, clock);
		const idle = clock.waiting;
		const { taskId } = front.tasks.add(taskRequest()).request;
		const client = await front.raw();
		await client.send(`GET /v2/tasks/${taskId}/result HTTP/1.1\r\nHost: 127.0.0.1:${front.port}\r\n\r\n`);
		await until(front, () => clock.waiting > idle);
		client.end();
		await until(front, () => clock.waiting === idle);
		front.close();
	});

	it('for the control thread hears within two seconds that it does not answer', async () => {
		const clock = new FakeClock();
		const front = await startFront({}, clock);
		const response = front.post('/v2/tasks/preview', body);
		await until(front, () => front.dispatched.length === 1);
		clock.advance(2000);
		assert.equal((await response).status, 503);
		front.close();
	});
});

describe('the memory gate', () => {
	it('closes above the watermark and opens again, looking only now and then', () => {
		let now = 0;
		let used = 0.5;
		let looks = 0;
		const gate = new MemoryGate(
			() => now,
			() => {
				looks += 1;
				return used;
			},
		);
		assert.equal(gate.refusal(), null);
		used = 0.9;
		assert.equal(gate.refusal(), null, 'not looked at again yet');
		assert.equal(looks, 1);
		now = 250;
		assert.equal(gate.refusal()?.policyLabel, 'memory');
		used = 0.5;
		now = 500;
		assert.equal(gate.refusal(), null);
	});
});
