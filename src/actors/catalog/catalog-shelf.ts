/**
 * The entries of the catalog as its parts share them: read, kept and shown by one hand, with the rules that hold for all. On main. What is not
 * on disk when a turn ends was not kept.
 */
import type { Telemetry } from '../kernel/telemetry.ts';
import type { CatalogAnswer, CatalogEntry, CatalogNews } from '../serving/catalog-messages.ts';
import { type Failure, type FailureCode, failure } from '../serving/failure.ts';
import type { CatalogStore } from './catalog-store.ts';
import type { TrustRules } from './trust-messages.ts';

/** A model that a pool loads: what it calls it, and the file; null: it is fetched first. */
export interface PoolModel {
	readonly poolId: string;
	readonly model: string;
	readonly path: string | null;
}

export interface ShelfPorts {
	readonly telemetry: Telemetry;
	/** What the control thread is to know has changed. */
	changed(news: CatalogNews): void;
}

const states = ['Active', 'Retired'] as const;
const drainMs = 30_000;

export class CatalogShelf {
	readonly store: CatalogStore;
	readonly rules: TrustRules;
	readonly #ports: ShelfPorts;
	/** Behind the JSON of each entry. */
	readonly #policy: string;
	#told = '';
	pools: readonly PoolModel[] = [];
	/** Nothing is written any more. */
	closed = false;

	constructor(store: CatalogStore, rules: TrustRules, ports: ShelfPorts) {
		this.store = store;
		this.rules = rules;
		this.#ports = ports;
		const { mode, allowedRegistries, requireSignature, requireSbom, caRoots } = rules;
		const policy = {
			mode,
			allowed_registries: allowedRegistries,
			require_signature: requireSignature,
			require_sbom: requireSbom,
			ca_roots: caRoots,
		};
		this.#policy = `,"trust_policy":${JSON.stringify(policy)}}`;
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

	/** `deadlineMs`: how long tasks may still run where this bars a model. */
	keep(entry: CatalogEntry, deadlineMs = drainMs): void {
		if (this.closed) return;
		this.store.put(entry);
		this.show(entry);
		if (this.poolOf(entry) !== undefined) this.tell(deadlineMs);
	}

	/** Of what pools serve, which is little; a catalog may have any number of others. */
	show(entry: CatalogEntry): void {
		const { id, state: now } = entry;
		if (this.poolOf(entry) === undefined) return;
		for (const state of states) this.#ports.telemetry.gauge('model_state', { model_id: id, state }, now === state ? 1 : 0);
	}

	/** Of the pools that load it, the first. */
	poolOf(entry: CatalogEntry): PoolModel | undefined {
		return this.pools.find(({ model }) => model === entry.id || isCalled(entry, model));
	}

	/** Tells what has changed, if it has. */
	tell(deadlineMs = drainMs): void {
		const { deadlineMs: _own, ...news } = this.news;
		const now = JSON.stringify(news);
		if (now === this.#told) return;
		this.#told = now;
		this.#ports.changed({ ...news, deadlineMs });
	}

	/** Models that are barred, by their refs and ids, for a pool may be reloaded with any; names of those that pools serve. */
	get news(): CatalogNews {
		const retired: string[] = [];
		const untrusted: string[] = [];
		const names: [string, string][] = [];
		for (const entry of this.store.all()) {
			const called = [...new Set([entry.source_url, entry.id, entry.digest, entry.expected_digest].filter((name) => name !== null))];
			const served = this.pools.map(({ model }) => model).filter((model) => called.includes(model));
			for (const model of served) names.push(...called.filter((name) => name !== model).map((name): [string, string] => [name, model]));
			if (entry.state !== 'Retired' && !entry.untrusted) continue;
			const barred = new Set([entry.source_url, entry.id, ...served]);
			(entry.untrusted ? untrusted : retired).push(...barred);
		}
		return { retired, untrusted, names, deadlineMs: drainMs };
	}

	told(id: string): CatalogAnswer {
		const json = this.store.json(id);
		return json === null ? unknownModel : { ok: true, json: this.shown(json) };
	}

	/** As it is sent. */
	shown(json: string): string {
		return json.slice(0, -1) + this.#policy;
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

export interface NewEntry {
	readonly id: string;
	readonly ref: string;
	/** Of the user's file; null: it is to be fetched. */
	readonly path: string | null;
	/** `sha256:<hex>` that its bytes must have; null: nobody has said. */
	readonly expected: string | null;
	readonly tags: readonly string[];
	readonly signatures: readonly string[];
	readonly sbom: string | null;
}

export function freshEntry({ id, ref, path, expected, tags, signatures, sbom }: NewEntry): CatalogEntry {
	return {
		id,
		digest: null,
		expected_digest: expected,
		source_url: ref,
		size_bytes: null,
		tags,
		manifests: [],
		signatures,
		sbom,
		signed_by: [],
		trust_problems: [],
		trust_rules: null,
		digest_said: expected !== null,
		untrusted: false,
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

/** Of which nothing is known but its ref: a pool or an engine has named it. */
export function entryOfRef(ref: string, path: string | null): CatalogEntry {
	return freshEntry({ id: ref, ref, path, expected: null, tags: [], signatures: [], sbom: null });
}
