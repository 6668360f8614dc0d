/**
 * The catalog of models: what is known of each, its state, and whether its bytes are what they are said to be. On main, which owns the store;
 * fronts ask it by message, the control thread is told what is retired. Blocks for no file: hashes, headers and whole models come from the
 * jobs passed in. What is asked is answered here; hashing is `catalog-checks.ts`, fetching `catalog-fetches.ts`, over one `catalog-shelf.ts`.
 *
 * ```
 *  absent ─pull─► verified ◄─hashed─ pending ◄─verify─ any that is here      Active ◄──► Retired
 * ```
 */
import type { Telemetry } from '../kernel/telemetry.ts';
import type { CatalogAnswer, CatalogNews, CatalogRequest } from '../serving/catalog-messages.ts';
import type { FailureCode } from '../serving/failure.ts';
import { CatalogChecks, type CheckPorts } from './catalog-checks.ts';
import { CatalogFetches, type CatalogFetchPorts, type FetchRules } from './catalog-fetches.ts';
import { CatalogProvision } from './catalog-provision.ts';
import { CatalogShelf, entryOfRef, freshEntry, type PoolModel, refused, unknownModel } from './catalog-shelf.ts';
import { type CatalogStore, idBytesMax } from './catalog-store.ts';
import { formatModelRef, parseModelRef } from './model-ref.ts';
import { registryProblem } from './trust.ts';
import type { TrustRules } from './trust-messages.ts';

export interface CatalogPorts extends CheckPorts {
	readonly fetch: CatalogFetchPorts['fetch'];
	readonly pullsMax: number;
	/** A folder of the catalog's own, with all that is in it. */
	remove(folder: string): void;
	/** What the control thread is to know of has changed. */
	changed(news: CatalogNews): void;
	readonly telemetry: Telemetry;
}

export interface CatalogRules extends FetchRules {
	readonly trust: TrustRules;
}

type AddModel = Extract<CatalogRequest, { type: 'add-model' }>;

export class Catalog {
	readonly #shelf: CatalogShelf;
	readonly #ports: CatalogPorts;
	readonly #checks: CatalogChecks;
	readonly #fetches: CatalogFetches;
	readonly #provision: CatalogProvision;

