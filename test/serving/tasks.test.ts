/** The `tasks` actor: tasks kept as long as promised, and the control thread's comings and goings. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ActorRef } from '../../src/actors/kernel/ref.ts';
import { SimHost } from '../../src/actors/kernel/sim-host.ts';
import { ActorSystem } from '../../src/actors/kernel/system.ts';
import type { DispatcherCommand, FrontCommand, PlacementNews } from '../../src/actors/serving/messages.ts';
import { TaskRegistry } from '../../src/actors/serving/task-registry.ts';
import { tasks } from '../../src/actors/serving/tasks.ts';
import { eventsOf, FrontWorld, lastOf, namesOf, PlayedControl, standingOf } from './front-world.ts';
import { ScriptedDecode } from './scripted-decode.ts';
import { poolView, replicaFacts, taskRequest } from './task-requests.ts';

// ── kept as long as promised ─────────────────────────────────────────────────────────────────────────────────────

test('events are kept for the retention, then the id is known as expired', () => {
	const world = new FrontWorld(1, { retentionMs: 1000 });
	const { generation, task } = world.running('a');
	generation.end();
	world.assertAtRest();
	world.host.advance(500);
	const second = world.running('b');
	second.generation.end();
	world.run();
	world.host.advance(499);
	assert.equal(world.registry.lookup('a').found, 'task');
	world.host.advance(1);
	assert.deepEqual([world.registry.lookup('a').found, world.registry.lookup('b').found], ['expired', 'task']);
	assert.deepEqual([task.log.forgotten, eventsOf(task)], [true, []]);
	const again = world.open('a');
	assert.ok(again.answers[0]?.type === 'task-refused' && again.answers[0].failure.code === 'EVENTS_EXPIRED');
	world.host.advance(500);
	assert.equal(world.registry.lookup('b').found, 'expired');
	world.assertAtRest();
	assert.equal(world.registry.logSpace.inUse, 0);
	assert.equal(world.host.world.timers, 0);
});

test('tasks that are due one soon after the other are forgotten together, and the directory hears of them at once', () => {
	const world = new FrontWorld(1, { retentionMs: 1000 });
	for (const id of ['a', 'b', 'c']) {
		world.running(id).generation.end();
		world.run();
		world.host.advance(20);
	}
	world.host.advance(1000 - 60);
	assert.deepEqual(
		['a', 'b', 'c'].map((id) => world.registry.lookup(id).found),
		['expired', 'task', 'task'],
	);
	world.host.advance(100);
	assert.deepEqual(
		world.control.of('tasks-forgotten').map(({ expired }) => expired),
		[['a'], ['b', 'c']],
	);
	world.assertAtRest();
});

test('events that somebody still reads are kept beyond the retention, unless their room is needed', () => {
	const world = new FrontWorld(1, { retentionMs: 1000 });
	const { generation, task } = world.running('a');
	const other = world.running('b');
	let told = 0;
	const leave = task.log.subscribe(() => told++);
	other.task.log.subscribe(() => undefined);
	generation.end();
	other.generation.end();
	world.run();
	told = 0;
	world.host.advance(60_000);
	assert.deepEqual([world.registry.lookup('a').found, world.registry.lookup('b').found, told], ['task', 'task', 0]);
	leave();
	world.host.advance(1_000);
	assert.deepEqual([world.registry.lookup('a').found, world.registry.lookup('b').found], ['expired', 'task']);
	other.task.log.subscribe(() => told++);
	while (world.registry.lookup('b').found === 'task' && world.registry.logSpace.reserve(1 << 16) !== null);
	assert.deepEqual([world.registry.lookup('b').found, told], ['expired', 1]);
});

test('one finished task more than may be kept makes the oldest due before its time', () => {
	const world = new FrontWorld(1, { retentionMs: 600_000, retentionCount: 1 });
	world.running('a').generation.end();
	world.run();
	world.host.advance(5000);
	world.running('b').generation.end();
	world.run();
	assert.deepEqual([world.registry.lookup('a').found, world.registry.lookup('b').found], ['expired', 'task']);
	world.running('c').generation.end();
	world.run();
	assert.equal(world.registry.lookup('b').found, 'task');
	world.host.advance(1000);
	assert.deepEqual([world.registry.lookup('b').found, world.registry.lookup('c').found], ['expired', 'task']);
	world.assertAtRest();
});

test('log space refuses with 429 and a reason while running tasks hold it, and forgets the finished first', () => {
	const world = new FrontWorld(1, { logBytesMax: 40_000 });
	const first = world.running('a', { maxTokens: 256 });
	const full = world.open('b', { maxTokens: 256 });
	assert.ok(full.answers[0]?.type === 'task-refused');
	const { failure } = full.answers[0];
	assert.deepEqual([failure.code, failure.policyLabel, (failure.retryAfterMs ?? 0) > 0], ['ADMISSION_REJECT', 'log', true]);
	first.generation.end();
	world.run();
	world.running('b', { maxTokens: 256 }).generation.end();
	world.running('c', { maxTokens: 256 }).generation.end();
	world.assertAtRest();
	assert.ok(world.registry.logSpace.inUse < 4000);
});

// ── the control thread ───────────────────────────────────────────────────────────────────────────────────────────

test('nothing gets in before the dispatcher has told of its pools', () => {
	const host = new SimHost(1);
	const system = new ActorSystem(host);
	const registry = new TaskRegistry({ logBytesMax: 1 << 20, retentionMs: 1000, retentionCount: 10 });
	const ref = system.spawn(
		'tasks',
		tasks({
			frontId: 'front-0',
			registry,
			decode: new ScriptedDecode(),
			roll: { started: () => undefined, ended: () => undefined, lost: () => undefined },
			elsewhere: null,
		}),
	);
	const answers: string[] = [];
	const edge = system.edge<{ readonly type: string; readonly failure?: { readonly code: string; readonly retryAfterMs?: number } }>(
		(opening) => answers.push(`${opening.type} ${opening.failure?.code} ${opening.failure?.retryAfterMs}`),
	);
	ref.tell({ type: 'open-task', request: taskRequest('a'), replyTo: edge });
	host.run();
	assert.deepEqual(answers, ['task-refused POOL_UNREADY 1000']);
	assert.equal(registry.controlReachable, false);
	const control = new PlayedControl(system, 3, [poolView()]);
	ref.tell({ type: 'control-connected', control: { epoch: 3, dispatcher: control.edge } });
	host.run();
	assert.deepEqual([registry.controlReachable, registry.pools.length], [true, 1]);
	assert.deepEqual(
		control.commands.map((command) => command.type),
		['front-joined', 'front-reported'],
	);
	const stale: FrontCommand = { type: 'pools-changed', epoch: 2, pools: [] };
	control.front?.tell(stale);
	host.run();
	assert.equal(registry.pools.length, 1);
});

test('the control thread dies: streams go on, the queued wait, those without a 202 and newcomers are refused', () => {
	const world = new FrontWorld();
	const running = world.running('running');
	const queued = world.queued('queued');
	const admitting = world.open('admitting');
	const long = world.open('counting', { input: { kind: 'prompt', text: 'x'.repeat(600), raw: true } });
	const old = world.control;
	old.edge.close();
	world.run();
	assert.equal(world.registry.controlReachable, false);
	for (const { answers } of [admitting, long]) assert.ok(answers[0]?.type === 'task-refused' && answers[0].failure.code === 'POOL_UNREADY');
	const newcomer = world.open('newcomer');
	assert.ok(newcomer.answers[0]?.type === 'task-refused' && newcomer.answers[0].failure.code === 'POOL_UNREADY');
	running.generation.pieces({ text: 'still here' });
	world.run();
	assert.deepEqual([running.task.state, queued.state, running.task.tokensOut], ['running', 'queued', 1]);

	const control = world.connect(2);
	assert.deepEqual(
		control.commands.map((command) => [command.type, 'summary' in command ? command.summary.taskId : '']),
		[
			['front-joined', ''],
			['report-lease', 'running'],
			['submit', 'queued'],
			['front-reported', ''],
		],
	);
	assert.deepEqual(control.of('report-lease')[0]?.lease, running.lease);
	control.queue('queued', 0);
	world.run();
	const lease = control.grant('queued');
	world.run();
	assert.equal(queued.state, 'running');
	running.generation.end();
	world.decode.generations.at(-1)?.end();
	world.run();
	assert.equal(control.settlementsOf(running.lease).length, 1);
	assert.equal(control.settlementsOf(lease).length, 1);
	assert.deepEqual(namesOf(running.task), ['started', 'token', 'end']);
	assert.deepEqual(namesOf(queued), ['started', 'end']);
	world.assertAtRest();
});

test('tasks that end while the control thread is away owe it nothing', () => {
	const world = new FrontWorld();
	world.decode.onCancel = () => undefined;
	const done = world.running('done');
	const cancelled = world.running('cancelled');
	const queued = world.queued('queued');
	const withdrawing = world.queued('withdrawing');
	world.cancel(withdrawing);
	world.control.edge.close();
	world.run();
	done.generation.end();
	world.cancel(queued);
	world.cancel(cancelled.task);
	world.run();
	assert.equal(world.registry.liveCount, 1);
	const control = world.connect(2);
	assert.deepEqual(
		control.commands.map((command) => command.type),
		['front-joined', 'report-lease', 'report-tasks', 'front-reported'],
	);
	cancelled.generation.cancelled();
	world.run();
	assert.equal(control.settlementsOf(cancelled.lease)[0]?.settlement.slot, 'free');
	world.assertAtRest();
});

test('a grant of a dead control thread that is read after the new one was told of the task is dropped', () => {
	const world = new FrontWorld();
	const task = world.queued('a');
	const old = world.control;
	old.edge.close();
	world.run();
	const control = world.connect(2);
	old.grant('a');
	world.run();
	assert.equal(task.state, 'queued');
	assert.deepEqual([old.of('settle').length, control.of('settle').length], [0, 0]);
	control.grant('a');
	world.run();
	world.decode.generations[0]?.end();
	world.assertAtRest();
	assert.equal(world.decode.generations.length, 1);
});

test('a task refused when it is submitted again ends in its stream', () => {
	const world = new FrontWorld();
	const task = world.queued('a');
	world.control.edge.close();
	world.run();
	world.connect(2);
	world.control.refuse('a');
	world.run();
	assert.deepEqual([namesOf(task), lastOf(task).data['code']], [['error'], 'ADMISSION_REJECT']);
	world.assertAtRest();
});

/** A dispatcher whose inbox holds one message: what a link without credit looks like. */
function narrowWorld(prepare: (world: FrontWorld) => void = () => undefined): {
	world: FrontWorld;
	seen: DispatcherCommand[];
	refOf: (taskId: string) => ActorRef<PlacementNews>;
} {
	const world = new FrontWorld();
	prepare(world);
	const seen: DispatcherCommand[] = [];
	const refs = new Map<string, ActorRef<PlacementNews>>();
	const narrow = world.system.spawn<DispatcherCommand>(
		'narrow',
		() => ({
			onMessage(_ctx, command) {
				seen.push(command);
				if (command.type === 'front-joined') command.replyTo.tell({ type: 'pools-changed', epoch: 2, pools: [poolView()] });
				if (command.type === 'submit') refs.set(command.summary.taskId, command.replyTo);
				return 'same';
			},
		}),
		{ mailboxMax: 1 },
	);
	world.control.edge.close();
	world.tasks.tell({ type: 'control-connected', control: { epoch: 2, dispatcher: narrow } });
	world.host.advance(1000);
	const refOf = (taskId: string): ActorRef<PlacementNews> => {
		const ref = refs.get(taskId);
		assert.ok(ref);
		return ref;
	};
	return { world, seen, refOf };
}

