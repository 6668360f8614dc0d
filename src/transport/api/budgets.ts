/** What is left of a session's budgets, as headers and as fields of events: the same numbers, a kind only when it is set. */
import type { BudgetLeft } from '../../actors/serving/session-messages.ts';
import type { Header } from '../http/http-host.ts';

export function budgetHeaders(budget: BudgetLeft | null): Header[] {
	const headers: Header[] = [];
	if (budget === null) return headers;
	const { tokens, timeMs, cost } = rounded(budget);
	if (tokens !== null) headers.push(['X-Budget-Tokens-Remaining', String(tokens)]);
	if (timeMs !== null) headers.push(['X-Budget-Time-Remaining-Ms', String(timeMs)]);
	if (cost !== null) headers.push(['X-Budget-Cost-Remaining', String(cost)]);
	return headers;
}

/** Undefined fields are left out of JSON. */
export function budgetFields(budget: BudgetLeft | null) {
	const left = budget === null ? null : rounded(budget);
	return {
		tokens_budget_remaining: left?.tokens ?? undefined,
		time_budget_remaining_ms: left?.timeMs ?? undefined,
		cost_budget_remaining: left?.cost ?? undefined,
		gpu_budget_remaining_ms: left?.gpuMs ?? undefined,
	};
}

/** Rounded down: nobody is promised more than there is. Costs to a millionth. */
export function rounded({ tokens, timeMs, cost, gpuMs }: BudgetLeft): BudgetLeft {
	const floor = (value: number | null): number | null => (value === null ? null : Math.floor(value));
	return { tokens: floor(tokens), timeMs: floor(timeMs), cost: cost === null ? null : Math.floor(cost * 1e6) / 1e6, gpuMs: floor(gpuMs) };
}
