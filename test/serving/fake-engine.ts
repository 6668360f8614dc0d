/**
 * An engine as the control thread can know it: lives that load, serve leases and end, behind the production driver port. It
 * asserts what no engine may ever see: more work than slots, or company beside an exclusive lease.
 */
import assert from 'node:assert/strict';
import type { ActorRef } from '../../src/actors/kernel/ref.ts';
import type { SimHost } from '../../src/actors/kernel/sim-host.ts';
import { type EngineDriver, type EngineLife, type LifeNews, leaseKey, type ModelChange } from '../../src/actors/serving/engine-life.ts';
import { type Failure, failure } from '../../src/actors/serving/failure.ts';
import type { MemoryTold } from '../../src/actors/serving/memory-messages.ts';
import type { Lease, ReplicaSpec } from '../../src/actors/serving/messages.ts';
import type { ModelFetch } from '../../src/actors/serving/warm-up-messages.ts';
import { replicaFacts } from './task-requests.ts';

export class FakeLife implements EngineLife {
	readonly busy = new Map<string, Lease>();
	readonly slots: number;
	alive = true;
	/** That it takes. */
	readonly memory: number;
	/** Measured; undefined: it was not. */
	vramBytes: number | undefined;
	/** How long an audit takes. */
	auditMs = 5;
	/** From the order to stop to its end. */
	stopsIn = 0;
	/** As last told. */
	revoked: readonly string[] = [];
	readonly #host: SimHost;
	readonly #spec: ReplicaSpec;
	readonly #ref: ActorRef<LifeNews>;

	constructor(host: SimHost, spec: ReplicaSpec, ref: ActorRef<LifeNews>) {
		this.#host = host;
		this.#spec = spec;
		this.#ref = ref;
		this.slots = (spec.settings as { readonly slots: number }).slots;
		this.memory = (spec.settings as { readonly memory?: number | null }).memory ?? 0;
	}

	ready(): void {
		if (!this.alive) return;
		const { replicaId, poolId } = this.#spec;
		const memory = this.vramBytes === undefined ? {} : { memory: { ramBytes: 0, vramBytes: this.vramBytes } };
		this.#ref.tell({ type: 'life-ready', facts: { ...replicaFacts, replicaId, poolId, slots: this.slots, ...memory } });
	}

	/** A task sends its request. False: there is nobody to take it. */
	begin(lease: Lease): boolean {
		if (!this.alive) return false;
		assert.ok(!this.busy.has(leaseKey(lease)), `lease ${leaseKey(lease)} was used twice`);
		assert.ok(this.busy.size < this.slots, `${this.#spec.replicaId} has ${this.slots} slots, ${leaseKey(lease)} came on top`);
		const alone = [...this.busy.values(), lease].some((each) => each.exclusive);
		assert.ok(!alone || this.busy.size === 0, `an exclusive lease of ${this.#spec.replicaId} has company`);
		this.busy.set(leaseKey(lease), lease);
		return true;
	}

	/** The work on a lease is over: done, or aborted. */
	over(lease: Lease): void {
		this.busy.delete(leaseKey(lease));
	}

	end(words = 'the engine died'): void {
		this.endWith(failure('WORKER_RESET', words));
	}

	endWith(why: Failure): void {
		if (!this.alive) return;
		this.alive = false;
		this.busy.clear();
		this.#ref.tell({ type: 'life-ended', failure: why });
	}

	/** Of its model, before it is started; null: that is here. */
	fetching(fetch: ModelFetch | null): void {
		this.#ref.tell({ type: 'life-fetching', fetch });
	}

	/** Of its devices. */
	tellsFree(vramFreeBytes: number | null): void {
		this.#ref.tell({ type: 'life-memory', vramFreeBytes });
	}