test('a full link delays joining, withdrawals and settlements; none is lost or sent twice', () => {
	const { world, seen, refOf } = narrowWorld();
	assert.deepEqual(
		seen.map((command) => command.type),
		['front-joined', 'front-reported'],
	);
	const ids = ['a', 'b', 'c', 'd'];
	for (const id of ids) {
		world.open(id);
		refOf(id).tell({
			type: 'queued',
			poolId: 'pool',
			engine: 'scripted',
			standing: standingOf(0),
			onTimeProbability: null,
			budget: null,
			held: null,
		});
	}
	for (const [at, id] of ['a', 'b'].entries()) {
		refOf(id).tell({
			type: 'granted',
			lease: { epoch: 2, id: at, poolId: 'pool', replicaId: 'pool-0', exclusive: false },
			replica: replicaFacts,
			ctx: 512,
			maxTokensOut: 256,
			timeouts: { firstTokenMs: 0, idleMs: 0, wallMs: 0 },
			migration: true,
			standing: standingOf(0),
		});
	}
	world.run();
	world.tasks.tell({ type: 'cancel-all', reason: 'client' });
	world.run();
	assert.ok(seen.filter((command) => command.type === 'settle' || command.type === 'withdraw').length < 4);
	for (let ms = 0; ms < 3000; ms += 200) {
		world.host.advance(200);
		for (const id of ['c', 'd'])
			if (seen.some((command) => command.type === 'withdraw' && command.taskId === id)) refOf(id).tell({ type: 'withdrawn' });
	}
	assert.deepEqual(
		seen
			.filter((command) => command.type === 'settle')
			.map((command) => command.lease.id)
			.sort((a, b) => a - b),
		[0, 1],
	);
	assert.equal(world.registry.liveCount, 0);
	assert.equal(world.system.stats.actors, 2);
});

