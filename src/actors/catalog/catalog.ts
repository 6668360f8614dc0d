/**
 * The catalog of models: what is known of each, its state, and whether its bytes are what they are said to be. On main, which owns the store;
 * fronts ask it by message, the control thread is told what is retired. Blocks for no file: hashes and headers come from the jobs passed in.
 *
 * ```
 *  pending ─hashed─► verified ─verify─► pending ─other bytes, or none─► failed        Active ◄──► Retired
 * ```
 */
import type { Telemetry } from '../kernel/telemetry.ts';
import type { CatalogAnswer, CatalogEntry, CatalogRequest, GgufEntry, RetiredModels } from '../serving/catalog-messages.ts';
import { type Failure, type FailureCode, failure } from '../serving/failure.ts';
import { type CatalogStore, idBytesMax } from './catalog-store.ts';
import { type HashedFile, markOf } from './file-digest.ts';
import { formatModelRef, parseModelRef } from './model-ref.ts';

type Outcome<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problem: string };

export interface CatalogPorts {
	/** `done` is called once, in a later turn. */
	digest(path: string, done: (outcome: Outcome<HashedFile>) => void): void;
	/** The header of the file, judged. */
	gguf(path: string, done: (outcome: Outcome<GgufEntry>) => void): void;
	/** Milliseconds since 1970. */
	wallNow(): number;
	retired(models: RetiredModels): void;
	readonly telemetry: Telemetry;
}

/** A model that a pool loads: what it calls it, and the file. */
export interface PoolModel {
	readonly poolId: string;
	readonly model: string;
	readonly path: string;
}

type AddModel = Extract<CatalogRequest, { type: 'add-model' }>;

const states = ['Active', 'Retired'] as const;
const defaultDrainMs = 30_000;
const openTrust = { mode: 'permissive', allowed_registries: [], require_signature: false, require_sbom: false, ca_roots: [] } as const;

export class Catalog {
	readonly #store: CatalogStore;
	readonly #ports: CatalogPorts;
	/** Entries whose files are being hashed. */
	readonly #hashing = new Set<string>();
	#onSettled: (() => void)[] = [];
	#pools: readonly PoolModel[] = [];
	#closed = false;

	constructor(store: CatalogStore, ports: CatalogPorts) {
		this.#store = store;
		this.#ports = ports;
		ports.telemetry.expect('catalog_verifications_total', { result: 'ok', reason: '', engine: 'llamacpp' });
	}

