/**
 * The session's step of an admission, for the Dispatcher: what a task may use is reserved before a pool hears of it, and given
 * back when a later step refuses it. Part of the Dispatcher actor.
 */
import { nothing } from './budget.ts';
import { type Failure, failure } from './failure.ts';
import type { DispatcherCommand, PoolView, TaskSummary } from './messages.ts';
import { answersTo } from './placement.ts';
import type { PoolNews } from './pool-messages.ts';
import { gpusOf } from './pool-sessions.ts';
import type { PoolSpec } from './pool-spec.ts';
import { SessionBook, type SessionOptions, type WorstCase } from './session-book.ts';
import type { LastReplica, ReportSessions, SessionsChanged, SessionTerms, SessionTold } from './session-messages.ts';

/** Of a task without a session. */
export const noTerms: SessionTerms = { lease: null, outputCap: null, wallCapMs: null, budget: null, replicaId: null, held: null };

const unready = failure('POOL_UNREADY', 'the scheduler is being started again', { retryAfterMs: 200 });

interface KnownPool {
	readonly spec: PoolSpec;
	readonly view: PoolView;
}

export class DispatcherSessions {
	readonly #book: SessionBook;
	readonly #pools: ReadonlyMap<string, KnownPool>;

	/** All fronts have said what they know of an earlier book's sessions: till then nobody new gets in. */
	#complete: boolean;

	constructor(options: SessionOptions, pools: ReadonlyMap<string, KnownPool>, epoch: number) {
		this.#book = new SessionBook(options, epoch);
		this.#pools = pools;
		this.#complete = epoch === 1;
	}

	/** What a front has kept. */
	recall({ sessions, ended }: ReportSessions, now: number): void {
		for (const record of sessions) if (!this.#complete) this.#book.recall(record, now);
		for (const each of ended) this.#book.recallEnded(each, now);
	}

	allReported(): void {
		if (!this.#complete) this.#book.recalled();
		this.#complete = true;
	}

	get haveChanged(): boolean {
		return this.#book.haveChanged;
	}

	untold(changes: SessionsChanged): void {
		this.#book.untold(changes);
	}

	/** For the fronts to keep; null: there is nothing new. */
	takeChanges(): SessionsChanged | null {
		return this.#book.takeChanges();
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
		const admitted = this.#book.admit(summary, this.#worstOf(summary), again, now);
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
		return !this.#complete ? unready : this.#book.check(summary, this.#worstOf(summary), now);
	}

	/** It was refused behind this step: as if it had not been there. */
	giveBack({ sessionId }: TaskSummary, { lease }: SessionTerms, now: number): void {
		if (sessionId !== null && lease !== null) this.#book.over(sessionId, lease, nothing, true, now);
	}

	heard(news: Extract<PoolNews, { type: 'session-task-over' | 'session-task-runs' | 'session-task-between' }>, now: number): void {
		if (news.type === 'session-task-runs') this.#book.ran(news.sessionId, news.at);
		else if (news.type === 'session-task-between') this.#book.between(news.sessionId, news.lease, news.used, now);
		else this.#book.over(news.sessionId, news.lease, news.used, news.refused, now);
	}

	use({ sessionId, operation }: Extract<DispatcherCommand, { type: 'use-session' }>, now: number): SessionTold {
		if (!this.#complete) return { type: 'session-told', session: null, failure: unready };
		if (operation.kind === 'set-budgets') this.#book.setBudgets(sessionId, operation.budgets, now);
		const view = this.#book.view(sessionId, (last) => this.#isWarm(last), now);
		if (operation.kind === 'forget') this.#book.forget(sessionId);
		return { type: 'session-told', session: view, failure: null };
	}

	/** Forgets what nobody uses. Null: leases and sums agree; else what is wrong. */
	lookOver(now: number): string | null {
		this.#book.sweep(now);
		return this.#book.drift();
	}

	#isWarm({ poolId, replicaId, address }: LastReplica): boolean {
		const replica = this.#pools.get(poolId)?.view.replicas.find((each) => each.replicaId === replicaId);
		return replica?.state === 'ready' && replica.facts?.address === address;
	}

	/** Of the pools that may have it, what would use up most of each budget. */
	#worstOf({ modelRef }: TaskSummary): WorstCase {
		const pools = [...this.#pools.values()].filter(({ spec }) => answersTo(spec, modelRef));
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
