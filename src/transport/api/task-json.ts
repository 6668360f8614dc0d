/**
 * Tasks as JSON, under the names of the API. Pure. Never a prompt, never an output.
 */
import { eventId } from '../../actors/serving/event-log-view.ts';
import type { Opening, TaskView } from '../../actors/serving/task-directory.ts';
import type { Clock } from '../clock.ts';
import { budgetFields } from './budgets.ts';
import { envelopeOf } from './errors.ts';
import { preparationOf } from './preparation.ts';
import { standingJson, standingNow } from './standing.ts';

export function streamsOf(taskId: string) {
	const sse = `/v2/tasks/${taskId}/events`;
	return { sse, sse_verbose: `${sse}?verbose=true`, websocket: '/v2/ws' };
}

/** The body of the 202. */
export function acceptedJson(opened: Extract<Opening, { type: 'task-opened' }>) {
	const { task, standing, poolId } = opened;
	return {
		task_id: task.request.taskId,
		...standingJson(standing),
		...(task.request.deadlineMs === null || opened.onTimeProbability === null ? {} : { on_time_probability: opened.onTimeProbability }),
		backoff_ms: 0,
		pool_id: poolId,
		...budgetFields(task.budget),
		streams: streamsOf(task.request.taskId),
		preparation: { steps: preparationOf(poolId, standing.warmUp) },
	};
}

export function taskJson(task: TaskView, clock: Clock) {
	const { request } = task;
	const wall = (at: number | null): number | null => (at === null ? null : clock.wallOf(at));
	const between = (from: number | null, to: number | null): number | null =>
		from === null || to === null ? null : clock.wallOf(to) - clock.wallOf(from);
	return {
		task_id: request.taskId,
		state: task.state,
		phase: task.phase,
		workload: request.workload,
		model_ref: request.modelRef,
		priority: request.priority,
		tenant: request.tenant,
		session_id: request.sessionId,
		correlation_id: request.correlationId,
		output_mode: request.outputMode,
		pool_id: task.poolId,
		replica_id: task.replicaId,
		engine: task.engine,
		engine_version: task.engineVersion,
		model_digest: task.modelDigest,
		...(task.standing === null || task.state !== 'queued' ? {} : standingJson(standingNow(task.standing, clock.now()))),
		max_tokens: request.maxTokens ?? request.outputCap ?? null,
		deadline_ms: request.deadlineMs,
		seed: request.seed,
		determinism: request.strict ? 'strict' : 'best_effort',
		on_disconnect: request.onDisconnect,
		watchers: task.watchers,
		durable: request.durable,
		last_event_id: eventId(task.log, task.log.lastSeq),
		tokens_in: task.tokensIn,
		tokens_cached: task.tokensCached,
		tokens_out: task.tokensOut,
		decode_time_ms: Math.round(task.decodeMs),
		finish_reason: task.finishReason,
		error: task.failure === null ? null : envelopeOf(task.failure, request.correlationId),
		transcript_artifact: task.transcriptArtifact,
		timings: {
			admitted_at_ms: wall(task.admittedAt),
			started_at_ms: wall(task.startedAt),
			first_token_at_ms: wall(task.firstTokenAt),
			ended_at_ms: wall(task.endedAt),
			queue_ms: between(task.admittedAt, task.startedAt),
			first_token_ms: between(task.admittedAt, task.firstTokenAt),
			total_ms: between(task.admittedAt, task.endedAt),
		},
		streams: streamsOf(request.taskId),
	};
}
