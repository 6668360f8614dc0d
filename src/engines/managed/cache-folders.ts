/**
 * Folders in which managed engines cache what they can make again, one for each replica, under the daemon's own folder. On the engine thread. A
 * folder is emptied by putting it aside: that takes a moment, however much is in it, and what is aside is deleted behind it, or by the
 * next engine of the pool. Nothing outside is touched: a link is taken away, not followed.
 */
import { randomUUID } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, renameSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';

/** No replica has such a name. */
const asidePattern = /^\.aside-[0-9a-f-]{36}$/;

export class CacheFolders {
	readonly #onProblem: (words: string) => void;

	constructor(onProblem: (words: string) => void) {
		this.#onProblem = onProblem;
	}

	/** The folder of a replica, which is there then; throws what the system says. */
	make(poolFolder: string, replicaId: string): string {
		const folder = join(poolFolder, replicaId);
		mkdirSync(folder, { recursive: true, mode: 0o700 });
		// It may be older than our rule.
		chmodSync(poolFolder, 0o700);
		this.#deleteAside(poolFolder);
		return folder;
	}

	/** Its engine runs no more, and the next one finds it empty. Null: done; else why not, in words. */
	empty(poolFolder: string, replicaId: string): string | null {
		const folder = join(poolFolder, replicaId);
		try {
			renameSync(folder, join(poolFolder, `.aside-${randomUUID()}`));
		} catch (error) {
			const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
			return code === 'ENOENT' ? null : `${folder} could not be emptied (${code})`;
		}
		this.#deleteAside(poolFolder);
		return null;
	}

	#deleteAside(poolFolder: string): void {
		for (const name of readdirSync(poolFolder)) {
			if (!asidePattern.test(name)) continue;
			const aside = join(poolFolder, name);
			rm(aside, { recursive: true, force: true }).catch((error: unknown) => {
				const words = error instanceof Error ? error.message : String(error);
				this.#onProblem(`what was cached cannot be deleted: ${words}`);
			});
		}
	}
}
