/**
 * The metrics of a whole daemon, scraped all the time while its threads are killed: no counter falls, none disappears, nothing that
 * was seen is forgotten, and a scrape changes nothing.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { loadConfig } from '../../src/config.ts';
import { type Daemon, startDaemon } from '../../src/daemon.ts';
import { postJson, submit, Watch } from './client.ts';
import { freePort } from './daemon.ts';
import { plantedKey } from './leaks.ts';

const tokens = 20;
const pool = {
	id: 'demo',
	engine: 'scripted',
	model: 'scripted:demo',
	slots: 4,
	scripted: { prefill_tokens_per_s: 1_000_000, decode_tokens_per_s: 1000, tokens },
};
/** One whose tasks are still running when they are looked at. */
const slow = {
	...pool,
	id: 'slow',
	model: 'scripted:slow',
	slots: 1,
	scripted: { ...pool.scripted, decode_tokens_per_s: 20, tokens: 1000 },
};
const task = { model_ref: 'scripted:demo', prompt: `one two ${plantedKey}`, seed: 1 };

/** Values by series, of one scrape; and which of them may only grow. */
interface Scrape {
	readonly values: ReadonlyMap<string, number>;
	readonly growing: ReadonlySet<string>;
}

function parse(text: string): Scrape {
	const values = new Map<string, number>();
	const growing = new Set<string>();
	let type = '';
	for (const line of text.split('\n')) {
		if (line.startsWith('# TYPE ')) type = line.split(' ').at(-1) ?? '';
		if (line === '' || line.startsWith('#')) continue;
		const end = line.lastIndexOf(' ');
		values.set(line.slice(0, end), Number(line.slice(end + 1)));
		if (type === 'counter' || type === 'histogram') growing.add(line.slice(0, end));
	}
	return { values, growing };
}

/** What fell or vanished from one scrape to the next. */
function fallen(before: Scrape, now: Scrape): string[] {
	return [...before.growing]
		.filter((series) => (now.values.get(series) ?? Number.NEGATIVE_INFINITY) < (before.values.get(series) ?? 0))
		.map((series) => `${series}: ${before.values.get(series)} → ${now.values.get(series)}`);
}

/** What differs between two scrapes, but for what is looked at anew each time or with each heartbeat. */
function changed(before: Scrape, now: Scrape): string[] {
	return [...new Set([...before.values.keys(), ...now.values.keys()])]
		.filter((series) => !/^(process_|nodejs_|event_loop_lag_ms|actors|actor_|mailbox_depth)/.test(series))
		.filter((series) => before.values.get(series) !== now.values.get(series));
}

