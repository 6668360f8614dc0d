/**
 * When the model of a pool is in memory. Of one that is loaded on demand: asked for when a task comes, granted by the keeper of memory, given
 * back when it was idle for long, when others want it, or when an operator says so; never while a task runs. Part of the Pool actor.
 *
 * ```
 *   out ─task, operator─► asking ─told what it takes─► wanting ─granted─► in ─idle, asked to give way─► leaving ─engines gone─► out
 *                                                        └─refused─► hopeless ─(a while, another configuration)─► out
 * ```
 * A pool that is always loaded is `in` from the start, and only says what it holds (`pool-memory.ts`).
 */
import type { ActorRef } from '../kernel/ref.ts';
import type { Failure } from './failure.ts';
import type { LeaveReason, MemoryCommand, MemoryNews, MemoryTold } from './memory-messages.ts';
import { PoolMemory } from './pool-memory.ts';
import type { ReplicaRow } from './pool-replicas.ts';
import type { PoolState, ResidencyPhase } from './pool-state.ts';
import type { ModelFetch } from './warm-up-messages.ts';

/** A pool that found no room is tried again behind that, when a task comes. */
const hopelessMs = 10_000;
/** A link that was full may have room again. */
const stopAgainMs = 500;

/** What it needs of the pool's engines. */
interface Engines {
	/** Each replica that is to run and was not asked for is. */
	startAll(): void;
	/** Asks an engine thread what the model takes, until it is answered. */
	askMemory(): void;
	/** No task would lose its slot. */
	mayStop(row: ReplicaRow): boolean;
	/** Its waiting tasks may be served elsewhere. */
	offerAll(): void;
	grant(): void;
}

export class PoolResidency {
	readonly #pool: PoolState;
	readonly #engines: Engines;
	readonly #memory: PoolMemory;
	/** Others want its memory. */
	#givesWay = false;
	/** `emptyAt`: its last task had ended, and its engines were told to. */
	#leaving: { readonly reason: LeaveReason; emptyAt: number | null } | null = null;
	/** An operator wants it loaded, whether a task waits or not. */
	#wantedByHand = false;

	constructor(pool: PoolState, engines: Engines) {
		this.#pool = pool;
		this.#engines = engines;
		this.#memory = new PoolMemory(pool);
		this.#become(!this.#onDemand ? 'in' : pool.epoch > 1 ? 'unsure' : 'out');
	}

