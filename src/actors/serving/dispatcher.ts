/**
 * The Dispatcher: one a daemon, on the control thread. Decides which pool a task goes to, hands the task's messages on, and
 * keeps the fronts told of the pools; knows which front has which task. Parent of every Pool actor.
 *
 * After a restart (epoch above 1) pools grant nothing until every expected front has said what it still holds.
 */
import type { ActorContext, Behavior, Next, Setup, Signal } from '../kernel/behavior.ts';
import type { ActorRef } from '../kernel/ref.ts';
import type { Labels } from '../kernel/telemetry.ts';
import { type AdmissionSteps, barredModel, openAdmission } from './admission.ts';
import { placementOf } from './continuation.ts';
import type { DecisionRecord } from './decision-messages.ts';
import { DecisionRecords, decisionRecord } from './decision-records.ts';
import { type Decline, lastWord, noOthers } from './declines.ts';
import { DispatcherPools, poolMailboxMax } from './dispatcher-pools.ts';
import { DispatcherSessions, noTerms, type SessionsTick } from './dispatcher-sessions.ts';
import { type Failure, failure } from './failure.ts';
import { FrontRoster, type RosterTick } from './front-roster.ts';
import type { KnownTask, TaskClaim, TaskClaimed } from './home-messages.ts';
import { expectOfDispatcher } from './known-series.ts';
import type { DispatcherCommand, PlacementNews, PlacementPreview, TaskSummary } from './messages.ts';
import { choose, countOneMore, type Decision, decide, feasibility } from './placement.ts';
import type { ConfigurePools, PoolNews, RetireModels } from './pool-messages.ts';
import type { PoolSpec } from './pool-spec.ts';
import { PrefixPlaces } from './prefix.ts';
import type { SessionOptions } from './session-book.ts';
import type { SessionTerms } from './session-messages.ts';
import { SureNews } from './sure-news.ts';
import { TaskHomes } from './task-homes.ts';

export interface DispatcherOptions {
	/** 1 for the first control thread of the daemon, one more for each that follows. */
	readonly epoch: number;
	readonly pools: readonly PoolSpec[];
	/** Front threads that must report before anything is granted. */
	readonly expectedFronts: readonly string[];
	/** Engine threads by name: each replica has one for its home. Default: one, `engine-0`. */
	readonly engines?: readonly string[];
	/** Default: all pass. */
	readonly admission?: AdmissionSteps;
	readonly sessions: SessionOptions;
	/** See `DispatcherSessions`. */
	readonly sessionsKept?: boolean;
	/** Whether a task may name the one pool that it goes to. Default: it may. */
	readonly pinning?: boolean;
}

export type DispatcherMessage =
	| DispatcherCommand
	| ConfigurePools
	| RetireModels
	| PoolNews
	| RosterTick
	| SessionsTick
	| { readonly type: 'news-due' };

const contestedMs = 100;
/** A link without room for news has some again by then. */
const newsAgainMs = 50;

export function dispatcher(options: DispatcherOptions): Setup<DispatcherMessage> {
	return (ctx) => new Dispatcher(ctx, options);
}

const noLabels: Labels = {};
/** Each made once: a series is found by the object that names it. */
const outcomes = (['assigned', 'none'] as const).flatMap((outcome) =>
	['false', 'true'].flatMap((pinned) => ['false', 'true'].map((fallback): Labels => ({ outcome, pinned, fallback }))),
);

function outcomeLabels(outcome: Decision['kind'], pinned: boolean, fallback: boolean): Labels {
	return outcomes[(outcome === 'assigned' ? 0 : 4) + (pinned ? 2 : 0) + (fallback ? 1 : 0)] as Labels;
}

/** It will not be served by waiting. */
function isBarred({ code }: Failure): boolean {
	return code === 'MODEL_DEPRECATED' || code === 'UNTRUSTED_ARTIFACT';
}

