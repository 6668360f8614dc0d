/**
 * Looks at a whole store, and mends one that is damaged: of each of its two environments every entry that can be read, and that is as it was
 * written, goes into a new file; the old one is kept beside it. Nobody else may have the store open meanwhile.
 */
import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Database, open } from 'lmdb';
import { readEnded, readLive, type WallClock } from '../actors/serving/journal-record.ts';
import { journalTables } from '../actors/serving/journal-store.ts';
import { journalFolder, journalSchema, withoutChecksum } from './lmdb-journal.ts';
import { PageProblem, PageWalk, type StoredEntry, textOf } from './page-walk.ts';
import { StoreError } from './store-error.ts';
import { checkPages, dataFile } from './store-file.ts';

export interface PartReport {
	readonly name: 'catalog' | 'journal';
	/** Its LMDB folder. */
	readonly folder: string;
	/** Entries that are as they were written. */
	readonly entries: number;
	/** What is wrong, a sentence each. */
	readonly problems: readonly string[];
}

export interface MendedPart extends PartReport {
	/** The damaged file, as it was; null: there was nothing to mend. */
	readonly keptAs: string | null;
	/** Entries of the new file. */
	readonly mended: number;
}

interface Part {
	readonly name: PartReport['name'];
	readonly folder: string;
	/** Its latest version. */
	readonly schema: number;
	/** What is wrong with an entry of a table; null: nothing. */
	judge(entry: StoredEntry): string | null;
}

/** Problems that are told one by one. */
const toldMax = 20;
const batchEntries = 1_000;
const tablesMax = 32;
const anyClock: WallClock = { wallOf: (at) => at, hostOf: (wall) => wall };

/** `catalogSchema`: the catalog's latest version. Throws a `StoreError` for a part that is of a later one. */
export function checkStore(folder: string, catalogSchema: number): PartReport[] {
	return partsOf(folder, catalogSchema).map(looked);
}

/** `stamp`: tells the kept file from those of other times. Throws as `checkStore` does, before it changes anything. */
export async function repairStore(folder: string, catalogSchema: number, stamp: string): Promise<MendedPart[]> {
	const mended: MendedPart[] = [];
	for (const { part, report } of partsOf(folder, catalogSchema).map((each) => ({ part: each, report: looked(each) }))) {
		const isWhole = report.problems.length === 0;
		mended.push({ ...report, ...(isWhole ? { keptAs: null, mended: report.entries } : await mend(part, stamp)) });
	}
	return mended;
}

function looked(part: Part): PartReport {
	const read = new Reading(part);
	for (const _entry of read.good());
	return read.report();
}

async function mend(part: Part, stamp: string): Promise<Pick<MendedPart, 'keptAs' | 'mended'>> {
	const path = join(part.folder, dataFile);
	const keptAs = `${path}.damaged-${stamp}`;
	const fresh = join(part.folder, `mending-${stamp}`);
	copyFileSync(path, keptAs);
	mkdirSync(fresh, { mode: 0o700 });
	let mended = 0;
	const root = open<Buffer, Buffer>({ path: fresh, encoding: 'binary', keyEncoding: 'binary', maxDbs: tablesMax, overlappingSync: false });
	const tables = new Map<string, Database<Buffer, Buffer>>();
	const tableOf = (name: string): Database<Buffer, Buffer> => {
		const known = tables.get(name);
		if (known !== undefined) return known;
		const made = root.openDB<Buffer, Buffer>({ name, encoding: 'binary', keyEncoding: 'binary' });
		tables.set(name, made);
		return made;
	};
	const put = (batch: readonly StoredEntry[]): void => {
		// Tables are made outside of the transaction that writes to them.
		for (const { table } of batch) if (table !== '') tableOf(table);
		root.transactionSync(() => {
			for (const { table, key, value } of batch) (table === '' ? root : tableOf(table)).putSync(key, value);
		});
		mended += batch.length;
	};
	let batch: StoredEntry[] = [];
	for (const entry of new Reading(part).everything()) {
		batch.push({ table: entry.table, key: Buffer.from(entry.key), value: Buffer.from(entry.value) });
		if (batch.length < batchEntries) continue;
		put(batch);
		batch = [];
	}
	put(batch);
	await root.close();
	renameSync(join(fresh, dataFile), path);
	rmSync(fresh, { recursive: true });
	rmSync(join(part.folder, 'lock.mdb'), { force: true });
	return { keptAs, mended };
}

/** Those that are there. */
function partsOf(folder: string, catalogSchema: number): Part[] {
	const parts: Part[] = [
		{ name: 'catalog', folder, schema: catalogSchema, judge: judgeCatalog },
		{ name: 'journal', folder: journalFolder(folder), schema: journalSchema, judge: judgeJournal },
	];
	return parts.filter((part) => existsSync(join(part.folder, dataFile)));
}

/** One look at a part, and what it found. */
class Reading {
	readonly #part: Part;
	readonly #problems: string[] = [];
	#more = 0;
	#entries = 0;
	readonly #seen = new Map<string, Set<string>>();

	constructor(part: Part) {
		this.#part = part;
	}

