/** Reading tasks of other front threads, over the real server: their streams and results, and over a WebSocket. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, afterEach, before, describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { failure } from '../../src/actors/serving/failure.ts';
import * as schemas from '../../src/transport/api/response-schemas.ts';
import type { FakeClock } from './fake-clock.ts';
import type { FakeElsewhere } from './fake-elsewhere.ts';
import { standingAt } from './fake-task.ts';
import { away, type Foreign, foreignTask, OneOfFronts } from './one-of-fronts.ts';
import { json, refused } from './published-answers.ts';
import { dechunked, type RawClient } from './raw-client.ts';
import { checkStream, readSse, textOf } from './sse-text.ts';
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

const lastChunk = '0\r\n\r\n';
const whole = (received: string): boolean => received.endsWith(lastChunk);

function seenBy(client: RawClient) {
	return readSse(Buffer.from(dechunked(client.received), 'latin1').toString('utf8'));
}

describe('an event stream from another front thread', () => {
	it('is whole: what was logged, and what follows, from the turn of the answer on', async () => {
		const foreign = foreignTask();
		const { id, task } = foreign;
		task.start();
		task.tokens('The ', 'fox ');
		const client = await world.send('GET', `/v2/tasks/${id}/events`);
		await world.asked(id, 'follow');
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
		const resumed = await world.follow(foreign, 'Last-Event-ID: 3\r\n');
		await resumed.until(whole);
		assert.equal(textOf(seenBy(resumed)), 'jumps \u{1f98a}');
		const over = front.fetch(`/v2/tasks/${id}/events`, { headers: { 'last-event-id': '5' } });
		await world.asked(id, 'follow');
		elsewhere.found({ found: 'task', task });
		assert.equal((await over).status, 204);
		const beyond = front.fetch(`/v2/tasks/${id}/events`, { headers: { 'last-event-id': '6' } });
		await world.asked(id, 'follow');
		elsewhere.found({ found: 'task', task });
		await refused(await beyond, 400, 'INVALID_PARAMS');
		assert.deepEqual([task.watchers, task.log.watched], [0, false]);
		await refused(await front.fetch(`/v2/tasks/${id}/events?verbose=maybe`), 400, 'INVALID_PARAMS');
	});

	it('ends with the error when the thread of its task is lost', async () => {
		const foreign = foreignTask();
		foreign.task.start();
		foreign.task.tokens('half');
		const client = await world.follow(foreign);
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
			const client = await world.follow(foreign);
			await client.until((received) => received.includes('started'));
			await front.inTurn(() => {
				if (unread) task.tokens('unread');
				task.log.forget();
			});
			await world.until(() => client.closed);
			assert.ok(!whole(client.received), 'an end would say that there is nothing more');
			assert.deepEqual([task.watchers, task.log.watched], [0, false]);
		}
	});

	it('of a task whose log begins high begins with that, from wherever the reader was', async () => {
		const foreign = foreignTask(1_000_000_000);
		foreign.task.fail(failure('WORKER_RESET', 'the thread is gone'));
		for (const lastEventId of [null, 0, 1, 57, 999_999_999]) {
			const client = await world.follow(foreign, lastEventId === null ? '' : `Last-Event-ID: ${lastEventId}\r\n`);
			await client.until(whole);
			assert.deepEqual(
				seenBy(client).events.map(({ id, name }) => [id, name]),
				[[1_000_000_000, 'error']],
			);
		}
		const over = await world.follow(foreign, 'Last-Event-ID: 1000000000\r\n');
		assert.match(over.received, /^HTTP\/1\.1 204/);
		const beyond = await world.follow(foreign, 'Last-Event-ID: 1000000001\r\n');
		assert.match(beyond.received, /^HTTP\/1\.1 400/);
		const result = front.fetch(`/v2/tasks/${foreign.id}/result`);
		await world.asked(foreign.id, 'follow');
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
		const client = await world.send('POST', '/v2/tasks', head);
		await client.send(body);
		await world.until(() => front.tasks.silenced.length === 1);
		front.tasks.silenced.shift()?.replyTo.tell(opened);
		await client.until((received) => received.includes('started'));
		assert.match(client.received, new RegExp(`x-task-id: ${id}`, 'i'));
		assert.equal(task.watchers, 1);
		const late = front.post('/v2/tasks', body);
		await world.until(() => front.tasks.silenced.length === 1);
		clock.advance(10_000);
		await refused(await world.answered(late), 503, 'POOL_UNREADY');
		front.tasks.silenced.shift()?.replyTo.tell(opened);
		await world.settle();
		assert.ok(task.told.every(({ type }) => type !== 'cancel'));
		front.tasks.answer = 'open';
		await front.inTurn(() => task.end());
		await client.until(whole);
		clock.advance(600_000);
	});
});

describe('a result from another front thread', () => {
	async function waitFor({ id, task }: Foreign): Promise<{ readonly response: Promise<Response> }> {
		const response = front.fetch(`/v2/tasks/${id}/result`);
		await world.asked(id, 'follow');
		await front.inTurn(() => elsewhere.found({ found: 'task', task }));
		assert.ok(task.log.watched);
		return { response };
	}

	/** Lets what was put off happen. */
	async function soon(): Promise<void> {
		await world.settle();
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
		assert.equal((await json(await world.answered(response), 200, schemas.resultSchema))['text'], 'whole text');
		const lost = foreignTask();
		const { response: failed } = await waitFor(lost);
		await front.inTurn(() => lost.task.fail(failure('WORKER_RESET', 'the thread is gone')));
		await soon();
		await refused(await world.answered(failed), 502, 'WORKER_RESET');
		for (const { task } of [foreign, lost]) assert.equal(task.log.watched, false);
	});

	it('is told not to be there yet as soon as the copy of its events is given up', async () => {
		const idle = clock.waiting;
		const foreign = foreignTask();
		foreign.task.start();
		const { response } = await waitFor(foreign);
		await front.inTurn(() => foreign.task.log.forget());
		await soon();
		assert.equal((await json(await world.answered(response), 202, schemas.taskSchema))['state'], 'running');
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
		await world.asked(id, 'follow');
		await world.until(() => said.length === 1);
		await front.inTurn(() => elsewhere.found({ found: 'task', task }));
		await world.until(() => said.length === 5);
		assert.deepEqual(said, ['pong', 'accepted', 'started', 'token', 'token']);
		socket.send(JSON.stringify({ op: 'cancel', task_id: id }));
		await world.asked(id, 'look');
		elsewhere.answer({ type: 'not-found-out', failure: away });
		await world.until(() => said.length === 6);
		elsewhere.tasks.set(id, task);
		socket.send(JSON.stringify({ op: 'credit', task_id: id, n: 5 }));
		socket.send(JSON.stringify({ op: 'cancel', task_id: id }));
		await world.until(() => said.length === 9);
		assert.deepEqual(said.slice(5), ['rejected', 'token', 'end', 'accepted']);
		socket.close();
		await once(socket, 'close');
		assert.deepEqual([task.watchers, task.log.watched, front.front.watchers], [0, false, 0]);
	});
});
