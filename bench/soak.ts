/**
 * Soak: whether anything stays behind. A daemon serves a steady mix for some minutes: tasks that are watched to their end, left
 * by their watchers, cancelled while queued and while running, never watched, asked for again; then it is left alone.
 *
 * Operation: one task. Sampled each second: resident memory, open files, actors, timers and questions under way. The slope is
 * that of a least-squares line over the second half of the load, in KiB a minute; `after` is what is left once all tasks are
 * forgotten. Fails when actors, timers, questions or watchers do not come back to what they were, or a task was lost.
 * Not measured: speed.
 *
 *   node dist/bench/soak.js [--minutes 2] [--rate 40] [--json FILE]
 */
import { readdirSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { figure, machine, report, table } from './report.ts';
import { Bench, residentBytes } from './subjects.ts';

const { values: options } = parseArgs({
	options: { minutes: { type: 'string', default: '2' }, rate: { type: 'string', default: '40' }, json: { type: 'string' } },
});

interface Sample {
	readonly atS: number;
	readonly residentKib: number;
	readonly files: number;
	readonly actors: number;
	readonly timers: number;
	readonly asks: number;
	readonly watchers: number;
}

const retentionMs = 1_000;
const pool = {
	id: 'bench',
	engine: 'scripted',
	model: 'scripted:bench',
	slots: 16,
	queue: { capacity: 64 },
	scripted: { prefill_tokens_per_s: 20_000, decode_tokens_per_s: 200, tokens: 40 },
};
/** What a client does with its task, in turn. */
const fates = ['watch', 'leave', 'cancel-running', 'cancel-queued', 'forget', 'watch', 'again', 'watch'] as const;

let ended = 0;
let refused = 0;
let broken = 0;

async function client(url: string, fate: (typeof fates)[number]): Promise<void> {
	const body = JSON.stringify({
		model_ref: 'scripted:bench',
		prompt: 'a fox',
		...(fate === 'again' ? { task_id: crypto.randomUUID() } : {}),
	});
	const post = (): Promise<Response> => fetch(`${url}/v2/tasks`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
	const response = await post();
	const answer = (await response.json()) as { readonly task_id: string };
	if (response.status === 429) {
		refused += 1;
		return;
	}
	if (response.status !== 202) throw new Error(`submit answered ${response.status}`);
	const task = `${url}/v2/tasks/${answer.task_id}`;
	if (fate === 'forget') return;
	if (fate === 'cancel-queued') {
		await fetch(task, { method: 'DELETE' });
		return;
	}
	if (fate === 'again' && ((await (await post()).json()) as { readonly task_id: string }).task_id !== answer.task_id)
		throw new Error('another task for the same id');
	const events = await fetch(`${task}/events`);
	let text = '';
	for await (const part of events.body ?? []) {
		text += Buffer.from(part as Uint8Array).toString('latin1');
		if (fate === 'leave' && text.includes('event: token')) return;
		if (fate === 'cancel-running' && text.includes('event: token')) await fetch(`${task}/cancel`, { method: 'POST' });
	}
	if (/event: (end|error)\n/.test(text.slice(-600))) ended += 1;
	else throw new Error(`a stream of ${answer.task_id} stopped without an end`);
}

function sum(metrics: string, name: string): number {
	let total = 0;
	for (const [, value] of metrics.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'gm'))) total += Number(value);
	return total;
}

async function sample(url: string, pid: number, atS: number): Promise<Sample> {
	const metrics = await (await fetch(`${url}/metrics`)).text();
	return {
		atS,
		residentKib: residentBytes(pid) / 1024,
		files: readdirSync(`/proc/${pid}/fd`).length,
		actors: sum(metrics, 'actors'),
		timers: sum(metrics, 'actor_timers'),
		asks: sum(metrics, 'actor_asks'),
		watchers: sum(metrics, 'sse_watchers'),
	};
}

/** KiB a minute. */
function slope(samples: readonly Sample[]): number {
	const meanAt = samples.reduce((total, each) => total + each.atS, 0) / samples.length;
	const meanKib = samples.reduce((total, each) => total + each.residentKib, 0) / samples.length;
	let [over, under] = [0, 0];
	for (const { atS, residentKib } of samples) {
		over += (atS - meanAt) * (residentKib - meanKib);
		under += (atS - meanAt) ** 2;
	}
	return (over / under) * 60;
}

const wait = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

async function soak(bench: Bench): Promise<boolean> {
	const { port, pid } = await bench.daemon({ pools: [pool], tasks: { retention_ms: retentionMs } });
	const url = `http://127.0.0.1:${port}`;
	await wait(2_000);
	const before = await sample(url, pid, 0);
	const samples: Sample[] = [];
	const clients = new Set<Promise<void>>();
	const from = performance.now();
	const loadMs = Number(options.minutes) * 60_000;
	let begun = 0;
	while (performance.now() - from < loadMs) {
		for (; begun < ((performance.now() - from) / 1000) * Number(options.rate); begun += 1) {
			const one = client(url, fates[begun % fates.length] ?? 'watch')
				.catch((error: unknown) => {
					broken += 1;
					process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
				})
				.finally(() => clients.delete(one));
			clients.add(one);
		}
		const atS = (performance.now() - from) / 1000;
		if (samples.length < Math.floor(atS)) samples.push(await sample(url, pid, atS));
		await wait(20);
	}
	await Promise.all(clients);
	await wait(retentionMs * 3 + 7_000);
	const after = await sample(url, pid, (performance.now() - from) / 1000);
	const last = samples.slice(Math.floor(samples.length / 2));
	const rows = [
		{ when: 'idle before', ...before },
		{ when: 'under load, last', ...(samples.at(-1) ?? before) },
		{ when: 'left alone', ...after },
	];
	const text = table(rows, [
		{ title: 'when', cell: (row) => row.when },
		{ title: 'RSS MiB', cell: (row) => figure(row.residentKib / 1024, 1) },
		{ title: 'open files', cell: (row) => figure(row.files) },
		{ title: 'actors', cell: (row) => figure(row.actors) },
		{ title: 'timers', cell: (row) => figure(row.timers) },
		{ title: 'asks', cell: (row) => figure(row.asks) },
		{ title: 'watchers', cell: (row) => figure(row.watchers) },
	]);
	const head = `soak: ${options.minutes} min at ${options.rate} tasks/s, ${begun} tasks, ${ended} seen to their end, ${refused} refused with 429, ${broken} broken; ${machine()}`;
	report('soak', `${head}\n\n${text}\n\nRSS slope in the second half of the load: ${figure(slope(last))} KiB/min`, options.json, {
		before,
		samples,
		after,
		slopeKibPerMin: slope(last),
	});
	// A connection that clients keep for their next request is no leak.
	return broken === 0 && after.actors === before.actors && after.timers <= before.timers && after.asks === 0 && after.watchers === 0;
}

const bench = new Bench();
try {
	if (!(await soak(bench))) process.exitCode = 1;
} finally {
	await bench.close();
}
