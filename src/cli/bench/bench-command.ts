/**
 * `bench`: puts a load on a server that speaks the OpenAI API or `/v2`, and says how it held up. Open loop unless its concurrency is
 * bounded; bounded in requests and in time; stops at Ctrl-C with what it has.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { type ExitCode, exitCodes } from '../exit-codes.ts';
import { Problem } from '../problem.ts';
import { table } from '../table.ts';
import type { Terminal } from '../terminal.ts';
import { arrivalsMs, seeded } from './arrivals.ts';
import { type Group, reportHtml } from './report.ts';
import { type Distribution, type Objectives, requestJson, resultJson, type Summary, summarize } from './summary.ts';
import { type Outcome, send, type TargetOptions } from './target.ts';
import { type BenchRequest, type WorkloadOptions, workloadOf } from './workload.ts';

export interface BenchOptions {
	readonly target: TargetOptions;
	readonly workload: WorkloadOptions;
	readonly tracePath: string | null;
	/** Requests a second; infinite: all at once. */
	readonly rate: number;
	readonly burstiness: number;
	/** Requests under way at once; infinite: any number. */
	readonly concurrency: number;
	readonly objectives: Objectives;
	readonly percents: readonly number[];
	readonly json: boolean;
	readonly resultPath: string | null;
	readonly requestsPath: string | null;
	readonly reportPath: string | null;
}

const progressMs = 500;

export async function bench(options: BenchOptions, terminal: Terminal): Promise<ExitCode> {
	const requests = readWorkload(options);
	const { seed, count } = options.workload;
	const times = arrivalsMs(requests.length, options.rate, options.burstiness, seeded(seed + 1));
	const stop = new AbortController();
	const stopListening = terminal.onInterrupt(() => stop.abort());
	const startedAt = performance.now();
	const outcomes: Outcome[] = [];
	const progress = setInterval(() => {
		const seconds = (performance.now() - startedAt) / 1000;
		const failed = outcomes.filter(({ error }) => error !== null).length;
		terminal.status(
			`${outcomes.length} of ${requests.length} done, ${failed} failed, ${(outcomes.length / seconds).toFixed(1)} requests/s, ${seconds.toFixed(0)} s`,
		);
	}, progressMs);
	try {
		await run(options, requests, times, stop.signal, (outcome) => outcomes.push(outcome));
	} finally {
		clearInterval(progress);
		terminal.status(null);
		stopListening();
	}
	if (outcomes.length === 0) throw new Problem(exitCodes.interrupted, 'stopped before any request was done');
	const durationMs = performance.now() - startedAt;
	const groups = groupsOf(outcomes, durationMs, options);
	write(options, groups, aboutOf(options, count), terminal);
	const [all] = groups;
	return all !== undefined && all.summary.completed > 0 ? exitCodes.ok : exitCodes.failure;
}

function readWorkload({ workload, tracePath }: BenchOptions): readonly BenchRequest[] {
	try {
		const requests = workloadOf(workload, tracePath === null ? null : readFileSync(tracePath, 'utf8'));
		if (requests.length === 0) throw new RangeError('the trace has no requests');
		return requests;
	} catch (error) {
		if (error instanceof RangeError)
			throw new Problem(exitCodes.usage, error.message, 'a line is {"timestamp":0,"input_length":10,"output_length":10}');
		if (error instanceof Error && 'code' in error) throw new Problem(exitCodes.usage, `cannot read ${tracePath} (${String(error.code)})`);
		throw error;
	}
}

/** Each at its time, or as soon behind it as fewer than `concurrency` are under way. */
async function run(
	{ target, concurrency }: BenchOptions,
	requests: readonly BenchRequest[],
	times: readonly number[],
	signal: AbortSignal,
	done: (outcome: Outcome) => void,
): Promise<void> {
	const startedAt = performance.now();
	const underWay = new Set<Promise<void>>();
	for (const [index, request] of requests.entries()) {
		const dueAt = startedAt + (request.atMs ?? times[index] ?? 0);
		const leftMs = dueAt - performance.now();
		if (leftMs > 0) await delay(leftMs, undefined, { signal }).catch(() => undefined);
		while (underWay.size >= concurrency && !signal.aborted) await Promise.race(underWay);
		if (signal.aborted) break;
		const sent = send(target, request, Math.max(0, performance.now() - dueAt)).then(done);
		const settled = sent.finally(() => underWay.delete(settled));
		underWay.add(settled);
	}
	const aborted = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
	await Promise.race([Promise.all(underWay), ...(signal.aborted ? [Promise.resolve()] : [aborted])]);
}

