/** Metrics of several threads as one, and a log through which no prompt passes. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { packageRoot } from '../../src/config-root.ts';
import { loggedFields, threadLog } from '../../src/transport/telemetry/logs.ts';
import { metricSpecs } from '../../src/transport/telemetry/metric-names.ts';
import { threadTelemetry } from '../../src/transport/telemetry/metrics.ts';
import { addRetained, renderMetrics, retained } from '../../src/transport/telemetry/metrics-merge.ts';

const quiet = threadLog({ thread: 'test', level: 'error' });

function telemetryOf(thread: string) {
	return threadTelemetry({ thread, log: quiet });
}

describe('the metrics', () => {
	it('are all registered before their first sample, under the names, types and labels of the contract', async () => {
		const text = await renderMetrics([await telemetryOf('a').snapshot()]);
		for (const { name, type } of metricSpecs) assert.match(text, new RegExp(`^# TYPE ${name} ${type}$`, 'm'));
		const labels = new Map(metricSpecs.map((spec) => [spec.name, spec.labels.join(' ')]));
		assert.equal(labels.get('tasks_enqueued_total'), 'engine engine_version pool_id replica_id priority');
		assert.equal(labels.get('queue_depth'), 'engine engine_version pool_id priority');
		assert.equal(labels.get('latency_first_token_ms'), 'engine engine_version pool_id priority');
		assert.equal(labels.get('placement_decisions_total'), 'outcome pinned fallback');
		assert.ok(metricSpecs.every((spec) => !spec.labels.some((label) => /task|session/.test(label))));
	});

	it('refuse a name, a label or a type that is not in the table', () => {
		const telemetry = telemetryOf('a');
		assert.throws(() => telemetry.count('tokens', {}), /no metric tokens/);
		assert.throws(() => telemetry.count('tokens_in_total', { task_id: 'x' }), /no label task_id/);
		assert.throws(() => telemetry.count('queue_depth', {}), /gauge, not a counter/);
		assert.throws(() => telemetry.gauge('tokens_in_total', {}, 1), /counter, not a gauge/);
		assert.throws(() => telemetry.observe('queue_depth', {}, 1), /gauge, not a histogram/);
	});

	it('include every one that the sources record', () => {
		const known = new Set(metricSpecs.map(({ name }) => name));
		const folder = join(packageRoot(), 'src');
		const used = readdirSync(folder, { recursive: true, encoding: 'utf8' })
			.filter((path) => path.endsWith('.ts'))
			.flatMap((path) => [...readFileSync(join(folder, path), 'utf8').matchAll(/elemetry\.(?:count|gauge|observe)\('([a-z_]+)'/g)])
			.map((match) => match[1] ?? '');
		assert.ok(used.length > 10);
		assert.deepEqual(
			used.filter((name) => !known.has(name)),
			[],
		);
	});

	it('add up over threads, survive the clone between them, and take the largest where a sum means nothing', async () => {
		const one = telemetryOf('a');
		const two = telemetryOf('b');
		for (const telemetry of [one, two]) {
			telemetry.count('tokens_out_total', { pool_id: 'p' }, 21);
			telemetry.observe('latency_first_token_ms', { pool_id: 'p', priority: 'batch' }, 12);
			telemetry.gauge('sse_watchers', {}, 3);
			telemetry.gauge('replica_state', { pool_id: 'p', replica_id: 'r', state: 'ready' }, 1);
		}
		const text = await renderMetrics([await one.snapshot(), structuredClone(await two.snapshot())]);
		assert.match(text, /^tokens_out_total\{engine="",engine_version="",pool_id="p",replica_id=""\} 42$/m);
		assert.match(text, /^latency_first_token_ms_count\{.*priority="batch"\} 2$/m);
		assert.match(text, /^latency_first_token_ms_bucket\{le="20".*\} 2$/m);
		assert.match(text, /^sse_watchers 6$/m);
		assert.match(text, /^replica_state\{.*\} 1$/m);
	});

	it('are those of the daemon where each front has a part: parts of counts and of ratios add up, states do not', async () => {
		const told = ['front-0', 'front-1', 'front-2'].map((thread, index) => {
			const telemetry = telemetryOf(thread);
			telemetry.gauge('kv_cache_usage_ratio', { pool_id: 'p', replica_id: 'r' }, index === 2 ? 0 : 0.25);
			telemetry.gauge('ws_sockets', {}, index);
			telemetry.gauge('mailbox_depth', { actor: '/tasks' }, index);
			telemetry.gauge('event_loop_lag_ms', { thread }, index);
			return telemetry;
		});
		const control = telemetryOf('control');
		control.gauge('slots', { pool_id: 'p', replica_id: 'r', state: 'free' }, 4);
		control.gauge('model_state', { model_id: 'm', state: 'Active' }, 1);
		const text = await renderMetrics(await Promise.all([...told, control].map((telemetry) => telemetry.snapshot())));
		assert.match(text, /^kv_cache_usage_ratio\{.*\} 0\.5$/m);
		assert.match(text, /^ws_sockets 3$/m);
		assert.match(text, /^mailbox_depth\{.*\} 2$/m);
		assert.match(text, /^slots\{.*state="free"\} 4$/m);
		assert.match(text, /^model_state\{.*state="Active"\} 1$/m);
		for (const index of [0, 1, 2]) assert.ok(text.includes(`\nevent_loop_lag_ms{thread="front-${index}"} ${index}\n`));
		assert.deepEqual(
			metricSpecs
				.filter((spec) => spec.type === 'gauge' && spec.merge === 'max' && spec.labels.includes('pool_id'))
				.map(({ name }) => name),
			['gpu_utilization', 'vram_used_bytes', 'replica_state', 'replica_breaker'],
		);
	});

	it('keep the counters of ended threads and forget their gauges, so that no counter falls', async () => {
		const first = telemetryOf('front-0');
		first.count('tokens_out_total', { pool_id: 'p' }, 5);
		first.gauge('sse_watchers', {}, 9);
		first.observe('latency_decode_ms', {}, 70);
		const second = telemetryOf('front-0');
		second.count('tokens_out_total', { pool_id: 'p' }, 3);
		second.observe('latency_decode_ms', {}, 70);
		const kept = addRetained(retained(await first.snapshot()), await second.snapshot());
		const third = telemetryOf('front-0');
		third.count('tokens_out_total', { pool_id: 'p' }, 2);
		const text = await renderMetrics([kept, await third.snapshot()]);
		assert.match(text, /^tokens_out_total\{.*\} 10$/m);
		assert.match(text, /^latency_decode_ms_count\{.*\} 2$/m);
		assert.match(text, /^latency_decode_ms_bucket\{le="100".*\} 2$/m);
		assert.match(text, /^sse_watchers 0$/m);
	});

	it('show a series that is expected at 0, of any type, and never set one back that has samples', async () => {
		const telemetry = telemetryOf('a');
		const labels = { pool_id: 'p', priority: 'batch' };
		telemetry.observe('latency_decode_ms', labels, 70);
		telemetry.count('tokens_out_total', { pool_id: 'p' }, 5);
		telemetry.gauge('slots', { pool_id: 'p', state: 'busy' }, 2);
		for (const pool of ['p', 'q']) {
			for (const metric of ['latency_decode_ms', 'latency_first_token_ms']) telemetry.expect(metric, { ...labels, pool_id: pool });
			telemetry.expect('tokens_out_total', { pool_id: pool });
			telemetry.expect('slots', { pool_id: pool, state: 'busy' });
		}
		const text = await renderMetrics([await telemetry.snapshot()]);
		assert.match(text, /^latency_decode_ms_count\{.*pool_id="p".*\} 1$/m);
		assert.match(text, /^latency_decode_ms_bucket\{le="50".*pool_id="q".*\} 0$/m);
		assert.match(text, /^latency_first_token_ms_count\{.*pool_id="p".*\} 0$/m);
		assert.match(text, /^tokens_out_total\{.*pool_id="p".*\} 5$/m);
		assert.match(text, /^tokens_out_total\{.*pool_id="q".*\} 0$/m);
		assert.match(text, /^slots\{.*pool_id="p".*\} 2$/m);
		assert.match(text, /^slots\{.*pool_id="q".*\} 0$/m);
		telemetry.observe('latency_first_token_ms', { ...labels, pool_id: 'q' }, 3);
		assert.match(await renderMetrics([await telemetry.snapshot()]), /^latency_first_token_ms_count\{.*pool_id="q".*\} 1$/m);
	});

	it('tell of the heap of each thread under its name, and of the process once', async () => {
		const threads = ['front-0', 'control'].map((thread) => threadTelemetry({ thread, log: quiet, heapDefaults: true }));
		const main = threadTelemetry({ thread: 'main', log: quiet, processDefaults: true });
		const all = [...threads, main];
		const text = await renderMetrics(await Promise.all(all.map((telemetry) => telemetry.snapshot())));
		for (const thread of ['front-0', 'control'])
			assert.match(text, new RegExp(`^nodejs_heap_size_used_bytes\\{thread="${thread}"\\} \\d+$`, 'm'));
		assert.equal(text.match(/^process_resident_memory_bytes /gm)?.length, 1);
		assert.match(text, /^process_start_time_seconds \d+$/m);
		assert.doesNotMatch(text, /^nodejs_active_/m);
		for (const telemetry of all) telemetry.close();
	});

	it('are not changed by a scrape, those of the process included', async () => {
		const telemetry = threadTelemetry({ thread: 'main', log: quiet, processDefaults: true });
		const names = (await telemetry.snapshot()).map(({ name }) => name);
		assert.ok(names.includes('process_resident_memory_bytes'));
		assert.ok(!names.some((name) => name.startsWith('nodejs_eventloop_lag')), 'these start anew with each scrape');
		assert.deepEqual(
			(await telemetry.snapshot()).map(({ name }) => name),
			names,
		);
		telemetry.close();
	});
});

describe('the log', () => {
	function lines(level: 'debug' | 'info' | 'warn' | 'error') {
		const written: string[] = [];
		return { log: threadLog({ thread: 'front-0', level, to: { write: (line: string) => written.push(line) } }), written };
	}

	it('is one JSON line an event, with its time, level and thread', () => {
		const { log, written } = lines('info');
		log('info', 'task-admitted', {
			task_id: 't',
			pool_id: 'p',
			queue_position: 2,
			human: 'Queued.\nReally.',
			session_id: undefined,
			retryInMs: 5,
		});
		assert.equal(written.length, 1);
		assert.ok(written[0]?.endsWith('\n') && !written[0].slice(0, -1).includes('\n'));
		const { time, ...line } = JSON.parse(written[0] ?? '') as Record<string, unknown>;
		assert.ok(!Number.isNaN(Date.parse(String(time))));
		assert.deepEqual(line, {
			level: 'info',
			thread: 'front-0',
			event: 'task-admitted',
			task_id: 't',
			pool_id: 'p',
			queue_position: 2,
			retry_in_ms: 5,
			human: 'Queued.\nReally.',
		});
	});

	it('lets through known fields with plain values only, and names what it held back', () => {
		const { log, written } = lines('info');
		log('warn', 'odd', { prompt: 'SECRET', text: 'SECRET', reason: { deep: 'SECRET' }, api_key: 'SECRET', code: 'INTERNAL' });
		assert.doesNotMatch(written[0] ?? '', /SECRET/);
		const line = JSON.parse(written[0] ?? '') as Record<string, unknown>;
		assert.equal(line['code'], 'INTERNAL');
		assert.equal(line['dropped'], 'prompt,text,reason,api_key');
		for (const name of ['prompt', 'messages', 'text', 'output', 'key', 'body', 'content', 'query', 'headers'])
			assert.ok(!loggedFields.has(name));
	});

	it('cuts long values, and leaves out what is below its level', () => {
		const { log, written } = lines('warn');
		log('info', 'quiet', {});
		log('error', 'loud', { message: 'm'.repeat(5000) });
		assert.equal(written.length, 1);
		assert.ok((written[0]?.length ?? 0) < 1300);
	});
});
