/**
 * The Pool actor: one engine and model with one queue. The only writer of its queue and its ledger, on the control thread;
 * it grants slots and takes them back, and never sees a prompt or a token.
 *
 * A task here: `enqueue` → queued → (a slot is free) granted → settled. Its actor is watched from the first to the last; if
 * it dies in between, its place or its slot comes back, the slot by way of quarantine.
 */
import type { ActorContext, Behavior, Next, Setup, Signal } from '../kernel/behavior.ts';
import type { ActorRef } from '../kernel/ref.ts';
import { leaseKey } from './engine-life.ts';
import { PaceMeter } from './eta.ts';
import { type Failure, failure } from './failure.ts';
import { LeaseLedger } from './lease-ledger.ts';
import type { Lease, PlacementNews, PlacementPreview, QueueStanding, ReplicaNews, TaskSummary } from './messages.ts';
import { PoolForecast, type PoolNow } from './pool-forecast.ts';
import type { PoolCommand, PoolMessage, PoolNews } from './pool-messages.ts';
import { chooseReplica, nextIdle, PoolReplicas, type ReplicaRow } from './pool-replicas.ts';
import type { PoolSpec } from './pool-spec.ts';
import { PoolTelemetry } from './pool-telemetry.ts';
import { poolNews } from './pool-view.ts';
import { type QueueEntry, victimOf, WaitingQueue } from './queue.ts';

export interface PoolOptions {
	readonly spec: PoolSpec;
	/** Of the control thread: fences leases. */
	readonly epoch: number;
	readonly dispatcher: ActorRef<PoolNews>;
}

interface Waiting extends QueueEntry {
	readonly summary: TaskSummary;
	readonly ref: ActorRef<PlacementNews>;
	readonly predictedStartMs: number;
	toldPosition: number;
}

interface Running {
	readonly lease: Lease;
	readonly summary: TaskSummary;
	readonly ref: ActorRef<PlacementNews>;
	readonly workMs: number;
	readonly startedAt: number;
}

