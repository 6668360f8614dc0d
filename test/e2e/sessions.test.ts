/** Sessions and budgets of a real daemon, over HTTP, event streams and a WebSocket. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { checkOrder, pieces, postJson, submit, Watch } from './client.ts';
import { type Daemon, startDaemon } from './daemon.ts';

type Json = Record<string, unknown>;

describe('sessions', () => {
	let daemon: Daemon;
	before(async () => {
		daemon = await startDaemon({
			config: {
				pools: [
					{
						id: 'demo',
						engine: 'scripted',
						model: 'scripted:demo',
						slots: 4,
						price: { per_1k_tokens_in: 1, per_1k_tokens_out: 2 },
						scripted: { prefill_tokens_per_s: 1e6, decode_tokens_per_s: 200, tokens: 100 },
					},
					{
						id: 'breaks',
						engine: 'scripted',
						model: 'scripted:breaks',
						migration: 'off',
						scripted: { decode_tokens_per_s: 200, tokens: 100, faults: [{ kind: 'error', after_tokens: 5 }] },
					},
					// Two devices that no tool here knows: it counts as keeping both busy.
					{ id: 'gpus', engine: 'scripted', model: 'scripted:gpus', devices: [0, 1], scripted: { decode_tokens_per_s: 200, tokens: 60 } },
				],
				sessions: { turns_max: 3 },
			},
		});
	});
	after(() => daemon.stop());

	async function session(id: string, init: RequestInit = {}): Promise<{ readonly status: number; readonly body: Json }> {
		const response = await fetch(`${daemon.url}/v2/sessions/${id}`, init);
		const text = await response.text();
		return { status: response.status, body: text === '' ? {} : (JSON.parse(text) as Json) };
	}
	/** Once it is more: the settlement comes behind the end. */
	async function leftOf(id: string, field: string, more: number): Promise<number> {
		for (let look = 0; ; look += 1) {
			const left = Number((await session(id)).body[field]);
			if (left > more || look > 300) return left;
			await new Promise((resolve) => setTimeout(resolve, 10));
		}
	}
	const put = (id: string, budgets: Json) =>
		session(id, { method: 'PUT', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ budgets }) });
	const body = (id: string, more: Json = {}): Json => ({ model_ref: 'scripted:demo', prompt: 'one two three', session_id: id, ...more });

	it('are there from their first use, count turns, and are forgotten when told to', async () => {
		const id = crypto.randomUUID();
		assert.equal((await session(id)).status, 404);
		for (let turn = 0; turn < 3; turn += 1) await submit(daemon.url, body(id, { max_tokens: 2 }));
		const seen = (await session(id)).body;
		assert.deepEqual([seen['session_id'], seen['turns'], seen['tokens_budget_remaining']], [id, 3, null]);
		assert.ok(Number(seen['ttl_ms_remaining']) > 590_000);
		assert.equal(seen['kv_warmth'], true);
		const refused = await postJson(daemon.url, '/v2/tasks', body(id));
		const envelope = (await refused.json()) as Json;
		assert.deepEqual([refused.status, envelope['code'], envelope['policy_label']], [400, 'INVALID_PARAMS', 'session.turns']);
		assert.equal((await session(id, { method: 'DELETE' })).status, 204);
		assert.equal((await session(id)).status, 404);
		assert.ok(!JSON.stringify(seen).includes('three'));
	});

	it('never use more than their budget, however many tasks come at once, and get back what was not used', async () => {
		const id = crypto.randomUUID();
		assert.equal((await put(id, { tokens: 120 })).body['tokens_budget_remaining'], 120);
		await session(id, { method: 'DELETE' });
		await put(id, { tokens: 120 });
		const answers = await Promise.all(
			Array.from({ length: 8 }, (_, index) => postJson(daemon.url, '/v2/tasks', body(id, { max_tokens: 40, seed: index }))),
		);
		const statuses = answers.map(({ status }) => status);
		const taken = answers.filter(({ status }) => status === 202);
		assert.equal(taken.length, 2, statuses.join());
		for (const answer of answers) {
			const json = (await answer.json()) as Json;
			if (answer.status !== 202) assert.deepEqual([answer.status, json['policy_label']], [429, 'budget.tokens']);
			else assert.equal(answer.headers.get('x-budget-tokens-remaining'), String(json['tokens_budget_remaining']));
			if (answer.status === 202) await (await Watch.open(daemon.url, String(json['task_id']))).all();
		}
		const left = Number((await session(id)).body['tokens_budget_remaining']);
		assert.ok(left >= 0 && left < 40, `${left}`);
	});

	it('cut an answer that nobody has bounded where the budget ends', async () => {
		const id = crypto.randomUUID();
		await put(id, { tokens: 30 });
		const accepted = await submit(daemon.url, body(id));
		const seen = await (await Watch.open(daemon.url, accepted.task_id)).all();
		checkOrder(seen);
		const end = seen.at(-1)?.data;
		assert.equal(end?.['finish_reason'], 'length');
		assert.equal(Number(end?.['tokens_in']) + Number(end?.['tokens_out']), 30);
		assert.equal(pieces(seen).length, Number(end?.['tokens_out']));
		assert.equal((await session(id)).body['tokens_budget_remaining'], 0);
	});

	it('say the same in headers, in the 202, in metrics events and over a WebSocket', async () => {
		const id = crypto.randomUUID();
		await put(id, { tokens: 500, time_ms: 900_000, cost: 3 });
		const streamed = await postJson(daemon.url, '/v2/tasks', body(id, { max_tokens: 60 }), { accept: 'text/event-stream' });
		const text = await streamed.text();
		const metrics = [...text.matchAll(/event: metrics\ndata: (.*)/g)].map(([, data]) => JSON.parse(data ?? '') as Json);
		assert.ok(metrics.length > 0);
		for (const each of metrics) {
			assert.equal(String(each['tokens_budget_remaining']), streamed.headers.get('x-budget-tokens-remaining'));
			assert.equal(String(each['time_budget_remaining_ms']), streamed.headers.get('x-budget-time-remaining-ms'));
			assert.equal(String(each['cost_budget_remaining']), streamed.headers.get('x-budget-cost-remaining'));
		}
		const socket = new WebSocket(`${daemon.url.replace('http', 'ws')}/v2/ws`, 'orchestratord.v2');
		await once(socket, 'open');
		socket.send(JSON.stringify({ op: 'submit', ref: 'a', task: body(id, { max_tokens: 1 }) }));
		const [message] = (await once(socket, 'message')) as [Buffer];
		const accepted = JSON.parse(message.toString()) as { event: string; data: Json };
		assert.equal(accepted.event, 'accepted');
		assert.ok(Number(accepted.data['tokens_budget_remaining']) > 400);
		socket.close();
		const unlimited = await postJson(daemon.url, '/v2/tasks', { model_ref: 'scripted:demo', prompt: 'x', max_tokens: 1 });
		assert.equal(unlimited.headers.get('x-budget-tokens-remaining'), null);
		await unlimited.arrayBuffer();
	});

	it('settle a cancelled task by what it had used', async () => {
		const id = crypto.randomUUID();
		await put(id, { tokens: 200, cost: 1 });
		const { task_id: taskId } = await submit(daemon.url, body(id, { max_tokens: 90 }));
		const watch = await Watch.open(daemon.url, taskId);
		await watch.until('token');
		assert.equal((await postJson(daemon.url, `/v2/tasks/${taskId}/cancel`, {})).status, 204);
		const end = (await watch.all()).at(-1)?.data;
		for (let look = 0; look < 200; look += 1) {
			const { tokens_budget_remaining: left } = (await session(id)).body;
			if (Number(left) > 110) break;
			await new Promise((resolve) => setTimeout(resolve, 10));
		}
		const { tokens_budget_remaining: left, cost_budget_remaining: cost } = (await session(id)).body;
		const used = Number(end?.['tokens_in'] ?? 0) + Number(end?.['tokens_out'] ?? 0);
		assert.ok(Math.abs(Number(left) - (200 - used)) <= 10, `${String(left)} of 200, ${used} used`);
		assert.ok(Number(cost) > 0.8 && Number(cost) < 1, String(cost));
	});

	it('say what is left to every watcher of the stream, early or late, and 0 where nothing is', async () => {
		const id = crypto.randomUUID();
		await put(id, { tokens: 20 });
		const accepted = await postJson(daemon.url, '/v2/tasks', body(id));
		assert.equal(accepted.headers.get('x-budget-tokens-remaining'), '0', 'all of it is reserved');
		assert.equal(accepted.headers.get('x-budget-cost-remaining'), null);
		const { task_id: taskId, tokens_budget_remaining: left } = (await accepted.json()) as Json;
		assert.equal(left, 0);
		for (const when of ['early', 'late']) {
			const stream = await fetch(`${daemon.url}/v2/tasks/${String(taskId)}/events`);
			assert.equal(stream.headers.get('x-budget-tokens-remaining'), '0', when);
			const text = await stream.text();
			for (const [, data] of text.matchAll(/event: metrics\ndata: (.*)/g))
				assert.equal((JSON.parse(data ?? '') as Json)['tokens_budget_remaining'], 0, when);
		}
	});

	it('settle a task that fails by what it had used', async () => {
		const id = crypto.randomUUID();
		await put(id, { tokens: 200 });
		const { task_id: taskId } = await submit(daemon.url, body(id, { model_ref: 'scripted:breaks', max_tokens: 90 }));
		const seen = await (await Watch.open(daemon.url, taskId)).all();
		assert.equal(seen.at(-1)?.name, 'error');
		const left = await leftOf(id, 'tokens_budget_remaining', 110);
		assert.ok(left >= 200 - 15 && left <= 200 - 5, `${left}: five of answer, and the prompt`);
	});

	it('end a run that has used the time that was left, and take in no other', async () => {
		const id = crypto.randomUUID();
		await put(id, { time_ms: 200 });
		const accepted = await postJson(daemon.url, '/v2/tasks', body(id));
		assert.equal(accepted.headers.get('x-budget-time-remaining-ms'), '0');
		const seen = await (await Watch.open(daemon.url, String(((await accepted.json()) as Json)['task_id']))).all();
		assert.equal(seen.at(-1)?.data['code'], 'DECODE_TIMEOUT');
		assert.ok(pieces(seen).length > 5 && pieces(seen).length < 90, `${pieces(seen).length} of 100 tokens at 5 ms each`);
		assert.equal(await leftOf(id, 'time_budget_remaining_ms', -1), 0);
		const refused = await postJson(daemon.url, '/v2/tasks', body(id));
		assert.deepEqual([refused.status, ((await refused.json()) as Json)['policy_label']], [429, 'budget.time']);
	});

	it('count the time of each device that a task keeps busy', async () => {
		const id = crypto.randomUUID();
		await put(id, { gpu_ms: 60_000 });
		const { task_id: taskId } = await submit(daemon.url, body(id, { model_ref: 'scripted:gpus' }));
		await (await Watch.open(daemon.url, taskId)).all();
		const left = await leftOf(id, 'gpu_budget_remaining_ms', 1_000);
		// 60 tokens of 5 ms, on two devices.
		assert.ok(left <= 60_000 - 2 * 290 && left > 50_000, `${left}`);
	});

	it('name what is wrong with a request', async () => {
		const id = crypto.randomUUID();
		assert.match(String((await put(id, { tokens: -1 })).body['message']), /budgets\.tokens is -1/);
		assert.match(String((await put(id, { dollars: 1 })).body['message']), /dollars/);
		assert.equal((await put('not-a-uuid', { tokens: 1 })).status, 404);
		assert.equal((await put(id, { tokens: 0 })).status, 200);
		const refused = await postJson(daemon.url, '/v2/tasks', body(id));
		assert.equal(refused.status, 429);
		assert.ok(refused.headers.get('retry-after') !== null);
		await refused.arrayBuffer();
	});
});
