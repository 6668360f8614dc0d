/** Requests for tasks of other front threads, over the real server: found, read, cancelled and listed from this one. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, afterEach, before, describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { failure } from '../../src/actors/serving/failure.ts';
import * as schemas from '../../src/transport/api/response-schemas.ts';
import { FakeClock } from './fake-clock.ts';
import { FakeElsewhere } from './fake-elsewhere.ts';
import { FakeTask, standingAt, taskRequest } from './fake-task.ts';
import { json, refused } from './published-answers.ts';
import { dechunked, type RawClient } from './raw-client.ts';
import { checkStream, readSse, textOf } from './sse-text.ts';
import { startFront, type TestFront } from './test-front.ts';

let clock: FakeClock;
let elsewhere: FakeElsewhere;
let front: TestFront;
before(async () => {
	clock = new FakeClock();
	elsewhere = new FakeElsewhere();
	front = await startFront({}, clock, 'auto', elsewhere);
});
after(() => front.close());
afterEach(() => {
	assert.deepEqual([elsewhere.finds, elsewhere.lists], [[], []], 'every question was looked at');
	assert.equal(front.lines.filter(({ event }) => event === 'bug' || event === 'edge-failed').length, 0);
});

const away = failure('POOL_UNREADY', 'a front is away', { retryAfterMs: 700 });
const lastChunk = '0\r\n\r\n';
const whole = (received: string): boolean => received.endsWith(lastChunk);

function foreignTask(firstSeq = 1): { readonly id: string; readonly task: FakeTask } {
	const id = crypto.randomUUID();
	return { id, task: new FakeTask(taskRequest({ taskId: id }), 0, firstSeq) };
}

/** Lets the server work until `done`: each round is a request of its own. */
async function until(done: () => boolean): Promise<void> {
	for (let round = 0; round < 1000 && !done(); round++) await (await front.fetch('/health')).arrayBuffer();
	assert.ok(done());
}

/** What `promise` comes to, or an assertion: an answer that never comes is a failure, not a wait. */
async function answered<T>(promise: Promise<T>): Promise<T> {
	let settled = false;
	const done = (): void => {
		settled = true;
	};
	promise.then(done, done);
	await until(() => settled);
	return await promise;
}

/** The server hears of what its peers did before. */
async function settle(): Promise<void> {
	for (let round = 0; round < 5; round++) await (await front.fetch('/health')).arrayBuffer();
}

async function asked(taskId: string, purpose: 'look' | 'follow'): Promise<void> {
	await until(() => elsewhere.finds.length > 0);
	assert.deepEqual(
		elsewhere.finds.map((find) => [find.taskId, find.purpose]),
		[[taskId, purpose]],
	);
}

async function send(method: string, path: string, headers = ''): Promise<RawClient> {
	const client = await front.raw();
	await client.send(`${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1:${front.port}\r\n${headers}\r\n`);
	return client;
}

async function follow({ id, task }: { readonly id: string; readonly task: FakeTask }, headers = ''): Promise<RawClient> {
	const client = await send('GET', `/v2/tasks/${id}/events`, headers);
	await asked(id, 'follow');
	elsewhere.found({ found: 'task', task });
	await client.until((received) => received.includes('\r\n\r\n'));
	return client;
}

function seenBy(client: RawClient) {
	return readSse(Buffer.from(dechunked(client.received), 'latin1').toString('utf8'));
}

