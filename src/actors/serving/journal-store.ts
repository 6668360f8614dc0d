/**
 * What the journal needs of a disk: tables of bytes by key, changed by commits that are whole or not at all. A port; over LMDB on the
 * store thread, over memory that fails as it is told to in simulations.
 */
export const journalTables = ['live', 'notes', 'ended', 'sessions'] as const;
export type JournalTable = (typeof journalTables)[number];

/** Null: nothing is to be there. */
export interface JournalWrite {
	readonly table: JournalTable;
	readonly key: string;
	readonly value: Uint8Array | null;
}

/** Nothing of the commit is there, as far as anybody will ever see. `full`: of a disk without room. */
export interface StoreProblem {
	readonly kind: 'full' | 'failed';
	/** For the log. */
	readonly words: string;
}

export interface JournalStore {
	/** Whether the last commit has told that it is over. */
	readonly busy: boolean;
	/** In order; on disk when `done` is called with null, in this turn or later. Not while busy. */
	commit(writes: readonly JournalWrite[], done: (problem: StoreProblem | null) => void): void;
	/** Null: there is none. */
	read(table: JournalTable, key: string): Uint8Array | null;
	/** In the order of the keys. Not to be gone on with behind a commit. */
	entries(table: JournalTable): Iterable<{ readonly key: string; readonly value: Uint8Array }>;
}
