/** Queues and pools of a real daemon over HTTP: full queues, fairness, explain and preview, drain and undrain. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { checkOrder, pieces, postJson, submit, Watch } from './client.ts';
import { type Daemon, startDaemon } from './daemon.ts';

type Json = Record<string, unknown>;

function pool(id: string, more: Json = {}): Json {
	const scripted = { prefill_tokens_per_s: 1e6, decode_tokens_per_s: 200, tokens: 20 };
	return { id, engine: 'scripted', model: `scripted:${id}`, slots: 1, scripted, ...more };
}

const endless = { prefill_tokens_per_s: 1e6, decode_tokens_per_s: 50, tokens: 100_000 };

async function getJson(daemon: Daemon, path: string, status = 200): Promise<Json> {
	const response = await fetch(`${daemon.url}${path}`);
	assert.equal(response.status, status, path);
	return (await response.json()) as Json;
}

async function post(daemon: Daemon, path: string, body: unknown, status: number): Promise<Json> {
	const response = await postJson(daemon.url, path, body);
	const text = await response.text();
	assert.equal(response.status, status, text);
	return text === '' ? {} : (JSON.parse(text) as Json);
}

describe('a full queue', () => {
	let daemon: Daemon;
	before(async () => {
		const small = (policy: string) => ({ max_tokens_out: 100_000, scripted: endless, queue: { capacity: 2, full_policy: policy } });
		daemon = await startDaemon({
			config: {
				pools: [pool('reject', small('reject')), pool('drop', small('drop-lru')), pool('shed', small('shed-low-priority'))],
				// What runs there never ends by itself.
				shutdown: { grace_ms: 100 },
			},
		});
	});
	after(() => daemon.stop());

	const fill = async (id: string, ...priorities: string[]): Promise<string[]> => {
		const ids: string[] = [];
		for (const priority of ['interactive', ...priorities]) {
			const { task_id: taskId } = await submit(daemon.url, { model_ref: id, prompt: 'x', priority });
			ids.push(taskId);
		}
		return ids;
	};
	const endOf = async (id: string): Promise<Json | undefined> => (await (await Watch.open(daemon.url, id)).all()).at(-1)?.data;

	it('rejects, and says when to come back, in the body and in both headers', async () => {
		await fill('reject', 'interactive', 'batch');
		const response = await postJson(daemon.url, '/v2/tasks', { model_ref: 'reject', prompt: 'x' });
		const body = (await response.json()) as Json;
		assert.deepEqual([response.status, body['code'], body['policy_label'], body['retriable']], [429, 'ADMISSION_REJECT', 'reject', true]);
		const backoffMs = Number(body['retry_after_ms']);
		assert.ok(backoffMs > 0);
		assert.equal(response.headers.get('x-backoff-ms'), String(backoffMs));
		assert.equal(response.headers.get('retry-after'), String(Math.ceil(backoffMs / 1000)));
		const streamed = await postJson(daemon.url, '/v2/tasks', { model_ref: 'reject', prompt: 'x' }, { accept: 'text/event-stream' });
		assert.deepEqual([streamed.status, ((await streamed.json()) as Json)['code']], [429, 'ADMISSION_REJECT']);
	});

	it('drops the oldest batch task for a newcomer, which is told in its stream; a batch newcomer drops no interactive one', async () => {
		const [, batch = '', interactive = ''] = await fill('drop', 'batch', 'interactive');
		const newcomer = await submit(daemon.url, { model_ref: 'drop', prompt: 'x' });
		const dropped = await endOf(batch);
		assert.deepEqual([dropped?.['code'], dropped?.['retriable']], ['QUEUE_FULL_DROP_LRU', true]);
		const refused = await post(daemon, '/v2/tasks', { model_ref: 'drop', prompt: 'x', priority: 'batch' }, 429);
		assert.equal(refused['code'], 'QUEUE_FULL_DROP_LRU');
		for (const id of [interactive, newcomer.task_id]) assert.equal((await getJson(daemon, `/v2/tasks/${id}`))['state'], 'queued');
	});

	it('sheds batch tasks for interactive ones only', async () => {
		const [, batch = ''] = await fill('shed', 'batch', 'interactive');
		assert.equal((await post(daemon, '/v2/tasks', { model_ref: 'shed', prompt: 'x', priority: 'batch' }, 429))['code'], 'ADMISSION_REJECT');
		await submit(daemon.url, { model_ref: 'shed', prompt: 'x' });
		assert.equal((await endOf(batch))?.['code'], 'QUEUE_FULL_DROP_LRU');
		assert.equal((await post(daemon, '/v2/tasks', { model_ref: 'shed', prompt: 'x' }, 429))['policy_label'], 'shed-low-priority');
	});
});

describe('several pools', () => {
	let daemon: Daemon;
	before(async () => {
		const shared = { aliases: ['both'] };
		const long = { model: 'scripted:long', ctx: 8_192, max_tokens_out: 8_000, scripted: endless };
		const loads = { scripted: { decode_tokens_per_s: 200, tokens: 20, load_ms: 2_500 } };
		daemon = await startDaemon({
			config: {
				pools: [
					pool('a', { ...shared, slots: 4 }),
					pool('b', shared),
					pool('other'),
					pool('slow', loads),
					pool('long', long),
					pool('twin', long),
				],
			},
		});
	});
	after(() => daemon.stop());

	it('explain and preview tell one decision, with stages that sum to its total', async () => {
		const { task_id: id } = await submit(daemon.url, { model_ref: 'both', prompt: 'x', placement: { prefer_pools: ['b'] } });
		const explained = await getJson(daemon, `/v2/tasks/${id}/explain`);
		const preview = await post(daemon, '/v2/tasks/preview', { model_ref: 'both', prompt: 'x', placement: { avoid_pools: ['a'] } }, 200);
		for (const decision of [explained['decision'], preview['decision']] as Json[]) {
			assert.deepEqual([decision['outcome'], decision['pool_id'], decision['fallback']], ['assigned', 'b', false]);
			const stages = decision['stages'] as { stage: string; us: number }[];
			assert.deepEqual(
				stages.map(({ stage }) => stage),
				['admission', 'feasibility', 'ranking', 'handover'],
			);
			assert.equal(
				stages.reduce((sum, { us }) => sum + us, 0),
				decision['total_us'],
			);
		}
		const reasons = new Map((explained['pools'] as { pool_id: string; reason: string }[]).map((each) => [each.pool_id, each.reason]));
		assert.match(reasons.get('b') ?? '', /chosen because no other pool can take the task/);
		assert.match(reasons.get('a') ?? '', /could have taken the task/);
		assert.match(reasons.get('other') ?? '', /it serves scripted:other, not both/);
		const considered = ((preview['decision'] as Json)['considered'] as Json[]).find((each) => each['pool_id'] === 'a');
		assert.deepEqual(considered?.['refused_for'], { code: 'POOL_UNAVAILABLE', message: 'placement.avoid_pools names a' });
		await (await Watch.open(daemon.url, id)).all();
	});

	it('a drained one loses nothing: what runs there ends there, what waits ends in the other, and it comes back', async () => {
		const watches = [];
		for (let index = 0; index < 40; index += 1) {
			const { task_id: id } = await submit(daemon.url, { model_ref: 'both', prompt: `task ${index}`, seed: 5 });
			watches.push(await Watch.open(daemon.url, id));
		}
		assert.deepEqual(await post(daemon, '/v2/pools/a/drain', { deadline_ms: 20_000 }, 202), {
			pool_id: 'a',
			draining: true,
			deadline_ms: 20_000,
		});
		const health = await getJson(daemon, '/v2/pools/a/health');
		assert.deepEqual([health['live'], health['ready'], health['draining']], [true, false, true]);
		assert.equal((await getJson(daemon, '/v2/pools/a'))['draining'], true);
		const pinned = await post(daemon, '/v2/tasks', { model_ref: 'both', prompt: 'x', placement: { pin_pool_id: 'a' } }, 503);
		assert.deepEqual([pinned['code'], pinned['message']], ['POOL_UNREADY', 'a is draining']);
		for (const watch of watches) {
			const seen = await watch.all();
			checkOrder(seen);
			assert.equal(seen.at(-1)?.name, 'end', JSON.stringify(seen.at(-1)));
			assert.equal(pieces(seen).length, 20);
		}
		assert.equal((await getJson(daemon, '/ready'))['ready'], true);
		assert.deepEqual(await post(daemon, '/v2/pools/a/undrain', {}, 202), { pool_id: 'a', draining: false });
		const back = await submit(daemon.url, { model_ref: 'both', prompt: 'x', placement: { pin_pool_id: 'a' } });
		assert.equal((await (await Watch.open(daemon.url, back.task_id)).all()).at(-1)?.name, 'end');
	});

	it('one that loads its model says when that will be done, and when its tasks start, as its last load had it', async () => {
		while ((await getJson(daemon, '/v2/pools/slow'))['state'] !== 'ready') await new Promise((resolve) => setTimeout(resolve, 20));
		await post(daemon, '/v2/pools/slow/purge', { purge_engine: true, force: true }, 202);
		while ((await getJson(daemon, '/v2/pools/slow'))['state'] === 'ready') await new Promise((resolve) => setTimeout(resolve, 5));
		for (const path of ['/v2/pools/slow', '/v2/pools/slow/health']) {
			const readyInMs = (await getJson(daemon, path))['ready_in_ms'];
			assert.ok(typeof readyInMs === 'number' && readyInMs > 0 && readyInMs < 30_000, `${String(readyInMs)} at ${path}`);
		}
		const preview = await post(daemon, '/v2/tasks/preview', { model_ref: 'slow', prompt: 'x' }, 200);
		const accepted = await post(daemon, '/v2/tasks', { model_ref: 'slow', prompt: 'x' }, 202);
		const watch = await Watch.open(daemon.url, String(accepted['task_id']));
		const late = await post(daemon, '/v2/tasks', { model_ref: 'slow', prompt: 'x', deadline_ms: 100 }, 400);
		assert.equal(late['code'], 'DEADLINE_UNMET');
		for (const told of [preview, accepted]) {
			const [step, ...more] = (told['preparation'] as { steps: Json[] }).steps;
			assert.deepEqual([step?.['kind'], step?.['group'], step?.['status'], more], ['pool_warmup', 'slow', 'running', []]);
			const estimatedMs = Number(step?.['estimated_ms']);
			assert.ok(estimatedMs > 0 && estimatedMs < 30_000, `${estimatedMs}`);
			assert.equal(told['predicted_start_ms'], estimatedMs, 'nothing else is before it');
		}
		const seen = await watch.all();
		const prep = seen[0]?.data['prep'] as Json[] | undefined;
		assert.equal(prep?.[0]?.['id'], 'warmup-slow');
		const task = await getJson(daemon, `/v2/tasks/${String(accepted['task_id'])}`);
		const waitedMs = Number((task['timings'] as Json)['queue_ms']);
		// How near is for a clock that a test moves: test/serving/starting-pool.test.ts. On a busy machine one load is twice another.
		const ratio = Number(accepted['predicted_start_ms']) / waitedMs;
		assert.ok(waitedMs > 500 && ratio > 0.1 && ratio < 10, `${waitedMs}, ${String(accepted['predicted_start_ms'])}`);
	});

	it('a drained one ends at its deadline what no other can go on with, with WORKER_RESET, and serves again when it may', async () => {
		const long = { model_ref: 'scripted:long', prompt: 'x', max_tokens: 5_000 };
		// One that could go on elsewhere, were the other not drained as well, and one that is bound to its slot.
		const bodies = [
			{ ...long, placement: { pin_pool_id: 'long' } },
			{ ...long, determinism: 'strict', placement: { pin_pool_id: 'twin' } },
		];
		const running = await Promise.all(
			bodies.map(async (body) => {
				const { task_id: id } = await submit(daemon.url, body);
				const watch = await Watch.open(daemon.url, id);
				return { id, watch, begun: await watch.until('token') };
			}),
		);
		const drainedAt = performance.now();
		for (const id of ['long', 'twin']) await post(daemon, `/v2/pools/${id}/drain`, { deadline_ms: 500 }, 202);
		for (const { id, watch, begun } of running) {
			const seen = [...begun, ...(await watch.all())];
			checkOrder(seen);
			assert.equal(seen.at(-1)?.data['code'], 'WORKER_RESET', JSON.stringify(seen.at(-1)));
			assert.equal((await getJson(daemon, `/v2/tasks/${id}/result`, 502))['code'], 'WORKER_RESET');
		}
		assert.ok(performance.now() - drainedAt >= 490, 'not before its deadline');
		for (const id of ['long', 'twin']) {
			await post(daemon, `/v2/pools/${id}/undrain`, {}, 202);
			const { task_id: next } = await submit(daemon.url, { ...long, max_tokens: 3, placement: { pin_pool_id: id } });
			assert.equal((await (await Watch.open(daemon.url, next)).all()).at(-1)?.name, 'end', 'its one slot is free');
		}
	});

	it('names what is wrong with an order', async () => {
		assert.equal((await post(daemon, '/v2/pools/nowhere/drain', {}, 404))['code'], 'NOT_FOUND');
		assert.match(String((await post(daemon, '/v2/pools/a/drain', { deadline_ms: -1 }, 400))['message']), /deadline_ms is -1/);
		assert.match(String((await post(daemon, '/v2/pools/a/drain', { deadline: 1 }, 400))['message']), /deadline/);
		assert.match(String((await post(daemon, '/v2/pools/a/undrain', { now: true }, 400))['message']), /now/);
		assert.equal((await fetch(`${daemon.url}/v1/replicasets`)).status, 404);
	});
});
