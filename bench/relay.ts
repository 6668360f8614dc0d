/**
 * Relay: what it costs to stand between an engine and its clients.
 *
 * Operation: one stream of `rate` tokens/s for `seconds`, opened at a time fixed in advance (all within a second). Units: first
 * token in ms from the client's first byte (for orchestratord that is a POST, admission and queue included); delay per token in µs from
 * the engine's write to the client's read; gap in ms, the longest silence between two reads of a stream; CPU per token in µs of
 * the relay's processes alone, admission included (engine and load generator not counted, the latter shown apart); RSS in KiB a
 * stream, how much larger the relay is in the middle of the run than warm and idle, its logs included. `flat`: 64 streams as fast as they are
 * read, in tokens/s from the first to the last. Each subject first serves 512 short streams four times, unmeasured.
 * Subjects are interleaved in each run; figures are medians over runs, with the median ratio to nginx of the same run. Not
 * measured: TLS, networks, prefill. Also: a token's delay includes the load generator's own queueing, the same for all.
 *
 * `--foreign`: the daemon has two front threads, and each stream is submitted on a connection of one and watched on a connection
 * of the other, both made before; so its first token has a POST, a GET and no connect in it, and the CPU that of both fronts.
 *
 *   node dist/bench/relay.js [--foreign | --upstream tcp|unix] [--streams 1,64,512] [--seconds 5] [--runs 9] [--rate 50] [--flat 10000] [--warm 4] [--no-stall] [--json FILE]
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import type { LoadJob, LoadResult } from './relay/load.ts';
import { measureStall, type StallResult } from './relay/stall.ts';
import { type Column, figure, machine, median, report, table } from './report.ts';
import { Bench, benchEntry, cpuUs, residentBytes, type Subject } from './subjects.ts';

interface Sample {
	readonly subject: Subject['name'];
	readonly streams: number;
	readonly run: number;
	/** Null where there is no relay. */
	readonly relayCpuUsPerToken: number | null;
	readonly residentKibPerStream: number | null;
	readonly load: LoadResult;
}

interface Job {
	readonly streams: number;
	readonly run: number;
	readonly tokens: number;
	readonly seconds: number;
	readonly spreadMs: number;
}

const { values: options } = parseArgs({
	options: {
		streams: { type: 'string', default: '1,64,512' },
		seconds: { type: 'string', default: '5' },
		runs: { type: 'string', default: '9' },
		rate: { type: 'string', default: '50' },
		flat: { type: 'string', default: '10000' },
		warm: { type: 'string', default: '4' },
		foreign: { type: 'boolean', default: false },
		upstream: { type: 'string' },
		'no-stall': { type: 'boolean', default: false },
		json: { type: 'string' },
	},
});
/** By default two thousand requests: before that V8 still compiles. */
const warmRounds = Number(options.warm);
const warmStreams = 512;
const warmTokens = 25;
const settleMs = 2_000;
const flatStreams = 64;
const flatRate = 1e9;
/** Tokens that came 38 to 44 ms after they were sent are the mark of a delayed acknowledgement. */
const fortyMsShareMax = 0.01;
const stallBytesMax = 4 * 1024 * 1024;

/** `onReady`: the load is about to begin. */
async function load(job: LoadJob, onReady: () => void): Promise<LoadResult> {
	const child = spawn(process.execPath, [benchEntry('load'), JSON.stringify(job)], { stdio: ['pipe', 'pipe', 'inherit'] });
	let output = '';
	child.stdout.setEncoding('utf8').on('data', (text: string) => {
		if (output === '') {
			onReady();
			child.stdin.end('go');
		}
		output += text;
	});
	await once(child, 'close');
	return JSON.parse(output.slice(output.indexOf('\n') + 1)) as LoadResult;
}

/** Of relays that are warm and serve nobody, by subject. */
const idleBytes = new Map<Subject, number>();

