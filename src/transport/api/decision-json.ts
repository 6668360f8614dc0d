/** A decision of the Dispatcher as clients read it, in `preview` and `explain`. */
import type { Considered, DecisionRecord } from '../../actors/serving/decision-messages.ts';

export function decisionJson(decision: DecisionRecord) {
	const { stages } = decision;
	const steps = [
		{ stage: 'admission', us: stages.admission },
		{ stage: 'feasibility', us: stages.feasibility },
		{ stage: 'ranking', us: stages.ranking },
		{ stage: 'handover', us: stages.handover },
	];
	return {
		outcome: decision.outcome,
		pool_id: decision.poolId,
		decided_by: decision.decidedBy,
		fallback: decision.fallback,
		considered: decision.considered.map(consideredJson),
		stages: steps,
		total_us: steps.reduce((sum, { us }) => sum + us, 0),
	};
}

function consideredJson({ poolId, refusedFor, predictedStartMs, predictedEndMs }: Considered) {
	return {
		pool_id: poolId,
		feasible: refusedFor === null,
		refused_for: refusedFor === null ? null : { code: refusedFor.code, message: refusedFor.message },
		predicted_start_ms: Math.round(predictedStartMs),
		predicted_end_ms: Math.round(predictedEndMs),
	};
}

const decidedByWords = {
	pin: 'the task is pinned to it',
	only_one: 'no other pool can take the task',
	ready: 'it is ready, and the others are starting',
	room: 'it has room, and the queues of the others are full',
	predicted_end: 'the task ends there first',
	affinity: 'it had the last task of the session, or a prompt that began alike',
	least_loaded: 'it has the least to do',
	free_memory: 'it has the most free memory',
	tokens_per_s: 'it makes the most tokens a second',
	pool_id: 'it is as good as the others, and first by its name',
} as const;

/** Why the chosen one was. */
export function wordsOf(decision: DecisionRecord): string {
	return decision.decidedBy === null ? 'no pool can take it' : decidedByWords[decision.decidedBy];
}
