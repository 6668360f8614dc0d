/**
 * ETA: how honest the starts are that clients are told, on llama.cpp with the built-in model.
 *
 * Operation: bursts of tasks of three tenants, a tenth of them batch work, answers of very different lengths that nobody
 * announces, over two slots that are two thirds busy on average. Of each task that waited: the start that its 202 foretold (the
 * middle and the 90th percentile) against the one that came. Not measured: tasks that found a free slot, and the first tenth.
 * `--trace FILE` writes what came and how long each slot was held, for tests to replay.
 *
 *   node dist/bench/eta.js [--tasks 800] [--json FILE] [--trace FILE]
 */
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { SeededRandom } from '../src/actors/kernel/seeded-random.ts';
import { figure, machine, quantiles, report, table } from './report.ts';
import { Bench } from './subjects.ts';

const { values: options } = parseArgs({
	options: { tasks: { type: 'string', default: '800' }, json: { type: 'string' }, trace: { type: 'string' } },
});

interface Seen {
	readonly atMs: number;
	readonly tenant: string;
	readonly batch: boolean;
	readonly toldMs: number;
	readonly toldP90Ms: number;
	readonly waitedMs: number;
	readonly heldMs: number;
	readonly tokensIn: number;
	readonly tokensOut: number;
}

const slots = 2;
const random = new SeededRandom(11);
const exponential = (mean: number): number => -Math.log(1 - random.next()) * mean;
const maxTokens = (): number => Math.max(2, Math.round(Math.min(400, 12 * Math.exp(exponential(0.8)))));

async function json(url: string, init?: RequestInit): Promise<Record<string, unknown>> {
	const response = await fetch(url, init);
	if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
	return (await response.json()) as Record<string, unknown>;
}

async function runOne(url: string, atMs: number): Promise<Seen> {
	const tenant = `tenant${random.below(3)}`;
	const batch = random.below(10) === 0;
	const body = {
		model_ref: 'bench',
		prompt: 'Once upon a time',
		max_tokens: maxTokens(),
		tenant,
		priority: batch ? 'batch' : 'interactive',
	};
	const told = await json(`${url}/v2/tasks`, {
		method: 'POST',
		headers: { 'content-type': 'application/json' },
		body: JSON.stringify(body),
	});
	const id = String(told['task_id']);
	await json(`${url}/v2/tasks/${id}/result`);
	const task = await json(`${url}/v2/tasks/${id}`);
	const timings = task['timings'] as Record<string, number>;
	const waitedMs = timings['queue_ms'] ?? 0;
	return {
		atMs: Math.round(atMs),
		tenant,
		batch,
		toldMs: Number(told['predicted_start_ms']),
		toldP90Ms: Number(told['predicted_start_p90_ms']),
		waitedMs,
		heldMs: (timings['total_ms'] ?? 0) - waitedMs,
		tokensIn: Number(task['tokens_in']),
		tokensOut: Number(task['tokens_out']),
	};
}

const count = Number(options.tasks);
const bench = new Bench();
let seen: Seen[] = [];
try {
	const pool = { id: 'bench', engine: 'llamacpp', model: 'builtin', aliases: ['bench'], slots, queue: { capacity: 10_000 } };
	const { port } = await bench.daemon({ pools: [pool] });
	const url = `http://127.0.0.1:${port}`;
	for (let warm = 0; warm < 6; warm += 1) await runOne(url, 0);
	const alone = await Promise.all(Array.from({ length: 40 }, () => runOne(url, 0)));
	const serviceMs = alone.reduce((sum, each) => sum + each.heldMs, 0) / alone.length;
	const start = performance.now();
	const pending: Promise<Seen>[] = [];
	let nextAt = 0;
	let busyUntil = 0;
	while (pending.length < count) {
		if (nextAt > busyUntil) {
			nextAt += exponential(15 * serviceMs);
			busyUntil = nextAt + exponential(15 * serviceMs);
		}
		nextAt += exponential(serviceMs / slots / 1.3);
		await sleep(Math.max(0, nextAt - (performance.now() - start)));
		pending.push(runOne(url, performance.now() - start));
	}
	seen = await Promise.all(pending);
} finally {
	await bench.close();
}

const waited = seen.slice(Math.floor(count / 10)).filter((each) => each.toldMs > 0);
const part = (rows: readonly Seen[], within: (each: Seen) => boolean): string =>
	`${figure((100 * rows.filter(within).length) / Math.max(1, rows.length), 1)} %`;
const rows = [
	{ what: 'all', rows: waited },
	{ what: 'interactive', rows: waited.filter(({ batch }) => !batch) },
	{ what: 'batch', rows: waited.filter(({ batch }) => batch) },
];
const text = table(rows, [
	{ title: 'tasks that waited', cell: (row) => row.what },
	{ title: 'number', cell: (row) => figure(row.rows.length) },
	{
		title: 'waited p50 ms',
		cell: (row) =>
			figure(
				quantiles(
					row.rows.map(({ waitedMs }) => waitedMs),
					[0.5],
				)[0] ?? Number.NaN,
			),
	},
	{
		title: 'waited p90 ms',
		cell: (row) =>
			figure(
				quantiles(
					row.rows.map(({ waitedMs }) => waitedMs),
					[0.9],
				)[0] ?? Number.NaN,
			),
	},
	{ title: 'started by the p50 told', cell: (row) => part(row.rows, ({ waitedMs, toldMs }) => waitedMs <= toldMs) },
	{ title: 'started by the p90 told', cell: (row) => part(row.rows, ({ waitedMs, toldP90Ms }) => waitedMs <= toldP90Ms) },
]);
report('eta', `eta: ${count} tasks, ${machine()}\n\n${text}`, options.json, seen);
if (options.trace !== undefined) {
	const lines = seen.map(({ atMs, heldMs, tokensIn, tokensOut, tenant, batch }) =>
		[atMs, heldMs, tokensIn, tokensOut, tenant.slice('tenant'.length), Number(batch)].join(','),
	);
	writeFileSync(options.trace, `at_ms,held_ms,tokens_in,tokens_out,tenant,batch\n${lines.join('\n')}\n`);
}
