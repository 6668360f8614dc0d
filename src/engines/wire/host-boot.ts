/**
 * How an engine host process meets its daemon: boot line and lifeline on stdin, status lines on fd 3. Runs in the host
 * process, at its start.
 */
import { writeSync } from 'node:fs';
import type { HostBoot, HostStatus } from './host-protocol.ts';

const statusFd = 3;

/**
 * Reads the boot line. Afterwards stdin is only watched: its end means that the daemon is gone, however it went, and calls
 * `onDaemonGone`.
 */
export function readBoot(onDaemonGone: () => void): Promise<HostBoot> {
	return new Promise((resolve, reject) => {
		let text = '';
		let booted = false;
		process.stdin.setEncoding('utf8');
		process.stdin.on('data', (part: string) => {
			if (booted) return;
			text += part;
			const end = text.indexOf('\n');
			if (end < 0) return;
			booted = true;
			try {
				resolve(JSON.parse(text.slice(0, end)) as HostBoot);
			} catch {
				reject(new Error('the boot line is not JSON'));
			}
		});
		process.stdin.on('end', onDaemonGone);
		process.stdin.on('error', onDaemonGone);
	});
}

/** Tells the daemon. A daemon that is gone is seen on stdin; here it is ignored. */
export function tellStatus(status: HostStatus): void {
	try {
		writeSync(statusFd, `${JSON.stringify(status)}\n`);
	} catch (error) {
		process.stderr.write(`cannot tell the daemon: ${error instanceof Error ? error.message : String(error)}\n`);
	}
}