	/** Models that are retired, by the refs that pools know them by and by what they are called here. */
	get retired(): RetiredModels {
		const models: string[] = [];
		for (const { state, source_url: ref, id } of this.#store.all()) if (state === 'Retired') models.push(ref, ...(id === ref ? [] : [id]));
		return { models, deadlineMs: defaultDrainMs };
	}

	/** What the last daemon began to hash and did not finish. */
	resume(): void {
		for (const { id, verification } of this.#store.all()) if (verification === 'pending') this.#check(id, true);
	}

	/** Nothing is written from now on: what was being hashed stays as it was, and is hashed when the store is next in use. */
	close(): void {
		this.#closed = true;
	}

	/** What the pools load has an entry each: it was there before the catalog was. */
	usePools(pools: readonly PoolModel[]): void {
		this.#pools = pools;
		for (const { model, path } of pools) {
			const known = this.#store.get(model);
			if (known === null) this.#keep(freshEntry(model, model, path, null, []));
			else this.#showState(known);
			this.#check(model, false);
		}
	}

	/** `reply` is called once: at once, or when the file has been looked at. */
	answer(request: CatalogRequest, reply: (answer: CatalogAnswer) => void): void {
		switch (request.type) {
			case 'list-models':
				return reply(this.#page(request.limit, request.after));
			case 'get-model':
				return reply(this.#told(request.id));
			case 'add-model':
				return this.#add(request, reply);
			case 'delete-model':
				return reply(this.#remove(request.id));
			case 'verify-model':
				return reply(this.#verify(request.id));
			case 'set-model-state':
				return reply(this.#setState(request));
		}
	}

	/** When nothing is being hashed. */
	whenSettled(use: () => void): void {
		if (this.#hashing.size === 0) use();
		else this.#onSettled.push(use);
	}

	#page(limit: number, after: string | null): CatalogAnswer {
		const { ids, entries } = this.#store.page(limit, after);
		const next = ids.length === limit ? (ids.at(-1) ?? null) : null;
		return { ok: true, json: `{"models":[${entries.join(',')}],"next_cursor":${JSON.stringify(next)}}` };
	}

	#add({ ref: text, id: wanted, digest, tags }: AddModel, reply: (answer: CatalogAnswer) => void): void {
		const refuse = (code: FailureCode, words: string): void => reply(refused(code, words));
		const parsed = parseModelRef(text);
		const given = `source_url is ${JSON.stringify(text)}`;
		if (!parsed.ok) return refuse('INVALID_PARAMS', `${given}; ${parsed.problem}`);
		if (parsed.ref.kind !== 'file')
			return refuse('INVALID_PARAMS', `${given}; fetching models is not available in this version, use file:/absolute/path.gguf`);
		const { path } = parsed.ref;
		const ref = formatModelRef(parsed.ref);
		const id = wanted ?? ref;
		const name = parseModelRef(id);
		if (wanted !== null && !(name.ok && name.ref.kind === 'alias'))
			return refuse('INVALID_PARAMS', `id is ${JSON.stringify(wanted)}; ${name.ok ? 'it must not look like another ref' : name.problem}`);
		if (Buffer.byteLength(id) > idBytesMax)
			return refuse('INVALID_PARAMS', `the path is longer than ${idBytesMax} bytes; give the model an id`);
		if (this.#store.get(id) !== null) return refuse('CONFLICT', `there is a model ${id} already`);
		this.#ports.gguf(path, (header) => {
			if (this.#closed) return refuse('POOL_UNREADY', 'the daemon is shutting down');
			if (!header.ok) return refuse('INVALID_PARAMS', `model file ${path}: ${header.problem}`);
			// Meanwhile another request may have come for the same id.
			if (this.#store.get(id) !== null) return refuse('CONFLICT', `there is a model ${id} already`);
			this.#keep({ ...freshEntry(id, ref, path, digest, tags), gguf: header.value });
			reply(this.#told(id));
			this.#check(id, true);
		});
	}

	#remove(id: string): CatalogAnswer {
		const entry = this.#store.get(id);
		if (entry === null) return unknownModel;
		const pool = this.#pools.find(({ model }) => model === entry.source_url);
		if (pool !== undefined)
			return refused('CONFLICT', `pool ${pool.poolId} serves ${id}; a model that a pool serves can be retired, not deleted`);
		this.#store.remove(id);
		if (entry.state === 'Retired') this.#ports.retired({ ...this.retired, deadlineMs: defaultDrainMs });
		return { ok: true, json: '' };
	}

	#verify(id: string): CatalogAnswer {
		const entry = this.#store.get(id);
		if (entry === null) return unknownModel;
		if (!this.#hashing.has(id)) {
			this.#keep({ ...entry, verification: 'pending', problem: null });
			this.#check(id, true);
		}
		return this.#told(id);
	}

	#setState({ id, state, deadlineMs }: Extract<CatalogRequest, { type: 'set-model-state' }>): CatalogAnswer {
		const entry = this.#store.get(id);
		if (entry === null) return unknownModel;
		if (entry.state !== state) {
			this.#keep({ ...entry, state });
			this.#ports.retired({ ...this.retired, deadlineMs });
			this.#ports.telemetry.log('info', 'model-state', { model: id, state, human: `${id} is ${state} now.` });
		}
		return this.#told(id);
	}

	/** One at a time for each entry. `anew`: the bytes are read even if nothing speaks of a change. */
	#check(id: string, anew: boolean): void {
		const entry = this.#store.get(id);
		const path = entry?.local_path ?? null;
		if (entry === null || path === null || this.#hashing.has(id)) return;
		const known = anew ? null : this.#knownDigest(path);
		if (known !== null && known === entry.digest && entry.verification === 'verified' && entry.gguf !== null) return;
		this.#hashing.add(id);
		this.#ports.gguf(path, (header) => {
			if (!header.ok) return this.#unreadable(id, path, header.problem);
			this.#ports.digest(path, (hashed) => {
				if (hashed.ok) this.#hashed(id, path, header.value, hashed.value);
				else this.#unreadable(id, path, hashed.problem);
			});
		});
	}

	#hashed(id: string, path: string, gguf: GgufEntry, hashed: HashedFile): void {
		if (this.#closed) return;
		const { digest, mark } = hashed;
		const before = this.#store.digestOf(path, mark);
		const entry = this.#store.get(id);
		const expected = entry?.expected_digest ?? null;
		const problem =
			expected !== null && expected !== digest
				? `it has digest ${digest}, not ${expected}`
				: before !== null && before !== digest
					? `its bytes have changed, though its size and date have not: it had digest ${before}, and has ${digest}`
					: null;
		if (problem === null) this.#store.putDigest(path, hashed);
		const facts = { digest, size_bytes: mark.sizeBytes, gguf };
		this.#checked(id, problem === null ? { ...facts, last_verified_ms: this.#ports.wallNow() } : facts, path, problem, 'mismatch');
	}

	#unreadable(id: string, path: string, problem: string): void {
		this.#checked(id, {}, path, problem, 'unreadable');
	}

