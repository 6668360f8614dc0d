/**
 * The only place that starts processes. Gives a child with its pipes, its end as plain data, and an end that is asked for
 * politely, then forced. Ends nothing it did not start.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';

export interface ChildSpec {
	readonly command: string;
	readonly args: readonly string[];
	/** Null: ours. */
	readonly env: Readonly<Record<string, string>> | null;
	/** In a session of its own: no signal of our terminal or to our group reaches it, and its group is named by its pid. */
	readonly ownSession?: boolean;
	/** What stdin, stdout, stderr and fd 3 are. `status`: a pipe on fd 3 that we read. */
	readonly stdio: { readonly stdin: 'pipe' | 'inherit' | 'ignore'; readonly output: 'pipe' | 'inherit'; readonly status: boolean };
}

/** How a process ended. */
export interface ChildExit {
	/** Null when a signal ended it, or when it could not be started. */
	readonly code: number | null;
	readonly signal: string | null;
	/** Why it could not be started; null when it was. */
	readonly notStarted: string | null;
}

export interface Child {
	readonly pid: number;
	readonly stdin: Writable | null;
	readonly stdout: Readable | null;
	readonly stderr: Readable | null;
	readonly status: Readable | null;
	/** Calls back once, when it has ended and what it wrote has been read; also when that was before. */
	onExit(done: (exit: ChildExit) => void): void;
	signal(signal: NodeJS.Signals): void;
	/** SIGTERM, and SIGKILL when that has not ended it after `forceAfterMs`. */
	end(forceAfterMs: number): void;
}

const lastWordsMs = 500;

export function spawnChild(spec: ChildSpec): Child {
	const { stdin, output, status } = spec.stdio;
	const child: ChildProcess = spawn(spec.command, spec.args, {
		...(spec.env === null ? {} : { env: { ...spec.env } }),
		detached: spec.ownSession === true,
		stdio: status ? [stdin, output, output, 'pipe'] : [stdin, output, output],
	});
	let exit: ChildExit | null = null;
	const waiting: ((exit: ChildExit) => void)[] = [];
	const ended = (how: ChildExit): void => {
		if (exit !== null) return;
		exit = how;
		for (const done of waiting.splice(0)) done(how);
	};
	let gone = false;
	child.once('exit', (code, signal) => {
		gone = true;
		// Its last words are still in the pipes; a grandchild may hold those open for ever.
		setTimeout(() => ended({ code, signal, notStarted: null }), lastWordsMs).unref();
	});
	child.once('close', (code, signal) => ended({ code, signal, notStarted: null }));
	child.once('error', (error) => ended({ code: null, signal: null, notStarted: error.message }));
	// A pipe to a child that has just ended breaks; its exit tells the rest.
	child.stdin?.on('error', () => {});
	const signal = (name: NodeJS.Signals): void => {
		if (!gone && exit === null) child.kill(name);
	};
	return {
		pid: child.pid ?? 0,
		stdin: child.stdin,
		stdout: child.stdout,
		stderr: child.stderr,
		status: status ? (child.stdio[3] as Readable) : null,
		onExit(done) {
			if (exit === null) waiting.push(done);
			else done(exit);
		},
		signal,
		end(forceAfterMs) {
			signal('SIGTERM');
			const force = setTimeout(() => signal('SIGKILL'), forceAfterMs);
			force.unref();
			if (exit === null) waiting.push(() => clearTimeout(force));
		},
	};
}

export interface ToolSpec {
	readonly command: string;
	readonly args: readonly string[];
	readonly env: Readonly<Record<string, string>>;
	/** Then it is ended. */
	readonly timeoutMs: number;
	/** Of each of its outputs, characters; one that says more is ended. */
	readonly outputMax: number;
}

/** What a tool that ran to its end has said. */
export interface ToolRun {
	/** Null: it was ended. */
	readonly code: number | null;
	readonly stdout: string;
	readonly stderr: string;
	/** It was ended for it took too long. */
	readonly late: boolean;
}

