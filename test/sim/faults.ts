/** The faults that a seed may choose: what each does to the world, and for how long. */
import type { PoolOperation } from '../../src/actors/serving/operation-messages.ts';
import type { PoolSpec } from '../../src/actors/serving/pool-spec.ts';
import { ControlRole } from './control-role.ts';
import { FrontRole } from './front-role.ts';
import type { FaultKind, PoolSettings } from './plan.ts';
import type { SimCrew } from './sim-thread.ts';
import type { Universe } from './universe.ts';

const undrainAgainMs = 700;

/** By then all has arrived that was said under the faults. */
const lateNewsMs = 1_000;

export class Faults {
	readonly #universe: Universe;
	readonly #crew: SimCrew;
	/** Engines that are to fail at their start. */
	#startFailures = 0;
	/** Undo what still lasts. */
	readonly #lasting = new Set<() => void>();
	struck = 0;

	constructor(universe: Universe, crew: SimCrew) {
		this.#universe = universe;
		this.#crew = crew;
	}

	/** Strikes now and then, until it is calm. */
	begin(): void {
		const { plan, random, outside } = this.#universe;
		if (plan.faults.length === 0) return;
		outside.setTimer(random.next() * 2 * plan.faultEveryMs, () => {
			if (this.#universe.calm) return;
			const kind = plan.faults[random.below(plan.faults.length)];
			if (kind !== undefined) this.#strike(kind);
			this.begin();
		});
	}

	takeStartFailure(): boolean {
		if (this.#startFailures === 0) return false;
		this.#startFailures -= 1;
		return true;
	}

	/** Whatever lasts is over. */
	calmDown(): void {
		this.#startFailures = 0;
		for (const undo of this.#lasting) undo();
		this.#lasting.clear();
		// Again: what did not start under the faults is to start now. And once more, for a pool may hear only now of an engine that failed
		// before: what it had just been given is undone then, until somebody reads the configuration again.
		const { plan, outside } = this.#universe;
		this.#configure(plan.pools);
		outside.setTimer(lateNewsMs, () => this.#configure(plan.pools));
		for (const process of this.#universe.processes.values()) process.calmDown();
	}

	#strike(kind: FaultKind): void {
		const { plan, random, processes } = this.#universe;
		this.struck += 1;
		switch (kind) {
			case 'front-loss':
				return this.#lose(this.#one(plan.fronts));
			case 'control-loss':
				return this.#lose('control');
			case 'engine-thread-loss':
				return this.#lose(this.#one(plan.engineThreads));
			case 'engine-crash': {
				// Where it hurts, if there is such a place.
				const busy = [...processes.values()].filter(({ running }) => running.size > 0);
				return this.#one(busy.length > 0 ? busy : [...processes.values()])?.die('it crashed');
			}
			case 'engine-stall': {
				const process = this.#one([...processes.values()]);
				if (process === undefined || process.host.paused) return;
				const ms = random.next() * (random.below(2) === 0 ? 200 : 4_000);
				process.host.pause();
				return this.#lasts(process.address, `stalls for ${ms.toFixed(1)} ms`, ms, () => process.host.resume());
			}
			case 'engine-start-failure':
				this.#startFailures = Math.min(3, this.#startFailures + 1);
				return this.#universe.did('fate', 'the next engine fails to start');
			case 'thread-stall': {
				const thread = this.#one([...this.#crew.threads.values()]);
				if (thread === undefined || thread.host.paused) return;
				const ms = random.next() * 400;
				thread.host.pause();
				return this.#lasts(thread.label, `is stuck for ${ms.toFixed(1)} ms`, ms, () => thread.host.resume());
			}
			case 'slow-link': {
				const name = this.#one([...this.#crew.threads.keys()]);
				if (name === undefined || this.#crew.slow.has(name)) return;
				const ms = random.next() * 600;
				this.#crew.slow.set(name, ms * random.next());
				return this.#lasts(name, `has slow links for ${ms.toFixed(1)} ms`, ms, () => this.#crew.slow.delete(name));
			}
			case 'pool-drain': {
				const pool = this.#one(plan.pools);
				return pool === undefined ? undefined : this.#drain(pool.poolId);
			}
			case 'pool-purge': {
				const pool = this.#one(plan.pools);
				if (pool === undefined) return;
				const force = random.below(2) === 0;
				const emptyCaches = random.below(2) === 0;
				this.#universe.did(pool.poolId, `is purged${emptyCaches ? ', caches and all' : ''}${force ? ', by force' : ''}`);
				return this.#control(pool.poolId, { kind: 'purge', models: [], drainFirst: random.below(2) === 0, force, emptyCaches });
			}
			case 'pool-reload': {
				const pool = this.#one(plan.pools);
				if (pool === undefined) return;
				// Who finds another model after a control restart cannot know of settings that were changed beside it.
				const model = random.below(3) === 0 || this.#changesSettings ? pool.model : `${pool.model}-${random.below(3)}`;
				this.#universe.did(pool.poolId, `is reloaded with ${model}`);
				return this.#control(pool.poolId, { kind: 'reload', model });
			}
			case 'pool-unload': {
				const pool = this.#one(plan.pools);
				if (pool === undefined || pool.residency.kind === 'always') return;
				const kind = random.below(3) === 0 ? 'load' : 'unload';
				this.#universe.did(pool.poolId, `is told to ${kind}`);
				return this.#control(pool.poolId, { kind });
			}
			case 'pools-configured':
				return this.#configureAnew();
			case 'lost-connections': {
				const role = this.#crew.threads.get(this.#one(plan.fronts) ?? '')?.role;
				if (!(role instanceof FrontRole)) return;
				this.#universe.did(role.thread.label, 'loses all its connections');
				return role.thread.host.defer(() => {
					for (const socket of role.sockets) socket.lose();
				});
			}
		}
	}

	/** Pools are left out, and have other bounds, replicas and settings, until somebody wants them back as they were. */
	#configureAnew(): void {
		const { plan, random } = this.#universe;
		const changed = plan.pools.filter(() => random.below(4) > 0).map((spec) => this.#changed(spec));
		this.#configure(changed);
		const what = changed.map(({ poolId, replicas, settings }) => `${poolId} ×${replicas} ${JSON.stringify(settings)}`).join(', ');
		this.#lasts('the configuration', `is read anew: ${what || 'no pools'}`, random.next() * 2_000, () => this.#configure(plan.pools));
	}

	get #changesSettings(): boolean {
		const { faults, seed } = this.#universe.plan;
		return faults.includes('pools-configured') && seed % 2 === 0;
	}

	/** Not the order of its queue: those that wait keep the places that they came to. */
	#changed(spec: PoolSpec): PoolSpec {
		const { random } = this.#universe;
		const capacity = 1 + random.below(20);
		return {
			...spec,
			replicas: 1 + random.below(3),
			maxTokensOut: random.below(3) === 0 ? 20 : spec.maxTokensOut,
			queue: { ...spec.queue, capacity, preemption: random.below(2) === 0 ? 'off' : 'soft' },
			settings:
				random.below(2) === 0 || !this.#changesSettings
					? spec.settings
					: ({ slots: 1 + random.below(3), memory: (spec.settings as PoolSettings).memory } satisfies PoolSettings),
		};
	}

	#configure(pools: readonly PoolSpec[]): void {
		this.#universe.pools = pools;
		const role = this.#crew.threads.get('control')?.role;
		if (role instanceof ControlRole) role.configure(pools);
	}

	#drain(poolId: string): void {
		const { random } = this.#universe;
		const deadlineMs = Math.round(random.next() * 1_500);
		this.#control(poolId, { kind: 'drain', deadlineMs });
		this.#lasts(poolId, `is drained, with ${deadlineMs} ms to go`, random.next() * 3_000, () => this.#undrain(poolId));
	}

	/** Who orders it does so until somebody is there to hear it. */
	#undrain(poolId: string): void {
		this.#control(poolId, { kind: 'undrain' });
		this.#universe.outside.setTimer(undrainAgainMs, () => {
			if (this.#isDraining(poolId)) this.#undrain(poolId);
		});
	}

	#isDraining(poolId: string): boolean {
		const roles = [...this.#crew.threads.values()].map(({ role }) => role);
		const fronts = roles.filter((role): role is FrontRole => role instanceof FrontRole);
		const views = fronts.flatMap(({ registry }) => registry.pools.filter((pool) => pool.poolId === poolId));
		return fronts.length < this.#universe.plan.fronts.length || views.some(({ drainingUntil }) => drainingUntil !== null);
	}

	#control(poolId: string, operation: PoolOperation): void {
		const role = this.#crew.threads.get('control')?.role;
		if (role instanceof ControlRole) role.control(poolId, operation);
	}

	#lose(name: string | undefined): void {
		if (name === undefined || !this.#crew.threads.has(name)) return;
		const { random, plan } = this.#universe;
		const awayMs = random.next() * plan.restartMs;
		this.#universe.did(name, `is lost for ${awayMs.toFixed(1)} ms`);
		this.#crew.lose(name, awayMs);
	}

	#lasts(who: string, what: string, ms: number, undo: () => void): void {
		this.#universe.did(who, what);
		this.#lasting.add(undo);
		this.#universe.outside.setTimer(ms, () => {
			if (!this.#lasting.delete(undo)) return;
			undo();
			this.#universe.did(who, 'is itself again');
		});
	}

	#one<T>(of: readonly T[]): T | undefined {
		return of[this.#universe.random.below(Math.max(1, of.length))];
	}
}
