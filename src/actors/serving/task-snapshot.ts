/**
 * A task as plain data, for another front thread: all of a `TaskView` but its events and its ref, without what its client
 * wrote. Pure.
 */
import type { TaskView } from './task-directory.ts';
import type { TaskRequest } from './task-request.ts';

export interface TaskSnapshot extends Omit<TaskView, 'log' | 'ref' | 'watchers'> {
	readonly firstSeq: number;
	readonly lastSeq: number;
	readonly eventsEnded: boolean;
	readonly forgotten: boolean;
}

export function snapshotOf(task: TaskView): TaskSnapshot {
	const { log } = task;
	return {
		request: withoutTexts(task.request),
		state: task.state,
		admittedAt: task.admittedAt,
		startedAt: task.startedAt,
		firstTokenAt: task.firstTokenAt,
		endedAt: task.endedAt,
		standing: task.standing,
		onTimeProbability: task.onTimeProbability,
		standingVersion: task.standingVersion,
		phase: task.phase,
		poolId: task.poolId,
		replicaId: task.replicaId,
		engine: task.engine,
		engineVersion: task.engineVersion,
		modelDigest: task.modelDigest,
		tokensIn: task.tokensIn,
		tokensOut: task.tokensOut,
		decodeMs: task.decodeMs,
		finishReason: task.finishReason,
		failure: task.failure,
		vectors: task.vectors,
		firstSeq: log.firstSeq,
		lastSeq: log.lastSeq,
		eventsEnded: log.ended,
		forgotten: log.forgotten,
	};
}

/** What may be megabytes, and is nobody's business once the engine has it: prompt, stop strings, schema and grammar. */
export function withoutTexts(request: TaskRequest): TaskRequest {
	const { input } = request;
	if (input.kind === 'inputs' && input.inputs.length === 0) return request;
	return {
		...request,
		input: { kind: 'inputs', inputs: [], query: null },
		sampling: { ...request.sampling, stop: [], jsonSchema: null, grammar: null },
	};
}
