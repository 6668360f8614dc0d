/**
 * How well a pool foretells starts on traces of arrivals: the production Dispatcher, Pool and queue, in virtual time. What is
 * told when a task is admitted is compared with what happens to it.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { SeededRandom } from '../../src/actors/kernel/seeded-random.ts';
import { ControlWorld, type TestTask } from './control-world.ts';
import { poolSpec } from './summaries.ts';

interface Arrival {
	readonly atMs: number;
	readonly tokensIn: number;
	readonly tokensOut: number;
	readonly tenant: string;
	readonly batch: boolean;
	/** How long it holds its slot; null: as its tokens take. */
	readonly heldMs: number | null;
}

/** Milliseconds of one token, when `depth` tasks share the engine: continuous batching slows each a little. */
const msPerToken = (depth: number): number => 10 + depth;
const msPerPromptToken = 0.2;

/** Part of the starts that came no later than the 90th percentile that was told, and than the middle; of those who waited. */
function coverage(arrivals: readonly Arrival[], slots: number): { readonly p90: number; readonly p50: number; readonly waited: number } {
	const world = ControlWorld.ready({
		settings: { slots },
		maxTokensOut: 4_000,
		queue: { ...poolSpec().queue, capacity: 100_000 },
		timeouts: { firstTokenMs: 1e9, idleMs: 1e9, wallMs: 1e9 },
	});
	const { host } = world;
	host.world.onBroken = null;
	let within90 = 0;
	let within50 = 0;
	let waited = 0;
	let running = 0;
	for (const [index, arrival] of arrivals.entries()) {
		host.setTimer(arrival.atMs, () => {
			const { tokensIn, tokensOut } = arrival;
			const task: TestTask = world.submit(`t${index}`, {
				tenant: arrival.tenant,
				priority: arrival.batch ? 'batch' : 'interactive',
				promptTokens: tokensIn,
				maxTokens: null,
				admittedAt: host.now(),
			});
			const submittedAt = host.now();
			const began = (): void => {
				running += 1;
				const prefillMs = tokensIn * msPerPromptToken;
				const decodeMs = arrival.heldMs === null ? tokensOut * msPerToken(running) : Math.max(1, arrival.heldMs - prefillMs);
				task.work = { tokensIn, tokensOut, prefillMs, decodeMs };
				task.tellServed();
				host.setTimer(prefillMs + decodeMs, () => {
					running -= 1;
					task.finish();
				});
			};
			if (task.state === 'running') return began();
			const told = task.only('queued').standing;
			// The first waits are told by what was assumed, and nothing is promised of those.
			const counts = index > arrivals.length / 10;
			task.onGranted = () => {
				const realMs = host.now() - submittedAt;
				if (counts) {
					waited += 1;
					if (realMs <= told.predictedStartP90Ms + 1e-6) within90 += 1;
					if (realMs <= told.predictedStartMs + 1e-6) within50 += 1;
				}
				began();
			};
		});
	}
	host.advance((arrivals.at(-1)?.atMs ?? 0) + 10_000_000);
	assert.ok(world.states().every((state) => state === 'done'));
	return { p90: within90 / waited, p50: within50 / waited, waited };
}

/** Quiet and busy times take turns; lengths are heavy-tailed; several tenants, some batch work. */
function burstyTrace(seed: number, count: number): Arrival[] {
	const random = new SeededRandom(seed);
	const exponential = (mean: number): number => -Math.log(1 - random.next()) * mean;
	const meanServiceMs = 140 * msPerToken(4) + 200 * msPerPromptToken;
	let atMs = 0;
	let busyUntil = 0;
	return Array.from({ length: count }, () => {
		if (atMs > busyUntil) {
			atMs += exponential(15 * meanServiceMs);
			busyUntil = atMs + exponential(15 * meanServiceMs);
		}
		// In a burst half as many again come as there are slots for.
		atMs += exponential(meanServiceMs / 4 / 1.5);
		return {
			atMs,
			tokensIn: Math.min(500, Math.round(20 + exponential(200))),
			tokensOut: Math.max(1, Math.round(Math.min(2_000, 30 * Math.exp(exponential(0.8))))),
			tenant: `tenant${random.below(3)}`,
			batch: random.below(10) === 0,
			heldMs: null,
		};
	});
}

test('on bursts of arrivals, nine of ten tasks start by the 90th percentile that they were told, and half by the middle', (t) => {
	for (const seed of [1, 2, 3]) {
		const { p90, p50, waited } = coverage(burstyTrace(seed, 3_000), 4);
		t.diagnostic(
			`bursty ${seed}: of ${waited} that waited ${(p90 * 100).toFixed(1)} % started by their p90, ${(p50 * 100).toFixed(1)} % by their p50`,
		);
		assert.ok(waited > 300);
		assert.ok(p90 >= 0.85 && p90 <= 0.95, `${p90}`);
		assert.ok(p50 >= 0.4 && p50 <= 0.6, `${p50}`);
	}
});

/** Of llama.cpp with the built-in model, by `bench/eta.ts --trace`: `at_ms,held_ms,tokens_in,tokens_out,tenant,batch`. */
function recordedTrace(): Arrival[] {
	const file = new URL('../../../test/fixtures/arrivals.csv', import.meta.url);
	const [, ...lines] = readFileSync(file, 'utf8').trim().split('\n');
	return lines.map((line) => {
		const [atMs = 0, heldMs = 0, tokensIn = 0, tokensOut = 0, tenant = 0, batch = 0] = line.split(',').map(Number);
		return { atMs, heldMs, tokensIn, tokensOut, tenant: `tenant${tenant}`, batch: batch === 1 };
	});
}

test('on a recorded trace, nine of ten tasks start by the 90th percentile that they were told, and half by the middle', (t) => {
	const { p90, p50, waited } = coverage(recordedTrace(), 2);
	t.diagnostic(
		`recorded: of ${waited} that waited ${(p90 * 100).toFixed(1)} % started by their p90, ${(p50 * 100).toFixed(1)} % by their p50`,
	);
	assert.ok(waited > 300);
	assert.ok(p90 >= 0.85 && p90 <= 0.95, `${p90}`);
	assert.ok(p50 >= 0.4 && p50 <= 0.6, `${p50}`);
});
