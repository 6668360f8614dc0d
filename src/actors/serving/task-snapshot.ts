/**
 * A task as plain data, for another front thread: all of a `TaskView` but its events and its ref, without what its client
 * wrote. Pure.
 */
import type { TaskView } from './task-directory.ts';
import type { TaskRecord } from './task-record.ts';
import type { TaskRequest } from './task-request.ts';

/** What changes while a task lives. */
export type TaskFacts = Pick<
	TaskView,
	| 'state'
	| 'startedAt'
	| 'firstTokenAt'
	| 'endedAt'
	| 'standing'
	| 'onTimeProbability'
	| 'budget'
	| 'standingVersion'
	| 'phase'
	| 'poolId'
	| 'replicaId'
	| 'engine'
	| 'engineVersion'
	| 'modelDigest'
	| 'tokensIn'
	| 'tokensCached'
	| 'tokensOut'
	| 'decodeMs'
	| 'finishReason'
	| 'stopSequence'
	| 'failure'
	| 'watchers'
	| 'vectors'
	| 'transcriptArtifact'
>;

export interface TaskSnapshot {
	readonly request: Omit<TaskRequest, 'note'>;
	/** Null: there is none, or it was not asked for. */
	readonly note: string | null;
	readonly admittedAt: number;
	readonly facts: TaskFacts;
	readonly log: LogSnapshot;
}

export interface LogSnapshot {
	readonly run: number | null;
	readonly firstSeq: number;
	readonly lastSeq: number;
	readonly ended: boolean;
	readonly forgotten: boolean;
	/** What the log may need, as far as it is known. */
	readonly bytes: number;
}

export function snapshotOf(task: TaskRecord, withNote = false): TaskSnapshot {
	const { note, ...request } = withoutTexts(task.request);
	const { run, firstSeq, lastSeq, ended, forgotten } = task.log;
	const bytes = ended ? task.log.bytes : Math.max(task.log.bytes, task.logLease.bytes);
	return {
		request,
		note: withNote ? (note?.json ?? null) : null,
		admittedAt: task.admittedAt,
		facts: factsOf(task),
		log: { run, firstSeq, lastSeq, ended, forgotten, bytes },
	};
}

export function factsOf(task: TaskView): TaskFacts {
	return {
		state: task.state,
		startedAt: task.startedAt,
		firstTokenAt: task.firstTokenAt,
		endedAt: task.endedAt,
		standing: task.standing,
		onTimeProbability: task.onTimeProbability,
		budget: task.budget,
		standingVersion: task.standingVersion,
		phase: task.phase,
		poolId: task.poolId,
		replicaId: task.replicaId,
		engine: task.engine,
		engineVersion: task.engineVersion,
		modelDigest: task.modelDigest,
		tokensIn: task.tokensIn,
		tokensCached: task.tokensCached,
		tokensOut: task.tokensOut,
		decodeMs: task.decodeMs,
		finishReason: task.finishReason,
		stopSequence: task.stopSequence,
		failure: task.failure,
		watchers: task.watchers,
		vectors: task.vectors,
		transcriptArtifact: task.transcriptArtifact,
	};
}

const noInput: TaskRequest['input'] = { kind: 'inputs', inputs: [], query: null };

/** What may be megabytes, and is nobody's business once the engine has it: prompt, stop strings, schema and grammar. */
export function withoutTexts(request: TaskRequest): TaskRequest {
	const { stop, jsonSchema, grammar, logitBias } = request.sampling;
	const wordless = stop.length === 0 && (jsonSchema ?? null) === null && grammar === null && logitBias === undefined;
	const sampling = wordless ? request.sampling : { ...request.sampling, stop: [], jsonSchema: null, grammar: null, logitBias: {} };
	return { ...request, input: noInput, sampling };
}