test('a full link delays the next try of a task whose engine was gone; it is submitted again, once', () => {
	const { world, seen, refOf } = narrowWorld();
	const ids = ['a', 'b', 'c'];
	for (const [at, id] of ids.entries()) {
		world.open(id);
		refOf(id).tell({
			type: 'granted',
			lease: { epoch: 2, id: at, poolId: 'pool', replicaId: 'pool-0', exclusive: false },
			replica: replicaFacts,
			ctx: 512,
			maxTokensOut: 256,
			timeouts: { firstTokenMs: 0, idleMs: 0, wallMs: 0 },
			migration: true,
			standing: standingOf(0),
		});
		world.run();
	}
	// All in one turn: the first settlement finds room.
	for (const generation of world.decode.generations) generation.failed(undefined, 'free', 'no');
	world.run();
	assert.equal(seen.filter((command) => command.type === 'settle').length, 1);
	world.host.advance(3_000);
	const again = seen.flatMap((command) => (command.type === 'submit' && command.again ? [command.summary.taskId] : []));
	assert.deepEqual([seen.filter((command) => command.type === 'settle').length, again.sort()], [3, ids]);
});

test('a full link delays what is told to a new control thread; nobody is refused, and all is told before front-reported', () => {
	const { world, seen } = narrowWorld((before) => {
		for (const id of ['a', 'b', 'c']) before.running(id);
		for (const id of ['d', 'e', 'f']) before.queued(id);
		before.control.edge.close();
		before.run();
		before.cancel(before.view('f'));
	});
	assert.deepEqual(seen.map((command) => command.type).sort(), [
		'front-joined',
		'front-reported',
		'report-lease',
		'report-lease',
		'report-lease',
		'report-tasks',
		'submit',
		'submit',
	]);
	assert.equal(seen.at(-1)?.type, 'front-reported');
	assert.deepEqual(
		['a', 'b', 'c', 'd', 'e', 'f'].map((id) => world.view(id).state),
		['running', 'running', 'running', 'queued', 'queued', 'canceled'],
	);
});

