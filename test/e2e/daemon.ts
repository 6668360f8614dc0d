/**
 * A real daemon for end-to-end tests: the command a user types, in its own process tree, on a free loopback port. Waits for
 * what the daemon says, never for the clock; ends what it started, by id.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { assertNothingLeaked, keepForRunner } from './leaks.ts';

export const repository = fileURLToPath(new URL('../../..', import.meta.url));
export const binary = join(repository, 'bin/orchestratord.js');

export async function freePort(): Promise<number> {
	const server = createServer();
	await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
	const address = server.address();
	await new Promise((resolve) => server.close(resolve));
	if (address === null || typeof address === 'string') throw new Error('no port');
	return address.port;
}

export interface Daemon {
	readonly url: string;
	readonly port: number;
	/** Of the process that was started: with `supervise`, the tiny parent. */
	readonly pid: number;
	readonly child: ChildProcess;
	/** Of its store, where it is not told another. */
	readonly storePath: string;
	/** What it printed so far, both streams. */
	output(): string;
	/** Resolves once the output matches. */
	said(pattern: RegExp): Promise<void>;
	/**
	 * Threads meet an error that nothing catches, as a bug would make one, in the same moment. Resolves when all have come back. Of a
	 * daemon that was started `withCrashes`.
	 */
	crash(...threads: readonly string[]): Promise<void>;
	crashFront(front: number): Promise<void>;
	/** Writes its configuration file anew, with the same address. Of a daemon that has one. */
	rewrite(config: Readonly<Record<string, unknown>>): void;
	/** SIGTERM, then the exit code. */
	stop(): Promise<number | null>;
}

export interface DaemonOptions {
	readonly config?: Readonly<Record<string, unknown>>;
	readonly args?: readonly string[];
	readonly supervise?: boolean;
	readonly env?: Readonly<Record<string, string>>;
	/** Front threads; default as the environment says, else one. */
	readonly fronts?: number;
	readonly withCrashes?: boolean;
	/** No file of it may become longer: a disk without room, as it looks to the daemon. */
	readonly fileLimitKib?: number;
	/** What it says once it listens; default that it is ready. */
	readonly ready?: RegExp;
}

/** Loaded before all else, by every thread: one that is told to throws where nothing catches. */
function crashPoint(folder: string): string {
	const file = join(folder, 'crash-point.cjs');
	writeFileSync(
		file,
		`const { existsSync, unlinkSync } = require('node:fs');
const { workerData } = require('node:worker_threads');
if (typeof workerData?.name === 'string') {
	const order = ${JSON.stringify(folder)} + '/crash-' + workerData.name;
	setInterval(() => {
		if (!existsSync(order)) return;
		unlinkSync(order);
		throw new Error('planted: ' + workerData.name + ' was told to crash');
	}, 10).unref();
}
`,
	);
	return file;
}

/** A test that fails before it stops its daemon must not leave it running, nor wait for it. */
const running = new Set<Daemon>();
after(async () => {
	await Promise.all([...running].map((daemon) => daemon.stop()));
});

