/**
 * What is said of sessions: between a front and the Dispatcher, and between the Dispatcher and its Pools. Types only.
 *
 * Fronts keep what they are told, for the next control thread. Limits are of all that is ever used, and what was used and the
 * turns only grow: so what several fronts know is put together by taking the most of each.
 */

import type { ActorRef } from '../kernel/ref.ts';
import type { Amounts, Limits } from './budget.ts';
import type { Failure } from './failure.ts';

/** What is left of a session's budgets. Null: without limit. */
export interface BudgetLeft {
	readonly tokens: number | null;
	readonly timeMs: number | null;
	readonly cost: number | null;
	readonly gpuMs: number | null;
}

/** Where a session was last. */
export interface LastReplica {
	readonly poolId: string;
	readonly replicaId: string;
	/** Of the engine that ran it: another one at the same place has nothing of it. */
	readonly address: string;
	/** Prompt and output of its last task there, which its slot held when that had ended; absent: it has not. */
	readonly tokens?: number;
}

/** A session as a front keeps it. */
export interface SessionRecord {
	readonly sessionId: string;
	/** Tells it from one by the same id that was forgotten; grows. */
	readonly born: number;
	/** Grows with each change. */
	readonly version: number;
	/** Of its first task, or of the key that opened it; null: an operator has opened it, and no task has come. */
	readonly tenant: string | null;
	readonly limits: Limits;
	/** By tasks that have settled. */
	readonly used: Amounts;
	readonly turns: number;
	/** On `Host.now`; forgotten so long after it. */
	readonly usedAt: number;
	readonly ttlMs: number;
	readonly last: LastReplica | null;
}

/** What a task has of its session, as its front keeps it. */
export interface HeldOfSession {
	/** Of the control thread that has reserved it. */
	readonly epoch: number;
	/** Right behind its admission. */
	readonly record: SessionRecord;
	/** Tasks whose settlements are in that, and were not told to the fronts by then. */
	readonly settled: readonly string[];
	readonly reserved: Amounts;
	readonly outputCap: number | null;
	readonly wallCapMs: number | null;
}

/** A task that has ended, and of whose settlement the front has not heard. */
export interface EndedOfSession {
	readonly taskId: string;
	readonly held: HeldOfSession;
	/** No less than it has used. */
	readonly used: Amounts;
}

/** Dispatcher → every front, now and then. */
export interface SessionsChanged {
	readonly type: 'sessions-changed';
	readonly sessions: readonly SessionRecord[];
	/** Tasks whose settlements are in that, of a version no higher. */
	readonly settled: readonly { readonly taskId: string; readonly version: number }[];
	readonly forgotten: readonly string[];
}

/** Front → Dispatcher: after a control restart, before `front-reported`; of tasks that end in between, a little later too. */
export interface ReportSessions {
	readonly type: 'report-sessions';
	readonly sessions: readonly SessionRecord[];
	readonly ended: readonly EndedOfSession[];
}

export interface SessionView {
	readonly sessionId: string;
	readonly ttlMsRemaining: number;
	readonly turns: number;
	/** The engine that ran its last task is still there. */
	readonly kvWarm: boolean;
	/** What that task left in the cache there, at most: others may have made room in it since. Null: it runs yet, or nobody tells. */
	readonly kvBytes: number | null;
	readonly budget: BudgetLeft;
}

/** What a task's session allows it, beside what its pool does. Null: no bound. */
export interface SessionTerms {
	/** Of its budgets, and of its turn; null: it has no session. */
	readonly lease: number | null;
	readonly outputCap: number | null;
	readonly wallCapMs: number | null;
	/** Of the session, once this task's part is reserved. */
	readonly budget: BudgetLeft | null;
	/** Had the last task of the session. */
	readonly replicaId: string | null;
	/** For its front; null: it has no session. */
	readonly held: HeldOfSession | null;
}

export type SessionOperation =
	| { readonly kind: 'look' | 'forget' }
	/** What may be used from now on. A kind that is not named stays as it is; null: without limit. */
	| { readonly kind: 'set-budgets'; readonly budgets: Partial<BudgetLeft> };

/** Front → Dispatcher, for whoever asks. */
export interface UseSession {
	readonly type: 'use-session';
	readonly sessionId: string;
	/** Of the key that asks; null: an operator, for any. */
	readonly tenant: string | null;
	readonly operation: SessionOperation;
	readonly replyTo: ActorRef<SessionTold>;
}

/** Answer to `use-session`: the session behind it; null: there is none. */
export interface SessionTold {
	readonly type: 'session-told';
	readonly session: SessionView | null;
	/** Why nobody can say; null: it is said. */
	readonly failure: Failure | null;
}
