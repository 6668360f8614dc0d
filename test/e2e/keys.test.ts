/**
 * Keys of a real daemon with two front threads: whose tasks each sees on whichever front, a rate that is one rate over both, the
 * command line with a key, and that nothing of a key is ever printed.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createServer } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { postJson, Watch } from './client.ts';
import { binary, type Daemon, startDaemon } from './daemon.ts';
import { FrontConnection } from './front-connection.ts';
import { planted, remember } from './leaks.ts';

type Json = Record<string, unknown>;

function newKey(): string {
	const key = planted('key');
	remember('a key', key);
	return key;
}

const keys = { anna: newKey(), ben: newKey(), boss: newKey(), slow: newKey(), rack: newKey(), hop: newKey() };
const digestOf = (key: string): string => createHash('sha256').update(key).digest('hex');
const as = (name: keyof typeof keys): Record<string, string> => ({ authorization: `Bearer ${keys[name]}` });
const task = { model_ref: 'scripted:demo', prompt: planted('prompt'), max_tokens: 2 };

describe('a daemon with keys', () => {
	let daemon: Daemon;
	before(async () => {
		const scripted = { prefill_tokens_per_s: 1e6, decode_tokens_per_s: 200, tokens: 100, text: 'echo' };
		daemon = await startDaemon({
			fronts: 2,
			config: {
				pools: [
					{ id: 'demo', engine: 'scripted', model: 'scripted:demo', slots: 4, scripted },
					{
						id: 'racks',
						engine: 'openai',
						provider: 'external',
						workers: true,
						model: 'scripted:demo',
						key_env: 'RACK_KEY',
						aliases: ['far'],
					},
				],
				auth: {
					keys: [
						{ name: 'anna', sha256: digestOf(keys.anna), tenant: 'a' },
						{ name: 'ben', sha256: digestOf(keys.ben), tenant: 'b' },
						{ name: 'boss', sha256: digestOf(keys.boss), roles: ['operator'] },
						{ name: 'hop', sha256: digestOf(keys.hop), tenant: 'h' },
						{ name: 'rack', sha256: digestOf(keys.rack), roles: ['worker'] },
						{ name: 'slow', sha256: digestOf(keys.slow), tenant: 's', rate: { requests_per_minute: 1, burst: 7 } },
					],
				},
			},
			env: { RACK_KEY: keys.hop },
			// One pool has nobody yet.
			ready: /"event":"replica-ready".*"pool_id":"demo"/,
		});
	});
	after(() => daemon.stop());

	it('takes an engine that registers itself with the key of a worker, and serves from it', async () => {
		// Any OpenAI endpoint will do: this daemon is one.
		const worker = { pool_id: 'racks', replica_id: 'rack-7', engine: 'openai', url: daemon.url, slots: 2 };
		const refused = await postJson(daemon.url, '/v2/workers/register', { ...worker, url: 'http://me:secret@10.0.0.7' }, as('rack'));
		assert.deepEqual([refused.status, ((await refused.json()) as Json)['code']], [400, 'INVALID_PARAMS']);
		for (let times = 0; times < 2; times += 1) {
			const answer = await postJson(daemon.url, '/v2/workers/register', worker, as('rack'));
			assert.deepEqual([answer.status, await answer.json()], [202, { pool_id: 'racks', replica_id: 'rack-7', slots: 2 }]);
		}
		await daemon.said(/"event":"replica-ready".*"replica_id":"rack-7"/);
		const answer = await postJson(daemon.url, '/v2/tasks', { ...task, model_ref: 'far', max_tokens: 3 }, as('anna'));
		const { task_id: id, pool_id: poolId } = (await answer.json()) as { task_id: string; pool_id: string };
		assert.equal(poolId, 'racks');
		const result = (await (await fetch(`${daemon.url}/v2/tasks/${id}/result`, { headers: as('anna') })).json()) as Json;
		assert.deepEqual([result['tokens_out'], result['finish_reason'], result['replica_id']], [3, 'length', 'rack-7']);
	});

	it('keeps tenants apart, whichever front has the task and whichever is asked', async () => {
		const connections = [
			await FrontConnection.open(daemon.url, 0, 'demo', as('anna')),
			await FrontConnection.open(daemon.url, 1, 'demo', as('anna')),
		];
		const [here, there] = connections as [FrontConnection, FrontConnection];
		const { task_id: id } = (await (await postJson(here, '/v2/tasks', task, as('anna'))).json()) as { task_id: string };
		for (const connection of connections) {
			for (const way of ['', '/events', '/result', '/explain']) {
				const foreign = await connection.request(`/v2/tasks/${id}${way}`, { headers: as('ben') });
				assert.deepEqual([foreign.status, ((await foreign.json()) as Json)['code']], [404, 'NOT_FOUND'], way);
				const none = await connection.request(`/v2/tasks/${id}${way}`);
				assert.deepEqual([none.status, ((await none.json()) as Json)['code']], [401, 'UNAUTHORIZED'], way);
			}
			const listed = (await (await connection.request('/v2/tasks', { headers: as('ben') })).json()) as { tasks: Json[] };
			assert.deepEqual(listed.tasks, []);
			const all = (await (await connection.request('/v2/tasks', { headers: as('boss') })).json()) as { tasks: Json[] };
			assert.ok(all.tasks.some((each) => each['task_id'] === id && each['tenant'] === 'a'));
		}
		const result = await there.request(`/v2/tasks/${id}/result`, { headers: as('anna') });
		assert.equal(((await result.json()) as Json)['finish_reason'], 'length');
		// The same id from another tenant is neither its task nor a second run.
		const again = await postJson(there, '/v2/tasks', { ...task, task_id: id }, as('ben'));
		assert.deepEqual([again.status, ((await again.json()) as Json)['code']], [409, 'CONFLICT']);
		for (const connection of connections) connection.close();
	});

	it('has one rate for a key, over all fronts and connections, and says when to come again', async () => {
		const answers = await Promise.all(
			Array.from({ length: 24 }, async () => {
				const answer = await postJson(daemon.url, '/v2/tasks', task, { ...as('slow'), connection: 'close' });
				return { status: answer.status, retryAfter: Number(answer.headers.get('retry-after')), body: (await answer.json()) as Json };
			}),
		);
		const taken = answers.filter(({ status }) => status === 202);
		const fronts = new Set(taken.map(({ body }) => String(body['task_id']).slice(-2)));
		assert.equal(taken.length, 7, `taken by fronts ${[...fronts].join(', ')}`);
		for (const { status, retryAfter, body } of answers.filter((each) => each.status !== 202)) {
			assert.deepEqual([status, body['code'], body['policy_label'], body['retriable']], [429, 'ADMISSION_REJECT', 'rate', true]);
			assert.ok(
				Number(body['retry_after_ms']) > 50_000 && Number(body['retry_after_ms']) <= 60_000 && retryAfter === 30,
				JSON.stringify(body),
			);
		}
		// What has its 202 already is no new request.
		const [first] = taken;
		const again = await fetch(`${daemon.url}/v2/tasks/${String(first?.body['task_id'])}`, { headers: as('slow') });
		assert.equal(again.status, 200);
		await again.body?.cancel();
		assert.equal((await postJson(daemon.url, '/v2/tasks', task, as('anna'))).status, 202);
	});

	it('serves the command line that has a key', async () => {
		const child = spawn(process.execPath, [binary, 'run', '--url', daemon.url, '-m', 'demo', '-n', '3', planted('prompt')], {
			env: { ...process.env, ORCHD_API_KEY: keys.anna },
		});
		let said = '';
		for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (said += text));
		const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
		assert.equal(code, 0, said);
	});

	it('refuses an unknown key over an event stream, and logs the beginning of its digest alone', async () => {
		const unknown = newKey();
		await assert.rejects(Watch.open(daemon.url, crypto.randomUUID()), /401/);
		const answer = await fetch(`${daemon.url}/v2/tasks/${crypto.randomUUID()}/events`, { headers: { 'x-api-key': unknown } });
		assert.equal(answer.status, 401);
		await answer.body?.cancel();
		await daemon.said(new RegExp(`"fingerprint":"${digestOf(unknown).slice(0, 6)}"`));
	});

	it('fetches nothing that a task or a pool is told to (server-side request forgery), and no client may tell a pool', async () => {
		let asked = 0;
		const server = createServer((socket) => {
			asked += 1;
			socket.destroy();
		});
		await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
		const { port } = server.address() as { port: number };
		const refs = [
			`http://127.0.0.1:${port}/m.gguf`,
			`https://127.0.0.1:${port}/m.gguf`,
			`oci://127.0.0.1:${port}/m:latest`,
			'file:///etc/passwd',
			'http://169.254.169.254/',
		];
		for (const ref of refs) {
			for (const name of ['anna', 'boss'] as const) {
				const answer = await postJson(daemon.url, '/v2/tasks', { ...task, model_ref: ref }, as(name));
				assert.ok([400, 404].includes(answer.status), `${ref}: ${answer.status}`);
				const told = await postJson(daemon.url, '/v2/pools/demo/reload', { new_model_ref: ref }, as(name));
				// For an operator it is tried, and fails in the engine: this daemon fetches no models.
				assert.ok((name === 'anna' ? [403] : [202, 400, 409]).includes(told.status), `${ref}: ${await told.text()}`);
			}
			const worker = { pool_id: 'demo', replica_id: 'x', engine: 'openai', url: ref, slots: 1 };
			assert.equal((await postJson(daemon.url, '/v2/workers/register', worker, as('boss'))).status, 403);
		}
		server.close();
		assert.equal(asked, 0);
	});
});
