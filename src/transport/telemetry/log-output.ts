/**
 * Where the lines of a thread's log go: a descriptor, written to at once, so that a line of a thread that dies is not
 * lost. A log that cannot be written (a full disk, a reader that has left or does not read) loses lines, never the daemon:
 * nothing here throws or waits, and what was lost is counted and said once there is room again.
 */
import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs';
import type { DestinationStream } from 'pino';

/** Writes what it can of `bytes` and answers how many it took; throws what the system says. */
export type LogWriter = (bytes: Uint8Array) => number;

/** Held for a reader that is behind; above it lines are lost. */
const heldBytesMax = 1024 * 1024;
const tryAgainMs = 50;

interface Held {
	readonly bytes: Buffer;
	/** Lines that nobody hears of when these bytes are lost. */
	readonly lines: number;
}

export class LogOutput implements DestinationStream {
	readonly #write: LogWriter;
	/** One line that says how many were lost, with its line end. */
	readonly #lossLine: (count: number) => string;
	readonly #heldBytesMax: number;
	readonly #later: (tryAgain: () => void) => void;
	#held: Held[] = [];
	#heldBytes = 0;
	/** Bytes of the first held line that have left. */
	#taken = 0;
	/** Lines that were lost and have not been told of. */
	#lost = 0;
	/** What left last is the beginning of a line whose rest was lost. */
	#cut = false;
	#willTry = false;

	constructor(write: LogWriter, lossLine: (count: number) => string, bytesMax = heldBytesMax, later = soon) {
		this.#write = write;
		this.#lossLine = lossLine;
		this.#heldBytesMax = bytesMax;
		this.#later = later;
	}

	get heldBytes(): number {
		return this.#heldBytes;
	}

	write(line: string): void {
		this.#drain();
		const bytes = Buffer.from(line);
		if (this.#held.length > 0 && this.#heldBytes + bytes.length > this.#heldBytesMax) {
			this.#lost += 1;
			return;
		}
		if (this.#held.length === 0) this.#holdLoss();
		this.#hold(bytes, 1);
		this.#drain();
		if (this.#held.length > 0) this.#tryLater();
	}

	#holdLoss(): void {
		if (this.#cut) this.#hold(Buffer.from('\n'), 0);
		if (this.#lost === 0) return;
		this.#hold(Buffer.from(this.#lossLine(this.#lost)), this.#lost);
		this.#lost = 0;
	}

	#hold(bytes: Buffer, lines: number): void {
		this.#held.push({ bytes, lines });
		this.#heldBytes += bytes.length;
	}

	#tryLater(): void {
		if (this.#willTry) return;
		this.#willTry = true;
		this.#later(() => {
			this.#willTry = false;
			this.#drain();
			if (this.#held.length > 0) this.#tryLater();
		});
	}

	/** Writes what is held, as far as it is taken. */
	#drain(): void {
		try {
			for (let first = this.#held[0]; first !== undefined; first = this.#held[0]) {
				while (this.#taken < first.bytes.length) {
					this.#taken += this.#write(first.bytes.subarray(this.#taken));
					this.#cut = false;
				}
				this.#held.shift();
				this.#heldBytes -= first.bytes.length;
				this.#taken = 0;
			}
		} catch (error) {
			if (!isBehind(error)) this.#lose();
		}
	}

	#lose(): void {
		if (this.#taken > 0) this.#cut = true;
		const [first] = this.#held;
		// one that lacks nothing but its end will be read
		if (first !== undefined && this.#taken > 0 && this.#taken === first.bytes.length - 1) this.#held.shift();
		this.#lost += this.#held.reduce((sum, { lines }) => sum + lines, 0);
		this.#held = [];
		this.#heldBytes = 0;
		this.#taken = 0;
	}
}

/** Does not keep a process alive. */
function soon(tryAgain: () => void): void {
	setTimeout(tryAgain, tryAgainMs).unref();
}

function isBehind(error: unknown): boolean {
	return error instanceof Error && 'code' in error && (error.code === 'EAGAIN' || error.code === 'EWOULDBLOCK' || error.code === 'EINTR');
}

/** The process's stderr, as a writer that never waits for a reader where the system can be asked so. */
export function stderrWriter(): LogWriter {
	const fd = unwaitingStderr() ?? stderrFd;
	return (bytes) => writeSync(fd, bytes);
}

const stderrFd = 2;

/**
 * A terminal that was told to stand still, or a pipe that nobody reads, would stop the thread that writes to it. Opened
 * anew it has flags of its own: those of fd 2 are shared with whoever started the daemon. Null: nothing to be gained, or
 * not allowed.
 */
function unwaitingStderr(): number | null {
	let opened: number | null = null;
	try {
		const before = fstatSync(stderrFd);
		if (!before.isFIFO() && !before.isCharacterDevice()) return null;
		opened = openSync(`/dev/fd/${stderrFd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
		const after = fstatSync(opened);
		if (after.ino === before.ino && after.dev === before.dev) return opened;
		closeSync(opened);
		return null;
	} catch (error) {
		// no such way on this system, or not ours to open: fd 2 as it is will do
		if (!(error instanceof Error) || !('code' in error)) throw error;
		if (opened !== null) closeSync(opened);
		return null;
	}
}
