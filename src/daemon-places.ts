/**
 * What a daemon has for itself alone: its port, and the folder of its store. Held before anything is opened, let go of behind all that
 * was; who has either already is a reason not to start.
 */
import { exitCodes } from './cli/exit-codes.ts';
import { Problem, portInUse, storeInUse } from './cli/problem.ts';
import type { DaemonConfig } from './config.ts';
import { StoreError } from './store/store-error.ts';
import { lockStore } from './store/store-lock.ts';
import { lockPort } from './transport/http/port-lock.ts';

export interface HeldPlaces {
	release(): void;
}

/** Throws a `Problem`. */
export async function holdPlaces({ listen, store, runtimeDir }: DaemonConfig): Promise<HeldPlaces> {
	const port = await lockPort(listen.hostname, listen.port, runtimeDir);
	if (port === null) throw portInUse(`${listen.hostname}:${listen.port}`);
	const folder = await lockStore(store.path, runtimeDir).catch((error: unknown) => {
		port.release();
		throw problemOf(error);
	});
	if (folder === null) {
		port.release();
		throw storeInUse(store.path);
	}
	return {
		release() {
			folder.release();
			port.release();
		},
	};
}

/** Why a store cannot be had, for the person at the terminal. */
export function inWords<T>(use: () => T): T {
	try {
		return use();
	} catch (error) {
		throw problemOf(error);
	}
}

/** Of a store that cannot be had: for the person at the terminal. Of others: as they are. */
export function problemOf(error: unknown): unknown {
	if (!(error instanceof StoreError)) return error;
	return new Problem(exitCodes.unavailable, error.message, 'name another folder with store.path');
}
