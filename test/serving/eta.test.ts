/** What a pool foretells: start, service, how sure that is, and when to come back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SeededRandom } from '../../src/actors/kernel/seeded-random.ts';
import { ErrorRatios } from '../../src/actors/serving/error-ratios.ts';
import { PaceMeter } from '../../src/actors/serving/eta.ts';
import { OutputLengths } from '../../src/actors/serving/output-lengths.ts';
import { SlotLevels } from '../../src/actors/serving/slot-levels.ts';

const prior = { prefillTokensPerS: 1_000, decodeTokensPerS: 50, tokensOut: 128 };
const run = { heldMs: 1_000, tokensIn: 100, tokensOut: 51, prefillMs: 100, decodeMs: 1_000, depth: 1, answer: 'ended' as const };
const work = { promptTokens: 100, expectedTokens: null, maxTokens: 1_000 };

// ── when a slot is free ──────────────────────────────────────────────────────────────────────────────────────────

test('with a free slot and nobody before it a task starts now', () => {
	assert.equal(new SlotLevels([0, 500], 100).startMs(0), 0);
	assert.equal(new SlotLevels([300, 200], 100).startMs(0), 200);
	assert.equal(new SlotLevels([], 100).startMs(70), 70, 'without a slot, the work itself is the answer');
});

test('with a free slot and nothing before it what runs in the others does not matter, and a pool need not look', () => {
	const slots = fc.array(fc.double({ min: 0, max: 1e7, noNaN: true }));
	fc.assert(
		fc.property(slots, fc.double({ min: 0, max: 1e7, noNaN: true }), (freeInMs, taskMs) => {
			assert.equal(new SlotLevels([...freeInMs, 0], taskMs).startMs(0), 0);
		}),
	);
});

test('the prediction grows with the work ahead, never with the slots, and is never a constant per place', () => {
	fc.assert(
		fc.property(fc.array(fc.nat(1_000)), fc.array(fc.nat(1_000), { minLength: 1, maxLength: 8 }), (queued, freeInMs) => {
			const slots = new SlotLevels(freeInMs, 300);
			const more = new SlotLevels([...freeInMs, 0], 300);
			let ahead = 0;
			let before = slots.startMs(0);
			for (const workMs of queued) {
				ahead += workMs;
				const next = slots.startMs(ahead);
				assert.ok(next >= before && Number.isFinite(next));
				assert.ok(more.startMs(ahead) <= next + 1e-6);
				before = next;
			}
		}),
	);
});

/** List scheduling, task by task: each goes to the slot that is free first. */
function simulatedStarts(freeInMs: readonly number[], services: readonly number[]): number[] {
	const slots = [...freeInMs];
	return services.map((serviceMs) => {
		const start = Math.min(...slots);
		slots[slots.indexOf(start)] = start + serviceMs;
		return start;
	});
}

test('it agrees with a simulation of the slots within one mean service time', (t) => {
	let worst = 0;
	for (let seed = 1; seed <= 200; seed++) {
		const random = new SeededRandom(seed);
		const slots = 1 + random.below(16);
		const meanMs = 100;
		// From all alike to lengths that vary twentyfold.
		const spread = random.next() * 0.95;
		const service = (): number => meanMs * (1 + spread * (2 * random.next() - 1));
		const freeInMs = Array.from({ length: slots }, () => (random.below(3) === 0 ? 0 : service() * random.next()));
		const services = Array.from({ length: 1 + random.below(200) }, service);
		const starts = simulatedStarts(freeInMs, services);
		const levels = new SlotLevels(freeInMs, meanMs);
		let ahead = 0;
		for (const [index, serviceMs] of services.entries()) {
			worst = Math.max(worst, Math.abs(levels.startMs(ahead) - (starts[index] ?? 0)) / meanMs);
			ahead += serviceMs;
		}
	}
	t.diagnostic(`farthest from the simulation: ${worst.toFixed(2)} mean service times`);
	assert.ok(worst <= 1, `${worst}`);
});

// ── how long a task takes ────────────────────────────────────────────────────────────────────────────────────────

test('it is a prior until a run was measured, and follows what is measured', () => {
	const pace = new PaceMeter(prior);
	assert.equal(pace.estimated, 'prior');
	// 100 tokens at 1 000/s, 128 at 50/s.
	assert.equal(Math.round(pace.serviceMs(work, 1)), 2_660);
	pace.finished(run);
	assert.equal(pace.estimated, 'measured');
	assert.equal(Math.round(pace.serviceMs(work, 1)), 1_120);
	for (let index = 0; index < 100; index++) pace.finished({ ...run, decodeMs: 500, prefillMs: 50 });
	assert.ok(Math.abs(pace.serviceMs(work, 1) - 560) < 1);
	assert.ok(Math.abs(pace.serviceMs({ ...work, expectedTokens: 10 }, 1) - 150) < 1);
	assert.ok(Math.abs(pace.serviceMs({ ...work, maxTokens: 5, expectedTokens: 10 }, 1) - 100) < 1);
});

