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
import { figure, machine, quantiles, report, table } from './report.ts';
import { Bench } from './subjects.ts';

const { values: options } = parseArgs({ options: { runs: { type: 'string', default: '200' }, json: { type: 'string' } } });

interface Row {
	readonly engine: string;
	readonly answeredMs: readonly number[];
	readonly slotMs: readonly number[];
}

async function submit(url: string, model: string): Promise<string> {
	const response = await fetch(`${url}/v2/tasks`, {
		method: 'POST',
		headers: { 'content-type': 'application/json' },
		body: JSON.stringify({ model_ref: model, prompt: 'Tell me a story about a fox', max_tokens: 600 }),
	});
	if (response.status !== 202) throw new Error(`${response.status}: ${await response.text()}`);
	return ((await response.json()) as { readonly task_id: string }).task_id;
}

/** Resolves when the task's stream has shown `event`; the stream is left then. */
async function sees(url: string, id: string, event: string): Promise<void> {
	const response = await fetch(`${url}/v2/tasks/${id}/events`);
	const decoder = new TextDecoder();
	let text = '';
	for await (const part of response.body ?? []) {
		text += decoder.decode(part as Uint8Array, { stream: true });
		if (text.includes(`event: ${event}\n`)) return;
	}
	throw new Error(`${id} ended without ${event}`);
}

async function measure(bench: Bench, engine: string, pool: Readonly<Record<string, unknown>>, runs: number): Promise<Row> {
	const { port } = await bench.daemon({ pools: [pool] });
	const url = `http://127.0.0.1:${port}`;
	const model = 'bench';
	const answeredMs: number[] = [];
	const slotMs: number[] = [];
	for (let run = -10; run < runs; run += 1) {
		const first = await submit(url, model);
		await sees(url, first, 'token');
		const next = await submit(url, model);
		const started = sees(url, next, 'started');
		const from = performance.now();
		const response = await fetch(`${url}/v2/tasks/${first}/cancel`, { method: 'POST' });
		const answered = performance.now() - from;
		if (response.status !== 204) throw new Error(`cancel answered ${response.status}`);
		await started;
		const slot = performance.now() - from;
		await fetch(`${url}/v2/tasks/${next}`, { method: 'DELETE' });
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
