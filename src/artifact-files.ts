/**
 * The contents of artifacts as files named by the SHA-256 of what they hold, in folders by its first two digits. A file is written beside,
 * synced and renamed, so that one under its name is whole whenever its daemon ends. On main, by libuv's threads.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { ArtifactFiles, Content } from './actors/catalog/artifacts.ts';

const unfinished = 'unfinished';
const isShelf = /^[0-9a-f]{2}$/;
const isName = /^[0-9a-f]{64}$/;

/** Makes the folder where there is none, and removes what a crash has left half written. Throws what the file system says. */
export function artifactFiles(folder: string): ArtifactFiles {
	const beside = join(folder, unfinished);
	rmSync(beside, { recursive: true, force: true });
	mkdirSync(beside, { recursive: true, mode: 0o700 });
	let written = 0;
	const shelfOf = (hex: string): string => join(folder, hex.slice(0, 2));
	const pathOf = (hex: string): string => join(shelfOf(hex), hex);

	const look = async (hex: string): Promise<Content> => {
		try {
			const bytes = await readFile(pathOf(hex));
			return createHash('sha256').update(bytes).digest('hex') === hex ? { kind: 'whole', bytes } : { kind: 'damaged' };
		} catch (error) {
			return codeOf(error) === 'ENOENT' ? { kind: 'gone' } : { kind: 'unreadable', problem: wordsOf(error) };
		}
	};
	const keep = async (hex: string, bytes: Buffer): Promise<void> => {
		if ((await look(hex)).kind === 'whole') return;
		written++;
		const path = join(beside, `${hex}-${written}`);
		try {
			const file = await open(path, 'wx', 0o600);
			try {
				await file.writeFile(bytes);
				await file.sync();
			} finally {
				await file.close();
			}
			if ((await mkdir(shelfOf(hex), { recursive: true, mode: 0o700 })) !== undefined) await syncFolder(folder);
			await rename(path, pathOf(hex));
			await syncFolder(shelfOf(hex));
		} catch (error) {
			await unlink(path).catch(() => undefined);
			throw error;
		}
	};
	const names = async (visit: (hexes: readonly string[]) => void): Promise<void> => {
		for (const shelf of await readdir(folder)) {
			if (isShelf.test(shelf)) visit((await readdir(join(folder, shelf))).filter((name) => isName.test(name)));
		}
	};
	return {
		keep: (hex, bytes, done) => void keep(hex, bytes).then(() => done(null), told(done)),
		read: (hex, done) => void look(hex).then(done),
		drop: (hex, done) => {
			const failed = told(done);
			void unlink(pathOf(hex)).then(
				() => done(null),
				(error: unknown) => (codeOf(error) === 'ENOENT' ? done(null) : failed(error)),
			);
		},
		// A folder that cannot be read is told by the first that is written there.
		names: (visit, done) => void names(visit).then(done, done),
	};
}

async function syncFolder(path: string): Promise<void> {
	const folder = await open(path, 'r');
	try {
		await folder.sync();
	} finally {
		await folder.close();
	}
}

function told(done: (problem: string) => void): (error: unknown) => void {
	return (error) => done(wordsOf(error));
}

function codeOf(error: unknown): unknown {
	return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}

function wordsOf(error: unknown): string {
	return error instanceof Error ? error.message : String(error);
}
