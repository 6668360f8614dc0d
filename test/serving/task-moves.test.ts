/** A running task that loses its slot: it goes on in another behind its tokens, or ends with its code where it may not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failure } from '../../src/actors/serving/failure.ts';
import type { Lease, ReplicaFacts } from '../../src/actors/serving/messages.ts';
import type { TaskView } from '../../src/actors/serving/task-directory.ts';
import type { TaskRequest } from '../../src/actors/serving/task-request.ts';
import { eventsOf, FrontWorld, lastOf, namesOf } from './front-world.ts';
import type { ScriptedGeneration } from './scripted-decode.ts';
import { replicaFacts, taskRequest } from './task-requests.ts';

const gone = failure('WORKER_RESET', 'the engine died');
const movable: ReplicaFacts = { ...replicaFacts, features: ['resume'] };

type Grant = Parameters<FrontWorld['control']['grant']>[1];

interface Slot {
	readonly lease: Lease;
	readonly generation: ScriptedGeneration;
}

/** A slot whose engine has taken the request. */
function granted(world: FrontWorld, more: Grant = {}): Slot {
	const lease = world.control.grant('a', { replica: movable, ...more });
	world.run();
	const generation = world.decode.generations.at(-1);
	assert.ok(generation?.request.lease.id === lease.id);
	generation.started();
	world.run();
	return { lease, generation };
}

/** A task with a slot, and so many tokens, each of a piece of its own. */
function running(
	world: FrontWorld,
	tokens: number,
	more: Partial<TaskRequest> = {},
	grant: Grant = {},
): Slot & { readonly task: TaskView } {
	const { answers } = world.open('a', more);
	// What its tools take in the prompt nobody knows but the engine.
	for (const asked of world.decode.counts) asked.tell({ type: 'prompt-counted', tokens: 5 });
	world.run();
	world.control.queue('a', 0);
	world.run();
	const [answer] = answers;
	assert.ok(answer?.type === 'task-opened');
	const { task } = answer;
	const slot = granted(world, grant);
	say(world, slot.generation, 0, tokens);
	return { task, ...slot };
}

function say(world: FrontWorld, generation: ScriptedGeneration, from: number, to: number): void {
	for (let index = from; index < to; index++) generation.pieces({ text: `t${index} `, ids: [100 + index] });
	world.run();
}

/** It is in the queue again, as the one that it was. */
function backInQueue(world: FrontWorld): void {
	const [first] = world.control.submits('a');
	const again = world.control.submits('a').at(-1);
	assert.ok(first !== undefined && again !== undefined && first !== again);
	assert.equal(again.summary.admittedAt, first.summary.admittedAt);
	world.control.queue('a', 0);
	world.run();
}

const settled = (world: FrontWorld, { lease }: Slot) =>
	world.control.settlementsOf(lease).map(({ settlement: { outcome, slot, tokensOut, reason } }) => [outcome, slot, tokensOut, reason]);

const texts = (task: TaskView): string =>
	eventsOf(task)
		.filter(({ name }) => name === 'token')
		.map(({ data }) => String(data['t']))
		.join('');