	report(): PartReport {
		const { name, folder } = this.#part;
		const problems = this.#more === 0 ? this.#problems : [...this.#problems, `${this.#more} more`];
		return { name, folder, entries: this.#entries, problems };
	}

	/** The entries that are as they were written. */
	*good(): Generator<StoredEntry> {
		yield* this.#read('newest');
		for (const words of this.#contradictions()) this.#tell(words);
		// Where every entry is there, the list of free pages may yet be spoiled.
		if (this.#problems.length === 0) this.#checkPages();
	}

	/** Those that do not contradict each other, and in place of what is lost what the last commit but one had. */
	*everything(): Generator<StoredEntry> {
		const notes: StoredEntry[] = [];
		const last = yield* this.#fitting('newest', notes);
		if (last) {
			const told = this.#problems.length;
			yield* this.#fitting('older', notes);
			// Of the older state nobody is told.
			this.#problems.length = told;
			this.#more = 0;
		}
		for (const note of notes) if (this.#has('live', note.key) || this.#has('ended', note.key)) yield note;
	}

	/** Whether something was lost. A task that has ended is not brought back to run; what is noted of one waits in `notes`. */
	*#fitting(head: 'newest' | 'older', notes: StoredEntry[]): Generator<StoredEntry, boolean> {
		for (const entry of this.#read(head)) {
			if (entry.table === 'notes') notes.push({ ...entry, key: Buffer.from(entry.key), value: Buffer.from(entry.value) });
			else if (entry.table !== 'live' || !this.#has('ended', entry.key)) yield entry;
		}
		return this.#problems.length > 0;
	}

	#checkPages(): void {
		try {
			checkPages(join(this.#part.folder, dataFile));
		} catch (error) {
			if (!(error instanceof PageProblem)) throw error;
			this.#tell(error.message);
		}
	}

	*#read(head: 'newest' | 'older'): Generator<StoredEntry> {
		let walk: PageWalk;
		try {
			walk = new PageWalk(join(this.#part.folder, dataFile), head);
		} catch (error) {
			if (!(error instanceof PageProblem)) throw error;
			return this.#tell(error.message);
		}
		try {
			for (const entry of walk.entries((words) => this.#tell(words))) {
				if (this.#has(entry.table, entry.key)) continue;
				const problem = entry.table === '' ? this.#judgeSchema(entry) : this.#part.judge(entry);
				if (problem !== null) {
					this.#tell(`${nameOf(entry)} ${problem}`);
					continue;
				}
				this.#note(entry);
				yield entry;
			}
		} finally {
			walk.close();
		}
	}

	#judgeSchema({ key, value }: StoredEntry): string | null {
		if (textOf(key) !== 'schema') return null;
		const written = textOf(value);
		if (!/^\d+$/.test(written)) return 'is not as it was written';
		const { name, folder, schema } = this.#part;
		if (Number(written) <= schema) return null;
		const advice = 'use the later one, or name another folder with store.path';
		throw new StoreError(`the ${name} in ${folder} is of version ${written}; this orchestratord knows version ${schema}: ${advice}`);
	}

	#has(table: string, key: Buffer): boolean {
		return this.#seen.get(table)?.has(key.toString('latin1')) === true;
	}

	#note({ table, key }: StoredEntry): void {
		this.#entries += 1;
		const keys = this.#seen.get(table) ?? new Set();
		this.#seen.set(table, keys.add(key.toString('latin1')));
	}

	/** What each entry is right about, and two together are not. */
	*#contradictions(): Generator<string> {
		const { live, notes, ended } = { live: this.#of('live'), notes: this.#of('notes'), ended: this.#of('ended') };
		for (const id of live) if (ended.has(id)) yield `${id} is to run, and has ended`;
		for (const id of notes) if (!live.has(id) && !ended.has(id)) yield `notes ${id} are of no task`;
	}

	#of(table: string): ReadonlySet<string> {
		return this.#seen.get(table) ?? new Set();
	}

	#tell(words: string): void {
		if (this.#problems.length < toldMax) this.#problems.push(words);
		else this.#more += 1;
	}
}

function judgeJournal({ table, key, value }: StoredEntry): string | null {
	if (!journalTables.some((each) => each === table)) return 'is in no table of the journal';
	const record = withoutChecksum(textOf(key), value);
	if (record === null) return 'is not as it was written';
	try {
		if (table === 'live') readLive(record, anyClock);
		else if (table === 'ended') readEnded(record, anyClock);
		else JSON.parse(Buffer.from(record).toString());
		return null;
	} catch (error) {
		return `cannot be read: ${error instanceof Error ? error.message : String(error)}`;
	}
}

function judgeCatalog({ table, value }: StoredEntry): string | null {
	if (!/^[a-z][a-z-]{0,31}$/.test(table)) return 'is in no table of the catalog';
	if (table !== 'models' && table !== 'digests') return null;
	try {
		JSON.parse(textOf(value));
		return null;
	} catch (error) {
		if (error instanceof SyntaxError) return 'is not as it was written';
		throw error;
	}
}

function nameOf({ table, key }: StoredEntry): string {
	return table === '' ? textOf(key) : `${table} ${textOf(key)}`;
}
