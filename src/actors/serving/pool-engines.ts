/**
 * The replicas of a pool and the model that they run: asked for, heard of, lost, and given another model one at a time. Part of
 * the Pool actor.
 */
import type { ActorRef } from '../kernel/ref.ts';
import type { Failure } from './failure.ts';
import type { EngineThreadCommand, ReplicaNews } from './messages.ts';
import type { PoolCommand } from './pool-messages.ts';
import type { PoolOffers } from './pool-offers.ts';
import type { ReplicaRow } from './pool-replicas.ts';
import { PoolResidency } from './pool-residency.ts';
import type { PoolSlots } from './pool-slots.ts';
import type { PoolSpec } from './pool-spec.ts';
import type { PoolState } from './pool-state.ts';

/** Before a Replica that died of a bug is asked for again. */
const startAgainMs = 1_000;
/** Before an engine thread that has said nothing of a model is asked again. */
const verifyAgainMs = 2_000;
/** A worker that has failed so often in a row is taken out: about three minutes. */
const workerFailuresMax = 8;
const workersMax = 1_024;

export class PoolEngines {
	readonly #pool: PoolState;
	readonly #slots: PoolSlots;
	readonly #offers: PoolOffers;
	readonly residency: PoolResidency;
	/** Engine threads that are there, by name. */
	readonly #engines = new Map<string, ActorRef<EngineThreadCommand>>();
	/** Those of them that are to say which replicas of ours they run beside those that are wanted. */
	readonly #unasked = new Set<string>();

	constructor(pool: PoolState, slots: PoolSlots, offers: PoolOffers) {
		this.#pool = pool;
		this.#slots = slots;
		this.#offers = offers;
		this.residency = new PoolResidency(pool, {
			startAll: () => this.startAll(),
			askMemory: () => this.#askMemory(),
			mayStop: (row) => this.#mayStop(row),
			offerAll: () => offers.all(),
			grant: () => slots.grant(),
		});
	}