class Dispatcher implements Behavior<DispatcherMessage> {
	readonly #ctx: ActorContext<DispatcherMessage>;
	readonly #epoch: number;
	readonly #pools: DispatcherPools;
	readonly #fronts: FrontRoster;
	readonly #unreported: Set<string>;
	/** Fronts that have not told this thread which tasks they know. */
	readonly #untold: Set<string>;
	readonly #homes = new TaskHomes();
	readonly #admission: AdmissionSteps;
	#pinning: boolean;
	readonly #decisions = new DecisionRecords();
	readonly #sessions: DispatcherSessions;
	/** Pools, by how the prompts began that went there. */
	readonly #prefixes = new PrefixPlaces();
	readonly #news: SureNews<PlacementNews>;

	constructor(ctx: ActorContext<DispatcherMessage>, options: DispatcherOptions) {
		this.#ctx = ctx;
		this.#epoch = options.epoch;
		this.#admission = options.admission ?? openAdmission;
		this.#pinning = options.pinning ?? true;
		const { epoch, pools, engines = ['engine-0'] } = options;
		this.#pools = new DispatcherPools(ctx, { epoch, pools, engines, changed: () => this.#fronts.broadcast() });
		this.#fronts = new FrontRoster(ctx, epoch, () => this.#pools.views);
		this.#sessions = new DispatcherSessions(ctx, options, this.#pools.rows, this.#fronts);
		this.#news = new SureNews(() => ctx.setTimer('news', newsAgainMs, { type: 'news-due' }));
		this.#unreported = new Set(options.expectedFronts);
		this.#untold = new Set(options.expectedFronts);
		expectOfDispatcher(ctx.telemetry);
		if (this.#unreported.size > 0) return;
		this.#sessions.allReported();
		this.#pools.openGrants();
	}

	onMessage(_ctx: ActorContext<DispatcherMessage>, message: DispatcherMessage): Next<DispatcherMessage> {
		switch (message.type) {
			case 'submit':
				this.#onSubmit(message);
				break;
			case 'preview':
				this.#onPreview(message);
				break;
			case 'news-due':
				this.#news.tellAgain();
				break;
			case 'sessions-due':
			case 'session-changes-due':
				this.#sessions.tick(message);
				break;
			case 'session-task-over':
			case 'session-task-runs':
			case 'session-task-between':
				this.#sessions.heard(message, this.#ctx.now());
				break;
			case 'report-sessions':
				this.#sessions.recall(message, this.#ctx.now());
				break;
			case 'use-session':
				this.#sessions.use(message);
				break;
			case 'displaced':
				this.#onDisplaced(message);
				break;
			case 'declined':
				this.#onDeclined(message);
				break;
			case 'would-decline':
				this.#preview(message.summary, null, this.#ctx.now(), message.declines, message.replyTo);
				break;
			case 'control-pool':
				this.#pools.control(message);
				break;
			case 'configure-pools':
				this.#pinning = message.pinning;
				this.#pools.configure(message.pools);
				break;
			case 'retire-models':
				this.#pools.retire(message);
				break;
			case 'explain':
				message.replyTo.tell({ type: 'explained', decision: this.#decisions.get(message.taskId) });
				break;
			case 'withdraw':
				this.#pools.get(message.poolId)?.ref.tell(message);
				break;
			case 'tokens-served':
				this.#pools.get(message.poolId)?.ref.tell(message);
				return 'same';
			case 'settle':
			case 'report-lease':
				this.#onLease(message);
				break;
			case 'front-joined':
				this.#onFrontJoined(message);
				break;
			case 'front-reported':
				this.#untold.delete(message.frontId);
				this.#homes.reported(message.frontId);
				this.#onFrontReported(message.frontId);
				break;
			case 'engine-joined':
				this.#pools.engineJoined(message.engineId, message.replyTo);
				break;
			case 'pool-changed':
				this.#onPoolChanged(message);
				break;
			case 'report-tasks':
				for (const task of message.tasks) this.#homes.put(message.frontId, task);
				break;
			case 'tasks-forgotten':
				for (const taskId of message.expired) this.#homes.expire(message.frontId, taskId);
				for (const taskId of message.forgotten) this.#homes.forget(message.frontId, taskId);
				break;
			case 'claim-task':
				message.replyTo.tell({ type: 'task-claimed', verdict: this.#claimed(message.frontId, message.task) });
				break;
			case 'broadcast-due':
				this.#fronts.tick();
				break;
		}
		this.#sessions.tellSoon();
		return 'same';
	}

	invariant(): string | null {
		return this.#sessions.drift();
	}

	onSignal(_ctx: ActorContext<DispatcherMessage>, signal: Signal): Next<DispatcherMessage> {
		// A pool that failed has lost its ledger. Who restarts this thread has all leases reported to a new one.
		if (signal.type === 'child-failed') throw new Error(`pool ${signal.name} failed: ${signal.message}`);
		if (signal.type !== 'terminated') return 'same';
		if (this.#pools.gone(signal.ref)) return 'same';
		for (const frontId of this.#fronts.leave(signal.ref)) {
			this.#homes.frontLost(frontId);
			// A front that died before it reported holds nothing any more: its leases died with it. Which tasks it had, its successor tells.
			this.#onFrontReported(frontId);
		}
		// Main tells of lost threads: seen from here, those of an orderly stop are lost too.
		return 'same';
	}

	#onSubmit({ summary, claim, again, replyTo }: Extract<DispatcherCommand, { type: 'submit' }>): void {
		const startedAt = this.#ctx.now();
		if (!this.#remember(summary, claim) && claim.exclusive) {
			const words = 'another front thread was sent a task by the same name at the same time; send it again';
			this.#news.tell(replyTo, { type: 'refused', failure: failure('POOL_UNREADY', words, { retryAfterMs: contestedMs }) });
			return;
		}
		const terms = this.#sessions.admit(summary, again, startedAt);
		if (terms === 'count-first') {
			this.#news.tell(replyTo, { type: 'count-first' });
			return;
		}
		const problem = 'code' in terms ? terms : null;
		const granted = 'code' in terms ? noTerms : terms;
		const { decision, record } = this.#decide(summary, problem, startedAt, [], (chosen) => {
			// One that has begun does not stand still in a pool that is being emptied.
			const mayWait = chosen.kind === 'none' && again && summary.resume === null && !isBarred(chosen.failure);
			if (mayWait && this.#mayWait(summary, granted, replyTo)) return;
			this.#place(summary, granted, chosen, [], replyTo);
		});
		this.#decided(summary, decision, record);
	}

	/** The next best pool, until none is left. */
	#onDeclined({ summary, terms, declines, replyTo }: Extract<PoolNews, { type: 'declined' }>): void {
		const { decision, record } = this.#decide(summary, null, this.#ctx.now(), declines, (chosen) => {
			this.#place(summary, terms, chosen, declines, replyTo);
		});
		this.#decided(summary, decision, record);
	}

	#decided(summary: TaskSummary, decision: Decision, record: DecisionRecord): void {
		this.#decisions.put(summary.taskId, record);
		this.#countDecision(summary, decision);
		this.#logDecision(summary, decision);
	}

