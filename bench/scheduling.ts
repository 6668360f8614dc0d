/**
 * Scheduling: what a task costs the control thread, with the production Dispatcher and Pools, without threads and engines.
 *
 * Operations, µs of CPU: `admit` = a submission handled to its end (directory, decision, ETA, place, answer told); `dispatch` = a
 * settlement handled to its end (ledger, pace, the next task chosen and granted); `both` = the admission and the dispatch of the same
 * task, added up. With `--queued` tasks over eight pools, ten tenants. One run, as it was; and each operation at the least of `--runs`
 * runs, which are alike to the last message (one seed, one virtual clock), so that what is left is the operation's own and not the
 * machine's: a loop without any memory, as long as an admission, shows how much that adds. Pauses of the collector come at other
 * operations in each run, and are told apart. `slice` = what one tick of a pass over all that wait, by all pools that are at it, holds up
 * the thread. `place` = where a newcomer would stand behind 100 000 tasks of so many tenants, read from the queue alone. `bytes` = heap of
 * a waiting task, the bench's own part left out. Then, in a thread of its own, one pool takes 100 000 tasks in bursts, as a link
 * delivers them, has half of them withdrawn and the rest run (`scheduling/flood.ts`). Not measured: the hops between threads.
 *
 *   node dist/bench/scheduling.js [--queued 10000] [--runs 5] [--json FILE]
 */
import { PerformanceObserver } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { SimHost } from '../src/actors/kernel/sim-host.ts';
import { ActorSystem } from '../src/actors/kernel/system.ts';
import type { PlacementNews } from '../src/actors/serving/messages.ts';
import { type QueueEntry, WaitingQueue } from '../src/actors/serving/queue.ts';
import { threadLog } from '../src/transport/telemetry/logs.ts';
import { threadTelemetry } from '../src/transport/telemetry/metrics.ts';
import { figure, machine, median, quantiles, report, table } from './report.ts';
import { Control, poolSpec, summary } from './scheduling/control.ts';
import { type Flooded, flood, floodWords } from './scheduling/flood.ts';

const { values: options } = parseArgs({
	options: { queued: { type: 'string', default: '10000' }, runs: { type: 'string', default: '5' }, json: { type: 'string' } },
});

/** As in the daemon, at the level of the daemon. */
const telemetry = threadTelemetry({ thread: 'control', log: threadLog({ thread: 'control', level: 'info' }) });

interface Cost {
	/** µs of CPU of this thread, at most: of the whole process (its collector has other threads), or of the clock (other processes
	 * have the core now and then), whichever is less. */
	readonly us: number;
	/** On `performance.now`. */
	readonly from: number;
	readonly to: number;
}

interface Row {
	readonly what: string;
	readonly costs: readonly Cost[];
	/** µs of each operation, of all runs the least. */
	readonly least: Float64Array | null;
}

/** The collector works as it does on the daemon's control thread (`src/daemon.ts`). */
const controlLimits = { maxYoungGenerationSizeMb: 4 };

if (isMainThread) {
	/** µs of each operation at its least, by kind. */
	const least: Float64Array[] = [];
	// Alone: what the measurements before it leave to the collector would be in its pauses.
	const flooded = await new Promise<Flooded>((resolve, reject) => {
		const worker = new Worker(new URL(import.meta.url), { workerData: { flood: true }, resourceLimits: controlLimits });
		worker.once('message', resolve);
		worker.once('error', reject);
	});
	for (let run = 1; run <= Number(options.runs); run += 1) {
		const isLast = run === Number(options.runs);
		await new Promise<void>((resolve, reject) => {
			const worker = new Worker(new URL(import.meta.url), {
				argv: process.argv.slice(2),
				workerData: { least: isLast ? least : null, flooded },
				resourceLimits: controlLimits,
			});
			worker.on('message', (costs: Float64Array[]) => keepLeast(least, costs));
			worker.once('error', reject);
			worker.once('exit', (code) => (code === 0 ? resolve() : reject(new Error(`a run ended with ${code}`))));
		});
	}
	process.exit(0);
}

function keepLeast(least: Float64Array[], costs: readonly Float64Array[]): void {
	for (const [kind, own] of costs.entries()) {
		const before = least[kind];
		if (before === undefined) least[kind] = own;
		else for (let index = 0; index < before.length; index += 1) before[index] = Math.min(before[index] ?? 0, own[index] ?? 0);
	}
}

