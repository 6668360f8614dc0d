/**
 * What a Pool actor is made of: its queue, its ledger, its replicas and what it knows of time; and what follows from these
 * together. Owned by the actor and shared by its parts (`pool-slots.ts`, `pool-engines.ts`, `pool-offers.ts`), in one thread.
 */
import type { ActorContext } from '../kernel/behavior.ts';
import type { ActorRef } from '../kernel/ref.ts';
import { PaceMeter } from './eta.ts';
import type { Failure } from './failure.ts';
import { LeaseLedger } from './lease-ledger.ts';
import { LoadTimes, type WarmUp } from './load-times.ts';
import type { PlacementNews } from './messages.ts';
import { PoolDrain } from './pool-drain.ts';
import { PoolForecast } from './pool-forecast.ts';
import type { PoolMessage, PoolNews } from './pool-messages.ts';
import { outlookOf, type PoolOutlook } from './pool-outlook.ts';
import { PoolRefusals } from './pool-refusals.ts';
import { PoolReload } from './pool-reload.ts';
import { chooseReplica, PoolReplicas, takesTasks } from './pool-replicas.ts';
import { PoolSessions } from './pool-sessions.ts';
import { LivePoolSpec, type PoolSpec } from './pool-spec.ts';
import { PoolTasks, type Waiting } from './pool-tasks.ts';
import { PoolTelemetry } from './pool-telemetry.ts';
import { PrefixPlaces } from './prefix.ts';
import { WaitingQueue } from './queue.ts';
import { SureNews } from './sure-news.ts';
import type { ModelFetch } from './warm-up-messages.ts';

export interface PoolOptions {
	readonly spec: PoolSpec;
	/** Of the control thread: fences leases. */
	readonly epoch: number;
	/** Of the last lease that a pool by this name has granted in this epoch, which has ended; default: none. */
	readonly lastLeaseId?: number;
	/** Engine threads, by name: the homes of its replicas. */
	readonly engines: readonly string[];
	readonly dispatcher: ActorRef<PoolNews>;
}

/** What is left of running tasks is foreseen anew after so long, and whenever one begins or ends. */
const levelsMs = 10;
/** A link without room for news has some again by then. */
const tellAgainMs = 50;

/** Where the model of a pool is: see `pool-residency.ts`. */
export type ResidencyPhase = 'unsure' | 'out' | 'asking' | 'wanting' | 'in' | 'leaving' | 'hopeless';

export class PoolState {
	readonly ctx: ActorContext<PoolMessage>;
	readonly spec: LivePoolSpec;
	readonly epoch: number;
	readonly dispatcher: ActorRef<PoolNews>;
	readonly queue: WaitingQueue<Waiting>;
	readonly ledger: LeaseLedger;
	readonly pace: PaceMeter;
	readonly loads: LoadTimes;
	readonly forecast: PoolForecast;
	readonly replicas: PoolReplicas;
	readonly tasks: PoolTasks;
	readonly sessions: PoolSessions;
	readonly refusals: PoolRefusals;
	readonly reload: PoolReload;
	readonly drain = new PoolDrain();
	/** Replicas, by how the prompts began that they had. */
	readonly prefixes = new PrefixPlaces();
	readonly telemetry: PoolTelemetry;
	readonly news: SureNews<PlacementNews>;
	/** Every front has reported what it holds. */
	grantsOpen = false;
	/** It is configured no more: it serves what it has, and ends. */
	retiring = false;
	/** Of its model in memory: written by `pool-residency.ts`. */
	phase: ResidencyPhase = 'in';
	/** When a load may begin that is waited for, on `Host.now`; null: nobody has said. */
	loadAt: number | null = null;
	/** Its model comes here before it is known what it takes; null: it does not. */
	fetch: ModelFetch | null = null;
	/** Tasks that the Dispatcher has sent: it ends the pool only when that knows of no more. */
	received = 0;
	/** As they were foreseen last. */
	#outlook: { readonly outlook: PoolOutlook; readonly at: number; readonly version: number; readonly free: number } | null = null;

