/**
 * What an engine is given when it asks for its model: where it is, and what its bytes were when they were hashed last, so that the engine
 * need not hash them again. A model that is elsewhere is fetched first. On main; asked by engine threads, through main.
 */
import type { CatalogAnswer, CatalogEntry, ModelAnswer, PreparedFile, PreparedModel } from '../serving/catalog-messages.ts';
import { failure } from '../serving/failure.ts';
import { type CatalogChecks, filesOf } from './catalog-checks.ts';
import type { CatalogFetches } from './catalog-fetches.ts';
import { type CatalogShelf, entryOfRef, refused } from './catalog-shelf.ts';
import { formatModelRef, parseModelRef } from './model-ref.ts';
import { isOurs } from './trust.ts';

type Reply = (answer: CatalogAnswer) => void;

export class CatalogProvision {
	readonly #shelf: CatalogShelf;
	readonly #checks: CatalogChecks;
	readonly #fetches: CatalogFetches;
	readonly #wallNow: () => number;

	constructor(shelf: CatalogShelf, checks: CatalogChecks, fetches: CatalogFetches, wallNow: () => number) {
		this.#shelf = shelf;
		this.#checks = checks;
		this.#fetches = fetches;
		this.#wallNow = wallNow;
	}

	/**
	 * `after` 0: it is wanted from now on, and fetched where that is allowed. Above: how far is it, once there is something newer. `reply` is
	 * called once.
	 */
	prepare({ model, path, after }: { readonly model: string; readonly path: string | null; readonly after: number }, reply: Reply): void {
		const entry = this.#entryOf(model, path);
		if (entry === null)
			return reply(refused('NOT_FOUND', `there is no model ${model} in the catalog, and it is nothing that can be fetched`));
		if (this.#fetches.isFetchable(entry.source_url)) this.#fetched(entry, after, reply);
		else this.#file(entry, reply);
	}

	/** Of a user: loaded while it is hashed, unless somebody has said what it must be. */
	#file(entry: CatalogEntry, reply: Reply): void {
		this.#checks.check(entry.id, false);
		if (entry.expected_digest === null && (this.#shelf.rules.mode !== 'strict' || isOurs(entry))) return this.#ready(entry.id, reply);
		this.#checks.whenChecked(entry.id, () => this.#trusted(entry.id, reply));
	}

	#fetched(entry: CatalogEntry, after: number, reply: Reply): void {
		const { id, source_url: ref } = entry;
		if (this.#fetches.isPulling(ref)) return this.#fetches.watch(id, after, () => this.#told(id, reply));
		if (entry.folder !== null) {
			this.#checks.check(id, false);
			return this.#checks.whenChecked(id, () => this.#hereOrAgain(id, after, reply));
		}
		this.#begin(id, after, reply);
	}

	/** It was fetched once: what has been damaged since is fetched again. */
	#hereOrAgain(id: string, after: number, reply: Reply): void {
		const entry = this.#shelf.get(id);
		if (entry?.verification === 'verified' && !entry.untrusted) return this.#ready(id, reply);
		this.#begin(id, after, reply);
	}

	#begin(id: string, after: number, reply: Reply): void {
		const entry = this.#shelf.get(id);
		if (entry === null) return reply(refused('NOT_FOUND', `the model ${id} was deleted`));
		// It was wanted before, and did not come.
		if (after > 0) return reply({ ok: false, failure: this.#fetches.lastFailure(entry) });
		const { refusal } = this.#fetches;
		if (refusal !== null) {
			const words = `${entry.source_url} is not here, and ${refusal.message}, or run orchestratord models pull where that is allowed`;
			return reply({ ok: false, failure: failure('POOL_UNAVAILABLE', words) });
		}
		this.#fetches.begin(id, () => undefined);
		this.#told(id, reply);
	}

	#told(id: string, reply: Reply): void {
		const entry = this.#shelf.get(id);
		if (entry === null) return reply(refused('NOT_FOUND', `the model ${id} was deleted`));
		const view = this.#fetches.view(entry.source_url);
		if (view !== null) return reply(told({ event: 'progress', seq: view.seq, data: view.data }));
		if (entry.verification === 'verified') return this.#ready(id, reply);
		reply({ ok: false, failure: this.#fetches.lastFailure(entry) });
	}

	#trusted(id: string, reply: Reply): void {
		const entry = this.#shelf.get(id);
		if (entry === null || (entry.verification === 'verified' && !entry.untrusted)) return this.#ready(id, reply);
		reply(refused('UNTRUSTED_ARTIFACT', entry.problem ?? `${id} is not verified`));
	}

	#ready(id: string, reply: Reply): void {
		const entry = this.#shelf.get(id);
		if (entry === null || entry.local_path === null) return reply(refused('NOT_FOUND', `the model ${id} is gone`));
		this.#shelf.keep({ ...entry, used_ms: this.#wallNow() });
		const files = filesOf(entry).flatMap(({ path }): PreparedFile[] => {
			const known = this.#shelf.store.hashed(path);
			return known === null ? [] : [{ path, digest: known.digest, ...known.mark }];
		});
		const data: PreparedModel = { path: entry.local_path, expectedDigest: entry.expected_digest, files };
		reply(told({ event: 'ready', data }));
	}

	/** By what the catalog calls it, its ref or its digest; one that somebody has said the digest of before others. Made where it may be. */
	#entryOf(model: string, path: string | null): CatalogEntry | null {
		const known = this.#shelf.find(model);
		if (known !== null) return known;
		const parsed = parseModelRef(model);
		const ref = parsed.ok ? formatModelRef(parsed.ref) : model;
		if (path === null && !this.#fetches.isFetchable(ref)) return null;
		this.#shelf.keep(entryOfRef(ref, path));
		return this.#shelf.get(ref);
	}
}

function told(answer: ModelAnswer): CatalogAnswer {
	return { ok: true, json: JSON.stringify(answer) };
}
