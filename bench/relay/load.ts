/**
 * The load generator: one process, N streams whose start times are fixed in advance (open loop, spread evenly over
 * `spreadMs`). Reads one `LoadJob` as JSON from argv, says `ready`, begins at the first line of its stdin and answers each other line with the number
 * of tokens so far, prints one `LoadResult`. Its sockets and its reader are its own, not the client library's: thousands of streams are to cost the
 * machine less than the relay that is measured, and other servers are asked the same way. Bounded: it ends when all streams have ended, or at its deadline, which counts as an error.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { quantiles } from '../report.ts';
import { ForeignWays } from './foreign.ts';
import { newTally, nowUs, SseReader, type Tally } from './sse-reader.ts';

export interface LoadJob {
	/**
	 * `sse`: GET the stream. `openai`: POST /v1/completions. `tasks`: POST /v2/tasks, whose answer is the task's events. `foreign`: POST on a connection of one front,
	 * GET the events on one of the other, both made before.
	 */
	readonly kind: 'sse' | 'openai' | 'tasks' | 'foreign';
	readonly port: number;
	readonly streams: number;
	/** All are opened within this time. */
	readonly spreadMs: number;
	readonly tokens: number;
	readonly deadlineMs: number;
	readonly model: string;
}

export interface LoadResult {
	readonly tokens: number;
	readonly expected: number;
	readonly lost: number;
	readonly repeated: number;
	readonly errors: number;
	readonly firstUs: readonly number[];
	/** p50, p90, p99, p99.9 in µs. */
	readonly delayUs: readonly number[];
	readonly gapUs: readonly number[];
	/** Share of tokens whose delay lies in 38 to 44 ms: the mark of a delayed acknowledgement. */
	readonly fortyMsShare: number;
	readonly cpuUs: number;
	/** From the first token of all to the last. */
	readonly tokensPerS: number;
}

function openStream(job: LoadJob, ways: ForeignWays | null, tally: Tally, done: (ok: boolean) => void): void {
	const askedAtUs = nowUs();
	const reader = new SseReader(tally, askedAtUs, job.kind === 'openai' ? 'text' : 't');
	let settled = false;
	let socket: Socket | null = null;
	const finish = (ok: boolean): void => {
		if (settled) return;
		settled = true;
		socket?.destroy();
		done(ok);
	};
	const onData = (text: string): void => {
		reader.push(text);
		if (reader.ended || (reader.status !== 0 && reader.status !== 200)) finish(reader.status === 200 && reader.tokens === job.tokens);
	};
	const follow = (opened: Socket): void => {
		socket = opened;
		socket.on('error', () => finish(false));
		socket.on('close', () => finish(false));
	};
	if (ways !== null) {
		ways.openStream(job.tokens, onData).then(follow, () => finish(false));
		return;
	}
	const plain = connect({ port: job.port, host: '127.0.0.1', noDelay: true }, () => {
		if (job.kind === 'sse') {
			plain.write(`GET /?tokens=${job.tokens} HTTP/1.1\r\nHost: 127.0.0.1:${job.port}\r\n\r\n`);
			return;
		}
		if (job.kind === 'openai') {
			const asked = JSON.stringify({ model: 'bench', prompt: 'x', max_tokens: job.tokens, stream: true });
			plain.write(
				`POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:${job.port}\r\nContent-Type: application/json\r\nContent-Length: ${asked.length}\r\n\r\n${asked}`,
			);
			return;
		}
		const body = JSON.stringify({ model_ref: job.model, prompt: 'x', raw: true, max_tokens: job.tokens });
		plain.write(
			`POST /v2/tasks HTTP/1.1\r\nHost: 127.0.0.1:${job.port}\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
		);
	});
	plain.setEncoding('latin1');
	plain.on('data', onData);
	follow(plain);
}

async function run(job: LoadJob): Promise<void> {
	const ways = job.kind === 'foreign' ? await ForeignWays.open(job.port, job.model, job.streams) : null;
	process.stdout.write('ready\n');
	const asked = createInterface({ input: process.stdin });
	await once(asked, 'line');
	const tally = newTally(job.streams * job.tokens + 1);
	asked.on('line', () => process.stdout.write(`{"tokens":${tally.tokens}}\n`));
	const cpuBefore = process.cpuUsage();
	let left = job.streams;
	let errors = 0;
	const report = (): void => {
		const cpu = process.cpuUsage(cpuBefore);
		const delays = tally.delaysUs.subarray(0, tally.tokens);
		let forty = 0;
		for (const delay of delays) if (delay >= 38_000 && delay < 44_000) forty += 1;
		const result: LoadResult = {
			tokens: tally.tokens,
			expected: job.streams * job.tokens,
			lost: tally.lost,
			repeated: tally.repeated,
			errors: errors + left,
			firstUs: quantiles(tally.firstUs, [0.5, 0.9, 0.99]),
			delayUs: quantiles(delays, [0.5, 0.9, 0.99, 0.999]),
			gapUs: quantiles(tally.gapsUs, [0.5, 0.99, 0.999]),
			fortyMsShare: tally.tokens === 0 ? 0 : forty / tally.tokens,
			cpuUs: cpu.user + cpu.system,
			tokensPerS: (tally.tokens / Math.max(1, tally.lastAtUs - tally.firstAtUs)) * 1e6,
		};
		process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
	};
	const deadline = setTimeout(report, job.deadlineMs);
	for (let index = 0; index < job.streams; index += 1) {
		setTimeout(
			() => {
				openStream(job, ways, tally, (ok) => {
					if (!ok) errors += 1;
					left -= 1;
					if (left > 0) return;
					clearTimeout(deadline);
					report();
				});
			},
			(index * job.spreadMs) / job.streams,
		);
	}
}

const argument = process.argv[2];
if (argument !== undefined && argument.startsWith('{')) await run(JSON.parse(argument) as LoadJob);
