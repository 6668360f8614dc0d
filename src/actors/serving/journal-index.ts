/**
 * What the journal holds, in memory: where each task lives, whether it is to run, how long it is kept. Made of the store when that is
 * opened, which reads every record and so finds those that are damaged. Part of the Journal actor.
 */
import { headOf } from './journal-record.ts';
import type { JournalStore } from './journal-store.ts';

export interface Entry {
	home: string;
	/** Of the front that it was kept by, or recalled to; 0: none has joined yet. */
	session: number;
	state: 'live' | 'ended' | 'forgotten';
	bytes: number;
	/** Milliseconds since 1970, as `endedAt`. */
	readonly admittedAt: number;
	readonly ordinal: number;
	endedAt: number;
	run: number;
	/** Beside those in its record. */
	keys: readonly string[];
	watched: boolean;
}

/** What changes of a task while it is kept, beside its record. */
interface Note {
	readonly run: number;
	readonly keys: readonly string[];
	readonly watched: boolean;
}

export function noteOf({ run, keys, watched }: Entry): Uint8Array {
	return new TextEncoder().encode(JSON.stringify({ run, keys, watched } satisfies Note));
}

export class JournalIndex {
	readonly #entries = new Map<string, Entry>();
	/** Those that have ended, in the order of their ends. */
	readonly #ended = new Map<string, Entry>();
	#bytes = 0;
	#endedBytes = 0;

	/** `fronts`: those that there are; what lived on another moves to one of them. */
	static of(store: JournalStore, fronts: readonly string[]): JournalIndex {
		const index = new JournalIndex();
		const decoder = new TextDecoder();
		const noteAt = (key: string): Note | null => {
			const value = store.read('notes', key);
			return value === null ? null : (JSON.parse(decoder.decode(value)) as Note);
		};
		const ended: [string, Entry][] = [];
		for (const table of ['live', 'ended'] as const) {
			for (const { key, value } of store.entries(table)) {
				const { home, admittedAt, ordinal, endedAt, run, forgotten } = headOf(value);
				const lives = fronts.includes(home) ? home : (fronts[sumOf(key) % fronts.length] ?? home);
				const note = noteAt(key);
				const entry: Entry = {
					home: lives,
					session: 0,
					state: forgotten === true ? 'forgotten' : table,
					bytes: value.length,
					admittedAt,
					ordinal,
					endedAt: endedAt ?? 0,
					run: note?.run ?? run,
					keys: note?.keys ?? [],
					watched: note?.watched ?? false,
				};
				if (table === 'live') index.add(key, entry);
				else ended.push([key, entry]);
			}
		}
		ended.sort(([, a], [, b]) => a.endedAt - b.endedAt);
		for (const [key, entry] of ended) index.add(key, entry);
		return index;
	}

	get size(): number {
		return this.#entries.size;
	}

	get live(): number {
		return this.#entries.size - this.#ended.size;
	}

	/** Of all records, and of those that have ended. */
	get bytes(): number {
		return this.#bytes;
	}

	get endedBytes(): number {
		return this.#endedBytes;
	}

	get(taskId: string): Entry | undefined {
		return this.#entries.get(taskId);
	}

	add(taskId: string, entry: Entry): void {
		this.#entries.set(taskId, entry);
		this.#bytes += entry.bytes;
		if (entry.state === 'live') return;
		this.#ended.set(taskId, entry);
		this.#endedBytes += entry.bytes;
	}

	/** That one: another by the same id stays. */
	remove(taskId: string, entry: Entry): void {
		if (this.#entries.get(taskId) !== entry) return;
		this.#entries.delete(taskId);
		this.#bytes -= entry.bytes;
		if (this.#ended.delete(taskId)) this.#endedBytes -= entry.bytes;
	}

	end(taskId: string, entry: Entry, bytes: number, endedAt: number): void {
		this.remove(taskId, entry);
		entry.state = 'ended';
		entry.bytes = bytes;
		entry.endedAt = endedAt;
		this.add(taskId, entry);
	}

	/** Its events are not kept any more. */
	forget(entry: Entry, bytes: number): void {
		this.#bytes += bytes - entry.bytes;
		this.#endedBytes += bytes - entry.bytes;
		entry.state = 'forgotten';
		entry.bytes = bytes;
	}

	/** By task; what is at home on one front. */
	*of(frontId: string): Generator<readonly [string, Entry]> {
		for (const each of this.#entries) if (each[1].home === frontId) yield each;
	}

	/** The oldest end first; `all`: also those without events. */
	*ended(all = false): Generator<readonly [string, Entry]> {
		for (const each of this.#ended) if (all || each[1].state === 'ended') yield each;
	}
}

function sumOf(id: string): number {
	let sum = 0;
	for (let i = 0; i < id.length; i++) sum += id.charCodeAt(i);
	return sum;
}