test('a task cancelled before it could be submitted again is not submitted', () => {
	const { world, seen } = narrowWorld((before) => {
		for (const id of ['a', 'b', 'c']) before.queued(id);
		before.control.edge.close();
		before.run();
		before.host.setTimer(100, () => {
			for (const id of ['a', 'b', 'c']) before.view(id).ref.tell({ type: 'cancel', reason: 'client', replyTo: null });
		});
	});
	const submitted = seen.flatMap((command) => (command.type === 'submit' ? [command.summary.taskId] : []));
	const withdrawn = new Set(seen.flatMap((command) => (command.type === 'withdraw' ? [command.taskId] : [])));
	assert.ok(submitted.length < 3);
	assert.deepEqual([...withdrawn], submitted);
	assert.equal(world.registry.liveCount, submitted.length);
});

test('a withdrawal that is never answered is repeated, and given up after a while', () => {
	const world = new FrontWorld();
	const task = world.queued('a');
	world.cancel(task);
	world.host.advance(5000);
	const asked = world.control.of('withdraw').length;
	assert.ok(asked > 5 && asked < 50, `${asked}`);
	world.host.advance(60_000);
	world.assertAtRest();
});

test('an unreadable control thread refuses instead of queueing without bound', () => {
	const { world } = narrowWorld();
	const first = world.send(taskRequest('a'));
	const second = world.send(taskRequest('b'));
	world.run();
	const answers = [...first.answers, ...second.answers];
	assert.equal(answers.length, 1);
	for (const answer of answers)
		assert.ok(answer.type === 'task-refused' && answer.failure.code === 'ADMISSION_REJECT' && answer.failure.retriable);
});