	audit(revoked: readonly string[] = []): void {
		this.revoked = revoked;
		this.#host.setTimer(this.auditMs, () => {
			if (this.alive) this.#ref.tell({ type: 'life-audited', busyLeases: [...this.busy.keys()] });
		});
	}

	stop(): void {
		if (this.stopsIn === 0) this.end('stopped');
		else this.#host.setTimer(this.stopsIn, () => this.end('stopped'));
	}
}

export class FakeEngines implements EngineDriver {
	readonly #host: SimHost;
	readonly lives = new Map<string, FakeLife>();
	/** From its start to readiness; null: the test says when. */
	loadMs: number | null = 0;
	/** Of each start: what it fails with, or null. */
	failsWith: string | Failure | null = null;
	starts = 0;
	/** Models that are found wrong before anything is stopped, and those that look right and do not load. */
	readonly wrongModels = new Set<string>();
	/** Other names of what the pool has. */
	readonly sameModels = new Set<string>();
	/** How a model is looked at; null: at once. */
	looks: ((answer: (change: ModelChange) => void) => void) | null = null;
	readonly brokenModels = new Set<string>();
	/** Of each start. */
	readonly models: string[] = [];
	/** Replicas whose caches were emptied, and why the next one's cannot be. */
	readonly emptied: string[] = [];
	cacheProblem: string | null = null;
	/** Of the lives that start from now on. */
	stopsIn = 0;
	/** Of the one device, for all; null: nobody tells. What an engine takes says `memory` in its settings; null: nobody knows. */
	vramBytes: number | null = 100;
	/** That an engine was measured to take, by its model. */
	readonly measured = new Map<string, number>();
	/** How often it was asked what a model takes. */
	memoryAsked = 0;

	constructor(host: SimHost) {
		this.#host = host;
	}

	start(spec: ReplicaSpec, ref: ActorRef<LifeNews>): EngineLife {
		const life = new FakeLife(this.#host, spec, ref);
		life.stopsIn = this.stopsIn;
		life.vramBytes = this.measured.get(spec.model);
		this.starts += 1;
		this.lives.set(spec.replicaId, life);
		this.models.push(`${spec.replicaId} ${spec.model}`);
		const failsWith = this.brokenModels.has(spec.model) ? `${spec.model} does not load` : this.failsWith;
		if (typeof failsWith === 'string') this.#host.setTimer(1, () => life.end(failsWith));
		else if (failsWith !== null) this.#host.setTimer(1, () => life.endWith(failsWith));
		else if (this.loadMs !== null) this.#host.setTimer(this.loadMs, () => life.ready());
		return life;
	}

	withModel(settings: unknown, model: string, answer: (change: ModelChange) => void): void {
		if (this.looks !== null) this.looks(answer);
		else if (this.wrongModels.has(model)) answer({ ok: false, failure: failure('INVALID_PARAMS', `${model} is cut off`) });
		else answer({ ok: true, settings: this.sameModels.has(model) ? settings : { ...(settings as object), model } });
	}

	memory(settings: unknown, _model: string, told: (memory: MemoryTold) => void): void {
		this.memoryAsked += 1;
		const { memory } = settings as { readonly memory?: number | null };
		const devices = [{ device: '0', totalBytes: this.vramBytes, freeBytes: null }];
		this.#host.setTimer(1, () => told(memory === undefined ? { bytes: 0, uses: [], devices } : { bytes: memory, uses: ['0'], devices }));
	}

	/** Of all that live, as they were told. */
	get heldBytes(): number {
		let bytes = 0;
		for (const life of this.lives.values()) if (life.alive) bytes += life.memory;
		return bytes;
	}

	emptyCaches({ replicaId }: ReplicaSpec): string | null {
		assert.ok(this.lives.get(replicaId)?.alive !== true, `the caches of ${replicaId} are taken from an engine that runs`);
		if (this.cacheProblem === null) this.emptied.push(replicaId);
		return this.cacheProblem;
	}

	life(replicaId = 'pool-0'): FakeLife {
		const life = this.lives.get(replicaId);
		assert.ok(life, `${replicaId} was never started`);
		return life;
	}
}
