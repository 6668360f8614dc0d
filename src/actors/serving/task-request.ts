/**
 * A task as its client asked for it, after validation and before any default that depends on the pool. Stays on the
 * front thread that parsed it: only the `TaskSummary` crosses to the dispatcher, and the `GenerateRequest` goes down
 * the decode connection.
 */
import type { EngineKind } from './failure.ts';

export type Workload = 'completion' | 'embedding' | 'rerank';
export const priorityClasses = ['interactive', 'batch'] as const;
export type PriorityClass = (typeof priorityClasses)[number];

export interface ChatMessage {
	readonly role: string;
	readonly content: string;
	readonly name?: string;
}

/** Sampling of one task, complete: defaults are filled in by the validator. `null` = off. */
export interface Sampling {
	readonly temperature: number;
	readonly topP: number;
	readonly topK: number;
	readonly minP: number;
	readonly repeatPenalty: number;
	readonly presencePenalty: number;
	readonly frequencyPenalty: number;
	readonly stop: readonly string[];
	/** Whether each token's log-probability (natural log) is asked for; then its id is sent too. */
	readonly logprobs: boolean;
	readonly jsonSchema: unknown;
	/** GBNF. */
	readonly grammar: string | null;
}

export type PromptInput =
	| {
			readonly kind: 'prompt';
			readonly text: string /** true: as it is; false: one user turn when the model has a chat template. */;
			readonly raw: boolean;
	  }
	| { readonly kind: 'messages'; readonly messages: readonly ChatMessage[] }
	| { readonly kind: 'inputs'; readonly inputs: readonly string[]; readonly query: string | null };

export interface Placement {
	readonly mode: 'pin' | 'prefer' | 'auto';
	readonly pinPoolId: string | null;
	readonly preferPools: readonly string[];
	readonly avoidPools: readonly string[];
	readonly requireDeviceMask: readonly number[] | null;
	readonly allowFallback: boolean;
}

export interface TaskRequest {
	readonly taskId: string;
	readonly sessionId: string | null;
	readonly correlationId: string;
	readonly workload: Workload;
	readonly modelRef: string;
	readonly engine: EngineKind | null;
	readonly ctx: number | null;
	readonly priority: PriorityClass;
	readonly tenant: string;
	/** Of the API key that it came with; null: the daemon has none. */
	readonly keyName: string | null;
	readonly input: PromptInput;
	readonly maxTokens: number | null;
	/** Milliseconds from admission. */
	readonly deadlineMs: number | null;
	readonly sampling: Sampling;
	readonly seed: number;
	readonly strict: boolean;
	readonly samplerProfileVersion: string | null;
	readonly expectedTokens: number | null;
	readonly kvHint: 'reuse' | 'cold';
	readonly placement: Placement;
	readonly outputMode: string | null;
	readonly onDisconnect: 'detach' | 'cancel';
	/** How long the last watcher may be gone before `onDisconnect: cancel` cancels. */
	readonly disconnectGraceMs: number;
	readonly idempotencyKey: string | null;
	/** The id or a key is the client's own choice: another front thread may know it too. */
	readonly named: boolean;
	/** SHA-256 of the canonical JSON of the body without `task_id`: the same id or key with another hash is a conflict. */
	readonly bodyHash: string;
}