async function measure(subject: Subject, { streams, run, tokens, seconds, spreadMs }: Job): Promise<Sample> {
	const total = (of: (pid: number) => number): number => subject.relayPids().reduce((sum, pid) => sum + of(pid), 0);
	let cpuBefore = 0;
	const idle = idleBytes.get(subject) ?? Number.NaN;
	let residentMiddle = idle;
	let middle: NodeJS.Timeout | undefined;
	const onReady = (): void => {
		cpuBefore = total(cpuUs);
		middle = setTimeout(
			() => {
				residentMiddle = total(residentBytes);
			},
			(1 + seconds / 2) * 1000,
		);
	};
	const result = await load(
		{
			kind: subject.kind,
			port: subject.port,
			streams,
			spreadMs,
			tokens,
			deadlineMs: (seconds + 30) * 1000,
			model: 'scripted:bench',
		},
		onReady,
	);
	clearTimeout(middle);
	const direct = subject.name === 'direct';
	return {
		subject: subject.name,
		streams,
		run,
		load: result,
		relayCpuUsPerToken: direct ? null : (total(cpuUs) - cpuBefore) / result.tokens,
		residentKibPerStream: direct ? null : (residentMiddle - idle) / 1024 / streams,
	};
}

/** One figure of a subject at a number of streams: its median, and the median of its ratios to nginx in the same runs. */
function cell(samples: readonly Sample[], all: readonly Sample[], digits: number, of: (sample: Sample) => number): string {
	const value = figure(median(samples.map(of)), digits);
	if (samples[0]?.subject === 'nginx') return value;
	const ratios = samples
		.map((sample) => {
			const nginx = all.find(({ subject, streams, run }) => subject === 'nginx' && streams === sample.streams && run === sample.run);
			return nginx === undefined ? Number.NaN : of(sample) / of(nginx);
		})
		.filter((ratio) => Number.isFinite(ratio));
	return ratios.length === 0 ? value : `${value} (${figure(median(ratios), 2)})`;
}

function tableOf(samples: readonly Sample[], figures: readonly (readonly [string, number, (sample: Sample) => number])[]): string {
	const counts = [...new Set(samples.map((sample) => sample.streams))];
	const rows = counts.flatMap((streams) =>
		(['direct', 'nginx', 'orchestratord'] as const).map((name) => samples.filter((s) => s.streams === streams && s.subject === name)),
	);
	const sum = (group: readonly Sample[], of: (result: LoadResult) => number): string =>
		figure(group.reduce((total, sample) => total + of(sample.load), 0));
	const columns: Column<readonly Sample[]>[] = [
		{ title: 'streams', cell: (group) => String(group[0]?.streams ?? '') },
		{ title: 'relay', cell: (group) => group[0]?.subject ?? '' },
		...figures.map(([title, digits, of]) => ({ title, cell: (group: readonly Sample[]) => cell(group, samples, digits, of) })),
		{ title: '38-44 ms', cell: (group) => `${figure(median(group.map((sample) => sample.load.fortyMsShare)) * 100, 2)} %` },
		{ title: 'lost', cell: (group) => sum(group, (result) => result.lost) },
		{ title: 'repeated', cell: (group) => sum(group, (result) => result.repeated) },
		{ title: 'errors', cell: (group) => sum(group, (result) => result.errors) },
	];
	return table(
		rows.filter((group) => group.length > 0),
		columns,
	);
}

const at =
	(of: (result: LoadResult) => readonly number[], index: number, unit = 1) =>
	(sample: Sample): number =>
		(of(sample.load)[index] ?? Number.NaN) / unit;
const relayCpu = (sample: Sample): number => sample.relayCpuUsPerToken ?? Number.NaN;
const loadCpu = (sample: Sample): number => sample.load.cpuUs / sample.load.tokens;
const pacedFigures = [
	['first token p50 ms', 2, at((load) => load.firstUs, 0, 1000)],
	['delay p50 µs', 0, at((load) => load.delayUs, 0)],
	['delay p90 µs', 0, at((load) => load.delayUs, 1)],
	['delay p99 µs', 0, at((load) => load.delayUs, 2)],
	['gap p99.9 ms', 1, at((load) => load.gapUs, 2, 1000)],
	['CPU µs/token', 1, relayCpu],
	['load CPU µs/token', 1, loadCpu],
	['RSS KiB/stream', 1, (sample: Sample): number => sample.residentKibPerStream ?? Number.NaN],
] as const;
const flatFigures = [
	['tokens/s', 0, (sample: Sample): number => sample.load.tokensPerS],
	['CPU µs/token', 2, relayCpu],
	['load CPU µs/token', 2, loadCpu],
] as const;

