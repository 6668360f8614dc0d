/**
 * All that a program which we started has started, and the end of it: its process group, and on Linux also those who left the group but
 * kept its session or the mark in their environment. Runs in the reaper, and on the engine thread when the reaper itself was killed.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { signalStray } from '../child-process.ts';

/** Stands, with a value of its own for each start, in the environment of all that an engine starts. */
export const markName = 'ORCHESTRATORD_ENGINE_START';

export interface ProcessTree {
	/** Of the program that was started: names its group and its session. */
	readonly leader: number | null;
	readonly mark: string;
}

const lookFirstMs = 20;
const lookMaxMs = 320;

/** Those that run now; null: this system does not tell. */
export function membersOf({ leader, mark }: ProcessTree): readonly number[] | null {
	const all = processIds();
	if (all === null) return null;
	const marked = `${markName}=${mark}`;
	return all.filter((pid) => {
		if (pid === process.pid) return false;
		const state = stateOf(pid);
		if (state === null || state.ended) return false;
		return state.group === leader || state.session === leader || environmentOf(pid).includes(marked);
	});
}

/**
 * Asks all of them to end, and forces those who are there at `forceAt`, of `performance.now`, which may come nearer meanwhile; also those
 * who were started since. Resolves when none is left, with whether force was needed.
 */
export async function endTree(tree: ProcessTree, forceAt: () => number): Promise<{ readonly forced: boolean }> {
	let forced = false;
	if (forceAt() > performance.now()) signalTree(tree, 'SIGTERM');
	for (let lookMs = lookFirstMs; isTreeAlive(tree); lookMs = Math.min(lookMaxMs, lookMs * 2)) {
		const leftMs = forceAt() - performance.now();
		if (leftMs <= 0) {
			forced = true;
			signalTree(tree, 'SIGKILL');
			// Who is killed is gone in no time, unless the kernel holds it.
			await pause(lookMs);
		} else await pause(Math.min(lookMs, leftMs));
	}
	return { forced };
}

function isTreeAlive(tree: ProcessTree): boolean {
	const members = membersOf(tree);
	if (members !== null) return members.length > 0;
	return tree.leader !== null && signalStray(-tree.leader, 0);
}

function signalTree(tree: ProcessTree, signal: NodeJS.Signals): void {
	// The group at once, so that none of it can start another in between; then who is not of it.
	if (tree.leader !== null) signalStray(-tree.leader, signal);
	for (const pid of membersOf(tree) ?? []) if (stateOf(pid)?.group !== tree.leader) signalStray(pid, signal);
}

function pause(ms: number): Promise<void> {
	return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Null: this system does not tell. */
export function processIds(): readonly number[] | null {
	if (process.platform !== 'linux') return null;
	try {
		return readdirSync('/proc')
			.filter((name) => /^\d+$/.test(name))
			.map(Number);
	} catch (error) {
		if (error instanceof Error) return null;
		throw error;
	}
}

export function isAlive(pid: number): boolean {
	return stateOf(pid)?.ended === false;
}

/** In ticks since the system has; null: it is gone, or this system does not tell. */
export function startedAt(pid: number): string | null {
	return fieldsOf(pid)?.[19] ?? null;
}

/** Whose ids its are; null: not told. */
export function namespaceOf(pid: number): string | null {
	try {
		return readlinkSync(`/proc/${pid}/ns/pid`);
	} catch (error) {
		if (error instanceof Error) return null;
		throw error;
	}
}

/** Null: it is gone. */
function stateOf(pid: number): { readonly ended: boolean; readonly group: number; readonly session: number } | null {
	const [state, , group, session] = fieldsOf(pid) ?? [];
	return state === undefined ? null : { ended: 'ZX'.includes(state), group: Number(group), session: Number(session) };
}

/** From its state on, the third of `proc(5)`. */
function fieldsOf(pid: number): readonly string[] | null {
	const stat = readOf(pid, 'stat');
	// The name of a program, in parentheses, may hold anything.
	return stat === '' ? null : stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

/** '': it is gone, or another user's. */
export function environmentOf(pid: number): string {
	return readOf(pid, 'environ');
}

/** '': it is gone, or another user's. */
function readOf(pid: number, what: 'stat' | 'environ'): string {
	try {
		return readFileSync(`/proc/${pid}/${what}`, 'latin1');
	} catch (error) {
		if (error instanceof Error) return '';
		throw error;
	}
}
