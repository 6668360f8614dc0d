/** A daemon that starts an engine which is not its own: served, read, lost and back, and never left behind. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { nvidiaTwoA40 } from '../fixtures/device-tools.ts';
import { postJson, submit, textOf, Watch } from './client.ts';
import { type Daemon, ended, startDaemon } from './daemon.ts';

const server = fileURLToPath(
	new URL(`../engines/managed-server${import.meta.url.slice(import.meta.url.lastIndexOf('.'))}`, import.meta.url),
);

function pool(more: Readonly<Record<string, unknown>> = {}) {
	return {
		id: 'ours',
		engine: 'openai',
		provider: 'managed',
		model: 'small',
		command: `'${process.execPath}' '${server}' --port {port} --model {model} --late 50 --deaf`,
		env: { WISH: 'granted {slots}' },
		devices: [1],
		slots: 2,
		stop_ms: 200,
		...more,
	};
}

/** A folder for PATH with a tool that says what `nvidia-smi` says on a machine with two GPUs. */
function twoGpus(dir: string): string {
	const bin = join(dir, 'bin');
	mkdirSync(bin);
	writeFileSync(join(bin, 'nvidia-smi'), `#!/bin/sh\ncat <<'END'\n${nvidiaTwoA40}END\n`, { mode: 0o755 });
	return `${bin}:${process.env['PATH'] ?? ''}`;
}

interface Line {
	readonly id: number;
	readonly text: string;
}

/** Once that many of them match: what a process writes comes on a way of its own. */
async function linesOf(daemon: Daemon, pattern: RegExp, times = 1): Promise<readonly Line[]> {
	for (;;) {
		const answer = await fetch(`${daemon.url}/v2/pools/ours/logs?tail=1000`);
		const { lines } = (await answer.json()) as { lines: Line[] };
		if (lines.filter(({ text }) => pattern.test(text)).length >= times) return lines;
		await new Promise((resolve) => setTimeout(resolve, 20));
	}
}

const pidsLine = /^pids (\d+) (\d+)$/;

/** Of the engine that was started as the n-th: itself and its child. */
async function pidsOf(daemon: Daemon, start = 1): Promise<readonly number[]> {
	const lines = await linesOf(daemon, pidsLine, start);
	const said = lines.map(({ text }) => pidsLine.exec(text)).filter((match) => match !== null)[start - 1];
	assert.ok(said !== undefined, 'it says who it is');
	return said.slice(1).map(Number);
}

