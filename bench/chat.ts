/**
 * Chat: what it costs to stand between a client of the OpenAI API and an engine, for answers that are given whole.
 *
 * Operation: one `POST /v1/chat/completions` without `stream`, answered with `--tokens` tokens, by one of `--clients` connections that are kept
 * and ask again at once (closed loop). Subjects, interleaved in each run: the engine alone (direct), nginx before it, a bare relay before it
 * (uWebSockets to a socket, no parse, of the same number of bytes), and orchestratord before its scripted engine, admission, queue, log
 * and settlement included. Units: CPU in µs of the relay's processes alone, all their threads; the median ratio of a run to the bare relay of the
 * same run.
 *
 * Added latency, orchestratord only, with one client: what the client waits for, without the time between the first and the last token as the
 * engine stamped them (it makes the first as it receives the request, and sends the last as it has made it).
 *
 * `20 ms`: the same with an engine that takes 20 ms, and more clients; requests per second of CPU are what one core would sustain.
 * Not measured: TLS, networks, streams (see relay), open-loop arrivals. Requests are bytes on sockets, not the client library's: that is for `/v2`, and
 * all subjects are asked the same.
 *
 *   node dist/bench/chat.js [--requests 3000] [--runs 5] [--clients 16] [--tokens 8] [--crowd 128] [--json FILE]
 */
import { connect } from 'node:net';
import { parseArgs } from 'node:util';
import { requestEnd } from './chat/http-bytes.ts';
import { figure, machine, median, quantiles, report, table } from './report.ts';
import { Bench, cpuUs } from './subjects.ts';

const { values: options } = parseArgs({
	options: {
		requests: { type: 'string', default: '3000' },
		runs: { type: 'string', default: '5' },
		clients: { type: 'string', default: '16' },
		tokens: { type: 'string', default: '8' },
		crowd: { type: 'string', default: '128' },
		json: { type: 'string' },
	},
});
const requests = Number(options.requests);
const runs = Number(options.runs);
const tokens = Number(options.tokens);
/** Of an answer of ours, near enough: what the other subjects carry. */
const answerBytes = 470;
const engineMs = 20;
const warmRequests = 2000;

interface Subject {
	readonly name: 'direct' | 'nginx' | 'bare relay' | 'orchestratord';
	readonly port: number;
	readonly pids: () => readonly number[];
}

interface Sample {
	readonly subject: Subject['name'];
	readonly cpuUsPerRequest: number;
	readonly requestsPerS: number;
	readonly waitUs: readonly number[];
}

const body = JSON.stringify({
	model: 'bench',
	messages: [
		{ role: 'system', content: 'You are a helpful assistant.' },
		{ role: 'user', content: 'Say something short about foxes, please.' },
	],
	max_tokens: tokens,
	temperature: 0,
});