describe('a question about a task of another front thread', () => {
	it('is answered from there, by state and with an explanation', async () => {
		const { id, task } = foreignTask();
		const state = front.fetch(`/v2/tasks/${id.toUpperCase()}`);
		await asked(id, 'look');
		elsewhere.found({ found: 'task', task });
		assert.equal((await json(await state, 200, schemas.taskSchema))['task_id'], id);
		const explained = front.fetch(`/v2/tasks/${id}/explain`);
		await asked(id, 'look');
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
				await until(() => elsewhere.finds.length > 0);
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
			await asked(id, 'look');
			clock.advance(10_000);
			await refused(await answered(response), 503, 'POOL_UNREADY');
			elsewhere.found({ found: 'nothing' });
			await settle();
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
				const client = await send(method, `/v2/tasks/${id}${path}`, method === 'POST' ? 'Content-Length: 0\r\n' : '');
				await until(() => elsewhere.finds.length > 0);
				client.socket.resetAndDestroy();
				await settle();
				if (answer === 'failure') elsewhere.answer({ type: 'not-found-out', failure: away });
				else elsewhere.found(answer === 'task' ? { found: 'task', task } : { found: 'nothing' });
				await settle();
			}
		}
		const list = await send('GET', '/v2/tasks');
		await until(() => elsewhere.lists.length > 0);
		list.socket.resetAndDestroy();
		await settle();
		elsewhere.listed({ type: 'tasks-found', tasks: [task], nextCursor: null });
		await settle();
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
			await asked(id, 'look');
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
			await asked(id, 'look');
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
			await asked(id, 'look');
			elsewhere.found({ found: 'task', task });
			await until(() => told === 1);
			if (delivery === 'accepted') clock.advance(5_000);
			assert.equal((await answered(response)).status, status);
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
		const response = front.fetch('/v2/tasks?state=queued&pool_id=p1&tenant=t&limit=3&cursor=c1');
		await until(() => elsewhere.lists.length > 0);
		assert.deepEqual(elsewhere.lists[0]?.page, { filter: { state: 'queued', poolId: 'p1', tenant: 't' }, limit: 3, cursor: 'c1' });
		elsewhere.listed({ type: 'tasks-found', tasks: [...tasks.map(({ task }) => task), own], nextCursor: 'c2' });
		const list = await json(await response, 200, schemas.taskListSchema);
		assert.deepEqual(
			(list['tasks'] as Record<string, unknown>[]).map((task) => task['task_id']),
			[...tasks.map(({ id }) => id), own.request.taskId],
		);
		assert.equal(list['next_cursor'], 'c2');
	});

	it('is 503 when a front cannot be asked or does not answer: a part of it is not the list', async () => {
		const idle = clock.waiting;
		const failed = front.fetch('/v2/tasks');
		await until(() => elsewhere.lists.length > 0);
		elsewhere.listed({ type: 'not-found-out', failure: away });
		await refused(await failed, 503, 'POOL_UNREADY');
		const silent = front.fetch('/v2/tasks');
		await until(() => elsewhere.lists.length > 0);
		clock.advance(10_000);
		await refused(await answered(silent), 503, 'POOL_UNREADY');
		elsewhere.listed({ type: 'tasks-found', tasks: [], nextCursor: null });
		await refused(await front.fetch('/v2/tasks?limit=0'), 400, 'INVALID_PARAMS');
		clock.advance(600_000);
		assert.equal(clock.waiting, idle);
	});
});

