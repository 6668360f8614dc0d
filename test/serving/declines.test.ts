/** A pool that is chosen and cannot take the task after all, though another may: its deadline, a full queue. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DecisionRecord, PlacementExplained } from '../../src/actors/serving/decision-messages.ts';
import type { SessionOperation, SessionTold, SessionView } from '../../src/actors/serving/session-messages.ts';
import { ControlWorld } from './control-world.ts';
import { placement, poolSpec } from './summaries.ts';

const configured = { perfPrior: { ...poolSpec().perfPrior, configured: true } };
/** Two seconds of one slot, as the pace is configured. */
const long = { maxTokens: 60, expectedTokens: 60 };

function specOf(poolId: string, capacity = 256) {
	return poolSpec({ poolId, ...configured, slots: 1, settings: { slots: 1 }, queue: { ...poolSpec().queue, capacity } });
}

/** `busy` has a task in its one slot and `waiting` more; `idle` has none. */
function world({ waiting = 2, capacity = 256 } = {}): ControlWorld {
	const made = ControlWorld.ready([specOf('busy', capacity), specOf('idle')]);
	for (let index = 0; index <= waiting; index += 1) made.submit(`w${index}`, { ...long, ...placement({ mode: 'pin', pinPoolId: 'busy' }) });
	return made;
}

const prefersBusy = placement({ preferPools: ['busy'] });

function explained(of: ControlWorld, taskId: string): DecisionRecord {
	const answers: PlacementExplained[] = [];
	const replyTo = of.system.edge<PlacementExplained>((answer) => answers.push(answer));
	of.tell({ type: 'explain', taskId, replyTo });
	of.host.run();
	replyTo.close();
	const decision = answers[0]?.decision;
	assert.ok(decision);
	return decision;
}

test('a deadline that the preferred pool cannot meet and another can is met by that one', () => {
	const control = world();
	const task = control.submit('t', { ...prefersBusy, deadlineAt: control.host.now() + 1_500 });
	assert.deepEqual([task.poolId, task.state], ['idle', 'running']);
	const decision = explained(control, 't');
	assert.deepEqual([decision.poolId, decision.fallback], ['idle', true]);
	assert.equal(decision.considered.find(({ poolId }) => poolId === 'busy')?.refusedFor?.code, 'DEADLINE_UNMET');
	assert.equal(control.submit('u', { ...prefersBusy, deadlineAt: control.host.now() + 60_000 }).poolId, 'busy', 'which it can meet');
});

test('it is refused where no fallback is allowed, where the pool is pinned, and where no pool can meet it, with the earliest end of all', () => {
	const control = world();
	const deadlineAt = control.host.now() + 100;
	const refusalOf = (taskId: string, more: Parameters<typeof placement>[0], at = deadlineAt) =>
		control.submit(taskId, { ...long, ...placement(more), deadlineAt: at }).only('refused').failure;
	const soon = control.host.now() + 3_000;
	for (const [id, more] of [
		['a', { preferPools: ['busy'], allowFallback: false }],
		['b', { mode: 'pin', pinPoolId: 'busy' }],
	] as const) {
		const { code, poolId } = refusalOf(id, more, soon);
		assert.deepEqual([code, poolId], ['DEADLINE_UNMET', 'busy']);
	}
	const all = refusalOf('c', { preferPools: ['busy'] });
	assert.deepEqual([all.code, all.poolId], ['DEADLINE_UNMET', 'idle']);
	assert.match(all.message, /leaves 100 ms; the earliest that this can end in idle is in about 12\d\d ms/);
});

test('one that finds the preferred queue full goes to another, and is told to come back where all are', () => {
	const control = world({ waiting: 2, capacity: 2 });
	const task = control.submit('t', prefersBusy);
	assert.deepEqual([task.poolId, task.state], ['idle', 'running']);
	const { failure } = control.submit('u', placement({ preferPools: ['busy'], allowFallback: false })).only('refused');
	assert.deepEqual([failure.code, failure.retriable], ['ADMISSION_REJECT', true]);
});

test('a preview says the same, and leaves nothing behind', () => {
	const control = world();
	const before = control.telemetry.total('placement_decisions_total');
	const met = control.preview({ ...prefersBusy, deadlineAt: control.host.now() + 1_500 });
	assert.deepEqual([met.type, met.type === 'would-queue' && met.poolId, met.decision.fallback], ['would-queue', 'idle', true]);
	const unmet = control.preview({ ...long, ...prefersBusy, deadlineAt: control.host.now() + 100 });
	assert.equal(unmet.type === 'would-refuse' && unmet.failure.poolId, 'idle');
	assert.equal(unmet.decision.outcome, 'none');
	assert.equal(control.telemetry.total('placement_decisions_total'), before);
});

test('what it has reserved of its session goes with it from pool to pool, and comes back once where none takes it', () => {
	const control = world();
	const use = (operation: SessionOperation): SessionView | null => {
		const answers: SessionTold[] = [];
		const replyTo = control.system.edge<SessionTold>((answer) => answers.push(answer));
		control.tell({ type: 'use-session', tenant: null, sessionId: 's', operation, replyTo });
		control.host.run();
		replyTo.close();
		return answers[0]?.session ?? null;
	};
	use({ kind: 'set-budgets', budgets: { tokens: 1_000 } });
	const inSession = { sessionId: 's', ...prefersBusy };
	assert.equal(control.submit('t', { ...inSession, deadlineAt: control.host.now() + 1_500 }).poolId, 'idle');
	assert.deepEqual([use({ kind: 'look' })?.budget.tokens, use({ kind: 'look' })?.turns], [1_000 - 26, 1]);
	assert.equal(control.submit('u', { ...inSession, ...long, deadlineAt: control.host.now() + 100 }).state, 'refused');
	assert.deepEqual([use({ kind: 'look' })?.budget.tokens, use({ kind: 'look' })?.turns], [1_000 - 26, 1]);
});
