/**
 * The journal's tables in LMDB, an environment of their own beside the catalog's, for the store thread alone. A commit is one transaction,
 * written and synced before it returns: it stops this thread, which has nothing else to do, and all that is asked meanwhile is the next one.
 * Every value has a checksum before it, its key's and its own, so that a page that the disk has spoiled is not taken for a record.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { type Database, open, type RootDatabase } from 'lmdb';
import {
	type JournalStore,
	type JournalTable,
	type JournalWrite,
	journalTables,
	type StoreProblem,
} from '../actors/serving/journal-store.ts';
import { StoreError } from './store-error.ts';
import { checkStoreFile, damaged, dataFile } from './store-file.ts';

export const journalSchema = 1;

const checksumBytes = 4;
/** LMDB says no more than that a write came back short: with less than this left, that was why. */
const roomMin = 16 * 1024 * 1024;

/** A shorter file is left as it is: what could be had back is not worth the writing. */
const compactMinBytes = 16 * 1024 * 1024;

interface TreeStats {
	readonly pageSize: number;
	readonly treeBranchPageCount: number;
	readonly treeLeafPageCount: number;
	readonly overflowPages: number;
}

export class LmdbJournal implements JournalStore {
	readonly busy = false;
	readonly #root: RootDatabase<string, string>;
	readonly #tables: Readonly<Record<JournalTable, Database<Buffer, string>>>;
	readonly #folder: string;

	/** `folder`: of the whole store. Throws `StoreError`. */
	constructor(folder: string) {
		this.#folder = journalFolder(folder);
		try {
			mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
			checkStoreFile(this.#folder);
			this.#root = open<string, string>({
				path: this.#folder,
				encoding: 'string',
				maxDbs: journalTables.length,
				noMemInit: false,
				// A commit is on disk when it returns, and not a little later.
				overlappingSync: false,
			});
			const tableOf = (name: JournalTable): Database<Buffer, string> => this.#root.openDB<Buffer, string>({ name, encoding: 'binary' });
			this.#tables = {
				live: tableOf('live'),
				notes: tableOf('notes'),
				ended: tableOf('ended'),
				sessions: tableOf('sessions'),
			};
		} catch (error) {
			if (error instanceof StoreError) throw error;
			throw new StoreError(`the store in ${this.#folder} cannot be opened: ${wordsOf(error)}`);
		}
		this.#checkSchema();
	}

	/** Opens it; a file of which more than half is free is written anew before, without that. Throws `StoreError`. */
	static async open(folder: string): Promise<LmdbJournal> {
		const copy = join(journalFolder(folder), 'compacting');
		// Of a daemon that was killed meanwhile: the file itself is as it was.
		rmSync(copy, { recursive: true, force: true });
		const store = new LmdbJournal(folder);
		const { fileBytes, heldBytes } = store;
		if (fileBytes < compactMinBytes || heldBytes * 2 > fileBytes) return store;
		try {
			mkdirSync(copy, { mode: 0o700 });
			await store.#root.backup(copy, true);
		} catch {
			// There is no room for it: the next start may have some.
			rmSync(copy, { recursive: true, force: true });
			return store;
		}
		await store.close();
		sync(join(copy, dataFile));
		renameSync(join(copy, dataFile), join(journalFolder(folder), dataFile));
		sync(journalFolder(folder));
		rmSync(copy, { recursive: true, force: true });
		return new LmdbJournal(folder);
	}

	commit(writes: readonly JournalWrite[], done: (problem: StoreProblem | null) => void): void {
		let problem: StoreProblem | null = null;
		try {
			this.#root.transactionSync(() => {
				for (const { table, key, value } of writes) {
					if (value === null) this.#tables[table].removeSync(key);
					else this.#tables[table].putSync(key, withChecksum(key, value));
				}
			});
		} catch (error) {
			const { bavail, bsize } = statfsSync(this.#folder);
			problem = { kind: bavail * bsize < roomMin ? 'full' : 'failed', words: wordsOf(error) };
		}
		done(problem);
	}

	read(table: JournalTable, key: string): Uint8Array | null {
		const stored = this.#tables[table].get(key);
		return stored === undefined ? null : this.#checked(table, key, stored);
	}

	*entries(table: JournalTable): Generator<{ readonly key: string; readonly value: Uint8Array }> {
		for (const { key, value } of this.#tables[table].getRange()) yield { key, value: this.#checked(table, key, value) };
	}

	/** Of its file, as far as that was ever written. */
	get fileBytes(): number {
		const { pageSize, lastPageNumber } = this.#root.getStats() as { readonly pageSize: number; readonly lastPageNumber: number };
		return pageSize * (lastPageNumber + 1);
	}

	/** Bytes of the pages that hold records; the rest is written to again. */
	get heldBytes(): number {
		return Object.values(this.#tables).reduce((sum, each) => {
			const { pageSize, treeBranchPageCount, treeLeafPageCount, overflowPages } = each.getStats() as TreeStats;
			return sum + pageSize * (treeBranchPageCount + treeLeafPageCount + overflowPages);
		}, 0);
	}

	async close(): Promise<void> {
		await this.#root.close();
	}

	#checked(table: JournalTable, key: string, stored: Buffer): Uint8Array {
		const value = withoutChecksum(key, stored);
		if (value === null) throw damaged(this.#folder, `${table} ${key} is not as it was written`);
		return value;
	}

	#checkSchema(): void {
		const written = this.#root.get('schema');
		if (written === undefined) this.#root.putSync('schema', String(journalSchema));
		else if (written !== String(journalSchema))
			throw new StoreError(
				`the journal in ${this.#folder} is of version ${written}; this orchestratord knows version ${journalSchema}: run the later one, or name another folder with store.path`,
			);
	}
}

/** A file, or the names in a folder. */
function sync(path: string): void {
	const descriptor = openSync(path, 'r');
	try {
		fsyncSync(descriptor);
	} finally {
		closeSync(descriptor);
	}
}

export function journalFolder(folder: string): string {
	return join(folder, 'journal');
}

/** Of the key too: a record is none of another task's. */
function withChecksum(key: string, value: Uint8Array): Buffer {
	const stored = Buffer.allocUnsafeSlow(checksumBytes + value.length);
	stored.writeUInt32LE(checksumOf(key, value), 0);
	stored.set(value, checksumBytes);
	return stored;
}

/** Null: it is not what was written. */
export function withoutChecksum(key: string, stored: Buffer): Uint8Array | null {
	if (stored.length < checksumBytes) return null;
	const value = stored.subarray(checksumBytes);
	return checksumOf(key, value) === stored.readUInt32LE(0) ? value : null;
}

function checksumOf(key: string, value: Uint8Array): number {
	return crc32(value, crc32(key));
}

function wordsOf(error: unknown): string {
	return error instanceof Error ? error.message : String(error);
}
