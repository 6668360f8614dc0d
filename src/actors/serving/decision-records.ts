/**
 * What the Dispatcher decided of the last few thousand tasks, and how long it took: what `explain` and `preview` show. On the
 * control thread, for the Dispatcher alone; holds nothing of a request but what is refused for.
 */
import type { DecisionRecord } from './decision-messages.ts';
import type { Decision } from './placement.ts';

/** Beyond this many the oldest are forgotten. */
const kept = 4_096;

export class DecisionRecords {
	readonly #records = new Map<string, DecisionRecord>();

	get(taskId: string): DecisionRecord | null {
		return this.#records.get(taskId) ?? null;
	}

	put(taskId: string, record: DecisionRecord): void {
		this.#records.delete(taskId);
		this.#records.set(taskId, record);
		if (this.#records.size <= kept) return;
		for (const oldest of this.#records.keys()) {
			this.#records.delete(oldest);
			return;
		}
	}
}

/** `times`: on `Host.now`, ms, at the start and behind each stage. */
export function decisionRecord(decision: Decision, times: readonly [number, number, number, number, number]): DecisionRecord {
	const [at, admitted, considered, chosen, handedOver] = times;
	const assigned = decision.kind === 'assigned' ? decision : null;
	const microseconds = (from: number, to: number): number => Math.max(0, Math.round((to - from) * 1000));
	return {
		at,
		outcome: decision.kind,
		poolId: assigned?.poolId ?? null,
		decidedBy: assigned?.decidedBy ?? null,
		fallback: assigned?.fallback ?? false,
		considered: decision.considered,
		stages: {
			admission: microseconds(at, admitted),
			feasibility: microseconds(admitted, considered),
			ranking: microseconds(considered, chosen),
			handover: microseconds(chosen, handedOver),
		},
	};
}
