/** The `tasks` actor: each task is opened at most once, however often and wherever it is asked for. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimHost } from '../../src/actors/kernel/sim-host.ts';
import { ActorSystem } from '../../src/actors/kernel/system.ts';
import type { AttachElsewhere } from '../../src/actors/serving/elsewhere.ts';
import type { Opening, TaskUnknown } from '../../src/actors/serving/task-directory.ts';
import { TaskRegistry } from '../../src/actors/serving/task-registry.ts';
import type { TaskRequest } from '../../src/actors/serving/task-request.ts';
import { tasks } from '../../src/actors/serving/tasks.ts';
import { FrontWorld, namesOf, PlayedControl } from './front-world.ts';
import { ScriptedDecode } from './scripted-decode.ts';
import { poolView, taskRequest } from './task-requests.ts';

test('the same request again, while it is being admitted, waits for the same answer; only one is fresh', () => {
	const world = new FrontWorld();
	const first = world.send(taskRequest('a', { idempotencyKey: 'k' }));
	const second = world.send(taskRequest('a', { idempotencyKey: 'k' }));
	const third = world.send(taskRequest('b', { idempotencyKey: 'k' }));
	world.run();
	const other = world.open('a', { bodyHash: 'other' });
	world.control.queue('a', 0);
	world.run();
	const answers = [first, second, third].map(({ answers: [answer] }) => answer);
	assert.deepEqual(
		answers.map((answer) => answer?.type === 'task-opened' && [answer.task.request.taskId, answer.fresh]),
		[
			['a', true],
			['a', false],
			['a', false],
		],
	);
	assert.ok(other.answers[0]?.type === 'task-refused' && other.answers[0].failure.code === 'CONFLICT');
	assert.equal(world.control.of('submit').length, 1);
	world.control.grant('a');
	world.run();
	world.decode.generations[0]?.end();
	world.assertAtRest();
});

test('all who wait for one admission hear its refusal, and the next request starts afresh', () => {
	const world = new FrontWorld();
	const waiting = [world.send(taskRequest('a')), world.send(taskRequest('a'))];
	world.run();
	world.control.refuse('a');
	// In the turn of the refusal.
	const again = world.open('a');
	for (const { answers } of waiting) assert.ok(answers[0]?.type === 'task-refused' && answers[0].failure.code === 'ADMISSION_REJECT');
	assert.equal(again.answers.length, 0);
	world.control.queue('a', 0);
	world.run();
	assert.ok(again.answers[0]?.type === 'task-opened' && again.answers[0].fresh);
	world.control.grant('a');
	world.run();
	world.decode.generations.at(-1)?.end();
	world.assertAtRest();
});

test('a front that hears first that an id is ours waits until we have heard it too', () => {
	const host = new SimHost(1);
	const system = new ActorSystem(host);
	const registry = new TaskRegistry({ logBytesMax: 1 << 22, retentionMs: 600_000, retentionCount: 10_000 });
	const roll = { started: () => undefined, ended: () => undefined, lost: () => undefined };
	const elsewhere = system.edge<AttachElsewhere>(() => assert.fail('the task is ours'));
	const around = { frontId: 'front-0', registry, decode: new ScriptedDecode(), roll, elsewhere };
	const front = system.spawn('tasks', tasks(around));
	const control = new PlayedControl(system, 1, [poolView()]);
	front.tell({ type: 'control-connected', control: { epoch: 1, dispatcher: control.edge } });
	const request = taskRequest('a', { named: true });
	const answers: (Opening | TaskUnknown)[] = [];
	const replyTo = system.edge<Opening | TaskUnknown>((answer) => answers.push(answer));
	const attach = (identity: TaskRequest): void => void front.tell({ type: 'attach-task', identity, replyTo });

	host.run();
	front.tell({ type: 'open-task', request, replyTo });
	host.run();
	attach(request);
	attach(taskRequest('a', { named: true, bodyHash: 'other' }));
	attach(taskRequest('b', { named: true }));
	host.run();
	assert.deepEqual(
		answers.map(({ type }) => type),
		['task-unknown'],
		'one that nobody asks for here is not waited for',
	);
	control.of('claim-task')[0]?.replyTo.tell({ type: 'task-claimed', verdict: { kind: 'ours' } });
	host.run();
	control.queue('a', 0);
	host.run();
	const after = answers.slice(1).map((answer) => (answer.type === 'task-refused' ? answer.failure.code : answer.type));
	assert.deepEqual(after, ['CONFLICT', 'task-opened', 'task-opened']);

	// Refused by the directory: no answer is owed any more.
	front.tell({ type: 'open-task', request: taskRequest('c', { named: true }), replyTo });
	host.run();
	attach(taskRequest('c', { named: true }));
	control.of('claim-task')[1]?.replyTo.tell({ type: 'task-claimed', verdict: { kind: 'unsure' } });
	host.run();
	assert.deepEqual(
		answers.slice(4).map(({ type }) => type),
		['task-refused', 'task-unknown'],
	);
});

test('a task that was refused while a pool may have it keeps its id until the pool has answered', () => {
	const world = new FrontWorld();
	world.open('a', { deadlineMs: 10 });
	world.host.advance(10);
	const early = world.open('a');
	assert.ok(early.answers[0]?.type === 'task-refused' && early.answers[0].failure.code === 'DEADLINE_UNMET');
	assert.equal(world.control.of('submit').length, 1);
	world.control.queue('a', 0);
	world.run();
	assert.equal(world.control.of('withdraw').length, 1);
	world.control.tell('a', { type: 'withdrawn' });
	world.run();
	world.running('a').generation.end();
	world.assertAtRest();
});

test('a finished task answers its id and its key with itself, from its first event', () => {
	const world = new FrontWorld();
	const { generation, task } = world.running('a', { idempotencyKey: 'k' });
	generation.pieces({ text: 'x' });
	generation.end();
	world.assertAtRest();
	for (const id of ['a', 'b']) {
		const [answer] = world.open(id, { idempotencyKey: 'k' }).answers;
		assert.ok(answer?.type === 'task-opened' && answer.task === task && !answer.fresh);
	}
	assert.deepEqual(namesOf(task), ['started', 'token', 'end']);
	assert.equal(world.control.of('submit').length, 1);
	world.assertAtRest();
});

test('more requests for one admission than there is room for are told to come back', () => {
	const world = new FrontWorld();
	const sent: ReturnType<FrontWorld['send']>[] = [];
	for (let i = 0; i < 1010; i++) {
		sent.push(world.send(taskRequest('a')));
		world.run();
	}
	const refused = sent.flatMap(({ answers }) => answers);
	assert.equal(refused.length, 10);
	assert.ok(refused.every((answer) => answer.type === 'task-refused' && answer.failure.retriable));
	world.control.refuse('a');
	world.assertAtRest();
	assert.ok(sent.every(({ answers }) => answers.length === 1));
});