/** Runs a program that says something and ends. Null: it is not there, or may not be run. Never rejects. */
export function runTool({ command, args, env, timeoutMs, outputMax }: ToolSpec): Promise<ToolRun | null> {
	return new Promise((resolve) => {
		let child: Child;
		try {
			child = spawnChild({ command, args, env, stdio: { stdin: 'ignore', output: 'pipe', status: false } });
		} catch (error) {
			// Most of what keeps a program from starting is told later, the rest is thrown.
			if (!(error instanceof Error && 'code' in error)) throw error;
			return resolve(null);
		}
		let late = false;
		const deadline = setTimeout(() => {
			late = true;
			child.signal('SIGKILL');
		}, timeoutMs);
		const said = { stdout: '', stderr: '' };
		for (const source of ['stdout', 'stderr'] as const) {
			child[source]?.setEncoding('utf8').on('data', (part: string) => {
				said[source] += part;
				if (said[source].length > outputMax) child.signal('SIGKILL');
			});
		}
		child.onExit(({ code, notStarted }) => {
			clearTimeout(deadline);
			resolve(notStarted === null ? { code, ...said, late } : null);
		});
	});
}

/** To a process, or with a negative number to a whole group, that a child of ours has left. False: there is none. */
export function signalStray(pid: number, name: NodeJS.Signals | 0): boolean {
	// 0, 1 and -1 are no process of ours, but our own group, the system's first, and all there are.
	if (!Number.isInteger(pid) || Math.abs(pid) < 2) throw new Error(`not a process to signal: ${pid}`);
	try {
		return process.kill(pid, name);
	} catch (error) {
		if (error instanceof Error && 'code' in error && (error.code === 'ESRCH' || error.code === 'EPERM')) return false;
		throw error;
	}
}

/** What each signal mostly means of an engine, and what to do about it. */
const signalWords: Readonly<Record<string, string>> = {
	SIGKILL: 'was killed (SIGKILL); as a rule the system had no memory left: use a smaller model, less ctx or fewer slots',
	SIGABRT: 'aborted (SIGABRT): a check inside the engine failed',
	SIGSEGV: 'crashed (SIGSEGV): a bug of the engine or of a driver, or a damaged model',
	SIGBUS: 'crashed (SIGBUS): its model file was cut or changed while it was in use, or the disk failed',
	SIGILL: 'crashed (SIGILL): it was built for a CPU with more instructions than this one has',
	SIGFPE: 'crashed (SIGFPE): a bug of the engine, or a damaged model',
	SIGTERM: 'was ended from outside (SIGTERM)',
	SIGXCPU: 'was ended by a limit on CPU time (SIGXCPU)',
};
const startWords: readonly (readonly [RegExp, string])[] = [
	[/ENOENT/, 'its program is not there'],
	[/EACCES|EPERM/, 'its program may not be run'],
	[/EAGAIN/, 'the system allows no more processes'],
	[/ENOMEM/, 'the system has no memory left'],
	[/EMFILE|ENFILE/, 'too many files are open; raise the limit (ulimit -n)'],
];

/** Words for an end that nobody asked for. `outOfMemory`: the system says so. */
export function describeExit(exit: ChildExit, outOfMemory = false): string {
	const { notStarted, signal, code } = exit;
	if (notStarted !== null) {
		const why = startWords.find(([pattern]) => pattern.test(notStarted))?.[1];
		return `could not be started: ${notStarted}${why === undefined ? '' : ` (${why})`}`;
	}
	if (signal === 'SIGKILL' && outOfMemory) {
		return 'was killed for it had taken more memory than there is: use a smaller model, less ctx or fewer slots';
	}
	if (signal !== null) return signalWords[signal] ?? `ended on ${signal}`;
	return `ended with exit code ${code ?? 'unknown'}`;
}