	constructor(ctx: ActorContext<PoolMessage>, { spec: configured, epoch, lastLeaseId = 0, engines, dispatcher }: PoolOptions) {
		const spec = new LivePoolSpec(configured);
		this.ctx = ctx;
		this.spec = spec;
		this.epoch = epoch;
		this.dispatcher = dispatcher;
		this.queue = new WaitingQueue(spec.queue);
		this.ledger = new LeaseLedger(spec.poolId, epoch, lastLeaseId);
		this.pace = new PaceMeter(spec.perfPrior);
		this.loads = new LoadTimes(spec.perfPrior.loadMs);
		this.forecast = new PoolForecast(this.pace, this.queue, spec);
		this.replicas = new PoolReplicas(spec, engines);
		this.tasks = new PoolTasks(ctx);
		this.sessions = new PoolSessions(spec, dispatcher);
		this.refusals = new PoolRefusals(spec);
		this.reload = new PoolReload({ ref: spec.model, settings: spec.settings });
		this.telemetry = new PoolTelemetry(ctx.telemetry, spec);
		this.news = new SureNews(() => this.tellAgainSoon());
	}

	get now(): number {
		return this.ctx.now();
	}

	tellAgainSoon(): void {
		this.ctx.setTimer('tell-again', tellAgainMs, { type: 'tell-again-due' });
	}

	/** It leaves the queue without a slot. */
	dequeue(waiting: Waiting): void {
		this.queue.remove(waiting.taskId);
		this.tasks.left(waiting);
	}

	get #slotsFree(): number {
		return this.grantsOpen ? this.replicas.slotsFree(this.ledger) : 0;
	}

	/** As the outlook has it. With nothing ahead and a slot free it is now, without a look at all that run: as a rule, and at each start. */
	startMs(workAheadMs: number, strict = false): number {
		return workAheadMs === 0 && !strict && this.#slotsFree > 0 ? 0 : this.outlook.startMs(workAheadMs, strict);
	}

	/** What is left until a replica takes tasks; null: one does. */
	get warmUp(): WarmUp | null {
		for (const row of this.replicas.rows) if (takesTasks(row)) return null;
		return this.outlook.warmUp;
	}

	/** Until a load may begin, ms; null: its engines are there, or are being started, or none will. */
	get loadBeginsInMs(): number | null {
		if (this.phase === 'in' || this.phase === 'hopeless') return null;
		return this.loadAt === null ? 0 : Math.max(0, this.loadAt - this.ctx.now());
	}

	/** A replica is not what it was. */
	changed(): void {
		this.#outlook = null;
	}

	/** When its slots come free, as far as it can be foretold. */
	get outlook(): PoolOutlook {
		const now = this.ctx.now();
		const free = this.#slotsFree;
		const { version } = this.tasks;
		const last = this.#outlook;
		if (last !== null && last.version === version && last.free === free && now - last.at < levelsMs) {
			last.outlook.levels.taskMs = this.#taskMs;
			return last.outlook;
		}
		const outlook = outlookOf(this, this.#taskMs);
		this.#outlook = { outlook, at: now, version, free };
		return outlook;
	}

	get #taskMs(): number {
		return this.pace.heldMs(this.queue.meanWorkMs);
	}

	/** Tasks that the engine of the next task will have: all that it can, when others wait. */
	depthOfNext(): number {
		const slots = this.replicas.facts?.slots ?? this.spec.slots;
		if (this.queue.length > 0) return slots;
		const next = chooseReplica(this.replicas.rows, this.ledger, false, null, null, null);
		return next === null ? slots : this.ledger.slotsIn(next.replicaId, 'granted') + 1;
	}

	/** Until there is a place again, ms: a slot that comes free, or a replica that comes back. */
	retryAfterMs(): number {
		const now = this.ctx.now();
		const { state, exhaustedUntil } = this.replicas;
		if (exhaustedUntil !== null) return Math.max(1, Math.ceil(exhaustedUntil - now));
		const retryInMs = state === 'failed' ? this.replicas.retryInMs(now) : null;
		const placeInMs = this.pace.retryAfterMs(this.replicas.readySlots);
		if (retryInMs !== null) return retryInMs;
		const { warmUp } = this;
		return warmUp === null || warmUp.basis === 'guess' ? placeInMs : Math.max(placeInMs, Math.ceil(warmUp.p50Ms));
	}

	/** Why nobody new may queue here; null: they may. */
	unserved(): Failure | null {
		if (this.replicas.state === 'failed') return this.cannotServe();
		return this.replicas.exhaustedUntil === null ? null : this.refusals.exhausted(this.replicas.lastError, this.retryAfterMs());
	}

	cannotServe(): Failure {
		return this.refusals.cannotServe(this.replicas.lastError, this.replicas.cannotFit === null ? this.retryAfterMs() : null);
	}
}
