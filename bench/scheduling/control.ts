/**
 * The control thread of a bench: the production Dispatcher with Pools under a host, whose fronts and engines are edges that take what
 * they are told. No threads, no engine.
 */
import type { EdgeRef } from '../../src/actors/kernel/edge.ts';
import type { ActorRef } from '../../src/actors/kernel/ref.ts';
import type { ActorSystem } from '../../src/actors/kernel/system.ts';
import { type DispatcherMessage, dispatcher } from '../../src/actors/serving/dispatcher.ts';
import type {
	EngineThreadCommand,
	FrontCommand,
	Lease,
	PlacementNews,
	ReplicaCommand,
	ReplicaFacts,
	TaskSummary,
} from '../../src/actors/serving/messages.ts';
import type { PoolSpec } from '../../src/actors/serving/pool-spec.ts';
import { anyPlacement } from '../../src/actors/serving/task-request.ts';

export function poolSpec(poolId: string): PoolSpec {
	return {
		poolId,
		engine: 'scripted',
		provider: 'embedded',
		model: `scripted:${poolId}`,
		aliases: ['default'],
		devices: null,
		residency: { kind: 'always' },
		memoryBytes: null,
		replicas: 2,
		slots: 16,
		workers: false,
		maxTokensOut: 1_024,
		queue: {
			capacity: 200_000,
			bytesMax: 2 ** 40,
			fullPolicy: 'reject',
			batchMaxWaitMs: 60_000,
			order: 'fifo',
			preemption: 'off',
		},
		migration: 'on',
		perfPrior: { prefillTokensPerS: 1_000, decodeTokensPerS: 50, tokensOut: 128, loadMs: null },
		prices: { perTokenIn: 0, perTokenOut: 0 },
		timeouts: { firstTokenMs: 60_000, idleMs: 30_000, wallMs: 600_000 },
		cacheDir: null,
		settings: null,
	};
}

function facts(poolId: string, replicaId: string): ReplicaFacts {
	return {
		replicaId,
		poolId,
		engine: 'scripted',
		engineVersion: '1',
		modelDigest: null,
		modelName: poolId,
		address: replicaId,
		slots: 16,
		ctx: 8_192,
		workloads: ['completion'],
		samplerProfileVersion: '1',
		chatTemplate: null,
		device: 'CPU',
		features: [],
	};
}

export function summary(number: number, now: number): TaskSummary {
	return {
		taskId: `task-${number}`,
		sessionId: null,
		correlationId: 'c',
		workload: 'completion',
		modelRef: 'default',
		engine: null,
		priority: number % 5 === 0 ? 'batch' : 'interactive',
		tenant: `tenant-${number % 10}`,
		promptTokens: 100 + (number % 300),
		promptBytes: 1_000,
		ctx: null,
		maxTokens: null,
		expectedTokens: null,
		deadlineAt: null,
		admittedAt: now,
		strict: false,
		samplerProfileVersion: null,
		needs: [],
		prefixes: [],
		placement: anyPlacement,
		queuedBytes: 2_000,
		counted: false,
		recalled: false,
		movable: true,
		held: null,
		resume: null,
	};
}

export class Control {
	readonly system: ActorSystem;
	readonly dispatcher: ActorRef<DispatcherMessage>;
	/** Granted, and to be settled. */
	readonly running: Lease[] = [];
	waiting = 0;
	/** Tasks that were made so far: the number of the next one. */
	made = 0;
	/** Number of the task that was granted a slot last. */
	granted = -1;
	/** Words of a new place, all in all. */
	told = 0;
	readonly #now: () => number;

	constructor(system: ActorSystem, now: () => number, pools: readonly string[]) {
		this.system = system;
		this.#now = now;
		this.dispatcher = system.spawn(
			'dispatcher',
			dispatcher({
				epoch: 1,
				pools: pools.map(poolSpec),
				expectedFronts: ['front-0'],
				sessions: { ttlMs: 600_000, turnsMax: 8, countMax: 1_000 },
			}),
			{ mailboxMax: 300_000 },
		);
		const front = system.edge<FrontCommand>(() => undefined, { mailboxMax: 100_000 });
		this.dispatcher.tell({ type: 'front-joined', frontId: 'front-0', draining: [], replyTo: front });
		this.dispatcher.tell({ type: 'front-reported', frontId: 'front-0' });
		const engine = system.edge<EngineThreadCommand>((command) => {
			if (command.type !== 'start-replica') return;
			const { replicaId, poolId, model, settings } = command.replica;
			const replica = system.edge<ReplicaCommand>(() => undefined);
			command.replyTo.tell({
				type: 'replica-started',
				replicaId,
				model,
				settings,
				breaker: null,
				caches: null,
				startedAt: 0,
				lastLoadMs: null,
				replyTo: replica,
			});
			command.replyTo.tell({ type: 'replica-ready', replicaId, facts: facts(poolId, replicaId), loadMs: 1_000 });
		});
		this.dispatcher.tell({ type: 'engine-joined', engineId: 'engine-0', replyTo: engine });
	}

	/** Returns what ends its wait. */
	submit(): () => void {
		const number = this.made;
		this.made += 1;
		const one = summary(number, this.#now());
		let poolId = '';
		const task: EdgeRef<PlacementNews> = this.system.edge<PlacementNews>((news) => {
			if (news.type === 'queued') {
				this.waiting += 1;
				poolId = news.poolId;
			} else if (news.type === 'standing-changed') this.told += 1;
			else if (news.type === 'granted') {
				this.waiting -= 1;
				this.granted = number;
				this.running.push(news.lease);
				task.close();
			} else if (news.type === 'withdrawn') {
				this.waiting -= 1;
				task.close();
			}
		});
		const claim = { frontId: 'front-0', bodyHash: 'h', keys: [], exclusive: false };
		this.dispatcher.tell({ type: 'submit', summary: one, claim, again: false, replyTo: task });
		return () => this.dispatcher.tell({ type: 'withdraw', poolId, taskId: one.taskId, reason: 'client' });
	}

	settle(): void {
		const lease = this.running.shift();
		if (lease === undefined) throw new Error('nothing runs');
		const settlement = {
			outcome: 'completed',
			slot: 'free',
			tokensIn: 200,
			tokensOut: 150,
			prefillMs: 200,
			decodeMs: 3_000,
			reason: 'stop',
		} as const;
		this.dispatcher.tell({ type: 'settle', lease, settlement });
	}
}
