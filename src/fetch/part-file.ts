/**
 * The part of a file that has come, and beside it what is needed to go on behind it: how far it was certainly on disk, and how its server
 * names that version of it. Owned by one download, on the fetching thread.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

interface PartState {
	/** What it is a part of. */
	readonly identity: string;
	/** An `ETag` or a date, as `If-Range` takes it. */
	validator: string | null;
	sizeBytes: number | null;
	/** Bytes that were on disk when this was written. */
	offset: number;
}

/** So much is fetched again at most after a loss of power. */
const saveEveryBytes = 64 * 1024 * 1024;

export class PartFile {
	readonly #path: string;
	readonly #file: FileHandle;
	#state: PartState;
	#offset: number;

	private constructor(path: string, file: FileHandle, state: PartState) {
		this.#path = path;
		this.#file = file;
		this.#state = state;
		this.#offset = state.offset;
	}

	/** `path` without its ending. A part of something else is forgotten. */
	static async open(path: string, identity: string): Promise<PartFile> {
		const known = readState(`${path}.json`);
		const file = await open(`${path}.part`, existsSync(`${path}.part`) ? 'r+' : 'wx+', 0o600);
		const { size } = await file.stat();
		const same = known !== null && known.identity === identity && known.offset <= size;
		const part = new PartFile(path, file, same ? known : { identity, validator: null, sizeBytes: null, offset: 0 });
		// What is behind was never said to be on disk.
		await file.truncate(part.#offset);
		return part;
	}

	get offset(): number {
		return this.#offset;
	}

	get validator(): string | null {
		return this.#state.validator;
	}

	get sizeBytes(): number | null {
		return this.#state.sizeBytes;
	}

	set sizeBytes(bytes: number) {
		this.#state.sizeBytes = bytes;
	}

	/** Nothing of it counts: the next byte is the first. `validator` is of the version that begins. */
	async restart(validator: string | null): Promise<void> {
		this.#offset = 0;
		this.#state = { identity: this.#state.identity, validator, sizeBytes: null, offset: 0 };
		this.#keepState();
		await this.#file.truncate(0);
	}

	async write(bytes: Buffer): Promise<void> {
		for (let from = 0; from < bytes.length; ) {
			const { bytesWritten } = await this.#file.write(bytes, from, bytes.length - from, this.#offset);
			from += bytesWritten;
			this.#offset += bytesWritten;
		}
		if (this.#offset - this.#state.offset >= saveEveryBytes) await this.save();
	}

	/** Every byte so far, in order. */
	async *bytes(): AsyncGenerator<Buffer> {
		const piece = Buffer.allocUnsafe(1024 * 1024);
		for (let at = 0; at < this.#offset; ) {
			const { bytesRead } = await this.#file.read(piece, 0, Math.min(piece.length, this.#offset - at), at);
			if (bytesRead === 0) throw new Error(`${this.#path}.part is shorter than it was`);
			yield piece.subarray(0, bytesRead);
			at += bytesRead;
		}
	}

	/** On disk when it resolves. */
	async save(): Promise<void> {
		await this.#file.datasync();
		this.#state.offset = this.#offset;
		this.#keepState();
	}

	async close(): Promise<void> {
		await this.#file.close();
	}

	#keepState(): void {
		writeFileSync(`${this.#path}.json.new`, JSON.stringify(this.#state), { mode: 0o600 });
		renameSync(`${this.#path}.json.new`, `${this.#path}.json`);
	}
}

/** Null: there is none, or it is none. */
function readState(path: string): PartState | null {
	try {
		const { identity, validator, sizeBytes, offset } = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
		if (typeof identity !== 'string' || typeof offset !== 'number' || !(Number.isInteger(offset) && offset >= 0)) return null;
		return {
			identity,
			validator: typeof validator === 'string' ? validator : null,
			sizeBytes: typeof sizeBytes === 'number' ? sizeBytes : null,
			offset,
		};
	} catch {
		return null;
	}
}
