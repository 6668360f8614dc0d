/** The threads of a whole daemon are killed one at a time: what runs goes on, what waits is served, nothing is told twice. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { loadConfig } from '../../src/config.ts';
import { type Daemon, startDaemon } from '../../src/daemon.ts';
import { checkOrder, pieces, postJson, submit, textOf, Watch } from './client.ts';
import { freePort } from './daemon.ts';

const pool = {
	id: 'slow',
	engine: 'scripted',
	model: 'scripted:slow',
	slots: 2,
	scripted: { prefill_tokens_per_s: 5000, decode_tokens_per_s: 100, tokens: 200 },
};
const task = { model_ref: 'scripted:slow', prompt: 'x', seed: 1 };

/** Submits until it is taken: a scheduler that is away refuses with a retriable 503. */
async function submitWhenTaken(url: string, body: Readonly<Record<string, unknown>>): Promise<string> {
	const deadline = performance.now() + 20_000;
	for (;;) {
		const response = await postJson(url, '/v2/tasks', body);
		const answer = (await response.json()) as { task_id: string; retriable?: boolean };
		if (response.status === 202) return answer.task_id;
		assert.equal(answer.retriable, true, JSON.stringify(answer));
		if (performance.now() > deadline) throw new Error('not taken for 20 s');
		await new Promise((resolve) => setTimeout(resolve, 20));
	}
}

describe('a daemon that loses a thread', () => {
	const folder = mkdtempSync(join(tmpdir(), 'orchestratord-threads-'));
	let daemon: Daemon;
	const events: string[] = [];
	before(async () => {
		const file = join(folder, 'config.yaml');
		const port = await freePort();
		writeFileSync(file, JSON.stringify({ listen: { addr: `127.0.0.1:${port}` }, pools: [pool], log: { level: 'error' } }));
		daemon = await startDaemon(loadConfig([`--config=${file}`]), (_level, event) => events.push(event));
		await daemon.settled();
	});
	after(async () => {
		await daemon.stop(1_000);
		rmSync(folder, { recursive: true, force: true });
	});

	it('control: running streams do not notice, the queued run afterwards, new ones are admitted again', async () => {
		const undisturbed = await (await Watch.open(daemon.url, (await submit(daemon.url, task)).task_id)).all();
		const running = await Promise.all([submit(daemon.url, task), submit(daemon.url, task)]);
		const watches = await Promise.all(running.map(({ task_id }) => Watch.open(daemon.url, task_id)));
		const begun = await Promise.all(watches.map((watch) => watch.until('token')));
		const queued = await submit(daemon.url, { ...task, max_tokens: 10 });
		const waiting = await Watch.open(daemon.url, queued.task_id);
		daemon.killThread('control');
		const fresh = await submitWhenTaken(daemon.url, { ...task, max_tokens: 10 });
		for (const [index, watch] of watches.entries()) {
			const seen = [...(begun[index] ?? []), ...(await watch.all())];
			checkOrder(seen);
			assert.equal(seen.at(-1)?.name, 'end');
			assert.equal(textOf(seen), textOf(undisturbed));
		}
		const afterwards = await waiting.all();
		checkOrder(afterwards);
		assert.equal(pieces(afterwards).length, 10);
		const seenFresh = await (await Watch.open(daemon.url, fresh)).all();
		checkOrder(seenFresh);
		assert.equal(seenFresh.at(-1)?.name, 'end');
		assert.ok(events.includes('thread-lost') && events.includes('thread-restarted'));
		// Both slots are there again: two tasks run at once.
		const both = await Promise.all([submit(daemon.url, { ...task, max_tokens: 50 }), submit(daemon.url, { ...task, max_tokens: 50 })]);
		const views = await Promise.all(both.map(async ({ task_id }) => (await Watch.open(daemon.url, task_id)).until('token')));
		assert.equal(views.length, 2);
		await Promise.all(both.map(({ task_id }) => fetch(`${daemon.url}/v2/tasks/${task_id}`, { method: 'DELETE' })));
	});

	it('control: what a session has used, holds and may still use outlives it', async () => {
		const id = crypto.randomUUID();
		const put = { method: 'PUT', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ budgets: { tokens: 300 } }) };
		const session = async (init: RequestInit = {}): Promise<Record<string, unknown>> => {
			const response = await fetch(`${daemon.url}/v2/sessions/${id}`, init);
			return response.status === 200 ? ((await response.json()) as Record<string, unknown>) : {};
		};
		const left = async (tokens: number): Promise<void> => {
			const deadline = performance.now() + 20_000;
			for (let told = await session(); told['tokens_budget_remaining'] !== tokens; told = await session()) {
				if (performance.now() > deadline) throw new Error(`${JSON.stringify(told)}; expected ${tokens} left`);
				await new Promise((resolve) => setTimeout(resolve, 20));
			}
		};
		assert.equal((await session(put))['tokens_budget_remaining'], 300);
		const inSession = { ...task, session_id: id };
		const first = (await (await Watch.open(daemon.url, (await submit(daemon.url, { ...inSession, max_tokens: 10 })).task_id)).all()).at(-1);
		const used = Number(first?.data['tokens_in']) + Number(first?.data['tokens_out']);
		const running = await submit(daemon.url, { ...inSession, max_tokens: 150 });
		const watch = await Watch.open(daemon.url, running.task_id);
		await watch.until('token');
		daemon.killThread('control');
		// What the running one has reserved is still its own.
		await left(300 - used - Number(first?.data['tokens_in']) - 150);
		const refused = await postJson(daemon.url, '/v2/tasks', { ...inSession, max_tokens: 150 });
		assert.deepEqual([refused.status, ((await refused.json()) as Record<string, unknown>)['policy_label']], [429, 'budget.tokens']);
		await fetch(`${daemon.url}/v2/tasks/${running.task_id}`, { method: 'DELETE' });
		const end = (await watch.all()).at(-1)?.data;
		await left(300 - used - Number(end?.['tokens_in']) - Number(end?.['tokens_out']));
		assert.equal((await session())['turns'], 2);
	});

	it('engine: running tasks go on with the engine that comes back, and the next one runs there', async () => {
		const { task_id } = await submit(daemon.url, { ...task, max_tokens: 50 });
		const watch = await Watch.open(daemon.url, task_id);
		const first = await watch.until('token');
		daemon.killThread('engine-0');
		const whole = [...first, ...(await watch.all())];
		checkOrder(whole);
		assert.equal(whole.at(-1)?.data['tokens_out'], 50);
		const next = await submitWhenTaken(daemon.url, { ...task, max_tokens: 5 });
		const seen = await (await Watch.open(daemon.url, next)).all();
		checkOrder(seen);
		assert.equal(seen.at(-1)?.name, 'end');
	});
});
