/**
 * Sessions on disk: what each has used and may use, as the fronts were told of it last, until its time is over. Every front tells what it
 * hears, and what is no news is dropped; many changes of one session are one write of the next commit. Part of the Journal actor.
 */
import type { JournalJob } from './journal-commits.ts';
import type { JournalStore, JournalWrite } from './journal-store.ts';
import type { SessionRecord } from './session-messages.ts';

export class JournalSessions {
	/** Times in milliseconds since 1970. */
	readonly #records = new Map<string, SessionRecord>();
	/** What is to be written. */
	#dirty = new Set<string>();
	/** A job waits that will take them. */
	#queued = false;

	constructor(store: JournalStore) {
		const decoder = new TextDecoder();
		for (const { key, value } of store.entries('sessions')) this.#records.set(key, JSON.parse(decoder.decode(value)) as SessionRecord);
	}

	/** Null: nothing is to be written that was not before. */
	keep(sessions: readonly SessionRecord[], forgotten: readonly string[]): JournalJob | null {
		for (const sessionId of forgotten) if (this.#records.delete(sessionId)) this.#dirty.add(sessionId);
		for (const record of sessions) {
			const known = this.#records.get(record.sessionId);
			if (known !== undefined && (known.born > record.born || (known.born === record.born && known.version >= record.version))) continue;
			this.#records.set(record.sessionId, record);
			this.#dirty.add(record.sessionId);
		}
		return this.#queued || this.#dirty.size === 0 ? null : this.#job();
	}

	/** `wall`: what was not used for its time then is over. */
	expire(wall: number): JournalJob | null {
		const expired = [...this.#records.values()].filter(({ usedAt, ttlMs }) => usedAt + ttlMs <= wall);
		return this.keep(
			[],
			expired.map(({ sessionId }) => sessionId),
		);
	}

	/** The least recently used first. */
	all(): SessionRecord[] {
		return [...this.#records.values()].sort((a, b) => a.usedAt - b.usedAt);
	}

	#job(): JournalJob {
		this.#queued = true;
		let written: string[] = [];
		return {
			prepare: () => {
				this.#queued = false;
				written = [...this.#dirty];
				this.#dirty.clear();
				const encoder = new TextEncoder();
				return written.map((key): JournalWrite => {
					const record = this.#records.get(key);
					return { table: 'sessions', key, value: record === undefined ? null : encoder.encode(JSON.stringify(record)) };
				});
			},
			isNew: false,
			// What could not be written is again with the next change.
			settle: (problem) => {
				if (problem !== null) for (const key of written) this.#dirty.add(key);
			},
		};
	}
}
