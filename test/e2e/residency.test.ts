/**
 * Models that are loaded on demand, in a daemon: two llama.cpp models that take turns in memory for one, and scripted ones for what takes
 * long enough to look at.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { daemonClient } from '../../src/cli/daemon-client.ts';
import { loadPool, unloadPool } from '../../src/cli/pool-residency.ts';
import { poolSchema } from '../../src/transport/api/response-schemas.ts';
import { fakeTerminal } from '../cli/fake-daemon.ts';
import { json, refused } from '../transport/published-answers.ts';
import { postJson, Watch } from './client.ts';
import { type Daemon, descendants, repository, startDaemon } from './daemon.ts';

type Json = Record<string, unknown>;

const stateOf = async (daemon: Daemon, poolId: string): Promise<unknown> =>
	(await json(await fetch(`${daemon.url}/v2/pools/${poolId}`), 200, poolSchema))['state'];

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
	for (const deadline = performance.now() + 30_000; !(await isSo()); ) assert.ok(performance.now() < deadline, what);
}

/** Engine hosts that run: not what these start, which looks like them for a moment. */
function hosts(daemon: Daemon): number[] {
	return descendants(daemon.pid).filter((pid) => {
		try {
			const isChild = readFileSync(`/proc/${pid}/status`, 'utf8').includes(`\nPPid:\t${daemon.pid}\n`);
			return isChild && /llama-host/.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
		} catch {
			// It has ended since.
			return false;
		}
	});
}

describe('two llama.cpp models in memory for one', () => {
	let daemon: Daemon;
	let most = 0;
	let watching: NodeJS.Timeout;
	before(async () => {
		const onDemand = { residency: 'on_demand', min_resident_ms: 100, slots: 2 };
		daemon = await startDaemon({
			config: {
				memory: { ram_bytes_max: '200MiB' },
				pools: [
					{ id: 'a', aliases: ['default'], ...onDemand },
					{ id: 'b', model: `file:${join(repository, 'models', 'tiny-chat.gguf')}`, ...onDemand },
				],
			},
		});
		watching = setInterval(() => {
			most = Math.max(most, hosts(daemon).length);
		}, 20);
	});
	after(async () => {
		clearInterval(watching);
		await daemon.stop();
	});

	it('are answered by turns, one of them in memory at a time', async () => {
		assert.deepEqual([hosts(daemon).length, await stateOf(daemon, 'a')], [0, 'unloaded']);
		assert.equal((await fetch(`${daemon.url}/ready`)).status, 200);
		for (const model of ['a', 'b', 'a', 'b']) {
			const messages = [{ role: 'user', content: 'What is 7 + 5?' }];
			const answer = await postJson(daemon.url, '/v1/chat/completions', { model, messages, max_tokens: 12, temperature: 0 });
			const { choices } = (await answer.json()) as { choices: { message: { content: string } }[] };
			assert.equal(choices[0]?.message.content, '7 plus 5 is 12.');
			assert.deepEqual([await stateOf(daemon, model), await stateOf(daemon, model === 'a' ? 'b' : 'a')], ['ready', 'unloaded']);
		}
		assert.equal(most, 1);
	});

	it('are both listed, loaded or not, and both are answered that are asked for at once', async () => {
		const ask = async (model: string): Promise<number> =>
			(await postJson(daemon.url, '/v1/completions', { model, prompt: 'Once upon a time', max_tokens: 5 })).status;
		assert.deepEqual(await Promise.all(['a', 'b', 'a', 'b', 'b', 'a'].map(ask)), [200, 200, 200, 200, 200, 200]);
		const { data } = (await (await fetch(`${daemon.url}/v1/models`)).json()) as { data: { orchestratord: Json }[] };
		assert.deepEqual(
			data.map(({ orchestratord }) => orchestratord['ready']),
			[true, true, true],
		);
		assert.deepEqual(new Set(data.map(({ orchestratord }) => orchestratord['state'])), new Set(['ready', 'unloaded']));
		assert.equal(most, 1);
	});
});

