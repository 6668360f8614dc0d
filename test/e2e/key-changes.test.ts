/**
 * Keys of a daemon with two front threads, changed while it streams: a key that is taken back is refused at once on every front, and
 * what it has running ends as it would have; and budgets of keys in every kind.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import { type Accepted, postJson } from './client.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import { FrontConnection } from './front-connection.ts';
import { planted, remember } from './leaks.ts';
import { SocketClient } from './socket-client.ts';

type Json = Record<string, unknown>;

function newKey(): string {
	const key = planted('key');
	remember('a key', key);
	return key;
}

const keys = { anna: newKey(), ben: newKey(), boss: newKey(), carl: newKey(), poor: newKey(), hasty: newKey() };
type Name = keyof typeof keys;
const as = (name: Name): Record<string, string> => ({ authorization: `Bearer ${keys[name]}` });
const key = (name: Name, more: object = {}): object => ({
	name,
	sha256: createHash('sha256').update(keys[name]).digest('hex'),
	tenant: name,
	...more,
});
const pool = (id: string, tokensPerS: number): object => ({
	id,
	engine: 'scripted',
	model: `scripted:${id}`,
	slots: 8,
	price: { per_1k_tokens_in: 0, per_1k_tokens_out: 1_000 },
	scripted: { prefill_tokens_per_s: 1e6, decode_tokens_per_s: tokensPerS, tokens: 200 },
});
const pools = [pool('demo', 100), pool('slow', 8)];
const boss = key('boss', { roles: ['operator'] });
const task = (maxTokens?: number, of = 'demo'): Json => ({ model_ref: `scripted:${of}`, prompt: planted('prompt'), max_tokens: maxTokens });

describe('keys that are changed while the daemon runs', () => {
	let daemon: Daemon;
	const use = (...all: object[]): void => daemon.rewrite({ pools, auth: { keys: all } });
	before(async () => {
		const auth = {
			keys: [key('anna'), key('ben'), boss, key('poor', { budgets: { cost: 30 } }), key('hasty', { budgets: { time_ms: 400 } })],
		};
		daemon = await startDaemon({ fronts: 2, config: { pools, auth } });
	});
	after(() => daemon.stop());

	it('that are taken back get 401 at once on every front, and what they have running goes on to its end', async () => {
		const connections = await Promise.all([0, 1].map((front) => FrontConnection.open(daemon.url, front, 'demo', as('anna'))));
		const [here] = connections as [FrontConnection, FrontConnection];
		const { task_id: id } = (await (await postJson(here, '/v2/tasks', task(), as('anna'))).json()) as Accepted;
		const opened = await Promise.all(
			connections.map((connection) => connection.request(`/v2/tasks/${id}/events`, { headers: as('anna') })),
		);
		assert.deepEqual(
			opened.map(({ status }) => status),
			[200, 200],
		);
		const streams = opened.map((answer) => answer.text());
		const socket = new SocketClient(daemon.url, { headers: as('anna') });
		await once(socket.socket, 'open');
		socket.say({ op: 'watch', task_id: id });
		await socket.until(({ event }) => event === 'token');

		use(key('ben', { rate: { requests_per_minute: 1, burst: 1 } }), boss, key('carl'));
		const reloaded = await postJson(daemon.url, '/v2/config/reload', {}, as('boss'));
		const told = (await reloaded.json()) as Json;
		assert.deepEqual(
			[reloaded.status, told['keys'], told['restart_needed']],
			[200, { added: ['carl'], removed: ['anna', 'poor', 'hasty'], changed: ['ben'] }, []],
		);
		for (const name of ['anna', 'carl'] as const) {
			const statuses = await Promise.all(
				Array.from({ length: 12 }, async () => {
					const answer = await postJson(daemon.url, '/v2/tasks', task(1), { ...as(name), connection: 'close' });
					await answer.body?.cancel();
					return answer.status;
				}),
			);
			assert.deepEqual([...new Set(statuses)], [name === 'carl' ? 202 : 401], name);
		}
		const again = [
			await postJson(daemon.url, '/v2/tasks', task(1), as('ben')),
			await postJson(daemon.url, '/v2/tasks', task(1), as('ben')),
		];
		assert.deepEqual(
			again.map(({ status }) => status),
			[202, 429],
		);
		socket.say({ op: 'submit', ref: 'late', task: task(1) });
		socket.say({ op: 'cancel', ref: 'late', task_id: id });
		for (const op of ['submit', 'cancel']) {
			const refused = await socket.until(({ event, data }) => event === 'rejected' && data?.['code'] === 'UNAUTHORIZED');
			assert.match(String(refused.data?.['message']), /the key of this connection is no longer one of this daemon/, op);
		}
		for (const text of await Promise.all(streams)) {
			assert.match(text, /event: end\ndata: .*"finish_reason":"stop"/);
			assert.equal([...text.matchAll(/^event: token$/gm)].length, 200);
		}
		await socket.until(({ event }) => event === 'end');
		assert.equal(socket.of(id).filter(({ event }) => event === 'token').length, 200);
		socket.socket.close();
		for (const connection of connections) connection.close();
		assert.ok(!daemon.output().includes('"restarts":'));
	});

	it('are changed by SIGHUP too, and a file that is wrong changes none', async () => {
		use(key('ben', { sha256: 'not a digest' }));
		process.kill(daemon.pid, 'SIGHUP');
		await daemon.said(/"event":"config-refused"/);
		assert.equal((await fetch(`${daemon.url}/v2/pools`, { headers: as('carl') })).status, 200);
		use(boss, key('anna'));
		process.kill(daemon.pid, 'SIGHUP');
		await daemon.said(/keys added: anna; keys revoked: ben, carl/);
		assert.equal((await fetch(`${daemon.url}/v2/pools`, { headers: as('carl') })).status, 401);
		assert.equal((await fetch(`${daemon.url}/v2/pools`, { headers: as('anna') })).status, 200);
	});
});

describe('budgets of keys', () => {
	let daemon: Daemon;
	before(async () => {
		const auth = { keys: [boss, key('poor', { budgets: { cost: 30 } }), key('hasty', { budgets: { time_ms: 400 } })] };
		daemon = await startDaemon({ fronts: 2, config: { pools, auth } });
	});
	after(() => daemon.stop());

	const refusalOf = async (name: Name): Promise<unknown[]> => {
		const answer = await postJson(daemon.url, '/v2/tasks', task(), as(name));
		const body = (await answer.json()) as Json;
		return [answer.status, body['code'], body['policy_label']];
	};

	it('in money cut an answer where they end, over all fronts, and are told in headers', async () => {
		const first = await postJson(daemon.url, '/v2/tasks', task(20, 'slow'), { ...as('poor'), connection: 'close' });
		assert.deepEqual([first.status, first.headers.get('x-budget-cost-remaining')], [202, '10']);
		const { task_id: id } = (await first.json()) as Accepted;
		const second = await postJson(daemon.url, '/v2/tasks', task(undefined, 'slow'), { ...as('poor'), connection: 'close' });
		assert.deepEqual([second.status, second.headers.get('x-budget-cost-remaining')], [202, '0']);
		assert.deepEqual(await refusalOf('poor'), [429, 'ADMISSION_REJECT', 'budget.cost']);
		// What is cancelled has used what it had made.
		const cancelled = await postJson(daemon.url, `/v2/tasks/${id}/cancel`, {}, as('poor'));
		assert.equal(cancelled.status, 204);
		const { task_id: other } = (await second.json()) as Accepted;
		const result = async (of: string): Promise<Json> =>
			(await (await fetch(`${daemon.url}/v2/tasks/${of}/result`, { headers: as('poor') })).json()) as Json;
		const [cut, canceled] = [await result(other), await result(id)];
		assert.deepEqual([cut['tokens_out'], cut['finish_reason']], [10, 'length']);
		assert.equal(canceled['finish_reason'], 'canceled');
		const left = 30 - 10 - Number(canceled['tokens_out']);
		let told: string | null = null;
		for (let looks = 0; looks < 100 && told !== String(left - 1); looks += 1) {
			const next = await postJson(daemon.url, '/v2/tasks', task(1), as('poor'));
			told = next.headers.get('x-budget-cost-remaining');
			const { task_id: nextId } = (await next.json()) as Accepted;
			// As if it had not been.
			if (told !== String(left - 1)) await postJson(daemon.url, `/v2/tasks/${nextId}/cancel`, {}, as('poor'));
		}
		assert.equal(told, String(left - 1));
	});

	it('in time end a task when they do', async () => {
		const answer = await postJson(daemon.url, '/v2/tasks', task(), as('hasty'));
		assert.deepEqual([answer.status, answer.headers.get('x-budget-time-remaining-ms')], [202, '0']);
		assert.deepEqual(await refusalOf('hasty'), [429, 'ADMISSION_REJECT', 'budget.time']);
		const { task_id: id } = (await answer.json()) as Accepted;
		const events = await (await fetch(`${daemon.url}/v2/tasks/${id}/events`, { headers: as('hasty') })).text();
		assert.match(
			events,
			/event: error\ndata: .*"code":"DECODE_TIMEOUT","message":"the task ran for 400 ms, all that timeouts\.wall_ms and its budgets allow"/,
		);
		assert.deepEqual(await refusalOf('hasty'), [429, 'ADMISSION_REJECT', 'budget.time']);
	});
});