for (const how of ['its connection is lost', 'its pool says so'] as const) {
	test(`an engine that dies under a stream: ${how}, and the stream goes on at the next index in another`, () => {
		const world = new FrontWorld();
		const phases: string[] = [];
		const { task, ...first } = running(world, 3);
		task.log.subscribe(() => phases.push(task.phase));
		assert.equal(task.tokensCached, 1);
		if (how === 'its connection is lost') first.generation.failed(gone);
		else world.control.tell('a', { type: 'replica-lost', lease: first.lease, failure: gone });
		world.run();
		assert.deepEqual([task.state, task.phase], ['queued', 'migrated']);
		assert.equal(task.tokensCached, 0, 'what its slot had of the prompt is lost to it');
		assert.deepEqual(settled(world, first), [['moved', 'unknown', 3, 'replica-lost']]);
		world.host.advance(100);
		const { summary } = world.control.submits('a').at(-1) ?? assert.fail();
		assert.deepEqual(summary.resume, { poolId: 'pool', modelDigest: 'sha256:ab', modelName: 'demo', tokens: 3 });
		assert.equal(summary.ctx, 512, 'the context that it would have ended by');
		backInQueue(world);
		// The connection of the dead one may live a little longer.
		if (!first.generation.over) first.generation.pieces({ text: 'late', ids: [1] });
		const second = granted(world, { replica: { ...movable, replicaId: 'pool-1' }, maxTokensOut: 16 });
		assert.deepEqual(second.generation.request.resume, { ids: [100, 101, 102] });
		assert.equal(second.generation.request.maxTokens, first.generation.request.maxTokens, 'its allowance stays what it was');
		assert.deepEqual([task.state, task.phase], ['running', 'migrated'], 'until its next token');
		say(world, second.generation, 3, 5);
		assert.equal(task.phase, 'decode');
		second.generation.end('length');
		world.run();
		assert.equal(texts(task), 't0 t1 t2 t3 t4 ');
		assert.deepEqual(namesOf(task), ['started', 'token', 'token', 'token', 'token', 'token', 'end']);
		assert.deepEqual([lastOf(task).data['tokens_out'], lastOf(task).data['tokens_in'], lastOf(task).data['decode_ms']], [5, 5, 40]);
		assert.deepEqual(settled(world, second), [['completed', 'free', 2, 'length']]);
		assert.equal(world.telemetry.total('migrations_total', { pool_id: 'pool', reason: 'replica-lost' }), 1);
		assert.equal(world.telemetry.total('tokens_in_total'), 5, 'a prompt counts once');
		assert.equal(world.telemetry.total('tokens_out_total'), 5);
		assert.equal(world.telemetry.lines.filter((line) => line.event === 'task-migrated').length, 1);
		assert.ok(phases.includes('migrated'));
		world.assertAtRest();
	});
}

test('what it may still make is what its first slot allowed, whatever the next one does', () => {
	const world = new FrontWorld();
	const { generation } = running(world, 3, { maxTokens: null }, { maxTokensOut: 20 });
	assert.deepEqual([generation.request.maxTokens, generation.request.ctx], [20, 512]);
	generation.failed(gone);
	world.host.advance(100);
	backInQueue(world);
	const wider = granted(world, { maxTokensOut: 200, replica: { ...movable, ctx: 4_096 } });
	assert.deepEqual([wider.generation.request.maxTokens, wider.generation.request.ctx], [20, 512]);
	wider.generation.failed(gone);
	world.host.advance(100);
	backInQueue(world);
	// Its session has no more left than that.
	const narrower = granted(world, { maxTokensOut: 5 });
	assert.equal(narrower.generation.request.maxTokens, 3 + 5);
	narrower.generation.end('length');
	world.assertAtRest();
});

test('ids of several tokens in a piece, and of pieces that came together, are all carried', () => {
	const world = new FrontWorld();
	const { generation } = running(world, 0);
	generation.pieces({ text: 'a', n: 3, ids: [1, 2, 3] }, { text: 'b', ids: [4], id: 4, logprob: -1 }, { text: '', n: 2, ids: [5, 6] });
	world.run();
	generation.failed(gone);
	world.host.advance(100);
	backInQueue(world);
	const second = granted(world);
	assert.deepEqual(second.generation.request.resume, { ids: [1, 2, 3, 4, 5, 6] });
	second.generation.end();
	world.assertAtRest();
});

test('one that is asked for its slot leaves it when the engine has let go; what it says until then counts', () => {
	for (const reason of ['preempted', 'drained'] as const) {
		const world = new FrontWorld();
		world.decode.onCancel = () => undefined;
		const { task, ...first } = running(world, 2);
		world.control.tell('a', { type: 'leave-slot', lease: first.lease, reason });
		world.run();
		assert.equal(first.generation.cancels, 1);
		assert.deepEqual(settled(world, first), []);
		say(world, first.generation, 2, 4);
		first.generation.cancelled();
		world.run();
		assert.deepEqual(settled(world, first), [['moved', 'free', 4, reason]]);
		backInQueue(world);
		const second = granted(world);
		assert.deepEqual(second.generation.request.resume, { ids: [100, 101, 102, 103] });
		say(world, second.generation, 4, 5);
		second.generation.end();
		world.run();
		assert.equal(texts(task), 't0 t1 t2 t3 t4 ');
		assert.equal(world.telemetry.total('migrations_total', { reason }), 1);
		world.assertAtRest();
	}
});

