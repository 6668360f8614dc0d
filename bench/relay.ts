/**
 * Relay: what it costs to stand between an engine and its clients.
 *
 * Operation: one stream of `rate` tokens/s for `seconds`, opened at a time fixed in advance (all within a second). Units: first
 * token in ms from the client's first byte (for orchestratord that is a POST, admission and queue included); delay per token in µs from
 * the engine's write to the client's read; gap in ms, the longest silence between two reads of a stream; CPU per token in µs of
 * the relay's processes alone, admission included (engine and load generator not counted, the latter shown apart); RSS in KiB a
 * stream, how much larger the relay is in the middle of the run than warm and idle, its logs included. `flat`: 64 streams as fast as they are
 * read, in tokens/s from the first to the last. `steady`: the same CPU from when all streams run until the first ends, over the tokens
 * read in that time; `CPU/stream`: what is left of the CPU, over the streams: their admission, their end. Each subject first serves 512 short streams four times, unmeasured.
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
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import type { LoadJob, LoadResult } from './relay/load.ts';
import { measureStall, type StallResult } from './relay/stall.ts';
import { flatTable, pacedTable, passThroughWords, type Sample } from './relay/tables.ts';
import { figure, machine, median, report } from './report.ts';
import { Bench, benchEntry, cpuUs, residentBytes, type Subject } from './subjects.ts';

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
/** Between the last stream's start and the window in which a steady state is measured, and between that and the first end. */
const edgeMs = 250;
const flatStreams = 64;
const flatRate = 1e9;
/** Tokens that came 38 to 44 ms after they were sent are the mark of a delayed acknowledgement. */
const fortyMsShareMax = 0.01;
const stallBytesMax = 4 * 1024 * 1024;

/** `onReady`: the load is about to begin; what it returns is asked for the tokens so far. */
async function load(job: LoadJob, onReady: (tokens: () => Promise<number>) => void): Promise<LoadResult> {
	const child = spawn(process.execPath, [benchEntry('load'), JSON.stringify(job)], { stdio: ['pipe', 'pipe', 'inherit'] });
	const closed = once(child, 'close');
	let result: LoadResult | null = null;
	const asked: ((tokens: number) => void)[] = [];
	const tokens = (): Promise<number> =>
		new Promise((resolve) => {
			asked.push(resolve);
			child.stdin.write('tokens\n');
		});
	for await (const line of createInterface({ input: child.stdout })) {
		if (line === 'ready') {
			onReady(tokens);
			child.stdin.write('go\n');
			continue;
		}
		const said = JSON.parse(line) as LoadResult;
		const ask = asked.shift();
		if (ask === undefined) result = said;
		else ask(said.tokens);
	}
	await closed;
	if (result === null) throw new Error('the load generator said nothing');
	return result;
}

/** Of relays that are warm and serve nobody, by subject. */
const idleBytes = new Map<Subject, number>();

async function measure(subject: Subject, { streams, run, tokens, seconds, spreadMs }: Job): Promise<Sample> {
	const total = (of: (pid: number) => number): number => subject.relayPids().reduce((sum, pid) => sum + of(pid), 0);
	const idle = idleBytes.get(subject) ?? Number.NaN;
	let cpuBefore = 0;
	let residentMiddle = idle;
	const window: { readonly cpu: number; readonly tokens: number }[] = [];
	const timers: NodeJS.Timeout[] = [];
	const onReady = (soFar: () => Promise<number>): void => {
		cpuBefore = total(cpuUs);
		const look = async (): Promise<void> => {
			const cpu = total(cpuUs);
			window.push({ cpu, tokens: await soFar() });
		};
		// While all streams run: none is admitted, none ends.
		if (seconds * 1000 > 2 * spreadMs) {
			for (const at of [spreadMs + edgeMs, seconds * 1000 - edgeMs]) timers.push(setTimeout(() => void look(), at));
		}
		timers.push(
			setTimeout(
				() => {
					residentMiddle = total(residentBytes);
				},
				spreadMs + seconds * 500,
			),
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
	for (const timer of timers) clearTimeout(timer);
	const relayed = subject.name !== 'direct';
	const cpu = total(cpuUs) - cpuBefore;
	const [first, last] = window;
	const steady = first === undefined || last === undefined ? Number.NaN : (last.cpu - first.cpu) / (last.tokens - first.tokens);
	return {
		subject: subject.name,
		streams,
		run,
		load: result,
		cpuUsPerToken: relayed ? cpu / result.tokens : null,
		steadyCpuUsPerToken: relayed ? steady : null,
		cpuUsPerStream: relayed ? (cpu - steady * result.tokens) / streams : null,
		residentKibPerStream: relayed ? (residentMiddle - idle) / 1024 / streams : null,
	};
}

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
	const most = Math.max(tokens, warmTokens);
	if (upstream === undefined) {
		const direct = await bench.direct(rate);
		const ours = await bench.orchestratord(Math.max(streams, warmStreams), rate, most, { foreign: options.foreign });
		return [direct, await bench.nginx(direct.port), ours];
	}
	const direct = await bench.direct(rate, true);
	const where = upstream === 'unix' ? bench.socketPath : direct.port;
	const url = upstream === 'unix' ? `unix:${bench.socketPath}` : `http://127.0.0.1:${direct.port}`;
	return [
		direct,
		await bench.nginx(where, true),
		await bench.haproxy(where),
		await bench.passThrough(url),
		await bench.relayOf(url, Math.max(streams, warmStreams), most),
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
		pacedTable(paced),
	];
	if (flat.length > 0) parts.push(`flat out: ${flatStreams} streams of ${flatTokens} tokens`, flatTable(flat));
	if (options.upstream !== undefined) parts.push(passThroughWords([...paced, ...flat]));
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
