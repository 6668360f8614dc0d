/** Sessions outlive the control thread: the fronts give a new one what they know, and what they know is no less than was used. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { WorstCase } from '../../src/actors/serving/budget-weighing.ts';
import { SessionBook } from '../../src/actors/serving/session-book.ts';
import type { HeldOfSession } from '../../src/actors/serving/session-messages.ts';
import type { TaskView } from '../../src/actors/serving/task-directory.ts';
import { summary } from './summaries.ts';
import { Together } from './together-world.ts';

const inSession = { sessionId: 's' };
const tokensOf = (tasks: readonly TaskView[]): number => tasks.reduce((sum, task) => sum + task.tokensIn + task.tokensOut, 0);

function left(together: Together): { readonly tokens: number | null; readonly turns: number } {
	const { session } = together.session();
	assert.ok(session);
	return { tokens: session.budget.tokens, turns: session.turns };
}

test('budgets, turns and the last replica outlive the control thread, with tasks that end, wait and run on without it', () => {
	const together = new Together(1, 10, 50);
	together.session({ kind: 'set-budgets', budgets: { tokens: 1_000, cost: 50 } });
	const early = together.open('early', inSession);
	together.world.host.advance(1_000);
	assert.equal(early.state, 'done');
	// Three slots: one task ends without a control thread, one is cancelled, one runs on, two wait.
	const tasks = Array.from({ length: 5 }, (_, index) => together.open(`t${index}`, inSession));
	together.world.host.advance(200);
	together.stopControl();
	assert.equal(together.world.cancel(tasks[1] as TaskView), 'done');
	assert.equal(together.world.cancel(tasks[4] as TaskView), 'done');
	together.world.host.advance(600);
	assert.equal(tasks[0]?.state, 'done');
	together.startControl();
	together.world.host.advance(5_000);
	const all = [early, ...tasks];
	assert.deepEqual(
		all.map((task) => task.state),
		['done', 'done', 'canceled', 'done', 'done', 'canceled'],
	);
	assert.deepEqual(left(together), { tokens: 1_000 - tokensOf(all), turns: 6 });
	assert.equal(together.session().session?.kvWarm, true);
	// Once more, with nothing under way.
	together.stopControl();
	together.startControl();
	assert.deepEqual(left(together), { tokens: 1_000 - tokensOf(all), turns: 6 });
	together.assertQuiet();
});

test('what runs when the control thread is lost keeps what it had reserved: newcomers get no more than is left', () => {
	const together = new Together(1, 40, 50);
	together.session({ kind: 'set-budgets', budgets: { tokens: 50 } });
	const running = together.open('running', { ...inSession, maxTokens: 30 });
	together.world.host.advance(100);
	together.stopControl();
	together.startControl();
	assert.equal(running.state, 'running');
	const { answers } = together.world.open('newcomer', { ...inSession, maxTokens: 30 });
	together.world.host.advance(300);
	const [answer] = answers;
	assert.ok(answer?.type === 'task-refused');
	assert.deepEqual([answer.failure.code, answer.failure.policyLabel], ['ADMISSION_REJECT', 'budget.tokens']);
	together.world.cancel(running);
	together.world.host.advance(1_000);
	assert.equal(left(together).tokens, 50 - tokensOf([running]));
	together.assertQuiet();
});

test('a session that was forgotten does not come back with the next control thread', () => {
	const together = new Together();
	together.session({ kind: 'set-budgets', budgets: { tokens: 10 } });
	together.world.host.advance(1_000);
	assert.notEqual(together.session({ kind: 'forget' }).session, null);
	together.world.host.advance(1_000);
	together.stopControl();
	together.startControl();
	assert.equal(together.session().session, null);
	together.assertQuiet();
});

const worst: WorstCase = { maxTokensOut: 64, wallMs: 10_000, costPerTokenIn: 0, costPerTokenOut: 0, gpus: 0 };
const used = (tokens: number) => ({ tokens, timeMs: 0, cost: 0, gpuMs: 0 });

test('a task between two slots keeps what it has reserved, for as long as it may take it to come back', () => {
	const book = new SessionBook({ ttlMs: 60_000, turnsMax: 0, countMax: 10 });
	const task = (taskId: string) => summary(taskId, { sessionId: 's', promptTokens: 10, counted: true, maxTokens: 40 });
	const tokens = (): number | null | undefined => book.view('s', () => false, 0)?.budget.tokens;
	book.setBudgets('s', { tokens: 60 }, 0);
	const first = book.admit(task('a'), worst, false, 0);
	assert.ok(first !== 'count-first' && 'lease' in first && first.lease !== null);
	book.between('s', first.lease, used(20), 0);
	const other = book.admit(task('b'), worst, false, 0);
	assert.ok(typeof other === 'object' && 'code' in other && other.policyLabel === 'budget.tokens');
	const again = book.admit(task('a'), worst, true, 5);
	assert.ok(again !== 'count-first' && 'lease' in again && again.lease !== null);
	book.sweep(20_000);
	assert.deepEqual([tokens(), book.drift()], [10, null]);
	book.between('s', again.lease, used(5), 20_000);
	book.sweep(25_000);
	assert.equal(tokens(), 10);
	book.sweep(31_000);
	assert.deepEqual([tokens(), book.drift()], [60 - 25, null]);
});

test('a book that is made anew from what any fronts know, in any order, allows no more than was left', () => {
	const step = fc.record({ front: fc.nat(2), spends: fc.nat(30), hears: fc.subarray([0, 1, 2]), ends: fc.boolean() });
	fc.assert(
		fc.property(fc.array(step, { maxLength: 20 }), fc.shuffledSubarray([0, 1, 2], { minLength: 3 }), (steps, order) => {
			const limits = { ttlMs: 60_000, turnsMax: 0, countMax: 10 };
			const before = new SessionBook(limits);
			before.setBudgets('s', { tokens: 1_000 }, 0);
			const heard = [0, 1, 2].map(() => before.takeChanges()?.sessions.at(-1));
			const first = heard[0];
			assert.ok(first);
			const records = [first, first, first];
			const running: HeldOfSession[] = [];
			const ended: { readonly taskId: string; readonly held: HeldOfSession; readonly used: ReturnType<typeof used> }[] = [];
			let spent = 0;
			for (const [index, { spends, hears, ends }] of steps.entries()) {
				const taskId = `t${index}`;
				const admitted = before.admit(
					summary(taskId, { sessionId: 's', promptTokens: 10, counted: true, maxTokens: 20 }),
					worst,
					false,
					index,
				);
				assert.ok(admitted !== 'count-first' && 'lease' in admitted && admitted.lease !== null && admitted.held !== null);
				if (!ends) running.push(admitted.held);
				else {
					spent += spends;
					before.over('s', admitted.lease, used(spends), false, index);
					const told = before.takeChanges()?.sessions.at(-1);
					// Its own front hears of the settlement, or still knows that the task has ended.
					if (hears.length === 0) ended.push({ taskId, held: admitted.held, used: used(spends) });
					for (const front of hears) if (told !== undefined) records[front] = told;
				}
			}
			const after = new SessionBook(limits, 2);
			for (const [index, held] of running.entries()) after.admit(summary(`r${index}`, { sessionId: 's', held }), worst, true, 50);
			for (const front of order) after.recall(records[front] ?? first, 50);
			for (const each of ended) after.recallEnded(each, 50);
			after.recalled();
			const tokens = after.view('s', () => false, 50)?.budget.tokens ?? Number.POSITIVE_INFINITY;
			assert.ok(tokens <= 1_000 - spent - 30 * running.length, `${tokens} left, ${spent} used, ${running.length} run`);
			assert.equal(after.drift(), null);
		}),
		{ numRuns: 200 },
	);
});
