/** What happens to the process tree when parts of it die: hosts, the daemon, the terminal's user. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { checkOrder, submit, Watch } from './client.ts';
import { type Daemon, descendants, ended, startDaemon } from './daemon.ts';

function hosts(daemon: Daemon): number[] {
	return descendants(daemon.pid).filter((pid) => /(llama|scripted)-host/.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8')));
}

const slow = {
	pools: [
		{
			id: 'slow',
			engine: 'scripted',
			model: 'scripted:slow',
			slots: 4,
			scripted: { prefill_tokens_per_s: 5000, decode_tokens_per_s: 50, tokens: 500 },
		},
	],
};

async function readyAgain(daemon: Daemon): Promise<void> {
	const deadline = performance.now() + 30_000;
	for (;;) {
		const response = await fetch(`${daemon.url}/ready`);
		await response.body?.cancel();
		if (response.status === 200) return;
		if (performance.now() > deadline) throw new Error('not ready again after 30 s');
		await new Promise((resolve) => setTimeout(resolve, 50));
	}
}

describe('the process tree', () => {
	it('survives a killed engine host: the replica comes back by itself, and its task goes on there', async () => {
		const daemon = await startDaemon({ config: slow });
		const { task_id } = await submit(daemon.url, { model_ref: 'scripted:slow', prompt: 'x', max_tokens: 20 });
		const watch = await Watch.open(daemon.url, task_id);
		const first = await watch.until('token');
		const [host] = hosts(daemon);
		assert.ok(host !== undefined);
		process.kill(host, 'SIGKILL');
		const whole = [...first, ...(await watch.all())];
		checkOrder(whole);
		assert.equal(whole.at(-1)?.data['tokens_out'], 20);
		// A new task waits for the replica that is coming back, and runs on it.
		const next = await submit(daemon.url, { model_ref: 'scripted:slow', prompt: 'x', max_tokens: 5 });
		const seen = await (await Watch.open(daemon.url, next.task_id)).all();
		checkOrder(seen);
		assert.equal(seen.at(-1)?.name, 'end', JSON.stringify(seen.at(-1)));
		await readyAgain(daemon);
		assert.notDeepEqual(hosts(daemon), [host]);
		assert.equal(await daemon.stop(), 0);
	});

	it('leaves no engine host behind when the daemon alone is killed with SIGKILL', async () => {
		const daemon = await startDaemon();
		const running = hosts(daemon);
		assert.equal(running.length, 1);
		process.kill(daemon.pid, 'SIGKILL');
		for (const pid of running) await ended(pid);
		await daemon.stop();
	});

	it('is started again by its parent after a crash, which says what was lost', async () => {
		const daemon = await startDaemon({ config: slow, supervise: true });
		const { task_id } = await submit(daemon.url, { model_ref: 'scripted:slow', prompt: 'x' });
		const watch = await Watch.open(daemon.url, task_id);
		await watch.until('token');
		const [child] = descendants(daemon.pid).filter((pid) => /main\.js|orchestratord/.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8')));
		assert.ok(child !== undefined);
		process.kill(child, 'SIGKILL');
		await assert.rejects(watch.all());
		await daemon.said(new RegExp(task_id));
		await daemon.said(/is ready on[\s\S]*is ready on/);
		const next = await submit(daemon.url, { model_ref: 'scripted:slow', prompt: 'x', max_tokens: 5 });
		assert.equal((await (await Watch.open(daemon.url, next.task_id)).all()).at(-1)?.name, 'end');
		assert.equal(await daemon.stop(), 0);
	});

	it('goes on after a hangup, lets running tasks finish on SIGTERM, and takes no new ones', async () => {
		const daemon = await startDaemon({ config: slow });
		const { task_id } = await submit(daemon.url, { model_ref: 'scripted:slow', prompt: 'x', max_tokens: 60 });
		const watch = await Watch.open(daemon.url, task_id);
		await watch.until('token');
		daemon.child.kill('SIGHUP');
		daemon.child.kill('SIGTERM');
		const rest = await watch.all();
		assert.equal(rest.at(-1)?.name, 'end');
		assert.equal(rest.at(-1)?.data['finish_reason'], 'length');
		assert.equal(await daemon.stop(), 0);
		assert.doesNotMatch(daemon.output(), /"level":"(warn|error)"/);
		assert.match(daemon.output(), /The configuration was reloaded: no pool has changed/);
	});
});
