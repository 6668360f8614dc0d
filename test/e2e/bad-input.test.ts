/**
 * A whole daemon under what goes wrong around it: hosts that are stopped, models that are no models, clients that repeat
 * themselves or talk nonsense. It says so in words, loses nothing, and serves on.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { WebSocket } from 'ws';
import { checkOrder, pieces, postJson, submit, Watch } from './client.ts';
import { type Daemon, descendants, ended, repository, startDaemon } from './daemon.ts';

const folder = mkdtempSync(join(tmpdir(), 'orchestratord-bad-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function slowPool(id: string, timeouts: Readonly<Record<string, number>> = {}) {
	return {
		id,
		engine: 'scripted',
		model: `scripted:${id}`,
		slots: 4,
		timeouts,
		scripted: { prefill_tokens_per_s: 5000, decode_tokens_per_s: 100, tokens: 200 },
	};
}

/** The process of a pool's one engine. */
function hostOf(daemon: Daemon, poolId: string): number {
	const found = descendants(daemon.pid).find((pid) => {
		const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
		return /(llama|scripted)-host/.test(line) && line.includes(`${poolId}-0`);
	});
	assert.ok(found !== undefined, `no host of ${poolId}`);
	return found;
}

async function pool(daemon: Daemon, id: string): Promise<{ readonly state: string; readonly last_error: string | null }> {
	return (await (await fetch(`${daemon.url}/v2/pools/${id}`)).json()) as { state: string; last_error: string | null };
}

async function serves(daemon: Daemon, model: string): Promise<void> {
	const { task_id } = await submit(daemon.url, { model_ref: model, prompt: 'x', max_tokens: 5 });
	const seen = await (await Watch.open(daemon.url, task_id)).all();
	checkOrder(seen);
	assert.equal(seen.at(-1)?.name, 'end', JSON.stringify(seen.at(-1)));
}

