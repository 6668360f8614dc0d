/**
 * Wire: what a token costs between an engine host process and the front thread, before any task sees it.
 *
 * Operation: one token from the scripted engine's process, as a piece record, over one Unix socket into the decode port, told
 * to a task that only counts. Units: tokens/s; CPU in ns per token, of the front's process (this one) and of the host's.
 * `flat`: as fast as the engine makes them, a stream beginning anew when it ends; else at 50 tokens/s a stream. Medians of the
 * runs, least and most in brackets. Not measured: tasks, logs, watchers, HTTP; the engine's own making of text is in the
 * host's figure.
 *
 *   node dist/bench/wire.js [--streams 1,64,512] [--seconds 3] [--runs 3] [--rates flat,50] [--json FILE]
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { ActorRef } from '../src/actors/kernel/ref.ts';
import type { DecodeNews, GenerateRequest } from '../src/actors/serving/decode.ts';
import { HostDecodePort } from '../src/engines/wire/host-decode-port.ts';
import { generateRequest } from '../test/engines/decode-world.ts';
import { type HostProcess, hostProcess, scriptedSettings } from '../test/engines/host-world.ts';

const { values: options } = parseArgs({
	options: {
		streams: { type: 'string', default: '1,64,512' },
		seconds: { type: 'string', default: '3' },
		runs: { type: 'string', default: '3' },
		rates: { type: 'string', default: 'flat,50' },
		json: { type: 'string' },
	},
});

/** Counts, and begins again at its end. */
class CountingTask implements ActorRef<DecodeNews> {
	tokens = 0;
	messages = 0;
	/** The measurement is over: how it ends does not matter. */
	over = false;
	readonly #again: () => void;

	constructor(again: (task: CountingTask) => void) {
		this.#again = () => again(this);
	}

	tell(news: DecodeNews): 'accepted' {
		this.messages += 1;
		if (news.type === 'pieces') this.tokens += news.count;
		else if (news.type === 'decode-ended') this.#again();
		else if (news.type === 'decode-failed' && !this.over) throw new Error(news.failure.message);
		return 'accepted';
	}
}

interface Sample {
	readonly tokensPerS: number;
	readonly messagesPerS: number;
	readonly frontNs: number;
	readonly hostNs: number;
}

function cpuNs(pid: number): number {
	let total = 0;
	for (const thread of readdirSync(`/proc/${pid}/task`)) {
		total += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
	}
	return total;
}

const wait = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

async function measure(host: HostProcess, streams: number, seconds: number): Promise<Sample> {
	const port = new HostDecodePort((words) => {
		throw new Error(words);
	});
	const tasks: CountingTask[] = [];
	const begin = (task: CountingTask): void => {
		const request: GenerateRequest = generateRequest({ prompt: 'a bench', maxTokens: 1_000_000 });
		port.start(host.replica, request, task);
	};
	for (let index = 0; index < streams; index += 1) {
		const task = new CountingTask(begin);
		tasks.push(task);
		begin(task);
	}
	await wait(500);
	const counted = (): readonly [number, number, number, number, number] => [
		performance.now(),
		cpuNs(process.pid),
		cpuNs(host.child.pid),
		tasks.reduce((sum, task) => sum + task.tokens, 0),
		tasks.reduce((sum, task) => sum + task.messages, 0),
	];
	const from = counted();
	await wait(seconds * 1000);
	const to = counted();
	for (const task of tasks) task.over = true;
	port.close();
	const tokens = to[3] - from[3];
	const spanS = (to[0] - from[0]) / 1000;
	return {
		tokensPerS: tokens / spanS,
		messagesPerS: (to[4] - from[4]) / spanS,
		frontNs: (to[1] - from[1]) / tokens,
		hostNs: (to[2] - from[2]) / tokens,
	};
}

function figure(samples: readonly Sample[], of: (sample: Sample) => number): string {
	const sorted = samples.map(of).sort((a, b) => a - b);
	const round = (value: number | undefined): string => Math.round(value ?? Number.NaN).toLocaleString('en');
	return `${round(sorted[sorted.length >> 1])} (${round(sorted[0])}–${round(sorted.at(-1))})`;
}

const streamCounts = options.streams.split(',').map(Number);
const rows: { readonly rate: string; readonly streams: number; readonly samples: readonly Sample[] }[] = [];
for (const rate of options.rates.split(',')) {
	for (const streams of streamCounts) {
		const samples: Sample[] = [];
		for (let run = 0; run < Number(options.runs); run += 1) {
			const decodeTokensPerS = rate === 'flat' ? 1_000_000 : Number(rate);
			const host = await hostProcess(
				'scripted-host',
				scriptedSettings({ slots: streams, decodeTokensPerS, ctx: 2_000_000, tokens: 100_000 }),
			);
			samples.push(await measure(host, streams, Number(options.seconds)));
			await host.close();
		}
		rows.push({ rate, streams, samples });
	}
}

process.stdout.write('| rate | streams | tokens/s | messages/s | front CPU ns/token | host CPU ns/token |\n|---|---|---|---|---|---|\n');
for (const { rate, streams, samples } of rows) {
	process.stdout.write(
		`| ${rate} | ${streams} | ${figure(samples, (s) => s.tokensPerS)} | ${figure(samples, (s) => s.messagesPerS)} | ${figure(samples, (s) => s.frontNs)} | ${figure(samples, (s) => s.hostNs)} |\n`,
	);
}
if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify({ bench: 'wire', node: process.version, rows }, null, 1)}\n`);