const standingsMs = 1_000;
const auditMs = 250;
const ledgerMs = 5_000;
/** How far behind a strict task at the head others may be looked for that another replica can take. */
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
	readonly #pace = new PaceMeter();
	readonly #forecast: PoolForecast;
	readonly #replicas: PoolReplicas;
	readonly #running = new Map<string, Running>();
	/** Whose death means what: every queued or running task's actor. */
	readonly #taskOf = new Map<ActorRef<never>, { readonly taskId: string; leaseKey: string | null }>();
	readonly #telemetry: PoolTelemetry;
	#grantsOpen = false;
	#standingsDue = false;
	#publishing = false;

	constructor(ctx: ActorContext<PoolMessage>, options: PoolOptions) {
		this.#ctx = ctx;
		this.#spec = options.spec;
		this.#epoch = options.epoch;
		this.#dispatcher = options.dispatcher;
		this.#queue = new WaitingQueue(options.spec.queue);
		this.#ledger = new LeaseLedger(options.spec.poolId, options.epoch);
		this.#replicas = new PoolReplicas(options.spec);
		this.#forecast = new PoolForecast(this.#pace, this.#queue, options.spec.maxTokensOut);
		this.#telemetry = new PoolTelemetry(ctx.telemetry, options.spec);
		ctx.setTimer('ledger', ledgerMs, { type: 'ledger-due' });
		this.#publish();
	}

	onMessage(_ctx: ActorContext<PoolMessage>, message: PoolMessage): Next<PoolMessage> {
		if (message.type === 'publish-due') this.#tellDispatcher();
		else {
			this.#handle(message);
			this.#publish();
		}
		return 'same';
	}

	onSignal(_ctx: ActorContext<PoolMessage>, signal: Signal): Next<PoolMessage> {
		if (signal.type !== 'terminated') return 'same';
		const row = this.#replicas.withRef(signal.ref);
		if (row === undefined) this.#onTaskGone(signal.ref);
		else this.#onReplicaLost(row);
		this.#publish();
		return 'same';
	}

	#handle(message: Exclude<PoolMessage, { type: 'publish-due' }>): void {
		switch (message.type) {
			case 'enqueue':
				this.#onEnqueue(message.summary, message.replyTo);
				return;
			case 'foresee':
				message.replyTo.tell(this.#foresee(message.summary));
				return;
			case 'withdraw':
				this.#onWithdraw(message.taskId);
				return;
			case 'settle':
				this.#onSettle(message);
				return;
			case 'report-lease':
				this.#onReportLease(message);
				return;
			case 'use-engine':
				this.#onUseEngine(message);
				return;
			case 'open-grants':
				this.#grantsOpen = true;
				this.#grant();
				return;
			case 'standings-due':
				this.#standingsDue = false;
				this.#tellStandings();
				return;
			case 'audit-due':
				this.#audit(message.replicaId);
				return;
			case 'ledger-due':
				this.#checkLedger();
				return;
			default:
				this.#onReplicaNews(message);
		}
	}

	// --- tasks ----------------------------------------------------------------------------------------------------

	#onEnqueue(summary: TaskSummary, ref: ActorRef<PlacementNews>): void {
		if (this.#queue.get(summary.taskId) !== undefined) {
			ref.tell({ type: 'refused', failure: failure('CONFLICT', `task_id ${summary.taskId} is in the queue already`) });
			return;
		}
		const refusal = this.#makeRoom(summary);
		if (refusal !== null) {
			ref.tell({ type: 'refused', failure: refusal });
			return;
		}
		const standing = this.#forecast.standingFor(summary, this.#now());
		this.#queue.enqueue({
			taskId: summary.taskId,
			priority: summary.priority,
			admittedAt: summary.admittedAt,
			bytes: summary.queuedBytes,
			workMs: this.#forecast.workMs(summary),
			summary,
			ref,
			predictedStartMs: standing.predictedStartMs,
			toldPosition: standing.position,
		});
		this.#follow(ref, summary.taskId, null);
		this.#telemetry.enqueued(summary, this.#replicas.facts);
		ref.tell({
			type: 'queued',
			poolId: this.#spec.poolId,
			engine: this.#spec.engine,
			standing: { ...standing, queueDepth: this.#queue.length },
			onTimeProbability: this.#forecast.onTime(summary, standing, this.#ctx.now()),
		});
		this.#grant();
		this.#watchStandings();
	}

	/** Null: there is room, perhaps made by dropping another. */
	#makeRoom(summary: TaskSummary): Failure | null {
		const { poolId, engine, queue } = this.#spec;
		if (summary.queuedBytes > queue.bytesMax) {
			const words = `the request holds ${summary.queuedBytes} bytes; the queue of ${poolId} allows ${queue.bytesMax}`;
			return failure('INVALID_PARAMS', words, { engine, poolId });
		}
		while (!this.#queue.hasRoom(summary.queuedBytes)) {
			const victim = victimOf(queue.fullPolicy, this.#queue, summary.priority);
			this.#telemetry.backpressure();
			if (victim === undefined) return this.#full();
			this.#dequeue(victim);
			this.#telemetry.dropped(victim.summary);
			const words = `dropped from the full queue of ${poolId} to make room`;
			const more = { engine, poolId, retryAfterMs: this.#pace.retryAfterMs, policyLabel: queue.fullPolicy };
			victim.ref.tell({ type: 'refused', failure: failure('QUEUE_FULL_DROP_LRU', words, more) });
		}
		return null;
	}

	#full(): Failure {
		const { poolId, engine, queue } = this.#spec;
		const code = queue.fullPolicy === 'drop-lru' ? 'QUEUE_FULL_DROP_LRU' : 'ADMISSION_REJECT';
		const words = `the queue of ${poolId} is full (${this.#queue.length} of ${queue.capacity} tasks)`;
		return failure(code, words, { engine, poolId, retryAfterMs: this.#pace.retryAfterMs, policyLabel: queue.fullPolicy });
	}

	#onWithdraw(taskId: string): void {
		const waiting = this.#queue.get(taskId);
		if (waiting === undefined) return;
		this.#dequeue(waiting);
		waiting.ref.tell({ type: 'withdrawn' });
		this.#grant();
	}

	#onSettle({ lease, settlement }: Extract<PoolCommand, { type: 'settle' }>): void {
		const running = this.#running.get(leaseKey(lease));
		const known = settlement.slot === 'free' ? this.#ledger.release(lease) : this.#ledger.quarantine(lease);
		if (!known || running === undefined) {
			this.#telemetry.staleSettlement(lease);
			return;
		}
		this.#running.delete(leaseKey(lease));
		this.#unfollow(running.ref);
		this.#pace.finished({
			now: this.#ctx.now(),
			tokensIn: settlement.tokensIn,
			tokensOut: settlement.tokensOut,
			prefillMs: settlement.prefillMs,
			decodeMs: settlement.decodeMs,
			completed: settlement.outcome === 'completed',
		});
		if (settlement.slot === 'unknown') this.#audit(lease.replicaId);
		this.#grant();
	}

	/** After a control restart: a running task says what it holds. */
	#onReportLease({ lease, summary, replyTo }: Extract<PoolCommand, { type: 'report-lease' }>): void {
		const row = this.#replicas.find(lease.replicaId);
		if (row?.state === 'ready' && !this.#ledger.adopt(lease, summary.taskId)) {
			replyTo.tell({ type: 'replica-lost', lease, failure: this.#resetFailure(lease.replicaId, 'is gone') });
			return;
		}
		this.#running.set(leaseKey(lease), {
			lease,
			summary,
			ref: replyTo,
			workMs: this.#forecast.workMs(summary),
			startedAt: this.#ctx.now(),
		});
		this.#follow(replyTo, summary.taskId, leaseKey(lease));
	}

	#onTaskGone(ref: ActorRef<never>): void {
		const followed = this.#taskOf.get(ref);
		if (followed === undefined) return;
		this.#taskOf.delete(ref);
		const waiting = this.#queue.remove(followed.taskId);
		const running = followed.leaseKey === null ? undefined : this.#running.get(followed.leaseKey);
		if (running !== undefined && this.#ledger.get(running.lease)?.state === 'void') {
			this.#running.delete(leaseKey(running.lease));
			this.#ledger.release(running.lease);
		} else if (running !== undefined) {
			// Its settlement may be on its way through the dispatcher, behind this news: it is taken then; else the engine is asked.
			this.#ledger.quarantine(running.lease);
			this.#auditSoon(running.lease.replicaId);
		}
		if (waiting !== undefined) this.#grant();
	}

	#dequeue(waiting: Waiting): void {
		this.#queue.remove(waiting.taskId);
		this.#unfollow(waiting.ref);
	}

	#follow(ref: ActorRef<PlacementNews>, taskId: string, key: string | null): void {
		this.#taskOf.set(ref, { taskId, leaseKey: key });
		this.#ctx.watch(ref);
	}

	#unfollow(ref: ActorRef<PlacementNews>): void {
		this.#taskOf.delete(ref);
		this.#ctx.unwatch(ref);
	}

	// --- slots ----------------------------------------------------------------------------------------------------

	/** Grants what can be granted, in the queue's order. A strict task at the head keeps an idle-going replica for itself. */
	#grant(): void {
		if (!this.#grantsOpen) return;
		let position = 0;
		let kept: ReplicaRow | null = null;
		while (position < Math.min(this.#queue.length, lookBehind)) {
			const waiting = this.#queue.at(position);
			if (waiting === undefined) return;
			const row = chooseReplica(this.#replicas.rows, this.#ledger, waiting.summary.strict, kept);
			if (row !== null) {
				this.#start(waiting, row);
				continue;
			}
			// Only behind strict tasks may others still find a place: at another replica.
			if (!waiting.summary.strict) return;
			kept ??= nextIdle(this.#replicas.rows, this.#ledger);
			position += 1;
		}
	}

	#start(waiting: Waiting, row: ReplicaRow): void {
		const { facts } = row;
		if (facts === null) return;
		const { summary, ref } = waiting;
		const now = this.#ctx.now();
		this.#queue.remove(waiting.taskId);
		const lease = this.#ledger.grant(row.replicaId, waiting.taskId, summary.strict);
		this.#running.set(leaseKey(lease), { lease, summary, ref, workMs: waiting.workMs, startedAt: now });
		this.#taskOf.set(ref, { taskId: summary.taskId, leaseKey: leaseKey(lease) });
		this.#telemetry.started(summary, facts, this.#pace.started(waiting.predictedStartMs, now - summary.admittedAt));
		const standing: QueueStanding = {
			position: 0,
			predictedStartMs: 0,
			predictedEndMs: waiting.workMs,
			estimated: this.#pace.estimated,
			queueDepth: this.#queue.length,
		};
		const delivery = ref.tell({
			type: 'granted',
			lease,
			replica: facts,
			ctx: Math.min(facts.ctx, summary.ctx ?? facts.ctx),
			maxTokensOut: this.#spec.maxTokensOut,
			timeouts: this.#spec.timeouts,
			standing,
		});
		if (delivery === 'accepted') return;
		// It never heard of its slot: the engine cannot be using it.
		this.#running.delete(leaseKey(lease));
		this.#ledger.release(lease);
		this.#unfollow(ref);
	}

	#audit(replicaId: string): void {
		const row = this.#replicas.find(replicaId);
		if (row?.ref === null || row?.state !== 'ready') return;
		if (row.grantable && this.#ledger.slotsIn(replicaId, 'quarantined') === 0) return;
		row.ref.tell({ type: 'audit' });
		this.#auditSoon(replicaId);
	}

	#auditSoon(replicaId: string): void {
		this.#ctx.setTimer(`audit ${replicaId}`, auditMs, { type: 'audit-due', replicaId });
	}

	#onAudited(row: ReplicaRow, busyLeases: readonly string[]): void {
		const busy = new Set(busyLeases);
		for (const key of this.#ledger.audited(row.replicaId, busy)) this.#running.delete(key);
		if (!row.grantable && this.#grantsOpen) {
			this.#ledger.quarantineUnknown(row.replicaId, busy);
			row.grantable = true;
		}
		if (row.grantable && this.#ledger.slotsIn(row.replicaId, 'quarantined') === 0) this.#ctx.cancelTimer(`audit ${row.replicaId}`);
		this.#grant();
	}

	#checkLedger(): void {
		this.#ctx.setTimer('ledger', ledgerMs, { type: 'ledger-due' });
		const drift = this.#ledger.drift();
		if (drift !== null) this.#telemetry.drift(drift);
	}

	// --- replicas -------------------------------------------------------------------------------------------------

	#onUseEngine({ replyTo }: Extract<PoolCommand, { type: 'use-engine' }>): void {
		for (const row of this.#replicas.rows) {
			if (row.engine !== null) continue;
			row.engine = replyTo;
			const { poolId, engine, settings } = this.#spec;
			replyTo.tell({ type: 'start-replica', replica: { replicaId: row.replicaId, poolId, engine, settings }, replyTo: this.#ctx.self });
		}
	}

	#onReplicaNews(news: ReplicaNews): void {
		const row = this.#replicas.find(news.replicaId);
		if (row === undefined) return;
		switch (news.type) {
			case 'replica-started':
				if (row.ref !== null) this.#ctx.unwatch(row.ref);
				row.ref = news.replyTo;
				this.#ctx.watch(news.replyTo);
				return;
			case 'replica-ready':
				this.#onReplicaReady(row, news);
				return;
			case 'replica-failed':
				this.#replicas.failed(row, news.failure);
				this.#loseLeases(row, news.failure.message);
				if (this.#replicas.state === 'failed') this.#refuseAll(news.failure);
				return;
			case 'replica-stopped':
				row.state = 'stopped';
				this.#loseLeases(row, 'was stopped');
				return;
			case 'audited':
				this.#onAudited(row, news.busyLeases);
				return;
		}
	}

	#onReplicaReady(row: ReplicaRow, { facts }: Extract<ReplicaNews, { type: 'replica-ready' }>): void {
		this.#replicas.ready(row, facts);
		this.#ledger.addReplica(row.replicaId, facts.slots);
		// Tasks that reported before their replica did.
		for (const running of this.#running.values()) {
			if (running.lease.replicaId === row.replicaId) this.#ledger.adopt(running.lease, running.summary.taskId);
		}
		// A first control thread knows that a fresh engine is idle; a later one asks.
		row.grantable = this.#epoch === 1;
		if (row.grantable) this.#grant();
		else this.#audit(row.replicaId);
	}

	#onReplicaLost(row: ReplicaRow): void {
		this.#replicas.lost(row);
		this.#loseLeases(row, 'lost its engine thread');
	}

	/** Its engine is gone: so are the slots, and the tasks on them are told. */
	#loseLeases(row: ReplicaRow, why: string): void {
		this.#ctx.cancelTimer(`audit ${row.replicaId}`);
		for (const held of this.#ledger.dropReplica(row.replicaId)) {
			const running = this.#running.get(leaseKey(held.lease));
			running?.ref.tell({ type: 'replica-lost', lease: held.lease, failure: this.#resetFailure(row.replicaId, why) });
		}
		// What was in quarantine is over with its engine.
		for (const [key, { lease }] of this.#running) {
			if (lease.replicaId === row.replicaId && this.#ledger.get(lease) === undefined) this.#running.delete(key);
		}
	}

	#resetFailure(replicaId: string, why: string): Failure {
		return failure('WORKER_RESET', `replica ${replicaId}: ${why}`, { engine: this.#spec.engine, poolId: this.#spec.poolId });
	}

	/** Nobody can say when this pool serves again: who waits is told, and may try elsewhere. */
	#refuseAll(why: Failure): void {
		for (const waiting of [...this.#queue]) {
			this.#dequeue(waiting);
			const words = `${this.#spec.poolId} cannot serve: ${why.message}`;
			const refusal = failure('POOL_UNREADY', words, {
				engine: this.#spec.engine,
				poolId: this.#spec.poolId,
				retryAfterMs: this.#pace.retryAfterMs,
			});
			waiting.ref.tell({ type: 'refused', failure: refusal });
		}
	}

	// --- what it says of itself -----------------------------------------------------------------------------------

	#foresee(summary: TaskSummary): PlacementPreview {
		const { engine, poolId, queue } = this.#spec;
		if (!this.#queue.hasRoom(summary.queuedBytes) && victimOf(queue.fullPolicy, this.#queue, summary.priority) === undefined) {
			return { type: 'would-refuse', failure: this.#full() };
		}
		const standing = this.#forecast.standingFor(summary, this.#now());
		return { type: 'would-queue', poolId, engine, standing, onTimeProbability: this.#forecast.onTime(summary, standing, this.#ctx.now()) };
	}

	#now(): PoolNow {
		const now = this.#ctx.now();
		const runningLeftMs: number[] = [];
		for (const { workMs, startedAt } of this.#running.values()) runningLeftMs.push(workMs - (now - startedAt));
		return { runningLeftMs, slots: this.#replicas.readySlots };
	}

	#watchStandings(): void {
		if (this.#standingsDue || this.#queue.length === 0) return;
		this.#standingsDue = true;
		this.#ctx.setTimer('standings', standingsMs, { type: 'standings-due' });
	}

	/** One pass over the queue: who moved is told. */
	#tellStandings(): void {
		const now = this.#now();
		let position = 0;
		let workAheadMs = 0;
		for (const waiting of this.#queue) {
			if (waiting.toldPosition !== position) {
				waiting.toldPosition = position;
				waiting.ref.tell({ type: 'standing-changed', standing: this.#forecast.standingAt({ position, workAheadMs }, waiting.workMs, now) });
			}
			position += 1;
			workAheadMs += waiting.workMs;
		}
		this.#watchStandings();
	}

	/** Once for all messages that wait: this one goes behind them. */
	#publish(): void {
		if (this.#publishing) return;
		this.#publishing = this.#ctx.self.tell({ type: 'publish-due' }) === 'accepted';
	}

	#tellDispatcher(): void {
		this.#publishing = false;
		const { snapshot, view } = poolNews({
			spec: this.#spec,
			replicas: this.#replicas,
			ledger: this.#ledger,
			queue: this.#queue,
			predictedStartMs: this.#forecast.startMs(this.#queue.workMs, this.#now()),
			retryAfterMs: this.#pace.retryAfterMs,
		});
		this.#telemetry.stands(view, this.#replicas.rows, this.#ledger);
		this.#dispatcher.tell({ type: 'pool-changed', snapshot, view });
	}
}
