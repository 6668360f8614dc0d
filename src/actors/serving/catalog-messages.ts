/**
 * What is asked of the catalog of models, and what it answers. Types only, and plain data: it crosses threads. Entries have the field
 * names of the API, for they are kept and sent as they are.
 */
import type { Failure } from './failure.ts';

export type ModelState = 'Active' | 'Retired';

/** What is known of a model from the header of its file. */
export interface GgufEntry {
	readonly architecture: string;
	readonly parameters: number;
	readonly context_length: number;
	readonly quantization: string;
	readonly chat_template: string | null;
}

/** A file of a model. */
export interface CatalogFile {
	/** Within the folder of the model. */
	readonly name: string;
	readonly digest: string;
	readonly size_bytes: number;
}

export interface CatalogEntry {
	readonly id: string;
	/** `sha256:<hex>` of the file as it was hashed last, of several files that of their list; null: never yet. */
	readonly digest: string | null;
	/** What whoever brought it says that it is; null: nothing. */
	readonly expected_digest: string | null;
	/** The model ref that it came by. */
	readonly source_url: string;
	readonly size_bytes: number | null;
	readonly tags: readonly string[];
	readonly manifests: readonly string[];
	/** Refs of what vouches for it: as whoever added it has named them, then those that were found. */
	readonly signatures: readonly string[];
	readonly sbom: string | null;
	/** Who has signed it: keys and identities that are trusted. */
	readonly signed_by: readonly string[];
	/** What the strict mode of `catalog.trust` refuses for. */
	readonly trust_problems: readonly { readonly reason: string; readonly words: string }[];
	/** By which rules that was found; null: nobody has looked. */
	readonly trust_rules: string | null;
	/** Somebody had said its digest before its bytes came. */
	readonly digest_said: boolean;
	/** Its bytes are others than were promised, or do not keep to the rules of an operator who is strict: nobody is served with it. */
	readonly untrusted: boolean;
	readonly state: ModelState;
	/**
	 * `absent`: it has not been fetched. `verified`: the bytes were hashed, and are what they should be. `failed`: they are not, or cannot
	 * be read; `problem` says so.
	 */
	readonly verification: 'absent' | 'pending' | 'verified' | 'failed';
	readonly problem: string | null;
	readonly last_verified_ms: number | null;
	/** What an engine is given; null: it has not been fetched. */
	readonly local_path: string | null;
	/** Below `catalog.root`, where it was fetched to: ours to delete. Null: a user's file, or not fetched. */
	readonly folder: string | null;
	readonly files: readonly CatalogFile[];
	/** Somebody wants it fetched, and it has not been yet: a daemon that starts goes on with it. */
	readonly fetching: boolean;
	/** When an engine was given it last. */
	readonly used_ms: number | null;
	readonly gguf: GgufEntry | null;
}

export type CatalogRequest =
	| { readonly type: 'list-models'; readonly limit: number; readonly after: string | null }
	| { readonly type: 'get-model'; readonly id: string }
	| {
			readonly type: 'add-model';
			readonly ref: string;
			readonly id: string | null;
			readonly digest: string | null;
			readonly tags: readonly string[];
			/** Refs of `file:` or `https:`. */
			readonly signatures: readonly string[];
			readonly sbom: string | null;
	  }
	| { readonly type: 'delete-model'; readonly id: string }
	| { readonly type: 'verify-model'; readonly id: string }
	| { readonly type: 'pull-model'; readonly id: string }
	| { readonly type: 'cancel-pull'; readonly id: string }
	/** Answered, as a `PullNews`, when there is something newer than `after`. */
	| { readonly type: 'watch-pull'; readonly id: string; readonly after: number }
	/** Of an engine that is about to start, answered as a `ModelAnswer`. `path`: of the file, where that is known; `after` 0: it is wanted now. */
	| { readonly type: 'prepare-model'; readonly model: string; readonly path: string | null; readonly after: number }
	| { readonly type: 'set-model-state'; readonly id: string; readonly state: ModelState; readonly deadlineMs: number };

/** `json`: the answer's body, ready to be sent. */
export type CatalogAnswer = { readonly ok: true; readonly json: string } | { readonly ok: false; readonly failure: Failure };

/** How far a pull is, under the names of the API. */
export interface PullView {
	readonly phase: 'queued' | 'resolving' | 'fetching' | 'waiting' | 'checking';
	readonly bytes_done: number;
	readonly bytes_total: number | null;
	readonly bytes_per_s: number | null;
	readonly eta_ms: number | null;
	readonly files_done: number;
	readonly files_total: number | null;
	readonly note: string | null;
}

/** The JSON of an answer to `watch-pull`. `end` and `error` are the last. */
export type PullNews =
	| { readonly seq: number; readonly event: 'progress'; readonly data: PullView }
	| { readonly seq: number; readonly event: 'end'; readonly data: CatalogEntry }
	| { readonly seq: number; readonly event: 'error'; readonly data: Failure };

/** The JSON of an answer to `prepare-model`. */
export type ModelAnswer =
	| { readonly event: 'progress'; readonly seq: number; readonly data: PullView }
	| { readonly event: 'ready'; readonly data: PreparedModel };

/** A file of a model as it was hashed last: its digest holds for as long as nothing else of this has changed. */
export interface PreparedFile {
	readonly path: string;
	readonly digest: string;
	readonly sizeBytes: number;
	readonly mtimeNs: string;
	readonly inode: string;
}

export interface PreparedModel {
	/** The file, the first of its parts, or the folder. */
	readonly path: string;
	/** What its bytes must have together; null: nobody has said. */
	readonly expectedDigest: string | null;
	/** Those that were hashed already. */
	readonly files: readonly PreparedFile[];
}

/** What the control thread is told of the catalog, all of it each time: of models that pools may be asked for. */
export interface CatalogNews {
	/** No pool may serve these, by the refs that pools know them by and by what they are called. */
	readonly retired: readonly string[];
	readonly untrusted: readonly string[];
	/** What the catalog calls a model beside what its pool does: name, then model. */
	readonly names: readonly (readonly [name: string, model: string])[];
	/** How long tasks may still run in the pools of those that have come. */
	readonly deadlineMs: number;
}
