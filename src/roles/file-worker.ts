/**
 * A thread of the pool for jobs over whole files: it hashes them and reads their headers, and may block while it does. Holds nothing
 * between two jobs. What cannot be read comes back as words: errors do not cross threads whole.
 */
import { digestFile, type HashedFile } from '../actors/catalog/file-digest.ts';
import type { GgufEntry } from '../actors/serving/catalog-messages.ts';
import { checkGguf } from '../engines/embedded/gguf-check.ts';

export type FileJob = { readonly kind: 'digest'; readonly path: string } | { readonly kind: 'gguf'; readonly path: string };

export type FileOutcome<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problem: string };

export default function work(job: FileJob): FileOutcome<HashedFile> | FileOutcome<GgufEntry> {
	try {
		return job.kind === 'digest' ? { ok: true, value: digestFile(job.path) } : { ok: true, value: headerOf(job.path) };
	} catch (error) {
		return { ok: false, problem: error instanceof Error ? error.message : String(error) };
	}
}

function headerOf(path: string): GgufEntry {
	const { architecture, parameters, contextLength, quantization, chatTemplate } = checkGguf(path);
	return { architecture, parameters, context_length: contextLength, quantization, chat_template: chatTemplate };
}