test('the pace is told apart by how many tasks share the engine; of a depth that was never seen it is the nearest', () => {
	const pace = new PaceMeter(prior);
	pace.finished({ ...run, depth: 1, decodeMs: 500 });
	pace.finished({ ...run, depth: 8, decodeMs: 2_000 });
	const at = (depth: number): number => Math.round(pace.serviceMs({ ...work, promptTokens: 0 }, depth));
	assert.deepEqual([at(1), at(8), at(7), at(64)], [510, 2_040, 2_040, 2_040]);
	assert.equal(at(2), 510);
	assert.equal(at(4), 2_040);
});

test('what is left of a running task comes from the answers that were longer', () => {
	const pace = new PaceMeter(prior);
	// Half of the answers have 10 tokens, half have 110; a token takes 20 ms.
	for (let index = 0; index < 20; index++) {
		const tokensOut = index % 2 === 0 ? 10 : 110;
		pace.finished({ ...run, tokensOut, decodeMs: (tokensOut - 1) * 20, prefillMs: 0 });
	}
	const short = { promptTokens: 0, expectedTokens: null, maxTokens: 1_000 };
	assert.equal(Math.round(pace.leftMs(short, 1, 0)), 60 * 20);
	assert.equal(Math.round(pace.leftMs(short, 1, 20 * 20)), 90 * 20, 'past ten tokens it is one of the long ones');
	assert.equal(Math.round(pace.leftMs({ ...short, maxTokens: 30 }, 1, 0)), 20 * 20);
	assert.ok(pace.leftMs(short, 1, 200 * 20) > 0, 'longer than all that were seen');
	assert.equal(pace.leftMs({ ...short, maxTokens: 30 }, 1, 31 * 20), 0);
});

test('expected lengths are those of the last answers, whatever came before', () => {
	fc.assert(
		fc.property(fc.array(fc.nat(100), { minLength: 1, maxLength: 600 }), fc.nat(120), fc.nat(120), (tokens, made, most) => {
			const lengths = new OutputLengths();
			for (const each of tokens) lengths.add(each, false);
			const longer = tokens.slice(-256).filter((each) => each > made);
			const expected = longer.reduce((sum, each) => sum + Math.min(each, most) - made, 0) / longer.length;
			const told = lengths.expectedMore(made, most);
			if (most <= made) assert.equal(told, 0);
			else if (longer.length > 0) assert.ok(Math.abs(told - expected) < 1e-6, `${told}, ${expected}`);
			else assert.ok(told >= 0 && told <= most - made);
		}),
	);
});

test('an answer that was cut says only that it would have been longer', () => {
	const lengths = new OutputLengths();
	for (let index = 0; index < 20; index++) lengths.add(5, true);
	assert.equal(lengths.expectedMore(0, 80), 80, 'none has ever ended by itself');
	for (let index = 0; index < 20; index++) lengths.add(10, false);
	assert.equal(lengths.expectedMore(0, 80), 10);
	lengths.add(7, true);
	assert.equal(lengths.expectedMore(0, 80), 10);
});

test('runs without tokens say nothing of the pace', () => {
	const pace = new PaceMeter(prior);
	pace.finished({ heldMs: 10, tokensIn: 0, tokensOut: 0, prefillMs: 0, decodeMs: 0, depth: 1, answer: 'failed' });
	assert.equal(pace.estimated, 'prior');
});

test('a refused client is told when a slot comes free: a second at first, then by the time that slots are held', () => {
	const pace = new PaceMeter(prior);
	assert.equal(pace.retryAfterMs(4), 1_000);
	pace.finished({ ...run, heldMs: 8_000 });
	assert.equal(pace.retryAfterMs(4), 2_000);
	assert.equal(pace.retryAfterMs(1), 8_000);
	pace.finished({ ...run, heldMs: 100_000_000 });
	assert.equal(pace.retryAfterMs(1), 30_000);
	for (let index = 0; index < 200; index++) pace.finished({ ...run, heldMs: 0 });
	assert.equal(pace.retryAfterMs(0), 1);
});

// ── how sure ─────────────────────────────────────────────────────────────────────────────────────────────────────

test('how likely in time is the part of past predictions whose error would have let it', () => {
	const errors = new ErrorRatios();
	assert.deepEqual([errors.probabilityWithin(100, 100), errors.probabilityWithin(101, 100)], [1, 0]);
	// Half of the predictions were right, half took four times as long.
	for (let index = 0; index < 10; index++) errors.add(950, index % 2 === 0 ? 950 : 3_950);
	assert.equal(errors.probabilityWithin(100, 549), 0.5);
	assert.equal(errors.probabilityWithin(100, 550), 1);
	assert.equal(errors.probabilityWithin(100, 99), 0);
});

test('nine of ten next ones are within the ninetieth percentile of those before', () => {
	const random = new SeededRandom(5);
	const errors = new ErrorRatios();
	let covered = 0;
	const tries = 4_000;
	for (let index = 0; index < tries; index++) {
		const predictedMs = 100 + random.below(10_000);
		const realMs = predictedMs * Math.exp(random.next() * 2 - 1);
		if (index >= 50 && realMs <= errors.p90Ms(predictedMs)) covered += 1;
		errors.add(predictedMs, realMs);
	}
	const part = covered / (tries - 50);
	assert.ok(part > 0.87 && part < 0.93, `${part}`);
});