describe('a daemon under bad input', () => {
	let daemon: Daemon;
	before(async () => {
		const whole = readFileSync(join(repository, 'models', 'tiny-chat.gguf'));
		const cut = join(folder, 'cut.gguf');
		writeFileSync(cut, whole.subarray(0, whole.length / 2));
		const lying = join(folder, 'lying.gguf');
		const bytes = Buffer.from(whole.subarray(0, 64 * 1024));
		bytes.writeBigUInt64LE(0xffff_ffff_ffffn, 8);
		writeFileSync(lying, bytes);
		daemon = await startDaemon({
			config: {
				// Short, for the one test of it.
				sessions: { ttl_ms: 700 },
				pools: [
					slowPool('good'),
					{
						// Ten seconds of a task: on a busy machine a shorter one has ended before its host is stopped.
						...slowPool('stopped', { first_token_ms: 10_000, idle_ms: 1500 }),
						scripted: { prefill_tokens_per_s: 5000, decode_tokens_per_s: 100, tokens: 1000 },
					},
					{ id: 'cut', engine: 'llamacpp', model: `file:${cut}`, slots: 1 },
					{ id: 'lying', engine: 'llamacpp', model: `file:${lying}`, slots: 1 },
					{
						...slowPool('stalls', { first_token_ms: 800, idle_ms: 800, wall_ms: 1600 }),
						scripted: {
							decode_tokens_per_s: 100,
							tokens: 200,
							faults: [
								{ kind: 'stall', prompt_contains: 'never' },
								{ kind: 'stall', prompt_contains: 'stops', after_tokens: 3 },
							],
						},
					},
					{ id: 'mute', engine: 'scripted', model: 'scripted:mute', scripted: { faults: [{ kind: 'error', self_test: true }] } },
				],
			},
		});
	});
	after(async () => {
		assert.equal(await daemon.stop(), 0);
	});

	it('says what is wrong with a model file that is cut or lies, and serves its other pools', async () => {
		for (const id of ['cut', 'lying']) {
			const { state, last_error: why } = await pool(daemon, id);
			assert.notEqual(state, 'ready');
			assert.match(why ?? '', /gguf|cut|file|ends|tensor/i, id);
		}
		await serves(daemon, 'scripted:good');
	});

	it('does not call a replica ready that makes no token: it is tried again later, says why, and gets no task', async () => {
		const { state, last_error: why } = await pool(daemon, 'mute');
		assert.equal(state, 'failed');
		assert.match(why ?? '', /loaded its model, but failed its self-test of one token: scripted fault/);
		const refused = await postJson(daemon.url, '/v2/tasks', { model_ref: 'scripted:mute', prompt: 'x' });
		const { code, retriable, retry_after_ms: retryAfterMs } = (await refused.json()) as Record<string, unknown>;
		assert.deepEqual([refused.status, code, retriable], [503, 'POOL_UNREADY', true]);
		assert.ok(Number(retryAfterMs) > 0 && Number(refused.headers.get('retry-after')) >= 1);
		const { ready } = (await (await fetch(`${daemon.url}/v2/pools/mute/health`)).json()) as { ready: boolean };
		assert.equal(ready, false);
	});

	it('ends a task at each of its three time limits with words that name it, and its slot serves the next', async () => {
		const limits = {
			never: /within 800 ms \(timeouts\.first_token_ms\)/,
			stops: /for 800 ms \(timeouts\.idle_ms\)/,
			long: /for 1600 ms, all that timeouts\.wall_ms and its budgets allow/,
		};
		const ends = Object.entries(limits).map(async ([prompt, words]) => {
			const { task_id: id } = await submit(daemon.url, { model_ref: 'scripted:stalls', prompt });
			const seen = await (await Watch.open(daemon.url, id)).all();
			checkOrder(seen);
			const { code, retriable, message } = seen.at(-1)?.data ?? {};
			assert.deepEqual([code, retriable], ['DECODE_TIMEOUT', true]);
			assert.match(String(message), words);
			const result = await fetch(`${daemon.url}/v2/tasks/${id}/result`);
			assert.deepEqual([result.status, ((await result.json()) as Record<string, unknown>)['code']], [504, 'DECODE_TIMEOUT']);
			return pieces(seen).length;
		});
		const [never, stops, long] = await Promise.all(ends);
		assert.deepEqual([never, stops], [0, 3]);
		assert.ok(Number(long) > 3);
		await Promise.all([1, 2, 3, 4].map(() => serves(daemon, 'scripted:stalls')));
	});

	it('ends the task of a host that was stopped with a timeout, frees its slots when it goes on, and serves on', async () => {
		const host = hostOf(daemon, 'stopped');
		const task = { model_ref: 'scripted:stopped', prompt: 'x' };
		const watched = await Watch.open(daemon.url, (await submit(daemon.url, task)).task_id);
		const cancelled = await submit(daemon.url, task);
		const other = await Watch.open(daemon.url, cancelled.task_id);
		await watched.until('token');
		await other.until('token');
		process.kill(host, 'SIGSTOP');
		try {
			// a cancel needs no engine: the log closes, the slot is what has to wait
			assert.equal((await postJson(daemon.url, `/v2/tasks/${cancelled.task_id}/cancel`, {})).status, 204);
			assert.equal((await other.all()).at(-1)?.data['finish_reason'], 'canceled');
			const last = (await watched.all()).at(-1);
			assert.equal(last?.data['code'], 'DECODE_TIMEOUT', JSON.stringify(last));
			await serves(daemon, 'scripted:good');
		} finally {
			process.kill(host, 'SIGCONT');
		}
		await Promise.all([1, 2, 3, 4, 5].map(() => serves(daemon, 'scripted:stopped')));
		assert.equal(hostOf(daemon, 'stopped'), host, 'it was not lost, only stopped for a while');
	});

	it('forgets a session that nobody has used for sessions.ttl_ms, which looking at it is not and a task is', async () => {
		const id = crypto.randomUUID();
		const look = async (): Promise<number | null> => {
			const response = await fetch(`${daemon.url}/v2/sessions/${id}`);
			const session = (await response.json()) as { ttl_ms_remaining?: number };
			return response.status === 200 ? Number(session.ttl_ms_remaining) : null;
		};
		const gone = async (): Promise<void> => {
			let last = Number.POSITIVE_INFINITY;
			// The end of its task, which uses it too, may come to the session behind the first look.
			let uses = 0;
			for (let left = await look(); left !== null; left = await look()) {
				if (left > last) uses += 1;
				assert.ok(uses <= 1 && left <= 700, `${left} ms left after ${last}`);
				last = left;
				await new Promise((resolve) => setTimeout(resolve, 25));
			}
			assert.ok(last < 500, `${last} ms were left, and it was gone`);
		};
		assert.equal(
			(await postJson(daemon.url, '/v2/tasks', { model_ref: 'scripted:good', prompt: 'x', max_tokens: 2, session_id: id })).status,
			202,
		);
		await gone();
		// Two seconds of a task: longer than the ttl, and counted from its end.
		const { task_id: long } = await submit(daemon.url, { model_ref: 'scripted:good', prompt: 'x', max_tokens: 150, session_id: id });
		const watch = await Watch.open(daemon.url, long);
		await watch.all();
		assert.ok((await look()) !== null);
		await gone();
	});

	it('makes one task of an id that comes many times at once, and refuses it with another body', async () => {
		const before = await startedTasks();
		const body = { task_id: crypto.randomUUID(), model_ref: 'scripted:good', prompt: 'x', max_tokens: 20, seed: 7 };
		const answers = await Promise.all(
			Array.from({ length: 40 }, (_, i) => postJson(daemon.url, '/v2/tasks', i % 4 === 3 ? { ...body, seed: 8 } : body)),
		);
		const statuses = await Promise.all(
			answers.map(async (answer) => ({ status: answer.status, json: (await answer.json()) as Record<string, unknown> })),
		);
		const taken = statuses.filter(({ status }) => status === 202);
		assert.deepEqual(new Set(statuses.map(({ status }) => status)), new Set([202, 409]));
		assert.ok(taken.every(({ json }) => json['task_id'] === body.task_id));
		const seen = await (await Watch.open(daemon.url, body.task_id)).all();
		checkOrder(seen);
		assert.equal(pieces(seen).length, 20);
		await postJson(daemon.url, '/v2/tasks', body);
		await postJson(daemon.url, '/v2/tasks', { ...body, seed: 8 });
		assert.equal((await startedTasks()) - before, 1, 'one run, whatever came');
	});

	async function startedTasks(): Promise<number> {
		const text = await (await fetch(`${daemon.url}/metrics`)).text();
		const series = [...text.matchAll(/^tasks_started_total\{[^}]*pool_id="good"[^}]*\} (\d+)$/gm)];
		return series.reduce((sum, [, count]) => sum + Number(count), 0);
	}

	it('answers every message of a WebSocket, whatever it holds, and closes only for too many', async () => {
		const op = fc.constantFrom('submit', 'watch', 'cancel', 'credit', 'ping', 'nothing', '__proto__');
		const odd = fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.constantFrom(0, -1, 1.5, 1e308, '', 'x'.repeat(500), null, [], {}));
		const shaped = fc
			.record(
				{ op, ref: fc.oneof(fc.constant('r'), odd), task_id: fc.oneof(fc.uuid(), odd), after: odd, n: odd, credit: odd, task: odd, x: odd },
				{ requiredKeys: [] },
			)
			.map((message) => JSON.stringify(message));
		const message = fc.oneof(shaped, fc.json(), fc.string());
		const batch = fc.array(
			fc.oneof(
				message,
				message.map((text) => Buffer.from(text)),
			),
			{ minLength: 1, maxLength: 60 },
		);
		await fc.assert(
			fc.asyncProperty(batch, async (messages) => {
				const socket = new WebSocket(`${daemon.url.replace('http', 'ws')}/v2/ws`, 'orchestratord.v2');
				const events: Record<string, unknown>[] = [];
				await new Promise<void>((resolve, reject) => {
					socket.on('error', reject);
					socket.on('close', (code) => reject(new Error(`closed with ${code}`)));
					socket.on('message', (data: Buffer) => {
						const event = JSON.parse(data.toString()) as Record<string, unknown>;
						events.push(event);
						if (event['event'] === 'pong' && event['ref'] === 'the last') resolve();
					});
					socket.on('open', () => {
						for (const each of messages) socket.send(each);
						socket.send('{"op":"ping","ref":"the last"}');
					});
				});
				for (const event of events) {
					if (event['event'] !== 'rejected') continue;
					const envelope = event['data'] as Record<string, unknown>;
					assert.ok(typeof envelope['code'] === 'string' && envelope['code'] !== 'INTERNAL', JSON.stringify(event));
					assert.ok(JSON.stringify(envelope['message']).length < 2000);
				}
				socket.removeAllListeners('close');
				socket.terminate();
			}),
			{ numRuns: 40 },
		);
		await serves(daemon, 'scripted:good');
		assert.doesNotMatch(daemon.output(), /"event":"bug"/);
	});

	it('leaves no host behind that was stopped when the daemon ends', async () => {
		const own = await startDaemon({ config: { pools: [slowPool('frozen')] } });
		const host = hostOf(own, 'frozen');
		process.kill(host, 'SIGSTOP');
		assert.equal(await own.stop(), 0);
		await ended(host);
	});
});
