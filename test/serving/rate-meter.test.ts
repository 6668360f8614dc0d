/** The rates and budgets of keys: that a bucket lets through what it may, over any number of threads, and says truly when to come again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Limits, nothing, unlimited } from '../../src/actors/serving/budget.ts';
import type { Failure } from '../../src/actors/serving/failure.ts';
import { KeyMemories } from '../../src/actors/serving/key-memories.ts';
import { type KeyAsk, type KeyTerms, noTask } from '../../src/actors/serving/rate-limit.ts';
import { type KeyRate, RateMeter } from '../../src/actors/serving/rate-meter.ts';

const noRate: KeyRate = { requestsPerMinute: null, burst: 1, tokensPerMinute: null };

/** A task that needs so many tokens. */
const asks = (tokens: number): KeyAsk => ({ ...noTask, tokens, tokensIn: tokens });
const usedTokens = (tokens: number) => ({ ...nothing, tokens });

class World {
	now = 1_000_000;
	readonly meters: RateMeter[];
	readonly #memories = new KeyMemories();

	/** One meter a front thread, all over the same memory. */
	constructor(rate: Partial<KeyRate>, fronts = 1, budgets: Partial<Limits> = {}) {
		this.meters = Array.from({ length: fronts }, () => new RateMeter(this.#keys(rate, budgets), () => this.now));
	}

	#keys(rate: Partial<KeyRate>, budgets: Partial<Limits>) {
		return this.#memories.of([
			{ name: 'other', rate: noRate, budgets: unlimited },
			{ name: 'k', rate: { ...noRate, ...rate }, budgets: { ...unlimited, ...budgets } },
		]);
	}

	/** The configuration is read anew. */
	change(rate: Partial<KeyRate>, budgets: Partial<Limits> = {}): void {
		for (const meter of this.meters) meter.use(this.#keys(rate, budgets));
	}

	ask(ask: KeyAsk, front = 0): KeyTerms | Failure {
		return (this.meters[front] as RateMeter).take('k', ask);
	}

	/** It must be taken. */
	terms(ask: KeyAsk, front = 0): KeyTerms {
		const terms = this.ask(ask, front);
		if ('code' in terms) throw new Error(terms.message);
		return terms;
	}

	settle(terms: KeyTerms, tokens: number, front = 0): void {
		this.meters[front]?.settle('k', terms, usedTokens(tokens));
	}

	take(tokens = 0, front = 0): string | number {
		const refused = this.ask(asks(tokens), front);
		if (!('code' in refused)) return 'taken';
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
						assert.notEqual(world.meters[front % fronts]?.check('k', noTask), null);
						world.now = asked + Number(answer);
						assert.equal(world.meters[(front + 1) % fronts]?.check('k', noTask), null);
					}
				}
				assert.ok(taken <= burst + ((world.now - start) * requestsPerMinute) / 60_000 + 1e-3, `${taken} were let through`);
			},
		),
	);
});

test('tokens are charged at once and what was not used comes back; a debt is waited for', () => {
	const world = new World({ tokensPerMinute: 6_000 });
	const first = world.terms(asks(4_000));
	assert.equal(world.take(2_500), 5_000);
	world.settle(first, 100);
	const second = world.terms(asks(2_500));
	assert.equal(world.take(3_400), 'taken');
	// It used 600 tokens more than it was charged.
	world.settle(second, 3_100);
	assert.equal(world.take(100), 7_000);
	world.now += 7_000;
	assert.equal(world.take(100), 'taken');
	world.now += 600_000;
	world.settle(world.terms(asks(0)), 1_000);
	assert.equal(world.take(6_000), 10_000);
	assert.equal(world.take(5_000), 'taken');
});

test('a task larger than the bucket takes a full one, and what it uses above that is a debt', () => {
	const world = new World({ tokensPerMinute: 600 });
	const terms = world.terms(asks(1_000_000));
	assert.equal(world.take(1), 100);
	world.now += 60_000;
	assert.equal(world.take(1_000_000), 'taken');
	world.now += 60_000;
	// Of the 1 000 tokens that it used 600 were paid; a minute has gone since the bucket was full again.
	world.settle(terms, 1_000);
	assert.equal(world.take(600), 40_000);
});

