/**
 * How often the system has killed a process of our group for want of memory: what tells such an end from any other SIGKILL.
 * Linux with control groups; elsewhere nobody can say.
 */
import { readFileSync } from 'node:fs';

/** Null: it cannot be known here. */
export function memoryKills(): number | null {
	try {
		const group = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1] ?? '/';
		return killsIn(readFileSync(`/sys/fs/cgroup${group === '/' ? '' : group}/memory.events`, 'utf8'));
	} catch {
		return null;
	}
}

/** In the text of `memory.events`. */
export function killsIn(text: string): number | null {
	const count = /^oom_kill (\d+)$/m.exec(text)?.[1];
	return count === undefined ? null : Number(count);
}