describe('a daemon that starts an engine which is not its own', () => {
	it('gives it a port, its model, devices and environment, serves from it, shows what it writes, measures its devices, starts it again when it ends, and ends it', async () => {
		const dir = mkdtempSync(join(tmpdir(), 'orchd-engine-log-'));
		const runtime = mkdtempSync(join(tmpdir(), 'orchd-run-'));
		const env = { XDG_RUNTIME_DIR: runtime, PATH: twoGpus(dir) };
		const daemon = await startDaemon({ config: { pools: [pool()], log: { dir } }, env });
		const { task_id: id } = await submit(daemon.url, { model_ref: 'small', prompt: 'a prompt that no log of ours holds' });
		assert.equal(textOf(await (await Watch.open(daemon.url, id)).all()), 'well done');
		const lines = await linesOf(daemon, /^asked .*that no log of ours holds/);
		assert.ok(lines.some(({ text }) => text === 'devices 1, wish granted 2'));
		assert.doesNotMatch(daemon.output(), /that no log of ours holds|wish granted/);
		assert.match(await (await fetch(`${daemon.url}/v2/pools/ours`)).text(), /"provider":"managed".*"device":"device 1"/);
		const metrics = await (await fetch(`${daemon.url}/metrics`)).text();
		const ofDevice = (metric: string): readonly string[] =>
			metrics.split('\n').flatMap((line) => (line.startsWith(`${metric}{`) ? [line.replace(/^.*,device="(\d)"\} /, '$1: ')] : []));
		assert.deepEqual([ofDevice('gpu_utilization'), ofDevice('vram_used_bytes')], [['1: 0.87'], [`1: ${30_210 * 2 ** 20}`]]);
		const before = await pidsOf(daemon);
		const { task_id: deadly } = await submit(daemon.url, { model_ref: 'small', prompt: 'die' });
		assert.equal((await (await Watch.open(daemon.url, deadly)).all()).at(-1)?.name, 'error');
		await daemon.said(/the engine process ended with exit code 3\. Next try/);
		const { task_id: next } = await submit(daemon.url, { model_ref: 'small', prompt: 'again' });
		assert.equal(textOf(await (await Watch.open(daemon.url, next)).all()), 'well done');
		const pids = await pidsOf(daemon, 2);
		assert.notDeepEqual(pids, before);
		assert.equal(await daemon.stop(), 0);
		await Promise.all([...before, ...pids].map((pid) => ended(pid)));
		const file = join(dir, 'ours.log');
		assert.match(readFileSync(file, 'utf8'), /^\S+Z ours-0 pids \d+ \d+$/m);
		assert.equal(statSync(file).mode & 0o777, 0o600);
		assert.deepEqual(readdirSync(runtime), [], 'its private folder is gone');
		rmSync(dir, { recursive: true });
		rmSync(runtime, { recursive: true });
	});

	it('gives it a folder for its caches that outlives it, until a purge deletes what is in there, and nothing else', async () => {
		const dir = mkdtempSync(join(tmpdir(), 'orchd-caches-'));
		const runtime = mkdtempSync(join(tmpdir(), 'orchd-run-'));
		const env = { XDG_RUNTIME_DIR: runtime };
		const config = { pools: [pool({ env: { WISH: '{cache_dir}/kernels' }, replicas: 2 })], log: { dir: 'off' }, store: { cache_dir: dir } };
		const daemon = await startDaemon({ config, env });
		const folders = ['ours-0', 'ours-1'].map((id) => join(dir, 'ours', id));
		for (const folder of folders) {
			await linesOf(daemon, new RegExp(`wish ${folder}/kernels$`));
			writeFileSync(join(folder, 'kernels'), 'compiled');
		}
		writeFileSync(join(dir, 'ours', 'mine'), 'not a cache');
		const before = await pidsOf(daemon);
		const purge = async (body: unknown): Promise<unknown> => {
			const answer = await postJson(daemon.url, '/v2/pools/ours/purge', body);
			assert.equal(answer.status, 202);
			const told: unknown = await answer.json();
			for (;;) {
				const state = (await (await fetch(`${daemon.url}/v2/pools/ours`)).json()) as Record<string, unknown>;
				assert.equal(state['last_error'], null);
				if (state['reloading_to'] === null) return told;
				await new Promise((resolve) => setTimeout(resolve, 20));
			}
		};
		assert.deepEqual(await purge({}), { pool_id: 'ours', purging: true, cache_dirs: [] });
		for (const folder of folders)
			assert.equal(readFileSync(join(folder, 'kernels'), 'utf8'), 'compiled', 'by a purge that says nothing of it');
		assert.deepEqual(await purge({ delete_cache_dirs: true }), { pool_id: 'ours', purging: true, cache_dirs: folders });
		for (const folder of folders) assert.deepEqual(readdirSync(folder), []);
		assert.equal(readFileSync(join(dir, 'ours', 'mine'), 'utf8'), 'not a cache');
		await Promise.all(before.map((pid) => ended(pid)));
		const { task_id: id } = await submit(daemon.url, { model_ref: 'small', prompt: 'x' });
		assert.equal(textOf(await (await Watch.open(daemon.url, id)).all()), 'well done');
		assert.equal(await daemon.stop(), 0);
		for (const each of [dir, runtime]) rmSync(each, { recursive: true });
	});

	it('leaves nothing of it behind when the daemon alone is killed with SIGKILL', async () => {
		const runtime = mkdtempSync(join(tmpdir(), 'orchd-run-'));
		const daemon = await startDaemon({ config: { pools: [pool()], log: { dir: 'off' } }, env: { XDG_RUNTIME_DIR: runtime } });
		const pids = await pidsOf(daemon);
		daemon.child.kill('SIGKILL');
		await Promise.all(pids.map((pid) => ended(pid)));
		await daemon.stop();
		rmSync(runtime, { recursive: true });
	});
});
