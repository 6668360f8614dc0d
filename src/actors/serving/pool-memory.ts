/**
 * What a pool holds of the devices' memory, and what it tells the keeper of that: what its model takes, as estimated and as measured, since
 * when it has it, and whether it is used. Part of the Pool actor. Without a keeper nothing is told: there is nobody to share with.
 */
import type { ActorRef } from '../kernel/ref.ts';
import type { MemoryCommand, MemoryTold, MemoryUse } from './memory-messages.ts';
import { type MemoryShare, never } from './memory-plan.ts';
import type { ReplicaRow } from './pool-replicas.ts';
import type { PoolState } from './pool-state.ts';

/** Of the newest, in how long leaving takes. */
const newest = 0.3;
const leaveGuessMs = 500;
const leaveStepMs = 1_000;

export class PoolMemory {
	readonly #pool: PoolState;
	keeper: ActorRef<MemoryCommand> | null = null;
	#told: MemoryTold | null = null;
	/** Of the model that was ready last: the most that an engine with it took, and where. */
	#measured: { readonly model: string; readonly bytes: number; readonly uses: readonly string[] } | null = null;
	#shares: readonly MemoryShare[] = [];
	/** Of the model that is in memory. */
	#since = 0;
	#lastUsedAt = 0;
	#busy = false;
	/** At the last look it was being loaded. */
	#loading = false;
	#leaveMs = leaveGuessMs;
	#grants = 0;
	/** What was told last, as far as it may change. */
	#said = '';

	constructor(pool: PoolState) {
		this.#pool = pool;
	}

	/** An engine thread has told. */
	get isKnown(): boolean {
		return this.#told !== null;
	}

	get lastUsedAt(): number {
		return this.#lastUsedAt;
	}

	told(memory: MemoryTold): void {
		this.#told = memory;
		this.#share();
	}

	/** Other settings may take more or less: it is asked again. What was told holds until then. */
	forget(): void {
		this.#measured = null;
	}

	/** A replica is ready: what it really takes may be more than was thought, and elsewhere. */
	ready({ model, facts }: ReplicaRow): void {
		const { memory } = facts ?? {};
		if (memory === undefined || this.#told === null || this.#told.uses.length === 0) return;
		const onGpu = memory.vramBytes > 0;
		const uses = onGpu ? this.#told.uses : ['ram'];
		const bytes = onGpu ? memory.vramBytes : memory.ramBytes;
		const known = this.#measured?.model === model ? this.#measured.bytes : 0;
		this.#measured = { model, bytes: Math.max(bytes, known), uses };
		this.#share();
	}

	/** Behind everything that the pool hears: whether it has tasks. It is there, and used, from the end of its load on at the earliest. */
	look(busy: boolean): void {
		const { phase, replicas, ctx } = this.#pool;
		const loads = phase === 'in' && replicas.loads;
		const now = ctx.now();
		if (loads || this.#loading) this.#since = now;
		if (busy || this.#busy || loads || this.#loading) this.#lastUsedAt = now;
		this.#loading = loads;
		this.#busy = busy;
	}

	/** From its last task to the end of its engines. */
	left(ms: number): void {
		this.#leaveMs += newest * (ms - this.#leaveMs);
	}

	/** False: there is no keeper, or nothing to ask one for. */
	want(): boolean {
		if (this.keeper === null || this.#told === null || this.#shares.length === 0) return false;
		const { loads, reload, spec } = this.#pool;
		const { residency, poolId } = spec;
		this.keeper.tell({
			type: 'memory-wanted',
			poolId,
			shares: this.#shares,
			devices: this.#told.devices,
			loadMs: loads.left(reload.target.ref, 0).p50Ms,
			minResidentMs: residency.kind === 'on_demand' ? residency.minResidentMs : 0,
		});
		return true;
	}

	unwant(): void {
		this.keeper?.tell({ type: 'memory-unwanted', poolId: this.#pool.spec.poolId });
	}

	/** The keeper has granted what was asked for, whether it is still wanted or not: it hears what comes of it. */
	granted(): void {
		this.#grants += 1;
		this.#said = '';
	}

	/** Whatever was told: the keeper thinks of something else. */
	tellAnew(): void {
		this.#said = '';
		this.tell();
	}

	tell(): void {
		if (this.keeper === null) return;
		const phase = this.#phase();
		const busy = this.#busy;
		// When a pool that is busy was used last is now; and who waits for one that leaves is told when that has changed.
		const leavesAt = phase === 'leaving' ? Math.round((this.#pool.ctx.now() + this.#emptyInMs()) / leaveStepMs) : 0;
		const said = phase === 'loading' ? phase : `${phase} ${busy} ${busy ? 0 : this.#lastUsedAt} ${this.#since} ${leavesAt}`;
		if (said === this.#said) return;
		const { poolId, residency } = this.#pool.spec;
		const use: MemoryUse = {
			phase,
			shares: phase === 'free' ? [] : this.#held,
			busy,
			lastUsedAt: this.#lastUsedAt,
			mayLeaveAt: residency.kind === 'on_demand' ? this.#since + residency.minResidentMs : never,
			leavesInMs: this.#emptyInMs() + this.#leaveMs,
			grants: this.#grants,
		};
		if (this.keeper.tell({ type: 'memory-use', poolId, use }) === 'accepted') this.#said = said;
	}

	/** Nobody who is always there keeps others out by not knowing what it takes. */
	get #held(): readonly MemoryShare[] {
		if (this.#pool.spec.residency.kind === 'on_demand') return this.#shares;
		return this.#shares.map((share) => (share.bytes === 'whole' ? { ...share, bytes: 0 } : share));
	}

	#phase(): MemoryUse['phase'] {
		const { phase, spec, replicas } = this.#pool;
		if (phase === 'unsure' || phase === 'leaving') return phase;
		if (phase !== 'in') return 'free';
		// What it holds is told by an engine thread; until then nobody knows.
		if (this.#told === null) return 'unsure';
		const { residency } = spec;
		if (residency.kind === 'always') return 'permanent';
		if (replicas.loads) return 'loading';
		return residency.pinned && replicas.state === 'ready' ? 'permanent' : 'resident';
	}

	/** Of all replicas, spread evenly over the devices. */
	#share(): void {
		const { spec, reload } = this.#pool;
		this.#said = '';
		if (this.#told === null) return;
		const measured = this.#measured?.model === reload.target.ref ? this.#measured : null;
		const uses = measured?.uses ?? this.#told.uses;
		const estimate = spec.memoryBytes ?? this.#told.bytes;
		// What an operator says is taken as it is; an estimate may be too low, and a cache that is not full yet be more later.
		const bytes = spec.memoryBytes ?? (measured === null ? estimate : Math.max(measured.bytes, estimate ?? 0));
		this.#shares = uses.map((device) => ({
			device,
			bytes: bytes === null ? 'whole' : Math.ceil((bytes * spec.replicas) / uses.length),
		}));
	}

	/** Until the last task that runs has ended, as far as it can be foretold. */
	#emptyInMs(): number {
		const { tasks, pace, ctx } = this.#pool;
		let inMs = 0;
		for (const { work, depth, startedAt } of tasks) inMs = Math.max(inMs, pace.leftMs(work, depth, ctx.now() - startedAt));
		return inMs;
	}
}
