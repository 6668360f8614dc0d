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
import { DaemonError, Orchestratord, type Task } from '../src/client/index.ts';
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

async function client(daemon: Orchestratord, fate: (typeof fates)[number]): Promise<void> {
	const input = { model_ref: 'scripted:bench', prompt: 'a fox', ...(fate === 'again' ? { task_id: crypto.randomUUID() } : {}) };
	let task: Task;
	try {
		task = await daemon.submit(input);
	} catch (error) {
		if (!(error instanceof DaemonError) || error.status !== 429) throw error;
		refused += 1;
		return;
	}
	if (fate === 'forget') return;
	if (fate === 'cancel-queued') return task.cancel();
	if (fate === 'again' && (await daemon.submit(input)).id !== task.id) throw new Error('another task for the same id');
	const onRetry = (reason: string): void => {
		broken += 1;
		process.stderr.write(`a stream of ${task.id} stopped without an end: ${reason}\n`);
	};
	let cancelled = false;
	for await (const event of task.events({ onRetry })) {
		if (event.type === 'end' || event.type === 'error') ended += 1;
		if (event.type !== 'token') continue;
		if (fate === 'leave') return;
		if (fate === 'cancel-running' && !cancelled) await task.cancel();
		cancelled = true;
	}
}

function sum(metrics: string, name: string): number {
	let total = 0;
	for (const [, value] of metrics.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'gm'))) total += Number(value);
	return total;
}

async function sample(daemon: Orchestratord, pid: number, atS: number): Promise<Sample> {
	const metrics = await (await daemon.http.ask('/metrics')).text();
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
	// Each request is one, however it goes.
	const daemon = new Orchestratord({ url: `http://127.0.0.1:${port}`, retries: 0 });
	await wait(2_000);
	const before = await sample(daemon, pid, 0);
	const samples: Sample[] = [];
	const clients = new Set<Promise<void>>();
	const from = performance.now();
	const loadMs = Number(options.minutes) * 60_000;
	let begun = 0;
	while (performance.now() - from < loadMs) {
		for (; begun < ((performance.now() - from) / 1000) * Number(options.rate); begun += 1) {
			const one = client(daemon, fates[begun % fates.length] ?? 'watch')
				.catch((error: unknown) => {
					broken += 1;
					process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
				})
				.finally(() => clients.delete(one));
			clients.add(one);
		}
		const atS = (performance.now() - from) / 1000;
		if (samples.length < Math.floor(atS)) samples.push(await sample(daemon, pid, atS));
		await wait(20);
	}
	await Promise.all(clients);
	await wait(retentionMs * 3 + 7_000);
	const after = await sample(daemon, pid, (performance.now() - from) / 1000);
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
