/**
 * The frames between a front thread (or a Replica's control connection) and an engine host process of ours, over a Unix
 * socket. Types and layout only; `host-frames.ts` encodes and decodes.
 *
 * Frame, little-endian:  u32 length of what follows · u8 kind · u32 stream · payload
 * Length is at most `frameBytesMax`; a longer one, an unknown kind or a short payload ends the connection.
 *
 *  to the host                                  from the host
 *  ── hello     32-byte secret · u32 version     ── welcome    JSON HostFacts
 *  ── start     JSON HostRequest                 ── started    u32 tokensIn · u32 tokensCached
 *  ── cancel    –                                ── pieces     records as in `actors/serving/decode.ts`, u32 count first
 *  ── count     JSON PromptInput                 ── ended      u8 finish (`finishReasons`, or
 *                                                              `finishByStop` and above) · usage
 *  ── tokenize  UTF-8 text                       ── cancelled  usage
 *  ── audit     JSON string[] (revoked leases)   ── failed     JSON Failure
 *  ── ping      –                                ── counted    u32 tokens
 *                                                ── tokenized  JSON [{id,text}]
 *                                                ── embedded   u32 vectors · u32 dims · f32… · usage
 *                                                ── audited    JSON string[] (lease keys)
 *                                                ── pong       –
 *  usage: u32 tokensIn · u32 tokensCached · u32 tokensOut · f64 prefillMs · f64 decodeMs
 *
 * `stream` is chosen by the connecting side, unique among its streams in flight. After `start`: started, pieces*, then
 * exactly one of ended | cancelled | failed | embedded. `cancel` of an unknown stream is ignored: its end is under way.
 * Closing the connection cancels its streams. A revoked lease's streams are cancelled, and a later `start` on it fails.
 */

import type { FinishReason, GenerateRequest, GenerationUsage, PieceChannel } from '../../actors/serving/decode.ts';
import type { Failure } from '../../actors/serving/failure.ts';
import type { MeasuredMemory } from '../../actors/serving/memory-messages.ts';
import type { PromptInput, Workload } from '../../actors/serving/task-request.ts';

export const hostProtocolVersion = 4;
export const frameBytesMax = 64 * 1024 * 1024;
export const frameHeadBytes = 9;
export const finishReasons: readonly FinishReason[] = ['stop', 'length', 'tool_calls'];
/** A `stop` by the stop string at a place is so much more than the place. */
export const finishByStop = 16;
export const secretBytes = 32;

export const toHost = { hello: 1, start: 2, cancel: 3, count: 4, tokenize: 5, audit: 6, ping: 7 } as const;
export const fromHost = {
	welcome: 65,
	started: 66,
	pieces: 67,
	ended: 68,
	cancelled: 69,
	failed: 70,
	counted: 71,
	tokenized: 72,
	embedded: 73,
	audited: 74,
	pong: 75,
} as const;

/** What a host tells of itself in `welcome`. */
export interface HostFacts {
	readonly engineVersion: string;
	readonly modelName: string;
	readonly modelDigest: string | null;
	readonly slots: number;
	readonly ctx: number;
	readonly workloads: readonly Workload[];
	readonly samplerProfileVersion: string;
	readonly chatTemplate: { readonly baseBytes: number; readonly perMessageBytes: number } | null;
	readonly device: string;
	/** Of the KV cache; absent: there is none. */
	readonly kvBytesPerToken?: number;
	/** That it takes, with its model loaded; absent: it has none. */
	readonly memory?: MeasuredMemory;
	readonly features: readonly string[];
}

/** `start`'s JSON: the request with its lease as a key. */
export type HostRequest = Omit<GenerateRequest, 'lease' | 'priority'> & { readonly leaseKey: string };

/** The lease key of the one-token request that a starting replica shows itself ready with. */
export const selfTestLease = 'self-test';

/** What runs inside a host process: the native library, or the scripted engine. `HostServer` does sockets and frames. */
export interface HostBackend {
	readonly facts: HostFacts;
	start(request: HostRequest, sink: GenerationSink): HostGeneration;
	count(input: PromptInput): Promise<number>;
	tokenize(text: string): Promise<readonly { readonly id: number; readonly text: string }[]>;
	close(): Promise<void>;
}

export interface HostGeneration {
	/** Idempotent. The sink's `cancelled` follows when the slot is idle, unless an end was already given. */
	cancel(): void;
}

/** Where a backend puts what it makes. Pieces are buffered; `HostServer.flush` sends one write per connection and step. */
export interface GenerationSink {
	started(tokensIn: number, tokensCached: number): void;
	/**
	 * Whole characters only. `tokenId` and `logprob` when asked for, else −1 and NaN; `ids` of all its tokens when asked for: a
	 * list that is used again. `tops`: the likeliest tokens, as `topsJson` writes them, beside a `tokenId`. Of a tool call, `text` is the JSON
	 * of a delta.
	 */
	piece(
		text: string,
		tokens: number,
		tokenId: number,
		logprob: number,
		ids?: readonly number[] | null,
		tops?: string | null,
		channel?: PieceChannel,
	): void;
	embedded(vectors: readonly Float32Array[], usage: GenerationUsage): void;
	/** `stoppedBy`: place of the stop string that ended it, among those of the request; −1: none did. */
	ended(finishReason: FinishReason, usage: GenerationUsage, stoppedBy?: number): void;
	cancelled(usage: GenerationUsage): void;
	failed(failure: Failure): void;
}

/**
 * How a host process is started: config as one JSON line on stdin, which then stays open (its EOF means the daemon is
 * gone: exit at once). On fd 3 the host writes JSON lines of `HostStatus`. Logs go to stderr, one line each.
 */
export interface HostBoot {
	readonly socketPath: string;
	/** 64 hex digits. */
	readonly secret: string;
	readonly replicaId: string;
	/** The engine's part, as the pool's configuration gives it. */
	readonly settings: unknown;
}

export type HostStatus =
	| { readonly type: 'loading'; readonly progress: number }
	| { readonly type: 'listening' }
	| { readonly type: 'failed'; readonly failure: Failure };
