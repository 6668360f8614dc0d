/**
 * A task as its client asked for it, after validation and before any default that depends on the pool. Stays on the
 * front thread that parsed it: only the `TaskSummary` crosses to the dispatcher, and the `GenerateRequest` goes down
 * the decode connection.
 */
import type { EngineKind } from './failure.ts';

export type Workload = 'completion' | 'embedding' | 'rerank';
export const priorityClasses = ['interactive', 'batch'] as const;
export type PriorityClass = (typeof priorityClasses)[number];

/** A call of a tool, as the chat API has it; `arguments` is the JSON that the model wrote, right or not. */
export interface ToolCall {
	readonly id: string;
	readonly type: 'function';
	readonly function: { readonly name: string; readonly arguments: string };
}

/** A part of a message that may be no text: an image, a sound. Only engines that have the feature `images` take others than texts. */
export interface ContentPart {
	readonly type: string;
	readonly text?: string;
}

/** In the names of the chat API, for both who send it and most who are sent it speak that. */
export interface ChatMessage {
	readonly role: string;
	/** All its text. */
	readonly content: string;
	/** Only where something in it is no text: all of it, in its order. */
	readonly parts?: readonly ContentPart[];
	readonly name?: string;
	/** Of an assistant: what it called. */
	readonly tool_calls?: readonly ToolCall[];
	/** Of a tool: the call that it answers. */
	readonly tool_call_id?: string;
}

export interface Tool {
	readonly type: 'function';
	readonly function: {
		readonly name: string;
		readonly description?: string;
		/** JSON Schema of its arguments; absent: it takes none. */
		readonly parameters?: unknown;
		readonly strict?: boolean | null;
	};
}

/** The tools that the model may call. */
export interface ToolUse {
	readonly tools: readonly Tool[];
	/** `required`: one of them; `{name}`: that one. */
	readonly choice: 'auto' | 'none' | 'required' | { readonly name: string };
	/** Whether it may call several at once. */
	readonly parallel: boolean;
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
	/** Any JSON object: less than a schema says. Default: false. */
	readonly jsonObject?: boolean;
	/** How many of the likeliest tokens are told beside each; only engines with the feature `top_logprobs`. Default: 0. */
	readonly topLogprobs?: number;
	/** Added to the logits of tokens, by id; only engines with the feature `logit_bias`. */
	readonly logitBias?: Readonly<Record<string, number>>;
	/** A token that ends the text ends nothing; only engines with the feature `ignore_eos`. Default: false. */
	readonly ignoreEos?: boolean;
	/** None ends it before so many tokens; only engines with the feature `min_tokens`. Default: 0. */
	readonly minTokens?: number;
}

/** The likeliest token each time, and nothing else: what probes ask for. */
export const greedySampling: Sampling = {
	temperature: 0,
	topP: 1,
	topK: 0,
	minP: 0,
	repeatPenalty: 1,
	presencePenalty: 0,
	frequencyPenalty: 0,
	stop: [],
	logprobs: false,
	jsonSchema: null,
	grammar: null,
};

export type PromptInput =
	| {
			readonly kind: 'prompt';
			readonly text: string /** true: as it is; false: one user turn when the model has a chat template. */;
			readonly raw: boolean;
	  }
	| {
			readonly kind: 'messages';
			readonly messages: readonly ChatMessage[];
			readonly toolUse?: ToolUse;
			/** Further variables of the model's template, such as `reasoning_effort` and `enable_thinking`. */
			readonly templateArgs?: Readonly<Record<string, unknown>>;
	  }
	| { readonly kind: 'inputs'; readonly inputs: readonly string[]; readonly query: string | null };

export interface Placement {
	readonly mode: 'pin' | 'prefer' | 'auto';
	readonly pinPoolId: string | null;
	readonly preferPools: readonly string[];
	readonly avoidPools: readonly string[];
	readonly requireDeviceMask: readonly number[] | null;
	readonly allowFallback: boolean;
}

/** Whatever pool ends it first. */
export const anyPlacement: Placement = {
	mode: 'auto',
	pinPoolId: null,
	preferPools: [],
	avoidPools: [],
	requireDeviceMask: null,
	allowFallback: true,
};

/** What an API keeps with its task, to be told again. On the task's front thread; on another a copy, whose end is told there. */
export interface TaskNote {
	/** Null: it is gone. */
	readonly json: string | null;
	drop(): void;
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
	/** With `maxTokens: null`: no more than so many; fewer, where the pool or the context has room for fewer. */
	readonly outputCap?: number;
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
	/** It outlives the daemon: it runs again, from its start, when that has ended before it. */
	readonly durable: boolean;
	readonly idempotencyKey: string | null;
	/** The id or a key is the client's own choice: another front thread may know it too. */
	readonly named: boolean;
	/** SHA-256 of the canonical JSON of the body without `task_id`: the same id or key with another hash is a conflict. */
	readonly bodyHash: string;
	/** Default: nothing. */
	readonly note?: TaskNote;
}
