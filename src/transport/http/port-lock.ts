/**
 * A lock on an address and port, so that of two daemons that start in the same instant one is refused: front threads share their
 * port with whoever else shares it, and do not see each other. On the main thread, before any front.
 */
import { lockName, type NamedLock } from '../../named-lock.ts';

/** Null: another daemon has it. A port that the system is to choose needs none. `folder`: for the lock's file, where it has one. */
export function lockPort(hostname: string, port: number, folder: string): Promise<NamedLock | null> {
	if (port === 0) return Promise.resolve({ release: () => undefined });
	const name = `orchestratord-${hostname === 'localhost' ? '127.0.0.1' : hostname}-${port}`;
	return lockName(name.replaceAll(':', '_'), folder);
}
