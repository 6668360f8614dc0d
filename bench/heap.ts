/**
 * Heap: what a daemon holds after its streams have ended and been forgotten. Rounds of streams that all run at once, each
 * watched to its end; behind each round, and before the first, every thread collects its garbage and says what is left.
 *
 * Operation: one round. Heap and external memory in use, summed over the daemon's threads, after a collection. The first
 * round also loads code and grows caches that stay, so rounds are compared with the idle daemon and with the round before.
 * Fails when the last round left more than a tenth over what the one before did. Not measured: speed, resident memory.
 * Streams are counted in bytes, as they come, not by the client library: that parses each event, beside the daemon that is measured.
 *
 *   node dist/bench/heap.js [--streams 512] [--rounds 4] [--seconds 3] [--json FILE]
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { figure, machine, report, table } from './report.ts';
import { Bench } from './subjects.ts';

const { values: options } = parseArgs({
	options: {
		streams: { type: 'string', default: '512' },
		rounds: { type: 'string', default: '4' },
		seconds: { type: 'string', default: '3' },
		json: { type: 'string' },
	},
});

interface Held {
	readonly thread: string;
	readonly heapBytes: number;
	readonly externalBytes: number;
}

const streams = Number(options.streams);
const rate = 50;
const retentionMs = 1_000;
const threads = ['control', 'engine-0', 'front-0', 'main'];
const folder = mkdtempSync(join(tmpdir(), 'heap-bench-'));

/** Loaded by every thread of the daemon before all else: collects when a file says so. */
const probe = join(folder, 'probe.cjs');
writeFileSync(
	probe,
	`const { existsSync, writeFileSync, renameSync } = require('node:fs');
const { isMainThread, workerData } = require('node:worker_threads');
require('node:v8').setFlagsFromString('--expose-gc');
const collect = require('node:vm').runInNewContext('gc');
const thread = !isMainThread ? workerData?.name : process.argv.includes('serve') ? 'main' : null;
let round = 0;
if (typeof thread === 'string') setInterval(() => {
	if (!existsSync(${JSON.stringify(folder)} + '/collect-' + round)) return;
	for (let again = 0; again < 4; again += 1) collect();
	const { heapUsed, external } = process.memoryUsage();
	const file = ${JSON.stringify(folder)} + '/held-' + round + '-' + thread;
	writeFileSync(file + '.part', JSON.stringify({ thread, heapBytes: heapUsed, externalBytes: external }));
	renameSync(file + '.part', file);
	round += 1;
}, 50).unref();
`,
);

const wait = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

async function heldNow(round: number): Promise<readonly Held[]> {
	writeFileSync(join(folder, `collect-${round}`), '');
	const prefix = `held-${round}-`;
	for (const deadline = performance.now() + 20_000; ; ) {
		const files = readdirSync(folder).filter((file) => file.startsWith(prefix) && !file.endsWith('.part'));
		if (files.length === threads.length) return files.sort().map((file) => JSON.parse(readFileSync(join(folder, file), 'utf8')) as Held);
		if (performance.now() > deadline) throw new Error(`only ${files.join(', ')} answered`);
		await wait(50);
	}
}

/** One stream to its end; the bytes of its events. */
async function stream(url: string): Promise<number> {
	const response = await fetch(`${url}/v2/tasks`, {
		method: 'POST',
		headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
		body: JSON.stringify({ model_ref: 'scripted:bench', prompt: 'a fox' }),
	});
	let bytes = 0;
	let tail = '';
	for await (const part of response.body ?? []) {
		const text = Buffer.from(part as Uint8Array).toString('latin1');
		bytes += text.length;
		tail = (tail + text).slice(-600);
	}
	if (!tail.includes('event: end')) throw new Error(`a stream ended without its end: ${response.status} ${tail}`);
	return bytes;
}

async function run(bench: Bench): Promise<boolean> {
	const tokens = Number(options.seconds) * rate;
	const pool = {
		id: 'bench',
		engine: 'scripted',
		model: 'scripted:bench',
		slots: streams,
		scripted: { prefill_tokens_per_s: 1e9, decode_tokens_per_s: rate, tokens },
	};
	const { port } = await bench.daemon({ pools: [pool], tasks: { retention_ms: retentionMs } }, { NODE_OPTIONS: `--require ${probe}` });
	const url = `http://127.0.0.1:${port}`;
	await wait(3_000);
	const rows = [{ when: 'idle', held: await heldNow(0) }];
	for (let round = 1; round <= Number(options.rounds); round += 1) {
		await Promise.all(Array.from({ length: streams }, () => stream(url)));
		await wait(retentionMs + 7_000);
		rows.push({ when: `after round ${round}`, held: await heldNow(round) });
	}
	const total = ({ held }: (typeof rows)[number]): number => held.reduce((sum, each) => sum + each.heapBytes + each.externalBytes, 0);
	const idle = total(rows[0] as (typeof rows)[number]);
	const mib = (bytes: number): string => figure(bytes / 1024 / 1024, 1);
	const text = table(rows, [
		{ title: 'when', cell: (row) => row.when },
		...threads.map((thread, index) => ({
			title: `${thread} heap + external MiB`,
			cell: ({ held }: (typeof rows)[number]) =>
				`${mib(held[index]?.heapBytes ?? Number.NaN)} + ${mib(held[index]?.externalBytes ?? Number.NaN)}`,
		})),
		{ title: 'all MiB', cell: (row) => mib(total(row)) },
		{ title: 'of idle', cell: (row) => figure(total(row) / idle, 2) },
	]);
	const [before, last] = rows.slice(-2).map(total) as [number, number];
	report('heap', `heap: ${streams} streams a round, ${tokens} tokens each; ${machine()}\n\n${text}`, options.json, { rows });
	return last <= before * 1.1;
}

const bench = new Bench();
try {
	if (!(await run(bench))) process.exitCode = 1;
} finally {
	await bench.close();
	rmSync(folder, { recursive: true, force: true });
}
