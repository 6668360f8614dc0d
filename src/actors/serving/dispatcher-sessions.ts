/**
 * The session's step of an admission, for the Dispatcher: what a task may use is reserved before a pool hears of it, and given
 * back when a later step refuses it. Part of the Dispatcher actor.
 */
import type { ActorContext } from '../kernel/behavior.ts';
import { nothing } from './budget.ts';
import type { WorstCase } from './budget-weighing.ts';
import { type Failure, failure } from './failure.ts';
import type { FrontRoster } from './front-roster.ts';
import type { PoolView, ReplicaFacts, TaskSummary } from './messages.ts';
import { answersTo } from './placement.ts';
import type { PoolNews } from './pool-messages.ts';
import { gpusOf } from './pool-sessions.ts';
import type { PoolSpec } from './pool-spec.ts';
import { SessionBook, type SessionOptions } from './session-book.ts';
import type { LastReplica, ReportSessions, SessionTerms, SessionTold, UseSession } from './session-messages.ts';

/** Of a task without a session. */
export const noTerms: SessionTerms = { lease: null, outputCap: null, wallCapMs: null, budget: null, replicaId: null, held: null };

const unready = failure('POOL_UNREADY', 'the scheduler is being started again', { retryAfterMs: 200 });

/** Sessions that nobody uses are forgotten, and their ledger is looked over, this often. */
const lookOverMs = 5_000;
/** What fronts keep of sessions is this old at most; of their own tasks they know better. */
const tellMs = 100;

export interface SessionsTick {
	readonly type: 'sessions-due' | 'session-changes-due';
}

type Owner = Pick<ActorContext<SessionsTick>, 'now' | 'setTimer' | 'telemetry'>;

interface SessionsOptions {
	/** Of the control thread. */
	readonly epoch: number;
	readonly sessions: SessionOptions;
	/** Fronts will tell of those of an earlier daemon. Default: there are none. */
	readonly sessionsKept?: boolean;
}

interface KnownPool {
	readonly spec: PoolSpec;
	readonly view: PoolView;
}

export class DispatcherSessions {
	readonly #ctx: Owner;
	readonly #fronts: FrontRoster;
	readonly #book: SessionBook;
	readonly #pools: ReadonlyMap<string, KnownPool>;

	/** All fronts have said what they know of an earlier book's sessions, of this daemon or on disk: till then nobody new gets in. */
	#complete: boolean;

	#telling = false;

	constructor(
		ctx: Owner,
		{ sessions, epoch, sessionsKept = false }: SessionsOptions,
		pools: ReadonlyMap<string, KnownPool>,
		fronts: FrontRoster,
	) {
		this.#ctx = ctx;
		this.#book = new SessionBook(sessions, epoch);
		this.#pools = pools;
		this.#fronts = fronts;
		this.#complete = epoch === 1 && !sessionsKept;
		ctx.setTimer('sessions', lookOverMs, { type: 'sessions-due' });
	}