test('an end that comes while it leaves is the end; an engine that does not let go loses the slot and the task', () => {
	const world = new FrontWorld();
	world.decode.onCancel = () => undefined;
	const ending = running(world, 2);
	world.control.tell('a', { type: 'leave-slot', lease: ending.lease, reason: 'preempted' });
	ending.generation.end();
	world.run();
	assert.equal(ending.task.state, 'done');
	world.assertAtRest();

	const other = new FrontWorld();
	other.decode.onCancel = () => undefined;
	const { task, ...first } = running(other, 2);
	other.control.tell('a', { type: 'leave-slot', lease: first.lease, reason: 'preempted' });
	other.host.advance(2_000);
	assert.deepEqual(settled(other, first), [['moved', 'unknown', 2, 'preempted']]);
	assert.equal(first.generation.abandoned, true);
	backInQueue(other);
	const second = granted(other);
	second.generation.end();
	other.run();
	assert.equal(task.state, 'done');
	other.assertAtRest();
});

test('a cancel, a deadline and the end of the daemon end a task that has left its slot, wherever it stands', () => {
	for (const at of ['before it is submitted', 'in the queue', 'in its next slot', 'while it leaves'] as const) {
		const world = new FrontWorld();
		const { task, ...first } = running(world, 2);
		if (at === 'while it leaves') {
			world.decode.onCancel = () => undefined;
			world.control.tell('a', { type: 'leave-slot', lease: first.lease, reason: 'preempted' });
		} else first.generation.failed(gone);
		world.run();
		if (at !== 'while it leaves' && at !== 'before it is submitted') {
			world.host.advance(100);
			backInQueue(world);
		}
		if (at === 'in its next slot') granted(world);
		assert.equal(world.cancel(task), 'done');
		if (at === 'while it leaves') first.generation.cancelled();
		if (at === 'in the queue') world.control.tell('a', { type: 'withdrawn' });
		world.host.advance(1_000);
		assert.deepEqual(namesOf(task), ['started', 'token', 'token', 'end'], at);
		assert.deepEqual([lastOf(task).data['canceled'], lastOf(task).data['tokens_out']], [true, 2]);
		world.assertAtRest();
	}
});

const bound: readonly [string, Partial<TaskRequest>, Grant][] = [
	['strict', { strict: true }, {}],
	['with a grammar', { sampling: { ...taskRequest('').sampling, grammar: 'root ::= "x"' } }, {}],
	['with a schema', { sampling: { ...taskRequest('').sampling, jsonSchema: { type: 'string' } } }, {}],
	['that answers in JSON', { sampling: { ...taskRequest('').sampling, jsonObject: true } }, {}],
	['with tools', { input: { kind: 'messages', messages: [], toolUse: { tools: [], choice: 'auto', parallel: false } } }, {}],
	['under migration: off', {}, { migration: false }],
	['of an engine that cannot go on', {}, { replica: replicaFacts }],
];
for (const [what, more, grant] of bound) {
	test(`a task ${what} ends with WORKER_RESET, and keeps its slot when it is asked for it`, () => {
		const world = new FrontWorld();
		const { task, generation, lease } = running(world, 2, more, grant);
		assert.equal(generation.request.tellIds, false);
		world.control.tell('a', { type: 'leave-slot', lease, reason: 'preempted' });
		world.run();
		assert.deepEqual([task.state, generation.cancels], ['running', 0]);
		generation.failed(gone);
		world.run();
		assert.deepEqual([lastOf(task).name, lastOf(task).data['code'], task.tokensOut], ['error', 'WORKER_RESET', 2]);
		world.assertAtRest();

		const drained = new FrontWorld();
		const other = running(drained, 2, more, grant);
		drained.control.tell('a', { type: 'leave-slot', lease: other.lease, reason: 'drained' });
		drained.run();
		assert.deepEqual(
			[lastOf(other.task).data['code'], lastOf(other.task).data['message']],
			['WORKER_RESET', 'pool was drained before the task ended'],
		);
		assert.deepEqual(settled(drained, other), [['failed', 'free', 2, 'drain']]);
		drained.assertAtRest();
	});
}

