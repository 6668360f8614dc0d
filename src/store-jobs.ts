/** What the command line does to a store: with the lock that a daemon would have, so that none is in the way. On the main thread. */
import { schemaVersion } from './actors/catalog/catalog-store.ts';
import { exitCodes } from './cli/exit-codes.ts';
import { Problem } from './cli/problem.ts';
import type { StoreReport } from './cli/store-command.ts';
import type { DaemonConfig } from './config.ts';
import { problemOf } from './daemon-places.ts';
import { checkStore, repairStore } from './store/store-check.ts';
import { lockStore } from './store/store-lock.ts';

/** Throws a `Problem` where a daemon has it. */
export async function lookAtStore({ store, runtimeDir }: DaemonConfig, repair: boolean): Promise<StoreReport> {
	const { path } = store;
	try {
		const lock = await lockStore(path, runtimeDir);
		if (lock === null) {
			const advice = 'stop that one first; what it holds open would be read half written';
			throw new Problem(exitCodes.unavailable, `the store in ${path} is in use by an orchestratord`, advice);
		}
		try {
			const stamp = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '');
			const parts = repair
				? await repairStore(path, schemaVersion, stamp)
				: checkStore(path, schemaVersion).map((part) => ({ ...part, keptAs: null, mended: 0 }));
			return { folder: path, parts };
		} finally {
			lock.release();
		}
	} catch (error) {
		throw problemOf(error);
	}
}