	#place(
		summary: TaskSummary,
		terms: SessionTerms,
		decision: Decision,
		declines: readonly Decline[],
		replyTo: ActorRef<PlacementNews>,
	): void {
		if (decision.kind === 'none') {
			this.#sessions.giveBack(summary, terms, this.#ctx.now());
			this.#news.tell(replyTo, { type: 'refused', failure: decision.failure });
			return;
		}
		const row = this.#pools.get(decision.poolId);
		const asked = { declines, others: decision.others };
		if (row !== undefined && this.#pools.send(row, { type: 'enqueue', summary, terms, origin: null, asked, replyTo })) {
			this.#prefixes.put(summary.prefixes, decision.poolId);
			return countOneMore(row.snapshot);
		}
		this.#sessions.giveBack(summary, terms, this.#ctx.now());
		const words = `${decision.poolId} has more than ${poolMailboxMax} messages waiting`;
		this.#news.tell(replyTo, {
			type: 'refused',
			failure: failure('ADMISSION_REJECT', words, { poolId: decision.poolId, policyLabel: 'reject', retryAfterMs: 1_000 }),
		});
	}

	/** A task that has its 202 waits where it could be served, were that not being drained. */
	#mayWait(summary: TaskSummary, terms: SessionTerms, replyTo: ActorRef<PlacementNews>): boolean {
		const undrained = this.#pools.snapshots(summary).map((snapshot) => ({ ...snapshot, draining: false }));
		const decision = decide(undrained, summary);
		const row = decision.kind === 'none' ? undefined : this.#pools.get(decision.poolId);
		const stays = { type: 'enqueue', summary, terms, origin: { kind: 'stays' }, asked: noOthers, replyTo } as const;
		return row !== undefined && this.#pools.send(row, stays);
	}

	/** To another pool that can serve it, else back to where it was. */
	#onDisplaced({ poolId, summary, terms, not, replyTo }: Extract<PoolNews, { type: 'displaced' }>): void {
		const home = this.#pools.get(poolId);
		const others = this.#pools
			.snapshots(summary)
			.filter((each) => each.poolId !== poolId && each.poolId !== not && (each.hasRoom || each.slotsFree > 0 || summary.resume !== null));
		const { pools, job } = placementOf(others, summary);
		const decision: Decision | null = not === null && pools.length > 0 ? decide(pools, job) : null;
		const assigned = decision?.kind === 'assigned' ? this.#pools.get(decision.poolId) : undefined;
		if (decision?.kind === 'assigned' && assigned !== undefined) {
			const origin = { kind: 'moved', from: poolId } as const;
			if (this.#pools.send(assigned, { type: 'enqueue', summary, terms, origin, asked: noOthers, replyTo })) {
				countOneMore(assigned.snapshot);
				this.#pools.moved(home, assigned);
				this.#logDecision(summary, decision);
				return;
			}
		}
		if (home !== undefined && home.barred !== null) {
			this.#sessions.giveBack(summary, terms, this.#ctx.now(), false);
			this.#news.tell(replyTo, { type: 'refused', failure: barredModel(summary.modelRef, home.barred) });
			return;
		}
		const stays = { type: 'enqueue', summary, terms, origin: { kind: 'stays' }, asked: noOthers, replyTo } as const;
		if (home !== undefined && this.#pools.send(home, stays)) return;
		this.#sessions.giveBack(summary, terms, this.#ctx.now(), false);
		this.#news.tell(replyTo, {
			type: 'refused',
			failure: failure('POOL_UNREADY', `${poolId} has more to do than it can take`, { retryAfterMs: 1_000 }),
		});
	}

	/** False: another front has it. */
	#remember(summary: TaskSummary, { frontId, bodyHash, keys }: TaskClaim): boolean {
		// One whose front is gone is gone with it: its pool hears so at once.
		if (!this.#fronts.has(frontId)) return true;
		const { taskId, tenant } = summary;
		return this.#homes.put(frontId, { taskId, tenant, bodyHash, keys });
	}

	#claimed(frontId: string, task: KnownTask): TaskClaimed['verdict'] {
		if (this.#untold.size > 0 || !this.#fronts.has(frontId)) return { kind: 'unsure' };
		return this.#homes.claim(frontId, task);
	}

	/** Of a pool that is configured no more, a lease means nothing: neither its end nor its life. */
	#onLease(message: Extract<DispatcherCommand, { type: 'settle' | 'report-lease' }>): void {
		const { lease } = message;
		if (message.type === 'report-lease') this.#remember(message.summary, message.claim);
		const row = this.#pools.get(lease.poolId);
		if (row !== undefined)
			row.ref.tell(
				message.type === 'settle' ? message : { ...message, terms: this.#sessions.termsOfRunning(message.summary, this.#ctx.now()) },
			);
		else if (message.type === 'settle') this.#ctx.telemetry.count('stale_settlements_total', { pool_id: lease.poolId });
	}

	#onPreview({ summary, replyTo }: Extract<DispatcherCommand, { type: 'preview' }>): void {
		const startedAt = this.#ctx.now();
		this.#preview(summary, this.#sessions.check(summary, startedAt), startedAt, [], replyTo);
	}

	#preview(
		summary: TaskSummary,
		problem: Failure | null,
		startedAt: number,
		declines: readonly Decline[],
		replyTo: ActorRef<PlacementPreview>,
	): void {
		const { decision, record } = this.#decide(summary, problem, startedAt, declines);
		if (decision.kind === 'none') {
			replyTo.tell({ type: 'would-refuse', failure: decision.failure, decision: record });
			return;
		}
		this.#pools.get(decision.poolId)?.ref.tell({ type: 'foresee', summary, decision: record, declines, replyTo });
	}

	/** `use` has the decision before it is recorded: how long that takes is a part of the record. */
	#decide(
		summary: TaskSummary,
		refused: Failure | null,
		startedAt: number,
		declines: readonly Decline[],
		use: (decision: Decision) => void = () => undefined,
	): { readonly decision: Decision; readonly record: DecisionRecord } {
		const problem = refused ?? this.#admission.catalog(summary, startedAt, () => this.#pools.models(summary)) ?? this.#whyNoPin(summary);
		const admittedAt = this.#ctx.now();
		const { pools, job } = placementOf(this.#pools.snapshots(summary), summary);
		const feasible = problem === null ? feasibility(pools, job, declines) : { pools: [], considered: [], failure: problem };
		const consideredAt = this.#ctx.now();
		const chosen = choose(feasible, job, this.#sessions.lastPoolOf(summary) ?? this.#prefixes.find(summary.prefixes));
		const decision = chosen.kind === 'none' && problem === null ? { ...chosen, failure: lastWord(declines) ?? chosen.failure } : chosen;
		const chosenAt = this.#ctx.now();
		use(decision);
		return { decision, record: decisionRecord(decision, [startedAt, admittedAt, consideredAt, chosenAt, this.#ctx.now()]) };
	}

	#whyNoPin({ placement: { mode, pinPoolId } }: TaskSummary): Failure | null {
		if (this.#pinning || (mode !== 'pin' && pinPoolId === null)) return null;
		const field = pinPoolId === null ? 'placement.mode is pin' : `placement.pin_pool_id is ${JSON.stringify(pinPoolId)}`;
		return failure('INVALID_PARAMS', `${field}; pins are not allowed here (placement.pinning), prefer_pools is`);
	}

	#countDecision(summary: TaskSummary, decision: Decision): void {
		const { telemetry } = this.#ctx;
		const fallback = decision.kind === 'assigned' && decision.fallback;
		telemetry.count('placement_decisions_total', outcomeLabels(decision.kind, summary.placement.pinPoolId !== null, fallback));
		telemetry.gauge('placement_candidates_considered', noLabels, decision.considered.length);
	}

	/** For those who ask why: its front tells the task's own story. */
	#logDecision({ correlationId, taskId, sessionId }: TaskSummary, decision: Decision): void {
		if (this.#ctx.telemetry.logs?.('debug') === false) return;
		const chosen = decision.kind === 'assigned';
		this.#ctx.telemetry.log('debug', 'placement-decided', {
			correlation_id: correlationId,
			task_id: taskId,
			session_id: sessionId ?? undefined,
			pool_id: chosen ? decision.poolId : undefined,
			code: chosen ? undefined : decision.failure.code,
			outcome: decision.kind,
			count: decision.considered.length,
			human: chosen ? `Goes to ${decision.poolId}, of ${decision.considered.length} pools considered.` : 'No pool can take it.',
		});
	}

	#onFrontJoined({ frontId, draining, purging = [], replyTo: ref }: Extract<DispatcherCommand, { type: 'front-joined' }>): void {
		// What an operator has ordered outlives this thread.
		for (const { poolId, deadlineAt } of draining) {
			const row = this.#pools.get(poolId);
			if (row !== undefined && row.drainingUntil === null && this.#epoch > 1) this.#pools.drain(row, deadlineAt);
		}
		if (this.#epoch > 1) for (const { poolId, ...purge } of purging) this.#pools.resumePurge(poolId, purge);
		this.#ctx.watch(ref);
		this.#sessions.frontJoined();
		this.#fronts.join(frontId, ref);
	}

	#onFrontReported(frontId: string): void {
		if (!this.#unreported.delete(frontId) || this.#unreported.size > 0) return;
		this.#sessions.allReported();
		this.#pools.openGrants();
	}

	#onPoolChanged(news: Extract<PoolNews, { type: 'pool-changed' }>): void {
		const told = this.#pools.told(news);
		if (told !== null) this.#fronts.poolChanged(told.before, told.now);
	}
}
