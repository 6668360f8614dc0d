/**
 * What differs between the engines that are spoken to over HTTP: what is asked and how the answer is read (front threads), and how
 * one sees that an engine is well (engine threads). One adapter an engine, in a folder of its own; it holds no state.
 */
import type { FinishReason, GenerateRequest, PieceChannel } from '../../actors/serving/decode.ts';
import type { Failure } from '../../actors/serving/failure.ts';
import type { PromptInput, Workload } from '../../actors/serving/task-request.ts';
import type { DeltaShape } from './delta-shape.ts';

export const upstreamEngines = ['llamacpp', 'vllm', 'tgi', 'triton', 'openai'] as const;
export type UpstreamEngine = (typeof upstreamEngines)[number];

/** One engine, as it is configured and as it told of itself. Stands in the `address` of `ReplicaFacts`; holds a key, is never logged. */
export interface UpstreamTarget {
	readonly engine: UpstreamEngine;
	/** `http://…`, `https://…` or `unix:…`. */
	readonly url: string;
	readonly key: string | null;
	/** What the engine calls the model. */
	readonly model: string;
	readonly connectMs: number;
	/** What its adapter found out when it looked at it, for itself alone. */
	readonly found: Readonly<Record<string, unknown>>;
}

/** One request. */
export interface UpstreamCall {
	/** Behind the base path of the url. */
	readonly path: string;
	/** Becomes JSON. */
	readonly body: unknown;
	/** The content type that the answer must have: any other is an error of the engine. */
	readonly answers: 'text/event-stream' | 'application/json';
	readonly reader: AnswerReader;
}

/** The request is at its end already, as the tokens that it goes on behind show. */
export interface EndedCall {
	readonly ended: 'stop' | 'length';
	readonly tokensIn: number;
}

/** What became of the questions before a call. */
export type PreparedCall = UpstreamCall | EndedCall | Failure;

/** What the pool says for its engine alone, in the section of that name. Checked by the configuration. */
export type EngineOptions = Readonly<Record<string, string | number | boolean | null>>;

/** Reads the answer to one request. */
export interface AnswerReader {
	/**
	 * Where the text of a delta lies: deltas of one shape are read without a parse, each as one token. Learned from events of which
	 * `read` tells one token and nothing else. One for all answers of an engine that look alike (`shapeOf`). Null: all are parsed. Asked
	 * again after each that was.
	 */
	readonly shape: DeltaShape | null;
	/** What the texts of that shape belong to. Default: the answer. */
	readonly channel?: PieceChannel;
	/** An event, or the whole answer, as JSON. */
	read(event: unknown, name: string, to: AnswerSink): void;
	/** Data of an event that is no JSON; false: it is not known. `[DONE]` is one, where an engine ends with that. */
	word?(data: string, to: AnswerSink): boolean;
	/**
	 * A delta that had the shape, with the token's id and log-probability where the shape names them, for a client that asked. `told`: its
	 * id, for whoever goes on behind it. Default: one token, no id.
	 */
	numbers?(
		shape: DeltaShape,
		bytes: Buffer,
	): { readonly tokens: number; readonly id: number; readonly logprob: number; readonly told?: number };
	/** The answer is at its end, and whole. Default: nothing. Who has told `ended` before has ended well. */
	finish?(to: AnswerSink): void;
}

export interface ToolCallDelta {
	readonly index: number;
	readonly id?: string;
	readonly type?: 'function';
	readonly function: { readonly name?: string; readonly arguments?: string };
}

/** Of a token, for a client that asked. */
export interface Score {
	/** Below 0: nobody asked. `noTokenId`: the engine names none. */
	readonly id: number;
	/** Natural logarithm. */
	readonly logprob: number;
	/** The likeliest in its place, as `topsJson` writes them; null: they were not asked for, or the engine told none. */
	readonly tops: string | null;
}

export const unscored: Score = { id: -1, logprob: Number.NaN, tops: null };

/** What a reader finds. Calls that come after `ended` or `failed` are passed over, but for `used`. */
export interface AnswerSink {
	token(text: string, tokens?: number, score?: Score, channel?: PieceChannel): void;
	/** One delta of a tool call, as the chat API has it; it counts as `tokens` (1). */
	toolCall(delta: ToolCallDelta, tokens?: number): void;
	/** Ids of the tokens of the next `token`, one each, for whoever goes on behind them. */
	told(ids: readonly number[]): void;
	/** Tokens of the request, as far as they are known; each call adds what it knows. */
	used(usage: { readonly tokensIn?: number; readonly tokensCached?: number; readonly tokensOut?: number }): void;
	/** Told to the task when the answer is at its end. `stoppedBy`: place of the stop string that ended it, where that is known; else −1. */
	ended(finishReason: FinishReason, stoppedBy?: number): void;
	/** Behind `ended`: the engine would go on, but no more is wanted of it. It is left, as by a cancel. */
	enough(): void;
	vectors(vectors: readonly Float32Array[]): void;
	failed(failure: Failure): void;
}

