/**
 * The entries of the catalog as its parts share them: read, kept and shown by one hand. On main. What is not on disk when a turn ends was
 * not kept.
 */
import type { Telemetry } from '../kernel/telemetry.ts';
import type { CatalogAnswer, CatalogEntry } from '../serving/catalog-messages.ts';
import { type Failure, type FailureCode, failure } from '../serving/failure.ts';
import type { CatalogStore } from './catalog-store.ts';

/** A model that a pool loads: what it calls it, and the file; null: it is fetched first. */
export interface PoolModel {
	readonly poolId: string;
	readonly model: string;
	readonly path: string | null;
}

const states = ['Active', 'Retired'] as const;

export class CatalogShelf {
	readonly store: CatalogStore;
	readonly #telemetry: Telemetry;
	pools: readonly PoolModel[] = [];
	/** Nothing is written any more. */
	closed = false;

	constructor(store: CatalogStore, telemetry: Telemetry) {
		this.store = store;
		this.#telemetry = telemetry;
	}

	get(id: string): CatalogEntry | null {
		return this.store.get(id);
	}

	/** By what it is called here, its ref, or its digest; of several, one that somebody has said the digest of. */
	find(name: string): CatalogEntry | null {
		const known = this.get(name);
		if (known !== null) return known;
		let found: CatalogEntry | null = null;
		for (const entry of this.store.all()) {
			if (!isCalled(entry, name)) continue;
			if (entry.expected_digest !== null) return entry;
			found ??= entry;
		}
		return found;
	}

	keep(entry: CatalogEntry): void {
		if (this.closed) return;
		this.store.put(entry);
		this.show(entry);
	}

	/** Of what pools serve, which is little; a catalog may have any number of others. */
	show(entry: CatalogEntry): void {
		const { id, state: now } = entry;
		if (this.poolOf(entry) === undefined) return;
		for (const state of states) this.#telemetry.gauge('model_state', { model_id: id, state }, now === state ? 1 : 0);
	}

	/** Of the pools that load it, the first. */
	poolOf(entry: CatalogEntry): PoolModel | undefined {
		return this.pools.find(({ model }) => model === entry.id || isCalled(entry, model));
	}

	told(id: string): CatalogAnswer {
		const json = this.store.json(id);
		return json === null ? unknownModel : { ok: true, json };
	}
}

/** Whatever else it is called. */
function isCalled({ source_url: ref, digest, expected_digest: expected }: CatalogEntry, name: string): boolean {
	return ref === name || digest === name || expected === name;
}

export const unknownModel: CatalogAnswer = {
	ok: false,
	failure: failure('NOT_FOUND', 'there is no such model; /v2/catalog/models lists them'),
};

export function refused(code: FailureCode, words: string): { readonly ok: false; readonly failure: Failure } {
	return { ok: false, failure: failure(code, words) };
}

const openTrust = { mode: 'permissive', allowed_registries: [], require_signature: false, require_sbom: false, ca_roots: [] } as const;

export interface NewEntry {
	readonly id: string;
	readonly ref: string;
	/** Of the user's file; null: it is to be fetched. */
	readonly path: string | null;
	/** `sha256:<hex>` that its bytes must have; null: nobody has said. */
	readonly expected: string | null;
	readonly tags: readonly string[];
}

export function freshEntry({ id, ref, path, expected, tags }: NewEntry): CatalogEntry {
	return {
		id,
		digest: null,
		expected_digest: expected,
		source_url: ref,
		size_bytes: null,
		tags,
		manifests: [],
		signatures: [],
		sbom: null,
		trust_policy: openTrust,
		state: 'Active',
		verification: path === null ? 'absent' : 'pending',
		problem: null,
		last_verified_ms: null,
		local_path: path,
		folder: null,
		files: [],
		fetching: false,
		used_ms: null,
		gguf: null,
	};
}
