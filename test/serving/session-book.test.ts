/** Sessions and their budgets: what is reserved is there, and comes back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Budget } from '../../src/actors/serving/budget.ts';
import type { WorstCase } from '../../src/actors/serving/budget-weighing.ts';
import type { Admitted } from '../../src/actors/serving/session.ts';
import { SessionBook } from '../../src/actors/serving/session-book.ts';
import { summary } from './summaries.ts';

const options = { ttlMs: 1_000, turnsMax: 3, countMax: 3 };
const worst: WorstCase = { maxTokensOut: 64, wallMs: 10_000, costPerTokenIn: 0.001, costPerTokenOut: 0.002, gpus: 1 };
const task = (taskId: string, more = {}) => summary(taskId, { sessionId: 's', promptTokens: 10, counted: true, maxTokens: null, ...more });
const used = (tokens: number) => ({ tokens, timeMs: 100, cost: tokens / 1000, gpuMs: 100 });
const warm = () => true;

function admitted(book: SessionBook, taskId: string, more = {}, now = 0): Admitted {
	const answer = book.admit(task(taskId, more), worst, false, now);
	assert.ok(answer !== 'count-first' && !('code' in answer), JSON.stringify(answer));
	return answer;
}

function refused(book: SessionBook, taskId: string, more = {}, now = 0): readonly [string, string | undefined] {
	const answer = book.admit(task(taskId, more), worst, false, now);
	assert.ok(answer !== 'count-first' && 'code' in answer, JSON.stringify(answer));
	return [answer.code, answer.policyLabel];
}

test('whatever tasks come, run and end, no budget is overspent, and what was not used comes back', () => {
	const step = fc.oneof(
		fc.record({
			kind: fc.constant('admit' as const),
			promptTokens: fc.integer({ min: 1, max: 80 }),
			maxTokens: fc.option(fc.integer({ min: 1, max: 80 })),
		}),
		fc.record({ kind: fc.constant('over' as const), which: fc.nat(100), part: fc.double({ min: 0, max: 1.5, noNaN: true }) }),
		fc.record({ kind: fc.constant('vanish' as const), which: fc.nat(100) }),
	);
	fc.assert(
		fc.property(fc.array(step, { maxLength: 60 }), fc.nat(1_000), fc.nat(30_000), (steps, tokens, timeMs) => {
			const book = new SessionBook({ ...options, turnsMax: 0 });
			const limits = { tokens, timeMs, cost: tokens / 1_500, gpuMs: timeMs * 2 };
			book.setBudgets('s', limits, 0);
			const open: { readonly lease: number; readonly tokens: number }[] = [];
			const spent = { tokens: 0, timeMs: 0 };
			let made = 0;
			for (const each of steps) {
				if (each.kind === 'admit') {
					const before = book.view('s', warm, 0)?.budget;
					const answer = book.admit(task(`t${made++}`, each), worst, false, 0);
					if (answer === 'count-first' || 'code' in answer) continue;
					assert.ok(answer.lease !== null && answer.budget !== null && before !== undefined);
					const out = each.maxTokens ?? answer.outputCap ?? worst.maxTokensOut;
					assert.ok(each.promptTokens + out <= (before.tokens ?? 0) + 1e-6, 'more was allowed than was left');
					open.push({ lease: answer.lease, tokens: each.promptTokens + out });
				} else {
					const [chosen] = open.splice(each.which % Math.max(1, open.length), 1);
					if (chosen === undefined) continue;
					const tokensUsed = each.kind === 'vanish' ? chosen.tokens : Math.min(chosen.tokens, Math.floor(chosen.tokens * each.part));
					spent.tokens += tokensUsed;
					book.over('s', chosen.lease, each.kind === 'vanish' ? null : { tokens: tokensUsed, timeMs: 0, cost: 0, gpuMs: 0 }, false, 0);
				}
				assert.equal(book.drift(), null);
				const left = book.view('s', warm, 0)?.budget;
				assert.ok(
					left !== undefined && (left.tokens ?? -1) >= 0 && (left.timeMs ?? -1) >= 0 && (left.cost ?? -1) >= 0 && (left.gpuMs ?? -1) >= 0,
				);
			}
			for (const { lease } of open) book.over('s', lease, { tokens: 0, timeMs: 0, cost: 0, gpuMs: 0 }, false, 0);
			assert.equal(book.view('s', warm, 0)?.budget.tokens, tokens - spent.tokens);
			assert.ok(spent.tokens <= tokens);
		}),
		{ numRuns: 300 },
	);
});

test('a budget that is set anew counts from now on; a kind that is not named stays; a lease settles once, and holds what it holds', () => {
	const budget = new Budget();
	budget.set({ tokens: 100 });
	budget.reserve(1, { ...used(60), timeMs: 0 });
	assert.equal(budget.remaining('tokens'), 40);
	budget.set({ timeMs: 5 });
	assert.deepEqual([budget.remaining('tokens'), budget.remaining('timeMs'), budget.remaining('cost')], [40, 5, null]);
	budget.settle(1, { ...used(70), timeMs: 0 });
	budget.settle(1, null);
	assert.equal(budget.remaining('tokens'), 40);
	budget.set({ tokens: 7, timeMs: null });
	assert.deepEqual([budget.remaining('tokens'), budget.remaining('timeMs')], [7, null]);
	assert.throws(() => {
		budget.reserve(2, used(1));
		budget.reserve(2, used(1));
	});
});

test('turns are counted as they are admitted, given back when refused behind it, and refused over the limit', () => {
	const book = new SessionBook(options);
	const first = admitted(book, 'a');
	book.over('s', first.lease as number, used(0), true, 0);
	assert.equal(book.view('s', warm, 0), null, 'a session that nobody has used');
	for (const id of ['b', 'c', 'd']) admitted(book, id);
	assert.equal(book.view('s', warm, 0)?.turns, 3);
	assert.deepEqual(refused(book, 'e'), ['INVALID_PARAMS', 'session.turns']);
	const again = book.admit(task('b'), worst, true, 0);
	assert.ok(again !== 'count-first' && !('code' in again), 'one that comes back has had its turn');
});

test('a limit of 0 turns is none', () => {
	const book = new SessionBook({ ...options, turnsMax: 0 });
	for (let turn = 0; turn < 50; turn += 1) admitted(book, `t${turn}`);
	assert.equal(book.view('s', warm, 0)?.turns, 50);
});

test('each budget refuses by its name, cuts an answer that nobody has bounded, and leaves the others alone', () => {
	const book = new SessionBook({ ...options, turnsMax: 0 });
	book.setBudgets('s', { tokens: 30 }, 0);
	assert.equal(book.admit(task('a', { counted: false, promptTokens: null }), worst, false, 0), 'count-first');
	assert.deepEqual(refused(book, 'a', { maxTokens: 21 }), ['ADMISSION_REJECT', 'budget.tokens']);
	assert.deepEqual(refused(book, 'a', { promptTokens: 30 }), ['ADMISSION_REJECT', 'budget.tokens']);
	const cut = admitted(book, 'a');
	assert.deepEqual([cut.outputCap, cut.wallCapMs, cut.budget?.tokens], [20, null, 0]);
	assert.deepEqual(refused(book, 'b'), ['ADMISSION_REJECT', 'budget.tokens']);
	book.over('s', cut.lease as number, used(12), false, 0);
	book.setBudgets('s', { tokens: null, timeMs: 400 }, 0);
	const short = admitted(book, 'b');
	assert.deepEqual([short.outputCap, short.wallCapMs], [null, 400]);
	assert.deepEqual(refused(book, 'c'), ['ADMISSION_REJECT', 'budget.time']);
	book.over('s', short.lease as number, used(12), false, 0);
	book.setBudgets('s', { timeMs: null, cost: 0.05 }, 0);
	const cheap = admitted(book, 'c');
	// 0.01 of prompt, and 0.04 of answer.
	assert.equal(cheap.outputCap, 20);
	book.over('s', cheap.lease as number, used(12), false, 0);
	assert.deepEqual(refused(book, 'd', { maxTokens: 30 }), ['ADMISSION_REJECT', 'budget.cost']);
	book.setBudgets('s', { cost: null, gpuMs: 0 }, 0);
	assert.deepEqual(refused(book, 'd'), ['ADMISSION_REJECT', 'budget.gpu']);
});

test('a session is forgotten when nobody has used it for long, and the oldest when there are too many; never with a task', () => {
	const book = new SessionBook(options);
	const busy = book.admit(summary('t', { sessionId: 'busy' }), worst, false, 0);
	for (const [index, id] of ['a', 'b', 'c'].entries()) book.setBudgets(id, { tokens: 5 }, index + 1);
	const there = (now: number): string[] => ['busy', 'a', 'b', 'c'].filter((id) => book.view(id, warm, now) !== null);
	assert.deepEqual(there(10), ['busy', 'b', 'c'], 'at most three');
	assert.equal(book.view('b', warm, 10)?.ttlMsRemaining, 992);
	book.setBudgets('b', { tokens: 5 }, 500);
	book.sweep(1_100);
	assert.deepEqual(there(1_100), ['busy', 'b']);
	assert.ok(busy !== 'count-first' && 'lease' in busy);
	book.over('busy', busy.lease as number, used(1), false, 1_200);
	assert.equal(book.view('busy', warm, 1_300)?.ttlMsRemaining, 900, 'from the end of a task that took longer than that');
	book.sweep(2_300);
	assert.equal(book.size, 0);
});

test('fronts are told to forget what there is no room for; what is too old they forget by themselves', () => {
	const book = new SessionBook(options);
	for (const [index, id] of ['a', 'b', 'c', 'd', 'e'].entries()) book.setBudgets(id, { tokens: 5 }, index);
	const told = book.takeChanges();
	assert.deepEqual(
		[told?.sessions.map(({ sessionId }) => sessionId), told?.forgotten],
		[
			['c', 'd', 'e'],
			['a', 'b'],
		],
	);
	book.sweep(5_000);
	assert.deepEqual([book.size, book.takeChanges()], [0, null]);
});

test('the replica that had the last task is remembered', () => {
	const book = new SessionBook(options);
	admitted(book, 'a');
	const at = { poolId: 'p', replicaId: 'p-1', address: 'x' };
	book.ran('s', at);
	assert.deepEqual(book.lastReplica('s'), at);
	assert.equal(book.view('s', () => false, 0)?.kvWarm, false);
	assert.equal(book.view('s', (last) => last === at, 0)?.kvWarm, true);
	book.ran('s', { ...at, tokens: 12 });
	assert.equal(book.lastReplica('s')?.tokens, 12, 'what it left there, once it has ended');
	book.ran('s', { ...at, address: 'y' });
	book.ran('s', { ...at, tokens: 99 });
	assert.deepEqual(book.lastReplica('s'), { ...at, address: 'y' }, 'by then the session is somewhere else');
});