/** What a look at an engine shows. */
export interface UpstreamFacts {
	readonly engineVersion: string;
	/** What the engine calls the model; where none was configured, the one that it has. */
	readonly model: string;
	/** Tokens of a slot; null: it does not say. */
	readonly ctx: number | null;
	/** Requests at once; null: it does not say. */
	readonly slots: number | null;
	readonly workloads: readonly Workload[];
	readonly features: readonly string[];
	readonly chatTemplate: boolean;
	readonly found: Readonly<Record<string, unknown>>;
}

/** Calls that are not on the way of a token: by `undici`, with the key and a time limit. */
export interface UpstreamClient {
	/** Null: an answer 404. Throws `UpstreamProblem` for any other that is no success, and where there is none. */
	json(method: 'GET' | 'POST', path: string, body?: unknown): Promise<unknown>;
	text(path: string): Promise<string | null>;
	/** An order without a body; what is answered to it is passed over. */
	order(path: string): Promise<void>;
}

/** Words for a person, without a key or a part of a request. */
export class UpstreamProblem extends Error {
	readonly failure: Failure;
	/** Of the answer; null: there was none. */
	readonly status: number | null;

	constructor(failure: Failure, status: number | null = null) {
		super(failure.message);
		this.failure = failure;
		this.status = status;
	}
}

export interface UpstreamAdapter {
	/** Failure: the engine cannot do that; the words name the field. */
	call(target: UpstreamTarget, request: GenerateRequest): UpstreamCall | Failure;
	/** Where something has to be asked before the call can be made; null: nothing, `call` makes it. Rejects with `UpstreamProblem`. */
	prepare?(client: UpstreamClient, target: UpstreamTarget, request: GenerateRequest): Promise<PreparedCall> | null;
	/** Whether the engine is up and has the model, and what it can do. Throws `UpstreamProblem`. */
	look(client: UpstreamClient, model: string | null, options: EngineOptions): Promise<UpstreamFacts>;
	/** Before the first look: whoever used it last may have put it to rest. */
	rouse?(client: UpstreamClient, options: EngineOptions): Promise<void>;
	/** It is used no more, for now: what it holds may be given back. */
	rest?(client: UpstreamClient, options: EngineOptions): Promise<void>;
	/** Requests that the engine works on or has waiting; null: it does not say. */
	busy(client: UpstreamClient): Promise<number | null>;
	/** How full its KV cache is, 0 to 1; null, or no such question: it does not say. */
	kvUsage?(client: UpstreamClient): Promise<number | null>;
	/** Tokens of a prompt, as the engine takes it; null: it cannot say. */
	count(client: UpstreamClient, target: UpstreamTarget, input: PromptInput): Promise<number | null>;
	/** Null: it cannot say. */
	tokenize(
		client: UpstreamClient,
		target: UpstreamTarget,
		text: string,
	): Promise<readonly { readonly id: number; readonly text: string }[] | null>;
	/** What the engine says of an error, in the body of its answer: words for a person; null: nothing that may be repeated. */
	problem(body: unknown): string | null;
}

const shapes = new WeakMap<UpstreamTarget, Map<string, DeltaShape>>();

/** The shape of the answers of an engine on one path: made when it is first asked for, then the same for all of this thread. */
export function shapeOf(target: UpstreamTarget, path: string, make: () => DeltaShape): DeltaShape {
	const known = shapes.get(target) ?? new Map<string, DeltaShape>();
	shapes.set(target, known);
	const shape = known.get(path) ?? make();
	known.set(path, shape);
	return shape;
}

export type UpstreamAdapters = Readonly<Partial<Record<UpstreamEngine, UpstreamAdapter>>>;

/** The configuration lets no engine through that has none. */
export function adapterOf(adapters: UpstreamAdapters, engine: UpstreamEngine): UpstreamAdapter {
	const adapter = adapters[engine];
	if (adapter === undefined) throw new Error(`engine ${engine} has no adapter`);
	return adapter;
}
