/**
 * An engine thread of a simulation: the production guardian with its Replicas, over simulated engine processes that start, fail
 * to start, answer audits and die, also with their thread.
 */
import type { ActorRef } from '../../src/actors/kernel/ref.ts';
import { engineGuardian } from '../../src/actors/serving/engine-guardian.ts';
import type { EngineDriver, EngineLife, LifeNews, ModelChange } from '../../src/actors/serving/engine-life.ts';
import { failure } from '../../src/actors/serving/failure.ts';
import type { MemoryTold } from '../../src/actors/serving/memory-messages.ts';
import type { ReplicaFacts, ReplicaSpec } from '../../src/actors/serving/messages.ts';
import { urgentFromEngines } from '../../src/actors/serving/urgent.ts';
import { replicaFacts } from '../serving/task-requests.ts';
import type { EngineProcess } from './engine-process.ts';
import { deviceBytes, type PoolSettings } from './plan.ts';
import type { SimRole, SimThread } from './sim-thread.ts';
import type { Universe } from './universe.ts';

/** A process notices the end of its thread, and its thread that of the process. */
const noticeMs = 30;

export class EngineRole implements SimRole {
	readonly names: Readonly<Record<string, ActorRef<never>>>;
	readonly urgent = urgentFromEngines;
	readonly #driver: SimDriver;

	constructor(universe: Universe, thread: SimThread) {
		this.#driver = new SimDriver(universe, thread);
		this.names = { engine: thread.system.spawn('engines', engineGuardian({ scripted: this.#driver })) };
	}

	onPeer(): void {}

	onKilled(): void {
		this.#driver.orphan();
	}

	close(): void {
		this.#driver.orphan();
	}
}

class SimDriver implements EngineDriver {
	readonly #universe: Universe;
	readonly #thread: SimThread;
	readonly #processes = new Set<EngineProcess>();

	constructor(universe: Universe, thread: SimThread) {
		this.#universe = universe;
		this.#thread = thread;
	}

	start(spec: ReplicaSpec, replica: ActorRef<LifeNews>): EngineLife {
		const universe = this.#universe;
		const { random, plan } = universe;
		const { host } = this.#thread;
		const process = universe.newProcess(spec, (why) => {
			this.#processes.delete(process);
			// Behind all that it had said.
			const ended = { type: 'life-ended', failure: failure('WORKER_RESET', why) } as const;
			this.#told(process, random.next() * noticeMs, () => replica.tell(ended));
		});
		this.#processes.add(process);
		this.#checkMemory(process);
		const facts: ReplicaFacts = {
			...replicaFacts,
			replicaId: spec.replicaId,
			poolId: spec.poolId,
			address: process.address,
			slots: process.slots,
			modelName: spec.model,
			features: ['resume'],
		};
		const fails = universe.takeStartFailure();
		process.host.setTimer(random.next() * plan.engine.loadMs, () => {
			if (fails && !universe.calm) process.die('it cannot load its model');
			else this.#told(process, 0, () => replica.tell({ type: 'life-ready', facts }));
		});
		return {
			audit: (revoked) => {
				process.receive(() => {
					process.revoke(revoked);
					const busyLeases = process.busy();
					this.#told(process, 0, () => replica.tell({ type: 'life-audited', busyLeases }));
				});
			},
			stop: () => {
				this.#checkIdle(process);
				host.setTimer(random.next() * noticeMs, () => process.die('it was stopped'));
			},
		};
	}

	memory(settings: unknown, _model: string, told: (memory: MemoryTold) => void): void {
		const { memory: bytes } = settings as PoolSettings;
		const { random, plan } = this.#universe;
		const devices = [{ device: '0', totalBytes: deviceBytes, freeBytes: null }];
		this.#thread.host.setTimer(random.next() * plan.engine.lagMs, () => told({ bytes, uses: ['0'], devices }));
	}

	/** Of engines whose threads are there. An operator who wants more replicas than fit has them. */
	#checkMemory({ memory, address }: EngineProcess): void {
		const { plan, processes } = this.#universe;
		if (memory === 0 || plan.faults.includes('pools-configured')) return;
		const held = [...processes.values()].reduce((bytes, process) => bytes + (process.orphan ? 0 : process.memory), 0);
		if (held > deviceBytes) this.#universe.found('memoryIsShared', `with ${address} ${held} of ${deviceBytes} bytes are held`);
	}

	/** A purge may be by force. */
	#checkIdle({ spec, running, address }: EngineProcess): void {
		const { plan, pools } = this.#universe;
		const pool = pools.find(({ poolId }) => poolId === spec.poolId);
		if (pool?.residency.kind !== 'on_demand' || plan.faults.includes('pool-purge') || running.size === 0) return;
		this.#universe.found('busyModelsStay', `${address} is to end, and runs ${[...running.keys()].join()}`);
	}

	emptyCaches({ replicaId }: ReplicaSpec): null {
		if ([...this.#processes].some((process) => process.spec.replicaId === replicaId))
			this.#universe.found('cachesAreEmptiedBetween', `the caches of ${replicaId} are taken from an engine that runs`);
		return null;
	}

	/** Some models are not there. */
	withModel(settings: unknown, model: string, answer: (change: ModelChange) => void): void {
		if (this.#universe.random.below(4) > 0) answer({ ok: true, settings: { ...(settings as PoolSettings), model } });
		else answer({ ok: false, failure: failure('NOT_FOUND', `${model} is not there`) });
	}

	/** The thread is gone: its processes end when they see that. */
	orphan(): void {
		for (const process of this.#processes) process.orphaned(noticeMs);
	}

	/** A process tells its thread something: in order, one connection each. */
	#told(process: EngineProcess, lateMs: number, hear: () => void): void {
		const { host } = this.#thread;
		const at = Math.max(host.now() + lateMs + this.#universe.random.next() * this.#universe.plan.engine.lagMs, process.toldAt);
		process.toldAt = at;
		host.setTimer(at - host.now(), hear);
	}
}
