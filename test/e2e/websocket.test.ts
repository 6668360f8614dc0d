/** `/v2/ws` of a real daemon, with a client library of its own: many tasks on one socket, resuming, credits, bad manners. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { postJson, submit, Watch } from './client.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import { type Message, SocketClient } from './socket-client.ts';

/** Numbers of a status line that `ws` reports for a refused upgrade. */
async function refused(client: SocketClient): Promise<{ readonly status: number; readonly headers: Readonly<Record<string, unknown>> }> {
	const [, response] = (await once(client.socket, 'unexpected-response')) as [
		unknown,
		{ statusCode: number; headers: Record<string, unknown>; resume(): void },
	];
	response.resume();
	return { status: response.statusCode, headers: response.headers };
}

/** Whole and in order: seq from 1, indices from 0, the end last, its count right. */
function assertWhole(events: readonly Message[]): void {
	let [seq, index, tokens] = [0, 0, 0];
	for (const { event, data, seq: own } of events) {
		const pieces = event === 'token' ? ((data?.['batch'] as readonly Record<string, unknown>[] | undefined) ?? [data ?? {}]) : [];
		for (const piece of pieces) {
			assert.equal(piece['i'], index++);
			tokens += Number(piece['n'] ?? 1);
		}
		seq += Math.max(1, pieces.length);
		assert.equal(own, seq);
	}
	assert.equal(events[0]?.event, 'started');
	assert.equal(events.at(-1)?.event, 'end');
	assert.equal(events.at(-1)?.data?.['tokens_out'], tokens);
}

const task = { model_ref: 'scripted:ws', prompt: 'a fox' };
const config = {
	pools: [
		{
			id: 'ws',
			engine: 'scripted',
			model: 'scripted:ws',
			slots: 32,
			max_tokens_out: 60_000,
			ctx: 65_536,
			scripted: { prefill_tokens_per_s: 1e6, decode_tokens_per_s: 500, tokens: 60_000 },
		},
		{
			id: 'flood',
			engine: 'scripted',
			model: 'scripted:flood',
			slots: 4,
			max_tokens_out: 60_000,
			ctx: 65_536,
			scripted: { prefill_tokens_per_s: 1e6, decode_tokens_per_s: 1e6, tokens: 60_000 },
		},
	],
	tasks: { disconnect_grace_ms: 300 },
	limits: { ws_message_bytes: 65_536 },
};

