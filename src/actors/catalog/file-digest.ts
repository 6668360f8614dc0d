/**
 * The SHA-256 of a file, read in pieces. Blocks its thread: it runs on a thread of the pool for such jobs, never where anything
 * else is served. Pipes and devices are refused; a file that changes while it is read has no digest.
 */
import { createHash } from 'node:crypto';
import { type BigIntStats, closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { digestList } from './model-parts.ts';

/** What tells one content of a path from another without reading it. */
export interface FileMark {
	readonly sizeBytes: number;
	readonly mtimeNs: string;
	readonly inode: string;
}

export interface HashedFile {
	/** `sha256:<hex>` */
	readonly digest: string;
	readonly mark: FileMark;
}

/** What a core's own cache holds: pieces of 1 MiB are hashed a third slower, for they are read from memory again. */
const readBytes = 128 * 1024;

/** Throws what the file system says, or words for a person. */
export function digestFile(path: string): HashedFile {
	// Opening a pipe would wait for its other end.
	markOf(path);
	const file = openSync(path, 'r');
	try {
		const before = markIn(fstatSync(file, { bigint: true }));
		const hash = createHash('sha256');
		const piece = Buffer.allocUnsafe(readBytes);
		for (let count = readSync(file, piece, 0, readBytes, null); count > 0; count = readSync(file, piece, 0, readBytes, null))
			hash.update(count === readBytes ? piece : piece.subarray(0, count));
		const after = markIn(fstatSync(file, { bigint: true }));
		if (!isSameMark(before, after)) throw new Error('the file has changed while it was read');
		return { digest: `sha256:${hash.digest('hex')}`, mark: after };
	} finally {
		closeSync(file);
	}
}

/** Of one file its own; of several, the SHA-256 of the list that `sha256sum` would write of them, by name. */
export function digestOfFiles(files: readonly { readonly name: string; readonly digest: string }[]): string {
	const [only, ...others] = files;
	if (only !== undefined && others.length === 0) return only.digest;
	return `sha256:${createHash('sha256').update(digestList(files)).digest('hex')}`;
}

/** Throws when it is no regular file. */
export function markOf(path: string): FileMark {
	return markIn(statSync(path, { bigint: true }));
}

export function isSameMark(a: FileMark, b: FileMark): boolean {
	return a.sizeBytes === b.sizeBytes && a.mtimeNs === b.mtimeNs && a.inode === b.inode;
}

function markIn(stats: BigIntStats): FileMark {
	if (!stats.isFile()) throw new Error('it is not a regular file');
	return { sizeBytes: Number(stats.size), mtimeNs: String(stats.mtimeNs), inode: `${stats.dev}:${stats.ino}` };
}