test('one that tokens refuse has not used up a request; a look takes nothing; other keys are not limited', () => {
	const world = new World({ requestsPerMinute: 60, burst: 1, tokensPerMinute: 60 });
	const [meter] = world.meters;
	for (let look = 0; look < 5; look++) assert.equal(meter?.check('k', asks(60)), null);
	assert.equal(world.take(60), 'taken');
	world.now += 1_000;
	assert.equal(world.take(60), 59_000);
	assert.equal(world.take(1), 'taken');
	for (let n = 0; n < 100; n++)
		for (const name of ['other', 'unknown', null]) assert.equal('code' in (meter?.take(name, asks(1_000_000)) ?? {}), false);
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
			(budget, tasks) => {
				const world = new World({ requestsPerMinute: 6_000_000, burst: 1_000 }, 3, { tokens: budget });
				const running: { terms: KeyTerms; most: number; used: number }[] = [];
				let used = 0;
				for (const { front, most, part, ends } of tasks) {
					const reserved = running.reduce((sum, each) => sum + each.most, 0);
					const terms = world.ask(asks(most), front);
					assert.equal('code' in terms ? terms.policyLabel : undefined, used + reserved + most > budget ? 'budget.tokens' : undefined);
					if (!('code' in terms)) running.push({ terms, most, used: Math.floor(most * part) });
					const ended = ends ? running.shift() : undefined;
					if (ended === undefined) continue;
					used += ended.used;
					world.settle(ended.terms, ended.used, (front + 1) % 3);
				}
				assert.ok(used <= budget);
			},
		),
	);
});

test('what a budget refuses has taken nothing of the rates', () => {
	const world = new World({ requestsPerMinute: 60, burst: 1, tokensPerMinute: 600 }, 1, { tokens: 100 });
	for (let n = 0; n < 20; n++) {
		const refused = world.ask(asks(101));
		assert.equal('code' in refused && refused.policyLabel, 'budget.tokens');
	}
	assert.equal(world.take(100), 'taken');
	world.now += 1_000;
	const refused = world.ask(asks(1));
	assert.match('code' in refused ? refused.message : '', /^the key k's tokens budget has 0 left; the task needs 1 tokens of prompt/);
});

test('time, cost and GPU time are budgets of a key as tokens are: a task is bounded by what is left, and is charged what it used', () => {
	const worst = { maxTokensOut: 1_000, wallMs: 60_000, costPerTokenIn: 0.001, costPerTokenOut: 0.002, gpus: 2 };
	const ask: KeyAsk = { tokens: 1_100, tokensIn: 100, maxTokens: null, worst };
	const world = new World({}, 2, { timeMs: 100_000, cost: 3, gpuMs: 150_000 });
	const first = world.terms(ask);
	assert.deepEqual(first, {
		tokens: 0,
		reserved: { tokens: 1_100, timeMs: 60_000, cost: 2.1, gpuMs: 120_000 },
		outputCap: 1_000,
		wallCapMs: 60_000,
		left: { tokens: null, timeMs: 40_000, cost: 0.9, gpuMs: 30_000 },
	});
	// On another front: what is left of the cost is 0.1 of prompt and 400 tokens, of the GPU time 15 s on both.
	const second = world.terms(ask, 1);
	assert.deepEqual([second.outputCap, second.wallCapMs, second.left], [400, 15_000, { tokens: null, timeMs: 25_000, cost: 0, gpuMs: 0 }]);
	const kinds = ['cost', 'time', 'gpu'] as const;
	const refusedFor = (more: Partial<KeyAsk['worst']>): string => {
		const refused = world.ask({ ...ask, worst: { ...worst, ...more } });
		return 'code' in refused ? (refused.policyLabel ?? '') : 'taken';
	};
	assert.equal(refusedFor({}), `budget.${kinds[0]}`);
	assert.equal(refusedFor({ costPerTokenIn: 0, costPerTokenOut: 0 }), `budget.${kinds[2]}`);
	world.meters[1]?.settle('k', first, { tokens: 150, timeMs: 90_000.5, cost: 0.2, gpuMs: 1_000 });
	assert.equal(refusedFor({ gpus: 0 }), `budget.${kinds[1]}`);
	world.meters[0]?.settle('k', second, nothing);
	const last = world.terms({ ...ask, maxTokens: 10, worst: { ...worst, gpus: 0 } });
	assert.deepEqual([last.wallCapMs, last.left?.cost, last.left?.gpuMs], [9_999.5, 2.68, 149_000]);
});

test('limits that are read anew hold at once, over what was used before; a key that comes back goes on where it stood', () => {
	const world = new World({ requestsPerMinute: 60, burst: 1 }, 2);
	const early = world.terms(asks(500));
	world.change({}, { tokens: 600 });
	const late = world.terms(asks(100), 1);
	assert.deepEqual([late.left?.tokens, world.meters[0]?.check('k', asks(1))?.policyLabel], [0, 'budget.tokens']);
	// Its task goes on, and settles.
	for (const meter of world.meters) meter.use([]);
	world.settle(early, 50);
	world.change({}, { tokens: 600 });
	assert.equal(world.terms(asks(0)).left?.tokens, 450);
	world.now += 1_000;
	world.change({ requestsPerMinute: 60, burst: 1 });
	assert.deepEqual([world.take(), world.take(0, 1)], ['taken', 1_000]);
});
