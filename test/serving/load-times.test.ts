/** How long engines load: what is left of a load by those before it, by what is configured, and by a guess. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LoadTimes, later } from '../../src/actors/serving/load-times.ts';

test('what is left of a load is the middle of what the past ones that were longer would leave', () => {
	const loads = new LoadTimes(null);
	for (const ms of [3_000, 1_000, 2_000, 10_000, 4_000]) loads.measured('m', ms);
	const at = (elapsedMs: number) => loads.left('m', elapsedMs);
	assert.deepEqual([at(0).p50Ms, at(0).p90Ms, at(0).basis], [3_000, 10_000, 'measured']);
	assert.deepEqual(at(2_500), { p50Ms: 1_500, p90Ms: 7_500, possibleMs: [500, 1_500, 7_500], basis: 'measured' });
});

test('one that takes longer than any before it may be over at once, and is not said to end in an instant', () => {
	const loads = new LoadTimes(null);
	loads.measured('m', 1_000);
	const { p50Ms, possibleMs, basis } = loads.left('m', 4_000);
	assert.equal(possibleMs[0], 0);
	assert.equal(p50Ms, 2_000);
	assert.equal(basis, 'measured');
});

test('before a model was loaded it is what is configured, and a guess where nothing is', () => {
	const loads = new LoadTimes(8_000);
	assert.deepEqual(loads.left('m', 3_000), { p50Ms: 5_000, p90Ms: 5_000, possibleMs: [5_000], basis: 'prior' });
	loads.measured('m', 2_000);
	assert.equal(loads.left('m', 0).p50Ms, 2_000);
	assert.equal(loads.left('other', 0).basis, 'prior', 'another model is another load');
	loads.prior = null;
	const guess = loads.left('other', 0);
	assert.equal(guess.basis, 'guess');
	assert.ok(guess.p50Ms > 0);
	assert.equal(guess.possibleMs[0], 0, 'nobody is refused by it');
	loads.measured('m', 40_000);
	loads.measured('m', 40_000);
	assert.deepEqual([loads.left('other', 0).p50Ms, loads.left('other', 0).basis], [40_000, 'guess'], 'as long as another one takes here');
});

test('the last loads count, of each of the last models', () => {
	const loads = new LoadTimes(null);
	loads.measured('m', 90_000);
	for (let index = 0; index < 16; index += 1) loads.measured('m', 100);
	assert.deepEqual(loads.left('m', 0).possibleMs, new Array<number>(16).fill(100));
	for (let index = 0; index < 16; index += 1) loads.measured(`n${index}`, 5);
	assert.equal(loads.left('m', 0).basis, 'guess');
	assert.equal(loads.left('n0', 0).basis, 'measured');
});

test('what a control thread before this one had measured counts until this one has', () => {
	const loads = new LoadTimes(null);
	loads.recall('m', 7_000);
	loads.recall('m', 9_000);
	assert.deepEqual(loads.left('m', 0).possibleMs, [7_000]);
});

test('whatever was measured, what is left is never below nothing, in order, and later by what it begins later', () => {
	const ms = fc.nat(100_000);
	fc.assert(
		fc.property(fc.array(ms, { maxLength: 40 }), fc.option(ms), ms, ms, (measured, prior, elapsedMs, inMs) => {
			const loads = new LoadTimes(prior);
			for (const each of measured) loads.measured('m', each);
			const left = loads.left('m', elapsedMs);
			assert.ok(left.p50Ms >= 0 && left.p90Ms >= left.p50Ms);
			assert.ok(left.possibleMs.length > 0 && left.possibleMs.every((each, index) => each >= (left.possibleMs[index - 1] ?? 0)));
			assert.ok((left.possibleMs[0] as number) <= left.p50Ms && left.p90Ms <= (left.possibleMs.at(-1) as number));
			assert.equal(later(left, inMs).p50Ms, left.p50Ms + inMs);
		}),
	);
});