test('an engine that leaves out an id cannot be gone on from', () => {
	const world = new FrontWorld();
	const { task, generation } = running(world, 2);
	generation.pieces({ text: 'x' });
	generation.failed(gone);
	world.run();
	assert.equal(lastOf(task).data['code'], 'WORKER_RESET');
	world.assertAtRest();
});

test('a stream survives eight deaths of its engines, and two in a row without a new token', () => {
	for (const [tokensEach, deaths] of [
		[1, 8],
		[0, 2],
	] as const) {
		const world = new FrontWorld();
		const { task, generation } = running(world, 1);
		generation.failed(gone);
		let made = 1;
		for (let death = 1; ; death++) {
			world.run();
			if (task.endedAt !== null) {
				// The first death had a token before it.
				assert.equal(death - 1, tokensEach === 0 ? deaths + 1 : deaths);
				break;
			}
			world.host.advance(100);
			backInQueue(world);
			const next = granted(world).generation;
			say(world, next, made, made + tokensEach);
			made += tokensEach;
			next.failed(gone);
		}
		assert.deepEqual([lastOf(task).data['code'], task.tokensOut], ['WORKER_RESET', made]);
		world.assertAtRest();
	}
});

test('a task that finds no slot to go on in says why, and one that is given another model does not take it', () => {
	const world = new FrontWorld();
	const { task, generation } = running(world, 2);
	generation.failed(gone);
	world.host.advance(100);
	world.control.refuse('a', failure('NOT_FOUND', 'nobody serves it'));
	world.run();
	assert.equal(lastOf(task).data['code'], 'WORKER_RESET');
	assert.match(String(lastOf(task).data['message']), /nobody serves it/);
	world.assertAtRest();

	const other = new FrontWorld();
	const moved = running(other, 2);
	moved.generation.failed(gone);
	other.host.advance(100);
	backInQueue(other);
	const lease = other.control.grant('a', { replica: { ...movable, modelDigest: 'sha256:cd' } });
	other.run();
	assert.equal(other.control.settlementsOf(lease)[0]?.settlement.outcome, 'unused');
	assert.equal(lastOf(moved.task).data['code'], 'WORKER_RESET');
	other.assertAtRest();
});

test('the clock of the whole run does not begin anew with a slot', () => {
	const world = new FrontWorld();
	const timeouts = { firstTokenMs: 0, idleMs: 0, wallMs: 1_000 };
	const { task, generation } = running(world, 1, {}, { timeouts });
	world.host.advance(700);
	generation.failed(gone);
	world.host.advance(500);
	backInQueue(world);
	const second = granted(world, { timeouts });
	world.host.advance(299);
	assert.equal(task.state, 'running', 'what it waited does not count');
	world.host.advance(1);
	assert.equal(lastOf(task).data['code'], 'DECODE_TIMEOUT');
	assert.equal(second.generation.cancels, 1);
	world.assertAtRest();
});

test('a control thread that is replaced while a task is between two slots gets it with all that it needs', () => {
	const world = new FrontWorld();
	const { task, generation } = running(world, 2);
	generation.failed(gone);
	world.run();
	world.control.edge.close();
	world.connect(2);
	assert.equal(world.control.summary('a').resume?.tokens, 2);
	world.host.advance(1_000);
	assert.equal(world.control.submits('a').length, 1);
	world.control.queue('a', 0);
	world.run();
	const second = granted(world);
	say(world, second.generation, 2, 3);
	second.generation.end();
	world.run();
	assert.equal(texts(task), 't0 t1 t2 ');
	world.assertAtRest();
});