describe('the metrics of a daemon', () => {
	const folder = mkdtempSync(join(tmpdir(), 'orchestratord-metrics-'));
	let daemon: Daemon;
	before(async () => {
		const file = join(folder, 'config.yaml');
		const port = await freePort();
		writeFileSync(file, JSON.stringify({ listen: { addr: `127.0.0.1:${port}` }, pools: [pool, slow], log: { level: 'error' } }));
		daemon = await startDaemon(loadConfig([`--config=${file}`]), () => {});
		await daemon.settled();
	});
	after(async () => {
		await daemon.stop(1_000);
		rmSync(folder, { recursive: true, force: true });
	});

	async function scrape(): Promise<Scrape> {
		const response = await fetch(`${daemon.url}/metrics`);
		assert.equal(response.status, 200);
		assert.equal(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
		return parse(await response.text());
	}

	/** The sum over the series of a metric. */
	function total({ values }: Scrape, metric: string): number {
		let sum = 0;
		for (const [series, value] of values) if (series === metric || series.startsWith(`${metric}{`)) sum += value;
		return sum;
	}

	/** Runs a task to its end; true: it completed. One that is refused because a thread is away is tried again. */
	async function run(): Promise<boolean> {
		for (const deadline = performance.now() + 20_000; performance.now() < deadline; ) {
			const response = await postJson(daemon.url, '/v2/tasks', task);
			const { task_id } = (await response.json()) as { task_id: string };
			if (response.status === 202) return (await (await Watch.open(daemon.url, task_id)).all()).at(-1)?.name === 'end';
			await new Promise((resolve) => setTimeout(resolve, 20));
		}
		throw new Error('not taken for 20 s');
	}

	it('are there at 0 before the first task: counters, histograms and gauges of its pool and replica', async () => {
		let { values } = await scrape();
		const free = 'slots{pool_id="demo",replica_id="demo-0",state="free"}';
		for (const deadline = performance.now() + 10_000; values.get(free) !== 4 && performance.now() < deadline; )
			({ values } = await scrape());
		const replica = 'engine="scripted",engine_version="scripted-1",pool_id="demo",replica_id="demo-0"';
		const ofPool = 'engine="scripted",engine_version="scripted-1",pool_id="demo",priority="batch"';
		for (const series of [
			`tasks_started_total{${replica},priority="interactive"}`,
			`tasks_canceled_total{${replica},reason="client"}`,
			'tasks_rejected_total{engine="scripted",reason="ADMISSION_REJECT"}',
			'tasks_dropped_total{engine="scripted",pool_id="demo",priority="batch"}',
			'admission_backpressure_events_total{engine="scripted",policy="reject"}',
			`tokens_out_total{${replica}}`,
			'placement_decisions_total{outcome="assigned",pinned="false",fallback="false"}',
			`queue_depth{${ofPool}}`,
			`latency_first_token_ms_count{${ofPool}}`,
			`latency_decode_ms_bucket{le="60000",${ofPool}}`,
			`inter_token_latency_ms_sum{${ofPool}}`,
			'eta_error_ratio_count{pool_id="demo"}',
			'migrations_total{pool_id="demo",reason="replica-lost"}',
			'preemptions_total{pool_id="demo",reason="interactive"}',
			'slots{pool_id="demo",replica_id="demo-0",state="busy"}',
			'replica_state{pool_id="demo",replica_id="demo-0",state="failed"}',
			'cancel_latency_ms_count{stage="slot-free"}',
			'wasted_tokens_total{reason="disconnect"}',
			'mailbox_depth{actor="/dispatcher/demo"}',
			'sse_watchers',
			'dead_letters_total',
			'gen_ai_server_request_duration_count{gen_ai_operation_name="chat",gen_ai_provider_name="scripted",gen_ai_request_model="scripted:demo",error_type=""}',
		]) {
			assert.equal(values.get(series), 0, series);
		}
		assert.equal(values.get(free), 4);
		assert.equal(values.get('replica_state{pool_id="demo",replica_id="demo-0",state="ready"}'), 1);
		for (const thread of ['main', 'front-0', 'control', 'engine-0']) {
			assert.ok(thread === 'main' || values.has(`event_loop_lag_ms{thread="${thread}"}`), thread);
		}
		assert.ok((values.get('process_start_time_seconds') ?? 0) > 1_700_000_000);
	});

	it('are not changed by a scrape', async () => {
		await run();
		let before = await scrape();
		// The gauges of what has just ended come a moment later.
		for (let settled = false; !settled; ) {
			await new Promise((resolve) => setTimeout(resolve, 300));
			const now = await scrape();
			settled = changed(before, now).length === 0;
			before = now;
		}
		for (let times = 0; times < 5; times += 1) assert.deepEqual(changed(before, await scrape()), []);
	});

	it('never fall, vanish or forget while the control and the engine thread are killed and come back', async () => {
		const first = await scrape();
		let last = first;
		let scrapes = 0;
		const falls: string[] = [];
		let watching = true;
		const watcher = (async () => {
			while (watching) {
				const now = await scrape();
				falls.push(...fallen(last, now));
				last = now;
				scrapes += 1;
				await new Promise((resolve) => setTimeout(resolve, 25));
			}
		})();
		watcher.catch(() => undefined);
		let completed = 0;
		for (const thread of ['control', 'engine-0', 'control'] as const) {
			for (let n = 0; n < 3; n += 1) completed += Number(await run());
			// What was counted up to here was seen, and must be there in the end.
			const seen = await scrape();
			const started = total(seen, 'tasks_started_total') - total(first, 'tasks_started_total');
			assert.ok(started >= completed, `${started} of ${completed} before ${thread}`);
			daemon.killThread(thread);
		}
		completed += Number(await run());
		watching = false;
		await watcher;
		assert.deepEqual(falls, []);
		assert.ok(scrapes > 5, `${scrapes} scrapes`);
		const end = await scrape();
		assert.deepEqual(fallen(last, end), []);
		const grown = (metric: string) => total(end, metric) - total(first, metric);
		assert.ok(grown('tasks_started_total') >= completed && completed >= 10, `${grown('tasks_started_total')} of ${completed}`);
		assert.ok(grown('tokens_out_total') >= completed * tokens);
		assert.equal(grown('latency_decode_ms_count'), completed);
		assert.equal(grown('gen_ai_server_time_to_first_token_count'), completed);
	});

	it('hold what a cancel took, and count the slot that came back', async () => {
		const before = await scrape();
		const { task_id } = await submit(daemon.url, { ...task, model_ref: 'scripted:slow' });
		const watch = await Watch.open(daemon.url, task_id);
		await watch.until('token');
		assert.ok(total(await scrape(), 'kv_cache_usage_ratio') > 0);
		await fetch(`${daemon.url}/v2/tasks/${task_id}`, { method: 'DELETE' });
		await watch.all();
		let now = await scrape();
		for (const deadline = performance.now() + 10_000; performance.now() < deadline; now = await scrape()) {
			if (total(now, 'cancel_latency_ms_count') > total(before, 'cancel_latency_ms_count')) break;
		}
		assert.equal(total(now, 'tasks_canceled_total') - total(before, 'tasks_canceled_total'), 1);
		assert.equal(total(now, 'cancel_latency_ms_count') - total(before, 'cancel_latency_ms_count'), 1);
	});
});
