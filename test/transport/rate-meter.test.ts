/** The rates of keys: that a bucket lets through what it may, over any number of threads, and says truly when to come again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type KeyRate, RateMeter, rateMemory } from '../../src/transport/auth/rate-meter.ts';

const noRate: KeyRate = { requestsPerMinute: null, burst: 1, tokensPerMinute: null, tokensBudget: null };

class World {
	now = 1_000_000;
	readonly meters: RateMeter[];

	/** One meter a front thread, all over the same memory. */
	constructor(rate: Partial<KeyRate>, fronts = 1) {
		const keys = [
			{ name: 'other', rate: noRate },
			{ name: 'k', rate: { ...noRate, ...rate } },
		];
		const memory = rateMemory(keys.length);
		this.meters = Array.from({ length: fronts }, () => new RateMeter(keys, memory, () => this.now));
	}

	take(tokens = 0, front = 0): string | number {
		const refused = this.meters[front]?.take('k', tokens) ?? null;
		if (refused === null) return 'taken';
		assert.equal(refused.policyLabel, 'rate');
		assert.equal(refused.code, 'ADMISSION_REJECT');
		return refused.retryAfterMs ?? Number.NaN;
	}
}

test('a burst passes, then one by one as time goes', () => {
	const world = new World({ requestsPerMinute: 60, burst: 3 });
	assert.deepEqual([world.take(), world.take(), world.take(), world.take()], ['taken', 'taken', 'taken', 1_000]);
	world.now += 999;
	assert.equal(world.take(), 1);
	world.now += 1;
	assert.equal(world.take(), 'taken');
	assert.equal(world.take(), 1_000);
	world.now += 3_600_000;
	assert.deepEqual([world.take(), world.take(), world.take(), world.take()], ['taken', 'taken', 'taken', 1_000]);
});

test('a limit is one limit, however many front threads count, and whichever of them is asked', () => {
	fc.assert(
		fc.property(
			fc.integer({ min: 1, max: 5 }),
			fc.integer({ min: 1, max: 20 }),
			fc.integer({ min: 1, max: 600 }),
			fc.array(fc.record({ front: fc.nat(4), waitMs: fc.integer({ min: 0, max: 3_000 }) }), { maxLength: 200 }),
			(fronts, burst, requestsPerMinute, asks) => {
				const world = new World({ requestsPerMinute, burst }, fronts);
				const start = world.now;
				let taken = 0;
				for (const { front, waitMs } of asks) {
					world.now += waitMs;
					const answer = world.take(0, front % fronts);
					if (answer === 'taken') taken += 1;
					else {
						// Whoever comes when told gets in, and a millisecond sooner does not.
						const asked = world.now;
						world.now = asked + Number(answer) - 1;
						assert.notEqual(world.meters[front % fronts]?.check('k', 0), null);
						world.now = asked + Number(answer);
						assert.equal(world.meters[(front + 1) % fronts]?.check('k', 0), null);
					}
				}
				assert.ok(taken <= burst + ((world.now - start) * requestsPerMinute) / 60_000 + 1e-3, `${taken} were let through`);
			},
		),
	);
});

test('tokens are charged at once and what was not used comes back; a debt is waited for', () => {
	const world = new World({ tokensPerMinute: 6_000 });
	assert.equal(world.take(4_000), 'taken');
	assert.equal(world.take(2_500), 5_000);
	world.meters[0]?.giveBack('k', 3_900);
	assert.equal(world.take(2_500), 'taken');
	assert.equal(world.take(3_400), 'taken');
	// It used 600 tokens more than it was charged.
	world.meters[0]?.giveBack('k', -600);
	assert.equal(world.take(100), 7_000);
	world.now += 7_000;
	assert.equal(world.take(100), 'taken');
	world.now += 600_000;
	world.meters[0]?.giveBack('k', -1_000);
	assert.equal(world.take(6_000), 10_000);
	assert.equal(world.take(5_000), 'taken');
});

test('a task larger than the bucket takes a full one, and no more than that', () => {
	const world = new World({ tokensPerMinute: 600 });
	assert.equal(world.take(1_000_000), 'taken');
	assert.equal(world.take(1), 100);
	world.now += 60_000;
	assert.equal(world.take(1_000_000), 'taken');
});

test('one that tokens refuse has not used up a request; a look takes nothing; other keys are not limited', () => {
	const world = new World({ requestsPerMinute: 60, burst: 1, tokensPerMinute: 60 });
	const [meter] = world.meters;
	for (let look = 0; look < 5; look++) assert.equal(meter?.check('k', 60), null);
	assert.equal(world.take(60), 'taken');
	world.now += 1_000;
	assert.equal(world.take(60), 59_000);
	assert.equal(world.take(1), 'taken');
	for (let n = 0; n < 100; n++) for (const name of ['other', 'unknown', null]) assert.equal(meter?.take(name, 1_000_000), null);
});

test('a token budget is reserved at once and settled by what was used: tasks beside each other never use more, on any front', () => {
	fc.assert(
		fc.property(
			fc.integer({ min: 1, max: 2_000 }),
			fc.array(
				fc.record({
					front: fc.nat(2),
					most: fc.integer({ min: 0, max: 500 }),
					part: fc.double({ min: 0, max: 1, noNaN: true }),
					ends: fc.boolean(),
				}),
				{ maxLength: 100 },
			),
			(tokensBudget, tasks) => {
				const { meters } = new World({ tokensBudget, requestsPerMinute: 6_000_000, burst: 1_000 }, 3);
				const running: { most: number; used: number }[] = [];
				let used = 0;
				for (const { front, most, part, ends } of tasks) {
					const reserved = running.reduce((sum, each) => sum + each.most, 0);
					const refused = meters[front]?.take('k', most) ?? null;
					assert.equal(refused?.policyLabel, used + reserved + most > tokensBudget ? 'budget.tokens' : undefined);
					if (refused === null) running.push({ most, used: Math.floor(most * part) });
					const ended = ends ? running.shift() : undefined;
					if (ended === undefined) continue;
					used += ended.used;
					meters[(front + 1) % 3]?.giveBack('k', ended.most - ended.used);
				}
				assert.ok(used <= tokensBudget);
			},
		),
	);
});

test('what a budget refuses has taken nothing of the rates', () => {
	const world = new World({ requestsPerMinute: 60, burst: 1, tokensPerMinute: 600, tokensBudget: 100 });
	const [meter] = world.meters;
	for (let n = 0; n < 20; n++) assert.equal(meter?.take('k', 101)?.policyLabel, 'budget.tokens');
	assert.equal(world.take(100), 'taken');
	world.now += 1_000;
	assert.match(meter?.take('k', 1)?.message ?? '', /has 0 left; the task needs up to 1$/);
});
