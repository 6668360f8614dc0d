/** Requests about tasks of other front threads, over the real server: asked for, cancelled and listed from this one. */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { failure } from '../../src/actors/serving/failure.ts';
import * as schemas from '../../src/transport/api/response-schemas.ts';
import type { FakeClock } from './fake-clock.ts';
import type { FakeElsewhere } from './fake-elsewhere.ts';
import { taskRequest } from './fake-task.ts';
import { away, foreignTask, OneOfFronts } from './one-of-fronts.ts';
import { json, refused } from './published-answers.ts';
import type { TestFront } from './test-front.ts';

let world: OneOfFronts;
let clock: FakeClock;
let elsewhere: FakeElsewhere;
let front: TestFront;
before(async () => {
	world = await OneOfFronts.start();
	({ clock, elsewhere, front } = world);
});
after(() => front.close());
afterEach(() => world.checkQuiet());

describe('a question about a task of another front thread', () => {
	it('is answered from there, by state and with an explanation', async () => {
		const { id, task } = foreignTask();
		const state = front.fetch(`/v2/tasks/${id.toUpperCase()}`);
		await world.asked(id, 'look');
		elsewhere.found({ found: 'task', task });
		assert.equal((await json(await state, 200, schemas.taskSchema))['task_id'], id);
		const explained = front.fetch(`/v2/tasks/${id}/explain`);
		await world.asked(id, 'look');
		elsewhere.found({ found: 'task', task });
		assert.equal((await json(await explained, 200, schemas.explainSchema))['state'], 'queued');
	});

	it('is 404 when no front has it, 410 when its events are gone, 503 when that cannot be found out', async () => {
		for (const path of ['', '/explain', '/events', '/result?wait_ms=0']) {
			for (const [found, status, code] of [
				[{ type: 'task-found', lookup: { found: 'nothing' } }, 404, 'NOT_FOUND'],
				[{ type: 'task-found', lookup: { found: 'expired', taskId: 'x' } }, 410, 'EVENTS_EXPIRED'],
				[{ type: 'not-found-out', failure: away }, 503, 'POOL_UNREADY'],
			] as const) {
				const response = front.fetch(`/v2/tasks/${crypto.randomUUID()}${path}`);
				await world.until(() => elsewhere.finds.length > 0);
				elsewhere.answer(found);
				await refused(await response, status, code);
				assert.equal((await response).headers.get('retry-after'), status === 503 ? '1' : null);
			}
		}
	});

	it('is 503 when it is not answered in time, or cannot be asked', async () => {
		const idle = clock.waiting;
		const id = crypto.randomUUID();
		for (const method of ['GET', 'DELETE']) {
			const response = front.fetch(`/v2/tasks/${id}`, { method });
			await world.asked(id, 'look');
			clock.advance(10_000);
			await refused(await world.answered(response), 503, 'POOL_UNREADY');
			elsewhere.found({ found: 'nothing' });
			await world.settle();
		}
		for (const delivery of ['full', 'closed'] as const) {
			elsewhere.delivery = delivery;
			for (const path of ['', '/explain', '/events', '/result', '?state=done'])
				await refused(await front.fetch(path.startsWith('?') ? `/v2/tasks${path}` : `/v2/tasks/${id}${path}`), 503, 'POOL_UNREADY');
			await refused(await front.fetch(`/v2/tasks/${id}/cancel`, { method: 'POST' }), 503, 'POOL_UNREADY');
		}
		elsewhere.delivery = 'accepted';
		// those that heard late answers
		clock.advance(600_000);
		assert.equal(clock.waiting, idle);
		assert.equal(front.system.stats.edges, 0);
	});

	it('is not asked for a task of this one, or for what is no id', async () => {
		elsewhere.delivery = 'closed';
		const id = crypto.randomUUID();
		front.tasks.add(taskRequest({ taskId: id })).end();
		for (const path of ['', '/explain', '/events', '/result']) {
			const response = await front.fetch(`/v2/tasks/${id}${path}`);
			assert.equal(response.status, 200);
			await response.arrayBuffer();
		}
		const expired = crypto.randomUUID();
		front.tasks.expired.add(expired);
		await refused(await front.fetch(`/v2/tasks/${expired}`), 410, 'EVENTS_EXPIRED');
		await refused(await front.fetch('/v2/tasks/not-an-id'), 404, 'NOT_FOUND');
		assert.equal((await front.fetch('/v2/tasks/not-an-id', { method: 'DELETE' })).status, 204);
		assert.equal((await front.fetch(`/v2/tasks/${id}`, { method: 'DELETE' })).status, 204);
		elsewhere.delivery = 'accepted';
	});

	it('whose client has left is answered to nobody, and nothing stays behind', async () => {
		const idle = clock.waiting;
		const { id, task } = foreignTask();
		const body = JSON.stringify({ model_ref: 'default', prompt: 'x' });
		for (const [method, path] of [
			['GET', ''],
			['GET', '/explain'],
			['GET', '/events'],
			['GET', '/result'],
			['POST', '/cancel'],
			['DELETE', ''],
		] as const) {
			for (const answer of ['task', 'nothing', 'failure'] as const) {
				const client = await world.send(method, `/v2/tasks/${id}${path}`, method === 'POST' ? 'Content-Length: 0\r\n' : '');
				await world.until(() => elsewhere.finds.length > 0);
				client.socket.resetAndDestroy();
				await world.settle();
				if (answer === 'failure') elsewhere.answer({ type: 'not-found-out', failure: away });
				else elsewhere.found(answer === 'task' ? { found: 'task', task } : { found: 'nothing' });
				await world.settle();
			}
		}
		const list = await world.send('GET', '/v2/tasks');
		await world.until(() => elsewhere.lists.length > 0);
		list.socket.resetAndDestroy();
		await world.settle();
		elsewhere.listed({ type: 'tasks-found', tasks: [task], nextCursor: null });
		await world.settle();
		assert.deepEqual(
			task.told.map(({ type }) => type),
			['cancel'],
		);
		assert.equal(task.log.watched, false);
		assert.deepEqual([front.front.watchers, front.system.stats.edges, clock.waiting], [0, 0, idle]);
		assert.equal((await front.post('/v2/tasks', body)).status, 202, 'and it serves on');
	});
});

