/** The benchmark client: its times, its workloads, its arithmetic, and a run against a server that answers at set times. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it, test } from 'node:test';
import fc from 'fast-check';
import { arrivalsMs, seeded } from '../../src/cli/bench/arrivals.ts';
import { type BenchOptions, bench } from '../../src/cli/bench/bench-command.ts';
import { distribution, summarize } from '../../src/cli/bench/summary.ts';
import type { Outcome } from '../../src/cli/bench/target.ts';
import { type WorkloadOptions, workloadOf } from '../../src/cli/bench/workload.ts';
import { fakeTerminal } from './fake-daemon.ts';

const workload: WorkloadOptions = {
	dataset: 'random',
	count: 6,
	inputLen: 5,
	outputLen: 4,
	inputMax: 1_000,
	outputMax: 500,
	tenants: [],
	seed: 1,
};
const outcome: Outcome = {
	sentAt: 0,
	lateMs: 0,
	firstTokenMs: 100,
	latencyMs: 400,
	gapsMs: [100, 200],
	tokensIn: 5,
	tokensOut: 4,
	tenant: null,
	error: null,
};

test('arrivals come at the rate that was asked for, as bursty as was asked for', () => {
	assert.deepEqual(arrivalsMs(4, 10, Number.POSITIVE_INFINITY, seeded(1)), [0, 100, 200, 300]);
	assert.deepEqual(arrivalsMs(3, Number.POSITIVE_INFINITY, 1, seeded(1)), [0, 0, 0]);
	const spread = (burstiness: number): number => {
		const times = arrivalsMs(4_000, 100, burstiness, seeded(7));
		assert.ok(Math.abs((times.at(-1) ?? 0) - 39_990) < 1);
		const gaps = distribution(
			times.slice(1).map((at, index) => at - (times[index] ?? 0)),
			[],
		);
		return gaps.std / gaps.mean;
	};
	// The coefficient of variation of a gamma distribution is one over the root of its shape.
	for (const burstiness of [0.25, 1, 4]) assert.ok(Math.abs(spread(burstiness) * Math.sqrt(burstiness) - 1) < 0.1, `${burstiness}`);
});

test('percentiles lie between the nearest ranks, as those of numpy', () => {
	const of = distribution([15, 20, 35, 40, 50], [25, 40, 99]);
	assert.deepEqual(
		[of.mean, of.median, of.percentiles],
		[
			32,
			35,
			[
				[25, 20],
				[40, 29],
				[99, 49.6],
			],
		],
	);
	fc.assert(
		fc.property(
			fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1 }),
			fc.double({ min: 0.1, max: 100, noNaN: true }),
			(values, percent) => {
				const value = distribution(values, [percent]).percentiles[0]?.[1] ?? Number.NaN;
				assert.ok(value >= Math.min(...values) && value <= Math.max(...values));
			},
		),
	);
});

test('a summary counts failures apart, and goodput by every objective', () => {
	const slow = { ...outcome, firstTokenMs: 300, latencyMs: 600 };
	const failed = { ...outcome, error: 'HTTP 500' };
	const summary = summarize([outcome, slow, failed], 2_000, [99], { ttft: 200, tpot: 101 });
	assert.deepEqual([summary.completed, summary.failed, summary.tokensOut, summary.requestsPerS, summary.goodputPerS], [2, 1, 8, 1, 0.5]);
	assert.deepEqual([summary.ttftMs.mean, summary.tpotMs.mean, summary.itlMs.mean, summary.e2elMs.mean], [200, 100, 150, 500]);
	assert.equal(summarize([outcome], 1_000, [], { tpot: 99 }).goodputPerS, 0);
	assert.equal(summarize([outcome], 1_000, [], {}).goodputPerS, null);
});

test('prompts have the length that was asked for, and are the same for the same seed', () => {
	const requests = workloadOf({ ...workload, tenants: ['a', 'b'] }, null);
	assert.deepEqual(requests, workloadOf({ ...workload, tenants: ['a', 'b'] }, null));
	assert.deepEqual(
		requests.map(({ prompt, outputTokens, tenant }) => [prompt.split(' ').length, outputTokens, tenant]),
		['a', 'b', 'a', 'b', 'a', 'b'].map((tenant) => [5, 4, tenant]),
	);
	const lengths = workloadOf({ ...workload, dataset: 'sharegpt', count: 500 }, null).map(({ inputWords }) => inputWords);
	assert.ok(Math.min(...lengths) >= 4 && Math.max(...lengths) <= 1_000 && new Set(lengths).size > 100);
});

test('a trace sets times and lengths, and equal blocks are equal text; a broken line is named', () => {
	const row = (timestamp: number, ids: readonly number[]): string =>
		JSON.stringify({ timestamp, input_length: 600, output_length: 9, hash_ids: ids });
	const [first, second] = workloadOf({ ...workload, dataset: 'trace' }, [row(5_000, [1, 2]), row(5_250, [1, 3]), ''].join('\n'));
	assert.deepEqual([first?.atMs, second?.atMs, second?.outputTokens], [0, 250, 9]);
	const words = [first, second].map((request) => request?.prompt.split(' ') ?? []);
	assert.deepEqual(words[0]?.slice(0, 512), words[1]?.slice(0, 512));
	assert.notDeepEqual(words[0]?.slice(512), words[1]?.slice(512));
	assert.throws(
		() => workloadOf({ ...workload, dataset: 'trace' }, `${row(0, [])}\n{"timestamp":1}`),
		/line 2 of the trace has no input_length/,
	);
});

describe('a benchmark', () => {
	const folder = mkdtempSync(join(tmpdir(), 'orchestratord-bench-'));
	const bodies: Record<string, unknown>[] = [];
	/** Three events 30 ms apart, the first 30 ms behind the request; every third request fails. */
	const server = createServer((request, response) => {
		let text = '';
		request.on('data', (chunk: Buffer) => {
			text += chunk.toString();
		});
		request.on('end', () => {
			bodies.push(JSON.parse(text) as Record<string, unknown>);
			if (bodies.length % 3 === 0) {
				response.writeHead(503).end('{"code":"POOL_UNREADY"}');
				return;
			}
			const v2 = request.url === '/v2/tasks';
			const chunk = (index: number): string =>
				v2 ? `event: token\ndata: {"t":"x","i":${index}}\n\n` : `data: {"choices":[{"delta":{"content":"x"}}]}\n\n`;
			const end = v2
				? 'event: end\ndata: {"tokens_in":7,"tokens_out":3}\n\n'
				: 'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\ndata: [DONE]\n\n';
			response.writeHead(200, { 'content-type': 'text/event-stream' });
			let sent = 0;
			const timer = setInterval(() => {
				response.write(chunk(sent));
				sent += 1;
				if (sent < 3) return;
				clearInterval(timer);
				response.end(end);
			}, 30);
		});
	});
	after(() => {
		server.close();
		rmSync(folder, { recursive: true, force: true });
	});

	for (const backend of ['v2', 'openai-chat'] as const) {
		it(`against ${backend} times what the server does, and writes what it found`, async () => {
			if (!server.listening) {
				server.listen(0, '127.0.0.1');
				await once(server, 'listening');
			}
			const address = server.address();
			assert.ok(typeof address === 'object' && address !== null);
			const options: BenchOptions = {
				target: {
					backend,
					url: `http://127.0.0.1:${address.port}`,
					endpoint: null,
					model: 'm',
					key: null,
					temperature: 0,
					ignoreEos: false,
					timeoutMs: 5_000,
				},
				workload,
				tracePath: null,
				rate: Number.POSITIVE_INFINITY,
				burstiness: 1,
				concurrency: 2,
				objectives: { ttft: 5_000 },
				percents: [99],
				json: true,
				resultPath: join(folder, 'result.json'),
				requestsPath: join(folder, 'requests.jsonl'),
				reportPath: join(folder, 'report.html'),
			};
			bodies.length = 0;
			const terminal = fakeTerminal();
			assert.equal(await bench(options, terminal), 0);
			const result = JSON.parse(terminal.stdout.join('')) as Readonly<Record<string, number>>;
			assert.deepEqual(
				[result['completed'], result['failed'], result['total_input_tokens'], result['total_output_tokens']],
				[4, 2, 28, 12],
			);
			assert.ok((result['mean_ttft_ms'] ?? 0) >= 25 && (result['mean_itl_ms'] ?? 0) >= 20, JSON.stringify(result));
			assert.equal(result['request_goodput'], result['request_throughput']);
			assert.deepEqual(JSON.parse(readFileSync(join(folder, 'result.json'), 'utf8')), result);
			assert.equal(readFileSync(join(folder, 'requests.jsonl'), 'utf8').trim().split('\n').length, 6);
			assert.match(readFileSync(join(folder, 'report.html'), 'utf8'), /<polyline[\s\S]*4 completed|4 completed[\s\S]*<polyline/);
			assert.match(terminal.stderr.join('\n'), /2 failed, the first with: HTTP 503/);
			assert.equal(bodies[0]?.['max_tokens'], 4);
		});
	}
});
