/**
 * What the daemon keeps on disk, in LMDB: the entries of the catalog as the JSON that is sent of them, and the digests of files by path.
 * Opened and written by main alone, which no other thread's end takes down. A store that is damaged, or of a later version, is not opened.
 */
import { mkdirSync } from 'node:fs';
import { type Database, open, type RootDatabase } from 'lmdb';
import { StoreError } from '../../store/store-error.ts';
import { checkStoreFile } from '../../store/store-file.ts';
import type { CatalogEntry } from '../serving/catalog-messages.ts';
import { type FileMark, type HashedFile, isSameMark } from './file-digest.ts';

export const schemaVersion = 3;
/** Bytes of an id: LMDB's keys have a bound. */
export const idBytesMax = 1024;

/** How a store of each earlier version becomes one of the next, by the earlier one's number. */
const migrations: Readonly<Record<number, (models: Database<string, string>) => void>> = {
	/** Models that are fetched: none was. */
	1: (models) => rewrite(models, (entry) => ({ folder: null, files: [], fetching: false, used_ms: null, ...entry })),
	/** Whom a model is trusted by: nobody had looked. What holds for all is no part of each. */
	2: (models) =>
		rewrite(models, ({ trust_policy: _policy, ...entry }) => ({
			signed_by: [],
			trust_problems: [],
			trust_rules: null,
			digest_said: false,
			untrusted: false,
			...entry,
		})),
};

function rewrite(models: Database<string, string>, change: (entry: Readonly<Record<string, unknown>>) => unknown): void {
	for (const { key, value } of [...models.getRange()])
		models.putSync(key, JSON.stringify(change(JSON.parse(value) as Readonly<Record<string, unknown>>)));
}

const databasesMax = 16;

export class CatalogStore {
	readonly #root: RootDatabase<string, string>;
	readonly #models: Database<string, string>;
	readonly #digests: Database<string, string>;

	/** Throws `StoreError`. */
	constructor(folder: string) {
		try {
			mkdirSync(folder, { recursive: true, mode: 0o700 });
			checkStoreFile(folder);
			this.#root = open<string, string>({
				path: folder,
				encoding: 'string',
				maxDbs: databasesMax,
				noMemInit: false,
				overlappingSync: false,
			});
			this.#models = this.#root.openDB<string, string>({ name: 'models', encoding: 'string' });
			this.#digests = this.#root.openDB<string, string>({ name: 'digests', encoding: 'string' });
		} catch (error) {
			if (error instanceof StoreError) throw error;
			throw new StoreError(`the store in ${folder} cannot be opened: ${error instanceof Error ? error.message : String(error)}`);
		}
		this.#migrate(folder);
	}

	/** For tables of what else main keeps. */
	get root(): RootDatabase<string, string> {
		return this.#root;
	}

	get(id: string): CatalogEntry | null {
		const json = this.#models.get(id);
		return json === undefined ? null : (JSON.parse(json) as CatalogEntry);
	}

	json(id: string): string | null {
		return this.#models.get(id) ?? null;
	}

	/** On disk when it returns, so that who reads, changes and writes in one turn loses nothing of another. Writes are rare: an operator's. */
	put(entry: CatalogEntry): void {
		this.#models.putSync(entry.id, JSON.stringify(entry));
	}

	remove(id: string): void {
		this.#models.removeSync(id);
	}

	/** By id, behind `after`: each as JSON. */
	page(limit: number, after: string | null): { readonly ids: readonly string[]; readonly entries: readonly string[] } {
		const ids: string[] = [];
		const entries: string[] = [];
		for (const { key, value } of this.#models.getRange({ ...(after === null ? {} : { start: after }), limit: limit + 1 })) {
			if (key === after) continue;
			if (ids.length === limit) break;
			ids.push(key);
			entries.push(value);
		}
		return { ids, entries };
	}

	*all(): Generator<CatalogEntry> {
		for (const { value } of this.#models.getRange()) yield JSON.parse(value) as CatalogEntry;
	}

	/** Null: never hashed, or another file by now. */
	digestOf(path: string, mark: FileMark): string | null {
		const known = this.hashed(path);
		return known !== null && isSameMark(known.mark, mark) ? known.digest : null;
	}

	/** As it was then; null: never. */
	hashed(path: string): HashedFile | null {
		const json = Buffer.byteLength(path) > idBytesMax ? undefined : this.#digests.get(path);
		return json === undefined ? null : (JSON.parse(json) as HashedFile);
	}

	putDigest(path: string, hashed: HashedFile): void {
		if (Buffer.byteLength(path) <= idBytesMax) this.#digests.putSync(path, JSON.stringify(hashed));
	}

	async close(): Promise<void> {
		await this.#root.close();
	}

	#migrate(folder: string): void {
		const written = this.#root.get('schema');
		const found = written === undefined ? schemaVersion : Number(written);
		if (!(found <= schemaVersion))
			throw new StoreError(
				`the store in ${folder} is of version ${written}; this orchestratord knows versions up to ${schemaVersion}: run the later one, or name another folder with store.path`,
			);
		if (found === schemaVersion && written !== undefined) return;
		this.#root.transactionSync(() => {
			for (let version = found; version < schemaVersion; version += 1) migrations[version]?.(this.#models);
			this.#root.putSync('schema', String(schemaVersion));
		});
	}
}