/** Each client asks again as soon as it is answered; `onAnswer` gets what each waited for, in µs, and the answer. */
async function load(port: number, clients: number, total: number, onAnswer: (waitUs: number, answer: string) => void): Promise<number> {
	const request = `POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
	let asked = 0;
	const from = performance.now();
	const client = (): Promise<void> =>
		new Promise((resolve, reject) => {
			const socket = connect({ port, host: '127.0.0.1', noDelay: true }).setEncoding('latin1');
			let text = '';
			let askedAt = 0n;
			const ask = (): void => {
				if (asked >= total) {
					socket.destroy();
					return resolve();
				}
				asked += 1;
				askedAt = process.hrtime.bigint();
				socket.write(request);
			};
			socket.once('connect', ask);
			socket.on('error', reject);
			socket.on('close', resolve);
			socket.on('data', (part) => {
				text += String(part);
				const end = requestEnd(text);
				if (end < 0) return;
				if (!text.startsWith('HTTP/1.1 200')) return reject(new Error(text.slice(0, 600)));
				onAnswer(Number(process.hrtime.bigint() - askedAt) / 1000, text.slice(0, end));
				text = text.slice(end);
				ask();
			});
		});
	await Promise.all(Array.from({ length: clients }, client));
	return (performance.now() - from) / 1000;
}

async function measure(subject: Subject, clients: number, total: number): Promise<Sample> {
	const pids = subject.pids();
	const before = pids.reduce((sum, pid) => sum + cpuUs(pid), 0);
	const waits: number[] = [];
	const seconds = await load(subject.port, clients, total, (waitUs) => waits.push(waitUs));
	const cpu = pids.reduce((sum, pid) => sum + cpuUs(pid), 0) - before;
	return { subject: subject.name, cpuUsPerRequest: cpu / total, requestsPerS: total / seconds, waitUs: quantiles(waits, [0.5, 0.99]) };
}

async function subjectsOf(bench: Bench, delayMs: number, slots: number): Promise<Subject[]> {
	const engine = await bench.program('chat/whole-engine', [String(delayMs), String(answerBytes)]);
	const nginx = await bench.nginx(engine.port, true);
	const bare = await bench.program('chat/bare-relay', [String(engine.port)]);
	const daemon = await bench.daemon({
		pools: [
			{
				id: 'bench',
				engine: 'scripted',
				model: 'scripted:bench',
				slots,
				queue: { capacity: 4096 },
				scripted: {
					prefill_tokens_per_s: delayMs === 0 ? 1e9 : promptTokens / (delayMs / 1000),
					decode_tokens_per_s: 1e9,
					tokens,
					text: 'clock',
				},
			},
		],
		tasks: { retention_ms: 1000 },
	});
	return [
		{ name: 'direct', port: engine.port, pids: () => [] },
		{ name: 'nginx', port: nginx.port, pids: nginx.relayPids },
		{ name: 'bare relay', port: bare.port, pids: () => [bare.pid] },
		{ name: 'orchestratord', port: daemon.port, pids: () => [daemon.pid] },
	];
}
/** Of `body`, as the scripted engine counts them. */
const promptTokens = 22;

function ratios(samples: readonly Sample[], name: Subject['name'], to: Subject['name']): number {
	const own = samples.filter(({ subject }) => subject === name);
	const other = samples.filter(({ subject }) => subject === to);
	return median(own.map(({ cpuUsPerRequest }, run) => cpuUsPerRequest / (other[run]?.cpuUsPerRequest ?? Number.NaN)));
}

async function compare(
	bench: Bench,
	delayMs: number,
	clients: number,
	total: number,
): Promise<{ samples: Sample[]; text: string; subjects: Subject[] }> {
	const subjects = await subjectsOf(bench, delayMs, clients);
	for (const subject of subjects) await load(subject.port, clients, warmRequests, () => undefined);
	const samples: Sample[] = [];
	for (let run = 0; run < runs; run += 1) for (const subject of subjects) samples.push(await measure(subject, clients, total));
	const of = (name: string, pick: (sample: Sample) => number): number =>
		median(samples.filter(({ subject }) => subject === name).map(pick));
	const text = table(subjects, [
		{ title: `${delayMs} ms engine, ${clients} clients`, cell: ({ name }) => name },
		{
			title: 'CPU µs a request',
			cell: ({ name }) =>
				name === 'direct'
					? '–'
					: figure(
							of(name, (each) => each.cpuUsPerRequest),
							1,
						),
		},
		{ title: 'ratio to the bare relay', cell: ({ name }) => (name === 'direct' ? '–' : figure(ratios(samples, name, 'bare relay'), 2)) },
		{ title: 'requests/s', cell: ({ name }) => figure(of(name, (each) => each.requestsPerS)) },
		{
			title: 'requests/s of a core',
			cell: ({ name }) => (name === 'direct' ? '–' : figure(1e6 / of(name, (each) => each.cpuUsPerRequest))),
		},
		{ title: 'waits p50 ms', cell: ({ name }) => figure(of(name, (each) => each.waitUs[0] ?? Number.NaN) / 1000, 2) },
		{ title: 'p99 ms', cell: ({ name }) => figure(of(name, (each) => each.waitUs[1] ?? Number.NaN) / 1000, 2) },
	]);
	return { samples, text, subjects };
}

/** What the client waited for, less the engine's own time, in µs. */
async function addedLatency(port: number, total: number): Promise<number[]> {
	const added: number[] = [];
	await load(port, 1, total, (waitUs, answer) => {
		const content = /"content":"([\d ]+)"/.exec(answer)?.[1]?.trim().split(' ') ?? [];
		added.push(waitUs - (Number(content.at(-1)) - Number(content[0])));
	});
	return added;
}

const bench = new Bench();
try {
	const at0 = await compare(bench, 0, Number(options.clients), requests);
	const daemon = at0.subjects.find(({ name }) => name === 'orchestratord');
	const added = quantiles(await addedLatency(daemon?.port ?? 0, Math.min(requests, 2000)), [0.5, 0.9, 0.99]);
	const at20 = await compare(bench, engineMs, Number(options.crowd), requests * 2);
	const latency = `Added latency of orchestratord, one client: p50 ${figure(added[0] ?? Number.NaN)} µs, p90 ${figure(added[1] ?? Number.NaN)} µs, p99 ${figure(added[2] ?? Number.NaN)} µs.`;
	report(
		'chat',
		`${machine()}, ${requests} requests a run, ${runs} runs, ${tokens} tokens\n\n${at0.text}\n\n${latency}\n\n${at20.text}`,
		options.json,
		{
			samples: at0.samples,
			addedUs: added,
			at20: at20.samples,
		},
	);
} finally {
	await bench.close();
}
