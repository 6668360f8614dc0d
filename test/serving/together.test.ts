/**
 * The front and the control half together: the real tasks, Task, Dispatcher and Pool actors under one simulated host; only
 * the engine is scripted.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ActorRef } from '../../src/actors/kernel/ref.ts';
import { dispatcher } from '../../src/actors/serving/dispatcher.ts';
import { leaseKey } from '../../src/actors/serving/engine-life.ts';
import type { DispatcherCommand, EngineThreadCommand, ReplicaCommand, ReplicaNews } from '../../src/actors/serving/messages.ts';
import type { PoolSpec } from '../../src/actors/serving/pool-spec.ts';
import type { TaskView } from '../../src/actors/serving/task-directory.ts';
import type { TaskRequest } from '../../src/actors/serving/task-request.ts';
import { FrontWorld, namesOf } from './front-world.ts';
import { replicaFacts, taskRequest } from './task-requests.ts';

const slots = 3;
const spec: PoolSpec = {
	poolId: 'pool',
	engine: 'scripted',
	provider: 'embedded',
	model: 'scripted:demo',
	aliases: ['default'],
	devices: null,
	replicas: 1,
	maxTokensOut: 32,
	queue: { capacity: 1000, bytesMax: 1 << 28, fullPolicy: 'reject', batchMaxWaitMs: 60_000, order: 'fifo', preemption: 'off' },
	migration: 'on',
	prices: { perTokenIn: 0.001, perTokenOut: 0.002 },
	perfPrior: { prefillTokensPerS: 1_000, decodeTokensPerS: 50, tokensOut: 128 },
	timeouts: { firstTokenMs: 5000, idleMs: 5000, wallMs: 60_000 },
	settings: null,
};

class Together {
	readonly world: FrontWorld;
	readonly started: string[] = [];
	#epoch = 1;
	#dispatcher: ActorRef<DispatcherCommand> | null = null;
	#replicaId = '';
	#pool: ActorRef<ReplicaNews> | null = null;

	constructor(seed = 1, tokens = 5, gapMs = 20) {
		this.world = new FrontWorld(seed);
		this.world.control.edge.close();
		this.world.run();
		const { decode, host } = this.world;
		decode.onStart = (generation) => {
			this.started.push(generation.request.sampling.stop[0] ?? '');
			let sent = 0;
			const step = (): void => {
				if (generation.over) return;
				if (sent === 0) generation.started();
				if (sent < tokens) {
					generation.pieces({ text: `secret ${sent++}` });
					host.setTimer(gapMs, step);
				} else generation.end();
			};
			host.setTimer(gapMs, step);
		};
		this.startControl();
	}

	/** The control thread, or its successor: the engines stay as they are and report anew. */
	startControl(): void {
		const { world } = this;
		this.#epoch++;
		const setup = dispatcher({
			epoch: this.#epoch,
			pools: [spec],
			expectedFronts: ['front-0'],
			sessions: { ttlMs: 600_000, turnsMax: 8, countMax: 1_000 },
		});
		this.#dispatcher = world.system.spawn(`control-${this.#epoch}`, setup) as ActorRef<DispatcherCommand>;
		world.tasks.tell({ type: 'control-connected', control: { epoch: this.#epoch, dispatcher: this.#dispatcher } });
		const replica = world.system.edge<ReplicaCommand>((command) => {
			if (command.type === 'audit') this.#pool?.tell({ type: 'audited', replicaId: this.#replicaId, busyLeases: this.busyLeases() });
		});
		const guardian = world.system.edge<EngineThreadCommand>((command) => {
			if (command.type !== 'start-replica') return;
			const { model, settings } = command.replica;
			this.#replicaId = command.replica.replicaId;
			this.#pool = command.replyTo;
			command.replyTo.tell({ type: 'replica-started', replicaId: this.#replicaId, model, settings, replyTo: replica });
			const facts = { ...replicaFacts, replicaId: this.#replicaId, slots };
			command.replyTo.tell({ type: 'replica-ready', replicaId: this.#replicaId, facts });
		});
		this.#dispatcher.tell({ type: 'engine-joined', engineId: 'engine-0', replyTo: guardian });
		world.host.advance(1000);
	}

	stopControl(): void {
		assert.ok(this.#dispatcher);
		this.world.system.stop(this.#dispatcher);
		this.world.run();
		assert.equal(this.world.registry.controlReachable, false);
	}

	busyLeases(): string[] {
		return this.world.decode.generations.filter((generation) => !generation.over).map((generation) => leaseKey(generation.request.lease));
	}

	open(id: string, more: Partial<TaskRequest> = {}): TaskView {
		this.world.send(taskRequest(id, { maxTokens: 16, sampling: { ...taskRequest(id).sampling, stop: [id] }, ...more }));
		this.world.run();
		return this.world.view(id);
	}

	/** No task lives, and every slot is free. */
	assertQuiet(): void {
		assert.equal(this.world.registry.liveCount, 0);
		this.world.host.advance(1000);
		assert.equal(this.world.registry.pools[0]?.slotsFree, slots);
		assert.equal(this.world.system.stats.failures, 0);
		assert.deepEqual(
			this.world.telemetry.lines.filter((line) => line.level === 'error'),
			[],
		);
		this.world.registry.check();
		this.world.assertNothingSecret();
	}
}

const whole = ['started', 'token', 'token', 'token', 'token', 'token', 'end'];

test('a hundred tasks over three slots: all run, in the order they came, and every slot is free again', () => {
	const together = new Together();
	const tasks = Array.from({ length: 100 }, (_, i) => together.open(`t${i}`));
	together.world.host.advance(100 * 120);
	for (const task of tasks) assert.deepEqual(namesOf(task), whole);
	assert.deepEqual(
		together.started,
		tasks.map((task) => task.request.taskId),
	);
	together.assertQuiet();
});

test('cancelled in the queue and while running: the slots serve the others at once', () => {
	const together = new Together();
	const tasks = Array.from({ length: 10 }, (_, i) => together.open(`t${i}`));
	together.world.host.advance(50);
	for (const at of [0, 4, 9]) assert.equal(together.world.cancel(tasks[at] as TaskView), 'done');
	together.world.host.advance(2000);
	assert.deepEqual(
		tasks.map((task) => task.state),
		['canceled', 'done', 'done', 'done', 'canceled', 'done', 'done', 'done', 'done', 'canceled'],
	);
	assert.deepEqual([together.started.includes('t4'), together.started.includes('t9')], [false, false]);
	together.assertQuiet();
});

test('an engine that ignores a cancel keeps its slot in quarantine until it shows it idle', () => {
	const together = new Together(1, 400);
	together.world.decode.onCancel = () => undefined;
	const task = together.open('t0');
	together.world.host.advance(100);
	together.world.cancel(task);
	together.world.host.advance(4000);
	assert.equal(together.world.registry.liveCount, 0);
	assert.equal(together.world.registry.pools[0]?.slotsFree, slots - 1);
	together.world.host.advance(10_000);
	together.assertQuiet();
});

test('a strict task waits for all slots of its replica, and is alone on it', () => {
	const together = new Together();
	together.open('t0');
	const strict = together.open('strict', { strict: true });
	const after = together.open('t2');
	together.world.host.advance(60);
	assert.deepEqual([strict.state, after.state], ['queued', 'queued']);
	together.world.host.advance(80);
	assert.deepEqual([strict.state, after.state], ['running', 'queued']);
	together.world.host.advance(1000);
	assert.deepEqual([strict.state, after.state], ['done', 'done']);
	together.assertQuiet();
});

test('the control thread is replaced in mid-stream: no stream stops, the queued are served by the new one', () => {
	const together = new Together(1, 16, 100);
	const tasks = Array.from({ length: 8 }, (_, i) => together.open(`t${i}`));
	together.world.host.advance(350);
	together.stopControl();
	const tokens = tasks[0]?.tokensOut ?? 0;
	together.world.host.advance(300);
	assert.ok((tasks[0]?.tokensOut ?? 0) > tokens);
	together.startControl();
	together.world.host.advance(10_000);
	for (const task of tasks) assert.equal(task.state, 'done', JSON.stringify(task.failure));
	assert.deepEqual(
		together.started,
		tasks.map((task) => task.request.taskId),
	);
	together.assertQuiet();
});
