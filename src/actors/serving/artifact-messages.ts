/**
 * What is asked of the store of artifacts, and what it answers. Types, and the kinds there are. Plain data: it crosses threads. Entries have
 * the field names of the API, for they are kept and sent as they are.
 */
import type { Failure } from './failure.ts';

export const artifactKinds = ['plan', 'summary', 'diff', 'trace', 'transcript', 'logs', 'other'] as const;
export type ArtifactKind = (typeof artifactKinds)[number];

/** All that is known of an artifact but its content. */
export interface ArtifactEntry {
	/** `sha256:<hex>` of the content. */
	readonly id: string;
	readonly kind: ArtifactKind;
	readonly tenant: string;
	readonly tags: readonly string[];
	/** Id of an artifact of the same tenant. */
	readonly parent: string | null;
	readonly metadata: Readonly<Record<string, unknown>>;
	/** Of the content. */
	readonly size_bytes: number;
	/** Milliseconds since 1970 when it was given last. */
	readonly created_ms: number;
}

/** Whose artifact: `tenant`'s, or where there is none of that and `foreign` is set, anybody's. */
export interface ArtifactName {
	readonly id: string;
	readonly tenant: string;
	readonly foreign: boolean;
}

export type ArtifactRequest =
	| ({ readonly type: 'put-artifact'; readonly content: string } & Pick<ArtifactEntry, 'kind' | 'tenant' | 'tags' | 'parent' | 'metadata'>)
	/** Answers with the content too. */
	| ({ readonly type: 'get-artifact' } & ArtifactName)
	| ({ readonly type: 'describe-artifact' } & ArtifactName)
	| ({ readonly type: 'delete-artifact' } & ArtifactName)
	| {
			readonly type: 'list-artifacts';
			/** Null: of all tenants. */
			readonly tenant: string | null;
			readonly kind: string | null;
			readonly tag: string | null;
			readonly limit: number;
			readonly after: string | null;
	  };

/** `json`: the answer's body, ready to be sent; empty where there is none. `entry`: without the content, where it has that. */
export type ArtifactAnswer =
	| { readonly ok: true; readonly json: string; readonly entry?: string }
	| { readonly ok: false; readonly failure: Failure };