describe('an event stream from another front thread', () => {
	it('is whole: what was logged, and what follows, from the turn of the answer on', async () => {
		const foreign = foreignTask();
		const { id, task } = foreign;
		task.start();
		task.tokens('The ', 'fox ');
		const client = await send('GET', `/v2/tasks/${id}/events`);
		await asked(id, 'follow');
		let watchedAtEndOfTurn = false;
		const stop = front.system.onTurnEnd(() => {
			stop();
			watchedAtEndOfTurn = task.log.watched;
		});
		await front.inTurn(() => elsewhere.found({ found: 'task', task }));
		assert.equal(watchedAtEndOfTurn, true);
		await front.inTurn(() => task.tokens('jumps \u{1f98a}'));
		await front.inTurn(() => task.end());
		await client.until(whole);
		checkStream(seenBy(client));
		assert.equal(textOf(seenBy(client)), 'The fox jumps \u{1f98a}');
		const resumed = await follow(foreign, 'Last-Event-ID: 3\r\n');
		await resumed.until(whole);
		assert.equal(textOf(seenBy(resumed)), 'jumps \u{1f98a}');
		const over = front.fetch(`/v2/tasks/${id}/events`, { headers: { 'last-event-id': '5' } });
		await asked(id, 'follow');
		elsewhere.found({ found: 'task', task });
		assert.equal((await over).status, 204);
		const beyond = front.fetch(`/v2/tasks/${id}/events`, { headers: { 'last-event-id': '6' } });
		await asked(id, 'follow');
		elsewhere.found({ found: 'task', task });
		await refused(await beyond, 400, 'INVALID_PARAMS');
		assert.deepEqual([task.watchers, task.log.watched], [0, false]);
		await refused(await front.fetch(`/v2/tasks/${id}/events?verbose=maybe`), 400, 'INVALID_PARAMS');
	});

	it('ends with the error when the thread of its task is lost', async () => {
		const foreign = foreignTask();
		foreign.task.start();
		foreign.task.tokens('half');
		const client = await follow(foreign);
		await front.inTurn(() => foreign.task.fail(failure('WORKER_RESET', 'the thread is gone')));
		await client.until(whole);
		checkStream(seenBy(client));
		const last = seenBy(client).events.at(-1);
		assert.deepEqual([last?.name, last?.data['code'], last?.data['retriable']], ['error', 'WORKER_RESET', true]);
	});

	it('is cut when the copy of its events is given up, read to its end or not, and may be resumed', async () => {
		for (const unread of [false, true]) {
			const foreign = foreignTask();
			const { task } = foreign;
			task.start();
			const client = await follow(foreign);
			await client.until((received) => received.includes('started'));
			await front.inTurn(() => {
				if (unread) task.tokens('unread');
				task.log.forget();
			});
			await until(() => client.closed);
			assert.ok(!whole(client.received), 'an end would say that there is nothing more');
			assert.deepEqual([task.watchers, task.log.watched], [0, false]);
		}
	});

	it('of a task whose log begins high begins with that, from wherever the reader was', async () => {
		const foreign = foreignTask(1_000_000_000);
		foreign.task.fail(failure('WORKER_RESET', 'the thread is gone'));
		for (const lastEventId of [null, 0, 1, 57, 999_999_999]) {
			const client = await follow(foreign, lastEventId === null ? '' : `Last-Event-ID: ${lastEventId}\r\n`);
			await client.until(whole);
			assert.deepEqual(
				seenBy(client).events.map(({ id, name }) => [id, name]),
				[[1_000_000_000, 'error']],
			);
		}
		const over = await follow(foreign, 'Last-Event-ID: 1000000000\r\n');
		assert.match(over.received, /^HTTP\/1\.1 204/);
		const beyond = await follow(foreign, 'Last-Event-ID: 1000000001\r\n');
		assert.match(beyond.received, /^HTTP\/1\.1 400/);
		const result = front.fetch(`/v2/tasks/${foreign.id}/result`);
		await asked(foreign.id, 'follow');
		elsewhere.found({ found: 'task', task: foreign.task });
		await refused(await result, 502, 'WORKER_RESET');
	});

	it('is the answer to a submission that names the task, and the task is not cancelled when that opens late', async () => {
		const { id, task } = foreignTask();
		task.start();
		front.tasks.answer = 'silence';
		const body = JSON.stringify({ model_ref: 'default', prompt: 'x', task_id: id });
		const head = `Content-Type: application/json\r\nContent-Length: ${body.length}\r\nAccept: text/event-stream\r\n`;
		const opened = { type: 'task-opened', task, standing: standingAt(0), poolId: 'p1', onTimeProbability: null, fresh: false } as const;
		const client = await send('POST', '/v2/tasks', head);
		await client.send(body);
		await until(() => front.tasks.silenced.length === 1);
		front.tasks.silenced.shift()?.replyTo.tell(opened);
		await client.until((received) => received.includes('started'));
		assert.match(client.received, new RegExp(`x-task-id: ${id}`, 'i'));
		assert.equal(task.watchers, 1);
		const late = front.post('/v2/tasks', body);
		await until(() => front.tasks.silenced.length === 1);
		clock.advance(10_000);
		await refused(await answered(late), 503, 'POOL_UNREADY');
		front.tasks.silenced.shift()?.replyTo.tell(opened);
		await settle();
		assert.ok(task.told.every(({ type }) => type !== 'cancel'));
		front.tasks.answer = 'open';
		await front.inTurn(() => task.end());
		await client.until(whole);
		clock.advance(600_000);
	});
});

