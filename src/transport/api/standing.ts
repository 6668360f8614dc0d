/** Where a task stands, as it is by now: what its pool told counts from when it told it. Pure. */
import type { QueueStanding } from '../../actors/serving/messages.ts';

/** Never below nothing: one that should have started is about to. */
export function standingNow(standing: QueueStanding, now: number): QueueStanding {
	const left = (ms: number): number => Math.max(0, ms - Math.max(0, now - standing.at));
	const { warmUp } = standing;
	return {
		...standing,
		at: now,
		predictedStartMs: left(standing.predictedStartMs),
		predictedEndMs: left(standing.predictedEndMs),
		predictedStartP90Ms: left(standing.predictedStartP90Ms),
		predictedEndP90Ms: left(standing.predictedEndP90Ms),
		warmUp: warmUp === null || warmUp.leftMs === null ? warmUp : { ...warmUp, leftMs: left(warmUp.leftMs) },
	};
}

export function standingJson(standing: QueueStanding) {
	return {
		queue_position: standing.position,
		predicted_start_ms: Math.round(standing.predictedStartMs),
		predicted_end_ms: Math.round(standing.predictedEndMs),
		predicted_start_p90_ms: Math.round(standing.predictedStartP90Ms),
		predicted_end_p90_ms: Math.round(standing.predictedEndP90Ms),
		estimated: standing.estimated,
	};
}
