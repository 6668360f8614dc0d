/**
 * The JSON of a task's own events, under the names of the API. Once per task each: tokens are written elsewhere, as
 * bytes.
 */
import type { Failure } from './failure.ts';
import type { QueueStanding } from './messages.ts';
import type { TaskView } from './task-directory.ts';

export function startedJson(task: TaskView, standing: QueueStanding): string {
	return JSON.stringify({
		queue_position: standing.position,
		predicted_start_ms: Math.round(standing.predictedStartMs),
		engine: task.engine,
		engine_version: task.engineVersion,
		pool_id: task.poolId,
		replica_id: task.replicaId,
		seed: task.request.seed,
		model_digest: task.modelDigest,
	});
}

type Ended = Pick<TaskView, 'tokensIn' | 'tokensOut' | 'decodeMs' | 'finishReason' | 'stopSequence' | 'modelDigest' | 'request'>;

export function endJson(task: Ended): string {
	const decodeMs = Math.round(task.decodeMs);
	return JSON.stringify({
		tokens_in: task.tokensIn,
		tokens_out: task.tokensOut,
		decode_time_ms: decodeMs,
		decode_ms: decodeMs,
		finish_reason: task.finishReason,
		...(task.stopSequence === null ? {} : { stop_sequence: task.stopSequence }),
		canceled: task.finishReason === 'canceled',
		seed: task.request.seed,
		model_digest: task.modelDigest,
	});
}

export function errorJson(failure: Failure): string {
	return JSON.stringify({
		code: failure.code,
		message: failure.message,
		retriable: failure.retriable,
		retry_after_ms: failure.retryAfterMs,
		engine: failure.engine,
		pool_id: failure.poolId,
	});
}
