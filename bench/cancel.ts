/**
 * Cancel: how long a slot stays taken when a client wants its task ended.
 *
 * Operation: with one slot, one task that decodes and one that waits, `POST …/cancel` of the first. Units, ms, at the client:
 * `204` from the request to its answer, after which the log gains no token; `slot` from the request to the `started` event of
 * the task that waited, so with its grant and its way to the client. Engines: the scripted one (acknowledges at its next step)
 * and llama.cpp with the built-in model. Not measured: many cancels at once.
 *
 *   node dist/bench/cancel.js [--runs 200] [--json FILE]
 */
import { parseArgs } from 'node:util';
import { Orchestratord, type Task, type TaskEvent } from '../src/client/index.ts';
import { figure, machine, quantiles, report, table } from './report.ts';
import { Bench } from './subjects.ts';

const { values: options } = parseArgs({ options: { runs: { type: 'string', default: '200' }, json: { type: 'string' } } });

interface Row {
	readonly engine: string;
	readonly answeredMs: readonly number[];
	readonly slotMs: readonly number[];
}

const ask = { model_ref: 'bench', prompt: 'Tell me a story about a fox', max_tokens: 600 };

/** Resolves when the task's stream has shown an event of that type; the stream is left then. */
async function sees(task: Task, type: TaskEvent['type']): Promise<void> {
	for await (const event of task.events()) if (event.type === type) return;
	throw new Error(`${task.id} ended without ${type}`);
}

async function measure(bench: Bench, engine: string, pool: Readonly<Record<string, unknown>>, runs: number): Promise<Row> {
	const { port } = await bench.daemon({ pools: [pool] });
	// Each request is one, however it goes.
	const client = new Orchestratord({ url: `http://127.0.0.1:${port}`, retries: 0 });
	const answeredMs: number[] = [];
	const slotMs: number[] = [];
	for (let run = -10; run < runs; run += 1) {
		const first = await client.submit(ask);
		await sees(first, 'token');
		const next = await client.submit(ask);
		const started = sees(next, 'started');
		const from = performance.now();
		await first.cancel();
		const answered = performance.now() - from;
		await started;
		const slot = performance.now() - from;
		await next.cancel();
		if (run < 0) continue;
		answeredMs.push(answered);
		slotMs.push(slot);
	}
	return { engine, answeredMs, slotMs };
}

const runs = Number(options.runs);
const bench = new Bench();
const rows: Row[] = [];
try {
	const scripted = { prefill_tokens_per_s: 1e6, decode_tokens_per_s: 200, tokens: 600 };
	rows.push(
		await measure(
			bench,
			'scripted',
			{ id: 'bench', engine: 'scripted', model: 'scripted:bench', aliases: ['bench'], slots: 1, scripted },
			runs,
		),
	);
	rows.push(
		await measure(
			bench,
			'llama.cpp, built-in model',
			{ id: 'bench', engine: 'llamacpp', model: 'builtin', aliases: ['bench'], slots: 1 },
			runs,
		),
	);
} finally {
	await bench.close();
}
const at = (values: readonly number[], q: number): string => figure(quantiles(values, [q])[0] ?? Number.NaN, 1);
const text = table(rows, [
	{ title: 'engine', cell: (row) => row.engine },
	{ title: '204 p50 ms', cell: (row) => at(row.answeredMs, 0.5) },
	{ title: '204 p99 ms', cell: (row) => at(row.answeredMs, 0.99) },
	{ title: 'slot p50 ms', cell: (row) => at(row.slotMs, 0.5) },
	{ title: 'slot p90 ms', cell: (row) => at(row.slotMs, 0.9) },
	{ title: 'slot p99 ms', cell: (row) => at(row.slotMs, 0.99) },
]);
report('cancel', `cancel: ${runs} runs, ${machine()}\n\n${text}`, options.json, rows);
