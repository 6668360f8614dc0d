/**
 * A live daemon's metrics under `promtool check metrics`, fresh and after tasks of every fate. Needs promtool in the path, which
 * `.ci/metrics` sees to.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import { metricSpecs } from '../../src/transport/telemetry/metric-names.ts';
import { postJson, submit, Watch } from '../e2e/client.ts';
import { type Daemon, startDaemon } from '../e2e/daemon.ts';

/** What promtool may say, by metric, and why it stays: each must still be said, or it goes from this list. */
const allowed: Readonly<Record<string, { readonly complaint: string; readonly reason: string }>> = inShortUnits(
	'latency_first_token_ms',
	'latency_decode_ms',
	'inter_token_latency_ms',
	'relay_latency_us',
	'event_loop_lag_ms',
	'cancel_latency_ms',
	'journal_commit_ms',
);

function inShortUnits(...names: readonly string[]): typeof allowed {
	const complaint = 'metric names should not contain abbreviated units';
	const reason = 'the name and its unit are promised to clients; the help text spells the unit out';
	return Object.fromEntries(names.map((name) => [name, { complaint, reason }]));
}

function complaintsOf(text: string): string[] {
	const ran = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
	assert.equal(ran.error, undefined, `promtool cannot be run: ${ran.error?.message ?? ''}`);
	// 3: it read all and has complaints; anything else but 0: it could not read it
	assert.ok(ran.status === 0 || ran.status === 3, `promtool ended with ${ran.status}: ${ran.stderr}${ran.stdout}`);
	return `${ran.stdout}${ran.stderr}`.split('\n').filter((line) => line.trim() !== '');
}

async function scrape(daemon: Daemon): Promise<string> {
	const response = await fetch(`${daemon.url}/metrics`);
	assert.equal(response.status, 200);
	return response.text();
}

describe('the metrics of a daemon, as promtool reads them', () => {
	let daemon: Daemon;
	before(async () => {
		const scripted = { prefill_tokens_per_s: 5000, decode_tokens_per_s: 400, tokens: 40 };
		daemon = await startDaemon({
			config: {
				pools: [
					{ id: 'quick', engine: 'scripted', model: 'scripted:quick', aliases: ['default'], slots: 2, scripted },
					{
						id: 'slow',
						engine: 'scripted',
						model: 'scripted:slow',
						slots: 1,
						queue: { capacity: 1 },
						scripted: { ...scripted, decode_tokens_per_s: 20 },
					},
				],
			},
		});
	});
	after(async () => {
		assert.equal(await daemon.stop(), 0);
	});

	it('are clean before the first task, and every family is there', async () => {
		const text = await scrape(daemon);
		assert.deepEqual(unexpected(complaintsOf(text)), []);
		for (const { name, type, help } of metricSpecs) assert.ok(text.includes(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`), name);
	});

	it('are clean after tasks that ended, failed, were refused and were cancelled, and name none of them', async () => {
		const done = await submit(daemon.url, { model_ref: 'default', prompt: 'one' });
		const chat = await submit(daemon.url, { model_ref: 'default', messages: [{ role: 'user', content: 'two' }], priority: 'batch' });
		const vectors = await submit(daemon.url, { model_ref: 'default', workload: 'embedding', inputs: ['three'] });
		const running = await submit(daemon.url, {
			model_ref: 'scripted:slow',
			prompt: 'four',
			session_id: '0192f0a0-0000-7000-8000-000000000000',
		});
		const begun = await Watch.open(daemon.url, running.task_id);
		await begun.until('token');
		const waiting = await submit(daemon.url, { model_ref: 'scripted:slow', prompt: 'five' });
		assert.equal((await postJson(daemon.url, '/v2/tasks', { model_ref: 'scripted:slow', prompt: 'six' })).status, 429);
		assert.equal((await postJson(daemon.url, '/v2/tasks', { model_ref: 'nowhere', prompt: 'seven' })).status, 404);
		for (const { task_id } of [waiting, running]) {
			assert.equal((await postJson(daemon.url, `/v2/tasks/${task_id}/cancel`, {})).status, 204);
		}
		for (const { task_id } of [done, chat, vectors, running, waiting]) await (await Watch.open(daemon.url, task_id)).all();
		const text = await scrape(daemon);
		const complaints = complaintsOf(text);
		assert.deepEqual(unexpected(complaints), []);
		for (const [name, { complaint }] of Object.entries(allowed)) {
			assert.ok(complaints.includes(`${name} ${complaint}`), `promtool no longer says "${name} ${complaint}": take it from the list`);
		}
		for (const { task_id } of [done, chat, vectors, running, waiting]) assert.ok(!text.includes(task_id));
		assert.doesNotMatch(text, /0192f0a0-/);
		assert.match(text, /^tasks_rejected_total\{engine="scripted",reason="ADMISSION_REJECT"\} 1$/m);
		assert.match(text, /^cancel_latency_ms_count\{stage="slot-free"\} 1$/m);
	});
});

function unexpected(complaints: readonly string[]): string[] {
	return complaints.filter((line) => !Object.entries(allowed).some(([name, { complaint }]) => line === `${name} ${complaint}`));
}