	#checked(id: string, facts: Partial<CatalogEntry>, path: string, wrong: string | null, reason: string): void {
		if (this.#closed) return;
		this.#hashing.delete(id);
		const entry = this.#store.get(id);
		// It may have been deleted meanwhile.
		if (entry !== null) {
			const problem = wrong === null ? null : `model file ${path}: ${wrong}`;
			this.#keep({ ...entry, ...facts, verification: problem === null ? 'verified' : 'failed', problem });
			this.#count(problem === null ? 'ok' : 'failed', problem === null ? '' : reason);
			if (problem !== null) this.#ports.telemetry.log('error', 'model-unverified', { model: id, human: `${problem}.` });
		}
		if (this.#hashing.size > 0) return;
		const waiting = this.#onSettled;
		this.#onSettled = [];
		for (const use of waiting) use();
	}

	#knownDigest(path: string): string | null {
		try {
			return this.#store.digestOf(path, markOf(path));
		} catch {
			// Gone, or no file: hashing it says so in words.
			return null;
		}
	}

	#count(result: 'ok' | 'failed', reason: string): void {
		this.#ports.telemetry.count('catalog_verifications_total', { result, reason, engine: 'llamacpp' });
	}

	#keep(entry: CatalogEntry): void {
		this.#store.put(entry);
		this.#showState(entry);
	}

	#showState(entry: CatalogEntry): void {
		// Only of what pools serve: a catalog may have any number of others.
		if (!this.#pools.some(({ model }) => model === entry.source_url)) return;
		for (const state of states) this.#ports.telemetry.gauge('model_state', { model_id: entry.id, state }, entry.state === state ? 1 : 0);
	}

	#told(id: string): CatalogAnswer {
		const json = this.#store.json(id);
		return json === null ? unknownModel : { ok: true, json };
	}
}

const unknownModel: CatalogAnswer = {
	ok: false,
	failure: failure('NOT_FOUND', 'there is no such model; /v2/catalog/models lists them'),
};

function refused(code: FailureCode, words: string): { readonly ok: false; readonly failure: Failure } {
	return { ok: false, failure: failure(code, words) };
}

function freshEntry(id: string, ref: string, path: string, expected: string | null, tags: readonly string[]): CatalogEntry {
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
		verification: 'pending',
		problem: null,
		last_verified_ms: null,
		local_path: path,
		gguf: null,
	};
}
