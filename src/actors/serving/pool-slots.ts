/**
 * The slots of a pool: who is given one, what a task's end says, and what is done about slots of which nobody knows whether
 * they are free. Part of the Pool actor.
 */
import type { ActorRef } from '../kernel/ref.ts';
import type { OpenBreaker } from './circuit-breaker.ts';
import { leaseKey } from './engine-life.ts';
import { errorRatio } from './error-ratios.ts';
import type { Lease, Settlement } from './messages.ts';
import type { PoolCommand } from './pool-messages.ts';
import type { PoolOffers } from './pool-offers.ts';
import { PoolPreemption } from './pool-preemption.ts';
import { chooseReplica, nextIdle, type ReplicaRow } from './pool-replicas.ts';
import type { PoolState } from './pool-state.ts';
import type { Waiting } from './pool-tasks.ts';
import type { Charge } from './queue.ts';
import type { PriorityClass } from './task-request.ts';

const auditMs = 250;
const ledgerMs = 5_000;
/** Tasks of a queue that are looked over at once: what is wrong in a longer one still is when it has become shorter. */
const lookOverMax = 10_000;
/** How far behind a task that cannot be served now others may be looked for that can. */
const lookBehind = 32;

export class PoolSlots {
	readonly #pool: PoolState;
	readonly #offers: PoolOffers;
	readonly #preemption: PoolPreemption;

	constructor(pool: PoolState, offers: PoolOffers) {
		this.#pool = pool;
		this.#offers = offers;
		this.#preemption = new PoolPreemption(pool.spec);
		pool.ctx.setTimer('ledger', ledgerMs, { type: 'ledger-due' });
	}

	/** Grants what can be granted, in the queue's order. A strict task at the head keeps an idle-going replica for itself. */
	grant(): void {
		const { drain, replicas, ledger, prefixes } = this.#pool;
		if (!this.#pool.grantsOpen || drain.active || this.#pool.phase === 'leaving') return;
		const passed: string[] = [];
		let kept: ReplicaRow | null = null;
		while (passed.length < lookBehind) {
			const waiting = this.#firstBut(passed);
			if (waiting === undefined) return;
			const { strict } = waiting.summary;
			const alike = prefixes.find(waiting.summary.prefixes);
			const row = chooseReplica(replicas.rows, ledger, strict, kept, waiting.terms.replicaId, alike);
			if (row !== null && this.#start(waiting, row)) continue;
			// Only behind strict tasks, and tasks that could not be told, may others still find a place.
			if (row === null && !strict) return this.#preempt(waiting.priority);
			if (strict) kept ??= nextIdle(replicas.rows, ledger);
			passed.push(waiting.taskId);
		}
	}

	/** The next task is one of this class, and finds no slot. */
	#preempt(next: PriorityClass): void {
		const { ctx, queue, tasks } = this.#pool;
		if (next !== 'interactive') return;
		const now = ctx.now();
		for (const { lease, ref } of this.#preemption.victims(queue.depth('interactive'), tasks, now)) {
			const delivery = ref.tell({ type: 'leave-slot', lease, reason: 'preempted' });
			if (delivery === 'accepted') this.#preemption.asked(lease, now);
		}
	}

	/** Each start charges a tenant, so that another may be next. */
	#firstBut(passed: readonly string[]): Waiting | undefined {
		const { queue } = this.#pool;
		if (passed.length === 0) return queue.first;
		for (const waiting of queue) if (!passed.includes(waiting.taskId)) return waiting;
		return undefined;
	}

