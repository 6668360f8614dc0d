/**
 * What clients and the daemon say to each other, as types: made from the schemas that the daemon checks requests by, so that the
 * two cannot differ. No behaviour; nothing of this file is left when it is built.
 */
import type { Static } from '@sinclair/typebox';
import type * as answers from '../transport/api/response-schemas.ts';
import type { sessionBodySchema, TaskBody } from '../transport/api/schemas.ts';

/** What `POST /v2/tasks` takes. */
export type TaskInput = TaskBody;
/** The 202: where the task stands as it is admitted. */
export type Accepted = Static<typeof answers.acceptedSchema>;
export type TaskInfo = Static<typeof answers.taskSchema>;
export type TaskPage = Static<typeof answers.taskListSchema>;
/** The whole of a task that has ended. */
export type TaskResult = Static<typeof answers.resultSchema>;
export type Explanation = Static<typeof answers.explainSchema>;
export type Preview = Static<typeof answers.previewSchema>;
export type Tokenized = Static<typeof answers.tokenizedSchema>;
export type PoolInfo = Static<typeof answers.poolSchema>;
export type PoolHealth = Static<typeof answers.poolHealthSchema>;
export type SessionInfo = Static<typeof answers.sessionSchema>;
export type SessionBudgets = Static<typeof sessionBodySchema>['budgets'];
export type Capabilities = Static<typeof answers.capabilitiesSchema>;
export type ConfigReloaded = Static<typeof answers.configReloadedSchema>;
/** The error envelope. */
export type ErrorBody = Static<typeof answers.envelopeSchema>;

export interface StartedData {
	readonly queue_position: number;
	readonly predicted_start_ms: number;
	readonly engine: string;
	readonly engine_version: string;
	readonly pool_id: string;
	readonly replica_id: string;
	readonly seed: number;
	readonly model_digest: string | null;
}

/** One piece of the answer: `i` counts pieces from 0, `n` model tokens where it is not one. */
export interface TokenPiece {
	readonly t: string;
	readonly i: number;
	readonly n?: number;
	readonly id?: number;
	readonly logprob?: number | null;
	/** The likeliest tokens in its place, where they were asked for; `bytes` where `t` is a part of a character. */
	readonly top_logprobs?: readonly {
		readonly t: string;
		readonly id?: number;
		readonly logprob: number;
		readonly bytes?: readonly number[];
	}[];
	/** Another channel than the text: what the model thinks, or the delta of a tool call. */
	readonly c?: string;
}

export interface EndData {
	readonly tokens_in: number;
	readonly tokens_out: number;
	readonly decode_time_ms: number;
	readonly decode_ms: number;
	readonly finish_reason: 'stop' | 'length' | 'canceled';
	readonly canceled: boolean;
	readonly seed: number;
	readonly model_digest: string | null;
}

/** Where a task stands; told now and then, never repeated. */
export type MetricsData = Readonly<Record<string, unknown>>;

/** What a watcher resumes behind: `7`, or of a durable task `2.7`, the seventh event of its second run. */
export type EventId = number | string;

/** `seq` counts the events of a run from 1; null, as `id`: the event is not logged. Tokens come in runs, as they were sent. */
export type TaskEvent =
	| (Numbered & { readonly type: 'started'; readonly data: StartedData })
	| (Numbered & { readonly type: 'token'; readonly tokens: readonly TokenPiece[] })
	| { readonly type: 'metrics'; readonly id: null; readonly seq: null; readonly data: MetricsData }
	| (Numbered & { readonly type: 'end'; readonly data: EndData })
	| ((Numbered | { readonly id: null; readonly seq: null }) & { readonly type: 'error'; readonly data: Partial<ErrorBody> });

interface Numbered {
	readonly id: EventId;
	readonly seq: number;
}
