/**
 * One file over HTTP: written and hashed as it comes, gone on with where it was cut, begun anew where its server has another version by now.
 * Tries again what may pass. On the fetching thread; what it returns is whole, on disk, and what it was said to be.
 *
 * ```
 *  asking ─200/206─► writing ─all bytes─► done        a cut, 429, 5xx: waits, then asks for what is missing
 *     ▲ └─416, another version: from the first byte      │
 *     └───────────────────────────────────────────────────┘
 * ```
 */
import { createHash, type Hash } from 'node:crypto';
import { FetchCanceled, FetchError } from './fetch-error.ts';
import type { PlannedFile } from './fetch-plan.ts';
import { PartFile } from './part-file.ts';
import { type RetryRules, retrying } from './retrying.ts';
import { type Answer, shownUrl, type Web } from './web.ts';

export interface DownloadOptions {
	readonly web: Web;
	readonly signal: AbortSignal;
	readonly retry: RetryRules;
	/** Bytes of the file that are on their way to the disk. */
	onOffset(offset: number): void;
	/** It waits before another try; null: it goes on. */
	onWait(note: string | null): void;
	/** The file will have `total` bytes, `more` of them are still to be written. Throws when there is no room for them. */
	room(total: number, more: number): Promise<void>;
}

export interface Downloaded {
	readonly digest: string;
	readonly sizeBytes: number;
}

/** Room is asked for in steps where the server does not say how long a file is. */
const unknownStepBytes = 256 * 1024 * 1024;
const magic = Buffer.from('GGUF');

/** `path` without the ending of its parts. Throws `FetchError` or `FetchCanceled`; what has come by then stays for the next time. */
export async function download(file: PlannedFile, path: string, options: DownloadOptions): Promise<Downloaded> {
	const part = await PartFile.open(path, file.digest ?? file.url);
	try {
		return await new Download(file, part, options).run();
	} finally {
		await part.close();
	}
}

class Download {
	readonly #file: PlannedFile;
	readonly #part: PartFile;
	readonly #options: DownloadOptions;
	readonly #about: string;
	#hash: Hash = createHash('sha256');
	/** Bytes that it has. */
	#hashed = 0;
	/** Answers that the part is made of. */
	#pieces = 0;
	#roomTo = 0;
	/** Its headers have just been got anew. */
	#renewed = false;

	constructor(file: PlannedFile, part: PartFile, options: DownloadOptions) {
		this.#file = file;
		this.#part = part;
		this.#options = options;
		this.#about = shownUrl(new URL(file.url));
		if (part.offset > 0) this.#pieces = 1;
	}