	/** False: its actor could not be told. It keeps its place; if it is gone, we shall hear. */
	#start(waiting: Waiting, row: ReplicaRow): boolean {
		const { spec, ledger, forecast, ctx, queue, sessions, tasks, pace, telemetry, prefixes } = this.#pool;
		const { facts } = row;
		if (facts === null) return false;
		const { summary, terms, ref, serviceMs } = waiting;
		const { timeouts } = spec;
		const lease = ledger.grant(row.replicaId, waiting.taskId, summary.strict, summary.sessionId);
		const delivery = ref.tell({
			type: 'granted',
			lease,
			replica: facts,
			ctx: Math.min(facts.ctx, summary.ctx ?? facts.ctx),
			maxTokensOut: Math.min(spec.maxTokensOut, terms.outputCap ?? spec.maxTokensOut),
			timeouts: { ...timeouts, wallMs: Math.min(timeouts.wallMs, terms.wallCapMs ?? timeouts.wallMs) },
			migration: spec.migration === 'on',
			standing: forecast.standing(summary.priority, 0, 0, serviceMs, { warmUp: null, now: ctx.now() }),
		});
		if (delivery !== 'accepted') {
			ledger.release(lease);
			if (delivery === 'full') this.#pool.tellAgainSoon();
			return false;
		}
		const now = ctx.now();
		const charge = queue.start(waiting.taskId);
		const slots = ledger.get(lease)?.slots ?? 1;
		const depth = ledger.slotsIn(row.replicaId, 'granted');
		const predicted = waiting.cold ? null : { at: waiting.enqueuedAt, endMs: waiting.predictedEndMs };
		sessions.runs(waiting, facts);
		prefixes.put(summary.prefixes, row.replicaId);
		tasks.runs({
			lease,
			summary,
			work: forecast.workOf(summary),
			terms,
			ref,
			depth,
			predicted,
			slots,
			charge,
			startedAt: now,
			goneAt: null,
		});
		row.breaker.started(leaseKey(lease));
		const waitedMs = now - waiting.enqueuedAt;
		// Of those that found a free slot there was nothing to foretell, and a load is foretold by others.
		if (waiting.startMs > 0 && !waiting.cold) pace.starts[summary.priority].add(waiting.startMs, waitedMs);
		telemetry.started(summary, facts, errorRatio(waiting.predictedStartMs, waitedMs));
		return true;
	}

	/** Answers are charged as they come, not when they end. */
	served(leases: readonly number[]): void {
		const { tasks, queue, forecast } = this.#pool;
		for (let at = 0; at + 2 < leases.length; at += 3) {
			const running = tasks.holding({ epoch: leases[at] as number, id: leases[at + 1] as number });
			if (running !== undefined) queue.served(running.charge, forecast.costSoFar(running.summary, leases[at + 2] as number));
		}
	}

	/** Once a lease: what is settled again, was never ours or is of an older epoch has no effect. */
	settle({ lease, settlement, correlationId }: Extract<PoolCommand, { type: 'settle' }>): void {
		const { tasks, telemetry, ctx, ledger, queue, forecast, sessions, replicas, pace } = this.#pool;
		const running = tasks.holding(lease);
		if (running === undefined) {
			telemetry.staleSettlement(lease, correlationId);
			return;
		}
		tasks.ended(leaseKey(lease));
		if (this.#preemption.settled(running, settlement, ctx.now())) telemetry.preempted();
		this.#judge(running.lease, settlement);
		const depthAtEnd = ledger.slotsIn(lease.replicaId, 'granted');
		queue.settle(running.charge, forecast.costInTruth(running.summary, settlement));
		if (settlement.slot === 'free') ledger.release(lease);
		else {
			ledger.quarantine(lease);
			this.audit(lease.replicaId);
		}
		const { tokensIn, tokensOut, prefillMs, decodeMs, outcome } = settlement;
		const now = ctx.now();
		const heldMs = now - running.startedAt;
		sessions.settled(running, settlement, heldMs, replicas.facts);
		if (outcome !== 'unused') {
			const completed = outcome === 'completed';
			const depth = (running.depth + depthAtEnd) / 2;
			pace.finished({ heldMs, tokensIn, tokensOut, prefillMs, decodeMs, depth, answer: answerOf(settlement) });
			if (completed && running.predicted !== null)
				pace.ends[running.summary.priority].add(running.predicted.endMs, now - running.predicted.at);
		}
		this.grant();
	}

	/** What a task's end says of its replica. */
	#judge(lease: Lease, settlement: Settlement): void {
		const { replicas, drain, ctx } = this.#pool;
		const row = replicas.find(lease.replicaId);
		const verdict = verdictOf(settlement);
		// Tasks that a drain has stopped say nothing of their engine.
		const said = verdict === 'death' && drain.active ? 'neither' : verdict;
		const before = row?.breaker.state;
		if (row?.breaker.ended(leaseKey(lease), said, ctx.now()) === true) this.tripped(row, settlement.reason);
		else if (row !== undefined && before !== 'closed' && row.breaker.state === 'closed') {
			row.ref?.tell({ type: 'keep-breaker', breaker: null });
			ctx.cancelTimer(`breaker ${row.replicaId}`);
		}
	}

	/** A control thread before this one had given up on it for a while. */
	trippedBefore(row: ReplicaRow, breaker: OpenBreaker): void {
		row.breaker.restore(breaker);
		this.tripped(row, breaker.why);
	}

	/** After a control restart: a running task says what it holds. Its replica may still be to come. */
	reportLease({ lease, summary, terms, replyTo }: Extract<PoolCommand, { type: 'report-lease' }>): void {
		const { ledger, sessions, news, refusals, replicas, forecast, tasks, queue, ctx } = this.#pool;
		if (ledger.has(lease.replicaId) && !ledger.adopt(lease, summary.taskId)) {
			sessions.lost({ summary, terms });
			return news.tell(replyTo, {
				type: 'replica-lost',
				lease,
				failure: refusals.replicaLost(lease.replicaId, 'is gone'),
			});
		}
		const slots = lease.exclusive ? (replicas.facts?.slots ?? 1) : 1;
		const charge: Charge = { tenant: summary.tenant, class: summary.priority, cost: forecast.costAtStart(summary) };
		if (tasks.holding(lease) === undefined) queue.adopt(charge);
		const depth = this.#pool.depthOfNext();
		const startedAt = ctx.now();
		tasks.runs({
			lease,
			summary,
			work: forecast.workOf(summary),
			terms,
			ref: replyTo,
			depth,
			predicted: null,
			slots,
			charge,
			startedAt,
			goneAt: null,
		});
	}

	taskGone(ref: ActorRef<never>): void {
		const { tasks, ctx, queue, sessions, ledger } = this.#pool;
		const gone = tasks.gone(ref, ctx.now());
		if (gone === undefined) return;
		if (!('lease' in gone)) {
			queue.remove(gone.taskId);
			sessions.left(gone);
			return this.grant();
		}
		// Its settlement may be on its way through the dispatcher, behind this news: it is taken then. Else the engine is asked; if
		// that is gone too, the lease is forgotten after a while.
		const { lease } = gone;
		if (ledger.get(lease)?.state !== 'granted') return;
		ledger.quarantine(lease);
		this.#auditSoon(lease.replicaId);
	}

	/** Its engine is gone: so are the slots, and the tasks on them are told. */
	loseLeases(row: ReplicaRow, why: string): void {
		const { ctx, ledger, refusals, tasks, news } = this.#pool;
		ctx.cancelTimer(`audit ${row.replicaId}`);
		for (const { lease } of ledger.dropReplica(row.replicaId)) {
			const lost = { type: 'replica-lost', lease, failure: refusals.replicaLost(row.replicaId, why) } as const;
			const ref = tasks.holding(lease)?.ref;
			if (ref !== undefined) news.tell(ref, lost);
		}
	}

	audit(replicaId: string): void {
		const { replicas, ledger } = this.#pool;
		const row = replicas.find(replicaId);
		if (row?.ref === null || row?.state !== 'ready') return;
		if (row.grantable && ledger.slotsIn(replicaId, 'quarantined') === 0) return;
		const revoked = ledger.revoked(replicaId);
		if (row.ref.tell({ type: 'audit', revoked }) === 'accepted') ledger.asked(replicaId);
		this.#auditSoon(replicaId);
	}

	#auditSoon(replicaId: string): void {
		this.#pool.ctx.setTimer(`audit ${replicaId}`, auditMs, { type: 'audit-due', replicaId });
	}

	audited(row: ReplicaRow, busyLeases: readonly string[]): void {
		const { ledger, ctx } = this.#pool;
		const busy = new Set(busyLeases);
		for (const key of ledger.audited(row.replicaId, busy)) this.#forget(key);
		if (row.state === 'ready' && !row.grantable && this.#pool.grantsOpen) {
			ledger.quarantineUnknown(row.replicaId, busy);
			row.grantable = true;
		}
		if (row.grantable && ledger.slotsIn(row.replicaId, 'quarantined') === 0) ctx.cancelTimer(`audit ${row.replicaId}`);
		this.grant();
	}

	tripped(row: ReplicaRow, why: string): void {
		const { ctx, replicas, telemetry } = this.#pool;
		const now = ctx.now();
		replicas.tripped(row, why, now);
		telemetry.tripped(row);
		row.ref?.tell({ type: 'keep-breaker', breaker: row.breaker.kept(why) });
		ctx.setTimer(`breaker ${row.replicaId}`, Math.max(1, row.breaker.openUntil - now), {
			type: 'breaker-due',
			replicaId: row.replicaId,
		});
		// Others may serve those that wait. Who finds none waits for the trial.
		if (replicas.exhaustedUntil !== null) this.#offers.all();
	}

	/** Nobody will ever say what it came to: its tenant pays what it was charged for it. */
	#forget(key: string): void {
		const { tasks, queue, sessions, replicas, ctx } = this.#pool;
		const running = tasks.ended(key);
		if (running === undefined) return;
		queue.settle(running.charge, running.charge.cost);
		sessions.vanished(running);
		replicas.find(running.lease.replicaId)?.breaker.ended(key, 'neither', ctx.now());
	}

	check(): void {
		const { ctx, tasks, ledger, telemetry } = this.#pool;
		ctx.setTimer('ledger', ledgerMs, { type: 'ledger-due' });
		for (const { lease } of tasks.goneBefore(ctx.now() - ledgerMs)) {
			if (ledger.get(lease)?.state === 'quarantined') continue;
			ledger.release(lease);
			this.#forget(leaseKey(lease));
		}
		const drift = this.drift();
		if (drift !== null) telemetry.drift(drift);
	}

	/** Slots are the sum of leases, each granted one is some task's, and the queue is what its tasks make it; null, or what is wrong. */
	drift(): string | null {
		const { tasks, ledger, queue } = this.#pool;
		const unheld = ledger.held('granted').find(({ lease }) => tasks.holding(lease) === undefined);
		return (
			ledger.drift() ??
			(unheld === undefined ? null : `${unheld.lease.replicaId}: a slot is granted to ${unheld.taskId}, which has no task`) ??
			(queue.length > lookOverMax ? null : queue.drift((waiting) => tasks.follows(waiting)))
		);
	}
}

function answerOf({ outcome, reason }: Settlement): 'ended' | 'cut' | 'failed' {
	if (outcome === 'canceled') return 'cut';
	if (outcome !== 'completed') return 'failed';
	return reason === 'length' ? 'cut' : 'ended';
}

/**
 * What the end of a task says of its engine. A client that leaves, a deadline that passes and a request that is wrong say
 * nothing; a watchdog and a generation that broke do.
 */
function verdictOf({ outcome, slot, reason }: Settlement): 'success' | 'failure' | 'death' | 'neither' {
	if (outcome === 'completed') return 'success';
	if (reason === 'watchdog' || reason === 'DECODE_TIMEOUT' || reason === 'INTERNAL') return 'failure';
	if (reason === 'unreachable' || reason === 'replica-lost') return 'death';
	if (reason === 'WORKER_RESET') return slot === 'free' ? 'failure' : 'death';
	return 'neither';
}
