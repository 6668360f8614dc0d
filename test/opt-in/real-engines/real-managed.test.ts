/**
 * A pool that starts a real llama-server by its preset: served, streamed, cancelled, killed and back, its log read, nothing left behind. Only
 * `run.ts` runs it, with a `llama-server` in the path.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { postJson, submit, textOf, Watch } from '../../e2e/client.ts';
import { binary, type Daemon, descendants, ended, repository, startDaemon } from '../../e2e/daemon.ts';

const suite = (): void => {
	let daemon: Daemon;
	before(async () => {
		const model = `file:${repository}models/tiny-chat.gguf`;
		daemon = await startDaemon({
			config: {
				pools: [
					{ id: 'real', engine: 'openai', provider: 'managed', preset: 'llama-server', model, aliases: ['default'], slots: 2, ctx: 1_024 },
				],
				log: { dir: 'off' },
			},
		});
	});
	after(async () => {
		const pids = descendants(daemon.pid);
		assert.equal(await daemon.stop(), 0);
		await Promise.all(pids.map((pid) => ended(pid)));
	});

	const ask = { model_ref: 'default', messages: [{ role: 'user', content: 'Tell me a story about a fox' }] };
	const serves = async (): Promise<void> => {
		const { task_id: id } = await submit(daemon.url, { ...ask, sampling: { temperature: 0 } });
		const events = await (await Watch.open(daemon.url, id)).all();
		assert.equal(events.at(-1)?.name, 'end', JSON.stringify(events.at(-1)));
		assert.match(textOf(events), /fox/i);
		for (const name of ['tokens_in', 'tokens_out']) assert.ok(Number(events.at(-1)?.data[name]) > 5, name);
	};
	/** One that goes on for long, once it has begun. */
	const begun = async (): Promise<{ id: string; watch: Watch }> => {
		const json_schema = { type: 'array', items: { type: 'integer' }, minItems: 500 };
		const { task_id: id } = await submit(daemon.url, { ...ask, max_tokens: 900, sampling: { temperature: 0, json_schema } });
		const watch = await Watch.open(daemon.url, id);
		await watch.until('token');
		return { id, watch };
	};
	const enginePid = (): number => {
		const pid = descendants(daemon.pid).find((each) => /llama[-_]server.*--parallel/s.test(readFileSync(`/proc/${each}/cmdline`, 'utf8')));
		assert.ok(pid !== undefined);
		return pid;
	};

	it('serves chats with the template of the model', serves);

	it('cancels a task that streams, and its slots serve the next', async () => {
		for (let round = 0; round < 4; round += 1) {
			const { id, watch } = await begun();
			assert.equal((await postJson(daemon.url, `/v2/tasks/${id}/cancel`, {})).status, 204);
			assert.equal((await watch.all()).at(-1)?.data['finish_reason'], 'canceled');
		}
		await Promise.all([serves(), serves()]);
	});

	it('fails what it ran when it is killed, and starts it again', async () => {
		const { watch } = await begun();
		const pid = enginePid();
		process.kill(pid, 'SIGKILL');
		const last = (await watch.all()).at(-1);
		assert.equal(last?.name, 'error', JSON.stringify(last));
		assert.equal(last?.data['code'], 'WORKER_RESET');
		await daemon.said(/the engine process was killed \(SIGKILL\).*Next try/);
		await serves();
		assert.notEqual(enginePid(), pid);
	});

	it('shows what it wrote', () => {
		const { stdout, status } = spawnSync(process.execPath, [binary, 'pools', 'logs', 'real', '--url', daemon.url], { encoding: 'utf8' });
		assert.equal(status, 0);
		assert.ok((stdout.match(/loading model/g) ?? []).length >= 2, stdout);
	});
};

if (process.env['REAL_ENGINE'] !== undefined) describe('a pool that starts a real llama-server by its preset', suite);
