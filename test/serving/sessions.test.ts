/** Sessions through the production Dispatcher and Pool: admission, stickiness, and what becomes of a reservation. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SessionOperation, SessionTold, SessionView } from '../../src/actors/serving/session-messages.ts';
import { ControlWorld } from './control-world.ts';
import { placement, poolSpec } from './summaries.ts';

const inSession = { sessionId: 's', maxTokens: null };

function use(world: ControlWorld, operation: SessionOperation = { kind: 'look' }, tenant: string | null = null): SessionView | null {
	const answers: SessionTold[] = [];
	const replyTo = world.system.edge<SessionTold>((answer) => answers.push(answer));
	world.tell({ type: 'use-session', tenant, sessionId: 's', operation, replyTo });
	world.host.run();
	replyTo.close();
	assert.equal(answers.length, 1);
	return answers[0]?.session ?? null;
}

const budget = (tokens: number): SessionOperation => ({ kind: 'set-budgets', budgets: { tokens } });

test('a task of a session with a token budget is counted first, and cut where the budget ends', () => {
	const world = ControlWorld.ready();
	use(world, budget(50));
	const task = world.submit('a', inSession);
	assert.deepEqual(
		task.news.map(({ type }) => type),
		['count-first', 'queued', 'granted'],
	);
	assert.equal(task.only('granted').maxTokensOut, 40);
	assert.deepEqual(task.only('queued').budget, { tokens: 0, timeMs: null, cost: null, gpuMs: null });
	const beside = world.submit('b', inSession);
	assert.deepEqual(
		[beside.only('refused').failure.code, beside.only('refused').failure.policyLabel],
		['ADMISSION_REJECT', 'budget.tokens'],
	);
	// Ten of prompt and sixteen of answer.
	task.finish();
	world.host.run();
	const after = use(world);
	assert.deepEqual([after?.budget.tokens, after?.turns], [24, 1]);
	world.assertQuiet();
});

test('a reservation comes back whatever becomes of the task', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 }, queue: { ...poolSpec().queue, capacity: 1 } });
	world.sessions.turnsMax = 0;
	world.stopControl();
	world.startControl();
	world.host.advance(500);
	use(world, budget(1_000));
	const running = world.submit('running', { ...inSession, maxTokens: 16 });
	assert.equal(use(world)?.budget.tokens, 1_000 - 26);
	const queued = world.submit('queued', { ...inSession, maxTokens: 16 });
	assert.equal(use(world)?.budget.tokens, 1_000 - 52);
	assert.equal(world.submit('full', { ...inSession, maxTokens: 16 }).state, 'refused');
	assert.equal(world.submit('unknown', { ...inSession, modelRef: 'nope' }).state, 'refused');
	assert.deepEqual([use(world)?.budget.tokens, use(world)?.turns], [1_000 - 52, 2]);
	queued.cancel();
	world.host.run();
	assert.equal(use(world)?.budget.tokens, 1_000 - 26);
	const dies = world.submit('dies', { ...inSession, maxTokens: 16 });
	dies.die();
	world.host.run();
	assert.equal(use(world)?.budget.tokens, 1_000 - 26);
	running.cancel();
	world.host.run();
	assert.equal(use(world)?.budget.tokens, 1_000, 'nothing was used');
	const lost = world.submit('lost', { ...inSession, maxTokens: 16 });
	lost.die();
	world.host.advance(20_000);
	assert.equal(use(world)?.budget.tokens, 1_000 - 26, 'nobody will ever say what it came to');
	world.assertQuiet();
});

test('the turns of a session end, a preview takes none, and forgetting it starts anew', () => {
	const world = ControlWorld.ready();
	for (let turn = 0; turn < 8; turn += 1) {
		assert.equal(world.preview(inSession).type, 'would-queue');
		world.submit(`t${turn}`, inSession).finish();
		world.host.run();
	}
	const { failure } = world.submit('over', inSession).only('refused');
	assert.deepEqual([failure.code, failure.policyLabel], ['INVALID_PARAMS', 'session.turns']);
	const preview = world.preview(inSession);
	assert.ok(preview.type === 'would-refuse' && preview.failure.policyLabel === 'session.turns');
	assert.equal(use(world, { kind: 'forget' })?.turns, 8);
	assert.equal(use(world), null);
	world.submit('anew', inSession).finish();
	world.host.run();
	assert.equal(use(world)?.turns, 1);
	world.assertQuiet();
});

test('a session stays on its last replica while that is alive, and says whether it is warm', () => {
	const world = ControlWorld.ready([
		poolSpec({ poolId: 'a', replicas: 3, settings: { slots: 4 } }),
		poolSpec({ poolId: 'b', settings: { slots: 4 } }),
	]);
	const first = world.submit('first', { ...inSession, ...placement({ preferPools: ['a'] }) });
	const home = first.lease?.replicaId;
	first.finish();
	world.host.run();
	const others = [world.submit('other', placement({ preferPools: ['a'] }))];
	assert.equal(others[0]?.lease?.replicaId, home);
	const next = world.submit('next', inSession);
	assert.equal(next.lease?.replicaId, home, 'not the one with most free slots');
	assert.deepEqual([use(world)?.kvWarm, use(world)?.kvBytes], [true, null], 'the fake engine tells no bytes');
	for (const task of [...others, next]) task.finish();
	world.host.run();
	world.engines.life(home).end('died');
	world.host.run();
	assert.equal(use(world)?.kvWarm, false);
	const after = world.submit('after', inSession);
	assert.notEqual(after.lease?.replicaId, home);
	after.finish();
	world.host.advance(5_000);
	world.assertQuiet();
});

test('a task that goes on in another slot is charged its prompt once, and needs no more than is left of it', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 }, queue: { ...poolSpec().queue, preemption: 'soft' } });
	use(world, budget(1_000));
	const task = world.submit('a', { sessionId: 's', maxTokens: 16, priority: 'batch' });
	const quick = world.submit('quick');
	assert.deepEqual([task.state, quick.state, use(world)?.budget.tokens], ['queued', 'running', 1_000 - 26]);
	quick.finish();
	world.host.run();
	task.work = { ...task.work, tokensOut: 11 };
	task.finish();
	world.host.run();
	assert.deepEqual([use(world)?.budget.tokens, use(world)?.turns], [1_000 - 26, 1]);
	use(world, budget(11));
	const resume = { poolId: 'pool', modelDigest: 'sha256:ab', modelName: 'demo', tokens: 5 };
	const last = world.submit('b', { sessionId: 's', maxTokens: 16, resume });
	assert.deepEqual([last.state, use(world)?.budget.tokens], ['running', 0]);
	last.work = { ...last.work, tokensOut: 11 };
	last.finish();
	world.assertQuiet();
});

test('a session is of the tenant that uses it first: to others it is not there, and none of their tasks gets in', () => {
	const world = ControlWorld.ready();
	// An operator has opened it: whose it is, its first task says.
	use(world, budget(1_000));
	const first = world.submit('a', { ...inSession, tenant: 'a' });
	assert.equal(first.state, 'running');
	const foreign = world.submit('b', { ...inSession, tenant: 'b' }).only('refused').failure;
	assert.deepEqual([foreign.code, foreign.message], ['CONFLICT', 'session_id is that of another tenant']);
	assert.equal(use(world, { kind: 'look' }, 'b'), null);
	assert.equal(use(world, budget(1_000_000), 'b'), null);
	assert.equal(use(world, { kind: 'forget' }, 'b'), null);
	first.finish();
	world.host.run();
	assert.deepEqual(use(world, { kind: 'look' }, 'a'), use(world));
	assert.equal(use(world)?.budget.tokens, 1_000 - 26);
	world.stopControl();
	world.startControl();
	world.host.advance(500);
	use(world, { kind: 'forget' }, 'a');
	// One that a client has opened is its tenant's before any task.
	use(world, budget(10), 'b');
	assert.equal(use(world, { kind: 'look' }, 'a'), null);
	assert.equal(use(world, { kind: 'look' }, 'b')?.budget.tokens, 10);
});
