/**
 * The tiny parent of `orchestratord serve`: starts the daemon, passes signals on, starts it again when it ended abnormally,
 * and says which tasks were lost with it. It serves nothing and knows nothing of tasks but their ids, which the daemon
 * writes to a pipe: `+<id>` as one begins, `-<id>` as it ends.
 */
import { createInterface } from 'node:readline';
import { decideRestart, noFailures, type SupervisionSpec } from '../actors/kernel/supervision.ts';
import { type Child, type ChildExit, describeExit, spawnChild } from '../engines/child-process.ts';
import { exitCodes, mayRestart } from './exit-codes.ts';

export interface ParentOptions {
	/** Node and its arguments: this program again. */
	readonly command: string;
	readonly args: readonly string[];
	/** Of the child; fd 3 is the task roll. */
	readonly env: Readonly<Record<string, string>>;
	/** One line to the terminal. */
	readonly say: (line: string) => void;
	/** How often and how fast it is started again; a few times over some minutes unless said otherwise. */
	readonly supervision?: SupervisionSpec;
}

const patient: SupervisionSpec = {
	onFailure: 'restart',
	intensity: { restarts: 5, withinMs: 120_000 },
	backoff: { firstMs: 500, maxMs: 30_000, jitter: 0.1 },
	shutdownMs: 0,
};

const forwarded = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;
const idsShown = 20;
const lastLinesMs = 1_000;

/** Runs the daemon until it ends for good; answers its exit code. */
export async function superviseDaemon(options: ParentOptions): Promise<number> {
	const { command, args, env, say, supervision = patient } = options;
	let child: Child | null = null;
	let stopping = false;
	let wake = (): void => {};
	const listeners = forwarded.map((signal) => {
		const forward = (): void => {
			if (signal !== 'SIGHUP') {
				stopping = true;
				wake();
			}
			child?.signal(signal);
		};
		process.on(signal, forward);
		return () => process.off(signal, forward);
	});
	try {
		let history = noFailures;
		for (;;) {
			const live = new Set<string>();
			child = spawnChild({ command, args, env, stdio: { stdin: 'ignore', output: 'inherit', status: true } });
			const exit = await ended(child, live);
			const code = codeOf(exit);
			const forGood = stopping || (exit.signal === null && exit.notStarted === null && !mayRestart(code));
			if (!forGood) say(`orchestratord ${describeExit(exit)}`);
			sayLost(live, say);
			// What could not be started even once is not there, or may not be run: waiting changes neither.
			if (forGood || (exit.notStarted !== null && history === noFailures)) return code;
			const verdict = decideRestart(supervision, history, performance.now(), Math.random());
			if (verdict.decision === 'stop') {
				say(`orchestratord failed ${history.failedAt.length + 1} times within ${supervision.intensity.withinMs / 1000} s; giving up`);
				return code;
			}
			history = verdict.history;
			say(`orchestratord is started again in ${(verdict.delayMs / 1000).toFixed(1)} s`);
			await new Promise<void>((resolve) => {
				const due = setTimeout(resolve, verdict.delayMs);
				wake = () => {
					clearTimeout(due);
					resolve();
				};
			});
			// Asked to stop while nothing ran: that is done.
			if (stopping) return exitCodes.ok;
		}
	} finally {
		for (const off of listeners) off();
	}
}

function codeOf(exit: ChildExit): number {
	if (exit.notStarted !== null) return exitCodes.unavailable;
	if (exit.signal === 'SIGINT') return exitCodes.interrupted;
	if (exit.signal === 'SIGTERM') return exitCodes.terminated;
	return exit.code ?? exitCodes.failure;
}

/** Follows the roll until the child has ended and the roll is read to its end. */
async function ended(child: Child, live: Set<string>): Promise<ChildExit> {
	const exited = new Promise<ChildExit>((resolve) => child.onExit(resolve));
	const { status } = child;
	if (status === null) return exited;
	const roll = createInterface({ input: status });
	const read = new Promise<void>((resolve) => roll.once('close', () => resolve()));
	roll.on('line', (line) => {
		if (line.startsWith('+')) live.add(line.slice(1));
		else if (line.startsWith('-')) live.delete(line.slice(1));
	});
	const exit = await exited;
	// A process that the daemon left behind may hold the pipe open.
	const late = setTimeout(() => roll.close(), lastLinesMs);
	await read;
	clearTimeout(late);
	return exit;
}

function sayLost(live: ReadonlySet<string>, say: (line: string) => void): void {
	if (live.size === 0) return;
	const ids = [...live].slice(0, idsShown);
	const more = live.size > ids.length ? ` and ${live.size - ids.length} more` : '';
	say(`${live.size} ${live.size === 1 ? 'task was' : 'tasks were'} lost: ${ids.join(', ')}${more}`);
}
