/**
 * What main asks of the thread that fetches models, and what that one tells of it. Types only, and plain data: it crosses threads, so what
 * went wrong is a record and no `Error`.
 */
import type { GgufEntry } from '../serving/catalog-messages.ts';
import type { FailureCode } from '../serving/failure.ts';
import type { FileMark } from './file-digest.ts';
import type { TrustFound, TrustReason, TrustRules } from './trust-messages.ts';

/** Where models come from, and with what rights. Holds secrets: never logged, never shown. */
export interface FetchSources {
	readonly hf: { readonly endpoint: string; readonly token: string | null };
	readonly s3: {
		/** Null: Amazon's own, by bucket and region. */
		readonly endpoint: string | null;
		readonly region: string;
		/** Null: requests are not signed. */
		readonly keys: { readonly id: string; readonly secret: string; readonly session: string | null } | null;
	};
	readonly oci: readonly { readonly registry: string; readonly username: string; readonly password: string }[];
	/** Further certificate authorities, as PEM. */
	readonly caRoots: readonly string[];
	/** Hosts that any redirect may lead to: a name, or `*.` and a domain. */
	readonly redirectHosts: readonly string[];
}

export interface FetchJob {
	/** Canonical. */
	readonly ref: string;
	/** Folder of all fetched models. */
	readonly root: string;
	/** `sha256:<hex>`, as whoever added the model says; null: nobody did. */
	readonly expectedDigest: string | null;
	readonly sources: FetchSources;
	readonly rules: TrustRules;
	/** Refs of signatures and of a bill of materials, as whoever added the model has named them. */
	readonly signatures: readonly string[];
	readonly sbom: string | null;
}

export interface FetchProgress {
	/** `resolving`: what the ref stands for. `waiting`: for the source, or to try again; `note` says why. `checking`: all bytes are here. */
	readonly phase: 'queued' | 'resolving' | 'fetching' | 'waiting' | 'checking';
	readonly bytesDone: number;
	/** Null: the source has not said. */
	readonly bytesTotal: number | null;
	/** Of the last seconds; null: not known yet. */
	readonly bytesPerS: number | null;
	readonly etaMs: number | null;
	readonly filesDone: number;
	readonly filesTotal: number | null;
	/** For a person. */
	readonly note: string | null;
}

export interface FetchedFile {
	/** Within the model's folder. */
	readonly name: string;
	readonly sizeBytes: number;
	readonly digest: string;
	readonly mark: FileMark;
}

export interface FetchedModel {
	/** Of its one file; of several, the SHA-256 of their digests and names as `sha256sum` lists them. */
	readonly digest: string;
	readonly sizeBytes: number;
	readonly files: readonly FetchedFile[];
	/** The folder that holds them, and nothing else. */
	readonly folder: string;
	/** What an engine is given: the file, the first of its parts, or the folder where no file is the model. */
	readonly localPath: string;
	/** Null: it holds no GGUF model. */
	readonly gguf: GgufEntry | null;
	/** What the ref stood for, as names that never mean anything else. */
	readonly manifests: readonly string[];
	readonly trust: TrustFound;
	/** Somebody had said its digest before its bytes came. */
	readonly said: boolean;
}

export interface FetchProblem {
	readonly code: FailureCode;
	readonly message: string;
	/** Whether another pull may end otherwise without anybody having changed anything. */
	readonly retriable: boolean;
	/** Which rule of the operator it does not keep to; absent: none. */
	readonly reason?: TrustReason;
}

export type FetchOutcome =
	| { readonly type: 'fetched'; readonly model: FetchedModel }
	| { readonly type: 'failed'; readonly problem: FetchProblem }
	| { readonly type: 'canceled' };

/** Fetching thread → main. */
export type FetchNews =
	| { readonly type: 'progress'; readonly progress: FetchProgress }
	/** So many bytes are to be written: is there room, by the quota? Answered by `room`. */
	| { readonly type: 'room-wanted'; readonly bytes: number };

/** Main → fetching thread. */
export type FetchOrder =
	| { readonly type: 'cancel' }
	/** `problem` null: go on, once `remove` is removed: folders in the root that nobody uses. */
	| { readonly type: 'room'; readonly problem: string | null; readonly remove: readonly string[] };