	use({ engineId, replyTo }: Extract<PoolCommand, { type: 'use-engine' }>): void {
		this.#engines.set(engineId, replyTo);
		// Workers say again themselves that they are there.
		if (this.#pool.epoch > 1 && !this.#pool.spec.workers) this.#unasked.add(engineId);
		this.#pool.ctx.watch(replyTo);
		this.residency.due();
		this.startAll();
	}

	/** Each replica that was not asked for is, once its engine thread is there. */
	startAll(): void {
		const { spec, reload, replicas, ctx } = this.#pool;
		const { poolId, engine } = spec;
		const { ref: model, settings } = reload.target;
		for (const home of this.#unasked) {
			// Of one that is loaded on demand nobody knows whether any replica runs.
			const unsure = this.#pool.phase === 'unsure';
			const wanted = unsure ? [] : replicas.rows.map(({ replicaId }) => replicaId);
			const asked = this.#engines.get(home)?.tell({ type: 'attach-surplus', poolId, home, wanted, replyTo: ctx.self });
			if (asked === 'full' || unsure) ctx.setTimer('start-replicas', startAgainMs, { type: 'start-replicas-due' });
			else this.#unasked.delete(home);
		}
		if (this.#pool.phase !== 'in') return;
		for (const row of replicas.rows) {
			const target = this.#engines.get(row.home);
			if (target === undefined || row.engine !== null || row.state === 'stopped') continue;
			const { replicaId, worker } = row;
			const replica = { replicaId, poolId, engine, model, settings, ...(worker === null ? {} : { worker }) };
			if (target.tell({ type: 'start-replica', replica, replyTo: ctx.self }) === 'accepted') row.engine = target;
			else ctx.setTimer('start-replicas', startAgainMs, { type: 'start-replicas-due' });
		}
	}

	heard(news: ReplicaNews): void {
		const { replicas, epoch, reload, ctx, loads } = this.#pool;
		if (news.type === 'model-verified' || news.type === 'model-refused') return this.#onModelNews(news);
		if (news.type === 'replicas-attached') return this.#onAttached(news);
		if (news.type === 'memory-fetching') return this.residency.fetching(news.model, news.fetch);
		if (news.type === 'memory-told') return this.residency.told(news.model, news.memory);
		const row = replicas.find(news.replicaId) ?? this.#surplus(news);
		if (row === undefined) return;
		if (isTwice(row, news)) return;
		this.#pool.changed();
		switch (news.type) {
			case 'replica-started': {
				const isNew = row.ref === null && row.breaker.state === 'closed';
				replicas.starting(row, news);
				reload.started(row, news);
				if (news.lastLoadMs !== null) loads.recall(news.model, news.lastLoadMs);
				if (isNew && news.breaker !== null) this.#slots.trippedBefore(row, news.breaker);
				// Another model begins with a closed one.
				if (row.breaker.state === 'closed') ctx.cancelTimer(`breaker ${row.replicaId}`);
				if (epoch > 1 && row.ending === 'no') reload.found(news);
				else if (epoch > 1) reload.foundEnding(news);
				ctx.watch(news.replyTo);
				return;
			}
			case 'replica-fetching':
				replicas.fetching(row, news);
				return;
			case 'replica-ready':
				return this.#onReady(row, news);
			case 'replica-failed':
				this.#onFailed(row, news);
				return;
			case 'replica-stopped':
				// The one before it, whose end was noticed already.
				if (row.ref === null) return;
				row.state = 'stopped';
				this.#slots.loseLeases(row, 'was stopped');
				// Told by us, or by a control thread before this one.
				if (row.ending !== 'no') this.#ended(row);
				return;
			case 'replica-memory':
				row.vramFreeBytes = news.vramFreeBytes;
				return;
			case 'audited':
				return this.#slots.audited(row, news.busyLeases);
		}
	}

	/** Replicas that a control thread before this one had are there: of a pool that is loaded on demand these are all that run. */
	#onAttached({ home, replicaIds }: Extract<ReplicaNews, { type: 'replicas-attached' }>): void {
		const { replicas, phase } = this.#pool;
		if (phase !== 'unsure') return;
		this.#unasked.delete(home);
		// Also those that are one too many hold memory until they have ended.
		for (const replicaId of replicaIds) {
			const row = replicas.find(replicaId) ?? replicas.addSurplus(replicaId);
			row.engine = this.#engines.get(home) ?? null;
		}
		const homes = new Set(replicas.rows.map((row) => row.home));
		for (const asked of this.#engines.keys()) if (!this.#unasked.has(asked)) homes.delete(asked);
		if (homes.size === 0) this.residency.found(replicas.rows.filter(({ engine }) => engine !== null).length);
	}

	/** Asked again until it is answered. */
	#askMemory(): void {
		const { spec, reload, ctx } = this.#pool;
		const { ref: model, settings } = reload.target;
		const [thread] = this.#engines.values();
		ctx.setTimer('memory', verifyAgainMs, { type: 'residency-due' });
		thread?.tell({ type: 'ask-memory', poolId: spec.poolId, engine: spec.engine, settings, model, replyTo: ctx.self });
	}

	/** A control thread before this one had more replicas: it ends behind its last task. */
	#surplus(news: ReplicaNews): ReplicaRow | undefined {
		const { replicas, epoch } = this.#pool;
		if (news.type !== 'replica-started' || epoch === 1) return undefined;
		const row = replicas.addSurplus(news.replicaId);
		row.engine = this.#engines.get(row.home) ?? null;
		return row;
	}

