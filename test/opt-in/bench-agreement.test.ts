/**
 * `orchestratord bench` beside GuideLLM, an independent load generator, on one daemon: the same prompts, as many at once, answers of the same length
 * from the scripted engine. Medians of TTFT, TPOT, ITL and E2E, and requests a second, are to agree within 5 %. `npm run test:bench-agreement`: GuideLLM
 * comes from PyPI, into the cache folder of the real engines; where it cannot be had, that is said and nothing fails.
 *
 * What GuideLLM calls `inter_token_latency_ms` of a request, (last token − first) / (tokens − 1), is TPOT here and in vLLM's `bench serve`; ITL is
 * between two events that bring tokens, of which GuideLLM keeps no list: both are held to its own.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { workloadOf } from '../../src/cli/bench/workload.ts';
import { binary, type Daemon, startDaemon } from '../e2e/daemon.ts';
import { install, run } from './real-engines/packages.ts';

const guidellm = { name: 'guidellm', packages: ['guidellm==0.8.1'], flags: ['--exclude-newer', '2026-11-28'], withinMs: 150_000 };
const load = { requests: 24, concurrency: 4, inputWords: 200, outputTokens: 48 };
/** Of the five numbers, to the greater of two. */
const apart = 0.05;

interface Figures {
	readonly ttftMs: number;
	readonly tpotMs: number;
	readonly itlMs: number;
	readonly e2eMs: number;
	readonly requestsPerS: number;
}

const folder = mkdtempSync(join(tmpdir(), 'orchestratord-agreement-'));
after(() => rmSync(folder, { recursive: true, force: true }));

async function ours(daemon: Daemon, round: string): Promise<Figures> {
	const file = join(folder, `${round}.json`);
	const size = ['--dataset-name', 'random', '--random-input-len', load.inputWords, '--random-output-len', load.outputTokens];
	const many = ['--num-prompts', load.requests, '--max-concurrency', load.concurrency, '--temperature', 1];
	const flags = ['--backend', 'openai-chat', '--base-url', daemon.url, ...size, ...many, '--save-result', file];
	const { code, output } = await run([process.execPath, binary, 'bench', ...flags.map(String)], 60_000);
	assert.equal(code, 0, output);
	const result = JSON.parse(readFileSync(file, 'utf8')) as Record<string, number>;
	assert.equal(result['completed'], load.requests);
	assert.equal(result['total_output_tokens'], load.requests * load.outputTokens);
	const of = (name: string): number => result[name] ?? Number.NaN;
	return {
		ttftMs: of('median_ttft_ms'),
		tpotMs: of('median_tpot_ms'),
		itlMs: of('median_itl_ms'),
		e2eMs: of('median_e2el_ms'),
		requestsPerS: of('request_throughput'),
	};
}

interface Report {
	readonly benchmarks: readonly {
		readonly duration: number;
		readonly metrics: Readonly<Record<string, { readonly successful: { readonly median: number } }>>;
		readonly requests: { readonly successful: readonly { readonly output_tokens: number }[] };
	}[];
}

async function theirs(daemon: Daemon, python: string): Promise<Figures> {
	const workload = { dataset: 'random', count: load.requests, inputLen: load.inputWords, outputLen: load.outputTokens } as const;
	const requests = workloadOf({ ...workload, inputMax: 1_024, outputMax: 512, tenants: [], seed: 0 }, null);
	const prompts = requests.map(({ prompt }) => JSON.stringify({ prompt, output_tokens_count: load.outputTokens }));
	const [data, file] = [join(folder, 'prompts.jsonl'), join(folder, 'guidellm.json')];
	writeFileSync(data, `${prompts.join('\n')}\n`);
	const flags = [
		...['--backend', `kind=openai_http,target=${daemon.url},model=default`],
		...['--profile', `kind=concurrent,streams=${load.concurrency}`, '--constraint', `kind=max_requests,count=${load.requests}`],
		...['--data', `kind=json_file,path=${data}`, '--output', `kind=json,path=${file}`, '--disable-console'],
	];
	const command = [python.replace(/python$/, 'guidellm'), 'run', ...flags];
	const { code, output } = await run(command, 170_000, { HF_HUB_OFFLINE: '1', HF_HOME: folder });
	assert.equal(code, 0, output.slice(-2_000));
	const [report] = (JSON.parse(readFileSync(file, 'utf8')) as Report).benchmarks;
	assert.ok(report !== undefined);
	const done = report.requests.successful;
	assert.equal(done.length, load.requests);
	assert.ok(done.every(({ output_tokens: tokens }) => tokens === load.outputTokens));
	const of = (name: string): number => report.metrics[name]?.successful.median ?? Number.NaN;
	return {
		ttftMs: of('time_to_first_token_ms'),
		tpotMs: of('inter_token_latency_ms'),
		itlMs: of('inter_token_latency_ms'),
		e2eMs: of('request_latency') * 1_000,
		requestsPerS: done.length / report.duration,
	};
}

function shown(who: string, { ttftMs, tpotMs, itlMs, e2eMs, requestsPerS }: Figures): string {
	const ms = [ttftMs, tpotMs, itlMs, e2eMs].map((each) => each.toFixed(1).padStart(8)).join('');
	return `${who.padEnd(20)}${ms}${requestsPerS.toFixed(3).padStart(9)}\n`;
}

const installed = await install(guidellm);
const skip = typeof installed === 'string' ? `GuideLLM cannot be had: ${installed}` : false;
if (skip !== false) process.stdout.write(`${skip}\n`);

describe('orchestratord bench, beside GuideLLM', { skip }, () => {
	it('agrees with it within 5 % on latencies and throughput of the same run', async () => {
		// An engine for each: no prompt waits for that of another, so when a tool sends is not what is measured.
		const scripted = { prefill_tokens_per_s: 500, decode_tokens_per_s: 25, tokens: 200 };
		const pool = {
			id: 'demo',
			engine: 'scripted',
			model: 'scripted:demo',
			aliases: ['default'],
			replicas: load.concurrency,
			slots: 1,
			scripted,
		};
		const daemon = await startDaemon({ config: { pools: [pool] } });
		if (typeof installed === 'string') return;
		const rounds = [await ours(daemon, 'before')];
		const other = await theirs(daemon, installed.python);
		rounds.push(await ours(daemon, 'after'));
		const { output } = await run([installed.python, '-c', 'import importlib.metadata as m; print(m.version("guidellm"))'], 30_000);
		process.stdout.write(`p50, ms: TTFT, TPOT, ITL, E2E; requests/s\n${rounds.map((each) => shown('orchestratord bench', each)).join('')}`);
		process.stdout.write(shown(`guidellm ${output.trim()}`, other));
		for (const [name, value] of Object.entries(other) as [keyof Figures, number][]) {
			const mean = rounds.reduce((sum, each) => sum + each[name], 0) / rounds.length;
			const difference = Math.abs(mean - value) / Math.max(mean, value);
			assert.ok(difference <= apart, `${name}: ${mean} here, ${value} there, ${(100 * difference).toFixed(1)} % apart`);
		}
	});
});