async function runs(subjects: readonly Subject[], jobs: readonly Omit<Job, 'run'>[], count: number): Promise<Sample[]> {
	const samples: Sample[] = [];
	const warm: Job = { streams: warmStreams, tokens: warmTokens, seconds: 1, spreadMs: 1000, run: -1 };
	for (let round = 0; round < warmRounds; round += 1) for (const subject of subjects) await measure(subject, warm);
	await new Promise((resolve) => setTimeout(resolve, settleMs));
	for (const subject of subjects)
		idleBytes.set(
			subject,
			subject.relayPids().reduce((sum, pid) => sum + residentBytes(pid), 0),
		);
	for (let run = 0; run < count; run += 1) {
		for (const job of jobs) for (const subject of subjects) samples.push(await measure(subject, { ...job, run }));
	}
	return samples;
}

async function subjectsOf(bench: Bench, rate: number, streams: number, tokens: number): Promise<readonly Subject[]> {
	const { upstream } = options;
	if (upstream !== undefined) {
		const direct = await bench.direct(rate, true);
		const url = upstream === 'unix' ? `unix:${bench.socketPath}` : `http://127.0.0.1:${direct.port}`;
		const most = Math.max(tokens, warmTokens);
		return [direct, await bench.nginx(direct.port, true), await bench.relayOf(url, Math.max(streams, warmStreams), most)];
	}
	const direct = await bench.direct(rate);
	return [
		direct,
		await bench.nginx(direct.port),
		await bench.orchestratord(Math.max(streams, warmStreams), rate, Math.max(tokens, warmTokens), { foreign: options.foreign }),
	];
}

async function main(): Promise<void> {
	const streamCounts = options.streams.split(',').map(Number);
	const [seconds, count, rate, flatTokens] = [Number(options.seconds), Number(options.runs), Number(options.rate), Number(options.flat)];
	let [paced, flat]: [Sample[], Sample[]] = [[], []];
	let stall: StallResult | null = null;
	const bench = new Bench();
	try {
		const tokens = Math.round(rate * seconds);
		const pacedSubjects = await subjectsOf(bench, rate, Math.max(...streamCounts), tokens);
		paced = await runs(
			pacedSubjects,
			streamCounts.map((streams) => ({ streams, tokens, seconds, spreadMs: 1000 })),
			count,
		);
		if (flatTokens > 0) {
			const flatSubjects = await subjectsOf(bench, flatRate, flatStreams, flatTokens);
			flat = await runs(flatSubjects, [{ streams: flatStreams, tokens: flatTokens, seconds: 10, spreadMs: 50 }], count);
		}
		if (!options['no-stall'] && !options.foreign && options.upstream === undefined) stall = await measureStall(bench);
	} finally {
		await bench.close();
	}
	const parts = [
		`relay${options.upstream === undefined ? '' : `, of an engine over HTTP (${options.upstream})`}${options.foreign ? ', each stream watched on the front thread that does not run it' : ''}: ${rate} tokens/s a stream, ${seconds} s, ${count} runs, ${machine()}; in brackets the median ratio to nginx in the same run`,
		tableOf(paced, pacedFigures),
	];
	if (flat.length > 0) parts.push(`flat out: ${flatStreams} streams of ${flatTokens} tokens`, tableOf(flat, flatFigures));
	if (stall !== null) {
		parts.push(
			`stalled readers: ${stall.readers} on a log of ${figure(stall.logBytes)} bytes for ${stall.seconds} s cost ${Math.round(stall.bytesPerReader / 1024)} KiB each (bound: ${stallBytesMax / 1024} KiB)`,
		);
	}
	report('relay', parts.join('\n\n'), options.json, { paced, flat, stall });
	const broken = [...paced, ...flat].some(({ load }) => load.lost + load.repeated + load.errors > 0);
	// Of what is too much for the machine, all are late.
	const late = (subject: Subject['name'], streams: number): number =>
		median(paced.filter((s) => s.subject === subject && s.streams === streams).map((s) => s.load.fortyMsShare));
	const delayed = streamCounts.some((streams) => late('orchestratord', streams) > late('nginx', streams) + fortyMsShareMax);
	if (broken || delayed || (stall?.bytesPerReader ?? 0) > stallBytesMax) process.exitCode = 1;
}

await main();
