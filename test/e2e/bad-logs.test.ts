/** The daemon under logs that cannot be written: a full disk, a reader that has left, one that stands still. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { checkOrder, submit, Watch } from './client.ts';
import { binary, freePort } from './daemon.ts';

const folder = mkdtempSync(join(tmpdir(), 'orchestratord-logs-'));
const started = new Set<ChildProcess>();
after(() => {
	for (const child of started) child.kill('SIGKILL');
	rmSync(folder, { recursive: true, force: true });
});

/** A daemon whose words go to `log`, a descriptor; ready when it answers so. */
async function daemonOver(log: number | 'pipe'): Promise<{ readonly url: string; readonly child: ChildProcess }> {
	const port = await freePort();
	const config = join(folder, `${port}.yaml`);
	const pool = { id: 'p', engine: 'scripted', model: 'scripted:p', slots: 4, scripted: { decode_tokens_per_s: 500, tokens: 20 } };
	writeFileSync(config, JSON.stringify({ listen: { addr: `127.0.0.1:${port}` }, pools: [pool], log: { level: 'debug' } }));
	const child = spawn(process.execPath, [binary, 'serve', '--no-supervise', '--config', config], { stdio: ['ignore', log, log] });
	started.add(child);
	// as if it had been read up to here by somebody who then left
	child.stdout?.destroy();
	child.stderr?.destroy();
	const url = `http://127.0.0.1:${port}`;
	const deadline = performance.now() + 30_000;
	for (;;) {
		const ready = await fetch(`${url}/ready`).then(
			(response) => response.status === 200,
			() => false,
		);
		if (ready) return { url, child };
		if (child.exitCode !== null || child.signalCode !== null) throw new Error(`the daemon ended (${child.exitCode ?? child.signalCode})`);
		if (performance.now() > deadline) throw new Error('not ready after 30 s');
		await new Promise((resolve) => setTimeout(resolve, 30));
	}
}

async function servesAndStops({ url, child }: { readonly url: string; readonly child: ChildProcess }, tasks: number): Promise<void> {
	for (let i = 0; i < tasks; i++) {
		const { task_id } = await submit(url, { model_ref: 'scripted:p', prompt: 'x', max_tokens: 2 });
		const seen = await (await Watch.open(url, task_id)).all();
		checkOrder(seen);
		assert.equal(seen.at(-1)?.name, 'end');
	}
	const gone = once(child, 'exit');
	child.kill('SIGTERM');
	await gone;
	assert.equal(child.exitCode, 0);
}

describe('a daemon whose log cannot be written', () => {
	it('serves and stops as ever over a full disk', async () => {
		const full = openSync('/dev/full', 'w');
		try {
			await servesAndStops(await daemonOver(full), 5);
		} finally {
			closeSync(full);
		}
	});

	it('serves and stops as ever after the reader of its log has left', async () => {
		await servesAndStops(await daemonOver('pipe'), 5);
	});

	it('waits for no reader that stands still', async () => {
		const path = join(folder, 'fifo');
		assert.equal(spawnSync('mkfifo', [path]).status, 0);
		const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
		const writer = openSync(path, constants.O_WRONLY);
		try {
			const daemon = await daemonOver(writer);
			// with the pipe full, every line from here on finds no room
			const filler = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
			assert.throws(() => {
				for (;;) writeFileSync(filler, 'x'.repeat(4096));
			}, /EAGAIN/);
			closeSync(filler);
			await servesAndStops(daemon, 5);
			assert.ok(readSync(reader, Buffer.alloc(1024)) > 0);
		} finally {
			closeSync(writer);
			closeSync(reader);
		}
	});
});
