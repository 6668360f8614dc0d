/**
 * `+<id>` and `-<id>` lines for the restarting parent, from every front thread: several lines a write at most, whole ones, so
 * that those of two threads never mix. The pipe is main's, and does not block: a parent that does not read for long loses
 * lines, never the daemon's time.
 */
import { writeSync } from 'node:fs';
import type { TaskRoll } from '../actors/serving/task-messages.ts';

const unsentMax = 1024 * 1024;
/** Small enough that the system takes it whole, or not at all. */
const writeMax = 4096;
const againMs = 10;

/** `fd`: null where nobody wants it. */
export function taskRoll(fd: number | null): TaskRoll {
	if (fd === null) return { started() {}, ended() {}, lost() {} };
	const pipe = new RollPipe(fd);
	return {
		started: (taskId) => pipe.write(`+${taskId}\n`),
		ended: (taskId) => pipe.write(`-${taskId}\n`),
		lost: (taskId) => pipe.write(`-${taskId}\n`),
	};
}

class RollPipe {
	readonly #fd: number;
	/** Whole lines that the pipe had no room for. */
	#unsent = '';
	#gone = false;

	constructor(fd: number) {
		this.#fd = fd;
	}

	write(line: string): void {
		if (this.#gone || this.#unsent.length > unsentMax) return;
		const waiting = this.#unsent !== '';
		this.#unsent += line;
		if (!waiting) this.#flush();
	}

	#flush(): void {
		while (this.#unsent !== '') {
			const lines =
				this.#unsent.length <= writeMax ? this.#unsent : this.#unsent.slice(0, this.#unsent.lastIndexOf('\n', writeMax - 1) + 1);
			try {
				this.#unsent = this.#unsent.slice(writeSync(this.#fd, lines));
			} catch (error) {
				if (error instanceof Error && 'code' in error && error.code === 'EAGAIN') {
					setTimeout(() => this.#flush(), againMs).unref();
					return;
				}
				this.#gone = true;
				this.#unsent = '';
			}
		}
	}
}
