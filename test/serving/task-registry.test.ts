/** How long tasks are known, and which request names which task. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { TaskRecord } from '../../src/actors/serving/task-record.ts';
import { TaskRegistry } from '../../src/actors/serving/task-registry.ts';
import type { TaskRequest } from '../../src/actors/serving/task-request.ts';
import { poolView, taskRequest } from './task-requests.ts';

function registryOf(logBytesMax = 1 << 20, retentionCount = 100): TaskRegistry {
	const registry = new TaskRegistry({ logBytesMax, retentionMs: 1000, retentionCount });
	registry.pools = [poolView()];
	return registry;
}

function add(registry: TaskRegistry, request: TaskRequest, now = 0): TaskRecord {
	const added = registry.add(request, now);
	assert.ok(!('code' in added), 'refused');
	return added;
}

function finish(registry: TaskRegistry, task: TaskRecord, now: number): void {
	task.end(task.outcomeOf({ kind: 'canceled', reason: 'client' }, now));
	task.log.append('end', '{}');
	registry.finish(task);
}

const codeOf = (claim: ReturnType<TaskRegistry['claim']>): string => (claim.kind === 'refused' ? claim.failure.code : claim.kind);

test('the same id and body name the same task; another body or tenant is a conflict', () => {
	const registry = registryOf();
	const task = add(registry, taskRequest('a'));
	const again = registry.claim(taskRequest('a'));
	assert.equal(again.kind === 'known' && again.task, task);
	assert.equal(codeOf(registry.claim(taskRequest('a', { bodyHash: 'other' }))), 'CONFLICT');
	assert.equal(codeOf(registry.claim(taskRequest('a', { tenant: 'other' }))), 'CONFLICT');
	assert.equal(codeOf(registry.claim(taskRequest('b'))), 'fresh');
});

test('an idempotency key names one task of its tenant, whatever id the retry carries', () => {
	const registry = registryOf();
	const task = add(registry, taskRequest('a', { idempotencyKey: 'k' }));
	const again = registry.claim(taskRequest('b', { idempotencyKey: 'k' }));
	assert.equal(again.kind === 'known' && again.task, task);
	assert.equal(codeOf(registry.claim(taskRequest('b', { idempotencyKey: 'k', bodyHash: 'other' }))), 'CONFLICT');
	assert.equal(codeOf(registry.claim(taskRequest('b', { idempotencyKey: 'k', tenant: 'other' }))), 'fresh');
	add(registry, taskRequest('c'));
	assert.equal(codeOf(registry.claim(taskRequest('c', { idempotencyKey: 'k' }))), 'CONFLICT');
});

test('a key that came with the id of a known task names that task from then on, up to a bound', () => {
	const registry = registryOf();
	const task = add(registry, taskRequest('a'));
	for (let i = 0; i < 8; i++) assert.equal(codeOf(registry.claim(taskRequest('a', { idempotencyKey: `k${i}` }))), 'known');
	const byKey = registry.claim(taskRequest('b', { idempotencyKey: 'k7' }));
	assert.equal(byKey.kind === 'known' && byKey.task, task);
	assert.equal(codeOf(registry.claim(taskRequest('a', { idempotencyKey: 'k8' }))), 'CONFLICT');
	assert.equal(codeOf(registry.claim(taskRequest('a'))), 'known');
	registry.check();
	registry.withdraw(task);
	assert.equal(codeOf(registry.claim(taskRequest('b', { idempotencyKey: 'k0' }))), 'fresh');
	registry.check();
});

test('a refused task leaves nothing: its id and key are free again', () => {
	const registry = registryOf();
	const task = add(registry, taskRequest('a', { idempotencyKey: 'k' }));
	task.refused = true;
	assert.equal(registry.lookup('a').found, 'nothing');
	assert.deepEqual(registry.list({}, 10, null).tasks, []);
	registry.withdraw(task);
	assert.equal(codeOf(registry.claim(taskRequest('a', { idempotencyKey: 'k', bodyHash: 'other' }))), 'fresh');
	const second = add(registry, taskRequest('a', { idempotencyKey: 'k' }));
	registry.withdraw(task);
	assert.equal(registry.lookup('a').found, 'task');
	registry.withdraw(second);
	assert.equal(registry.logSpace.inUse, 0);
	registry.check();
});

test('a finished task is kept for its retention, then expired, and never runs again under its id or key', () => {
	const registry = registryOf();
	const task = add(registry, taskRequest('a', { idempotencyKey: 'k' }));
	finish(registry, task, 500);
	assert.equal(registry.forgetDue(1499), 1500);
	assert.equal(registry.lookup('a').found, 'task');
	assert.equal(registry.forgetDue(1500), null);
	assert.equal(registry.lookup('a').found, 'expired');
	assert.equal(task.log.forgotten, true);
	assert.equal(codeOf(registry.claim(taskRequest('a'))), 'EVENTS_EXPIRED');
	assert.equal(codeOf(registry.claim(taskRequest('b', { idempotencyKey: 'k' }))), 'EVENTS_EXPIRED');
	assert.equal(registry.logSpace.inUse, 0);
	registry.check();
});

test('the oldest end goes first when too many finished tasks are kept', () => {
	const registry = registryOf(1 << 20, 2);
	const [a, b, c] = ['a', 'b', 'c'].map((id) => add(registry, taskRequest(id))) as [TaskRecord, TaskRecord, TaskRecord];
	finish(registry, b, 1);
	finish(registry, a, 2);
	finish(registry, c, 3);
	const found = (): string[] => ['a', 'b', 'c'].map((id) => registry.lookup(id).found);
	assert.equal(registry.forgetDue(3), 1001);
	assert.deepEqual(found(), ['task', 'task', 'task']);
	assert.equal(registry.forgetDue(1001), 1002);
	assert.deepEqual(found(), ['task', 'expired', 'task']);
});

test('a task that has just ended is kept for those who watch it, however little is to be kept', () => {
	for (const limits of [
		{ retentionMs: 0, retentionCount: 100 },
		{ retentionMs: 600_000, retentionCount: 0 },
	]) {
		const registry = new TaskRegistry({ logBytesMax: 1 << 20, ...limits });
		registry.pools = [poolView()];
		finish(registry, add(registry, taskRequest('a')), 5);
		assert.equal(registry.forgetDue(5), 1005);
		assert.equal(registry.lookup('a').found, 'task');
		assert.equal(registry.forgetDue(1005), null);
		assert.equal(registry.lookup('a').found, 'expired');
	}
});

test('log space: finished tasks are forgotten for a new one, running ones never are, and what can never fit is not retriable', () => {
	const registry = registryOf(20_000);
	const a = add(registry, taskRequest('a'));
	add(registry, taskRequest('b'));
	const full = registry.add(taskRequest('c'), 0);
	assert.ok('code' in full);
	assert.deepEqual([full.code, full.policyLabel, full.retriable, (full.retryAfterMs ?? 0) > 0], ['ADMISSION_REJECT', 'log', true, true]);
	assert.equal(registry.lookup('c').found, 'nothing');
	finish(registry, a, 1);
	for (const id of ['c', 'd', 'e']) {
		const next = registry.add(taskRequest(id), 2);
		if (!('code' in next)) finish(registry, next, 3);
	}
	assert.equal(registry.lookup('b').found, 'task');
	const small = registryOf(1000);
	const impossible = small.add(taskRequest('z'), 0);
	assert.ok('code' in impossible && impossible.code === 'INVALID_PARAMS' && !impossible.retriable);
	registry.check();
});

test('an absurd max_tokens reserves no more than its pools allow, also before they are ready', () => {
	const registry = registryOf();
	const absurd = add(registry, taskRequest('a', { maxTokens: 1e15 }));
	const whole = add(registry, taskRequest('b', { maxTokens: null }));
	assert.equal(absurd.logLease.bytes, whole.logLease.bytes);
	registry.pools = [poolView({ ctx: 0, maxTokensOut: 100, state: 'starting' })];
	const early = add(registry, taskRequest('c', { maxTokens: null }));
	const known = add(registry, taskRequest('d', { maxTokens: 100 }));
	assert.equal(early.logLease.bytes, known.logLease.bytes);
	assert.ok(early.logLease.bytes > 9600);
});

test('expired ids are remembered within a bound, then nothing is known of them', () => {
	const registry = registryOf(1 << 20, 1);
	const total = 65_536 + 10;
	for (let i = 0; i < total; i++) {
		finish(registry, add(registry, taskRequest(`t${i}`, { idempotencyKey: `k${i}` })), i);
		registry.forgetDue(i + 999);
	}
	assert.equal(registry.lookup(`t${total - 1}`).found, 'task');
	assert.equal(registry.lookup(`t${total - 2}`).found, 'expired');
	assert.equal(registry.lookup('t0').found, 'nothing');
	assert.equal(codeOf(registry.claim(taskRequest('t0', { idempotencyKey: 'k0' }))), 'fresh');
	registry.check();
});

test('pages list every task once, newest first, whatever comes and goes between them', () => {
	fc.assert(
		fc.property(fc.integer({ min: 0, max: 30 }), fc.integer({ min: 1, max: 7 }), fc.array(fc.nat(29)), (count, limit, gone) => {
			const registry = registryOf();
			const tasks = Array.from({ length: count }, (_, i) => add(registry, taskRequest(`t${i}`, { tenant: i % 2 === 0 ? 'even' : 'odd' })));
			const seen: string[] = [];
			let cursor: string | null = null;
			let page = 0;
			do {
				const got = registry.list({ tenant: 'even' }, limit, cursor);
				assert.ok(got.tasks.length <= limit);
				seen.push(...got.tasks.map((task) => task.request.taskId));
				cursor = got.nextCursor;
				add(registry, taskRequest(`new${page++}`, { tenant: 'even' }));
				const leaver = tasks[gone[page] ?? -1];
				if (leaver !== undefined && !seen.includes(leaver.request.taskId) && registry.lookup(leaver.request.taskId).found === 'task')
					registry.withdraw(leaver);
			} while (cursor !== null);
			const ordinals = seen.map((id) => Number(id.slice(1)));
			assert.deepEqual(
				ordinals,
				[...ordinals].sort((a, b) => b - a),
			);
			assert.equal(new Set(seen).size, seen.length);
			const left = tasks.filter((task, i) => i % 2 === 0 && registry.lookup(task.request.taskId).found === 'task');
			for (const task of left) assert.ok(seen.includes(task.request.taskId));
			registry.check();
		}),
		{ numRuns: 100 },
	);
	const registry = registryOf();
	add(registry, taskRequest('a'));
	assert.deepEqual(registry.list({}, 5, '!').tasks, []);
	assert.deepEqual(registry.list({ state: 'done' }, 5, null).tasks, []);
	assert.deepEqual(registry.list({ poolId: 'x' }, 5, null).tasks, []);
});