describe('the WebSocket', () => {
	let daemon: Daemon;
	before(async () => {
		daemon = await startDaemon({ config });
	});
	after(() => daemon.stop());

	it('carries many tasks at once, each whole, and says whose each event is', async () => {
		const client = await SocketClient.open(daemon.url);
		const refs = Array.from({ length: 24 }, (_, index) => `task-${index}`);
		for (const ref of refs) client.say({ op: 'submit', ref, task: { ...task, max_tokens: 40 } });
		for (const ref of refs) {
			const accepted = await client.until((message) => message.ref === ref && message.event === 'accepted');
			assert.equal(typeof accepted.data?.['queue_position'], 'number');
			await client.until((message) => message.ref === ref && message.event === 'end');
			assertWhole(client.of(accepted.task_id ?? ''));
		}
		client.socket.close();
		assert.equal(await client.closed, 1005);
	});

	it('resumes behind the event that `after` names, and watches a task that HTTP began', async () => {
		const { task_id: id } = await submit(daemon.url, { ...task, max_tokens: 30 });
		const whole = (await (await Watch.open(daemon.url, id)).all()).filter((event) => event.id !== null);
		const client = await SocketClient.open(daemon.url);
		client.say({ op: 'watch', ref: 'again', task_id: id, after: 10 });
		await client.until((message) => message.event === 'end');
		assert.deepEqual(
			client.of(id).map(({ seq, event, data }) => [seq, event, data]),
			whole.slice(10).map((event) => [event.id, event.name, event.data]),
		);
		client.say({ op: 'watch', task_id: id, after: 1_000 });
		assert.match(String((await client.until((message) => message.event === 'rejected')).data?.['message']), /after is 1000/);
		client.say({ op: 'watch', task_id: crypto.randomUUID() });
		await client.until((message) => message.data?.['code'] === 'NOT_FOUND');
		client.socket.terminate();
	});

	it('sends exactly the token events that credit was given for', async () => {
		const client = await SocketClient.open(daemon.url);
		client.say({ op: 'submit', ref: 'a', credit: 3, task: { ...task, max_tokens: 20 } });
		const { task_id: id = '' } = await client.until((message) => message.event === 'accepted');
		// The task is over; its reader has asked for three tokens.
		await (await Watch.open(daemon.url, id)).all();
		client.say({ op: 'ping', ref: 'so far' });
		await client.until((message) => message.event === 'pong');
		assert.equal(client.of(id).filter(({ event }) => event === 'token').length, 3);
		client.say({ op: 'credit', task_id: id, n: 100 });
		await client.until((message) => message.event === 'end');
		assertWhole(client.of(id));
		client.socket.terminate();
	});

	it('cancels: the end says so, nothing follows it, and cancelling again is the same', async () => {
		const client = await SocketClient.open(daemon.url);
		client.say({ op: 'submit', task: { ...task, max_tokens: 50_000 } });
		const { task_id: id = '' } = await client.until((message) => message.event === 'accepted');
		await client.until((message) => message.event === 'token');
		client.say({ op: 'cancel', ref: 'first', task_id: id });
		await client.until((message) => message.ref === 'first');
		const end = await client.until((message) => message.event === 'end');
		assert.equal(end.data?.['canceled'], true);
		client.say({ op: 'cancel', ref: 'second', task_id: id });
		assert.equal((await client.until((message) => message.ref === 'second')).event, 'accepted');
		assert.equal(client.of(id).at(-1)?.event, 'end');
		assertWhole(client.of(id));
		client.socket.terminate();
	});

	it('refuses a bad task as HTTP does, and a known id is the same task', async () => {
		const client = await SocketClient.open(daemon.url);
		client.say({ op: 'submit', ref: 'bad', task: { model_ref: 'scripted:ws', prompt: 'x', max_tokens: 0 } });
		const rejected = await client.until((message) => message.ref === 'bad');
		const http = (await (
			await postJson(daemon.url, '/v2/tasks', { model_ref: 'scripted:ws', prompt: 'x', max_tokens: 0 })
		).json()) as Record<string, unknown>;
		assert.equal(rejected.event, 'rejected');
		assert.deepEqual([rejected.data?.['code'], rejected.data?.['message']], [http['code'], http['message']]);
		const id = crypto.randomUUID();
		for (const ref of ['once', 'twice']) client.say({ op: 'submit', ref, task: { ...task, task_id: id, max_tokens: 5 } });
		for (const ref of ['once', 'twice']) assert.equal((await client.until((message) => message.ref === ref)).task_id, id);
		client.say({ op: 'submit', ref: 'other', task: { ...task, task_id: id, max_tokens: 6 } });
		assert.equal((await client.until((message) => message.ref === 'other')).data?.['code'], 'CONFLICT');
		client.socket.terminate();
	});

	it('counts a submit as a watcher: when its socket goes, on_disconnect acts', async () => {
		const client = await SocketClient.open(daemon.url);
		client.say({ op: 'submit', task: { ...task, max_tokens: 50_000, on_disconnect: 'cancel' } });
		const { task_id: id = '' } = await client.until((message) => message.event === 'accepted');
		await client.until((message) => message.event === 'token');
		client.socket.terminate();
		const deadline = performance.now() + 20_000;
		for (;;) {
			const { state } = (await (await fetch(`${daemon.url}/v2/tasks/${id}`)).json()) as { readonly state: string };
			if (state === 'canceled') return;
			assert.equal(state, 'running');
			assert.ok(performance.now() < deadline, 'its task still runs');
			await new Promise((resolve) => setTimeout(resolve, 50));
		}
	});

	it('keeps a client that never reads waiting, at a bounded cost; reading on it gets every token in order', async () => {
		const client = await SocketClient.open(daemon.url);
		client.say({ op: 'submit', ref: 'slow', task: { model_ref: 'scripted:flood', prompt: 'x', max_tokens: 60_000 } });
		const { task_id: id = '' } = await client.until((message) => message.event === 'accepted');
		client.socket.pause();
		await (await Watch.open(daemon.url, id)).all();
		client.socket.resume();
		await client.until((message) => message.event === 'end');
		const events = client.of(id);
		assertWhole(events);
		assert.ok(
			events.some(({ data }) => data?.['batch'] !== undefined),
			'it was behind: its tokens are merged',
		);
		client.socket.terminate();
	});

	it('closes with 1008 after a hundred malformed messages and with 1009 after one that is too long', async () => {
		const rude = await SocketClient.open(daemon.url);
		for (let count = 0; count < 99; count++) rude.say('{"op":');
		rude.say({ op: 'ping' });
		await rude.until((message) => message.event === 'pong');
		rude.socket.send(Buffer.from([1, 2, 3]));
		assert.equal(await rude.closed, 1008);
		const long = await SocketClient.open(daemon.url);
		long.say('x'.repeat(65_537));
		assert.equal(await long.closed, 1009);
		const longer = await SocketClient.open(daemon.url);
		longer.say('x'.repeat(10_000_000));
		assert.ok([1006, 1009].includes(await longer.closed));
	});

	it('takes a message in fragments, and many at once', async () => {
		const client = await SocketClient.open(daemon.url);
		client.socket.send('{"op":"pi', { fin: false });
		client.socket.send('ng","ref":"f"}', { fin: true });
		await client.until((message) => message.ref === 'f');
		for (let count = 0; count < 2_000; count++) client.say({ op: 'ping', ref: `p${count}` });
		await client.until((message) => message.ref === 'p1999');
		client.socket.terminate();
	});

	it('refuses foreign pages, other paths and other subprotocols before the upgrade, with the envelope', async () => {
		const foreign = await refused(new SocketClient(daemon.url, { headers: { origin: 'https://evil.example' } }));
		assert.equal(foreign.status, 403);
		assert.match(String(foreign.headers['x-correlation-id']), /^[0-9a-f-]{36}$/);
		assert.equal((await refused(new SocketClient(daemon.url, { protocol: 'soap' }))).status, 400);
		const elsewhere = new WebSocket(`${daemon.url.replace('http', 'ws')}/v2/tasks`);
		const [, response] = (await once(elsewhere, 'unexpected-response')) as [unknown, { statusCode: number; resume(): void }];
		assert.equal(response.statusCode, 404);
		response.resume();
		const given = new SocketClient(daemon.url, { headers: { 'x-correlation-id': 'mine' } });
		const [upgrade] = (await once(given.socket, 'upgrade')) as [{ headers: Record<string, string> }];
		assert.equal(upgrade.headers['x-correlation-id'], 'mine');
		given.socket.terminate();
	});

	it('frees every watcher when sockets go', async () => {
		const deadline = performance.now() + 10_000;
		for (;;) {
			const metrics = await (await fetch(`${daemon.url}/metrics`)).text();
			if (/^ws_watchers(\{\})? 0$/m.test(metrics) && /^ws_sockets(\{\})? 0$/m.test(metrics)) return;
			assert.ok(performance.now() < deadline, 'watchers are left');
			await new Promise((resolve) => setTimeout(resolve, 100));
		}
	});
});
