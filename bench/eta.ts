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
import { Orchestratord } from '../src/client/index.ts';
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

async function runOne(client: Orchestratord, atMs: number): Promise<Seen> {
	const tenant = `tenant${random.below(3)}`;
	const batch = random.below(10) === 0;
	const input = {
		model_ref: 'bench',
		prompt: 'Once upon a time',
		max_tokens: maxTokens(),
		tenant,
		priority: batch ? 'batch' : 'interactive',
	} as const;
	const task = await client.submit(input);
	await task.result();
	const [told, info] = [task.accepted, await task.info()];
	if (told === null || info === null) throw new Error(`${task.id} is not known any more`);
	const { timings } = info;
	const waitedMs = timings.queue_ms ?? 0;
	return {
		atMs: Math.round(atMs),
		tenant,
		batch,
		toldMs: told.predicted_start_ms,
		toldP90Ms: told.predicted_start_p90_ms,
		waitedMs,
		heldMs: (timings.total_ms ?? 0) - waitedMs,
		tokensIn: info.tokens_in,
		tokensOut: info.tokens_out,
	};
}

const count = Number(options.tasks);
const bench = new Bench();
let seen: Seen[] = [];
try {
	const pool = { id: 'bench', engine: 'llamacpp', model: 'builtin', aliases: ['bench'], slots, queue: { capacity: 10_000 } };
	const { port } = await bench.daemon({ pools: [pool] });
	const client = new Orchestratord({ url: `http://127.0.0.1:${port}`, retries: 0, timeoutMs: 60_000 });
	for (let warm = 0; warm < 6; warm += 1) await runOne(client, 0);
	const alone = await Promise.all(Array.from({ length: 40 }, () => runOne(client, 0)));
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
		pending.push(runOne(client, performance.now() - start));
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
