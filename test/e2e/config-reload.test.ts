/** The configuration is read anew while a daemon streams: by SIGHUP, by the API, by the command line. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import { postJson, submit, Watch } from './client.ts';
import { binary, type Daemon, startDaemon } from './daemon.ts';

const pool = (id: string, more: Readonly<Record<string, unknown>> = {}) => ({
	id,
	engine: 'scripted',
	model: `scripted:${id}`,
	slots: 2,
	scripted: { decode_tokens_per_s: 200, tokens: 150 },
	...more,
});

async function poolsOf({ url }: Daemon): Promise<readonly Readonly<Record<string, unknown>>[]> {
	const { pools } = (await (await fetch(`${url}/v2/pools`)).json()) as { pools: readonly Readonly<Record<string, unknown>>[] };
	return pools;
}

/** How many tokens the rest of a stream has, which must be gapless and come to its end. */
async function tokensOf(watch: Watch): Promise<number> {
	const events = await watch.all();
	assert.equal(events.at(-1)?.name, 'end', JSON.stringify(events.at(-1)));
	const indices = events.flatMap(({ name, data }) => (name === 'token' ? [data['i']] : []));
	const first = Number(indices[0]);
	assert.deepEqual(
		indices,
		indices.map((_, index) => first + index),
	);
	return first + indices.length;
}

describe('a configuration that is read anew', () => {
	let daemon: Daemon;
	before(async () => {
		daemon = await startDaemon({ config: { pools: [pool('leaves'), pool('changes')] } });
	});
	after(() => daemon.stop());

	it('adds, ends and changes pools under streams, and drops none', async () => {
		const tasks = await Promise.all(['leaves', 'changes'].map((id) => submit(daemon.url, { model_ref: `scripted:${id}`, prompt: 'x' })));
		const watches = await Promise.all(tasks.map(({ task_id: id }) => Watch.open(daemon.url, id)));
		for (const watch of watches) await watch.until('token');
		daemon.rewrite({ pools: [pool('changes', { slots: 5 }), pool('comes')], sse: { heartbeat_ms: 1 } });
		const answer = await postJson(daemon.url, '/v2/config/reload', {});
		assert.deepEqual(
			[answer.status, await answer.json()],
			[
				200,
				{
					added: ['comes'],
					removed: ['leaves'],
					changed: ['changes'],
					unchanged: [],
					keys: { added: [], removed: [], changed: [] },
					restart_needed: ['sse.heartbeat_ms'],
				},
			],
		);
		const refused = await postJson(daemon.url, '/v2/tasks', { model_ref: 'scripted:leaves', prompt: 'late' });
		assert.equal(refused.status, 404);
		assert.deepEqual(await Promise.all(watches.map(tokensOf)), [150, 150]);
		await daemon.said(/"event":"pool-removed".*"pool_id":"leaves"/);
		const fresh = await submit(daemon.url, { model_ref: 'scripted:comes', prompt: 'x', max_tokens: 3 });
		assert.equal(await tokensOf(await Watch.open(daemon.url, fresh.task_id)), 3);
		// It has other settings once its last task has ended; the front hears of it a little later.
		await daemon.said(/changes: scripted:changes serves/);
		let pools = await poolsOf(daemon);
		for (const until = performance.now() + 5_000; pools[0]?.['slots_total'] === 0 && performance.now() < until; )
			pools = await poolsOf(daemon);
		assert.deepEqual(
			pools.map((each) => [each['pool_id'], each['slots_total'], each['retiring']]),
			[
				['changes', 5, false],
				['comes', 2, false],
			],
		);
	});

	it('changes nothing when it is wrong, and says why with line and column', async () => {
		daemon.rewrite({ pools: [pool('changes', { slots: 0 })] });
		const answer = await postJson(daemon.url, '/v2/config/reload', {});
		const body = (await answer.json()) as { code: string; message: string };
		assert.deepEqual([answer.status, body.code], [400, 'INVALID_PARAMS']);
		assert.match(
			body.message,
			/nothing was reloaded: pools\[0\]\.slots is 0; it must be a whole number from 1 to 4096 \(from .*config\.yaml:1:\d+\)/,
		);
		daemon.rewrite({ pools: [{ id: 'changes' }] });
		const other = (await (await postJson(daemon.url, '/v2/config/reload', {})).json()) as { message: string };
		assert.match(other.message, /pool changes has engine llamacpp, but runs with scripted; give it another id/);
		assert.equal((await poolsOf(daemon)).length, 2);
	});

	it('is read at SIGHUP and by the command line', async () => {
		daemon.rewrite({ pools: [pool('changes', { slots: 5 }), pool('comes'), pool('third')] });
		process.kill(daemon.pid, 'SIGHUP');
		await daemon.said(/The configuration was reloaded: added third/);
		daemon.rewrite({ pools: [pool('changes', { slots: 5 }), pool('comes')] });
		const child = spawn(process.execPath, [binary, 'config', 'reload', '--url', daemon.url], { stdio: ['ignore', 'pipe', 'inherit'] });
		let out = '';
		child.stdout.setEncoding('utf8').on('data', (text: string) => {
			out += text;
		});
		const [code] = (await once(child, 'close')) as [number];
		assert.deepEqual([code, out], [0, 'ending: third\nunchanged: changes, comes\n']);
		await daemon.said(/"event":"pool-removed".*"pool_id":"third"/);
	});
});