	#onReady(row: ReplicaRow, { facts, loadMs }: Extract<ReplicaNews, { type: 'replica-ready' }>): void {
		const { ledger, epoch, replicas, telemetry, tasks, loads } = this.#pool;
		if (ledger.has(row.replicaId)) this.#slots.loseLeases(row, 'was started again');
		// The first engine of a first control thread is known to be idle; any other is asked.
		const fresh = epoch === 1 && !row.everReady;
		replicas.ready(row, facts);
		loads.measured(row.model, loadMs);
		this.residency.ready(row, loadMs);
		telemetry.ready(facts);
		ledger.addReplica(row.replicaId, facts.slots);
		// Tasks that reported before their replica did. Those of an engine that is gone are void; what the dead held, the audit shows.
		for (const { lease, summary, goneAt } of tasks.on(row.replicaId)) {
			if (goneAt === null) ledger.adopt(lease, summary.taskId);
		}
		row.grantable = fresh;
		if (fresh) this.#slots.grant();
		else this.#slots.audit(row.replicaId);
	}

	#onFailed(row: ReplicaRow, news: Extract<ReplicaNews, { type: 'replica-failed' }>): void {
		const { ctx, replicas, reload } = this.#pool;
		const served = row.state === 'ready';
		const now = ctx.now();
		replicas.failed(row, news, now);
		reload.failed(row, news.failure.message);
		if (served && row.breaker.died(now)) this.#slots.tripped(row, news.failure.message);
		this.#slots.loseLeases(row, news.failure.message);
		// It comes back by registering again.
		if (row.worker !== null && row.ending === 'no' && row.failuresInRow >= workerFailuresMax) row.ending = 'idle';
		if (replicas.state === 'failed') this.#offers.all();
	}

	/** False: the ref was neither a replica nor an engine thread. */
	gone(ref: ActorRef<never>): boolean {
		const row = this.#pool.replicas.withRef(ref);
		if (row === undefined) return this.#engineGone(ref);
		this.#replicaGone(row);
		return true;
	}

	/** Its actor is gone: with its engine thread, or of a bug; then it is asked for again. */
	#replicaGone(row: ReplicaRow): void {
		const { replicas, ctx } = this.#pool;
		if (row.ending === 'asked') {
			this.#slots.loseLeases(row, 'is gone');
			return this.#ended(row);
		}
		if (row.state === 'stopped') {
			row.ref = null;
			return;
		}
		replicas.lost(row);
		this.#slots.loseLeases(row, 'is gone');
		ctx.setTimer('start-replicas', startAgainMs, { type: 'start-replicas-due' });
	}

	/** An engine thread is gone. Its replicas may never have got so far as to name themselves. */
	#engineGone(ref: ActorRef<never>): boolean {
		const { reload, replicas } = this.#pool;
		for (const [engineId, engine] of this.#engines) {
			if (engine !== ref) continue;
			this.#engines.delete(engineId);
			reload.lost();
			for (const row of replicas.rows) if (row.engine === engine && row.ref === null) row.engine = null;
			this.startAll();
			return true;
		}
		return false;
	}

	reload({ model, replyTo }: Extract<PoolCommand, { type: 'reload' }>): void {
		const { reload, refusals, spec, telemetry } = this.#pool;
		const answer = reload.ask(model);
		let problem: Failure | null = null;
		if (answer === 'busy') problem = refusals.reloading(reload.underWay ?? '');
		else if (answer === 'ready') reload.verified(reload.configured);
		else if (answer === 'verify' && !this.#verify(model)) {
			problem = refusals.noEngineThread(startAgainMs);
			reload.refused(model, problem.message);
		}
		if (problem === null && answer !== 'same') telemetry.reload('info', `Reloading ${spec.poolId} with ${model}.`);
		replyTo.tell({ type: 'pool-controlled', failure: problem, model });
	}

	/** Asked again until it is answered: a link that is full drops an answer. False: nobody is there to ask. */
	#verify(model: string): boolean {
		const { spec, ctx } = this.#pool;
		const { engine, settings } = spec;
		const [thread] = this.#engines.values();
		ctx.setTimer('verify', verifyAgainMs, { type: 'verify-due' });
		return thread?.tell({ type: 'verify-model', poolId: spec.poolId, engine, settings, model, replyTo: ctx.self }) === 'accepted';
	}

	verifyAgain(): void {
		const { verifying } = this.#pool.reload;
		if (verifying !== null) this.#verify(verifying);
	}

	#onModelNews(news: Extract<ReplicaNews, { type: 'model-verified' | 'model-refused' }>): void {
		const { reload, telemetry, spec, ctx } = this.#pool;
		if (news.type === 'model-verified') reload.verified({ ref: news.model, settings: news.settings });
		else if (reload.refused(news.model, news.failure.message)) telemetry.reload('warn', `${spec.poolId}: ${reload.problem}.`);
		if (reload.verifying === null) ctx.cancelTimer('verify');
	}

	register({ operation, replyTo }: Extract<PoolCommand, { type: 'register' }>): void {
		const { replicas, refusals, spec, telemetry } = this.#pool;
		const { replicaId, engine, worker } = operation;
		const known = replicas.find(replicaId);
		let problem: Failure | null = null;
		if (!spec.workers || spec.engine !== engine) problem = refusals.noWorker(engine);
		else if (known !== undefined && (known.worker?.url !== worker.url || known.worker.slots !== worker.slots || known.ending !== 'no'))
			problem = refusals.otherWorker(replicaId);
		else if (known === undefined && replicas.rows.length >= workersMax) problem = refusals.tooManyWorkers(workersMax);
		if (problem === null && known === undefined) {
			replicas.join(replicaId, worker);
			telemetry.configured(`${replicaId} has registered for ${spec.poolId}, with ${worker.slots} slots.`);
			this.startAll();
		}
		replyTo.tell({ type: 'pool-controlled', failure: problem });
	}

	purge({ operation, replyTo }: Extract<PoolCommand, { type: 'purge' }>): void {
		const { reload, refusals, tasks, replicas, telemetry, spec } = this.#pool;
		const { models, drainFirst, force, emptyCaches } = operation;
		const { ref } = reload.model;
		const foreign = models.find((model) => model !== ref);
		let problem: Failure | null = null;
		if (foreign !== undefined) problem = refusals.notServed(foreign, ref);
		else if (!drainFirst && !force && tasks.runningCount > 0) problem = refusals.busy(tasks.runningCount);
		else if (!reload.renew(replicas.rows, force, emptyCaches && spec.cacheDir !== null))
			problem = refusals.reloading(reload.underWay ?? '');
		if (problem === null) telemetry.reload('info', `Purging ${spec.poolId}: each engine starts anew.`);
		const cacheDirs = problem !== null || !emptyCaches ? [] : replicas.rows.flatMap(({ replicaId }) => cacheOf(spec, replicaId));
		replyTo.tell({ type: 'pool-controlled', failure: problem, cacheDirs });
	}

	/** The configuration of the pool has changed: what its engines are started with, or how many there are. */
	configure(settingsChanged: boolean): void {
		const { reload, replicas, spec } = this.#pool;
		replicas.fit(spec.replicas);
		if (settingsChanged) reload.configure({ ref: spec.model, settings: spec.settings }, replicas.rows);
		this.residency.configure();
		this.startAll();
	}

	/** Replicas of which there are too many end behind their last task. */
	#endSome(): void {
		for (const row of this.#pool.replicas.rows) {
			if (row.ending !== 'idle') continue;
			// Nobody was asked to start it yet. It may run all the same, of a control thread before this one: as one too many, then.
			if (row.engine === null) {
				if (this.#pool.epoch > 1 && row.worker === null) this.#unasked.add(row.home);
				this.#ended(row);
			} else if (row.ref !== null && this.#mayStop(row) && row.ref.tell({ type: 'stop' }) === 'accepted') row.ending = 'asked';
		}
	}

	#ended(row: ReplicaRow): void {
		const { replicas, ctx, spec, telemetry } = this.#pool;
		ctx.cancelTimer(`breaker ${row.replicaId}`);
		replicas.remove(row);
		this.#pool.reload.ended(row.replicaId);
		telemetry.replicaGone(row.replicaId);
		if (this.#pool.retiring) return;
		// One with its number may be wanted again.
		replicas.fit(spec.replicas);
		this.startAll();
	}

	/** No task would lose its slot. */
	#mayStop({ replicaId, state, grantable }: ReplicaRow): boolean {
		const { ledger, epoch } = this.#pool;
		if (state === 'failed') return true;
		// Of one that has not said yet what it is busy with, nobody knows whether it is idle.
		return state === 'ready' ? grantable && ledger.isIdle(replicaId) : epoch === 1;
	}

	/** What can be done now of what the replicas are to become. */
	swap(): void {
		this.#endSome();
		const { reload, replicas, telemetry, spec } = this.#pool;
		reload.catchUp(replicas.rows);
		if (reload.underWay === null) return;
		const before = reload.model.ref;
		const row = reload.next(replicas.rows, (each) => this.#mayStop(each));
		const { ref: model, settings } = reload.target;
		if (row?.ref?.tell({ type: 'change-model', model, settings, emptyCaches: row !== null && reload.empties(row) }) === 'accepted') {
			reload.told(row);
			replicas.exchanged(row);
			this.#slots.loseLeases(row, 'is started anew');
		}
		if (reload.underWay !== null) return;
		if (reload.model.ref !== before) telemetry.serves(model, before);
		telemetry.reload(reload.problem === null ? 'info' : 'warn', `${spec.poolId}: ${reload.problem ?? `${model} serves`}.`);
		this.#slots.grant();
		if (reload.catchUp(replicas.rows)) this.swap();
	}
}

function cacheOf({ cacheDir }: PoolSpec, replicaId: string): string[] {
	return cacheDir === null ? [] : [`${cacheDir}/${replicaId}`];
}

/** It was attached to twice, and has nothing new to tell. */
function isTwice(row: ReplicaRow, news: ReplicaNews): boolean {
	if (row.state !== 'ready' || row.asked !== null) return false;
	if (news.type === 'replica-ready') return true;
	return news.type === 'replica-started' && news.replyTo === row.ref && news.startedAt === row.startedAt;
}