/** Starts `orchestratord serve` and waits until it is ready. */
export async function startDaemon(options: DaemonOptions = {}): Promise<Daemon> {
	const port = await freePort();
	const folder = mkdtempSync(join(tmpdir(), 'orchestratord-e2e-'));
	const configFile = join(folder, 'config.yaml');
	const writeConfig = (config: Readonly<Record<string, unknown>>): void =>
		writeFileSync(configFile, JSON.stringify({ listen: { addr: `127.0.0.1:${port}` }, ...config }));
	const args = [binary, 'serve'];
	if (options.supervise !== true) args.push('--no-supervise');
	if (options.config === undefined) args.push('--addr', `127.0.0.1:${port}`);
	else {
		writeConfig(options.config);
		args.push('--config', configFile);
	}
	// All that it ever logs: it is searched for what no log may hold.
	args.push('--log-level', 'debug', ...(options.args ?? []));
	if (options.fronts !== undefined) args.push('--threads.front', String(options.fronts), '--listen.host', 'auto');
	const crashes = options.withCrashes === true ? { NODE_OPTIONS: `--require ${crashPoint(folder)}` } : {};
	const limited = options.fileLimitKib === undefined ? null : `ulimit -f ${options.fileLimitKib}; exec "$0" "$@"`;
	const [command, argv] = limited === null ? [process.execPath, args] : ['bash', ['-c', limited, process.execPath, ...args]];
	const child = spawn(command, argv, {
		stdio: ['ignore', 'pipe', 'pipe'],
		env: { ...process.env, XDG_DATA_HOME: folder, ...crashes, ...options.env },
	});
	let output = '';
	const listeners = new Set<() => void>();
	for (const stream of [child.stdout, child.stderr]) {
		stream.setEncoding('utf8').on('data', (text: string) => {
			output += text;
			for (const listener of listeners) listener();
		});
	}
	const said = (pattern: RegExp): Promise<void> =>
		new Promise((resolve, reject) => {
			const look = (): void => {
				if (!pattern.test(output)) return;
				listeners.delete(look);
				resolve();
			};
			listeners.add(look);
			child.once('exit', (code, signal) => reject(new Error(`the daemon ended (${code ?? signal}) before it said ${pattern}:\n${output}`)));
			look();
		});
	const restarts = new Map<string, number>();
	const daemon: Daemon = {
		url: `http://127.0.0.1:${port}`,
		port,
		pid: child.pid ?? 0,
		child,
		storePath: join(folder, 'orchestratord'),
		output: () => output,
		said,
		async crash(...threads) {
			if (options.withCrashes !== true) throw new Error('start the daemon withCrashes');
			for (const thread of threads) {
				restarts.set(thread, (restarts.get(thread) ?? 0) + 1);
				writeFileSync(join(folder, `crash-${thread}`), '');
			}
			const back = (thread: string) => new RegExp(`"event":"thread-restarted".*"name":"${thread}".*"restarts":${restarts.get(thread)}\\b`);
			await Promise.all(threads.map((thread) => said(back(thread))));
		},
		crashFront: (front) => daemon.crash(`front-${front}`),
		rewrite: writeConfig,
		async stop() {
			running.delete(daemon);
			if (child.exitCode === null && child.signalCode === null) {
				const gone = once(child, 'exit');
				if (!child.killed) child.kill('SIGTERM');
				const force = setTimeout(() => child.kill('SIGKILL'), 20_000);
				await gone;
				clearTimeout(force);
			}
			rmSync(folder, { recursive: true, force: true });
			keepForRunner(output);
			assertNothingLeaked(output);
			return child.exitCode;
		},
	};
	running.add(daemon);
	await said(options.ready ?? /is ready on/);
	return daemon;
}

/** Null: the process or thread has ended since it was listed. */
function unlessGone<T>(read: () => T): T | null {
	try {
		return read();
	} catch (error) {
		if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH')) return null;
		throw error;
	}
}

/** Process ids below `pid`, whole tree. */
export function descendants(pid: number): number[] {
	const found: number[] = [];
	const look = (parent: number): void => {
		for (const thread of unlessGone(() => readdirSync(`/proc/${parent}/task`)) ?? []) {
			const children = (unlessGone(() => readFileSync(`/proc/${parent}/task/${thread}/children`, 'utf8')) ?? '').trim();
			for (const child of children === '' ? [] : children.split(' ').map(Number)) {
				found.push(child);
				look(child);
			}
		}
	};
	look(pid);
	return found;
}

export function isAlive(pid: number): boolean {
	try {
		process.kill(pid, 0);
	} catch {
		return false;
	}
	// A zombie has ended: only its parent has not asked yet.
	return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
}

/** Resolves when the process has ended. */
export async function ended(pid: number, withinMs = 20_000): Promise<void> {
	const deadline = performance.now() + withinMs;
	while (isAlive(pid)) {
		if (performance.now() > deadline) throw new Error(`process ${pid} still runs after ${withinMs} ms`);
		await new Promise((resolve) => setTimeout(resolve, 20));
	}
}
