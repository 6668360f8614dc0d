/** The checker of budgets: what the tasks of a session have used, as their clients were told, beside what it was allowed. */
import type { SessionView } from '../../src/actors/serving/session-messages.ts';
import type { CheckerName } from './checkers.ts';
import type { GenerationRecord } from './decode-wire.ts';
import type { Plan } from './plan.ts';
import type { Witness } from './witness.ts';

export interface BudgetEvidence {
	readonly plan: Plan;
	readonly witnesses: readonly Witness[];
	readonly generations: readonly GenerationRecord[];
	/** Tokens that sessions were allowed from the beginning. */
	readonly allowed: ReadonlyMap<string, number>;
	/** What the book has of them at the end. */
	readonly books: ReadonlyMap<string, SessionView | null>;
	found(checker: CheckerName, words: string): void;
}

/** Longer than any session of a run is left alone. */
const quietMs = 600_000;

export function checkBudgets(evidence: BudgetEvidence): void {
	const { plan, allowed, witnesses, generations, books, found } = evidence;
	// One that was forgotten, and used again, has no budget any more.
	if (plan.sessions.ttlMs < quietMs || plan.sessions.countMax < plan.clients) return;
	const runs = new Map<string, number>();
	for (const { taskId, begun } of generations) if (begun) runs.set(taskId, (runs.get(taskId) ?? 0) + 1);
	for (const [sessionId, tokens] of allowed) {
		const tasks = witnesses.filter(({ task }) => task.request.sessionId === sessionId).map(({ task }) => task);
		const used = tasks.reduce((sum, task) => sum + task.tokensIn + task.tokensOut, 0);
		if (used > tokens) found('budgetsAreKept', `${sessionId} has used ${used} tokens of ${tokens}`);
		const left = books.get(sessionId)?.budget.tokens;
		const undisturbed = plan.faults.length === 0 && tasks.every(({ request }) => (runs.get(request.taskId) ?? 0) <= 1);
		if (undisturbed && left !== undefined && left !== tokens - used) {
			found('budgetsAreKept', `${sessionId} has ${left} tokens left of ${tokens}, and has used ${used}`);
		}
	}
}
