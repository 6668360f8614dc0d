/**
 * One engine that is not ours, started for us and ended with us: what an engine thread holds of it. Between the two stands the reaper,
 * whose stdin only this thread has: when that closes, because we say so or because we are no more, nothing of the engine is left.
 */
import { randomUUID } from 'node:crypto';
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Child, type ChildExit, spawnChild } from '../child-process.ts';
import { readLines } from '../line-reader.ts';
import { ownerMark } from './leftovers.ts';
import { endTree, markName } from './process-tree.ts';
import { type ReaperBoot, type ReaperStatus, stopOrder } from './reaper-protocol.ts';

export interface ManagedProcessOptions {
	/** The reaper's entry file. */
	readonly reaper: URL;
	/** The program and what it is given; of one word at least. */
	readonly command: readonly string[];
	readonly env: Readonly<Record<string, string>>;
	/** Of the daemon: who starts next with the same one ends what was left behind. */
	readonly runtimeDir: string;
	/** Private to the engine, and removed behind it. */
	readonly folder?: string;
	/** Between SIGTERM and SIGKILL. */
	readonly graceMs: number;
	onLine(source: 'stdout' | 'stderr', line: string): void;
	/** Once, when nothing of it runs any more and what it wrote has been told. */
	onExit(exit: ChildExit): void;
}

/** It keeps no more than a few objects. */
const reaperFlags = ['--max-old-space-size=32', '--max-semi-space-size=1'];

export class ManagedProcess {
	readonly #reaper: Child;
	readonly #mark = randomUUID();
	/** Of the engine; null until it runs. */
	#pid: number | null = null;
	#exit: ChildExit | null = null;

	constructor(options: ManagedProcessOptions) {
		const [command = '', ...args] = options.command;
		this.#reaper = spawnChild({
			command: process.execPath,
			args: [...reaperFlags, fileURLToPath(options.reaper)],
			// Who may see what is in our environment may not see what is in an engine's.
			env: {},
			ownSession: true,
			stdio: { stdin: 'pipe', output: 'pipe', status: true },
		});
		const boot: ReaperBoot = {
			command,
			args,
			env: { ...options.env, ...ownerMark(options.runtimeDir), [markName]: this.#mark },
			mark: this.#mark,
			folder: options.folder ?? null,
			graceMs: options.graceMs,
		};
		this.#reaper.stdin?.write(`${JSON.stringify(boot)}\n`);
		for (const source of ['stdout', 'stderr'] as const) {
			const output = this.#reaper[source];
			if (output !== null) readLines(output, (line) => options.onLine(source, line));
		}
		if (this.#reaper.status !== null) readLines(this.#reaper.status, (line) => this.#onStatus(JSON.parse(line) as ReaperStatus));
		this.#reaper.onExit((exit) => void this.#onReaperGone(exit, options));
	}

	get pid(): number | null {
		return this.#pid;
	}

	/** SIGTERM to all that it is, SIGKILL after `graceMs`; `onExit` follows. Idempotent. */
	stop(): void {
		// Its stdin stays open: should we be killed meanwhile, it hears so.
		this.#reaper.stdin?.write(`${stopOrder}\n`);
	}

	#onStatus(status: ReaperStatus): void {
		if (status.type === 'started') this.#pid = status.pid;
		else this.#exit = status.exit;
	}

	async #onReaperGone(reaper: ChildExit, options: ManagedProcessOptions): Promise<void> {
		if (this.#exit === null) {
			// Somebody has killed the reaper alone: there is nobody left to end the engine but us. It may not have told us of it yet.
			await endTree({ leader: this.#pid, mark: this.#mark }, () => 0);
			if (options.folder !== undefined) rmSync(options.folder, { recursive: true, force: true });
		}
		options.onExit(this.#exit ?? reaper);
	}
}
