/**
 * The front and the control half together in one simulated host: the real tasks, Task, Dispatcher and Pool actors; only the
 * engine is scripted.
 */
import assert from 'node:assert/strict';
import type { ActorRef } from '../../src/actors/kernel/ref.ts';
import { type DispatcherOptions, dispatcher } from '../../src/actors/serving/dispatcher.ts';
import { leaseKey } from '../../src/actors/serving/engine-life.ts';
import type { DispatcherCommand, EngineThreadCommand, ReplicaCommand, ReplicaNews } from '../../src/actors/serving/messages.ts';
import type { PoolSpec } from '../../src/actors/serving/pool-spec.ts';
import { noRateLimit, type RateLimit } from '../../src/actors/serving/rate-limit.ts';
import type { SessionOperation, SessionTold } from '../../src/actors/serving/session-messages.ts';
import type { TaskView } from '../../src/actors/serving/task-directory.ts';
import type { TaskRequest } from '../../src/actors/serving/task-request.ts';
import { FrontWorld } from './front-world.ts';
import { replicaFacts, taskRequest } from './task-requests.ts';

export const slots = 3;
export const spec: PoolSpec = {
	poolId: 'pool',
	engine: 'scripted',
	provider: 'embedded',
	model: 'scripted:demo',
	aliases: ['default'],
	devices: null,
	residency: { kind: 'always' },
	memoryBytes: null,
	replicas: 1,
	slots,
	workers: false,
	maxTokensOut: 32,
	queue: { capacity: 1000, bytesMax: 1 << 28, fullPolicy: 'reject', batchMaxWaitMs: 60_000, order: 'fifo', preemption: 'off' },
	migration: 'on',
	prices: { perTokenIn: 0.001, perTokenOut: 0.002 },
	perfPrior: { prefillTokensPerS: 1_000, decodeTokensPerS: 50, tokensOut: 128, loadMs: null },
	timeouts: { firstTokenMs: 5000, idleMs: 5000, wallMs: 60_000 },
	cacheDir: null,
	settings: null,
};

export class Together {
	readonly world: FrontWorld;
	readonly started: string[] = [];
	readonly #more: Partial<DispatcherOptions>;
	#epoch = 1;
	#dispatcher: ActorRef<DispatcherCommand> | null = null;
	#replicaId = '';
	#pool: ActorRef<ReplicaNews> | null = null;

	constructor(seed = 1, tokens = 5, gapMs = 20, more: Partial<DispatcherOptions> = {}, rates: RateLimit = noRateLimit) {
		this.#more = more;
		this.world = new FrontWorld(seed, {}, undefined, rates);
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
			sessions: { ttlMs: 600_000, turnsMax: 0, countMax: 1_000 },
			...this.#more,
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
			command.replyTo.tell({
				type: 'replica-started',
				replicaId: this.#replicaId,
				model,
				settings,
				breaker: null,
				caches: null,
				startedAt: 0,
				lastLoadMs: null,
				replyTo: replica,
			});
			const facts = { ...replicaFacts, replicaId: this.#replicaId, slots };
			command.replyTo.tell({ type: 'replica-ready', replicaId: this.#replicaId, facts, loadMs: 1_000 });
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

	/** As an HTTP handler asks. */
	session(operation: SessionOperation = { kind: 'look' }): SessionTold {
		const answers: SessionTold[] = [];
		const replyTo = this.world.system.edge<SessionTold>((answer) => answers.push(answer));
		this.#dispatcher?.tell({ type: 'use-session', tenant: null, sessionId: 's', operation, replyTo });
		this.world.run();
		replyTo.close();
		const [answer] = answers;
		assert.ok(answer);
		return answer;
	}

	open(id: string, more: Partial<TaskRequest> = {}): TaskView {
		this.world.send(taskRequest(id, { maxTokens: 16, sampling: { ...taskRequest(id).sampling, stop: [id] }, ...more }));
		this.world.run();
		for (const asker of this.world.decode.counts.splice(0)) asker.tell({ type: 'prompt-counted', tokens: 5 });
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
