/**
 * How an engine host process meets its daemon: boot line and lifeline on stdin, status lines on fd 3. Runs in the host
 * process, at its start.
 */
import { rmdirSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import type { HostBoot, HostStatus } from './host-protocol.ts';

const statusFd = 3;
/** Begins every line of a log that a host writes itself. What native libraries write beside it may quote a client. */
export const hostLinePrefix = 'host: ';

/**
 * Reads the boot line. Afterwards stdin is only watched: its end means that the daemon is gone, however it went, and calls
 * `onDaemonGone`, with what was read.
 */
export function readBoot(onDaemonGone: (boot: HostBoot | null) => void): Promise<HostBoot> {
	return new Promise((resolve, reject) => {
		let text = '';
		let boot: HostBoot | null = null;
		let booted = false;
		const gone = (): void => onDaemonGone(boot);
		process.stdin.setEncoding('utf8');
		process.stdin.on('data', (part: string) => {
			if (booted) return;
			text += part;
			const end = text.indexOf('\n');
			if (end < 0) return;
			booted = true;
			try {
				boot = JSON.parse(text.slice(0, end)) as HostBoot;
				resolve(boot);
			} catch {
				reject(new Error('the boot line is not JSON'));
			}
		});
		process.stdin.on('end', gone);
		process.stdin.on('error', gone);
	});
}

/** Tells the daemon. A daemon that is gone is seen on stdin; here it is ignored. */
export function tellStatus(status: HostStatus): void {
	try {
		writeSync(statusFd, `${JSON.stringify(status)}\n`);
	} catch (error) {
		sayLine(`cannot tell the daemon: ${error instanceof Error ? error.message : String(error)}`);
	}
}

/** One line for the daemon's log: never a prompt, an output, or what a client wrote. */
export function sayLine(words: string): void {
	process.stderr.write(`${hostLinePrefix}${words.replaceAll('\n', ' ')}\n`);
}

/** The socket and its private folder: a daemon that is gone cannot remove them. */
export function removeSocket(socketPath: string): void {
	try {
		rmSync(socketPath, { force: true });
		rmdirSync(dirname(socketPath));
	} catch (error) {
		sayLine(`cannot remove ${socketPath}: ${error instanceof Error ? error.message : String(error)}`);
	}
}