	async run(): Promise<Downloaded> {
		const { signal, retry, onWait } = this.#options;
		return await retrying(
			async () => {
				try {
					await this.#attempt();
					return await this.#finished();
				} catch (error) {
					// What a full disk does not take is fetched again.
					await this.#part.save().catch(() => undefined);
					throw error;
				}
			},
			{ about: this.#about, retry, signal, onWait: (note) => onWait(note), progress: () => this.#part.offset },
		);
	}

	async #attempt(): Promise<void> {
		const { signal } = this.#options;
		const part = this.#part;
		await this.#catchUp();
		const size = this.#file.sizeBytes ?? part.sizeBytes;
		if (size !== null && part.offset === size) return;
		// Without a name for its version, and a digest in the end, two versions might become one file.
		if (part.offset > 0 && part.validator === null && this.#file.digest === null) await this.#restart(null);
		const from = part.offset;
		const resume = from === 0 ? {} : { range: `bytes=${from}-`, ...(part.validator === null ? {} : { 'if-range': part.validator }) };
		const headers = await this.#file.headers(resume);
		const answer = await this.#options.web
			.ask(this.#file.url, { headers, known: this.#file.digest !== null, accept: [416] })
			.catch((error: unknown) => this.#refused(error));
		this.#renewed = false;
		const total = await this.#begin(answer, from);
		this.#pieces += 1;
		await this.#write(answer, total);
		if (signal.aborted) throw new FetchCanceled();
		if (total !== null && part.offset < total)
			throw new FetchError('POOL_UNAVAILABLE', `${this.#about} was cut at byte ${part.offset} of ${total}`, { retriable: true });
		part.sizeBytes = part.offset;
	}

	/** A token may have run out since the last answer. */
	async #refused(error: unknown): Promise<never> {
		if (!(error instanceof FetchError) || error.code !== 'UNAUTHORIZED' || this.#file.renew === undefined || this.#renewed) throw error;
		this.#renewed = true;
		await this.#file.renew();
		throw new FetchError(error.code, error.message, { retriable: true, retryAfterMs: 0 });
	}

	/** The answer goes on where the part ends. Its length in all; null: nobody knows. */
	async #begin(answer: Answer, from: number): Promise<number | null> {
		const part = this.#part;
		const validator = validatorOf(answer);
		if (answer.status === 416) {
			await answer.body.dump();
			await this.#restart(null);
			throw new FetchError('POOL_UNAVAILABLE', `${this.#about} has another length than before`, { retriable: true });
		}
		const [, start, whole] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(answer.header('content-range') ?? '') ?? [];
		if (answer.status === 206 && Number(start) !== from) {
			await answer.body.dump();
			await this.#restart(null);
			throw new FetchError('POOL_UNAVAILABLE', `${this.#about} answered with another range than was asked for`, { retriable: true });
		}
		const length = answer.header('content-length');
		const total = answer.status === 206 ? (whole === '*' ? null : Number(whole)) : length === null ? null : Number(length);
		if (answer.header('content-encoding') !== null && answer.header('content-encoding') !== 'identity')
			throw new FetchError('POOL_UNAVAILABLE', `${this.#about} comes encoded, though nobody asked for that`);
		const promised = this.#file.sizeBytes;
		if (promised !== null && total !== null && total !== promised)
			throw new FetchError('UNTRUSTED_ARTIFACT', `${this.#about} has ${total} bytes; ${promised} were said`);
		if (answer.status !== 206) await this.#restart(validator);
		if (total !== null) part.sizeBytes = total;
		if (promised === null && total !== null) {
			await this.#options.room(total, total - part.offset);
			this.#roomTo = total;
		} else if (promised !== null) this.#roomTo = promised;
		return total ?? promised;
	}

	async #write({ body }: Answer, total: number | null): Promise<void> {
		const part = this.#part;
		const isGguf = /\.gguf$/i.test(this.#file.name);
		for await (const bytes of body as AsyncIterable<Buffer>) {
			if (total !== null && part.offset + bytes.length > total)
				throw new FetchError('UNTRUSTED_ARTIFACT', `${this.#about} sends more than the ${total} bytes that were said`);
			if (isGguf && part.offset < magic.length) this.#checkMagic(bytes, part.offset);
			if (part.offset + bytes.length > this.#roomTo) {
				await this.#options.room(part.offset + unknownStepBytes, unknownStepBytes);
				this.#roomTo = part.offset + unknownStepBytes;
			}
			this.#hash.update(bytes);
			this.#hashed += bytes.length;
			await part.write(bytes);
			this.#options.onOffset(part.offset);
		}
	}

	/** Pages that say why there is no model, and pointers to it, would otherwise be noticed at the very end. */
	#checkMagic(bytes: Buffer, at: number): void {
		const expected = magic.subarray(at, at + bytes.length);
		if (bytes.subarray(0, expected.length).equals(expected)) return;
		const begins = JSON.stringify(bytes.subarray(0, 24).toString('latin1'));
		throw new FetchError('INVALID_PARAMS', `${this.#about} is not a GGUF file: it begins with ${begins}`);
	}

	/** What is on disk from an earlier time. */
	async #catchUp(): Promise<void> {
		if (this.#hashed === this.#part.offset) return;
		this.#hash = createHash('sha256');
		this.#hashed = 0;
		for await (const bytes of this.#part.bytes()) {
			if (this.#options.signal.aborted) throw new FetchCanceled();
			this.#hash.update(bytes);
			this.#hashed += bytes.length;
		}
		this.#options.onOffset(this.#part.offset);
	}

	async #restart(validator: string | null): Promise<void> {
		await this.#part.restart(validator);
		this.#hash = createHash('sha256');
		this.#hashed = 0;
		this.#pieces = 0;
		this.#options.onOffset(0);
	}

	async #finished(): Promise<Downloaded> {
		await this.#part.save();
		const digest = `sha256:${this.#hash.digest('hex')}`;
		const expected = this.#file.digest;
		const sizeBytes = this.#part.offset;
		if (expected === null || expected === digest) return { digest, sizeBytes };
		// One that was put together may be parts of two versions: it is fetched whole before it is blamed.
		const retriable = this.#pieces > 1;
		await this.#restart(null);
		throw new FetchError('UNTRUSTED_ARTIFACT', `${this.#about} has digest ${digest}, not ${expected}`, { retriable });
	}
}

/** A weak `ETag` names no bytes; a date names them to the second, which is enough for files of this size. */
function validatorOf(answer: Answer): string | null {
	const etag = answer.header('etag');
	if (etag !== null && !etag.startsWith('W/')) return etag;
	return answer.header('last-modified');
}
