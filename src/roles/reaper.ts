/**
 * Composition root of a reaper: a process that starts one engine which is not ours, and sees to it that nothing of it is left when the
 * daemon has no more use for it, or is gone, however it went. It owns no byte of what the engine says: the engine writes to the daemon's
 * pipes itself. Ends behind the engine, never before.
 */
import { rmSync, writeSync } from 'node:fs';
import { type ChildExit, spawnChild } from '../engines/child-process.ts';
import { endTree, type ProcessTree } from '../engines/managed/process-tree.ts';
import { type ReaperBoot, type ReaperStatus, stopOrder } from '../engines/managed/reaper-protocol.ts';

const statusFd = 3;
/** For what nobody waits for: those that an engine leaves behind when it ends by itself, and an engine whose daemon is gone. */
const strayGraceMs = 2_000;

// The daemon decides when an engine ends, and says so on our stdin.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined);

let text = '';
let tree: ProcessTree | null = null;
let graceMs = 0;
let folder: string | null = null;
let asked = false;
let exit: ChildExit | null = null;
let ending = false;
let forceAt = Number.POSITIVE_INFINITY;

process.stdin.setEncoding('utf8');
process.stdin.on('data', (part: string) => {
	const lines = (text + part).split('\n');
	text = lines.pop() ?? '';
	for (const line of lines) {
		if (line === stopOrder) {
			asked = true;
			void end(graceMs);
		} else if (tree === null && exit === null) start(JSON.parse(line) as ReaperBoot);
	}
});
const daemonGone = (): void => void end(Math.min(graceMs, strayGraceMs));
process.stdin.on('end', daemonGone);
process.stdin.on('error', daemonGone);

function start(boot: ReaperBoot): void {
	graceMs = boot.graceMs;
	folder = boot.folder;
	const child = spawnChild({
		command: boot.command,
		args: boot.args,
		env: boot.env,
		ownSession: true,
		stdio: { stdin: 'ignore', output: 'inherit', status: false },
	});
	if (child.pid > 0) {
		tree = { leader: child.pid, mark: boot.mark };
		tell({ type: 'started', pid: child.pid });
	}
	child.onExit((how) => {
		exit = how;
		void end(Math.min(graceMs, strayGraceMs));
	});
}

/** A second call finds the first at work, which does not stop before all are gone, and can only make it faster. */
async function end(withinMs: number): Promise<void> {
	forceAt = Math.min(forceAt, performance.now() + withinMs);
	if (ending) return;
	ending = true;
	const { forced } = tree === null ? { forced: false } : await endTree(tree, () => forceAt);
	// How it ended is told a moment after it has.
	while (tree !== null && exit === null) await new Promise((resolve) => setTimeout(resolve, 5));
	if (folder !== null) rmSync(folder, { recursive: true, force: true });
	tell({ type: 'ended', exit: exit ?? { code: null, signal: null, notStarted: 'the daemon went before' }, asked, forced });
	process.exit(0);
}

/** A daemon that is gone hears nothing, and that is all. */
function tell(status: ReaperStatus): void {
	try {
		writeSync(statusFd, `${JSON.stringify(status)}\n`);
	} catch (error) {
		if (!(error instanceof Error && 'code' in error && (error.code === 'EPIPE' || error.code === 'EBADF'))) throw error;
	}
}
