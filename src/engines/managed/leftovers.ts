/**
 * Engines of daemons that are gone, left behind because their reapers were killed, too: whoever starts next ends them. Each process of an
 * engine carries in its environment which daemon started it, as a pid and the moment that it has begun: no other process is ever both. On
 * Linux; other systems tell nobody's environment. On the engine thread, before it starts engines.
 */
import { signalStray } from '../child-process.ts';
import { environmentOf, isAlive, namespaceOf, processIds, startedAt } from './process-tree.ts';

/** Stands in the environment of all that an engine starts. */
const ownerName = 'ORCHESTRATORD_ENGINE_OWNER';
const ownerPattern = new RegExp(`(?:^|\\0)${ownerName}=(\\d+):(\\d+):([^\\0]*)`);
/** As for any engine whose daemon is gone. */
const graceMs = 2_000;
const lookMs = 20;

/** For the environment of an engine that this process starts; empty where nobody could read it. */
export function ownerMark(runtimeDir: string): Readonly<Record<string, string>> {
	const at = startedAt(process.pid);
	return at === null ? {} : { [ownerName]: `${process.pid}:${at}:${runtimeDir}` };
}

/** Ends all that daemons of this runtime folder have left, politely and then by force; resolves with their ids when they are gone. */
export async function endLeftovers(runtimeDir: string): Promise<readonly number[]> {
	const found = leftovers(runtimeDir);
	for (const pid of found) signalStray(pid, 'SIGTERM');
	const forceAt = performance.now() + graceMs;
	for (let forced = false; found.some(isAlive); ) {
		if (!forced && performance.now() > forceAt) {
			forced = true;
			// Those that have been started meanwhile, too.
			for (const pid of leftovers(runtimeDir)) signalStray(pid, 'SIGKILL');
		}
		// What the kernel holds is not waited for.
		if (performance.now() > forceAt + graceMs) break;
		await new Promise((resolve) => setTimeout(resolve, lookMs));
	}
	return found;
}

function leftovers(runtimeDir: string): readonly number[] {
	// As an environment is read: byte for byte.
	const ours = Buffer.from(runtimeDir).toString('latin1');
	const own = namespaceOf(process.pid);
	return (processIds() ?? []).filter((pid) => {
		if (pid === process.pid) return false;
		const [, owner, at, folder] = ownerPattern.exec(environmentOf(pid)) ?? [];
		// One that has ended and that nobody has asked for yet still has its id.
		const lives = startedAt(Number(owner)) === at && isAlive(Number(owner));
		if (owner === undefined || folder !== ours || lives) return false;
		// In a container processes have other ids, and its daemon may well be there.
		return namespaceOf(pid) === own && isAlive(pid);
	});
}
