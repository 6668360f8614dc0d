/** Deadlines, watchdogs, refusals, failures and shutdowns: how a task ends that nobody cancelled. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failure } from '../../src/actors/serving/failure.ts';
import type { TaskView } from '../../src/actors/serving/task-directory.ts';
import { eventsOf, FrontWorld, lastOf, namesOf, withdrawn } from './front-world.ts';

const shortTimeouts = { firstTokenMs: 100, idleMs: 50, wallMs: 400 };

function errorCode(task: TaskView): unknown {
	const last = lastOf(task);
	assert.equal(last.name, 'error');
	return last.data['code'];
}

// ── deadlines and watchdogs ──────────────────────────────────────────────────────────────────────────────────────

test('a deadline that passes before the 202 refuses the task', () => {
	const world = new FrontWorld();
	const opened = world.open('a', { deadlineMs: 100 });
	world.host.advance(100);
	const [answer] = opened.answers;
	assert.ok(answer?.type === 'task-refused');
	assert.deepEqual([answer.failure.code, answer.failure.retriable], ['DEADLINE_UNMET', false]);
	assert.equal(world.registry.lookup('a').found, 'nothing');
	world.control.refuse('a');
	world.assertAtRest();
});

test('a deadline that passes in the queue is an error without a started, and the task is withdrawn', () => {
	const world = new FrontWorld();
	const task = world.queued('a', { deadlineMs: 100 });
	assert.equal(world.control.summary('a').deadlineAt, 100);
	world.host.advance(99);
	assert.equal(task.state, 'queued');
	world.host.advance(1);
	assert.deepEqual([namesOf(task), errorCode(task)], [['error'], 'DEADLINE_UNMET']);
	assert.equal(world.telemetry.total('tasks_canceled_total', { reason: 'deadline' }), 1);
	withdrawn(world, 'a');
});

test('a deadline that passes while it runs cuts the engine and frees the slot', () => {
	const world = new FrontWorld();
	const { task, generation, lease } = world.running('a', { deadlineMs: 100 });
	generation.pieces({ text: 'x' });
	world.host.advance(100);
	assert.deepEqual([namesOf(task), errorCode(task), generation.cancels], [['started', 'token', 'error'], 'DEADLINE_UNMET', 1]);
	assert.deepEqual(
		world.control
			.settlementsOf(lease)
			.map(({ settlement }) => [settlement.outcome, settlement.slot, settlement.reason, settlement.tokensOut]),
		[['failed', 'free', 'deadline', 1]],
	);
	world.assertAtRest();
});

test('a deadline that was met leaves no timer behind', () => {
	const world = new FrontWorld();
	const { task, generation } = world.running('a', { deadlineMs: 100 });
	generation.end();
	world.assertAtRest();
	world.host.advance(200);
	assert.equal(task.state, 'done');
});

const watchdogs = {
	'no first token': { limit: 'first_token_ms', feed: 0, at: 100 },
	'tokens that stop': { limit: 'idle_ms', feed: 2, at: 30 + 30 + 50 },
	'a run that goes on and on': { limit: 'wall_ms', feed: 1000, at: 400 },
} as const;
for (const [name, { limit, feed, at }] of Object.entries(watchdogs)) {
	test(`watchdog: ${name} is DECODE_TIMEOUT at its limit, and the engine is cut`, () => {
		const world = new FrontWorld();
		const task = world.queued('a');
		const lease = world.control.grant('a', { timeouts: shortTimeouts });
		world.run();
		const [generation] = world.decode.generations;
		assert.ok(generation);
		let endedAt = -1;
		for (let now = 1; now <= 1000 && endedAt < 0; now++) {
			world.host.advance(1);
			if (now % 30 === 0 && now / 30 <= feed && !generation.over) generation.pieces({ text: 'x' });
			world.run();
			if (task.endedAt !== null) endedAt = now;
		}
		assert.equal(endedAt, at);
		assert.equal(errorCode(task), 'DECODE_TIMEOUT');
		assert.match(String(lastOf(task).data['message']), new RegExp(limit));
		assert.deepEqual(
			[lastOf(task).data['retriable'], lastOf(task).data['pool_id'], lastOf(task).data['engine']],
			[true, 'pool', 'scripted'],
		);
		assert.equal(generation.cancels, 1);
		assert.equal(world.control.settlementsOf(lease)[0]?.settlement.slot, 'free');
		assert.equal(world.telemetry.total('tasks_canceled_total', { reason: 'watchdog' }), 1);
		world.assertAtRest();
	});
}

test('a limit of 0 is no limit', () => {
	const world = new FrontWorld();
	const task = world.queued('a');
	world.control.grant('a', { timeouts: { firstTokenMs: 0, idleMs: 0, wallMs: 0 } });
	world.host.advance(1e7);
	world.decode.generations[0]?.pieces({ text: 'x' });
	world.host.advance(1e7);
	assert.equal(task.state, 'running');
	world.decode.generations[0]?.end();
	world.assertAtRest();
});

// ── refusals and failures ────────────────────────────────────────────────────────────────────────────────────────

for (const cancelled of [false, true]) {
	test(`a dispatcher that never answers keeps no task${cancelled ? ', nor one that was cancelled meanwhile' : ''}`, () => {
		const world = new FrontWorld();
		const opened = world.open('a');
		if (cancelled) world.cancel(world.view('a'));
		world.host.advance(8999);
		assert.equal(world.registry.liveCount, 1);
		world.host.advance(1);
		const [answer] = opened.answers;
		if (cancelled) assert.ok(answer?.type === 'task-opened' && answer.task.state === 'canceled');
		else assert.ok(answer?.type === 'task-refused' && answer.failure.code === 'POOL_UNREADY');
		world.assertAtRest();
	});
}

test('a refused task was never there: its opener hears why, those who watched see the error, its id is free', () => {
	const world = new FrontWorld();
	const opened = world.open('a');
	const task = world.view('a');
	world.control.refuse(
		'a',
		failure('ADMISSION_REJECT', 'the queue is full', { engine: 'scripted', policyLabel: 'reject', retryAfterMs: 5 }),
	);
	world.run();
	const [answer] = opened.answers;
	assert.ok(answer?.type === 'task-refused');
	assert.deepEqual([answer.failure.code, answer.failure.policyLabel, answer.failure.retryAfterMs], ['ADMISSION_REJECT', 'reject', 5]);
	assert.equal(errorCode(task), 'ADMISSION_REJECT');
	assert.equal(world.registry.lookup('a').found, 'nothing');
	assert.deepEqual(world.enrolled, []);
	assert.equal(world.telemetry.total('tasks_rejected_total', { engine: 'scripted', reason: 'ADMISSION_REJECT' }), 1);
	world.assertAtRest();
	assert.equal(world.registry.logSpace.inUse, 0);
	world.running('a').generation.end();
	world.assertAtRest();
});

test('a task dropped from the queue to make room sees it in its stream, and is kept', () => {
	const world = new FrontWorld();
	const task = world.queued('a');
	world.control.refuse('a', failure('QUEUE_FULL_DROP_LRU', 'dropped', { retryAfterMs: 700 }));
	world.run();
	assert.deepEqual(namesOf(task), ['error']);
	assert.deepEqual(
		[errorCode(task), lastOf(task).data['retry_after_ms'], lastOf(task).data['pool_id']],
		['QUEUE_FULL_DROP_LRU', 700, 'pool'],
	);
	world.assertAtRest();
	assert.equal(world.view('a').state, 'failed');
});

for (const slot of ['free', 'unknown'] as const) {
	test(`a decode that fails ends the task with the engine's failure, its slot ${slot}`, () => {
		const world = new FrontWorld();
		const { task, generation, lease } = world.running('a');
		generation.pieces({ text: 'x' });
		generation.failed(failure('INVALID_PARAMS', 'prompt and max_tokens exceed ctx'), slot);
		world.run();
		assert.deepEqual([namesOf(task), errorCode(task)], [['started', 'token', 'error'], 'INVALID_PARAMS']);
		assert.deepEqual(
			[lastOf(task).data['retriable'], lastOf(task).data['pool_id'], 'policy_label' in lastOf(task).data],
			[false, 'pool', false],
		);
		assert.deepEqual(
			world.control.settlementsOf(lease).map(({ settlement }) => [settlement.outcome, settlement.slot]),
			[['failed', slot]],
		);
		assert.equal(generation.cancels, 0);
		world.assertAtRest();
	});
}

test('a lost replica ends its task with WORKER_RESET at once; news of another lease means nothing', () => {
	const world = new FrontWorld();
	const { task, generation, lease } = world.running('a');
	world.control.tell('a', { type: 'replica-lost', lease: { ...lease, id: lease.id + 7 }, failure: failure('WORKER_RESET', 'gone') });
	world.run();
	assert.equal(task.state, 'running');
	world.decode.onCancel = () => undefined;
	world.control.tell('a', { type: 'replica-lost', lease, failure: failure('POOL_UNREADY', 'the process died') });
	world.run();
	assert.deepEqual(
		[errorCode(task), lastOf(task).data['message'], lastOf(task).data['retriable']],
		['WORKER_RESET', 'the process died', true],
	);
	assert.equal(generation.cancels, 1);
	assert.deepEqual(
		world.control.settlementsOf(lease).map(({ settlement }) => [settlement.outcome, settlement.slot]),
		[['failed', 'unknown']],
	);
	world.assertAtRest();
});

test('a lost replica while a cancel waits for its answer settles the slot as unknown, once', () => {
	const world = new FrontWorld();
	world.decode.onCancel = () => undefined;
	const { task, lease, generation } = world.running('a');
	world.cancel(task);
	world.control.tell('a', { type: 'replica-lost', lease, failure: failure('WORKER_RESET', 'gone') });
	generation.failed();
	world.host.advance(5000);
	assert.deepEqual(
		world.control.settlementsOf(lease).map(({ settlement }) => [settlement.outcome, settlement.slot]),
		[['canceled', 'unknown']],
	);
	world.assertAtRest();
});

test('an engine that gives a task up by itself, or sends broken records, is a WORKER_RESET', () => {
	const world = new FrontWorld();
	const dropped = world.running('a');
	dropped.generation.cancelled();
	const broken = world.running('b');
	broken.generation.broken();
	world.run();
	assert.deepEqual([errorCode(dropped.task), errorCode(broken.task)], ['WORKER_RESET', 'WORKER_RESET']);
	assert.equal(broken.generation.cancels, 1);
	assert.equal(world.control.of('settle').length, 2);
	world.assertAtRest();
});

test('texts that outgrow their reservation take free space, and are cut where running tasks hold it all', () => {
	const world = new FrontWorld(1, { logBytesMax: 200_000 });
	const big = { text: '"'.repeat(20_000) };
	const roomy = world.running('a', { maxTokens: 16 });
	roomy.generation.pieces(big);
	roomy.generation.pieces(big);
	world.run();
	assert.equal(roomy.task.state, 'running');
	roomy.generation.pieces(big, big, big);
	world.run();
	assert.deepEqual([errorCode(roomy.task), roomy.generation.cancels], ['ADMISSION_REJECT', 1]);
	assert.equal(namesOf(roomy.task).filter((name) => name === 'token').length, 5);
	world.assertAtRest();
	// What it still holds is had back by the next one.
	const next = world.running('b', { maxTokens: 16 });
	next.generation.pieces(big, big);
	next.generation.end();
	world.assertAtRest();
	assert.equal(next.task.state, 'done');
	assert.equal(world.registry.lookup('a').found, 'expired');
});

test('a grant that would need more log space than there is, is given back', () => {
	const world = new FrontWorld(1, { logBytesMax: 60_000 });
	const task = world.queued('a', { maxTokens: null });
	const lease = world.control.grant('a', { ctx: 100_000, maxTokensOut: 100_000 });
	world.run();
	assert.deepEqual([namesOf(task), errorCode(task)], [['error'], 'ADMISSION_REJECT']);
	assert.equal(world.control.settlementsOf(lease)[0]?.settlement.outcome, 'unused');
	world.assertAtRest();
});

test('a bug inside a task ends it with INTERNAL, its slot unknown, its neighbours untouched', () => {
	const world = new FrontWorld();
	const other = world.running('other');
	const task = world.queued('a');
	world.decode.onStart = () => {
		throw new Error('secret bug');
	};
	const lease = world.control.grant('a');
	world.run();
	assert.deepEqual([namesOf(task), errorCode(task)], [['started', 'error'], 'INTERNAL']);
	assert.ok(!JSON.stringify(eventsOf(task)).includes('bug'));
	assert.equal(world.control.settlementsOf(lease)[0]?.settlement.slot, 'unknown');
	assert.equal(task.ref.tell({ type: 'watcher-attached' }), 'closed');
	assert.equal(other.task.state, 'running');
	other.generation.end();
	world.run();
	assert.equal(world.system.stats.actors, 1);
	assert.equal(world.roll.size, 0);
	world.registry.check();
});

// ── the daemon goes ──────────────────────────────────────────────────────────────────────────────────────────────

test('drain: no new task, the running one ends in peace, then the actor stops', () => {
	const world = new FrontWorld();
	const { generation, task } = world.running('a');
	world.system.drain(world.tasks);
	const refused = world.open('b');
	assert.ok(refused.answers[0]?.type === 'task-refused' && refused.answers[0].failure.code === 'POOL_UNREADY');
	generation.pieces({ text: 'x' });
	generation.end();
	world.run();
	assert.equal(task.state, 'done');
	assert.equal(world.system.stats.actors, 0);
	assert.deepEqual(world.registry.lookup('a'), { found: 'task', task });
});

test('cancel-all for a drain that is over: each live task hears WORKER_RESET, and its slot comes back', () => {
	const world = new FrontWorld();
	const running = world.running('a');
	const queued = world.queued('b');
	world.tasks.tell({ type: 'cancel-all', reason: 'drain' });
	world.run();
	assert.deepEqual([errorCode(running.task), errorCode(queued)], ['WORKER_RESET', 'WORKER_RESET']);
	assert.equal(running.generation.cancels, 1);
	world.control.tell('b', { type: 'withdrawn' });
	world.assertAtRest();
});

test('a thread that is closed leaves no task without its terminal event', () => {
	const world = new FrontWorld();
	const running = world.running('a');
	const queued = world.queued('b');
	const opened = world.open('c');
	world.system.shutdown();
	assert.deepEqual([errorCode(running.task), errorCode(queued)], ['WORKER_RESET', 'WORKER_RESET']);
	assert.equal(running.generation.cancels, 1);
	assert.deepEqual([world.system.stats.actors, world.system.stats.timers, world.roll.size], [0, 0, 0]);
	world.run();
	assert.equal(opened.answers[0]?.type, 'task-refused');
});

test('the log names the code of what is wrong with a request, and quotes nothing of it', () => {
	const world = new FrontWorld();
	world.open('a');
	world.control.refuse('a', failure('INVALID_PARAMS', 'model_ref is "secret"'));
	const { generation } = world.running('b');
	generation.failed(failure('INVALID_PARAMS', '/properties/secret has no type'));
	const { generation: other } = world.running('c');
	other.failed(failure('WORKER_RESET', 'the engine is gone'));
	world.assertAtRest();
	const said = world.telemetry.lines.map(({ fields }) => String(fields['human'])).filter((human) => /^(Refused|Failed)/.test(human));
	assert.deepEqual(said, [
		'Refused: INVALID_PARAMS.',
		'Failed: INVALID_PARAMS; 0 tokens out.',
		'Failed: the engine is gone; 0 tokens out.',
	]);
});