	get #onDemand(): boolean {
		return this.#pool.spec.residency.kind === 'on_demand';
	}

	useKeeper(keeper: ActorRef<MemoryCommand>): void {
		this.#memory.keeper = keeper;
		if (this.#pool.phase === 'in' && !this.#memory.isKnown) this.#engines.askMemory();
		this.#memory.tellAnew();
	}

	/** What a control thread before this one has left running: so many replicas. */
	found(running: number): void {
		if (this.#pool.phase !== 'unsure') return;
		if (running === 0) this.#become('out');
		else {
			this.#engines.askMemory();
			this.#enter();
		}
	}

	/** Of the keeper. What is too late, or too early, is answered by what the pool holds. */
	heard(news: MemoryNews): void {
		const { ctx, phase } = this.#pool;
		switch (news.type) {
			case 'memory-granted':
				this.#memory.granted();
				if (phase === 'wanting') return this.#enter();
				return this.#memory.tellAnew();
			case 'memory-refused':
				if (phase === 'wanting') this.#refused(news.failure);
				return;
			case 'memory-expected':
				return this.#loadAt(ctx.now() + news.inMs);
			case 'give-way':
				if (phase !== 'in') return this.#memory.tellAnew();
				this.#givesWay = true;
				return this.#loadAt(ctx.now() + news.backInMs);
			case 'stay':
				this.#givesWay = false;
				if (this.#leaving?.reason === 'memory' && this.#leaving.emptyAt === null) this.#stay();
				return this.#memory.tellAnew();
		}
	}

	/** What the model takes, as an engine thread tells. */
	told(model: string, memory: MemoryTold): void {
		const { reload, ctx, phase } = this.#pool;
		// Another is to be loaded by now.
		if (model !== reload.target.ref) return this.#engines.askMemory();
		ctx.cancelTimer('memory');
		this.#memory.told(memory);
		if (phase === 'asking') this.#want();
	}

	/** The model comes here first: before it is loaded, so that nobody has to leave for it meanwhile. */
	fetching(model: string, fetch: ModelFetch): void {
		const { phase, reload } = this.#pool;
		if (phase !== 'asking' || model !== reload.target.ref) return;
		this.#pool.fetch = fetch;
		this.#pool.changed();
	}

	/** A replica is ready. */
	ready(row: ReplicaRow, loadMs: number): void {
		this.#memory.ready(row);
		if (this.#onDemand && this.#pool.replicas.rows.filter(({ state }) => state === 'ready').length === 1)
			this.#pool.telemetry.loaded(loadMs);
	}

	/** The configuration has changed. */
	configure(): void {
		const { phase } = this.#pool;
		if (phase === 'hopeless') this.#become('out');
		if (!this.#onDemand && phase === 'leaving' && this.#leaving?.emptyAt === null) this.#stay();
		this.#memory.forget();
		if (phase === 'asking' || (phase === 'in' && this.#memory.keeper !== null)) this.#engines.askMemory();
	}

	/** False: it is always loaded. */
	load(): boolean {
		if (!this.#onDemand) return false;
		this.#wantedByHand = true;
		if (this.#pool.phase === 'leaving' && this.#leaving?.emptyAt === null && !this.#givesWay) this.#stay();
		else if (this.#pool.phase === 'hopeless') this.#become('out');
		return true;
	}

	/** False: it is always loaded. */
	unload(): boolean {
		if (!this.#onDemand) return false;
		this.#wantedByHand = false;
		if (this.#pool.phase === 'in') this.#leave('operator');
		return true;
	}

	/** What is due now: behind everything that the pool hears. */
	look(): void {
		const { queue, tasks, phase } = this.#pool;
		const busy = queue.length + tasks.runningCount > 0;
		const wanted = queue.length > 0 || this.#wantedByHand || !this.#onDemand;
		this.#memory.look(busy);
		if (phase === 'out' && wanted) this.#ask();
		else if ((phase === 'asking' || phase === 'wanting') && !wanted) this.#giveUp();
		else if (phase === 'in' && this.#onDemand) this.#watchIdle(busy);
		else if (phase === 'leaving') this.#empty();
		this.#memory.tell();
	}

	/** Something that was waited for, or asked of somebody who had no room to hear it. */
	due(): void {
		const { phase } = this.#pool;
		if (phase === 'asking' || (phase === 'in' && this.#memory.keeper !== null && !this.#memory.isKnown)) this.#engines.askMemory();
		if (phase === 'hopeless') this.#become('out');
	}

	// --- on the way in ----------------------------------------------------------------------------------------------

	#ask(): void {
		this.#become('asking');
		this.#engines.askMemory();
	}

	#want(): void {
		this.#become('wanting');
		// There is nobody to share with.
		if (!this.#memory.want()) this.#enter();
	}

	#giveUp(): void {
		this.#become('out');
		this.#pool.ctx.cancelTimer('memory');
		this.#memory.unwant();
	}

	#refused(why: Failure): void {
		const { replicas, ctx } = this.#pool;
		this.#become('hopeless');
		this.#wantedByHand = false;
		for (const row of replicas.rows) replicas.hopeless(row, why);
		if (why.retriable) ctx.setTimer('hopeless', hopelessMs, { type: 'residency-due' });
		this.#engines.offerAll();
	}

	/** The memory is its own: the engines are started, or were found. */
	#enter(): void {
		const { replicas } = this.#pool;
		this.#become('in');
		for (const row of replicas.rows) if (row.state === 'stopped' && row.ending === 'no') replicas.wake(row);
		this.#engines.startAll();
	}

	// --- on the way out ---------------------------------------------------------------------------------------------

	#watchIdle(busy: boolean): void {
		const { replicas, reload, ctx, spec, drain } = this.#pool;
		const { residency } = spec;
		if (residency.kind !== 'on_demand') return;
		// What loads, or is being exchanged, is left alone.
		const settled = !replicas.loads && reload.underWay === null;
		if (settled && this.#givesWay) return this.#leave('memory');
		if (settled) this.#wantedByHand = false;
		// Of a pool that takes no task there is nothing to be ready for.
		const idleMs = drain.active ? 0 : residency.pinned || residency.idleMs === 0 ? null : residency.idleMs;
		if (busy || !settled || idleMs === null) return ctx.cancelTimer('idle');
		const inMs = this.#memory.lastUsedAt + idleMs - ctx.now();
		if (inMs > 0) ctx.setTimer('idle', inMs, { type: 'residency-due' });
		else this.#leave('idle');
	}

	#leave(reason: LeaveReason): void {
		const { ctx, telemetry } = this.#pool;
		ctx.cancelTimer('idle');
		this.#leaving = { reason, emptyAt: null };
		this.#become('leaving');
		telemetry.leaves(reason);
		this.#empty();
	}

	#stay(): void {
		this.#leaving = null;
		this.#become('in');
		this.#engines.grant();
	}

	/** Once the last task has ended, its engines do. */
	#empty(): void {
		const { replicas, ctx } = this.#pool;
		const leaving = this.#leaving;
		if (leaving === null) return;
		// Those that are to end anyway do so by themselves, and are waited for: they hold memory.
		const { rows } = replicas;
		if (leaving.emptyAt === null) {
			if (rows.some((row) => row.engine !== null && row.state !== 'stopped' && !this.#engines.mayStop(row))) return;
			leaving.emptyAt = ctx.now();
		}
		for (const row of rows) {
			if (row.ending !== 'no') continue;
			// One whose thread was lost has ended with it.
			if (row.state === 'stopped' || row.engine === null) {
				replicas.slept(row);
				ctx.cancelTimer(`breaker ${row.replicaId}`);
			} else if (row.ref !== null && !row.stopAsked) row.stopAsked = row.ref.tell({ type: 'stop' }) === 'accepted';
		}
		if (rows.every(({ state }) => state === 'stopped')) {
			this.#memory.left(ctx.now() - leaving.emptyAt);
			this.#leaving = null;
			this.#givesWay = false;
			this.#become('out');
		} else if (rows.some(({ state, stopAsked, ref, ending }) => ending === 'no' && state !== 'stopped' && ref !== null && !stopAsked))
			ctx.setTimer('stop', stopAgainMs, { type: 'residency-due' });
	}

	#loadAt(at: number): void {
		this.#pool.loadAt = at;
		this.#pool.changed();
	}

	#become(phase: ResidencyPhase): void {
		const { replicas, ctx } = this.#pool;
		this.#pool.phase = phase;
		this.#pool.fetch = null;
		// Of what was expected nothing holds any more, but when the memory may come back that is given away.
		if (phase !== 'leaving' && phase !== 'wanting' && !this.#givesWay) this.#pool.loadAt = null;
		replicas.asleep = phase === 'unsure' || phase === 'out' || phase === 'asking' || phase === 'wanting';
		for (const row of replicas.rows) {
			row.unloading = phase === 'leaving';
			if (replicas.asleep && row.state === 'failed') row.state = 'stopped';
		}
		if (phase !== 'hopeless') ctx.cancelTimer('hopeless');
		this.#pool.changed();
	}
}