	/** What a front has kept. */
	recall({ sessions, ended }: ReportSessions, now: number): void {
		for (const record of sessions) if (!this.#complete) this.#book.recall(record, now);
		for (const each of ended) this.#book.recallEnded(each, now);
	}

	/** A front has come, and is to know of sessions what the others do. */
	frontJoined(): void {
		this.#book.tellAll();
	}

	allReported(): void {
		if (!this.#complete) this.#book.recalled();
		this.#complete = true;
	}

	tick({ type }: SessionsTick): void {
		if (type === 'sessions-due') return this.#lookOver();
		this.#telling = false;
		this.#tell();
	}

	/** At the end of each turn that may have changed something. */
	tellSoon(): void {
		if (this.#telling || !this.#book.haveChanged) return;
		this.#telling = true;
		this.#ctx.setTimer('session-changes', tellMs, { type: 'session-changes-due' });
	}

	/** For the fronts to keep. Those who had no room hear it again, with the others. */
	#tell(): void {
		const changes = this.#book.takeChanges();
		if (changes !== null && !this.#fronts.tell(changes)) this.#book.untold(changes);
	}

	/** Budgets are the sum of leases; null, or what is wrong. */
	drift(): string | null {
		return this.#book.drift();
	}

	/** Forgets what nobody uses, and sees that leases and sums agree. */
	#lookOver(): void {
		this.#ctx.setTimer('sessions', lookOverMs, { type: 'sessions-due' });
		this.#book.sweep(this.#ctx.now());
		const drift = this.drift();
		if (drift === null) return;
		this.#ctx.telemetry.count('ledger_drift_total', { pool_id: '' });
		this.#ctx.telemetry.log('error', 'ledger-drift', { human: drift });
	}

	/** Where the session was last. */
	lastPoolOf({ sessionId }: TaskSummary): string | null {
		return this.#book.lastReplica(sessionId)?.poolId ?? null;
	}

	/** `again`: it has its 202, and its turn. */
	admit(summary: TaskSummary, again: boolean, now: number): SessionTerms | Failure | 'count-first' {
		const { sessionId } = summary;
		if (sessionId === null) return noTerms;
		if (!again && !this.#complete) return unready;
		const replicaId = this.#book.lastReplica(sessionId)?.replicaId ?? null;
		const admitted = this.#book.admit(whatIsLeft(summary), this.#worstOf(summary), again, now);
		return admitted === 'count-first' || 'code' in admitted ? admitted : { ...admitted, replicaId };
	}

	/** It runs, whatever its session has left by now. */
	termsOfRunning(summary: TaskSummary, now: number): SessionTerms {
		const terms = this.admit({ ...summary, counted: true }, true, now);
		return terms === 'count-first' || 'code' in terms ? noTerms : terms;
	}

	/** The dry run of `admit`. */
	check(summary: TaskSummary, now: number): Failure | null {
		if (summary.sessionId === null) return null;
		if (!this.#complete) return unready;
		const checked = this.#book.check({ ...summary, counted: true }, this.#worstOf(summary), now);
		return checked === 'count-first' ? null : checked;
	}

	/** It was refused behind this step: as if it had not been there, unless it had its 202. */
	giveBack({ sessionId }: TaskSummary, { lease }: SessionTerms, now: number, isNew = true): void {
		if (sessionId !== null && lease !== null) this.#book.over(sessionId, lease, nothing, isNew, now);
	}

	heard(news: Extract<PoolNews, { type: 'session-task-over' | 'session-task-runs' | 'session-task-between' }>, now: number): void {
		if (news.type === 'session-task-runs') this.#book.ran(news.sessionId, news.at);
		else if (news.type === 'session-task-between') this.#book.between(news.sessionId, news.lease, news.used, now);
		else this.#book.over(news.sessionId, news.lease, news.used, news.refused, now);
	}

	use(message: UseSession): void {
		const told = this.#used(message, this.#ctx.now());
		// Whoever has its answer can rely on it: the next control thread hears of it too.
		this.#tell();
		message.replyTo.tell(told);
	}

	#used({ sessionId, tenant, operation }: UseSession, now: number): SessionTold {
		if (!this.#complete) return { type: 'session-told', session: null, failure: unready };
		// To others it is not there.
		const owner = this.#book.tenantOf(sessionId);
		if (tenant !== null && owner !== null && owner !== tenant) return { type: 'session-told', session: null, failure: null };
		if (operation.kind === 'set-budgets') this.#book.setBudgets(sessionId, operation.budgets, now, tenant);
		const view = this.#book.view(sessionId, (last) => this.#isWarm(last), now);
		const last = this.#book.lastReplica(sessionId);
		if (operation.kind === 'forget') this.#book.forget(sessionId);
		const session = view === null ? null : { ...view, kvBytes: last === null ? null : this.#kvBytes(last) };
		return { type: 'session-told', session, failure: null };
	}

	#isWarm(last: LastReplica): boolean {
		return this.#warmFacts(last) !== null;
	}

	#kvBytes(last: LastReplica): number | null {
		const each = this.#warmFacts(last)?.kvBytesPerToken;
		return each === undefined || last.tokens === undefined ? null : each * last.tokens;
	}

	/** Of the very engine that ran the last task; null: it is gone. */
	#warmFacts({ poolId, replicaId, address }: LastReplica): ReplicaFacts | null {
		const replica = this.#pools.get(poolId)?.view.replicas.find((each) => each.replicaId === replicaId);
		return replica?.state === 'ready' && replica.facts?.address === address ? replica.facts : null;
	}

	/** Of the pools that may have it, what would use up most of each budget. */
	#worstOf({ modelRef }: TaskSummary): WorstCase {
		const pools = [...this.#pools.values()].filter(({ view }) => answersTo(view, modelRef));
		const most = (of: (pool: KnownPool) => number): number => Math.max(0, ...pools.map(of));
		return {
			maxTokensOut: most(({ spec }) => spec.maxTokensOut),
			wallMs: most(({ spec }) => spec.timeouts.wallMs),
			costPerTokenIn: most(({ spec }) => spec.prices.perTokenIn),
			costPerTokenOut: most(({ spec }) => spec.prices.perTokenOut),
			gpus: most(({ spec, view }) => gpusOf(spec, view.replicas.find(({ facts }) => facts !== null)?.facts ?? null)),
		};
	}
}

/** Of a task that goes on: its prompt and its tokens so far were charged with the slots that it has left. */
function whatIsLeft(summary: TaskSummary): TaskSummary {
	const { resume, maxTokens } = summary;
	if (resume === null || resume.tokens === 0) return summary;
	const tokensLeft = maxTokens === null ? null : Math.max(1, maxTokens - resume.tokens);
	return { ...summary, maxTokens: tokensLeft, promptTokens: 0, promptBytes: 0, counted: true };
}
