/** Durable tasks of a real daemon that is killed in the middle of its work, or told to stop, and started again on the same store. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { taskSchema } from '../../src/transport/api/response-schemas.ts';
import { json } from '../transport/published-answers.ts';
import { checkOrder, numbered, pieces, postJson, submit, textOf, Watch } from './client.ts';
import { binary, type Daemon, type DaemonOptions, startDaemon } from './daemon.ts';

const folder = mkdtempSync(join(tmpdir(), 'orchestratord-durable-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const pools = [
	{
		id: 'demo',
		engine: 'scripted',
		model: 'scripted:demo',
		aliases: ['default'],
		slots: 1,
		scripted: { decode_tokens_per_s: 60, tokens: 60 },
	},
];
const batch = { model_ref: 'default', prompt: 'x', priority: 'batch', seed: 3 };

const start = (store: string, more: Partial<DaemonOptions> = {}): Promise<Daemon> =>
	startDaemon({ config: { pools, store: { path: join(folder, store) }, shutdown: { grace_ms: 1_000 } }, ...more });

async function kill(daemon: Daemon): Promise<void> {
	const gone = once(daemon.child, 'exit');
	daemon.child.kill('SIGKILL');
	await gone;
	await daemon.stop();
}

const taskOf = async (daemon: Daemon, id: string): Promise<Record<string, unknown>> =>
	json(await fetch(`${daemon.url}/v2/tasks/${id}`), 200, taskSchema);

describe('a daemon that is killed', () => {
	it('runs again what had not ended, in its order, and knows what had: each once, under numbers of its own', async () => {
		const daemon = await start('killed');
		const done = await submit(daemon.url, { ...batch, max_tokens: 5 });
		const whole = await (await Watch.open(daemon.url, done.task_id)).all();
		checkOrder(whole);
		const running = await submit(daemon.url, batch);
		const waiting = await submit(daemon.url, batch);
		const cancelled = await submit(daemon.url, batch);
		const lost = await submit(daemon.url, { ...batch, durable: false });
		const keyed = await postJson(daemon.url, '/v2/tasks', batch, { 'idempotency-key': 'once' });
		assert.equal(keyed.status, 202);
		const { task_id: keyedId } = (await keyed.json()) as { task_id: string };
		const watch = await Watch.open(daemon.url, running.task_id);
		const begun = await watch.until('token');
		assert.deepEqual([begun.at(-1)?.run, begun.at(-1)?.id], [1, 2]);
		assert.equal((await postJson(daemon.url, `/v2/tasks/${cancelled.task_id}/cancel`, {})).status, 204);
		await kill(daemon);
		await watch.all().catch((error: unknown) => assert.ok(error instanceof Error));

		const next = await start('killed');
		const replayed = numbered(await (await Watch.open(next.url, done.task_id, { after: '1.3' })).all());
		assert.deepEqual(
			replayed,
			whole.filter(({ id }) => (id ?? 0) > 3),
			'it goes on where it broke off',
		);
		assert.equal((await taskOf(next, cancelled.task_id))['state'], 'canceled');
		assert.equal((await fetch(`${next.url}/v2/tasks/${lost.task_id}`)).status, 404);
		const stale = await fetch(`${next.url}/v2/tasks/${running.task_id}/events`, { headers: { 'last-event-id': '1.2' } });
		assert.equal(stale.status, 410);
		assert.equal(((await stale.json()) as { code: string }).code, 'EVENTS_EXPIRED');
		const again = await postJson(next.url, '/v2/tasks', batch, { 'idempotency-key': 'once' });
		assert.deepEqual([again.status, ((await again.json()) as { task_id: string }).task_id], [202, keyedId]);
		const runs = await Promise.all(
			[running, waiting, { task_id: keyedId }].map(async ({ task_id: id }) => (await Watch.open(next.url, id)).all()),
		);
		for (const events of runs) {
			checkOrder(events);
			assert.deepEqual([...new Set(events.filter(({ id }) => id !== null).map(({ run }) => run))], [2]);
			assert.equal(pieces(events).length, 60);
			assert.equal(textOf(events), textOf(runs[0] ?? []));
		}
		const starts = await Promise.all(
			[running.task_id, waiting.task_id, keyedId].map(async (id) => {
				const { timings, last_event_id: last } = await taskOf(next, id);
				assert.equal(last, '2.62');
				return (timings as { started_at_ms: number }).started_at_ms;
			}),
		);
		assert.deepEqual(
			starts,
			[...starts].sort((a, b) => a - b),
		);
		await next.stop();
	});
});

describe('a session whose daemon is killed', () => {
	it('has used what it had used, and gets no more than was left; one that was forgotten stays so', async () => {
		const put = { method: 'PUT', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ budgets: { tokens: 300 } }) };
		const session = async (daemon: Daemon, id: string, init: RequestInit = {}): Promise<Record<string, unknown>> => {
			const response = await fetch(`${daemon.url}/v2/sessions/${id}`, init);
			return response.status === 200 ? ((await response.json()) as Record<string, unknown>) : { status: response.status };
		};
		const daemon = await start('sessions', { fronts: 1 });
		const [id, forgotten] = [crypto.randomUUID(), crypto.randomUUID()];
		assert.equal((await session(daemon, id, put))['tokens_budget_remaining'], 300);
		assert.equal((await session(daemon, forgotten, put))['tokens_budget_remaining'], 300);
		const task = { model_ref: 'default', prompt: 'x', seed: 3, session_id: id };
		const { task_id: first } = await submit(daemon.url, { ...task, max_tokens: 30 });
		const end = (await (await Watch.open(daemon.url, first)).all()).at(-1);
		const left = 300 - Number(end?.data['tokens_in']) - Number(end?.data['tokens_out']);
		const told = await session(daemon, id);
		assert.deepEqual([told['tokens_budget_remaining'], told['turns']], [left, 1]);
		assert.equal((await fetch(`${daemon.url}/v2/sessions/${forgotten}`, { method: 'DELETE' })).status, 204);
		// What was told before is on disk with it.
		const durable = await submit(daemon.url, { ...batch, session_id: id, max_tokens: 20 });
		await kill(daemon);

		const next = await start('sessions', { fronts: 2 });
		const again = (await (await Watch.open(next.url, durable.task_id)).all()).at(-1);
		const leftThen = left - Number(again?.data['tokens_in']) - Number(again?.data['tokens_out']);
		const known = await session(next, id);
		assert.deepEqual([known['tokens_budget_remaining'], known['turns']], [leftThen, 2]);
		assert.ok(Number(known['ttl_ms_remaining']) <= 600_000);
		assert.deepEqual(await session(next, forgotten), { status: 404 });
		const refused = await postJson(next.url, '/v2/tasks', { ...task, max_tokens: 60, prompt: 'p '.repeat(300) });
		assert.deepEqual([refused.status, ((await refused.json()) as Record<string, unknown>)['policy_label']], [429, 'budget.tokens']);
		await next.stop();
	});
});

describe('a daemon that is told to stop', () => {
	it('leaves durable tasks to the next one: waiting ones at once, running ones when their time is over', async () => {
		const daemon = await start('stopped');
		const running = await submit(daemon.url, { ...batch, max_tokens: 10 });
		const long = await submit(daemon.url, { ...batch, prompt: 'long' });
		const waiting = await Promise.all(Array.from({ length: 5 }, () => submit(daemon.url, { ...batch, max_tokens: 1 })));
		await (await Watch.open(daemon.url, long.task_id)).until('started');
		const events = await (await Watch.open(daemon.url, running.task_id)).all();
		const from = performance.now();
		assert.equal(await daemon.stop(), 0);
		assert.ok(performance.now() - from < 5_000);
		const next = await start('stopped');
		assert.deepEqual(numbered(await (await Watch.open(next.url, running.task_id)).all()), numbered(events));
		for (const { task_id: id } of [long, ...waiting]) checkOrder(await (await Watch.open(next.url, id)).all());
		await next.stop();
	});
});

describe('a daemon whose disk takes nothing more', () => {
	it('refuses what it cannot keep, tells no end that is not on disk, and serves all else as ever', async () => {
		const daemon = await start('full', { fileLimitKib: 512 });
		const kept: string[] = [];
		let refusal: { readonly code?: string; readonly retriable?: boolean; readonly message?: string } = {};
		for (let n = 0; refusal.code === undefined && n < 200; n += 1) {
			const response = await postJson(daemon.url, '/v2/tasks', { ...batch, prompt: 'p'.repeat(20_000), max_tokens: 1 });
			const answer = (await response.json()) as { task_id: string } & typeof refusal;
			if (response.status === 202) kept.push(answer.task_id);
			else {
				assert.deepEqual([response.status, response.headers.get('retry-after') !== null], [503, true]);
				refusal = answer;
			}
		}
		assert.deepEqual([refusal.code, refusal.retriable], ['POOL_UNREADY', true]);
		assert.match(refusal.message ?? '', /could not be written to disk/);
		assert.ok(kept.length > 3, `${kept.length} were kept`);
		const other = await submit(daemon.url, { ...batch, durable: false, max_tokens: 3 });
		checkOrder(await (await Watch.open(daemon.url, other.task_id)).all());
		await daemon.said(/"event":"journal-failed"/);
		await kill(daemon);
		const next = await start('full');
		for (const id of kept) checkOrder(await (await Watch.open(next.url, id)).all());
		await next.stop();
	});
});

describe('a daemon whose store is damaged', () => {
	const path = join(folder, 'damaged');

	const command = (...argv: string[]): Promise<{ readonly code: number; readonly out: string; readonly err: string }> =>
		new Promise((resolve) => {
			// One that serves where it should not is ended.
			execFile(process.execPath, [binary, ...argv, '--store.path', path], { timeout: 60_000 }, (error, out, err) =>
				resolve({ code: typeof error?.code === 'number' ? error.code : 0, out, err }),
			);
		});

	it('does not start, says what to do, and runs what is left once that is done', async () => {
		const daemon = await start('damaged');
		const tasks = await Promise.all(
			Array.from({ length: 30 }, (_, n) => submit(daemon.url, { ...batch, prompt: `${n} `.repeat(600), max_tokens: 20 })),
		);
		const busy = await command('store', 'check');
		assert.equal(busy.code, 69);
		assert.match(busy.err, /is in use by an orchestratord/);
		await kill(daemon);
		const file = join(path, 'journal', 'data.mdb');
		const bytes = readFileSync(file);
		const spoiled = Buffer.from(bytes);
		// Pages that are in use, and those that were before them.
		const id = tasks[29]?.task_id ?? assert.fail();
		for (let place = bytes.indexOf(id); place >= 0; place = bytes.indexOf(id, place + 1)) spoiled.fill(0xee, place, place + 100);
		writeFileSync(file, spoiled);

		const refused = await command('serve', '--no-supervise', '--addr', '127.0.0.1:0', '--model', 'builtin');
		assert.equal(refused.code, 69);
		assert.match(refused.err, /the store in \S+ is damaged: .*orchestratord store check .*orchestratord store repair/);
		const check = await command('store', 'check');
		assert.deepEqual([check.code, check.out.includes('journal: damaged')], [1, true]);
		const repair = await command('store', 'repair', '--json');
		assert.equal(repair.code, 0, repair.err);
		const { parts } = JSON.parse(repair.out) as { parts: { name: string; problems: string[]; kept_as: string | null }[] };
		const journal = parts.find(({ name }) => name === 'journal');
		assert.ok(readFileSync(journal?.kept_as ?? '').equals(spoiled));
		assert.equal((await command('store', 'check')).code, 0);

		const next = await start('damaged');
		const states = await Promise.all(
			tasks.map(async ({ task_id: id }) => {
				const response = await fetch(`${next.url}/v2/tasks/${id}/events`);
				if (response.status === 404) return 'lost';
				await response.text();
				return (await taskOf(next, id))['state'];
			}),
		);
		assert.ok(states.filter((state) => state === 'done').length >= 25, states.join());
		assert.ok(
			states.every((state) => state === 'done' || state === 'lost'),
			states.join(),
		);
		await next.stop();
	});
});
