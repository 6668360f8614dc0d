/**
 * Keeps the transcripts of completions as artifacts of their tenants, where the configuration wants them. On the front thread of the task: it
 * is put together in the turn of its end, and what is not taken by the store, or is too much at once, is dropped and counted.
 */
import type { Telemetry } from '../../actors/kernel/telemetry.ts';
import type { ArtifactAnswer, ArtifactEntry, ArtifactRequest } from '../../actors/serving/artifact-messages.ts';
import type { TaskView } from '../../actors/serving/task-directory.ts';
import type { TranscriptKeeper } from '../../actors/serving/task-messages.ts';
import type { TaskRequest } from '../../actors/serving/task-request.ts';
import type { Clock } from '../clock.ts';
import { type TranscriptMode, transcriptJson } from './transcript-json.ts';

export interface TranscriptsOptions {
	readonly mode: TranscriptMode;
	/** Null: nobody has a store. */
	readonly artifacts: (request: ArtifactRequest) => Promise<ArtifactAnswer | null>;
	readonly clock: Clock;
	readonly telemetry: Telemetry;
}

/** Characters of transcripts that the store has not answered for. */
const underWayMax = 32 * 1024 * 1024;

export class Transcripts implements TranscriptKeeper {
	readonly #options: TranscriptsOptions;
	#underWay = 0;
	#count = 0;

	constructor(options: TranscriptsOptions) {
		this.#options = options;
		for (const result of ['kept', 'dropped']) options.telemetry.expect('transcripts_total', { result });
	}

	/** Not answered for. */
	get pending(): number {
		return this.#count;
	}

	keep(task: TaskView, request: TaskRequest, kept: (artifactId: string) => void): void {
		if (request.workload !== 'completion') return;
		const { mode, clock, artifacts } = this.#options;
		const content = transcriptJson(task, request, mode, clock);
		if (this.#underWay + content.length > underWayMax) return this.#drop(request, 'too many transcripts are being written at once');
		this.#underWay += content.length;
		this.#count++;
		const { taskId, sessionId, tenant, modelRef } = request;
		const answered = (problem: string | null): void => {
			this.#underWay -= content.length;
			this.#count--;
			if (problem === null) this.#options.telemetry.count('transcripts_total', { result: 'kept' });
			else this.#drop(request, problem);
		};
		artifacts({
			type: 'put-artifact',
			kind: 'transcript',
			content,
			tenant,
			tags: [`task:${taskId}`, ...(sessionId === null ? [] : [`session:${sessionId}`])],
			parent: null,
			metadata: { mode, task_id: taskId, session_id: sessionId, model_ref: modelRef, state: task.state },
		}).then(
			(answer) => {
				answered(answer === null ? 'the store is not running' : answer.ok ? null : answer.failure.message);
				if (answer?.ok === true) kept((JSON.parse(answer.json) as ArtifactEntry).id);
			},
			(error: unknown) => answered(error instanceof Error ? error.message : String(error)),
		);
	}

	#drop({ taskId, correlationId }: TaskRequest, why: string): void {
		const { telemetry } = this.#options;
		telemetry.count('transcripts_total', { result: 'dropped' });
		telemetry.log('warn', 'transcript-dropped', {
			correlation_id: correlationId,
			task_id: taskId,
			human: `The transcript of a task was not kept: ${why}.`,
		});
	}
}
