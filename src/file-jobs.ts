/**
 * The pool of threads for jobs over whole files, as main uses it: threads begin with the first job and end when there has been none for a
 * while, so that a daemon which hashes nothing has none.
 */
import { availableParallelism } from 'node:os';
import type { Piscina } from 'piscina';
import type { HashedFile } from './actors/catalog/file-digest.ts';
import type { TrustFound, TrustJob } from './actors/catalog/trust-messages.ts';
import type { GgufEntry } from './actors/serving/catalog-messages.ts';
import type { FileJob, FileOutcome } from './roles/file-worker.ts';

export interface FileJobs {
	digest(path: string, done: (outcome: FileOutcome<HashedFile>) => void): void;
	gguf(path: string, done: (outcome: FileOutcome<GgufEntry>) => void): void;
	trust(job: TrustJob, done: (outcome: FileOutcome<TrustFound>) => void): void;
	/** A folder below `root`, with all that is in it. */
	remove(root: string, folder: string): void;
	close(): Promise<void>;
}

const idleMs = 5_000;
/** More of them only take the disk from each other. */
const threadsMax = 4;

export function fileJobs(threads = Math.min(threadsMax, availableParallelism())): FileJobs {
	const filename = new URL(`./roles/file-worker${import.meta.url.slice(import.meta.url.lastIndexOf('.'))}`, import.meta.url).href;
	let pool: Promise<Piscina> | null = null;
	// Not loaded before it is needed: most daemons of tests and of engines elsewhere have no file to hash.
	const poolOf = (): Promise<Piscina> => {
		pool ??= import('piscina').then(({ Piscina: Pool }) => new Pool({ filename, minThreads: 0, maxThreads: threads, idleTimeout: idleMs }));
		return pool;
	};
	const run = (job: FileJob, done: (outcome: unknown) => void): void => {
		const failed = (error: unknown): void =>
			done({ ok: false, problem: error instanceof Error ? error.message : String(error) } satisfies FileOutcome<never>);
		void poolOf()
			.then((each) => each.run(job))
			.then(done, failed);
	};
	return {
		digest: (path, done) => run({ kind: 'digest', path }, (outcome) => done(outcome as FileOutcome<HashedFile>)),
		gguf: (path, done) => run({ kind: 'gguf', path }, (outcome) => done(outcome as FileOutcome<GgufEntry>)),
		trust: (job, done) => run({ kind: 'trust', job }, (outcome) => done(outcome as FileOutcome<TrustFound>)),
		remove: (root, folder) => run({ kind: 'remove', root, folder }, () => undefined),
		close: async () => (await pool)?.destroy(),
	};
}
