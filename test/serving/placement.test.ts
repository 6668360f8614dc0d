/** Where a task goes, and what is said when it can go nowhere. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Failure } from '../../src/actors/serving/failure.ts';
import type { TaskSummary } from '../../src/actors/serving/messages.ts';
import { countOneMore, decide, type OwnSnapshot, type PoolSnapshot } from '../../src/actors/serving/placement.ts';
import { placement, snapshot, summary } from './summaries.ts';

function poolFor(pools: readonly PoolSnapshot[], more: Partial<TaskSummary> = {}): string {
	const decision = decide(pools, summary('t', more));
	assert.equal(decision.kind, 'assigned', JSON.stringify(decision));
	return decision.kind === 'assigned' ? decision.poolId : '';
}

function refusal(pools: readonly PoolSnapshot[], more: Partial<TaskSummary> = {}): Failure {
	const decision = decide(pools, summary('t', more));
	assert.ok(decision.kind === 'none', `went to ${decision.kind === 'assigned' ? decision.poolId : ''}`);
	return decision.failure;
}

function refused(pools: readonly PoolSnapshot[], more: Partial<TaskSummary>, code: string, ...words: string[]): void {
	const problem = refusal(pools, more);
	assert.equal(problem.code, code, problem.message);
	for (const word of words) assert.ok(problem.message.includes(word), `${word} is not in: ${problem.message}`);
	if (problem.retriable) assert.ok((problem.retryAfterMs ?? 0) > 0, 'a retriable refusal without a time');
}

test('a model is found by alias, by its name and by the id of its pool; any other is named with those that exist', () => {
	const pools = [snapshot('a', { aliases: ['fast'] }), snapshot('b', { model: 'big', aliases: [] })];
	assert.equal(poolFor(pools, { modelRef: 'fast' }), 'a');
	assert.equal(poolFor(pools, { modelRef: 'file:/m.gguf' }), 'a');
	assert.equal(poolFor(pools, { modelRef: 'big' }), 'b');
	assert.equal(poolFor(pools, { modelRef: 'b' }), 'b');
	refused(pools, { modelRef: 'nope' }, 'NOT_FOUND', '"nope"', 'fast', 'file:/m.gguf', 'big');
	refused(pools, { modelRef: 'nope', ...placement({ mode: 'pin', pinPoolId: 'nowhere' }) }, 'NOT_FOUND', '"nope"');
});

test('the smallest predicted end wins: when it would start there, and how fast the pool is', () => {
	const starts = (interactive: number, batch: number): Partial<PoolSnapshot> => ({ predictedStartMs: { interactive, batch } });
	assert.equal(poolFor([snapshot('a', starts(900, 100)), snapshot('b', starts(800, 200))]), 'b');
	assert.equal(poolFor([snapshot('a', starts(900, 100)), snapshot('b', starts(800, 200))], { priority: 'batch' }), 'a');
	const slow = snapshot('a', { decodeMsPerToken: 100 });
	const fast = snapshot('b', { decodeMsPerToken: 10, ...starts(500, 500) });
	assert.equal(poolFor([slow, fast], { maxTokens: 2 }), 'a', 'a short answer does not wait for the fast one');
	assert.equal(poolFor([slow, fast], { maxTokens: 200, expectedTokens: 100 }), 'b');
	const prefillsSlowly = snapshot('a', { prefillMsPerToken: 10 });
	assert.equal(poolFor([prefillsSlowly, snapshot('b', starts(600, 600))], { promptTokens: 400 }), 'b');
});

test('ends as good as equal are told apart by affinity, load, free memory, speed and name, in this order', () => {
	const by = (pools: readonly PoolSnapshot[], affinity: string | null = null): readonly [string, string] => {
		const decision = decide(pools, summary('t'), affinity);
		assert.ok(decision.kind === 'assigned');
		return [decision.poolId, decision.decidedBy];
	};
	const better = { tasks: 0, vramFreeBytes: 2 ** 30, decodeMsPerToken: 19.9 };
	assert.deepEqual(by([snapshot('a', better), snapshot('b')], 'b'), ['b', 'affinity']);
	assert.deepEqual(by([snapshot('a'), snapshot('b', better)]), ['b', 'least_loaded']);
	assert.deepEqual(by([snapshot('a', { tasks: 6, slotsTotal: 8 }), snapshot('b', { tasks: 4, slotsTotal: 4 })]), ['a', 'least_loaded']);
	assert.deepEqual(by([snapshot('a'), snapshot('b', { ...better, tasks: 3 })]), ['b', 'free_memory']);
	assert.deepEqual(by([snapshot('a'), snapshot('b', { decodeMsPerToken: 19.9 })]), ['b', 'tokens_per_s']);
	assert.deepEqual(by([snapshot('b'), snapshot('a')]), ['a', 'pool_id']);
	assert.deepEqual(by([snapshot('a', { predictedStartMs: { interactive: 500, batch: 500 } }), snapshot('b')], 'a'), ['b', 'predicted_end']);
	assert.deepEqual(by([snapshot('b')]), ['b', 'only_one']);
});

test('a pool that is ready goes before one that starts, and one with room before one whose queue is full', () => {
	const late = { predictedStartMs: { interactive: 9_000, batch: 9_000 } };
	assert.equal(poolFor([snapshot('a', { state: 'starting' }), snapshot('b', late)]), 'b');
	assert.equal(poolFor([snapshot('a', { hasRoom: false, slotsFree: 0 }), snapshot('b', late)]), 'b');
	assert.equal(poolFor([snapshot('a', { hasRoom: false, slotsFree: 0 })]), 'a', 'its policy says what becomes of it');
});

test('a task waits for a pool that is starting; a pool that has failed is not ready, and says why and for how long', () => {
	assert.equal(poolFor([snapshot('a', { state: 'starting', ctx: null, workloads: null, features: null })], { needs: ['grammar'] }), 'a');
	const failed = snapshot('a', { state: 'failed', lastError: 'out of memory' });
	refused([failed], {}, 'POOL_UNREADY', 'a', 'out of memory');
	assert.equal(refusal([failed]).retryAfterMs, 1_500);
	assert.equal(poolFor([failed, snapshot('b')]), 'b');
	const pinned = placement({ mode: 'pin', pinPoolId: 'a' });
	refused([snapshot('a', { state: 'starting' }), snapshot('b')], pinned, 'POOL_UNREADY', 'a', 'starting');
});

test('a pool that can never run here is no pool to wait for: its refusal says so, and is not to be tried again', () => {
	const never = snapshot('a', { state: 'failed', lastError: 'needs 9.1 GiB', cannotFit: 'needs 9.1 GiB' });
	refused([never], {}, 'POOL_UNAVAILABLE', 'a', 'needs 9.1 GiB');
	assert.equal(refusal([never]).retriable, false);
	assert.equal(poolFor([never, snapshot('b')]), 'b');
	refused([never, snapshot('b', { state: 'failed', lastError: 'died' })], {}, 'POOL_UNREADY', 'b', 'died');
});

test('what the request needs and no pool has is named with its value and the limit', () => {
	const pools = [snapshot('a')];
	refused(pools, { engine: 'vllm' }, 'INVALID_PARAMS', 'engine', 'vllm', 'llamacpp');
	refused(pools, { workload: 'embedding' }, 'INVALID_PARAMS', 'workload', 'embedding', 'completion');
	refused(pools, { needs: ['json_schema'] }, 'INVALID_PARAMS', 'json_schema');
	refused(pools, { samplerProfileVersion: '2' }, 'INVALID_PARAMS', 'sampler_profile_version', '"2"', '1');
	refused(pools, { ctx: 513 }, 'INVALID_PARAMS', 'ctx', '513', '512');
	refused(pools, { maxTokens: 257 }, 'INVALID_PARAMS', 'max_tokens', '257', '256');
	refused(pools, { promptTokens: 512, maxTokens: null }, 'INVALID_PARAMS', 'at least 512');
	refused(pools, { promptTokens: 500, maxTokens: 13 }, 'INVALID_PARAMS', 'max_tokens', '13', '12');
	refused(pools, { promptTokens: 90, ctx: 100, maxTokens: 11 }, 'INVALID_PARAMS', 'max_tokens', '11', '10');
	refused(pools, { promptTokens: null, promptBytes: 9, ctx: 100, maxTokens: 100 }, 'INVALID_PARAMS', 'max_tokens', '100', '99');
	refused(pools, placement({ requireDeviceMask: [0] }), 'INVALID_PARAMS', 'require_device_mask', '0');
	assert.equal(poolFor(pools, { promptTokens: 500, maxTokens: 12, samplerProfileVersion: '1', needs: ['grammar'], ctx: 512 }), 'a');
	assert.equal(poolFor([snapshot('a', { devices: [0, 1] })], placement({ requireDeviceMask: [1] })), 'a');
});

test('of several refusals the one of the pool that came nearest is told, with the largest limit there is', () => {
	const pools = [snapshot('a', { engine: 'vllm' }), snapshot('b', { ctx: 1_024 }), snapshot('c', { ctx: 2_048 })];
	refused(pools, { engine: 'llamacpp', ctx: 4_096 }, 'INVALID_PARAMS', 'ctx', '4096', '2048');
	const mixed = [snapshot('a', { ctx: 8_192, state: 'failed', lastError: 'gone' }), snapshot('b')];
	refused(mixed, { ctx: 4_096 }, 'POOL_UNREADY', 'gone');
	refused(mixed, { ctx: 9_000 }, 'INVALID_PARAMS', '8192');
});

test('a pin is exclusive: unknown is 400, unready is 503, and there is never another pool', () => {
	const pools = [snapshot('a', { state: 'failed' }), snapshot('b'), snapshot('c', { aliases: [], model: 'other' })];
	const pin = (pinPoolId: string | null): Partial<TaskSummary> => placement({ mode: 'pin', pinPoolId });
	assert.equal(poolFor(pools, pin('b')), 'b');
	refused(pools, pin('a'), 'POOL_UNREADY', 'a');
	refused(pools, pin('nope'), 'INVALID_PARAMS', 'pin_pool_id', '"nope"', 'a, b, c');
	refused(pools, pin('c'), 'INVALID_PARAMS', 'pin_pool_id', 'c', '"default"');
	refused(pools, pin(null), 'INVALID_PARAMS', 'pin_pool_id');
	refused(pools, placement({ mode: 'pin', pinPoolId: 'b', avoidPools: ['b'] }), 'INVALID_PARAMS', 'pin_pool_id', 'avoid_pools');
	assert.equal(poolFor(pools, placement({ mode: 'auto', pinPoolId: 'b' })), 'b');
});

test('preferred pools come first and others only as a fallback; avoided ones never', () => {
	const pools = [snapshot('a'), snapshot('b', { predictedStartMs: { interactive: 999, batch: 999 } }), snapshot('c', { state: 'failed' })];
	assert.equal(poolFor(pools, placement({ mode: 'prefer', preferPools: ['b'] })), 'b');
	const fallback = decide(pools, summary('t', placement({ mode: 'prefer', preferPools: ['c'] })));
	assert.deepEqual(fallback.kind === 'assigned' && [fallback.poolId, fallback.fallback], ['a', true]);
	refused(pools, placement({ preferPools: ['c'], allowFallback: false }), 'POOL_UNREADY', 'c');
	refused(pools, placement({ preferPools: ['nope'], allowFallback: false }), 'POOL_UNAVAILABLE', 'allow_fallback');
	assert.equal(poolFor(pools, placement({ avoidPools: ['a'] })), 'b');
	refused(pools, placement({ avoidPools: ['a', 'b', 'c'] }), 'POOL_UNAVAILABLE', 'avoid_pools');
	refused(pools, placement({ avoidPools: ['a', 'b'] }), 'POOL_UNREADY', 'c');
});

test('tasks of one turn spread over like pools', () => {
	const pools: OwnSnapshot[] = [snapshot('a', { slotsFree: 2 }), snapshot('b', { slotsFree: 2 })];
	const went: string[] = [];
	for (let index = 0; index < 8; index++) {
		const poolId = poolFor(pools);
		went.push(poolId);
		for (const pool of pools) if (pool.poolId === poolId) countOneMore(pool);
	}
	assert.deepEqual(went, ['a', 'b', 'a', 'b', 'a', 'b', 'a', 'b']);
});

const anyPool = fc.record({
	poolId: fc.constantFrom('a', 'b', 'c', 'd'),
	engine: fc.constantFrom('llamacpp' as const, 'scripted' as const),
	aliases: fc.constantFrom(['default'], ['other']),
	devices: fc.constantFrom(null, [0], [0, 1]),
	state: fc.constantFrom('starting' as const, 'ready' as const, 'failed' as const),
	ctx: fc.constantFrom(null, 64, 512),
	maxTokensOut: fc.constantFrom(16, 256),
	slotsFree: fc.nat(3),
	predictedStartMs: fc.record({ interactive: fc.nat(3), batch: fc.nat(3) }),
});
const anyJob = fc.record({
	engine: fc.constantFrom(null, 'llamacpp' as const),
	ctx: fc.constantFrom(null, 64, 512),
	maxTokens: fc.constantFrom(null, 8, 200),
	promptTokens: fc.constantFrom(null, 60),
	priority: fc.constantFrom('interactive' as const, 'batch' as const),
	placement: fc.record({
		mode: fc.constantFrom('auto' as const, 'prefer' as const, 'pin' as const),
		pinPoolId: fc.constantFrom(null, null, 'a', 'x'),
		preferPools: fc.subarray(['a', 'b', 'x']),
		avoidPools: fc.subarray(['b', 'c']),
		requireDeviceMask: fc.constantFrom(null, [1]),
		allowFallback: fc.boolean(),
	}),
});

test('the answer does not depend on the order of the pools, is always one that was feasible, and a failure has its words', () => {
	fc.assert(
		fc.property(
			fc.uniqueArray(anyPool, { selector: (pool) => pool.poolId }),
			anyJob,
			fc.infiniteStream(fc.nat()),
			(some, more, shuffle) => {
				const pools = some.map((pool) => snapshot(pool.poolId, pool));
				const job = summary('t', more);
				const decision = decide(pools, job);
				const shuffled = pools
					.map((pool) => ({ pool, at: shuffle.next().value }))
					.toSorted((a, b) => a.at - b.at)
					.map(({ pool }) => pool);
				const again = decide(shuffled, job);
				if (decision.kind === 'none') {
					assert.ok(again.kind === 'none' && again.failure.code === decision.failure.code);
					assert.ok(decision.failure.message.length > 0);
					assert.equal(decision.failure.retriable, decision.failure.retryAfterMs !== undefined);
					return;
				}
				assert.equal(again.kind === 'assigned' && again.poolId, decision.poolId);
				const pool = pools.find((each) => each.poolId === decision.poolId);
				assert.ok(pool && pool.state !== 'failed' && !job.placement.avoidPools.includes(pool.poolId));
				assert.ok(job.engine === null || job.engine === pool.engine);
				assert.ok(pool.ctx === null || (job.promptTokens ?? 1) + (job.maxTokens ?? 1) <= pool.ctx);
				assert.ok(job.placement.pinPoolId === null || job.placement.pinPoolId === pool.poolId);
			},
		),
		{ numRuns: 500 },
	);
});
