/** `GET /v2/tasks/{id}/events` over the real server: any number of readers, from any moment, at any speed. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { FakeTask, taskRequest } from './fake-task.ts';
import { dechunked, type RawClient } from './raw-client.ts';
import { checkStream, named, readSse, textOf } from './sse-text.ts';
import { startFront, type TestFront } from './test-front.ts';

let front: TestFront;
before(async () => {
	front = await startFront();
});
after(() => front.close());

function newTask(): { id: string; task: FakeTask } {
	const id = crypto.randomUUID();
	return { id, task: front.tasks.add(taskRequest({ taskId: id })) };
}

async function watch(id: string, headers = '', query = '', on: TestFront = front): Promise<RawClient> {
	const client = await on.raw();
	await client.send(`GET /v2/tasks/${id}/events${query} HTTP/1.1\r\nHost: 127.0.0.1:${on.port}\r\n${headers}\r\n`);
	await client.until((received) => received.includes('\n\n'));
	return client;
}

function seenBy(client: RawClient) {
	return readSse(Buffer.from(dechunked(client.received), 'latin1').toString('utf8'));
}

const lastChunk = '0\r\n\r\n';
const whole = (received: string): boolean => received.endsWith(lastChunk);

describe('an event stream', () => {
	it('has the headers of one, uncompressed, with the correlation id', async () => {
		const { id, task } = newTask();
		task.start();
		const client = await watch(id, 'Accept-Encoding: gzip, br\r\nX-Correlation-Id: stream-1\r\n');
		const head = client.received.slice(0, client.received.indexOf('\r\n\r\n'));
		assert.match(head, /^HTTP\/1\.1 200 OK/);
		assert.match(head, /content-type: text\/event-stream/i);
		assert.match(head, /cache-control: no-cache/i);
		assert.match(head, /x-accel-buffering: no/i);
		assert.match(head, /x-correlation-id: stream-1/i);
		assert.doesNotMatch(head, /content-encoding/i);
	});

	it('is the same for an early reader, a late one, and one that comes after the end', async () => {
		const { id, task } = newTask();
		const early = await watch(id);
		await front.inTurn(() => task.start());
		await front.inTurn(() => task.tokens('The ', 'fox '));
		const late = await watch(id);
		await front.inTurn(() => task.tokens('jumps \u{1f98a}'));
		await front.inTurn(() => task.end());
		const after = await watch(id);
		for (const client of [early, late, after]) {
			await client.until(whole);
			checkStream(seenBy(client));
			assert.equal(textOf(seenBy(client)), 'The fox jumps \u{1f98a}');
			assert.equal(seenBy(client).events.at(-1)?.name, 'end');
		}
		assert.equal(task.watchers, 0);
	});

	it('resumes behind every event id without a gap or a repeat', async () => {
		const { id, task } = newTask();
		task.start();
		task.tokens('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h');
		task.end();
		const all = await watch(id);
		await all.until(whole);
		const events = seenBy(all).events;
		for (let last = 0; last < 10; last++) {
			const client = await front.raw();
			await client.send(`GET /v2/tasks/${id}/events HTTP/1.1\r\nHost: 127.0.0.1:${front.port}\r\nLast-Event-ID: ${last}\r\n\r\n`);
			await client.until(whole);
			assert.deepEqual(
				seenBy(client).events,
				events.filter((event) => (event.id ?? 0) > last),
			);
		}
	});

	it('is the answer to the submission itself when that is what the client accepts', async () => {
		const client = await front.raw();
		const body = JSON.stringify({ model_ref: 'default', prompt: 'x' });
		const head = `POST /v2/tasks HTTP/1.1\r\nHost: 127.0.0.1:${front.port}\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\n`;
		await client.send(`${head}Content-Length: ${body.length}\r\n\r\n${body}`);
		const received = await client.until((text) => text.includes('\r\n\r\n'));
		assert.match(received, /^HTTP\/1\.1 200/);
		const id = /x-task-id: (\S+)/i.exec(received)?.[1] ?? '';
		const task = front.tasks.tasks.get(id);
		assert.ok(task);
		assert.equal(task.watchers, 1);
		await front.inTurn(() => {
			task.start();
			task.tokens('a', 'b');
			task.end();
		});
		await client.until(whole);
		checkStream(seenBy(client));
		assert.equal(textOf(seenBy(client)), 'ab');
		const refused = await front.post('/v2/tasks', { model_ref: 'default', prompt: 'x', max_tokens: 0 }, { accept: 'text/event-stream' });
		assert.equal(refused.status, 400);
		assert.equal(((await refused.json()) as { code: string }).code, 'INVALID_PARAMS');
	});

	it('answers 204 behind the terminal event, for nothing will follow and a browser must not ask again', async () => {
		const { id, task } = newTask();
		task.start();
		task.end();
		const response = await front.fetch(`/v2/tasks/${id}/events`, { headers: { 'last-event-id': '2' } });
		assert.deepEqual([response.status, await response.text()], [204, '']);
		assert.equal(task.watchers, 0);
	});

	it('is refused with 400 for an id that is none or above the last, 404 for no task, 410 for a forgotten one', async () => {
		const { id, task } = newTask();
		task.start();
		const status = async (taskId: string, lastEventId = ''): Promise<number> => {
			const response = await front.fetch(
				`/v2/tasks/${taskId}/events`,
				lastEventId === '' ? {} : { headers: { 'last-event-id': lastEventId } },
			);
			await response.json();
			return response.status;
		};
		for (const bad of ['2', '999', '-1', '1.5', 'abc', '1e0', '0x1', '9'.repeat(40)]) assert.equal(await status(id, bad), 400, bad);
		assert.equal(await status(crypto.randomUUID()), 404);
		front.tasks.expired.add('00000000-0000-7000-8000-000000000002');
		assert.equal(await status('00000000-0000-7000-8000-000000000002'), 410);
		const response = await front.fetch(`/v2/tasks/${id}/events?verbose=maybe`);
		assert.equal(response.status, 400);
		await response.json();
	});

	it('of a durable task resumes behind an id of its run, refuses one of an earlier run with 410 and others with 400', async () => {
		const task = new FakeTask(taskRequest({ taskId: crypto.randomUUID(), durable: true }), 0, 1, 3);
		const { taskId } = task.request;
		front.tasks.tasks.set(taskId, task);
		task.start();
		task.tokens('a', 'b');
		task.end();
		const ask = (id: string): Promise<Response> => front.fetch(`/v2/tasks/${taskId}/events`, { headers: { 'last-event-id': id } });
		const idsIn = async (response: Response): Promise<string[]> =>
			[...(await response.text()).matchAll(/^id: (.*)$/gm)].map(([, id]) => id ?? '');
		assert.deepEqual(await idsIn(await ask('0')), ['3.1', '3.2', '3.3', '3.4']);
		assert.deepEqual(await idsIn(await ask('3.2')), ['3.3', '3.4']);
		assert.equal((await ask('3.4')).status, 204);
		for (const [id, status, code] of [
			['2.1', 410, 'EVENTS_EXPIRED'],
			['1.99', 410, 'EVENTS_EXPIRED'],
			['4.1', 400, 'INVALID_PARAMS'],
			['3.5', 400, 'INVALID_PARAMS'],
			['2', 400, 'INVALID_PARAMS'],
			['3.', 400, 'INVALID_PARAMS'],
		] as const) {
			const response = await ask(id);
			assert.deepEqual([id, response.status, ((await response.json()) as { code: string }).code], [id, status, code]);
		}
		const { last_event_id: last } = (await (await front.fetch(`/v2/tasks/${taskId}`)).json()) as { last_event_id: string };
		assert.equal(last, '3.4');
	});

	it('tells the task of each reader that comes and goes, however it goes', async () => {
		const { id, task } = newTask();
		task.start();
		const clients = await Promise.all([watch(id), watch(id), watch(id)]);
		assert.equal(task.watchers, 3);
		clients[0]?.end();
		clients[1]?.socket.resetAndDestroy();
		// the server hears of it in its own time; another request gives it some
		for (let round = 0; round < 1000 && task.watchers > 1; round++) await (await front.fetch('/health')).arrayBuffer();
		assert.equal(task.watchers, 1);
		await front.inTurn(() => task.end());
		await clients[2]?.until(whole);
		assert.equal(task.watchers, 0);
	});

	it('adds sentences for people when verbose', async () => {
		const { id } = newTask();
		const [metrics] = named(seenBy(await watch(id, '', '?verbose=true')), 'metrics');
		assert.match(String(metrics?.data['human']), /next to start/);
		assert.equal(metrics?.data['phase'], 'queued');
		const [plain] = named(seenBy(await watch(id)), 'metrics');
		assert.equal(plain?.data['human'], undefined);
	});

	it('closes with its end when the task is cancelled: what was logged, then the end', async () => {
		const { id, task } = newTask();
		task.start();
		task.tokens('some');
		const client = await watch(id);
		assert.equal((await front.fetch(`/v2/tasks/${id}`, { method: 'DELETE' })).status, 204);
		await client.until(whole);
		checkStream(seenBy(client));
		assert.deepEqual(seenBy(client).events.at(-1)?.data['finish_reason'], 'canceled');
	});

	it('answers HEAD without watching', async () => {
		const { id, task } = newTask();
		const response = await front.fetch(`/v2/tasks/${id}/events`, { method: 'HEAD' });
		assert.equal(response.status, 200);
		assert.match(response.headers.get('content-type') ?? '', /event-stream/);
		assert.equal(task.told.length, 0);
	});

	it('is refused above the bound of open streams, with a time to come back', async () => {
		const own = await startFront({ sse: { heartbeatMs: 0, stallMs: 30_000, microbatchMs: 0, watchersMax: 2 } });
		const id = crypto.randomUUID();
		own.tasks.add(taskRequest({ taskId: id }));
		await watch(id, '', '', own);
		await watch(id, '', '', own);
		const response = await own.fetch(`/v2/tasks/${id}/events`);
		assert.equal(response.status, 429);
		assert.equal(response.headers.get('retry-after'), '1');
		assert.equal(((await response.json()) as Record<string, unknown>)['policy_label'], 'watchers');
		own.close();
	});
});

describe('a reader that does not read', () => {
	it('costs the front a bounded slice, delays nobody, and gets all of it, merged, when it reads on', async () => {
		const { id, task } = newTask();
		task.start();
		const stalled = await watch(id);
		stalled.stopReading();
		const reader = await watch(id);
		const text = 'word '.repeat(20);
		await fillTheSocket(task, text);
		const external = process.memoryUsage().external;
		for (let round = 0; round < 50; round++) await front.inTurn(() => task.tokens(text, text, text, text));
		// log chunks are external memory too: only what is not the log may not grow with the stall
		assert.ok(process.memoryUsage().external - external < 4 * 1024 * 1024);
		await front.inTurn(() => task.end());
		await reader.untilEndsWith(lastChunk);
		checkStream(seenBy(reader));
		stalled.readOn();
		await stalled.untilEndsWith(lastChunk);
		const seen = seenBy(stalled);
		checkStream(seen);
		assert.equal(textOf(seen), textOf(seenBy(reader)));
		assert.ok(named(seen, 'token').some(({ data }) => Array.isArray(data['batch'])));
	});

	it('is cut after stall_ms, and the task is told', async () => {
		const own = await startFront({ sse: { heartbeatMs: 0, stallMs: 300, microbatchMs: 0, watchersMax: 10 } });
		const id = crypto.randomUUID();
		const task = own.tasks.add(taskRequest({ taskId: id }));
		task.start();
		const stalled = await watch(id, '', '', own);
		stalled.stopReading();
		const big = 'x'.repeat(30_000);
		for (let round = 0; round < 5000 && task.watchers > 0; round++) {
			await own.inTurn(() => {
				if (task.log.bytes < 30_000_000) task.tokens(big, big, big);
			});
			await (await own.fetch('/health')).arrayBuffer();
		}
		assert.equal(task.watchers, 0);
		assert.equal(own.front.watchers, 0);
		own.close();
	});

	/** More than all kernel buffers take, so that the front has to hold back. */
	async function fillTheSocket(task: FakeTask, text: string): Promise<void> {
		const big = text.repeat(100);
		for (let round = 0; round < 300; round++) await front.inTurn(() => task.tokens(big, big, big));
	}
});
