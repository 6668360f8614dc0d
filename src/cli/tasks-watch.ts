/**
 * `tasks --watch`: the tasks of a daemon as they change. On a terminal one table that is drawn again; elsewhere a row, or with
 * `--json` an object, for each task that has changed since the last look. It remembers at most two listings.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { TaskInfo } from '../client/index.ts';
import { type DaemonClient, getTask } from './daemon-client.ts';
import { type ExitCode, exitCodes } from './exit-codes.ts';
import { Problem } from './problem.ts';
import { table } from './table.ts';
import { heading, type ListOptions, listed, row } from './tasks-command.ts';
import type { Terminal } from './terminal.ts';

const lookAgainMs = 1_000;
/** Looks in a row without an answer: a daemon that is started again by its parent is back well before. */
const unansweredMax = 15;
/** As wide as most values are: rows come one at a time, and stand under each other. */
const widths = [36, 9, 16, 12, 11, 5, 5, 0];

/** Until Ctrl-C, which is 130. */
export async function watch(client: DaemonClient, options: ListOptions, terminal: Terminal, everyMs = lookAgainMs): Promise<ExitCode> {
	const interrupt = new AbortController();
	const stopListening = terminal.onInterrupt(() => interrupt.abort());
	const changes = new Changes(client, options);
	let unanswered = 0;
	try {
		if (!options.json && !terminal.isLive) terminal.out(aligned(heading));
		while (!interrupt.signal.aborted) {
			try {
				const { tasks, changed } = await changes.look();
				unanswered = 0;
				terminal.status(null);
				if (options.json) for (const task of changed) terminal.out(`${JSON.stringify(task)}\n`);
				else if (terminal.isLive) terminal.redraw(terminal.safe(table([heading, ...tasks.map(row)])));
				else for (const task of changed) terminal.out(aligned(row(task)));
			} catch (error) {
				unanswered += 1;
				const mayCome = error instanceof Problem && (error.exitCode === exitCodes.unavailable || error.exitCode === exitCodes.retryLater);
				if (!mayCome || unanswered >= unansweredMax) throw error;
				terminal.status(`${error.message}; trying again`);
			}
			await delay(everyMs, undefined, { signal: interrupt.signal }).catch((error: unknown) => {
				if (!interrupt.signal.aborted) throw error;
			});
		}
		return exitCodes.interrupted;
	} finally {
		terminal.status(null);
		stopListening();
	}
}

class Changes {
	readonly #client: DaemonClient;
	readonly #options: ListOptions;
	#known = new Map<string, TaskInfo>();

	constructor(client: DaemonClient, options: ListOptions) {
		this.#client = client;
		this.#options = options;
	}

	/** What is listed now, newest first, and what is not as it was at the last look, oldest first. */
	async look(): Promise<{ readonly tasks: readonly TaskInfo[]; readonly changed: readonly TaskInfo[] }> {
		const { tasks } = await listed(this.#client, this.#options);
		const known = new Map(tasks.map((task) => [task.task_id, task]));
		const gone: TaskInfo[] = [];
		// It has another state than the one that is listed, or newer tasks have taken its place: its end is told too.
		for (const [taskId, before] of this.#known) {
			if (known.has(taskId) || isOver(before)) continue;
			const task = await getTask(this.#client, taskId);
			if (task !== null) gone.push(task);
			if (task !== null && !isOver(task) && task.state === before.state && known.size < 2 * this.#options.limit) known.set(taskId, task);
		}
		const before = this.#known;
		this.#known = known;
		const changed = [...gone, ...[...tasks].reverse()].filter((task) => {
			const last = before.get(task.task_id);
			return last === undefined || standOf(last) !== standOf(task);
		});
		return { tasks, changed };
	}
}

/** What makes a line: not each token. */
function standOf(task: TaskInfo): string {
	return [task.state, task.phase, task.replica_id ?? '', task.queue_position ?? ''].join(' ');
}

function isOver(task: TaskInfo): boolean {
	return ['done', 'canceled', 'failed'].includes(task.state);
}

function aligned(cells: readonly string[]): string {
	return `${cells
		.map((cell, column) => cell.padEnd(widths[column] ?? 0))
		.join('  ')
		.trimEnd()}\n`;
}
