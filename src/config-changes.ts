/**
 * What differs between the configuration that the daemon runs with and the one that was read anew, and what of it may be applied
 * while it runs: pools, keys, pins, the time that shutting down may take. Main thread. Pure.
 */
import { isDeepStrictEqual } from 'node:util';
import type { DaemonConfig } from './config.ts';
import { openWithoutKeys } from './config-auth.ts';
import { ConfigError } from './config-check.ts';

export interface ConfigChanges {
	/** Pools, by id. */
	readonly added: readonly string[];
	readonly removed: readonly string[];
	readonly changed: readonly string[];
	readonly unchanged: readonly string[];
	/** API keys, by name. */
	readonly keys: { readonly added: readonly string[]; readonly removed: readonly string[]; readonly changed: readonly string[] };
	/** Keys of the file that have changed and are read at the start only. */
	readonly restartNeeded: readonly string[];
}

/** Applied, or none of a user's keys. */
const live: ReadonlySet<string> = new Set(['configFile', 'pools', 'auth', 'placement', 'shutdown', 'taskRollFd', 'runtimeDir', 'childEnv']);
/** Keys that the resolved configuration has taken apart. */
const wholes: Readonly<Record<string, string>> = { 'listen.hostname': 'listen.addr', 'listen.port': 'listen.addr' };

export function changesBetween(running: DaemonConfig, next: DaemonConfig): ConfigChanges {
	const pools = differences(running.pools, next.pools, ({ id }) => id);
	const { added, removed, changed } = differences(running.auth.keys, next.auth.keys, ({ name }) => name);
	return { ...pools, keys: { added, removed, changed }, restartNeeded: [...new Set(differing(running, next))] };
}

/** By their names. */
function differences<T>(before: readonly T[], after: readonly T[], nameOf: (each: T) => string) {
	const known = new Map(before.map((each) => [nameOf(each), each]));
	const wanted = new Set(after.map(nameOf));
	const kept = after.filter((each) => known.has(nameOf(each)));
	const isSame = (each: T): boolean => isDeepStrictEqual(each, known.get(nameOf(each)));
	return {
		added: after.map(nameOf).filter((name) => !known.has(name)),
		removed: before.map(nameOf).filter((name) => !wanted.has(name)),
		changed: kept.filter((each) => !isSame(each)).map(nameOf),
		unchanged: kept.filter(isSame).map(nameOf),
	};
}

/** The configuration to go on with. Throws `ConfigError` for what cannot be done while the daemon runs. */
export function appliedTo(running: DaemonConfig, next: DaemonConfig): DaemonConfig {
	const problems = next.pools.flatMap((pool) => {
		const old = running.pools.find(({ id }) => id === pool.id);
		if (old === undefined || old.engine === pool.engine) return [];
		return [`pool ${pool.id} has engine ${pool.engine}, but runs with ${old.engine}; give it another id, or restart the daemon`];
	});
	// It is bound, and shared with pages, as it was at the start, whatever the file says by now.
	const { hostname, port, corsOrigins } = running.listen;
	if (next.auth.keys.length === 0) problems.push(...openWithoutKeys(`${hostname}:${port}`, hostname, corsOrigins));
	if (problems.length > 0) throw new ConfigError(problems);
	return { ...running, pools: next.pools, auth: next.auth, placement: next.placement, shutdown: next.shutdown, childEnv: running.childEnv };
}

function differing(running: DaemonConfig, next: DaemonConfig): string[] {
	return leaves(next, '', live)
		.filter(([path, value]) => !isDeepStrictEqual(value, at(running, path)))
		.map(([path]) => wholes[path] ?? path.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
}

function leaves(value: object, prefix: string, without: ReadonlySet<string>): [string, unknown][] {
	return Object.entries(value).flatMap(([name, inner]: [string, unknown]): [string, unknown][] => {
		if (without.has(name)) return [];
		const path = `${prefix}${name}`;
		return isRecord(inner) ? leaves(inner, `${path}.`, new Set()) : [[path, inner]];
	});
}

function at(value: unknown, path: string): unknown {
	return path.split('.').reduce((inner: unknown, name) => (isRecord(inner) ? inner[name] : undefined), value);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
	return typeof value === 'object' && value !== null && !Array.isArray(value);
}
