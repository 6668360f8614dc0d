/** What a pool foretells: start, service, and when to come back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PaceMeter, predictStartMs } from '../../src/actors/serving/eta.ts';

const run = { heldMs: 1_000, tokensIn: 100, tokensOut: 51, prefillMs: 100, decodeMs: 1_000, completed: true };
const work = { promptTokens: 100, expectedTokens: null, maxTokens: 1_000 };

test('with a free slot and nobody before it a task starts now', () => {
	assert.equal(predictStartMs(0, { slots: 2, slotsFree: 1, runningLeftMs: 500 }), 0);
	assert.equal(predictStartMs(0, { slots: 2, slotsFree: 0, runningLeftMs: 500 }), 250);
});

test('the prediction grows with the work ahead, never with the slots, and is never a constant per place', () => {
	fc.assert(
		fc.property(fc.array(fc.nat(1_000)), fc.nat(8), fc.nat(8), fc.nat(5_000), (queued, slots, free, runningLeftMs) => {
			const slotsFree = Math.min(slots, free);
			let ahead = 0;
			let before = predictStartMs(0, { slots, slotsFree, runningLeftMs });
			for (const workMs of queued) {
				ahead += workMs;
				const next = predictStartMs(ahead, { slots, slotsFree, runningLeftMs });
				assert.ok(next >= before && Number.isFinite(next));
				assert.ok(predictStartMs(ahead, { slots: slots + 1, slotsFree, runningLeftMs }) <= next);
				before = next;
			}
		}),
	);
});

test('it is a prior until a run was measured, and follows what is measured', () => {
	const pace = new PaceMeter();
	assert.equal(pace.estimated, 'prior');
	const prior = pace.serviceMs(work);
	pace.finished(run);
	assert.equal(pace.estimated, 'measured');
	// 100 tokens at 1 000/s, 51 tokens at 50/s.
	assert.equal(Math.round(pace.serviceMs(work)), 1_120);
	assert.notEqual(Math.round(prior), 1_120);
	for (let index = 0; index < 100; index++) pace.finished({ ...run, decodeMs: 500, prefillMs: 50 });
	assert.ok(Math.abs(pace.serviceMs(work) - 560) < 1);
	assert.ok(Math.abs(pace.serviceMs({ ...work, expectedTokens: 10 }) - 150) < 1);
	assert.ok(Math.abs(pace.serviceMs({ ...work, maxTokens: 5, expectedTokens: 10 }) - 100) < 1);
});

test('a refused client is told when a slot comes free: a second at first, then by the time that slots are held', () => {
	const pace = new PaceMeter();
	assert.equal(pace.retryAfterMs(4), 1_000);
	pace.finished({ ...run, heldMs: 8_000 });
	assert.equal(pace.retryAfterMs(4), 2_000);
	assert.equal(pace.retryAfterMs(1), 8_000);
	pace.finished({ ...run, heldMs: 100_000_000 });
	assert.equal(pace.retryAfterMs(1), 30_000);
	for (let index = 0; index < 200; index++) pace.finished({ ...run, heldMs: 0 });
	assert.equal(pace.retryAfterMs(0), 1);
});

test('runs without tokens say nothing of the pace', () => {
	const pace = new PaceMeter();
	pace.finished({ heldMs: 10, tokensIn: 0, tokensOut: 0, prefillMs: 0, decodeMs: 0, completed: false });
	assert.equal(pace.estimated, 'prior');
});

test('how likely in time is the part of past predictions whose error would have let it', () => {
	const pace = new PaceMeter();
	assert.deepEqual([pace.onTimeProbability(100, 100), pace.onTimeProbability(101, 100)], [1, 0]);
	// Half of the predictions were right, half took four times as long.
	for (let index = 0; index < 10; index++) pace.started(950, index % 2 === 0 ? 950 : 3_950);
	assert.equal(pace.onTimeProbability(100, 399), 0.5);
	assert.equal(pace.onTimeProbability(100, 400), 1);
	assert.equal(pace.onTimeProbability(100, 99), 0);
});
