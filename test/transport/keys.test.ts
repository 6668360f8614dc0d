/** What a daemon with keys lets whom do, over real sockets: who needs a key, what its role allows, whose tasks it sees. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { WebSocket } from 'ws';
import type { AuthSettings, KeySettings } from '../../src/transport/auth/key-ring.ts';
import type { Role } from '../../src/transport/auth/principal.ts';
import { taskRequest } from './fake-task.ts';
import { startFront, type TestFront } from './test-front.ts';

const keys = { anna: 'key-of-anna', ben: 'key-of-ben', boss: 'key-of-boss', worker: 'key-of-worker' } as const;
type Name = keyof typeof keys;
const digestOf = (key: string): string => createHash('sha256').update(key).digest('hex');

function settings(name: Name, tenant: string, roles: readonly Role[]): KeySettings {
	return { name, sha256: digestOf(keys[name]), tenant, roles };
}

const auth: AuthSettings = {
	publicMetrics: false,
	keys: [
		settings('anna', 'a', ['client']),
		settings('ben', 'b', ['client']),
		settings('boss', 'c', ['operator']),
		settings('worker', 'w', ['worker']),
	],
};
const bearer = (name: Name): Readonly<Record<string, string>> => ({ authorization: `Bearer ${keys[name]}` });
const ids = { a: '01890a5d-ac96-774b-bcce-b302099a8057', b: '01890a5d-ac96-774b-bcce-b302099a8058' };
const session = '01890a5d-ac96-774b-bcce-b302099a8059';
const least = { model_ref: 'default', prompt: 'hello, you there' };
const operatorPaths = ['drain', 'undrain', 'reload', 'purge'].map((act) => ['POST', `/v2/pools/p1/${act}`] as const);
const clientPaths = [
	['GET', '/v2/tasks'],
	['POST', '/v2/tasks'],
	['POST', '/v2/tasks/preview'],
	['POST', '/v2/tokenize'],
	['GET', `/v2/tasks/${ids.a}`],
	['GET', `/v2/tasks/${ids.a}/events`],
	['GET', `/v2/tasks/${ids.a}/result`],
	['GET', `/v2/tasks/${ids.a}/explain`],
	['DELETE', `/v2/tasks/${ids.a}`],
	['GET', `/v2/sessions/${session}`],
	['GET', '/v2/pools'],
	['GET', '/v2/meta/capabilities'],
	['GET', '/openapi.json'],
	['GET', '/metrics'],
] as const;

for (const host of ['uws', 'node'] as const) {
	describe(`keys, over ${host}`, () => {
		let front: TestFront;
		before(async () => {
			front = await startFront({ auth }, undefined, host);
			for (const tenant of ['a', 'b'] as const) front.tasks.add(taskRequest({ taskId: ids[tenant], tenant })).start();
		});
		after(() => front.close());

		const call = (method: string, path: string, headers: Readonly<Record<string, string>> = {}, body?: unknown): Promise<Response> =>
			fetch(`${front.url}${path}`, {
				method,
				headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
				...(body === undefined ? {} : { body: JSON.stringify(body) }),
			});
		const statusOf = async (...args: Parameters<typeof call>): Promise<number> => {
			const answer = await call(...args);
			await answer.body?.cancel();
			return answer.status;
		};

		it('are needed for all but health and readiness, also where nothing is', async () => {
			for (const path of ['/health', '/ready']) assert.equal(await statusOf('GET', path), 200, path);
			for (const [method, path] of [
				...clientPaths,
				...operatorPaths,
				['POST', '/v2/workers/register'],
				['GET', '/nowhere'],
				['PUT', '/metrics'],
			]) {
				const answer = await call(String(method), String(path));
				const body = (await answer.json()) as Record<string, unknown>;
				assert.deepEqual([answer.status, body['code']], [401, 'UNAUTHORIZED'], path);
				assert.equal(answer.headers.get('www-authenticate'), 'Bearer');
				assert.equal(answer.headers.get('x-correlation-id'), body['correlation_id']);
			}
		});

		it('are taken as a bearer token or in a header of their own, and nothing near one is', async () => {
			for (const headers of [bearer('anna'), { authorization: `bearer  ${keys.anna} ` }, { 'x-api-key': keys.anna }])
				assert.equal(await statusOf('GET', '/v2/pools', headers), 200);
			const wrong = [keys.anna.slice(0, -1), `${keys.anna}x`, digestOf(keys.anna), 'anna', 'x'.repeat(10_000), '__proto__'];
			for (const key of wrong) assert.equal(await statusOf('GET', '/v2/pools', { authorization: `Bearer ${key}` }), 401, key.slice(0, 20));
			for (const headers of [{ authorization: keys.anna }, { authorization: `Basic ${keys.anna}` }, { cookie: `key=${keys.anna}` }])
				assert.equal(await statusOf('GET', '/v2/pools', headers as Record<string, string>), 401);
			assert.equal(await statusOf('GET', `/v2/pools?api_key=${keys.anna}`), 401);
		});

		it('that are none are logged by the beginning of their digest, and by nothing else', async () => {
			front.lines.length = 0;
			assert.equal(await statusOf('GET', '/v2/pools', { 'x-api-key': 'planted-wrong-key' }), 401);
			const said = front.lines.filter(({ event }) => event === 'key-unknown');
			assert.deepEqual(
				said.map(({ fields }) => fields['fingerprint']),
				[digestOf('planted-wrong-key').slice(0, 6)],
			);
			assert.ok(!JSON.stringify(front.lines).includes('planted'));
		});

		it('of a client reach no control path, those of a worker nothing but registering', async () => {
			for (const [method, path] of [...operatorPaths, ['GET', '/v2/pools/p1/logs'] as const, ['POST', '/v2/config/reload'] as const]) {
				assert.equal(await statusOf(method, path, bearer('anna')), 403, path);
				assert.notEqual(await statusOf(method, path, bearer('boss'), method === 'GET' ? undefined : { deadline_ms: -1 }), 403, path);
			}
			for (const [method, path] of clientPaths) assert.equal(await statusOf(method, path, bearer('worker')), 403, path);
			for (const name of ['anna', 'boss'] as const) assert.equal(await statusOf('POST', '/v2/workers/register', bearer(name)), 403);
			assert.notEqual(await statusOf('POST', '/v2/workers/register', bearer('worker'), {}), 403);
		});

		it('give a new task their tenant, and only an operator may name another', async () => {
			assert.equal(await statusOf('POST', '/v2/tasks', bearer('anna'), least), 202);
			assert.deepEqual([front.tasks.requests.at(-1)?.tenant, front.tasks.requests.at(-1)?.keyName], ['a', 'anna']);
			assert.equal(await statusOf('POST', '/v2/tasks', bearer('anna'), { ...least, tenant: 'a' }), 202);
			const before = front.tasks.requests.length;
			const answer = await call('POST', '/v2/tasks', bearer('anna'), { ...least, tenant: 'b' });
			const { code, message } = (await answer.json()) as { code: string; message: string };
			assert.deepEqual([answer.status, code, message], [403, 'FORBIDDEN', 'tenant is "b"; the key is one of tenant "a"']);
			assert.equal(await statusOf('POST', '/v2/tasks/preview', bearer('anna'), { ...least, tenant: 'b' }), 403);
			assert.equal(front.tasks.requests.length, before);
			assert.equal(await statusOf('POST', '/v2/tasks', bearer('boss'), { ...least, tenant: 'b' }), 202);
			assert.equal(front.tasks.requests.at(-1)?.tenant, 'b');
		});

		it('show the tasks of their tenant alone; those of others are not there, and are not cancelled', async () => {
			for (const way of ['', '/events', '/result?wait_ms=1', '/explain']) {
				assert.equal(await statusOf('GET', `/v2/tasks/${ids.b}${way}`, bearer('anna')), 404, way);
				for (const name of ['ben', 'boss'] as const)
					assert.notEqual(await statusOf('GET', `/v2/tasks/${ids.b}${way}`, bearer(name)), 404, `${name} ${way}`);
			}
			assert.equal(await statusOf('DELETE', `/v2/tasks/${ids.b}`, bearer('anna')), 204);
			assert.equal(await statusOf('POST', `/v2/tasks/${ids.b}/cancel`, bearer('anna')), 204);
			assert.equal(front.tasks.tasks.get(ids.b)?.state, 'running');
			const listed = async (name: Name, query = ''): Promise<string[]> => {
				const { tasks } = (await (await call('GET', `/v2/tasks${query}`, bearer(name))).json()) as { tasks: { tenant: string }[] };
				return [...new Set(tasks.map(({ tenant }) => tenant))].sort();
			};
			assert.deepEqual(await listed('anna'), ['a']);
			assert.deepEqual(await listed('anna', '?tenant=a'), ['a']);
			assert.equal(await statusOf('GET', '/v2/tasks?tenant=b', bearer('anna')), 403);
			assert.deepEqual(await listed('boss'), ['a', 'b']);
			assert.deepEqual(await listed('boss', '?tenant=b'), ['b']);
		});

		it('ask for sessions of their tenant, an operator for any', async () => {
			for (const [name, tenant] of [
				['anna', 'a'],
				['boss', null],
			] as const) {
				front.dispatched.length = 0;
				const aborted = new AbortController();
				const asked = fetch(`${front.url}/v2/sessions/${session}`, { headers: bearer(name), signal: aborted.signal }).catch(() => null);
				while (front.dispatched.length === 0) await new Promise((resolve) => setImmediate(resolve));
				const [told] = front.dispatched;
				assert.ok(told?.type === 'use-session');
				assert.equal(told.tenant, tenant);
				aborted.abort();
				await asked;
			}
		});

		it('open a WebSocket by a header, or by the subprotocol that a page can offer; none opens none', async () => {
			const opened = (protocols: string[], headers: Readonly<Record<string, string>> = {}): Promise<number | string> =>
				new Promise((resolve) => {
					const socket = new WebSocket(`${front.url.replace('http', 'ws')}/v2/ws`, protocols, { headers });
					socket.on('open', () => {
						resolve(socket.protocol);
						socket.terminate();
					});
					socket.on('unexpected-response', (request, response) => {
						resolve(response.statusCode ?? 0);
						request.destroy();
					});
					socket.on('error', () => undefined);
				});
			assert.equal(await opened(['orchestratord.v2'], bearer('anna')), 'orchestratord.v2');
			assert.equal(await opened(['orchestratord.v2', `orchestratord.key.${keys.anna}`]), 'orchestratord.v2');
			assert.equal(await opened(['orchestratord.v2']), 401);
			assert.equal(await opened(['orchestratord.v2', 'orchestratord.key.other']), 401);
			assert.equal(await opened(['orchestratord.v2'], bearer('worker')), 403);
		});

		it('bound a WebSocket to their tenant', async () => {
			const socket = new WebSocket(`${front.url.replace('http', 'ws')}/v2/ws`, ['orchestratord.v2'], { headers: bearer('anna') });
			const answers: { event: string; data: { code?: string } }[] = [];
			const three = new Promise<void>((resolve) => {
				socket.on('message', (text: Buffer) => {
					answers.push(JSON.parse(text.toString()) as (typeof answers)[number]);
					if (answers.length === 3) resolve();
				});
			});
			await new Promise((resolve) => socket.on('open', resolve));
			socket.send(JSON.stringify({ op: 'watch', ref: '1', task_id: ids.b }));
			socket.send(JSON.stringify({ op: 'cancel', ref: '2', task_id: ids.b }));
			socket.send(JSON.stringify({ op: 'submit', ref: '3', task: { ...least, tenant: 'b' } }));
			await three;
			socket.terminate();
			assert.deepEqual(
				answers.map(({ event, data }) => [event, data.code]),
				[
					['rejected', 'NOT_FOUND'],
					['accepted', undefined],
					['rejected', 'FORBIDDEN'],
				],
			);
			assert.equal(front.tasks.tasks.get(ids.b)?.state, 'running');
		});

		it('that are taken back open nothing any more, over an open WebSocket either, which reads on what it watches', async () => {
			const socket = new WebSocket(`${front.url.replace('http', 'ws')}/v2/ws`, ['orchestratord.v2'], { headers: bearer('anna') });
			const answers: { ref?: string; event: string; data: { code?: string } }[] = [];
			let wake = (): void => undefined;
			socket.on('message', (text: Buffer) => {
				const answer = JSON.parse(text.toString()) as (typeof answers)[number];
				if (answer.event !== 'metrics') answers.push(answer);
				wake();
			});
			const heard = async (count: number): Promise<readonly (string | undefined)[]> => {
				while (answers.length < count) {
					await new Promise<void>((resolve) => {
						wake = resolve;
					});
				}
				return answers.map(({ event, data }) => data?.code ?? event);
			};
			await new Promise((resolve) => socket.on('open', resolve));
			socket.send(JSON.stringify({ op: 'watch', ref: '1', task_id: ids.a }));
			assert.deepEqual(await heard(2), ['accepted', 'started']);
			front.front.useKeys({ ...auth, keys: auth.keys.slice(1) });
			for (const path of ['/v2/pools', `/v2/tasks/${ids.a}/events`]) assert.equal(await statusOf('GET', path, bearer('anna')), 401);
			for (const operation of [
				{ op: 'submit', task: least },
				{ op: 'watch', task_id: ids.a },
				{ op: 'cancel', task_id: ids.a },
			])
				socket.send(JSON.stringify(operation));
			assert.deepEqual((await heard(5)).slice(2), ['UNAUTHORIZED', 'UNAUTHORIZED', 'UNAUTHORIZED']);
			assert.equal(front.tasks.tasks.get(ids.a)?.state, 'running');
			await front.inTurn(() => front.tasks.tasks.get(ids.a)?.tokens('on'));
			assert.equal((await heard(6)).at(-1), 'token');
			// The same digest under another tenant is another principal: what was his is not seen.
			front.front.useKeys({ ...auth, keys: [settings('anna', 'z', ['client'])] });
			assert.equal(await statusOf('GET', `/v2/tasks/${ids.a}`, bearer('anna')), 404);
			socket.send(JSON.stringify({ op: 'watch', task_id: ids.a }));
			assert.equal((await heard(7)).at(-1), 'NOT_FOUND');
			socket.terminate();
			front.front.useKeys(auth);
		});
	});
}

describe('a daemon', () => {
	it('with public metrics shows them to all, and nothing else', async () => {
		const front = await startFront({ auth: { ...auth, publicMetrics: true } });
		assert.equal((await front.fetch('/metrics')).status, 200);
		assert.equal((await front.fetch('/v2/pools')).status, 401);
		front.close();
	});

	it('answers what a page asks before its request, without a key, and lets the page read what follows', async () => {
		const front = await startFront({ auth, corsOrigins: ['https://app.example'] });
		const page = { origin: 'https://app.example' };
		const ask = { ...page, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' };
		const asked = await front.fetch('/v2/tasks', { method: 'OPTIONS', headers: ask });
		assert.deepEqual([asked.status, asked.headers.get('access-control-allow-origin')], [204, 'https://app.example']);
		assert.equal(asked.headers.get('access-control-allow-headers'), 'authorization');
		for (const headers of [{ ...page, ...bearer('anna') }, page]) {
			const answer = await front.fetch('/v2/pools', { headers });
			assert.equal(answer.status, 'authorization' in headers ? 200 : 401);
			assert.equal(answer.headers.get('access-control-allow-origin'), 'https://app.example');
		}
		const foreign = { ...ask, origin: 'https://evil.example' };
		assert.equal((await front.fetch('/v2/tasks', { method: 'OPTIONS', headers: foreign })).status, 403);
		front.close();
	});

	it('counts the watchers of each key by themselves', async () => {
		const front = await startFront({ auth, sse: { heartbeatMs: 15_000, stallMs: 30_000, microbatchMs: 0, watchersMax: 2 } });
		for (const tenant of ['a', 'b'] as const) front.tasks.add(taskRequest({ taskId: ids[tenant], tenant })).start();
		const watch = (name: Name, tenant: 'a' | 'b'): Promise<Response> =>
			front.fetch(`/v2/tasks/${ids[tenant]}/events`, { headers: bearer(name) });
		const open = [await watch('anna', 'a'), await watch('anna', 'a')];
		assert.deepEqual(
			open.map(({ status }) => status),
			[200, 200],
		);
		const refused = await watch('anna', 'a');
		const { policy_label: label, message } = (await refused.json()) as Record<string, string>;
		assert.deepEqual(
			[refused.status, label, message],
			[429, 'watchers', '2 event streams are open with this key, the most that is allowed'],
		);
		const other = await watch('ben', 'b');
		assert.equal(other.status, 200);
		for (const each of [...open, other]) await each.body?.cancel();
		front.close();
	});

	it('without keys asks for none, and lets no worker register', async () => {
		const front = await startFront();
		assert.equal((await front.fetch('/v2/pools')).status, 200);
		assert.equal((await front.post('/v2/workers/register', {})).status, 401);
		assert.equal((await front.post('/v2/workers/register', {}, { authorization: 'Bearer x' })).status, 401);
		front.close();
	});
});
