/**
 * Where fetched models lie below `catalog.root`, and how one becomes visible: what is under way is in `incoming`, what is whole in `models`,
 * and one is renamed to the other with all its files at once. Nothing else is ever written. On the fetching thread.
 *
 * ```
 * incoming/<hash of the ref>/0.part, 0.json, …      models/<hex of the digest>/<name>…
 * ```
 */
import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, statfsSync } from 'node:fs';
import { dirname, join, resolve, sep } from 'node:path';
import { FetchError } from './fetch-error.ts';

/** Left to others on the same disk. */
const spareBytes = 256 * 1024 * 1024;

export class CatalogFolder {
	readonly root: string;

	constructor(root: string) {
		this.root = resolve(root);
	}

	/** Of what is under way for a ref. */
	incoming(ref: string): string {
		return this.#within('incoming', createHash('sha256').update(ref).digest('hex').slice(0, 32));
	}

	/** Of a model that is whole. */
	model(digest: string): string {
		const hex = /^sha256:([0-9a-f]{64})$/.exec(digest)?.[1];
		if (hex === undefined) throw new TypeError(`not a digest: ${digest}`);
		return this.#within('models', hex);
	}

	make(folder: string): void {
		mkdirSync(this.#checked(folder), { recursive: true, mode: 0o700 });
	}

	remove(folder: string): void {
		rmSync(this.#checked(folder), { recursive: true, force: true });
	}

	/** Makes a folder that is whole visible, for good: also a loss of power does not take it back. One that is there already stays. */
	publish(staged: string, folder: string): void {
		this.make(dirname(folder));
		syncFolder(this.#checked(staged));
		try {
			renameSync(staged, this.#checked(folder));
		} catch (error) {
			const code = error instanceof Error && 'code' in error ? error.code : '';
			if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
			// The same bytes by another ref: what is there may be damaged, what has come was just hashed.
			this.remove(folder);
			renameSync(staged, folder);
		}
		syncFolder(dirname(folder));
	}

	/** Throws when `bytes` more do not fit the disk. */
	checkSpace(bytes: number): void {
		const { bavail, bsize } = statfsSync(this.root);
		const free = bavail * bsize;
		if (bytes + spareBytes <= free) return;
		const words = `the disk of ${this.root} has ${inMiB(free)} free; ${inMiB(bytes)} are needed, and ${inMiB(spareBytes)} are left to others`;
		throw new FetchError('POOL_UNAVAILABLE', words);
	}

	#within(...parts: readonly string[]): string {
		return this.#checked(join(this.root, ...parts));
	}

	#checked(folder: string): string {
		const whole = resolve(folder);
		if (!whole.startsWith(`${this.root}${sep}`)) throw new Error(`${whole} is not below ${this.root}`);
		return whole;
	}
}

export function syncFolder(folder: string): void {
	const file = openSync(folder, 'r');
	try {
		fsyncSync(file);
	} finally {
		closeSync(file);
	}
}

function inMiB(bytes: number): string {
	return `${Math.ceil(bytes / 2 ** 20)} MiB`;
}
