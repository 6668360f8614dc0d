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
import { PaceMeter, predictStartMs } from './eta.ts';
import { type Failure, failure } from './failure.ts';
import { LeaseLedger } from './lease-ledger.ts';
import type { Lease, PlacementNews, PlacementPreview, PoolView, QueueStanding, ReplicaNews, TaskSummary } from './messages.ts';
import type { PoolSnapshot } from './placement.ts';
import type { PoolCommand, PoolMessage, PoolNews } from './pool-messages.ts';
import { PoolReplicas, type ReplicaRow } from './pool-replicas.ts';
import type { PoolSpec } from './pool-spec.ts';
import { PoolTelemetry } from './pool-telemetry.ts';
import { type QueueEntry, WaitingQueue } from './queue.ts';

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
		if (this.#queue.get(summary.taskId) !== undefined) return;
		const refusal = this.#makeRoom(summary);
		if (refusal !== null) {
			ref.tell({ type: 'refused', failure: refusal });
			return;
		}
		const standing = this.#standingFor(summary);
		this.#queue.enqueue({
			taskId: summary.taskId,
			priority: summary.priority,
			admittedAt: summary.admittedAt,
			bytes: summary.queuedBytes,
			workMs: this.#workMs(summary),
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
			onTimeProbability: this.#onTime(summary, standing),
		});
		this.#grant();
		this.#watchStandings();
	}

	/** Null: there is room, perhaps made by dropping another. */
	#makeRoom(summary: TaskSummary): Failure | null {
		const { bytesMax, capacity, fullPolicy } = this.#spec.queue;
		const where = { engine: this.#spec.engine, poolId: this.#spec.poolId, retryAfterMs: this.#pace.retryAfterMs };
		if (summary.queuedBytes > bytesMax) {
			return failure(
				'INVALID_PARAMS',
				`the request holds ${summary.queuedBytes} bytes; the queue of ${this.#spec.poolId} allows ${bytesMax}`,
				where,
			);
		}
		while (!this.#queue.hasRoom(summary.queuedBytes)) {
			const victim = this.#victim(summary);
			this.#telemetry.backpressure();
			if (victim === undefined) {
				const code = fullPolicy === 'drop-lru' ? 'QUEUE_FULL_DROP_LRU' : 'ADMISSION_REJECT';
				return failure(code, `the queue of ${this.#spec.poolId} is full (${this.#queue.length} of ${capacity} tasks)`, {
					...where,
					policyLabel: fullPolicy,
				});
			}
			this.#dequeue(victim);
			this.#telemetry.dropped(victim.summary);
			const words = `dropped from the full queue of ${this.#spec.poolId} to make room`;
			victim.ref.tell({ type: 'refused', failure: failure('QUEUE_FULL_DROP_LRU', words, { ...where, policyLabel: fullPolicy }) });
		}
		return null;
	}

	/** Whom the policy drops for a newcomer: the oldest batch task, else (`drop-lru`, for an interactive one) the oldest. */
	#victim(newcomer: TaskSummary): Waiting | undefined {
		switch (this.#spec.queue.fullPolicy) {
			case 'reject':
				return undefined;
			case 'shed-low-priority':
				return newcomer.priority === 'interactive' ? this.#queue.oldest('batch') : undefined;
			case 'drop-lru':
				return this.#queue.oldest('batch') ?? (newcomer.priority === 'interactive' ? this.#queue.oldest('interactive') : undefined);
		}
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
		this.#running.set(leaseKey(lease), { lease, summary, ref: replyTo, workMs: this.#workMs(summary), startedAt: this.#ctx.now() });
		this.#follow(replyTo, summary.taskId, leaseKey(lease));
	}

	#onTaskGone(ref: ActorRef<never>): void {
		const followed = this.#taskOf.get(ref);
		if (followed === undefined) return;
		this.#taskOf.delete(ref);
		const waiting = this.#queue.remove(followed.taskId);
		const running = followed.leaseKey === null ? undefined : this.#running.get(followed.leaseKey);
		if (running !== undefined) {
			this.#running.delete(leaseKey(running.lease));
			this.#ledger.quarantine(running.lease);
			this.#audit(running.lease.replicaId);
		}
		if (waiting !== undefined || running !== undefined) this.#grant();
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
			const row = this.#replicaFor(waiting.summary, kept);
			if (row !== null) {
				this.#start(waiting, row);
				continue;
			}
			// Only behind strict tasks may others still find a place: at another replica.
			if (!waiting.summary.strict) return;
			kept ??= this.#nextIdle();
			position += 1;
		}
	}

	#replicaFor(summary: TaskSummary, kept: ReplicaRow | null): ReplicaRow | null {
		let best: ReplicaRow | null = null;
		for (const row of this.#replicas.rows) {
			if (row.state !== 'ready' || !row.grantable || row === kept) continue;
			const free = this.#ledger.free(row.replicaId);
			if (free < 1 || (summary.strict && !this.#ledger.isIdle(row.replicaId))) continue;
			if (best === null || free > this.#ledger.free(best.replicaId)) best = row;
		}
		return best;
	}

	/** The replica that will be idle first, near enough: the one with the fewest slots in use. */
	#nextIdle(): ReplicaRow | null {
		const ready = this.#replicas.rows.filter((row) => row.state === 'ready' && row.grantable);
		return ready.toSorted((a, b) => this.#ledger.free(b.replicaId) - this.#ledger.free(a.replicaId))[0] ?? null;
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
		this.#ctx.setTimer(`audit ${replicaId}`, auditMs, { type: 'audit-due', replicaId });
	}

	#onAudited(row: ReplicaRow, busyLeases: readonly string[]): void {
		const busy = new Set(busyLeases);
		this.#ledger.audited(row.replicaId, busy);
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

	#workMs(summary: TaskSummary): number {
		return this.#pace.serviceMs({
			promptTokens: summary.promptTokens ?? summary.promptBytes / 4,
			expectedTokens: summary.expectedTokens,
			maxTokens: summary.maxTokens ?? this.#spec.maxTokensOut,
		});
	}

	#runningLeftMs(): number[] {
		const now = this.#ctx.now();
		return [...this.#running.values()].map((running) => running.workMs - (now - running.startedAt));
	}

	/** Of a task that came now. */
	#standingFor(summary: TaskSummary): QueueStanding {
		const place = this.#queue.placeFor(summary.priority, summary.admittedAt);
		const predictedStartMs = this.#predict(place.workAheadMs, this.#runningLeftMs());
		return {
			position: place.position,
			predictedStartMs,
			predictedEndMs: predictedStartMs + this.#workMs(summary),
			estimated: this.#pace.estimated,
			queueDepth: this.#queue.length,
		};
	}

	#predict(workAheadMs: number, runningLeftMs: readonly number[]): number {
		return predictStartMs(workAheadMs, runningLeftMs, this.#replicas.readySlots);
	}

	#onTime(summary: TaskSummary, standing: QueueStanding): number | null {
		if (summary.deadlineAt === null) return null;
		return this.#pace.onTimeProbability(standing.predictedEndMs, summary.deadlineAt - this.#ctx.now());
	}

	#foresee(summary: TaskSummary): PlacementPreview {
		const full = !this.#queue.hasRoom(summary.queuedBytes) && this.#victim(summary) === undefined;
		const { engine, poolId } = this.#spec;
		if (full) {
			const words = `the queue of ${poolId} is full (${this.#queue.length} of ${this.#spec.queue.capacity} tasks)`;
			const more = { engine, poolId, policyLabel: this.#spec.queue.fullPolicy, retryAfterMs: this.#pace.retryAfterMs };
			return { type: 'would-refuse', failure: failure('ADMISSION_REJECT', words, more) };
		}
		const standing = this.#standingFor(summary);
		return { type: 'would-queue', poolId, engine, standing, onTimeProbability: this.#onTime(summary, standing) };
	}

	#watchStandings(): void {
		if (this.#standingsDue || this.#queue.length === 0) return;
		this.#standingsDue = true;
		this.#ctx.setTimer('standings', standingsMs, { type: 'standings-due' });
	}

	/** One pass over the queue: who moved is told. */
	#tellStandings(): void {
		const left = this.#runningLeftMs();
		let position = 0;
		let workAheadMs = 0;
		for (const waiting of this.#queue) {
			if (waiting.toldPosition !== position) {
				waiting.toldPosition = position;
				const predictedStartMs = this.#predict(workAheadMs, left);
				const standing: QueueStanding = {
					position,
					predictedStartMs,
					predictedEndMs: predictedStartMs + waiting.workMs,
					estimated: this.#pace.estimated,
					queueDepth: this.#queue.length,
				};
				waiting.ref.tell({ type: 'standing-changed', standing });
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
		const facts = this.#replicas.facts;
		const spec = this.#spec;
		const slotsFree = this.#replicas.rows.reduce(
			(sum, row) => sum + (row.state === 'ready' && row.grantable ? this.#ledger.free(row.replicaId) : 0),
			0,
		);
		const snapshot: PoolSnapshot = {
			poolId: spec.poolId,
			engine: spec.engine,
			model: spec.model,
			aliases: spec.aliases,
			devices: spec.devices,
			state: this.#replicas.state,
			lastError: this.#replicas.lastError,
			ctx: facts?.ctx ?? null,
			maxTokensOut: spec.maxTokensOut,
			workloads: facts?.workloads ?? null,
			samplerProfileVersion: facts?.samplerProfileVersion ?? null,
			slotsFree,
			predictedStartMs: this.#predict(this.#queue.workMs, this.#runningLeftMs()),
			retryAfterMs: this.#pace.retryAfterMs,
		};
		const view: PoolView = {
			poolId: spec.poolId,
			engine: spec.engine,
			provider: spec.provider,
			model: spec.model,
			aliases: spec.aliases,
			ctx: facts?.ctx ?? 0,
			maxTokensOut: spec.maxTokensOut,
			slotsTotal: this.#replicas.readySlots,
			slotsFree,
			queueDepth: { interactive: this.#queue.depth('interactive'), batch: this.#queue.depth('batch') },
			state: snapshot.state,
			lastError: snapshot.lastError,
			replicas: this.#replicas.rows.map((row) => ({
				replicaId: row.replicaId,
				state: row.state,
				facts: row.state === 'ready' ? row.facts : null,
				lastError: row.lastError?.message ?? null,
			})),
		};
		this.#telemetry.stands(view, this.#replicas.rows, this.#ledger);
		this.#dispatcher.tell({ type: 'pool-changed', snapshot, view });
	}
}
