/**
 * Composition root of the store thread: the journal of durable tasks over its tables on disk. A commit stops this thread until it is on disk,
 * and no other. It is never ended by force, for a file that is mapped must not be: when it cannot go on, the daemon ends, and the next one
 * begins where this one has written.
 */
import type { LogLevel } from '../actors/kernel/telemetry.ts';
import { journal } from '../actors/serving/journal.ts';
import { JournalIndex } from '../actors/serving/journal-index.ts';
import { urgentFromStore } from '../actors/serving/urgent.ts';
import { runRole } from '../actors/threads/thread-role.ts';
import { LmdbJournal } from '../store/lmdb-journal.ts';
import { StoreError } from '../store/store-error.ts';
import { threadLog } from '../transport/telemetry/logs.ts';
import { type ThreadTelemetry, threadTelemetry } from '../transport/telemetry/metrics.ts';

export interface StoreConfig {
	/** Of the whole store. */
	readonly folder: string;
	/** Front threads that there are. */
	readonly fronts: readonly string[];
	readonly retentionMs: number;
	readonly bytesMax: number;
	/** Of ended tasks, that each front is given with their events. */
	readonly recallBytesMax: number;
	readonly logLevel: LogLevel;
}

/** Errors do not cross threads whole. */
export type StoreFacts = { readonly ok: true } | { readonly ok: false; readonly message: string };

/** More than all links together may have under way. */
const journalMailboxMax = 262_144;

let telemetry: ThreadTelemetry;

runRole<StoreConfig, StoreFacts>(
	(config, thread) => {
		telemetry = threadTelemetry({ thread, log: threadLog({ thread, level: config.logLevel }), heapDefaults: true });
		return telemetry;
	},
	async (config, { system }) => {
		const opened = await openJournal(config);
		const { retentionMs, bytesMax, recallBytesMax } = config;
		const names = opened.ok
			? {
					journal: system.spawn(
						'journal',
						journal({
							...opened,
							retentionMs,
							bytesMax,
							recallBytesMax,
							wallNow: () => Date.now(),
							later: (run) => system.host.yieldThen(run),
						}),
						{ mailboxMax: journalMailboxMax },
					),
				}
			: { journal: system.spawn<never>('journal', () => ({ onMessage: () => 'same' })) };
		const close = async (): Promise<void> => {
			if (opened.ok) await opened.store.close();
		};
		return {
			facts: opened.ok ? { ok: true } : opened,
			names,
			urgent: urgentFromStore,
			onPeer() {},
			onMain() {},
			metrics: () => telemetry.snapshot(),
			inspect: () => ({ stats: system.stats }),
			drain: () => Promise.resolve(),
			stop: close,
			onUncaught: () => void close(),
		};
	},
);

type Opened =
	| { readonly ok: true; readonly store: LmdbJournal; readonly index: JournalIndex }
	| { readonly ok: false; readonly message: string };

/** Reads every record. */
async function openJournal({ folder, fronts }: StoreConfig): Promise<Opened> {
	try {
		const store = await LmdbJournal.open(folder);
		return { ok: true, store, index: JournalIndex.of(store, fronts) };
	} catch (error) {
		if (error instanceof StoreError) return { ok: false, message: error.message };
		throw error;
	}
}
