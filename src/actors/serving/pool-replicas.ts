/**
 * The replicas of one pool, as the Pool actor knows them: their state, their refs, what they are. Pure bookkeeping, on the
 * control thread.
 */
import type { ActorRef } from '../kernel/ref.ts';
import { CircuitBreaker } from './circuit-breaker.ts';
import { type Failure, failure } from './failure.ts';
import type { LeaseLedger } from './lease-ledger.ts';
import type { EngineThreadCommand, PoolView, ReplicaCommand, ReplicaFacts, ReplicaNews, ReplicaState, Worker } from './messages.ts';
import type { PoolSpec } from './pool-spec.ts';
import type { ModelFetch } from './warm-up-messages.ts';

export interface ReplicaRow {
	readonly replicaId: string;
	/** It has registered itself; null: it is one of the configuration. */
	readonly worker: Worker | null;
	/**
	 * Name of the engine thread that runs it, whenever it runs: a new control thread need not know where its predecessor started
	 * it, and never starts it twice.
	 */
	readonly home: string;
	/** That thread, once it was asked to; null: it was not. */
	engine: ActorRef<EngineThreadCommand> | null;
	ref: ActorRef<ReplicaCommand> | null;
	state: ReplicaState;
	facts: ReplicaFacts | null;
	/** Of the devices of its engine; null: not told, or none. */
	vramFreeBytes: number | null;
	/** Of its last failure, also when it has recovered. */
	lastError: Failure | null;
	/** When it tries again, on `Host.now`; null: it does not. */
	retryAt: number | null;
	/** When the engine that is being started was, on `Host.now`; null: it is yet to be. */
	startedAt: number | null;
	/** Of its model, which comes before the engine is started; null: it is here. */
	fetch: ModelFetch | null;
	everReady: boolean;
	failuresInRow: number;
	/** Whether its slots may be granted: after a control restart only once the engine told what it is busy with. */
	grantable: boolean;
	readonly breaker: CircuitBreaker;
	/** The model that it runs, as it told; and the one that it was asked to run instead, until it has started with it. */
	model: string;
	asked: string | null;
	/** It takes no tasks, for its model is to be changed. */
	leaving: boolean;
	/** It takes no tasks, for the memory of its model is given back; and whether its engine was told to end. */
	unloading: boolean;
	stopAsked: boolean;
	/** The pool is to have fewer: `asked` once its last task has ended, and then it is gone. */
	ending: 'no' | 'idle' | 'asked';
}

export class PoolReplicas {
	readonly #spec: PoolSpec;
	readonly #engines: readonly string[];
	/** Its model is not in memory, and is loaded on demand. */
	#asleep: boolean;
	#rows: readonly ReplicaRow[] = [];
	/** As they were told last. */
	#views: PoolView['replicas'] = [];

	constructor(spec: PoolSpec, engines: readonly string[]) {
		this.#spec = spec;
		this.#engines = engines;
		this.#asleep = spec.residency.kind === 'on_demand';
		this.fit(spec.replicas);
	}

	get asleep(): boolean {
		return this.#asleep;
	}

	/** Those that are added from now on run, or wait for a load. */
	set asleep(asleep: boolean) {
		this.#asleep = asleep;
	}

	get rows(): readonly ReplicaRow[] {
		return this.#rows;
	}

	/** As others see them: the same list for as long as nothing of it has changed. */
	get views(): PoolView['replicas'] {
		const same =
			this.#views.length === this.#rows.length && this.#views.every((view, index) => isAs(view, this.#rows[index] as ReplicaRow));
		if (!same) this.#views = this.#rows.map(viewOf);
		return this.#views;
	}

	/** There are to be so many: those with the lowest numbers. One that was asked to end has a successor once it is gone. */
	fit(count: number): void {
		for (let index = 0; index < count; index += 1) {
			const row = this.find(`${this.#spec.poolId}-${index}`);
			if (row === undefined) this.#add(`${this.#spec.poolId}-${index}`, this.#homeOf(index), null);
			else if (row.ending === 'idle') row.ending = 'no';
		}
		const wanted = new Set(Array.from({ length: count }, (_, index) => `${this.#spec.poolId}-${index}`));
		for (const row of this.#rows) {
			if (row.worker === null && !wanted.has(row.replicaId) && row.ending === 'no') row.ending = 'idle';
		}
	}