describe('a cancel from another front thread', () => {
	async function cancel(id: string, how: 'POST' | 'DELETE' = 'DELETE'): Promise<Response> {
		return await front.fetch(`/v2/tasks/${id}${how === 'POST' ? '/cancel' : ''}`, { method: how });
	}

	it('reaches the task, and is 204 once its log gains nothing more', async () => {
		for (const how of ['POST', 'DELETE'] as const) {
			const { id, task } = foreignTask();
			const response = cancel(id, how);
			await world.asked(id, 'look');
			await front.inTurn(() => elsewhere.found({ found: 'task', task }));
			assert.equal((await response).status, 204);
			assert.deepEqual(
				task.told.map((command) => command.type === 'cancel' && command.reason),
				['client'],
			);
		}
	});

	it('is 204 for what no front has, and for what is over; never when that cannot be found out', async () => {
		const { id, task } = foreignTask();
		task.end();
		for (const [found, status] of [
			[{ type: 'task-found', lookup: { found: 'nothing' } }, 204],
			[{ type: 'task-found', lookup: { found: 'expired', taskId: id } }, 204],
			[{ type: 'task-found', lookup: { found: 'task', task } }, 204],
			[{ type: 'not-found-out', failure: away }, 503],
			[{ type: 'not-found-out', failure: failure('ADMISSION_REJECT', 'no room') }, 429],
		] as const) {
			const response = cancel(id);
			await world.asked(id, 'look');
			elsewhere.answer(found);
			assert.equal((await response).status, status);
			await (await response).arrayBuffer();
		}
		assert.deepEqual(task.told, []);
	});

	it('is 503 when the task does not answer, and 204 when its thread is gone', async () => {
		for (const [delivery, status] of [
			['accepted', 503],
			['full', 503],
			['closed', 204],
		] as const) {
			const idle = clock.waiting;
			const { id, task } = foreignTask();
			let told = 0;
			task.ref.tell = () => {
				told += 1;
				return delivery;
			};
			const response = cancel(id);
			await world.asked(id, 'look');
			elsewhere.found({ found: 'task', task });
			await world.until(() => told === 1);
			if (delivery === 'accepted') clock.advance(5_000);
			assert.equal((await world.answered(response)).status, status);
			await (await response).arrayBuffer();
			clock.advance(600_000);
			assert.equal(clock.waiting, idle);
		}
	});
});

describe('a list over all front threads', () => {
	it('is asked for by page, and shows what comes, in that order', async () => {
		const tasks = [foreignTask(), foreignTask()];
		const own = front.tasks.add(taskRequest({ taskId: crypto.randomUUID() }));
		const response = front.fetch('/v2/tasks?state=queued&pool_id=p1&tenant=t&limit=3&cursor=z.1.2');
		await world.until(() => elsewhere.lists.length > 0);
		assert.deepEqual(elsewhere.lists[0]?.page, { filter: { state: 'queued', poolId: 'p1', tenant: 't' }, limit: 3, cursor: 'z.1.2' });
		elsewhere.listed({ type: 'tasks-found', tasks: [...tasks.map(({ task }) => task), own], nextCursor: 'y.0.7' });
		const list = await json(await response, 200, schemas.taskListSchema);
		assert.deepEqual(
			(list['tasks'] as Record<string, unknown>[]).map((task) => task['task_id']),
			[...tasks.map(({ id }) => id), own.request.taskId],
		);
		assert.equal(list['next_cursor'], 'y.0.7');
	});

	it('is 503 when a front cannot be asked or does not answer: a part of it is not the list', async () => {
		const idle = clock.waiting;
		const failed = front.fetch('/v2/tasks');
		await world.until(() => elsewhere.lists.length > 0);
		elsewhere.listed({ type: 'not-found-out', failure: away });
		await refused(await failed, 503, 'POOL_UNREADY');
		const silent = front.fetch('/v2/tasks');
		await world.until(() => elsewhere.lists.length > 0);
		clock.advance(10_000);
		await refused(await world.answered(silent), 503, 'POOL_UNREADY');
		elsewhere.listed({ type: 'tasks-found', tasks: [], nextCursor: null });
		await refused(await front.fetch('/v2/tasks?limit=0'), 400, 'INVALID_PARAMS');
		clock.advance(600_000);
		assert.equal(clock.waiting, idle);
	});
});
