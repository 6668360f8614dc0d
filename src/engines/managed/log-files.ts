/**
 * What managed engines write, in a file for each pool, for who comes after the daemon. Bounded: at its limit a file takes the place of the
 * one before it, and what disk is too slow for is dropped and counted. It may quote clients: only its user may read it. On the engine thread.
 */
import { chmodSync, mkdirSync } from 'node:fs';
import { appendFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';

export interface LogFilesOptions {
	readonly dir: string;
	/** The file that is written and the one before it have so many bytes each. Default 16 MiB. */
	readonly bytesMax?: number;
	/** Once for each pool that can no longer be written. */
	onProblem(words: string): void;
}

const bytesDefault = 16 * 1024 * 1024;
const pendingMax = 1024 * 1024;
const gatherMs = 100;

export class LogFiles {
	readonly #options: LogFilesOptions;
	readonly #files = new Map<string, LogFile>();

	constructor(options: LogFilesOptions) {
		this.#options = options;
	}

	add(poolId: string, line: string): void {
		let file = this.#files.get(poolId);
		if (file === undefined) this.#files.set(poolId, (file = new LogFile(join(this.#options.dir, `${poolId}.log`), this.#options)));
		file.add(line);
	}

	/** Resolves when all that was added is written. */
	async flush(): Promise<void> {
		await Promise.all([...this.#files.values()].map((file) => file.flush()));
	}
}

class LogFile {
	readonly #path: string;
	readonly #options: LogFilesOptions;
	#pending: string[] = [];
	#pendingBytes = 0;
	#dropped = 0;
	/** Of the file; null: nobody has looked yet. */
	#bytes: number | null = null;
	#timer: NodeJS.Timeout | null = null;
	#writing: Promise<void> = Promise.resolve();
	#failed = false;

	constructor(path: string, options: LogFilesOptions) {
		this.#path = path;
		this.#options = options;
	}

	add(line: string): void {
		if (this.#failed) return;
		if (this.#pendingBytes > pendingMax) {
			this.#dropped += 1;
			return;
		}
		const text = `${line}\n`;
		this.#pending.push(text);
		this.#pendingBytes += Buffer.byteLength(text);
		this.#timer ??= setTimeout(() => void this.flush(), gatherMs).unref();
	}

	flush(): Promise<void> {
		if (this.#timer !== null) clearTimeout(this.#timer);
		this.#timer = null;
		this.#writing = this.#writing.then(() => this.#write());
		return this.#writing;
	}

	async #write(): Promise<void> {
		const text = this.#pending.join('') + (this.#dropped === 0 ? '' : `${this.#dropped} lines are missing here: the disk was too slow\n`);
		const bytes = Buffer.byteLength(text);
		this.#pending = [];
		this.#pendingBytes = 0;
		this.#dropped = 0;
		if (bytes === 0 || this.#failed) return;
		try {
			this.#bytes ??= await this.#open();
			if (this.#bytes > 0 && this.#bytes + bytes > (this.#options.bytesMax ?? bytesDefault)) {
				await rename(this.#path, `${this.#path}.1`);
				this.#bytes = 0;
			}
			await appendFile(this.#path, text, { mode: 0o600 });
			this.#bytes += bytes;
		} catch (error) {
			this.#failed = true;
			this.#options.onProblem(`${this.#path} cannot be written: ${error instanceof Error ? error.message : String(error)}`);
		}
	}

	/** Its bytes. */
	async #open(): Promise<number> {
		const { dir } = this.#options;
		if (mkdirSync(dir, { recursive: true, mode: 0o700 }) !== undefined) chmodSync(dir, 0o700);
		try {
			return (await stat(this.#path)).size;
		} catch (error) {
			if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return 0;
			throw error;
		}
	}
}
