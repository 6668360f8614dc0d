/**
 * `+<id>` and `-<id>` lines for the restarting parent, from every front thread: one write each, so that they never mix. A
 * parent that does not read loses lines, never the daemon's time: main has the pipe, which does not block.
 */
import { writeSync } from 'node:fs';
import type { TaskRoll } from '../actors/serving/task-messages.ts';

/** `fd`: null where nobody wants it. */
export function taskRoll(fd: number | null): TaskRoll {
	if (fd === null) return { started() {}, ended() {} };
	let gone = false;
	const write = (line: string): void => {
		if (gone) return;
		try {
			writeSync(fd, line);
		} catch (error) {
			gone = !(error instanceof Error && 'code' in error && error.code === 'EAGAIN');
		}
	};
	return {
		started: (taskId) => write(`+${taskId}\n`),
		ended: (taskId) => write(`-${taskId}\n`),
	};
}
