/** What is said of sessions: between a front and the Dispatcher, and between the Dispatcher and its Pools. Types only. */

/** What is left of a session's budgets. Null: without limit. */
export interface BudgetLeft {
	readonly tokens: number | null;
	readonly timeMs: number | null;
	readonly cost: number | null;
	readonly gpuMs: number | null;
}

export interface SessionView {
	readonly sessionId: string;
	readonly ttlMsRemaining: number;
	readonly turns: number;
	/** The engine that ran its last task is still there. */
	readonly kvWarm: boolean;
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
}

export type SessionOperation =
	| { readonly kind: 'look' | 'forget' }
	/** What may be used from now on. A kind that is not named stays as it is; null: without limit. */
	| { readonly kind: 'set-budgets'; readonly budgets: Partial<BudgetLeft> };

/** Answer to `use-session`: the session behind it; null: there is none. */
export interface SessionTold {
	readonly type: 'session-told';
	readonly session: SessionView | null;
}