	constructor(store: CatalogStore, ports: CatalogPorts, rules: CatalogRules) {
		this.#ports = ports;
		this.#shelf = new CatalogShelf(store, rules.trust, ports);
		this.#checks = new CatalogChecks(this.#shelf, ports);
		const { fetch, pullsMax, telemetry } = ports;
		this.#fetches = new CatalogFetches(this.#shelf, rules, {
			fetch,
			pullsMax,
			telemetry,
			wallNow: () => ports.wallNow(),
			verified: () => this.#checks.count('ok', ''),
			mistrusted: (_entry, reason) => this.#checks.count('failed', reason),
			warned: (entry, reason, words) => this.#checks.warned(entry, reason, words),
		});
		this.#provision = new CatalogProvision(this.#shelf, this.#checks, this.#fetches, () => ports.wallNow());
	}

	/** What the control thread is to know. */
	get news(): CatalogNews {
		return this.#shelf.news;
	}

	/** What the last daemon began to hash or to fetch and did not finish. */
	resume(): void {
		const pending = [...this.#shelf.store.all()].filter(({ verification }) => verification === 'pending');
		for (const { id } of pending) this.#checks.check(id, true);
		this.#fetches.resume();
	}

	/** Nothing is written from now on: what was under way stays as it was, and is begun again when the store is next in use. */
	close(): void {
		this.#shelf.closed = true;
		this.#fetches.close();
	}

	/** What the pools load has an entry each: it was there before the catalog was. */
	usePools(pools: readonly PoolModel[]): void {
		this.#shelf.pools = pools;
		for (const { model, path } of pools) {
			const known = this.#shelf.find(model);
			const fetchable = this.#fetches.isFetchable(model);
			if (known === null && (path !== null || fetchable)) this.#shelf.keep(entryOfRef(model, path));
			// What comes with the program is where that is now.
			else if (known !== null && path !== null && known.local_path !== path) this.#shelf.keep({ ...known, local_path: path });
			else if (known !== null) this.#shelf.show(known);
			this.#checks.check(known?.id ?? model, false);
		}
		this.#shelf.tell();
	}

	/** `reply` is called once: at once, when a file has been looked at, or when a pull has something new. */
	answer(request: CatalogRequest, reply: (answer: CatalogAnswer) => void): void {
		switch (request.type) {
			case 'list-models':
				return reply(this.#page(request.limit, request.after));
			case 'get-model':
				return reply(this.#fetches.told(request.id));
			case 'add-model':
				return this.#add(request, reply);
			case 'delete-model':
				return reply(this.#remove(request.id));
			case 'verify-model':
				return reply(this.#verify(request.id));
			case 'set-model-state':
				return reply(this.#setState(request));
			case 'pull-model':
				return reply(this.#fetches.pull(request.id));
			case 'cancel-pull':
				return reply(this.#fetches.cancel(request.id));
			case 'watch-pull':
				return this.#fetches.watch(request.id, request.after, reply);
			case 'prepare-model':
				return this.#provision.prepare(request, reply);
		}
	}

	/** When nothing is being hashed. */
	whenSettled(use: () => void): void {
		this.#checks.whenSettled(use);
	}

	#page(limit: number, after: string | null): CatalogAnswer {
		const { ids, entries } = this.#shelf.store.page(limit, after);
		const next = ids.length === limit ? (ids.at(-1) ?? null) : null;
		return {
			ok: true,
			json: `{"models":[${entries.map((json) => this.#shelf.shown(json)).join(',')}],"next_cursor":${JSON.stringify(next)}}`,
		};
	}

	#add({ ref: text, id: wanted, digest, tags, signatures, sbom }: AddModel, reply: (answer: CatalogAnswer) => void): void {
		const refuse = (code: FailureCode, words: string): void => reply(refused(code, words));
		const parsed = parseModelRef(text);
		const given = `source_url is ${JSON.stringify(text)}`;
		if (!parsed.ok) return refuse('INVALID_PARAMS', `${given}; ${parsed.problem}`);
		const ref = formatModelRef(parsed.ref);
		const isFile = parsed.ref.kind === 'file';
		if (!isFile && !this.#fetches.isFetchable(ref))
			return refuse('INVALID_PARAMS', `${given}; a model comes from file:/absolute/path.gguf, hf:, https://, s3:// or oci://`);
		const id = wanted ?? ref;
		const name = parseModelRef(id);
		if (wanted !== null && !(name.ok && name.ref.kind === 'alias'))
			return refuse('INVALID_PARAMS', `id is ${JSON.stringify(wanted)}; ${name.ok ? 'it must not look like another ref' : name.problem}`);
		if (Buffer.byteLength(id) > idBytesMax)
			return refuse('INVALID_PARAMS', `the ref is longer than ${idBytesMax} bytes; give the model an id`);
		if (this.#shelf.get(id) !== null) return refuse('CONFLICT', `there is a model ${id} already`);
		const odd = [...signatures, ...(sbom === null ? [] : [sbom])].find((each) => !isEvidence(each, isFile));
		if (odd !== undefined)
			return refuse(
				'INVALID_PARAMS',
				`${JSON.stringify(odd)} is no place of a signature or an SBOM; it is ${isFile ? '' : 'https://… or '}file:/absolute/path`,
			);
		const barred = this.#shelf.rules.mode === 'strict' ? registryProblem(ref, this.#shelf.rules) : null;
		if (barred !== null) {
			this.#checks.count('failed', barred.reason);
			return refuse('UNTRUSTED_ARTIFACT', barred.words);
		}
		const path = parsed.ref.kind === 'file' ? parsed.ref.path : null;
		const entry = freshEntry({ id, ref, path, expected: digest, tags, signatures, sbom });
		if (path === null) {
			this.#shelf.keep(entry);
			return reply(this.#shelf.told(id));
		}
		this.#ports.gguf(path, (header) => {
			if (this.#shelf.closed) return refuse('POOL_UNREADY', 'the daemon is shutting down');
			if (!header.ok) return refuse('INVALID_PARAMS', `model file ${path}: ${header.problem}`);
			// Meanwhile another request may have come for the same id.
			if (this.#shelf.get(id) !== null) return refuse('CONFLICT', `there is a model ${id} already`);
			this.#shelf.keep({ ...entry, gguf: header.value });
			reply(this.#shelf.told(id));
			this.#checks.check(id, true);
		});
	}

	/** With what was fetched for it, unless another entry has the same bytes. Never a user's file. */
	#remove(id: string): CatalogAnswer {
		const entry = this.#shelf.get(id);
		if (entry === null) return unknownModel;
		const pool = this.#shelf.poolOf(entry);
		if (pool !== undefined)
			return refused('CONFLICT', `pool ${pool.poolId} serves ${id}; a model that a pool serves can be retired, not deleted`);
		this.#shelf.store.remove(id);
		const others = [...this.#shelf.store.all()];
		if (!others.some(({ source_url: ref, fetching }) => fetching && ref === entry.source_url)) this.#fetches.abandon(entry.source_url);
		if (entry.folder !== null && !others.some(({ folder }) => folder === entry.folder)) this.#ports.remove(entry.folder);
		this.#shelf.tell();
		return { ok: true, json: '' };
	}

	#verify(id: string): CatalogAnswer {
		const entry = this.#shelf.get(id);
		if (entry === null) return unknownModel;
		if (entry.local_path === null) return refused('CONFLICT', `${id} is not here; pull it, and it is verified as it comes`);
		if (!this.#checks.isChecking(id)) {
			this.#shelf.keep({ ...entry, verification: 'pending', problem: null });
			this.#checks.check(id, true);
		}
		return this.#shelf.told(id);
	}

	#setState({ id, state, deadlineMs }: Extract<CatalogRequest, { type: 'set-model-state' }>): CatalogAnswer {
		const entry = this.#shelf.get(id);
		if (entry === null) return unknownModel;
		if (entry.state !== state) {
			this.#shelf.keep({ ...entry, state }, deadlineMs);
			this.#shelf.tell(deadlineMs);
			this.#ports.telemetry.log('info', 'model-state', { model: id, state, human: `${id} is ${state} now.` });
		}
		return this.#shelf.told(id);
	}
}

/** Of a file of this machine what vouches for it is another. */
function isEvidence(text: string, ofFile: boolean): boolean {
	const parsed = parseModelRef(text);
	return parsed.ok && (parsed.ref.kind === 'file' || (!ofFile && parsed.ref.kind === 'url'));
}
