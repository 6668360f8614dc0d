/**
 * The store thread as main starts it: what it is told, and why the daemon does not start without it. Its end is the daemon's, for what was
 * promised is in its hands; the next daemon goes on with what is on disk.
 */
import { stopOnFailure } from './actors/kernel/supervision.ts';
import type { ThreadSpec } from './actors/threads/crew.ts';
import type { Problem } from './cli/problem.ts';
import type { DaemonConfig } from './config.ts';
import { problemOf } from './daemon-places.ts';
import type { StoreConfig, StoreFacts } from './roles/store.ts';
import { StoreError } from './store/store-error.ts';

export const storeThread = 'store';
const storeYoungMb = 16;

/** `fronts`: those that run, once the first one has said what they are. */
export function storeThreadSpec(
	entry: URL,
	current: () => DaemonConfig,
	fronts: readonly string[],
	running: () => readonly string[],
	wanted: () => boolean,
): ThreadSpec {
	return {
		name: storeThread,
		entry,
		peers: fronts,
		supervision: stopOnFailure,
		mayKill: false,
		isStore: true,
		youngGenerationMb: storeYoungMb,
		wanted,
		config: (): StoreConfig => {
			const { store, tasks, log } = current();
			return {
				folder: store.path,
				fronts: running(),
				retentionMs: tasks.retentionMs,
				bytesMax: store.journalBytesMax,
				recallBytesMax: Math.ceil(tasks.logBytesMax / running().length),
				logLevel: log.level,
			};
		},
	};
}

/** Null: it has the journal. */
export function whyNoStore(facts: unknown): Problem | null {
	const told = facts as StoreFacts;
	return told.ok ? null : (problemOf(new StoreError(told.message)) as Problem);
}
