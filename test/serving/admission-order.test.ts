/**
 * The order in which a request may be refused, through the production tasks, Dispatcher and Pool: one that is wrong in every way
 * hears of the earliest, and then of the next, each time that one is put right. Nothing is left of a refused one.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AdmissionSteps } from '../../src/actors/serving/admission.ts';
import type { Amounts } from '../../src/actors/serving/budget.ts';
import { type Failure, failure } from '../../src/actors/serving/failure.ts';
import { type KeyAsk, type KeyTerms, noKeyTerms, type RateLimit } from '../../src/actors/serving/rate-limit.ts';
import type { TaskRequest } from '../../src/actors/serving/task-request.ts';
import { ControlWorld } from './control-world.ts';
import { poolSpec } from './summaries.ts';
import { taskRequest } from './task-requests.ts';
import { spec, Together } from './together-world.ts';

/** Steps of the tests: each refuses while it is told to, and counts how often it was asked. */
class Steps implements AdmissionSteps, RateLimit {
	limited = false;
	retired = false;
	ratesAsked = 0;
	/** Taken and not given back. */
	tokens = 0;
	take(_keyName: string | null, { tokens }: KeyAsk): KeyTerms | Failure {
		this.ratesAsked += 1;
		if (this.limited) return this.check();
		this.tokens += tokens;
		return { ...noKeyTerms, tokens };
	}
	check(): Failure {
		return failure('ADMISSION_REJECT', 'too many requests', { policyLabel: 'rate', retryAfterMs: 700 });
	}
	settle(_keyName: string | null, { tokens }: KeyTerms, used: Amounts): void {
		this.tokens -= tokens - used.tokens;
	}
	readonly catalog = (): Failure | null => (this.retired ? failure('MODEL_DEPRECATED', 'the model is retired') : null);
}

const pinned = { ...taskRequest('').placement, mode: 'pin', pinPoolId: 'nowhere' } as const;

/** A pool that has been measured, whose slots are taken and whose queue of two is full. */
function fullWorld(steps: Steps): Together {
	const pool = { ...spec, queue: { ...spec.queue, capacity: 2 } };
	const sessions = { ttlMs: 600_000, turnsMax: 1, countMax: 1_000 };
	const together = new Together(1, 5, 20, { pools: [pool], admission: steps, sessions }, steps);
	together.open('turn', { sessionId: 's' });
	together.open('measured');
	together.world.host.advance(1_000);
	for (const id of ['r0', 'r1', 'r2', 'q0', 'q1']) together.open(id);
	assert.deepEqual(together.session({ kind: 'set-budgets', budgets: { tokens: 25 } }).session?.turns, 1);
	return together;
}

/** All that an admission might have changed. */
function traces(together: Together, steps: Steps): unknown {
	const { registry } = together.world;
	const { session } = together.session();
	registry.check();
	return {
		live: registry.liveCount,
		finished: registry.finishedCount,
		logBytes: registry.logSpace.inUse,
		pool: registry.pools.map(({ slotsFree, queueDepth }) => [slotsFree, queueDepth]),
		session: [session?.turns, session?.budget],
		roll: [...together.world.roll],
		tokens: steps.tokens,
	};
}

test('a request that is wrong in every way is refused by the steps in their order, and leaves nothing behind', () => {
	const steps = new Steps();
	const together = fullWorld(steps);
	const { world } = together;
	steps.limited = true;
	steps.retired = true;
	let request: Partial<TaskRequest> = {
		sessionId: 's',
		keyName: 'key',
		modelRef: 'unknown',
		placement: pinned,
		maxTokens: 1_000,
		deadlineMs: 20,
	};
	// What each refusal is, and what puts it right: of the world, or of the request.
	const chain: readonly [string, RegExp, () => void, Partial<TaskRequest>?][] = [
		['ADMISSION_REJECT rate', /too many requests/, () => (steps.limited = false)],
		[
			'INVALID_PARAMS session.turns',
			/sessions\.turns_max is 1/,
			() => {
				together.session({ kind: 'forget' });
				together.session({ kind: 'set-budgets', budgets: { tokens: 25 } });
			},
		],
		[
			'ADMISSION_REJECT budget.tokens',
			/tokens budget has 25 left/,
			() => together.session({ kind: 'set-budgets', budgets: { tokens: 100_000 } }),
		],
		['MODEL_DEPRECATED', /retired/, () => (steps.retired = false)],
		['NOT_FOUND', /model_ref is "unknown"/, () => undefined, { modelRef: 'default' }],
		['INVALID_PARAMS', /placement\.pin_pool_id is "nowhere"/, () => undefined, { placement: taskRequest('').placement }],
		['INVALID_PARAMS', /max_tokens is 1000/, () => undefined, { maxTokens: 16 }],
		['DEADLINE_UNMET', /deadline_ms leaves 20 ms; the earliest that this can end/, () => undefined, { deadlineMs: null }],
		['ADMISSION_REJECT reject', /is full \(2 of 2 tasks\)/, () => world.host.advance(120)],
	];
	let before = traces(together, steps);
	for (const [name, words, putRight, better] of chain) {
		const answered = world.send(taskRequest('x', { sampling: { ...taskRequest('x').sampling, stop: ['x'] }, ...request }));
		world.run();
		for (const asker of world.decode.counts.splice(0)) asker.tell({ type: 'prompt-counted', tokens: 5 });
		world.run();
		const [answer] = answered.answers;
		assert.ok(answer?.type === 'task-refused', `${name}: ${answer?.type}`);
		const { code, policyLabel, message } = answer.failure;
		assert.equal(policyLabel === undefined ? code : `${code} ${policyLabel}`, name, message);
		assert.match(message, words);
		assert.equal(world.registry.lookup('x').found, 'nothing');
		assert.deepEqual(traces(together, steps), before, `something is left of ${name}`);
		putRight();
		request = { ...request, ...better };
		before = traces(together, steps);
	}
	const task = together.open('x', request);
	assert.equal(task.state, 'running');
	assert.equal(together.session().session?.turns, 1);
	world.host.advance(1_000);
	assert.equal(task.state, 'done');
	together.assertQuiet();
});

