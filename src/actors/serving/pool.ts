/**
 * The Pool actor: one engine and model with one queue. The only writer of its queue and its ledger, on the control thread;
 * it grants slots and takes them back, and never sees a prompt or a token.
 *
 * A task here: `enqueue` → queued → (a slot is free) granted → settled. Its actor is watched from the first to the last; if
 * it dies in between, its place or its slot comes back, the slot by way of quarantine.
 */
import type { ActorContext, Behavior, Next, Setup, Signal } from '../kernel/behavior.ts';
import type { ActorRef } from '../kernel/ref.ts';
import { verdictOf } from './circuit-breaker.ts';
import { leaseKey } from './engine-life.ts';
import { errorRatio } from './error-ratios.ts';
import { PaceMeter } from './eta.ts';
import type { Failure } from './failure.ts';
import { LeaseLedger } from './lease-ledger.ts';
import type { EngineThreadCommand, Lease, PlacementNews, PlacementPreview, ReplicaNews, Settlement, TaskSummary } from './messages.ts';
import { PoolDrain } from './pool-drain.ts';
import { PoolForecast } from './pool-forecast.ts';
import type { PoolCommand, PoolMessage, PoolNews } from './pool-messages.ts';
import { PoolPreemption } from './pool-preemption.ts';
import { PoolRefusals } from './pool-refusals.ts';
import { PoolReload } from './pool-reload.ts';
import { chooseReplica, nextIdle, PoolReplicas, type ReplicaRow } from './pool-replicas.ts';
import { PoolSessions } from './pool-sessions.ts';
import type { PoolSpec } from './pool-spec.ts';
import { standingsMs, tellStandings } from './pool-standings.ts';
import { PoolTasks, type Waiting } from './pool-tasks.ts';
import { PoolTelemetry } from './pool-telemetry.ts';
import { paceOf, poolNews } from './pool-view.ts';
import { type Charge, type QueueMark, victimOf, WaitingQueue } from './queue.ts';
import { SlotLevels } from './slot-levels.ts';
import type { PriorityClass } from './task-request.ts';

/** A preview, but for what the Dispatcher decided. */
type Foreseen = PlacementPreview extends infer P ? (P extends PlacementPreview ? Omit<P, 'decision'> : never) : never;

type Placeable = Pick<Extract<PoolCommand, { type: 'enqueue' }>, 'summary' | 'terms' | 'replyTo'>;

export interface PoolOptions {
	readonly spec: PoolSpec;
	/** Of the control thread: fences leases. */
	readonly epoch: number;
	/** Engine threads, by name: the homes of its replicas. */
	readonly engines: readonly string[];
	readonly dispatcher: ActorRef<PoolNews>;
}

const auditMs = 250;
const ledgerMs = 5_000;
const gaugesMs = 100;
/** What is left of running tasks is foreseen anew after so long, and whenever one begins or ends. */
const levelsMs = 10;
/** A link without room for a grant has some again by then. */
const tellAgainMs = 50;
/** Before a Replica that died of a bug is asked for again. */
const startAgainMs = 1_000;
/** How far behind a task that cannot be served now others may be looked for that can. */
const lookBehind = 32;

export function pool(options: PoolOptions): Setup<PoolMessage> {
	return (ctx) => new Pool(ctx, options);
}

class Pool implements Behavior<PoolMessage> {
	readonly #ctx: ActorContext<PoolMessage>;
	readonly #spec: PoolSpec;
	readonly #epoch: number;
	readonly #dispatcher: ActorRef<PoolNews>;
	readonly #queue: WaitingQueue<Waiting>;
	readonly #ledger: LeaseLedger;
	readonly #pace: PaceMeter;
	readonly #forecast: PoolForecast;
	readonly #replicas: PoolReplicas;
	readonly #tasks: PoolTasks;
	readonly #refusals: PoolRefusals;
	readonly #reload: PoolReload;
	readonly #telemetry: PoolTelemetry;
	readonly #drain = new PoolDrain();
	/** As they were foreseen last. */
	#lastLevels: { readonly levels: SlotLevels; readonly at: number; readonly version: number; readonly free: number } | null = null;
	readonly #preemption: PoolPreemption;
	readonly #sessions: PoolSessions;
	/** Those that are there, by name. */
	readonly #engines = new Map<string, ActorRef<EngineThreadCommand>>();
	#untold: { readonly ref: ActorRef<PlacementNews>; readonly news: PlacementNews }[] = [];
	#grantsOpen = false;
	#standingsDue = false;
	#publishing = false;
	#gaugesDue = false;

