/**
 * The Task's half of an engine: the decode connection. The port is implemented in `engines/`, on the front thread that
 * owns the client, so that a token never crosses a thread. Everything an engine says of a generation reaches the Task
 * as a message, in the order of the engine's bytes, the end behind the last token.
 */
import type { ActorRef } from '../kernel/ref.ts';
import type { Failure } from './failure.ts';
import type { Lease, ReplicaFacts } from './messages.ts';
import type { PriorityClass, PromptInput, Sampling } from './task-request.ts';

/** One generation, as the engine needs it. */
export interface GenerateRequest {
	readonly lease: Lease;
	readonly input: PromptInput;
	readonly workload: 'completion' | 'embedding' | 'rerank';
	/** The most tokens to generate; the engine also stops with `length` when the slot's ctx is full. */
	readonly maxTokens: number;
	/** True when the client named `maxTokens`: then prompt + maxTokens above ctx is INVALID_PARAMS, never trimmed. */
	readonly maxTokensExplicit: boolean;
	readonly ctx: number;
	readonly sampling: Sampling;
	readonly seed: number;
	/** Slot used alone, no KV reuse. */
	readonly strict: boolean;
	/** For engines that order their work by it. */
	readonly priority: PriorityClass;
	readonly kvHint: 'reuse' | 'cold';
	/** Whether pieces are to say the ids of their tokens, so that another engine can go on behind them. */
	readonly tellIds: boolean;
	/** What another engine has made of this request; null: it begins. */
	readonly resume: Resume | null;
}

/**
 * The tokens whose pieces have reached the task, by id, in order: the engine goes on behind them, says nothing of them again and
 * does not count them in its usage. `maxTokens` counts them.
 *
 * That is all that is carried, because the rest follows from it. What the engine that is gone held back (a possible stop
 * string, a character that is not whole) was in no piece, so its tokens are made again. Where the pieces end in the middle of
 * a possible stop string, the new engine knows from the ids how much of it has been said. Where they end with the request
 * itself (the last token that it may make, half a stop string, a broken character) and only the news of the end was lost,
 * the new engine ends it at once. At temperature 0 it says what the other would have said; else what it might have said.
 */
export interface Resume {
	readonly ids: readonly number[];
}

/**
 * A run of pieces in one byte range. Layout of a record, little-endian, records packed back to back:
 * ```
 *  u16 textBytes · u8 tokens (model tokens in the piece; 0: those of the one before it) · u8 flags (1 = id and logprob follow, 2 = ids follow,
 *  4 = reasoning, 8 = of a tool call, neither: the answer's text; 16 = the likeliest tokens follow)
 *  [ u32 tokenId (`noTokenId`: the engine names none) · f32 logprob ] · [ u16 topsBytes · topsBytes of `top-tokens.ts#topsJson` ]
 *  · [ u32 id of each token ] · textBytes of UTF-8, never split inside a character
 * ```
 * The text of a tool call is the JSON of one `tool_calls` delta of the chat API: `index`, and `id`, `type`, `function.name` with
 * the first of a call, then parts of `function.arguments`.
 * `bytes` is shared with other tasks' pieces and must not be kept beyond the message: copy what is needed.
 */
export interface Pieces {
	readonly type: 'pieces';
	readonly bytes: Buffer;
	readonly start: number;
	readonly end: number;
	/** Records in the range. */
	readonly count: number;
}

export const noTokenId = 0xffff_ffff;
export const pieceHasLogprob = 1;
export const pieceHasIds = 2;
export const pieceIsReasoning = 4;
export const pieceIsToolCall = 8;
export const pieceHasTops = 16;
/** What a piece belongs to, as flags: 0 is the answer's text. */
export type PieceChannel = 0 | typeof pieceIsReasoning | typeof pieceIsToolCall;
/** `tool_calls`: it ended with calls of tools, whose results it waits for. */
export type FinishReason = 'stop' | 'length' | 'tool_calls';
/** Bytes of a record before its ids and text, without and with token id and log-probability. */
export const recordHeadBytes = 4;
export const recordHeadLogprobBytes = 12;

/** How far behind its beginning at `at` the text of a record begins. Runs once per token. */
export function recordTextAt(from: Buffer, at: number): number {
	const flags = from[at + 3] as number;
	if (flags === 0) return recordHeadBytes;
	let head = (flags & pieceHasLogprob) === 0 ? recordHeadBytes : recordHeadLogprobBytes;
	if ((flags & pieceHasTops) !== 0) head += 2 + recordTopsBytes(from, at + head);
	return (flags & pieceHasIds) === 0 ? head : head + 4 * (from[at + 2] as number);
}

/** At `at` stands how many bytes the likeliest tokens have; of a record that is cut off, 0. */
export function recordTopsBytes(from: Buffer, at: number): number {
	return (from[at] as number) | ((from[at + 1] as number) << 8);
}

export interface GenerationUsage {
	readonly tokensIn: number;
	/** Prompt tokens that were found in the slot's KV cache. */
	readonly tokensCached: number;
	readonly tokensOut: number;
	readonly prefillMs: number;
	readonly decodeMs: number;
}

export type DecodeNews =
	/** The engine took the request: prefill begins. */
	| { readonly type: 'decode-started'; readonly tokensIn: number; readonly tokensCached: number }
	| Pieces
	| { readonly type: 'embedded'; readonly vectors: readonly Float32Array[]; readonly usage: GenerationUsage }
	| {
			readonly type: 'decode-ended';
			readonly finishReason: FinishReason;
			/** Place of the stop string that ended it, among those of the request. Default: −1, none did, or the engine does not tell. */
			readonly stoppedBy?: number;
			readonly usage: GenerationUsage;
	  }
	/**
	 * Nothing follows. `slot` says whether the engine is known to be done with it; `began: 'no'` that the request never
	 * reached it, so that another try repeats nothing.
	 */
	| { readonly type: 'decode-failed'; readonly failure: Failure; readonly slot: 'free' | 'unknown'; readonly began: 'no' | 'maybe' }
	/** Answer to `cancel`: the engine's acknowledgement, the slot is idle. Nothing follows. */
	| { readonly type: 'decode-cancelled'; readonly usage: GenerationUsage };

export interface Generation {
	/** Tells the engine to stop, in this turn. Idempotent. `decode-cancelled`, or an end already under way, follows. */
	cancel(): void;
	/** Cancels, and tells the task nothing more. */
	abandon(): void;
}

/** Opens generations on leased slots. News goes to `task`; a full mailbox there is a bug, for the run is bounded. */
export interface DecodePort {
	start(replica: ReplicaFacts, request: GenerateRequest, task: ActorRef<DecodeNews>): Generation;
	/** Counts a prompt with the replica's tokenizer, off its decode path. Exactly one answer. */
	count(replica: ReplicaFacts, input: PromptInput, replyTo: ActorRef<CountNews>): void;
	/** Token ids and their texts. Exactly one answer. */
	tokenize(replica: ReplicaFacts, text: string, replyTo: ActorRef<TokenizeNews>): void;
}

export type CountNews =
	| { readonly type: 'prompt-counted'; readonly tokens: number }
	| { readonly type: 'count-failed'; readonly failure: Failure };
export type TokenizeNews =
	| { readonly type: 'tokenized'; readonly tokens: readonly { readonly id: number; readonly text: string }[] }
	| { readonly type: 'tokenize-failed'; readonly failure: Failure };
