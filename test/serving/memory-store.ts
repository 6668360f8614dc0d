/**
 * A store of the journal in memory, which a daemon may lose and the next one find again. It fails as it is told to: a commit that cannot be
 * written, one that nobody hears the end of, a slow one.
 */
import type { JournalStore, JournalTable, JournalWrite, StoreProblem } from '../../src/actors/serving/journal-store.ts';
import { journalTables } from '../../src/actors/serving/journal-store.ts';

/** The time of day when a simulation begins. */
export const wallStart = 1_700_000_000_000;

export class MemoryStore implements JournalStore {
	busy = false;
	bytesMax = 1 << 24;
	retentionMs = 600_000;
	/** Of every commit that was written: its keys by table. */
	readonly commits: string[][] = [];
	/** Those that begin now fail so; null: they do not. */
	problem: StoreProblem | null = null;
	/** Commits wait for `release`. */
	slow = false;
	#held: (() => void) | null = null;
	#heldWrites: readonly JournalWrite[] | null = null;
	readonly #tables = new Map<JournalTable, Map<string, Uint8Array>>(journalTables.map((table) => [table, new Map()]));

	commit(writes: readonly JournalWrite[], done: (problem: StoreProblem | null) => void): void {
		if (this.busy) throw new Error('a second commit');
		const { problem } = this;
		const finish = (): void => {
			this.busy = false;
			if (problem === null) this.#write(writes);
			done(problem);
		};
		this.busy = true;
		if (this.slow) {
			this.#held = finish;
			this.#heldWrites = problem === null ? writes : null;
		} else finish();
	}

	/** The commit that waits is over. */
	release(): void {
		const held = this.#held;
		this.#held = null;
		this.#heldWrites = null;
		held?.();
	}

	/** The daemon is gone in the middle of a commit: it is there as a whole, or not at all, and nobody is told. */
	lose(whole = false): void {
		if (whole && this.#heldWrites !== null) this.#write(this.#heldWrites);
		this.#held = null;
		this.#heldWrites = null;
		this.busy = false;
	}

	read(table: JournalTable, key: string): Uint8Array | null {
		return this.#table(table).get(key) ?? null;
	}

	entries(table: JournalTable): { readonly key: string; readonly value: Uint8Array }[] {
		return [...this.#table(table)].map(([key, value]) => ({ key, value })).sort((a, b) => (a.key < b.key ? -1 : 1));
	}

	keys(table: JournalTable): string[] {
		return this.entries(table).map(({ key }) => key);
	}

	#write(writes: readonly JournalWrite[]): void {
		this.commits.push(writes.map(({ table, key, value }) => `${value === null ? '-' : '+'}${table} ${key}`));
		for (const { table, key, value } of writes) {
			if (value === null) this.#table(table).delete(key);
			else this.#table(table).set(key, value.slice());
		}
	}

	#table(table: JournalTable): Map<string, Uint8Array> {
		return this.#tables.get(table) as Map<string, Uint8Array>;
	}
}
