/** One session as its book keeps it, and what is said of a task that is weighed against it. For the book alone, on the control thread. */
import { type Amounts, Budget, nothing } from './budget.ts';
import type { BudgetLeft, HeldOfSession, LastReplica } from './session-messages.ts';

/** A task may go on, within these bounds; null: no bound beside its own. */
export interface Admitted {
	readonly lease: number | null;
	readonly outputCap: number | null;
	readonly wallCapMs: number | null;
	readonly budget: BudgetLeft | null;
	readonly held: HeldOfSession | null;
}

export interface TaskOfSession {
	readonly taskId: string;
	readonly again: boolean;
	readonly admitted: Admitted;
}

export interface Session {
	readonly id: string;
	readonly born: number;
	version: number;
	/** See `SessionRecord`. */
	tenant: string | null;
	/** The most that fronts were told of it by an earlier book. */
	told: Amounts;
	usedAt: number;
	turns: number;
	readonly budget: Budget;
	/** Tasks that are under way, by their leases. */
	readonly tasks: Map<number, TaskOfSession>;
	last: LastReplica | null;
	/** Tasks that have settled since fronts were told of it. */
	untold: string[];
}

/** As nobody has used it. */
export function newSession(id: string, born: number, usedAt: number): Session {
	return {
		id,
		born,
		version: 0,
		tenant: null,
		told: nothing,
		usedAt,
		turns: 0,
		budget: new Budget(),
		tasks: new Map(),
		last: null,
		untold: [],
	};
}