describe('scripted models that are loaded on demand', () => {
	let daemon: Daemon;
	before(async () => {
		const onDemand = { engine: 'scripted', residency: 'on_demand', min_resident_ms: 300, memory_bytes: '60MiB', slots: 1 };
		const scripted = { load_ms: 700, decode_tokens_per_s: 50, tokens: 60 };
		daemon = await startDaemon({
			config: {
				memory: { ram_bytes_max: '100MiB' },
				pools: [
					{ id: 'long', model: 'scripted:long', ...onDemand, scripted },
					{ id: 'other', model: 'scripted:other', ...onDemand, scripted: { ...scripted, tokens: 3 } },
					{ id: 'brief', model: 'scripted:brief', ...onDemand, memory_bytes: '10MiB', idle_ms: 500, scripted: { ...scripted, tokens: 3 } },
					{ id: 'always', model: 'scripted:always', engine: 'scripted', memory_bytes: '20MiB' },
				],
			},
		});
	});
	after(() => daemon.stop());
	const submit = async (model: string): Promise<Json> => {
		const accepted = await postJson(daemon.url, '/v2/tasks', { model_ref: `scripted:${model}`, prompt: 'x', max_tokens: 60 });
		assert.equal(accepted.status, 202);
		return (await accepted.json()) as Json;
	};
	const stepOf = (accepted: Json): Json => ((accepted['preparation'] as Json)['steps'] as Json[])[0] ?? {};

	it('tell those that wait of the one load that they wait for, and of what is left of it once it was measured', async () => {
		const first = await submit('other');
		const second = await submit('other');
		for (const accepted of [first, second]) {
			const { kind, group, status, estimated_ms: left } = stepOf(accepted);
			assert.deepEqual([kind, group, status, left], ['pool_warmup', 'other', 'running', null]);
		}
		const watch = await Watch.open(daemon.url, String(first['task_id']), { verbose: true });
		const events = await watch.all();
		const prep = events.filter(({ name, data }) => name === 'metrics' && data['prep'] !== undefined);
		assert.ok(prep.length > 0, JSON.stringify(events));
		await (await fetch(`${daemon.url}/v2/tasks/${String(second['task_id'])}/result`)).text();

		const terminal = fakeTerminal();
		assert.equal(await unloadPool(daemonClient(daemon.url), 'other', false, terminal), 0);
		await until('other is unloaded', async () => (await stateOf(daemon, 'other')) === 'unloaded');
		const third = await submit('other');
		const { status, estimated_ms: left } = stepOf(third);
		assert.equal(status, 'running');
		assert.ok(Number(left) >= 600 && Number(left) < 5_000, String(left));
		assert.ok(Number(third['predicted_start_ms']) >= 600, JSON.stringify(third));
	});

	it('are not unloaded while they decode: whoever wants the memory waits for the end of the answer, and is told so', async () => {
		const runs = await submit('long');
		const watch = await Watch.open(daemon.url, String(runs['task_id']));
		await watch.until('token');
		const wants = await submit('other');
		assert.equal(stepOf(wants)['kind'], 'pool_warmup');
		await until('long gives way', async () => (await stateOf(daemon, 'long')) === 'unloading');
		const rest = await watch.all();
		assert.ok(rest.filter(({ name }) => name === 'token').length > 5);
		assert.deepEqual([rest.at(-1)?.name, rest.at(-1)?.data['tokens_out']], ['end', 60]);
		const result = await fetch(`${daemon.url}/v2/tasks/${String(wants['task_id'])}/result`);
		assert.equal(result.status, 200);
		await result.text();
		assert.deepEqual([await stateOf(daemon, 'long'), await stateOf(daemon, 'other')], ['unloaded', 'ready']);
	});

	it('are loaded and unloaded by an operator, and unloaded when no task comes', async () => {
		const terminal = fakeTerminal();
		assert.equal(await loadPool(daemonClient(daemon.url), 'brief', false, terminal, 50), 0);
		assert.equal(terminal.stdout.join(''), 'brief is loaded\n');
		await until('brief is unloaded', async () => (await stateOf(daemon, 'brief')) === 'unloaded');
		await refused(await postJson(daemon.url, '/v2/pools/always/unload', {}), 409, 'CONFLICT');
		await refused(await postJson(daemon.url, '/v2/pools/nowhere/load', {}), 404, 'NOT_FOUND');
		const metrics = await (await fetch(`${daemon.url}/metrics`)).text();
		assert.match(metrics, /model_unloads_total\{pool_id="brief",reason="idle"\} 1/);
		assert.match(metrics, /model_loads_total\{pool_id="brief"\} 1/);
	});
});
