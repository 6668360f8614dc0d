/**
 * A thread of the pool for jobs over whole files: it hashes them, reads their headers, looks for who vouches for them and removes them, and may block while it does. Holds nothing
 * between two jobs. What cannot be read comes back as words: errors do not cross threads whole.
 */
import { digestFile, type HashedFile } from '../actors/catalog/file-digest.ts';
import type { TrustFound, TrustJob } from '../actors/catalog/trust-messages.ts';
import type { GgufEntry } from '../actors/serving/catalog-messages.ts';
import { checkGguf, type GgufFacts } from '../engines/embedded/gguf-check.ts';
import { CatalogFolder } from '../fetch/catalog-folder.ts';
import { trustOnDisk } from '../fetch/trust-files.ts';

export type FileJob =
	| { readonly kind: 'digest'; readonly path: string }
	| { readonly kind: 'gguf'; readonly path: string }
	| { readonly kind: 'trust'; readonly job: TrustJob }
	/** Below `root`, or not at all. */
	| { readonly kind: 'remove'; readonly root: string; readonly folder: string };

export type FileOutcome<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problem: string };

export default async function work(job: FileJob): Promise<FileOutcome<HashedFile | GgufEntry | TrustFound | null>> {
	try {
		switch (job.kind) {
			case 'digest':
				return { ok: true, value: digestFile(job.path) };
			case 'gguf':
				return { ok: true, value: ggufEntryOf(checkGguf(job.path)) };
			case 'trust':
				return { ok: true, value: await trustOnDisk(job.job) };
			case 'remove':
				new CatalogFolder(job.root).remove(job.folder);
				return { ok: true, value: null };
		}
	} catch (error) {
		return { ok: false, problem: error instanceof Error ? error.message : String(error) };
	}
}

export function ggufEntryOf({ architecture, parameters, contextLength, quantization, chatTemplate }: GgufFacts): GgufEntry {
	return { architecture, parameters, context_length: contextLength, quantization, chat_template: chatTemplate };
}