	endAll(): void {
		for (const row of this.#rows) if (row.ending === 'no') row.ending = 'idle';
	}

	/** One that has registered itself. */
	join(replicaId: string, worker: Worker): void {
		this.#add(replicaId, this.#homeOf(this.#rows.length), worker);
	}

	/** One that runs, and is not wanted. */
	addSurplus(replicaId: string): ReplicaRow {
		const index = Number(replicaId.slice(this.#spec.poolId.length + 1));
		const row = this.#add(replicaId, this.#homeOf(index), null);
		row.ending = 'idle';
		return row;
	}

	remove(row: ReplicaRow): void {
		this.#rows = this.#rows.filter((each) => each !== row);
	}

	#homeOf(index: number): string {
		return this.#engines[index % this.#engines.length] ?? '';
	}

	#add(replicaId: string, home: string, worker: Worker | null): ReplicaRow {
		const row: ReplicaRow = {
			replicaId,
			worker,
			home,
			engine: null,
			ref: null,
			state: this.#asleep ? 'stopped' : 'starting',
			facts: null,
			vramFreeBytes: null,
			lastError: null,
			retryAt: null,
			startedAt: null,
			fetch: null,
			everReady: false,
			failuresInRow: 0,
			grantable: false,
			breaker: new CircuitBreaker(),
			model: this.#spec.model,
			asked: null,
			leaving: false,
			unloading: false,
			stopAsked: false,
			ending: 'no',
		};
		this.#rows = [...this.#rows, row];
		return row;
	}

	find(replicaId: string): ReplicaRow | undefined {
		return this.rows.find((row) => row.replicaId === replicaId);
	}

	withRef(ref: ActorRef<never>): ReplicaRow | undefined {
		return this.rows.find((row) => row.ref === ref);
	}

	/** Facts of any replica, alive or not: what the pool is made of does not change with a restart. */
	get facts(): ReplicaFacts | null {
		return this.rows.find((row) => row.facts !== null)?.facts ?? null;
	}

	get lastError(): string | null {
		return this.rows.find((row) => row.lastError !== null)?.lastError?.message ?? null;
	}

	/** Its replicas share their devices: what the one that told least of late can have; null: none has told. */
	get vramFreeBytes(): number | null {
		let least: number | null = null;
		for (const { state, vramFreeBytes } of this.rows) {
			if (state === 'ready' && vramFreeBytes !== null && (least === null || vramFreeBytes < least)) least = vramFreeBytes;
		}
		return least;
	}

	/** Why it will not do to wait: each has found that it can never run here. Null: one may. */
	get cannotFit(): string | null {
		if (this.state !== 'failed') return null;
		const never = this.rows.every(({ lastError }) => lastError?.code === 'POOL_UNAVAILABLE' && !lastError.retriable);
		return never ? this.lastError : null;
	}

	/** Ready when one is; failed when each has failed at its start, or twice in a row; else tasks may wait for it. */
	get state(): PoolView['state'] {
		if (this.#asleep) return 'unloaded';
		if (this.rows.some((row) => row.unloading)) return 'unloading';
		if (this.rows.some((row) => row.state === 'ready')) return 'ready';
		return this.rows.length > 0 && this.rows.every((row) => row.failuresInRow >= (row.everReady ? 2 : 1)) ? 'failed' : 'starting';
	}

	/** None is ready for tasks yet, or known to be. */
	get loads(): boolean {
		return this.state !== 'failed' && !this.rows.some((row) => row.state === 'ready' && row.grantable);
	}

	get readySlots(): number {
		let slots = 0;
		for (const row of this.rows) if (row.state === 'ready') slots += row.facts?.slots ?? 0;
		return slots;
	}

	slotsFree(ledger: LeaseLedger): number {
		let slots = 0;
		for (const row of this.rows) if (takesTasks(row)) slots += ledger.free(row.replicaId);
		return slots;
	}

	/** Every one has failed its tasks, and is given none for a while: until then, on `Host.now`. Null: one takes tasks, or may soon. */
	get exhaustedUntil(): number | null {
		if (this.rows.length === 0 || this.rows.some(({ breaker }) => breaker.state !== 'open')) return null;
		return Math.min(...this.rows.map(({ breaker }) => breaker.openUntil));
	}

	/** Until the next of the failed ones tries again, ms; null: none will. */
	retryInMs(now: number): number | null {
		const times = this.rows.flatMap(({ retryAt }) => (retryAt === null ? [] : [Math.max(1, Math.ceil(retryAt - now))]));
		return times.length === 0 ? null : Math.min(...times);
	}

	/** Its engine is being started, for the first time or again. */
	starting(row: ReplicaRow, { replyTo: ref, model, startedAt }: Extract<ReplicaNews, { type: 'replica-started' }>): void {
		if (row.model !== model || row.asked === model) {
			row.breaker.renew();
			row.lastError = null;
		}
		if (row.asked === model) row.asked = null;
		row.model = model;
		row.ref = ref;
		row.state = 'starting';
		row.startedAt = startedAt;
		row.fetch = null;
		row.retryAt = null;
		row.grantable = false;
		row.vramFreeBytes = null;
	}

	ready(row: ReplicaRow, facts: ReplicaFacts): void {
		row.state = 'ready';
		row.facts = facts;
		row.retryAt = null;
		row.everReady = true;
		row.failuresInRow = 0;
	}

	failed(row: ReplicaRow, news: Extract<ReplicaNews, { type: 'replica-failed' }>, now: number): void {
		row.state = 'failed';
		row.retryAt = news.retryInMs === null ? null : now + news.retryInMs;
		row.lastError = news.failure;
		row.everReady ||= news.served;
		// A pool of a new control thread has not seen the earlier ones.
		row.failuresInRow = Math.max(row.failuresInRow + 1, news.failuresInRow);
		row.grantable = false;
	}

	/** Its tasks fail, `why` being the last that was heard. */
	tripped(row: ReplicaRow, why: string, now: number): void {
		const { failuresInRow, openUntil } = row.breaker;
		const seconds = Math.round((openUntil - now) / 1000);
		const words = `${row.replicaId} failed ${failuresInRow} times in a row, last with ${why}; it is tried again in ${seconds} s`;
		row.lastError = failure('WORKER_RESET', words);
	}

	/** Its model is on its way, or here. */
	fetching(row: ReplicaRow, { fetch, startedAt }: Extract<ReplicaNews, { type: 'replica-fetching' }>): void {
		if (row.state !== 'starting') return;
		row.fetch = fetch;
		row.startedAt = startedAt;
	}

	/** Of the models that its replicas wait for, the first. */
	get fetch(): ModelFetch | null {
		return this.rows.find(({ state, fetch }) => state === 'starting' && fetch !== null)?.fetch ?? null;
	}

	/** Its engine is to be started: its model may be loaded. */
	wake(row: ReplicaRow): void {
		row.state = 'starting';
		row.startedAt = null;
		row.failuresInRow = 0;
	}

	/** There is no room for its model. */
	hopeless(row: ReplicaRow, why: Failure): void {
		row.state = 'failed';
		row.lastError = why;
		row.failuresInRow = 1;
		row.everReady = false;
	}

	/** Its engine has ended, or was never started: its model is not in memory. */
	slept(row: ReplicaRow): void {
		row.state = 'stopped';
		row.breaker.renew();
		row.engine = null;
		row.ref = null;
		row.retryAt = null;
		row.startedAt = null;
		row.asked = null;
		row.failuresInRow = 0;
		row.grantable = false;
		row.stopAsked = false;
		row.vramFreeBytes = null;
	}

	/** It is told to end its engine and start another. */
	exchanged(row: ReplicaRow): void {
		row.state = 'starting';
		row.startedAt = null;
		row.fetch = null;
	}

	/** Its engine thread is gone, and it with it. */
	lost(row: ReplicaRow): void {
		row.state = 'starting';
		row.startedAt = null;
		row.fetch = null;
		row.engine = null;
		row.ref = null;
		row.retryAt = null;
		row.asked = null;
		row.grantable = false;
	}
}

function viewOf(row: ReplicaRow): PoolView['replicas'][number] {
	return {
		replicaId: row.replicaId,
		state: row.state,
		facts: row.state === 'ready' ? row.facts : null,
		breaker: row.breaker.state,
		lastError: row.lastError?.message ?? null,
	};
}

function isAs(view: PoolView['replicas'][number], row: ReplicaRow): boolean {
	if (view.replicaId !== row.replicaId || view.state !== row.state || view.breaker !== row.breaker.state) return false;
	return view.facts === (row.state === 'ready' ? row.facts : null) && view.lastError === (row.lastError?.message ?? null);
}

export function takesTasks(row: ReplicaRow): boolean {
	return row.state === 'ready' && row.grantable && !row.leaving && !row.unloading && row.ending === 'no' && row.breaker.takes;
}

/**
 * The replica that takes the next task: ready, and the preferred one (it had the last task of the session), else one with most
 * free slots, of those the one that had a prompt that began alike (`alike`); for a strict task one that is idle. `kept` takes
 * none: it is becoming idle for a strict task.
 */
export function chooseReplica(
	rows: readonly ReplicaRow[],
	ledger: LeaseLedger,
	strict: boolean,
	kept: ReplicaRow | null,
	preferred: string | null,
	alike: string | null,
): ReplicaRow | null {
	let best: ReplicaRow | null = null;
	for (const row of rows) {
		if (!takesTasks(row) || row === kept) continue;
		const free = ledger.free(row.replicaId);
		if (free < 1 || (strict && !ledger.isIdle(row.replicaId))) continue;
		if (row.replicaId === preferred) return row;
		const most = best === null ? 0 : ledger.free(best.replicaId);
		if (free > most || (free === most && row.replicaId === alike)) best = row;
	}
	return best;
}

/** The replica that will be idle first, near enough: the one with the fewest slots in use. */
export function nextIdle(rows: readonly ReplicaRow[], ledger: LeaseLedger): ReplicaRow | null {
	const ready = rows.filter(takesTasks);
	return ready.toSorted((a, b) => ledger.free(b.replicaId) - ledger.free(a.replicaId))[0] ?? null;
}