	constructor(ctx: ActorContext<PoolMessage>, options: PoolOptions) {
		const { spec, epoch, engines, dispatcher } = options;
		this.#ctx = ctx;
		this.#spec = spec;
		this.#epoch = epoch;
		this.#dispatcher = dispatcher;
		this.#queue = new WaitingQueue(spec.queue);
		this.#ledger = new LeaseLedger(spec.poolId, epoch);
		this.#pace = new PaceMeter(spec.perfPrior);
		this.#replicas = new PoolReplicas(spec, engines);
		this.#forecast = new PoolForecast(this.#pace, this.#queue, spec.maxTokensOut);
		this.#tasks = new PoolTasks(ctx);
		this.#refusals = new PoolRefusals(spec);
		this.#sessions = new PoolSessions(spec, dispatcher);
		this.#reload = new PoolReload({ ref: spec.model, settings: spec.settings });
		this.#telemetry = new PoolTelemetry(ctx.telemetry, spec);
		this.#preemption = new PoolPreemption(spec);
		ctx.setTimer('ledger', ledgerMs, { type: 'ledger-due' });
		this.#showGauges();
		this.#publish();
	}

	onMessage(_ctx: ActorContext<PoolMessage>, message: PoolMessage): Next<PoolMessage> {
		this.#queue.age(this.#ctx.now());
		if (message.type === 'publish-due') this.#tellDispatcher();
		else if (message.type === 'gauges-due') this.#showGauges();
		else {
			this.#handle(message);
			if (this.#reload.underWay !== null) this.#swap();
			this.#publish();
		}
		return 'same';
	}

	onSignal(_ctx: ActorContext<PoolMessage>, signal: Signal): Next<PoolMessage> {
		if (signal.type !== 'terminated') return 'same';
		const row = this.#replicas.withRef(signal.ref);
		if (row !== undefined) this.#onReplicaGone(row);
		else if (!this.#onEngineGone(signal.ref)) this.#onTaskGone(signal.ref);
		this.#publish();
		return 'same';
	}

	#handle(message: Exclude<PoolMessage, { type: 'publish-due' | 'gauges-due' }>): void {
		switch (message.type) {
			case 'enqueue':
				return this.#onEnqueue(message);
			case 'drain':
				return this.#onDrain(message.deadlineAt);
			case 'reload':
				return this.#onReload(message);
			case 'purge':
				return this.#onPurge(message);
			case 'undrain':
				return this.#onUndrain();
			case 'offer-due':
				return this.#offer();
			case 'drain-over':
				return this.#onDrainOver();
			case 'foresee':
				message.replyTo.tell({ ...this.#foresee(message.summary), decision: message.decision });
				return;
			case 'withdraw':
				return this.#onWithdraw(message.taskId);
			case 'settle':
				return this.#onSettle(message);
			case 'report-lease':
				return this.#onReportLease(message);
			case 'use-engine':
				this.#engines.set(message.engineId, message.replyTo);
				this.#ctx.watch(message.replyTo);
				return this.#startReplicas();
			case 'open-grants':
				this.#grantsOpen = true;
				return this.#grant();
			case 'standings-due':
				return this.#tellStandings(message.from);
			case 'audit-due':
				return this.#audit(message.replicaId);
			case 'breaker-due':
				this.#replicas.find(message.replicaId)?.breaker.tryAgain();
				return this.#grant();
			case 'ledger-due':
				return this.#checkLedger();
			case 'tell-again-due':
				this.#tellAgain();
				return this.#grant();
			case 'start-replicas-due':
				return this.#startReplicas();
			default:
				return this.#onReplicaNews(message);
		}
	}

	// --- tasks ----------------------------------------------------------------------------------------------------

	#onEnqueue(command: Extract<PoolCommand, { type: 'enqueue' }>): void {
		const { summary, terms, origin, replyTo: ref } = command;
		if (origin?.kind === 'moved' && !this.#mayJoin(summary)) return this.#displace(command, origin.from, this.#spec.poolId);
		if (origin?.kind === 'stays' && this.#replicas.state === 'failed') {
			this.#sessions.left(command);
			return this.#tellSurely(ref, this.#refusedForFailure());
		}
		const refuse = (why: Failure): void => {
			this.#sessions.refused(command);
			this.#tellSurely(ref, { type: 'refused', failure: why });
		};
		const refusal = origin === null ? this.#whyNotQueued(summary) : null;
		if (refusal !== null) return refuse(refusal);
		const now = this.#ctx.now();
		const serviceMs = this.#forecast.serviceMs(summary, this.#depthOfNext());
		const { startMs, standing } = this.#forecast.foresee(summary, serviceMs, this.#levels());
		const onTimeProbability = this.#forecast.onTime(summary, standing, now);
		const begins = origin === null && summary.resume === null;
		const late = begins ? this.#refusals.tooLate(summary, standing, onTimeProbability, now) : null;
		if (late !== null) return refuse(late);
		const waiting: Waiting = {
			taskId: summary.taskId,
			priority: summary.priority,
			tenant: summary.tenant,
			admittedAt: summary.admittedAt,
			deadlineAt: summary.deadlineAt,
			begun: summary.resume !== null,
			cost: this.#forecast.cost(summary),
			bytes: summary.queuedBytes,
			// A strict task takes all slots of its replica for as long.
			workMs: serviceMs * (summary.strict ? (this.#replicas.facts?.slots ?? 1) : 1),
			summary,
			terms,
			ref,
			serviceMs,
			enqueuedAt: now,
			startMs,
			predictedStartMs: standing.predictedStartMs,
			predictedEndMs: standing.predictedEndMs,
			toldPosition: standing.position,
			toldAt: now,
		};
		this.#queue.enqueue(waiting);
		this.#tasks.waits(waiting);
		if (origin === null) this.#telemetry.enqueued(summary, this.#replicas.facts);
		ref.tell({
			type: 'queued',
			poolId: this.#spec.poolId,
			engine: this.#spec.engine,
			standing: { ...standing, queueDepth: this.#queue.length },
			onTimeProbability,
			budget: terms.budget,
			held: terms.held,
		});
		this.#grant();
		this.#watchStandings();
	}

	/** One that another pool cannot serve now: nobody is dropped for it. */
	#mayJoin(summary: TaskSummary): boolean {
		const { taskId, queuedBytes } = summary;
		if (this.#queue.get(taskId) !== undefined || this.#unserved() !== null || this.#drain.active) return false;
		return summary.resume !== null || (this.#refusals.tooLarge(summary) === null && this.#queue.hasRoom(queuedBytes));
	}

	/** Null: it may be queued; perhaps another was dropped to make room. */
	#whyNotQueued(summary: TaskSummary): Failure | null {
		if (this.#queue.get(summary.taskId) !== undefined) return this.#refusals.alreadyQueued(summary.taskId);
		// It was placed before the news of our failure got there.
		if (this.#replicas.state === 'failed') return this.#cannotServe();
		// It had a slot, and its watchers have a part of the answer: it is not told now that there is no room.
		if (summary.resume !== null) return null;
		const unserved = this.#unserved();
		if (unserved !== null) return unserved;
		const tooLarge = this.#refusals.tooLarge(summary);
		if (tooLarge !== null) return tooLarge;
		while (!this.#queue.hasRoom(summary.queuedBytes)) {
			this.#telemetry.backpressure();
			const victim = victimOf(this.#spec.queue.fullPolicy, this.#queue, summary.priority);
			if (victim === undefined) return this.#refusals.full(this.#queue.length, this.#retryAfterMs());
			this.#dequeue(victim);
			this.#sessions.left(victim);
			this.#telemetry.dropped(victim.summary);
			this.#tellSurely(victim.ref, { type: 'refused', failure: this.#refusals.dropped(this.#retryAfterMs()) });
		}
		return null;
	}

	#onWithdraw(taskId: string): void {
		const waiting = this.#queue.get(taskId);
		if (waiting === undefined) return;
		this.#dequeue(waiting);
		this.#sessions.left(waiting);
		waiting.ref.tell({ type: 'withdrawn' });
		this.#grant();
	}

	/** Once a lease: what is settled again, was never ours or is of an older epoch has no effect. */
	#onSettle({ lease, settlement, correlationId }: Extract<PoolCommand, { type: 'settle' }>): void {
		const running = this.#tasks.holding(lease);
		if (running === undefined) {
			this.#telemetry.staleSettlement(lease, correlationId);
			return;
		}
		this.#tasks.ended(leaseKey(lease));
		if (this.#preemption.settled(running, settlement, this.#ctx.now())) this.#telemetry.preempted();
		this.#judge(running.lease, settlement);
		const depthAtEnd = this.#ledger.slotsIn(lease.replicaId, 'granted');
		this.#queue.settle(running.charge, this.#forecast.costInTruth(running.summary, settlement));
		if (settlement.slot === 'free') this.#ledger.release(lease);
		else {
			this.#ledger.quarantine(lease);
			this.#audit(lease.replicaId);
		}
		const { tokensIn, tokensOut, prefillMs, decodeMs, outcome } = settlement;
		const now = this.#ctx.now();
		const heldMs = now - running.startedAt;
		this.#sessions.settled(running, settlement, heldMs, this.#replicas.facts);
		if (outcome !== 'unused') {
			const completed = outcome === 'completed';
			const depth = (running.depth + depthAtEnd) / 2;
			this.#pace.finished({ heldMs, tokensIn, tokensOut, prefillMs, decodeMs, depth, answer: answerOf(settlement) });
			if (completed && running.predicted !== null)
				this.#pace.ends[running.summary.priority].add(running.predicted.endMs, now - running.predicted.at);
		}
		this.#grant();
	}

	/** After a control restart: a running task says what it holds. Its replica may still be to come. */
	#onReportLease({ lease, summary, terms, replyTo }: Extract<PoolCommand, { type: 'report-lease' }>): void {
		if (this.#ledger.has(lease.replicaId) && !this.#ledger.adopt(lease, summary.taskId)) {
			this.#sessions.lost({ summary, terms });
			return this.#tellSurely(replyTo, {
				type: 'replica-lost',
				lease,
				failure: this.#refusals.replicaLost(lease.replicaId, 'is gone'),
			});
		}
		const slots = lease.exclusive ? (this.#replicas.facts?.slots ?? 1) : 1;
		const charge: Charge = { tenant: summary.tenant, class: summary.priority, cost: this.#forecast.cost(summary) };
		if (this.#tasks.holding(lease) === undefined) this.#queue.adopt(charge);
		const depth = this.#depthOfNext();
		const startedAt = this.#ctx.now();
		this.#tasks.runs({ lease, summary, terms, ref: replyTo, depth, predicted: null, slots, charge, startedAt, goneAt: null });
	}

	#onTaskGone(ref: ActorRef<never>): void {
		const gone = this.#tasks.gone(ref, this.#ctx.now());
		if (gone === undefined) return;
		if (gone.running === null) {
			this.#queue.remove(gone.taskId);
			if (gone.waiting !== null) this.#sessions.left(gone.waiting);
			return this.#grant();
		}
		// Its settlement may be on its way through the dispatcher, behind this news: it is taken then. Else the engine is asked; if
		// that is gone too, the lease is forgotten after a while.
		const { lease } = gone.running;
		if (this.#ledger.get(lease)?.state !== 'granted') return;
		this.#ledger.quarantine(lease);
		this.#auditSoon(lease.replicaId);
	}

	#dequeue(waiting: Waiting): void {
		this.#queue.remove(waiting.taskId);
		this.#tasks.left(waiting);
	}

	// --- slots ----------------------------------------------------------------------------------------------------

	/** Grants what can be granted, in the queue's order. A strict task at the head keeps an idle-going replica for itself. */
	#grant(): void {
		if (!this.#grantsOpen || this.#drain.active) return;
		const passed = new Set<string>();
		let kept: ReplicaRow | null = null;
		while (passed.size < lookBehind) {
			const waiting = this.#firstBut(passed);
			if (waiting === undefined) return;
			const { strict } = waiting.summary;
			const row = chooseReplica(this.#replicas.rows, this.#ledger, strict, kept, waiting.terms.replicaId);
			if (row !== null && this.#start(waiting, row)) continue;
			// Only behind strict tasks, and tasks that could not be told, may others still find a place.
			if (row === null && !strict) return this.#preempt(waiting.priority);
			if (strict) kept ??= nextIdle(this.#replicas.rows, this.#ledger);
			passed.add(waiting.taskId);
		}
	}

	/** The next task is one of this class, and finds no slot. */
	#preempt(next: PriorityClass): void {
		if (next !== 'interactive') return;
		const now = this.#ctx.now();
		for (const { lease, ref } of this.#preemption.victims(this.#queue.depth('interactive'), this.#tasks, now)) {
			const delivery = ref.tell({ type: 'leave-slot', lease, reason: 'preempted' });
			if (delivery === 'accepted') this.#preemption.asked(lease, now);
		}
	}

	/** Each start charges a tenant, so that another may be next. */
	#firstBut(passed: ReadonlySet<string>): Waiting | undefined {
		if (passed.size === 0) return this.#queue.first;
		for (const waiting of this.#queue) if (!passed.has(waiting.taskId)) return waiting;
		return undefined;
	}

	/** False: its actor could not be told. It keeps its place; if it is gone, we shall hear. */
	#start(waiting: Waiting, row: ReplicaRow): boolean {
		const { facts } = row;
		if (facts === null) return false;
		const { summary, terms, ref, serviceMs } = waiting;
		const { timeouts } = this.#spec;
		const lease = this.#ledger.grant(row.replicaId, waiting.taskId, summary.strict);
		const delivery = ref.tell({
			type: 'granted',
			lease,
			replica: facts,
			ctx: Math.min(facts.ctx, summary.ctx ?? facts.ctx),
			maxTokensOut: Math.min(this.#spec.maxTokensOut, terms.outputCap ?? this.#spec.maxTokensOut),
			timeouts: { ...timeouts, wallMs: Math.min(timeouts.wallMs, terms.wallCapMs ?? timeouts.wallMs) },
			migration: this.#spec.migration === 'on',
			standing: this.#forecast.standing(summary.priority, 0, 0, serviceMs),
		});
		if (delivery !== 'accepted') {
			this.#ledger.release(lease);
			if (delivery === 'full') this.#ctx.setTimer('tell-again', tellAgainMs, { type: 'tell-again-due' });
			return false;
		}
		const now = this.#ctx.now();
		const charge = this.#queue.start(waiting.taskId);
		const slots = this.#ledger.get(lease)?.slots ?? 1;
		const depth = this.#ledger.slotsIn(row.replicaId, 'granted');
		const predicted = { at: waiting.enqueuedAt, endMs: waiting.predictedEndMs };
		this.#sessions.runs(waiting, facts);
		this.#tasks.runs({ lease, summary, terms, ref, depth, predicted, slots, charge, startedAt: now, goneAt: null });
		row.breaker.started(leaseKey(lease));
		const waitedMs = now - waiting.enqueuedAt;
		// Of those that found a free slot there was nothing to foretell.
		if (waiting.startMs > 0) this.#pace.starts[summary.priority].add(waiting.startMs, waitedMs);
		this.#telemetry.started(summary, facts, errorRatio(waiting.predictedStartMs, waitedMs));
		return true;
	}

	#audit(replicaId: string): void {
		const row = this.#replicas.find(replicaId);
		if (row?.ref === null || row?.state !== 'ready') return;
		if (row.grantable && this.#ledger.slotsIn(replicaId, 'quarantined') === 0) return;
		const revoked = this.#ledger.revoked(replicaId);
		if (row.ref.tell({ type: 'audit', revoked }) === 'accepted') this.#ledger.asked(replicaId);
		this.#auditSoon(replicaId);
	}

	#auditSoon(replicaId: string): void {
		this.#ctx.setTimer(`audit ${replicaId}`, auditMs, { type: 'audit-due', replicaId });
	}

	#onAudited(row: ReplicaRow, busyLeases: readonly string[]): void {
		const busy = new Set(busyLeases);
		for (const key of this.#ledger.audited(row.replicaId, busy)) this.#forget(key);
		if (row.state === 'ready' && !row.grantable && this.#grantsOpen) {
			this.#ledger.quarantineUnknown(row.replicaId, busy);
			row.grantable = true;
		}
		if (row.grantable && this.#ledger.slotsIn(row.replicaId, 'quarantined') === 0) this.#ctx.cancelTimer(`audit ${row.replicaId}`);
		this.#grant();
	}

	/** Nobody will ever say what it came to: its tenant pays what was foreseen. */
	#forget(key: string): void {
		const running = this.#tasks.ended(key);
		if (running === undefined) return;
		this.#queue.settle(running.charge, running.charge.cost);
		this.#sessions.vanished(running);
		this.#replicas.find(running.lease.replicaId)?.breaker.ended(key, 'neither', this.#ctx.now());
	}

	#checkLedger(): void {
		this.#ctx.setTimer('ledger', ledgerMs, { type: 'ledger-due' });
		for (const { lease } of this.#tasks.goneBefore(this.#ctx.now() - ledgerMs)) {
			if (this.#ledger.get(lease)?.state === 'quarantined') continue;
			this.#ledger.release(lease);
			this.#forget(leaseKey(lease));
		}
		const drift = this.#ledger.drift();
		if (drift !== null) this.#telemetry.drift(drift);
	}

	// --- replicas -------------------------------------------------------------------------------------------------

	/** Each replica that was not asked for is, once its engine thread is there. */
	#startReplicas(): void {
		const { poolId, engine } = this.#spec;
		const { ref: model, settings } = this.#reload.target;
		for (const row of this.#replicas.rows) {
			const target = this.#engines.get(row.home);
			if (target === undefined || row.engine !== null || row.state === 'stopped') continue;
			const replica = { replicaId: row.replicaId, poolId, engine, model, settings };
			if (target.tell({ type: 'start-replica', replica, replyTo: this.#ctx.self }) === 'accepted') row.engine = target;
			else this.#ctx.setTimer('start-replicas', startAgainMs, { type: 'start-replicas-due' });
		}
	}

	#onReload({ model, replyTo }: Extract<PoolCommand, { type: 'reload' }>): void {
		const answer = this.#reload.ask(model);
		const engine = this.#engines.values().next().value;
		let problem: Failure | null = null;
		if (answer === 'busy') problem = this.#refusals.reloading(this.#reload.underWay ?? '');
		else if (answer === 'ready') this.#reload.verified(this.#reload.configured);
		else if (answer === 'verify') {
			const { engine: kind, settings } = this.#spec;
			if (engine?.tell({ type: 'verify-model', engine: kind, settings, model, replyTo: this.#ctx.self }) !== 'accepted') {
				problem = this.#refusals.noEngineThread(startAgainMs);
				this.#reload.refused(model, problem.message);
			}
		}
		if (problem === null && answer !== 'same') this.#telemetry.reload('info', `Reloading ${this.#spec.poolId} with ${model}.`);
		replyTo.tell({ type: 'pool-controlled', failure: problem });
	}

	#onPurge({ operation, replyTo }: Extract<PoolCommand, { type: 'purge' }>): void {
		const { models, drainFirst, force } = operation;
		const { ref } = this.#reload.model;
		const foreign = models.find((model) => model !== ref);
		let problem: Failure | null = null;
		if (foreign !== undefined) problem = this.#refusals.notServed(foreign, ref);
		else if (!drainFirst && !force && this.#tasks.runningCount > 0) problem = this.#refusals.busy(this.#tasks.runningCount);
		else if (!this.#reload.renew(this.#replicas.rows, force)) problem = this.#refusals.reloading(this.#reload.underWay ?? '');
		if (problem === null) this.#telemetry.reload('info', `Purging ${this.#spec.poolId}: each engine starts anew.`);
		replyTo.tell({ type: 'pool-controlled', failure: problem });
	}

	/** The next step of a reload, if it can be taken now. */
	#swap(): void {
		const before = this.#reload.model.ref;
		const row = this.#reload.next(this.#replicas.rows, ({ replicaId }) => this.#ledger.isIdle(replicaId));
		const { ref: model, settings } = this.#reload.target;
		if (row?.ref?.tell({ type: 'change-model', model, settings }) === 'accepted') {
			this.#reload.told(row);
			row.state = 'starting';
			this.#loseLeases(row, 'is started anew');
		}
		if (this.#reload.underWay !== null) return;
		if (this.#reload.model.ref !== before) this.#telemetry.serves(model, before);
		this.#telemetry.reload(
			this.#reload.problem === null ? 'info' : 'warn',
			`${this.#spec.poolId}: ${this.#reload.problem ?? `${model} serves`}.`,
		);
		this.#grant();
	}

	#onModelNews(news: Extract<ReplicaNews, { type: 'model-verified' | 'model-refused' }>): void {
		if (news.type === 'model-verified') this.#reload.verified({ ref: news.model, settings: news.settings });
		else if (this.#reload.refused(news.model, news.failure.message))
			this.#telemetry.reload('warn', `${this.#spec.poolId}: ${this.#reload.problem}.`);
	}

	#onReplicaNews(news: ReplicaNews): void {
		if (news.type === 'model-verified' || news.type === 'model-refused') return this.#onModelNews(news);
		const row = this.#replicas.find(news.replicaId);
		if (row === undefined) return;
		switch (news.type) {
			case 'replica-started':
				this.#replicas.starting(row, news);
				if (this.#epoch > 1) this.#reload.found(news);
				this.#ctx.watch(news.replyTo);
				return;
			case 'replica-ready':
				return this.#onReplicaReady(row, news);
			case 'replica-failed':
				this.#onReplicaFailed(row, news);
				return;
			case 'replica-stopped':
				row.state = 'stopped';
				return this.#loseLeases(row, 'was stopped');
			case 'audited':
				return this.#onAudited(row, news.busyLeases);
		}
	}

	#onReplicaFailed(row: ReplicaRow, news: Extract<ReplicaNews, { type: 'replica-failed' }>): void {
		const served = row.state === 'ready';
		const now = this.#ctx.now();
		this.#replicas.failed(row, news, now);
		this.#reload.failed(row, news.failure.message);
		if (served && row.breaker.died(now)) this.#tripped(row, news.failure.message);
		this.#loseLeases(row, news.failure.message);
		if (this.#replicas.state === 'failed') this.#offerAll();
	}

	/** What a task's end says of its replica. */
	#judge(lease: Lease, settlement: Settlement): void {
		const row = this.#replicas.find(lease.replicaId);
		const verdict = verdictOf(settlement);
		// Tasks that a drain has stopped say nothing of their engine.
		const said = verdict === 'death' && this.#drain.active ? 'neither' : verdict;
		if (row?.breaker.ended(leaseKey(lease), said, this.#ctx.now()) === true) this.#tripped(row, settlement.reason);
	}

	#tripped(row: ReplicaRow, why: string): void {
		const now = this.#ctx.now();
		this.#replicas.tripped(row, why, now);
		this.#telemetry.tripped(row);
		this.#ctx.setTimer(`breaker ${row.replicaId}`, Math.max(1, row.breaker.openUntil - now), {
			type: 'breaker-due',
			replicaId: row.replicaId,
		});
		// Others may serve those that wait. Who finds none waits for the trial.
		if (this.#replicas.exhaustedUntil !== null) this.#offerAll();
	}

	#onReplicaReady(row: ReplicaRow, { facts }: Extract<ReplicaNews, { type: 'replica-ready' }>): void {
		if (this.#ledger.has(row.replicaId)) this.#loseLeases(row, 'was started again');
		// The first engine of a first control thread is known to be idle; any other is asked.
		const fresh = this.#epoch === 1 && !row.everReady;
		this.#replicas.ready(row, facts);
		this.#telemetry.ready(facts);
		this.#ledger.addReplica(row.replicaId, facts.slots);
		// Tasks that reported before their replica did. Those of an engine that is gone are void; what the dead held, the audit shows.
		for (const { lease, summary, goneAt } of this.#tasks.on(row.replicaId)) {
			if (goneAt === null) this.#ledger.adopt(lease, summary.taskId);
		}
		row.grantable = fresh;
		if (fresh) this.#grant();
		else this.#audit(row.replicaId);
	}

	/** Its actor is gone: with its engine thread, or of a bug; then it is asked for again. */
	#onReplicaGone(row: ReplicaRow): void {
		if (row.state === 'stopped') {
			row.ref = null;
			return;
		}
		this.#replicas.lost(row);
		this.#loseLeases(row, 'is gone');
		this.#ctx.setTimer('start-replicas', startAgainMs, { type: 'start-replicas-due' });
	}

	/** An engine thread is gone. Its replicas may never have got so far as to name themselves. */
	#onEngineGone(ref: ActorRef<never>): boolean {
		for (const [engineId, engine] of this.#engines) {
			if (engine !== ref) continue;
			this.#engines.delete(engineId);
			this.#reload.lost();
			for (const row of this.#replicas.rows) if (row.engine === engine && row.ref === null) row.engine = null;
			this.#startReplicas();
			return true;
		}
		return false;
	}

	/** Its engine is gone: so are the slots, and the tasks on them are told. */
	#loseLeases(row: ReplicaRow, why: string): void {
		this.#ctx.cancelTimer(`audit ${row.replicaId}`);
		for (const { lease } of this.#ledger.dropReplica(row.replicaId)) {
			const lost = { type: 'replica-lost', lease, failure: this.#refusals.replicaLost(row.replicaId, why) } as const;
			const ref = this.#tasks.holding(lease)?.ref;
			if (ref !== undefined) this.#tellSurely(ref, lost);
		}
	}

	// --- waiting tasks that this pool cannot serve ----------------------------------------------------------------

	#onDrain(deadlineAt: number): void {
		this.#drain.begin(deadlineAt);
		this.#ctx.setTimer('drain', Math.max(0, deadlineAt - this.#ctx.now()), { type: 'drain-over' });
		this.#offerAll();
	}

	#onUndrain(): void {
		this.#drain.end();
		this.#ctx.cancelTimer('drain');
		this.#grant();
	}

	/** Who still runs is told to go: on elsewhere, if that can be. */
	#onDrainOver(): void {
		if (!this.#drain.active) return;
		for (const { lease, ref, goneAt } of this.#tasks) {
			if (goneAt === null) this.#tellSurely(ref, { type: 'leave-slot', lease, reason: 'drained' });
		}
	}

	/** Nobody can say when this pool serves them: another may. */
	#offerAll(): void {
		this.#drain.offer([...this.#queue]);
		this.#offer();
	}

	#offer(): void {
		for (const waiting of this.#drain.next()) {
			if (this.#queue.get(waiting.taskId) !== waiting) continue;
			this.#dequeue(waiting);
			this.#displace({ summary: waiting.summary, terms: waiting.terms, replyTo: waiting.ref }, this.#spec.poolId, null);
		}
		if (!this.#drain.done) this.#ctx.setTimer('offer', 0, { type: 'offer-due' });
	}

	#displace({ summary, terms, replyTo }: Placeable, poolId: string, not: string | null): void {
		if (this.#dispatcher.tell({ type: 'displaced', poolId, summary, terms, not, replyTo }) === 'accepted') return;
		this.#onEnqueue({ type: 'enqueue', summary, terms, origin: { kind: 'stays' }, replyTo });
	}

	#refusedForFailure(): PlacementNews {
		return { type: 'refused', failure: this.#cannotServe() };
	}

	/** News that comes once, and without which a task would wait for ever: it is told when the link has room again. */
	#tellSurely(ref: ActorRef<PlacementNews>, news: PlacementNews): void {
		if (ref.tell(news) !== 'full') return;
		this.#untold.push({ ref, news });
		this.#ctx.setTimer('tell-again', tellAgainMs, { type: 'tell-again-due' });
	}

	#tellAgain(): void {
		const untold = this.#untold;
		this.#untold = [];
		for (const { ref, news } of untold) this.#tellSurely(ref, news);
	}

	/** Why nobody new may queue here; null: they may. */
	#unserved(): Failure | null {
		if (this.#replicas.state === 'failed') return this.#cannotServe();
		return this.#replicas.exhaustedUntil === null ? null : this.#refusals.exhausted(this.#replicas.lastError, this.#retryAfterMs());
	}

	#cannotServe(): Failure {
		return this.#refusals.cannotServe(this.#replicas.lastError, this.#retryAfterMs());
	}

	// --- what it says of itself -----------------------------------------------------------------------------------

	#foresee(summary: TaskSummary): Foreseen {
		const { engine, poolId, queue } = this.#spec;
		const tooLarge = this.#refusals.tooLarge(summary);
		if (tooLarge !== null) return { type: 'would-refuse', failure: tooLarge };
		if (!this.#queue.hasRoom(summary.queuedBytes) && victimOf(queue.fullPolicy, this.#queue, summary.priority) === undefined) {
			return { type: 'would-refuse', failure: this.#refusals.full(this.#queue.length, this.#retryAfterMs()) };
		}
		const serviceMs = this.#forecast.serviceMs(summary, this.#depthOfNext());
		const { standing } = this.#forecast.foresee(summary, serviceMs, this.#levels());
		const now = this.#ctx.now();
		const onTimeProbability = this.#forecast.onTime(summary, standing, now);
		const late = this.#refusals.tooLate(summary, standing, onTimeProbability, now);
		if (late !== null) return { type: 'would-refuse', failure: late };
		return { type: 'would-queue', poolId, engine, standing, onTimeProbability };
	}

	/** When each slot comes free, as far as it can be foretold. */
	#levels(): SlotLevels {
		const now = this.#ctx.now();
		const free = this.#grantsOpen ? this.#replicas.slotsFree(this.#ledger) : 0;
		const { version } = this.#tasks;
		const last = this.#lastLevels;
		if (last !== null && last.version === version && last.free === free && now - last.at < levelsMs) return last.levels;
		const freeInMs: number[] = new Array<number>(free).fill(0);
		for (const { summary, depth, slots, startedAt } of this.#tasks) {
			const leftMs = this.#forecast.leftMs(summary, depth, now - startedAt);
			for (let slot = 0; slot < slots; slot += 1) freeInMs.push(leftMs);
		}
		const levels = new SlotLevels(freeInMs, this.#pace.heldMs);
		this.#lastLevels = { levels, at: now, version, free };
		return levels;
	}

	/** Tasks that the engine of the next task will have: all that it can, when others wait. */
	#depthOfNext(): number {
		const slots = this.#replicas.facts?.slots ?? 1;
		if (this.#queue.length > 0) return slots;
		const next = chooseReplica(this.#replicas.rows, this.#ledger, false, null, null);
		return next === null ? slots : this.#ledger.slotsIn(next.replicaId, 'granted') + 1;
	}

	/** Until there is a place again: a slot that comes free, or a replica that comes back. */
	#retryAfterMs(): number {
		const now = this.#ctx.now();
		const { state, exhaustedUntil } = this.#replicas;
		if (exhaustedUntil !== null) return Math.max(1, Math.ceil(exhaustedUntil - now));
		const retryInMs = state === 'failed' ? this.#replicas.retryInMs(now) : null;
		return retryInMs ?? this.#pace.retryAfterMs(this.#replicas.readySlots);
	}

	#watchStandings(): void {
		if (this.#standingsDue || this.#queue.length === 0) return;
		this.#standingsDue = true;
		this.#ctx.setTimer('standings', standingsMs, { type: 'standings-due', from: null });
	}

	#tellStandings(from: QueueMark | null): void {
		const next = tellStandings(this.#queue, this.#forecast, this.#levels(), this.#ctx.now(), from);
		// The rest goes behind what waits.
		if (next !== null && this.#ctx.self.tell({ type: 'standings-due', from: next }) === 'accepted') return;
		this.#standingsDue = false;
		this.#watchStandings();
	}

	/** Once for all messages that wait: this one goes behind them. */
	#publish(): void {
		if (this.#publishing) return;
		this.#publishing = this.#ctx.self.tell({ type: 'publish-due' }) === 'accepted';
	}

	#tellDispatcher(): void {
		this.#publishing = false;
		const levels = this.#levels();
		const { snapshot, view } = poolNews({
			spec: this.#spec,
			model: this.#reload.model.ref,
			reloadingTo: this.#reload.underWay,
			reloadProblem: this.#reload.problem,
			replicas: this.#replicas,
			ledger: this.#ledger,
			queue: this.#queue,
			predictedStartMs: {
				interactive: levels.startMs(this.#queue.workOf('interactive')),
				batch: levels.startMs(this.#queue.workMs),
			},
			taskEveryMs: this.#pace.heldMs / Math.max(1, this.#replicas.readySlots),
			retryAfterMs: this.#retryAfterMs(),
			running: this.#tasks.runningCount,
			drainingUntil: this.#drain.deadlineAt,
			pace: paceOf(this.#pace, this.#replicas.facts?.slots ?? 1, this.#spec.maxTokensOut),
		});
		this.#dispatcher.tell({ type: 'pool-changed', snapshot, view });
		if (this.#gaugesDue) return;
		this.#gaugesDue = true;
		this.#ctx.setTimer('gauges', gaugesMs, { type: 'gauges-due' });
	}

	#showGauges(): void {
		this.#gaugesDue = false;
		this.#telemetry.stands(this.#queue, this.#replicas.rows, this.#ledger, this.#drain.active);
	}
}

function answerOf({ outcome, reason }: Settlement): 'ended' | 'cut' | 'failed' {
	if (outcome === 'canceled') return 'cut';
	if (outcome !== 'completed') return 'failed';
	return reason === 'length' ? 'cut' : 'ended';
}
