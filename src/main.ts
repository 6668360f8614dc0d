/**
 * The program: command line in, exit code out. Composition root of the main thread, and the only place that may end the
 * process.
 */
import { availableParallelism, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import type { DaemonFacts } from './cli/banner.ts';
import { runCli } from './cli/cli.ts';
import { exitCodes } from './cli/exit-codes.ts';
import { superviseDaemon } from './cli/parent.ts';
import { terminalOf } from './cli/terminal.ts';
import type { DaemonConfig } from './config.ts';
import { ownEnvironment, supervisedEnvironment } from './config.ts';
import { packageRoot } from './config-root.ts';
import type { Daemon } from './daemon.ts';
import type { DevicesFound } from './engines/devices.ts';

/** Runs `argv` (without node and script). */
export async function main(argv: readonly string[]): Promise<number> {
	const terminal = terminalOf({
		stdin: process.stdin,
		stdout: process.stdout,
		stderr: process.stderr,
		on: (signal, handler) => process.on(signal, handler),
		removeListener: (signal, handler) => process.removeListener(signal, handler),
	});
	const effects = {
		serve,
		supervise: (args: readonly string[]) => supervise(args, terminal.say),
		devices: { look: lookAtDevices },
		cpu: { cores: availableParallelism(), memoryBytes: totalmem() },
		npm,
		store: async (config: DaemonConfig, repair: boolean) => (await import('./store-jobs.ts')).lookAtStore(config, repair),
	};
	const code = await runCli(argv, effects, terminal);
	// Threads and pipes that are still open must not keep a finished command alive.
	process.exit(code);
}

/** Serves until a signal ends it: running tasks may finish. A second signal ends it at once. */
async function serve(config: DaemonConfig, reread: () => DaemonConfig, onReady: (facts: DaemonFacts) => void): Promise<number> {
	// Not needed by the parent, nor by a command that asks a daemon: they start sooner without.
	const [{ startDaemon }, { threadLog }] = await Promise.all([import('./daemon.ts'), import('./transport/telemetry/logs.ts')]);
	const log = threadLog({ thread: 'main', level: config.log.level });
	// V8 collects an idle heap again and again to make it smaller: 10 to 20 ms of CPU each, for heaps of a few megabytes.
	setFlagsFromString('--no-memory-reducer');
	const signals = stopSignals();
	let daemon: Daemon | null = null;
	// A terminal that closes must not take the running tasks with it. What comes before the start is over has just been read.
	process.on('SIGHUP', () => void daemon?.reloadConfig());
	daemon = await startDaemon(config, log, reread);
	void daemon.settled().then(onReady);
	const end = await Promise.race([signals.first, daemon.failed]);
	if (end !== null) {
		log('error', 'daemon-failed', { message: end });
		await daemon.halt();
		return exitCodes.failure;
	}
	const { graceMs } = daemon.config.shutdown;
	log('info', 'daemon-stopping', { ms: graceMs });
	const how = await Promise.race([daemon.stop(graceMs), signals.second]);
	if (how !== null) return exitCodes.ok;
	await daemon.halt();
	return exitCodes.interrupted;
}

/** Ctrl-C comes twice where the terminal and a parent both pass it on: what follows at once is the same one. */
const sameSignalMs = 500;

function stopSignals(): { readonly first: Promise<null>; readonly second: Promise<null> } {
	let onFirst: (value: null) => void = () => {};
	let onSecond: (value: null) => void = () => {};
	const first = new Promise<null>((resolve) => {
		onFirst = resolve;
	});
	const second = new Promise<null>((resolve) => {
		onSecond = resolve;
	});
	let askedAt: number | null = null;
	for (const signal of ['SIGTERM', 'SIGINT'] as const) {
		process.on(signal, () => {
			const now = performance.now();
			if (askedAt !== null && now - askedAt > sameSignalMs) onSecond(null);
			askedAt ??= now;
			onFirst(null);
		});
	}
	return { first, second };
}

async function lookAtDevices(): Promise<DevicesFound> {
	const { ToolProbe, toolsOf } = await import('./engines/devices-probe.ts');
	return new ToolProbe(toolsOf(ownEnvironment()), process.platform).look();
}

async function npm(args: readonly string[]): Promise<number | null> {
	const { spawnChild } = await import('./engines/child-process.ts');
	const child = spawnChild({ command: 'npm', args, env: null, stdio: { stdin: 'ignore', output: 'inherit', status: false } });
	return new Promise((resolve) => child.onExit(({ code, notStarted }) => resolve(notStarted === null ? (code ?? 1) : null)));
}

function supervise(argv: readonly string[], say: (line: string) => void): Promise<number> {
	const script = fileURLToPath(new URL('bin/orchestratord.js', `file://${packageRoot()}/`));
	return superviseDaemon({ command: process.execPath, args: [script, ...argv], env: supervisedEnvironment(), say });
}