if ((workerData as { readonly flood?: true }).flood === true) {
	parentPort?.postMessage(await flood(100_000, telemetry));
	process.exit(0);
}

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
const queued = Number(options.queued);
const host = new SimHost(1, telemetry);
// No daemon looks at invariants behind every message.
host.world.onBroken = null;
const control = new Control(new ActorSystem(host), () => host.now(), ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']);
host.run();

const timed = (operation: () => void): Cost => {
	const before = process.cpuUsage();
	const from = performance.now();
	operation();
	const to = performance.now();
	const { user, system } = process.cpuUsage(before);
	return { us: Math.min(Math.max(0, user + system - asking), (to - from) * 1_000), from, to };
};
/** µs that asking for the CPU costs itself. */
let asking = 0;
asking = quantiles(
	Array.from({ length: 1_000 }, () => {
		const before = process.cpuUsage();
		const { user, system } = process.cpuUsage(before);
		return user + system;
	}),
	[0.5],
)[0] as number;
/** When the collector of garbage stopped this thread. */
const pauses: { readonly from: number; readonly to: number }[] = [];
const collections = new PerformanceObserver((list) => {
	for (const { startTime, duration } of list.getEntries()) pauses.push({ from: startTime, to: startTime + duration });
});
collections.observe({ entryTypes: ['gc'] });
const submitted = (): Cost =>
	timed(() => {
		control.submit();
		host.run();
	});
const settled = (): Cost =>
	timed(() => {
		control.settle();
		host.run();
	});
// Those that run are not counted among those that wait.
while (control.waiting < queued / 2) submitted();
collect();
const heapBefore = process.memoryUsage().heapUsed;
const before = control.waiting;
while (control.waiting < queued) submitted();
collect();
const bytes = (process.memoryUsage().heapUsed - heapBefore) / (control.waiting - before);
// A bare edge with its closure and its summary, which in the daemon are on the front.
const bare: unknown[] = [];
const bareBefore = process.memoryUsage().heapUsed;
for (let made = 0; made < 5_000; made += 1) bare.push([control.system.edge<PlacementNews>(() => void made), summary(made, 0)]);
collect();
const bareBytes = (process.memoryUsage().heapUsed - bareBefore) / bare.length;

// Until the code is compiled.
for (let round = 0; round < 5_000; round += 1) {
	submitted();
	settled();
}
const admits: Cost[] = [];
const dispatches: Cost[] = [];
/** Of tasks that were admitted and dispatched while it was measured. */
const both: Cost[] = [];
const firstNumber = control.made;
for (let round = 0; round < 20_000; round += 1) {
	admits.push(submitted());
	control.granted = -1;
	const dispatch = settled();
	dispatches.push(dispatch);
	const admit = admits[control.granted - firstNumber];
	if (control.granted >= firstNumber && admit !== undefined) both.push({ ...dispatch, us: admit.us + dispatch.us });
}
const { least, flooded } = workerData as { readonly least: Float64Array[] | null; readonly flooded: Flooded };
const own = [admits, dispatches, both].map((costs) => Float64Array.from(costs, ({ us }) => us));
if (least === null) {
	parentPort?.postMessage(own);
	process.exit(0);
}
keepLeast(least, own);
/** As long as an admission at its median, and makes nothing: what is more is the machine's. */
const loop = loopOf(quantiles(own[0] ?? [], [0.5])[0] ?? 0);
const loops = Array.from({ length: 20_000 }, () => timed(loop));
// Every second all that wait are told of a new place.
const slices: Cost[] = [];
const passes = Array.from({ length: 10 }, (): Cost => {
	control.settle();
	host.run();
	const from = slices.length;
	for (let ms = 0; ms < 1_100; ms += 1) {
		const before = control.told;
		const slice = timed(() => host.advance(1));
		if (control.told > before) slices.push(slice);
	}
	return { us: slices.slice(from).reduce((sum, { us }) => sum + us, 0), from: slices[from]?.from ?? 0, to: slices.at(-1)?.to ?? 0 };
});
// Entries of the observer come behind the turn that they are about.
await new Promise((resolve) => setTimeout(resolve, 100));
collections.disconnect();
const rows: Row[] = [
	{ what: 'admit', costs: admits, least: least[0] ?? null },
	{ what: 'dispatch', costs: dispatches, least: least[1] ?? null },
	{ what: 'both, of the same task', costs: both, least: least[2] ?? null },
	{ what: 'a loop of the same length', costs: loops, least: null },
	{ what: 'a pass over all that wait', costs: passes, least: null },
	{ what: 'a slice of it', costs: slices, least: null },
];
/** Of those during admissions and dispatches. */
const pausesMs = pauses
	.filter(({ from, to }) => from >= (admits[0]?.from ?? 0) && to <= (dispatches.at(-1)?.to ?? 0))
	.map(({ from, to }) => to - from);

function at({ costs }: Row, q: number, counts: (cost: Cost) => boolean = () => true): string {
	const values = costs.filter(counts).map(({ us }) => us);
	return figure(quantiles(values, [q])[0] ?? Number.NaN, 1);
}

function loopOf(us: number): () => void {
	let looped = 0;
	const turns = (count: number) => (): void => {
		for (let turn = 0; turn < count; turn += 1) looped = (looped * 31 + turn) | 0;
	};
	const count = 100_000;
	const once = turns(count);
	const timesUs = Array.from({ length: 99 }, () => {
		const from = performance.now();
		once();
		return (performance.now() - from) * 1_000;
	});
	return turns(Math.round((count * us) / median(timesUs)));
}

/** Pauses and costs are both in order of time. */
function undisturbed(): (cost: Cost) => boolean {
	let next = 0;
	let last = Number.NEGATIVE_INFINITY;
	return ({ from, to }) => {
		if (from < last) next = 0;
		last = from;
		while (next < pauses.length && (pauses[next]?.to ?? 0) < from) next += 1;
		return (pauses[next]?.from ?? Number.POSITIVE_INFINITY) > to;
	};
}

/** µs for the place of a task that would come last, in a queue of 100 000 tasks, shared by tenants. */
function placeUs(tenants: number): number {
	const queue = new WaitingQueue<QueueEntry>(poolSpec('a').queue);
	const one = (number: number, tenant: number): QueueEntry => ({
		taskId: `${number}`,
		priority: 'interactive',
		tenant: `${tenant}`,
		admittedAt: number,
		deadlineAt: null,
		bytes: 1,
		workMs: 1,
		cost: 1 + (number % 300),
		costAtStart: 1 + (number % 100),
	});
	for (let number = 0; number < 100_000; number += 1) queue.enqueue(one(number, number % tenants));
	const last = one(100_000, 0);
	const reads = Math.max(20, Math.round(20_000 / tenants));
	const times = Array.from({ length: 9 }, () => {
		const from = performance.now();
		for (let read = 0; read < reads; read += 1) queue.placeFor(last);
		return ((performance.now() - from) * 1_000) / reads;
	});
	return quantiles(times, [0.5])[0] ?? Number.NaN;
}
const places = [1, 10, 100, 1_000, 10_000].map((tenants) => ({ tenants, us: placeUs(tenants) }));

const text = [
	`scheduling: ${figure(queued)} queued over 8 pools, ${machine()}`,
	table(rows, [
		{ title: 'µs of CPU', cell: (row) => row.what },
		{ title: 'p50', cell: (row) => at(row, 0.5) },
		{ title: 'p90', cell: (row) => at(row, 0.9) },
		{ title: 'p99', cell: (row) => at(row, 0.99) },
		{ title: 'p99 without pauses of the collector', cell: (row) => at(row, 0.99, undisturbed()) },
		...[0.5, 0.9, 0.99].map((q) => ({
			title: `least of ${options.runs} runs: p${100 * q}`,
			cell: (row: Row) => figure(row.least === null ? Number.NaN : (quantiles(row.least, [q])[0] ?? Number.NaN), 1),
		})),
	]),
	`the collector stopped the thread ${figure(pausesMs.length)} times in ${figure(2 * admits.length)} operations, p50 ${figure(median(pausesMs), 2)} ms, at most ${figure(Math.max(...pausesMs), 2)} ms`,
	table(places, [
		{ title: 'tenants that wait', cell: ({ tenants }) => figure(tenants) },
		{ title: 'µs for a place behind 100 000 tasks', cell: ({ us }) => figure(us, 1) },
	]),
	`a waiting task: ${figure(bytes - bareBytes)} bytes beside its summary and its ref`,
	floodWords(flooded),
].join('\n\n');
report('scheduling', text, options.json, {
	rows: rows.map(({ what, costs, least }) => ({ what, us: costs.map(({ us }) => us), least: least === null ? null : [...least] })),
	bytes: bytes - bareBytes,
	places,
	flooded,
});
process.exit(0);
