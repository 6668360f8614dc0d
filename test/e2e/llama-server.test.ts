/** A daemon in front of llama-servers: tasks that are cancelled, whose engine dies or stalls, that rank; and an endpoint behind TLS. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { FakeLlamaServer } from '../engines/fakes/fake-llama-server.ts';
import { FakeOpenai } from '../engines/fakes/fake-openai.ts';
import { submit, Watch } from './client.ts';
import { type Daemon, repository, startDaemon } from './daemon.ts';

const pem = join(repository, 'test/fixtures/localhost.pem');
const key = 'sk-very-secret';

describe('a daemon in front of llama-servers', () => {
	const endless = { stepMs: 2, endsAfter: 1_000_000, whole: true };
	const alone = new FakeLlamaServer({ ...endless, slots: 1 });
	const pair = [new FakeLlamaServer({ ...endless, slots: 1 }), new FakeLlamaServer({ ...endless, slots: 1 })] as const;
	const ranks = new FakeLlamaServer({ mode: 'rerank' });
	const tls = readFileSync(pem, 'utf8');
	const secure = new FakeOpenai({ tls: { key: tls, cert: tls } });
	const fakes = [alone, ...pair, ranks, secure];
	let daemon: Daemon;
	const until = async (reached: () => boolean): Promise<void> => {
		while (!reached()) await new Promise(setImmediate);
	};
	const result = async (id: string): Promise<Record<string, unknown>> =>
		(await (await fetch(`${daemon.url}/v2/tasks/${id}/result`)).json()) as Record<string, unknown>;

	before(async () => {
		for (const { server } of fakes) server.key = key;
		const [aloneUrl, firstUrl, secondUrl, ranksUrl, secureUrl] = await Promise.all(fakes.map(({ server }) => server.listen()));
		const common = { engine: 'llamacpp', provider: 'external', key_env: 'LLAMA_KEY', slots: 1 };
		daemon = await startDaemon({
			args: ['--log-level', 'debug'],
			config: {
				pools: [
					{ ...common, id: 'alone', url: aloneUrl, timeouts: { idle_ms: 400 } },
					{ ...common, id: 'pair', url: [firstUrl, secondUrl] },
					{ ...common, id: 'ranks', url: ranksUrl },
					{ ...common, id: 'secure', engine: 'openai', url: secureUrl?.replace('http:', 'https:') },
				],
			},
			env: { LLAMA_KEY: key, NODE_EXTRA_CA_CERTS: pem },
		});
	});
	after(async () => {
		for (const { server } of fakes) await server.close();
	});

	it('frees the engine of a task that is cancelled: its connection is closed, and its slot serves the next', async () => {
		const { task_id: id } = await submit(daemon.url, { model_ref: 'alone', prompt: 'Once', raw: true, max_tokens: 1_000 });
		const watch = await Watch.open(daemon.url, id);
		await watch.until('token');
		assert.equal(alone.slots.busy, 1);
		const left = alone.server.left.length;
		const from = performance.now();
		assert.equal((await fetch(`${daemon.url}/v2/tasks/${id}/cancel`, { method: 'POST' })).status, 204);
		await until(() => alone.slots.busy === 0);
		assert.ok(performance.now() - from < 1_000);
		assert.equal(alone.server.left.length, left + 1);
		assert.equal((await watch.all()).at(-1)?.data['canceled'], true);
		const { task_id: next } = await submit(daemon.url, { model_ref: 'alone', prompt: 'Once', raw: true, max_tokens: 4 });
		assert.equal((await result(next))['tokens_out'], 4);
	});

	it('goes on in another engine, at the next token, when one dies', async () => {
		const task = { model_ref: 'pair', prompt: 'Once upon', raw: true, max_tokens: 200, sampling: { temperature: 0 } };
		const { task_id: id } = await submit(daemon.url, task);
		const watch = await Watch.open(daemon.url, id);
		await watch.until('token');
		const busy = pair.find(({ slots }) => slots.busy > 0);
		assert.ok(busy !== undefined);
		busy.server.kill();
		const seen = await watch.all();
		assert.deepEqual([seen.at(-1)?.name, seen.at(-1)?.data['tokens_out']], ['end', 200]);
		const { task_id: whole } = await submit(daemon.url, task);
		assert.equal((await result(whole))['text'], (await result(id))['text'], 'as one engine says it');
	});

	it('ends a task whose engine stalls with DECODE_TIMEOUT, and frees it', async () => {
		alone.server.fault({ kind: 'cut', afterEvents: 3, ending: 'hold' }, /^\/completion$/);
		const { task_id: id } = await submit(daemon.url, { model_ref: 'alone', prompt: 'Once', raw: true, max_tokens: 1_000 });
		const seen = await (await Watch.open(daemon.url, id)).all();
		assert.deepEqual([seen.at(-1)?.name, seen.at(-1)?.data['code']], ['error', 'DECODE_TIMEOUT']);
		await until(() => alone.slots.busy === 0);
	});

	it('ranks texts by a query', async () => {
		const task = { model_ref: 'ranks', workload: 'rerank', query: 'fox', inputs: ['no', 'a fox ran', 'nothing'] };
		const { task_id: id } = await submit(daemon.url, task);
		const { scores, vectors, text } = await result(id);
		assert.deepEqual([scores, vectors, text], [[-0.5, 4.25, -1.75], undefined, undefined]);
	});

	it('speaks to an endpoint behind TLS', async () => {
		const { task_id: id } = await submit(daemon.url, { model_ref: 'secure', prompt: 'Once', max_tokens: 5 });
		assert.equal((await result(id))['tokens_out'], 5);
	});

	it('has asked as llama-server specifies, and written no key or prompt anywhere', async () => {
		const pools = await (await fetch(`${daemon.url}/v2/pools`)).text();
		assert.equal(await daemon.stop(), 0);
		assert.doesNotMatch(daemon.output() + pools, /very-secret|Once upon|a fox ran/);
		for (const { server } of fakes) assert.deepEqual(server.strayed, []);
	});
});