function groupsOf(outcomes: readonly Outcome[], durationMs: number, { percents, objectives, workload }: BenchOptions): readonly Group[] {
	const of = (name: string | null, some: readonly Outcome[]): Group => ({
		name,
		outcomes: some,
		summary: summarize(some, durationMs, percents, objectives),
	});
	return [
		of(null, outcomes),
		...workload.tenants.map((tenant) =>
			of(
				tenant,
				outcomes.filter((each) => each.tenant === tenant),
			),
		),
	];
}

type About = Readonly<Record<string, string | number | null>>;

function aboutOf(options: BenchOptions, count: number): About {
	const { target, rate, burstiness, concurrency, workload } = options;
	return {
		date: new Date().toISOString(),
		endpoint_type: target.backend,
		backend: target.backend,
		label: null,
		model_id: target.model,
		tokenizer_id: null,
		num_prompts: count,
		request_rate: Number.isFinite(rate) ? rate : 'inf',
		burstiness: Number.isFinite(burstiness) ? burstiness : 'inf',
		max_concurrency: Number.isFinite(concurrency) ? concurrency : null,
		dataset_name: workload.dataset,
		seed: workload.seed,
	};
}

function write(options: BenchOptions, groups: readonly Group[], about: About, terminal: Terminal): void {
	const [all] = groups;
	if (all === undefined) return;
	const result = {
		...resultJson(all.summary, all.outcomes, about),
		...(groups.length === 1
			? {}
			: { orchestratord_tenants: Object.fromEntries(groups.slice(1).map(({ name, summary }) => [name, summary])) }),
	};
	if (options.resultPath !== null) writeFileSync(options.resultPath, `${JSON.stringify(result)}\n`);
	if (options.requestsPath !== null) writeFileSync(options.requestsPath, `${all.outcomes.map(requestJson).join('\n')}\n`);
	if (options.reportPath !== null) {
		const rows = Object.entries(about).map(([name, value]): readonly [string, string] => [name, value === null ? '-' : String(value)]);
		writeFileSync(options.reportPath, reportHtml(`Benchmark of ${options.target.model}`, rows, groups));
	}
	if (options.json) terminal.out(`${JSON.stringify(result)}\n`);
	else for (const { name, summary } of groups) terminal.out(shown(name, summary));
	const failure = all.outcomes.find(({ error }) => error !== null);
	if (failure !== undefined) terminal.say(`${all.summary.failed} failed, the first with: ${terminal.safe(failure.error ?? '')}`);
}

function shown(name: string | null, summary: Summary): string {
	const { completed, failed, durationS, requestsPerS, goodputPerS, tokensOutPerS, tokensIn, tokensOut } = summary;
	const head = name === null ? '' : `tenant ${name}\n`;
	const goodput = goodputPerS === null ? '' : `, goodput ${goodputPerS.toFixed(2)}/s`;
	const row = (label: string, of: Distribution): string[] => [
		label,
		...[of.mean, of.median, ...of.percentiles.map(([, value]) => value)].map((value) => value.toFixed(2)),
	];
	return `${head}${completed} completed, ${failed} failed in ${durationS.toFixed(2)} s: ${requestsPerS.toFixed(2)} requests/s${goodput}, ${tokensOutPerS.toFixed(1)} tokens/s out (${tokensIn} in, ${tokensOut} out)
${table([
	['ms', 'mean', 'median', ...summary.ttftMs.percentiles.map(([percent]) => `p${percent}`)],
	row('TTFT', summary.ttftMs),
	row('TPOT', summary.tpotMs),
	row('ITL', summary.itlMs),
	row('E2E', summary.e2elMs),
	row('sent late', summary.lateMs),
])}`;
}
