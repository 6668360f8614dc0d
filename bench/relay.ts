/**
 * Relay: what it costs to stand between an engine and its clients.
 *
 * Operation: one stream of `rate` tokens/s for `seconds`, opened at a time fixed in advance. Units: first token in ms from
 * the client's first byte (for orchestratord that is POST, admission, GET); delay per token in µs from the engine's write
 * to the client's read; CPU per token in µs of the relay's processes alone (engine and load generator not counted, shown
 * apart). Each subject first serves the most streams for two seconds, unmeasured. Subjects are interleaved in each run; figures are medians over runs, with the ratio to nginx of the same run.
 * Not measured: TLS, networks, prefill. Also: a token's delay includes the load generator's own queueing, the same for all.
 *
 *   node dist/bench/relay.js [--streams 1,64,512] [--seconds 5] [--runs 3] [--rate 50] [--json FILE]
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { type LoadJob, type LoadResult, quantiles } from './relay/load.ts';
import { measureStall, type StallResult } from './relay/stall.ts';
import { Bench, benchEntry, cpuUs, type Subject } from './subjects.ts';

interface Sample {
	readonly subject: Subject['name'];
	readonly streams: number;
	readonly run: number;
	readonly relayCpuUsPerToken: number | null;
	readonly load: LoadResult;
}

const { values: options } = parseArgs({
	options: {
		streams: { type: 'string', default: '1,64,512' },
		seconds: { type: 'string', default: '5' },
		runs: { type: 'string', default: '3' },
		rate: { type: 'string', default: '50' },
		json: { type: 'string' },
	},
});

async function load(job: LoadJob): Promise<LoadResult> {
	const child = spawn(process.execPath, [benchEntry('load'), JSON.stringify(job)], { stdio: ['ignore', 'pipe', 'inherit'] });
	let output = '';
	child.stdout.setEncoding('utf8').on('data', (text: string) => {
		output += text;
	});
	await once(child, 'close');
	return JSON.parse(output) as LoadResult;
}

async function measure(subject: Subject, streams: number, run: number, rate: number, seconds: number): Promise<Sample> {
	const cpu = (): number => subject.relayPids().reduce((sum, pid) => sum + cpuUs(pid), 0);
	const before = cpu();
	const result = await load({
		kind: subject.kind,
		port: subject.port,
		streams,
		tokens: Math.round(rate * seconds),
		deadlineMs: (seconds + 20) * 1000,
		model: 'scripted:bench',
	});
	const used = cpu() - before;
	return { subject: subject.name, streams, run, load: result, relayCpuUsPerToken: subject.name === 'direct' ? null : used / result.tokens };
}

const warmSeconds = 2;

const median = (values: readonly number[]): number => quantiles(values, [0.5])[0] ?? Number.NaN;

function figure(value: number, digits: number): string {
	return Number.isNaN(value) ? '–' : value.toFixed(digits);
}

function table(samples: readonly Sample[], streamCounts: readonly number[]): string {
	const columns: readonly (readonly [string, number, (sample: Sample) => number])[] = [
		['first token p50 ms', 2, (sample) => (sample.load.firstUs[0] ?? Number.NaN) / 1000],
		['delay p50 µs', 0, (sample) => sample.load.delayUs[0] ?? Number.NaN],
		['delay p90 µs', 0, (sample) => sample.load.delayUs[1] ?? Number.NaN],
		['delay p99 µs', 0, (sample) => sample.load.delayUs[2] ?? Number.NaN],
		['CPU µs/token', 1, (sample) => sample.relayCpuUsPerToken ?? Number.NaN],
		['load CPU µs/token', 1, (sample) => sample.load.cpuUs / sample.load.tokens],
	];
	const lines = [`| streams | relay | ${columns.map(([name]) => name).join(' | ')} | 38-44 ms | lost | repeated | errors |`];
	lines.push(`|${'---|'.repeat(columns.length + 6)}`);
	for (const streams of streamCounts) {
		const ofNginx = new Map(samples.filter((s) => s.streams === streams && s.subject === 'nginx').map((s) => [s.run, s]));
		for (const name of ['direct', 'nginx', 'orchestratord'] as const) {
			const mine = samples.filter((sample) => sample.streams === streams && sample.subject === name);
			if (mine.length === 0) continue;
			const cells = columns.map(([, digits, of]) => {
				const value = figure(median(mine.map(of)), digits);
				if (name === 'nginx') return value;
				const ratios = mine.map((sample) => of(sample) / of(ofNginx.get(sample.run) ?? sample)).filter((ratio) => !Number.isNaN(ratio));
				return ratios.length === 0 ? value : `${value} (${figure(median(ratios), 2)})`;
			});
			const sum = (of: (load: LoadResult) => number): number => mine.reduce((total, sample) => total + of(sample.load), 0);
			const forty = `${(median(mine.map((sample) => sample.load.fortyMsShare)) * 100).toFixed(2)} %`;
			lines.push(
				`| ${streams} | ${name} | ${cells.join(' | ')} | ${forty} | ${sum((l) => l.lost)} | ${sum((l) => l.repeated)} | ${sum((l) => l.errors)} |`,
			);
		}
	}
	return lines.join('\n');
}

async function main(): Promise<void> {
	const streamCounts = options.streams.split(',').map(Number);
	const warmStreams = Math.max(...streamCounts);
	const [seconds, runs, rate] = [Number(options.seconds), Number(options.runs), Number(options.rate)];
	const samples: Sample[] = [];
	let stall: StallResult | null = null;
	const bench = new Bench();
	try {
		const direct = await bench.direct(rate);
		const subjects = [
			direct,
			await bench.nginx(direct.port),
			await bench.orchestratord(Math.max(...streamCounts), rate, Math.round(rate * seconds)),
		];
		// Code that has run a thousand times is what is measured, for all of them.
		for (const subject of subjects) await measure(subject, warmStreams, -1, rate, warmSeconds);
		for (let run = 0; run < runs; run += 1) {
			for (const streams of streamCounts) {
				for (const subject of subjects) samples.push(await measure(subject, streams, run, rate, seconds));
			}
		}
		stall = await measureStall(bench);
	} finally {
		await bench.close();
	}
	const head = `relay: ${rate} tokens/s a stream, ${seconds} s, ${runs} runs, ${cpus().length} × ${cpus()[0]?.model ?? 'CPU'}, Node ${process.version}; in brackets the median ratio to nginx in the same run`;
	const foot = `stalled readers: ${stall.readers} on a log of ${stall.logBytes} bytes for ${stall.seconds} s cost ${Math.round(stall.bytesPerReader / 1024)} KiB each (bound: 4096 KiB)`;
	process.stdout.write(`${head}\n\n${table(samples, streamCounts)}\n\n${foot}\n`);
	if (options.json !== undefined) {
		mkdirSync(dirname(options.json), { recursive: true });
		writeFileSync(options.json, JSON.stringify({ head, samples, stall }, null, 1));
	}
	const broken = samples.some(
		(s) => s.load.lost + s.load.repeated + s.load.errors > 0 || (s.subject === 'orchestratord' && s.load.fortyMsShare > 0.01),
	);
	if (broken || stall.bytesPerReader > 4 * 1024 * 1024) process.exitCode = 1;
}

await main();
