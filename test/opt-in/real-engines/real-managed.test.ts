/**
 * A pool that starts a real engine by its preset: served, streamed, cancelled, killed and back, its log read, nothing left behind. Only
 * `run.ts` runs it, with the engine's program in the path.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { postJson, submit, textOf, Watch } from '../../e2e/client.ts';
import { binary, type Daemon, descendants, ended, startDaemon } from '../../e2e/daemon.ts';
import type { RealPreset } from './real-engine-kits.ts';

const suite = ({ pool, chats, process: command, says }: Omit<RealPreset, 'bin' | 'env' | 'withinMs'>): void => {
	let daemon: Daemon;
	before(async () => {
		const common = { id: 'real', provider: 'managed', aliases: ['default'], slots: 2, ctx: 1_024, ready_ms: 600_000 };
		daemon = await startDaemon({ config: { pools: [{ ...common, ...pool }], log: { dir: 'off' } } });
	});
	after(async () => {
		const pids = descendants(daemon.pid);
		assert.equal(await daemon.stop(), 0);
		await Promise.all(pids.map((pid) => ended(pid)));
	});

	const story = 'Tell me a story about a fox';
	const ask = chats ? { messages: [{ role: 'user', content: story }] } : { prompt: 'Once upon a time there was a fox', raw: true };
	const serves = async (): Promise<void> => {
		const { task_id: id } = await submit(daemon.url, { model_ref: 'default', ...ask, max_tokens: 60, sampling: { temperature: 0 } });
		const events = await (await Watch.open(daemon.url, id)).all();
		assert.equal(events.at(-1)?.name, 'end', JSON.stringify(events.at(-1)));
		if (chats) assert.match(textOf(events), /fox/i);
		for (const name of ['tokens_in', 'tokens_out']) assert.ok(Number(events.at(-1)?.data[name]) > 5, name);
	};
	/** One that goes on for long, once it has begun. */
	const begun = async (): Promise<{ id: string; watch: Watch }> => {
		const endless = { prompt: 'a a a a a a a a', raw: true, max_tokens: 900 };
		const { task_id: id } = await submit(daemon.url, { model_ref: 'default', ...endless, sampling: { temperature: 0 } });
		const watch = await Watch.open(daemon.url, id);
		await watch.until('token');
		return { id, watch };
	};
	const enginePid = (): number => {
		const is = new RegExp(command, 's');
		const pid = descendants(daemon.pid).find((each) => is.test(readFileSync(`/proc/${each}/cmdline`, 'utf8').replaceAll('\0', ' ')));
		assert.ok(pid !== undefined);
		return pid;
	};

	it('serves what it is asked, by the template of its model where it has one', serves);

	it('cancels tasks that stream, and their slots serve the next', async () => {
		const reasons: unknown[] = [];
		for (let round = 0; round < 8; round += 1) {
			const { id, watch } = await begun();
			assert.equal((await postJson(daemon.url, `/v2/tasks/${id}/cancel`, {})).status, 204);
			reasons.push((await watch.all()).at(-1)?.data['finish_reason']);
		}
		// A small model may have said all before it heard of it.
		assert.ok(reasons.includes('canceled') && reasons.every((reason) => reason === 'canceled' || reason === 'length'), reasons.join());
		await Promise.all([serves(), serves()]);
	});

	it('fails what it ran when it is killed, and starts it again', async () => {
		const { watch } = await begun();
		const pid = enginePid();
		const others = descendants(pid);
		process.kill(pid, 'SIGKILL');
		const last = (await watch.all()).at(-1);
		assert.ok(last?.name === 'error' || last?.name === 'end', JSON.stringify(last));
		// One that may go on behind its tokens was asked of the same engine again, perhaps, before that was known to be gone.
		if (last.name === 'error') assert.ok(['WORKER_RESET', 'POOL_UNREADY'].includes(String(last.data['code'])), JSON.stringify(last.data));
		await daemon.said(/the engine process was killed \(SIGKILL\).*Next try/);
		await serves();
		assert.notEqual(enginePid(), pid);
		await Promise.all(others.map((other) => ended(other)));
	});

	it('shows what it wrote', () => {
		const { stdout, status } = spawnSync(process.execPath, [binary, 'pools', 'logs', 'real', '--url', daemon.url], { encoding: 'utf8' });
		assert.equal(status, 0);
		assert.ok(stdout.split(says).length > 2, stdout);
	});
};

const preset = process.env['REAL_PRESET'];
if (preset !== undefined)
	describe('a pool that starts a real engine by its preset', () =>
		suite(JSON.parse(preset) as Omit<RealPreset, 'bin' | 'env' | 'withinMs'>));