test('the rate limit is asked before log space is taken and before a prompt is counted', () => {
	const steps = new Steps();
	const together = new Together(1, 5, 20, {}, steps);
	const { world } = together;
	const { inUse } = world.registry.logSpace;
	steps.limited = true;
	const long = { input: { kind: 'prompt', text: 'x'.repeat(600), raw: true }, keyName: 'key' } as const;
	const { answers } = world.send(taskRequest('long', long));
	world.run();
	assert.ok(answers[0]?.type === 'task-refused');
	assert.equal(answers[0].failure.policyLabel, 'rate');
	assert.equal(world.decode.counts.length, 0);
	assert.equal(world.registry.logSpace.inUse, inUse);
	steps.limited = false;
	world.send(taskRequest('long', { ...long, maxTokens: 16 }));
	world.run();
	assert.equal(world.decode.counts.length, 1);
	for (const asker of world.decode.counts.splice(0)) asker.tell({ type: 'prompt-counted', tokens: 5 });
	world.host.advance(1_000);
	assert.equal(world.view('long').state, 'done');
	// What it was charged beyond what it used is given back.
	const { tokensIn, tokensOut } = world.view('long');
	assert.equal(steps.tokens, tokensIn + tokensOut);
	together.assertQuiet();
});

test('the rate limit is asked once a task: not again when its prompt was counted, nor when it has its 202', () => {
	const steps = new Steps();
	const together = new Together(1, 5, 20, { admission: steps }, steps);
	together.session({ kind: 'set-budgets', budgets: { tokens: 1_000 } });
	const counted = together.open('counted', { sessionId: 's', keyName: 'key' });
	// Whoever has no key has no rate.
	together.open('keyless');
	assert.equal(counted.state, 'running');
	assert.equal(steps.ratesAsked, 1);
	for (const id of ['r1', 'waits']) together.open(id, { keyName: 'key' });
	assert.equal(steps.ratesAsked, 3);
	steps.limited = true;
	together.stopControl();
	together.startControl();
	assert.equal(steps.ratesAsked, 3);
	together.world.host.advance(1_000);
	for (const id of ['counted', 'keyless', 'r1', 'waits']) assert.equal(together.world.view(id).state, 'done', id);
	together.assertQuiet();
});

test('nobody is dropped for a task that cannot meet its deadline', () => {
	const queue = { ...poolSpec().queue, capacity: 1, fullPolicy: 'drop-lru' } as const;
	const world = ControlWorld.ready({ settings: { slots: 1 }, queue });
	const first = world.submit('first');
	world.host.advance(160);
	first.finish();
	world.host.run();
	const running = world.submit('running');
	const waits = world.submit('waits');
	const late = { deadlineAt: world.host.now() + 20 };
	assert.equal(world.submit('late', late).only('refused').failure.code, 'DEADLINE_UNMET');
	const preview = world.preview(late);
	assert.equal(preview.type === 'would-refuse' && preview.failure.code, 'DEADLINE_UNMET');
	assert.equal(waits.state, 'queued');
	const newcomer = world.submit('newcomer');
	assert.equal(waits.only('refused').failure.code, 'QUEUE_FULL_DROP_LRU');
	for (const task of [running, newcomer]) {
		task.finish();
		world.host.run();
	}
	world.assertQuiet();
});

test('before a pool is measured, a deadline is judged by what is configured of its pace, and by nothing where nothing is', () => {
	const { perfPrior } = poolSpec();
	const late = { deadlineAt: 100, promptTokens: 10, maxTokens: 50 };
	assert.equal(ControlWorld.ready().submit('guessed', late).state, 'running');
	const world = ControlWorld.ready({ perfPrior: { ...perfPrior, configured: true } });
	// 10 tokens of the prompt and 50 of the answer take 1 010 ms at that pace.
	const { failure } = world.submit('late', { ...late, deadlineAt: world.host.now() + 1_000 }).only('refused');
	assert.equal(failure.code, 'DEADLINE_UNMET');
	assert.match(failure.message, /deadline_ms leaves 1000 ms; the earliest that this can end in .* is in about 1010 ms/);
	const preview = world.preview({ ...late, deadlineAt: world.host.now() + 1_000 });
	assert.equal(preview.type === 'would-refuse' && preview.failure.code, 'DEADLINE_UNMET');
	assert.equal(world.submit('fine', { ...late, deadlineAt: world.host.now() + 1_011 }).state, 'running');
});