describe('a result from another front thread', () => {
	async function waitFor({ id, task }: ReturnType<typeof foreignTask>): Promise<{ readonly response: Promise<Response> }> {
		const response = front.fetch(`/v2/tasks/${id}/result`);
		await asked(id, 'follow');
		await front.inTurn(() => elsewhere.found({ found: 'task', task }));
		assert.ok(task.log.watched);
		return { response };
	}

	/** Lets what was put off happen. */
	async function soon(): Promise<void> {
		await settle();
		clock.runSoon();
	}

	it('is the whole of it at the end, or the error when its thread is lost', async () => {
		const foreign = foreignTask();
		foreign.task.start();
		const { response } = await waitFor(foreign);
		await front.inTurn(() => {
			foreign.task.tokens('whole ', 'text');
			foreign.task.end();
		});
		await soon();
		assert.equal((await json(await answered(response), 200, schemas.resultSchema))['text'], 'whole text');
		const lost = foreignTask();
		const { response: failed } = await waitFor(lost);
		await front.inTurn(() => lost.task.fail(failure('WORKER_RESET', 'the thread is gone')));
		await soon();
		await refused(await answered(failed), 502, 'WORKER_RESET');
		for (const { task } of [foreign, lost]) assert.equal(task.log.watched, false);
	});

	it('is told not to be there yet as soon as the copy of its events is given up', async () => {
		const idle = clock.waiting;
		const foreign = foreignTask();
		foreign.task.start();
		const { response } = await waitFor(foreign);
		await front.inTurn(() => foreign.task.log.forget());
		await soon();
		assert.equal((await json(await answered(response), 202, schemas.taskSchema))['state'], 'running');
		assert.equal(clock.waiting, idle);
	});
});

describe('a WebSocket', () => {
	it('watches, credits and cancels a task of another front thread', async () => {
		const { id, task } = foreignTask();
		task.start();
		task.tokens('a', 'b', 'c');
		const socket = new WebSocket(`${front.url.replace('http', 'ws')}/v2/ws`, 'orchestratord.v2');
		const said: string[] = [];
		socket.on('message', (data: Buffer) => {
			const { event } = JSON.parse(data.toString()) as { event: string };
			if (event !== 'metrics') said.push(event);
		});
		await once(socket, 'open');
		socket.send(JSON.stringify({ op: 'watch', task_id: id, credit: 1 }));
		socket.send(JSON.stringify({ op: 'credit', task_id: id, n: 1 }));
		socket.send(JSON.stringify({ op: 'ping' }));
		await asked(id, 'follow');
		await until(() => said.length === 1);
		await front.inTurn(() => elsewhere.found({ found: 'task', task }));
		await until(() => said.length === 5);
		assert.deepEqual(said, ['pong', 'accepted', 'started', 'token', 'token']);
		socket.send(JSON.stringify({ op: 'cancel', task_id: id }));
		await asked(id, 'look');
		elsewhere.answer({ type: 'not-found-out', failure: away });
		await until(() => said.length === 6);
		elsewhere.tasks.set(id, task);
		socket.send(JSON.stringify({ op: 'credit', task_id: id, n: 5 }));
		socket.send(JSON.stringify({ op: 'cancel', task_id: id }));
		await until(() => said.length === 9);
		assert.deepEqual(said.slice(5), ['rejected', 'token', 'end', 'accepted']);
		socket.close();
		await once(socket, 'close');
		assert.deepEqual([task.watchers, task.log.watched, front.front.watchers], [0, false, 0]);
	});
});
