/**
 * A lock on the folder of a store: one daemon, or one command that writes, at a time. Of the folder itself, not of its path, so that two
 * names of it are one. On the main thread, before anything of the store is opened.
 */
import { mkdirSync, statSync } from 'node:fs';
import { lockName, type NamedLock } from '../named-lock.ts';
import { StoreError } from './store-error.ts';

/** Null: another process has it. Makes the folder where there is none; throws `StoreError` when it cannot be had. */
export async function lockStore(folder: string, runtimeDir: string): Promise<NamedLock | null> {
	let name: string;
	try {
		mkdirSync(folder, { recursive: true, mode: 0o700 });
		const { dev, ino } = statSync(folder, { bigint: true });
		name = `orchestratord-store-${dev.toString(36)}-${ino.toString(36)}`;
	} catch (error) {
		throw new StoreError(`the store in ${folder} cannot be opened: ${error instanceof Error ? error.message : String(error)}`);
	}
	return lockName(name, runtimeDir);
}
