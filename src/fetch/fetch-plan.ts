/** What a ref stands for, as files to be fetched. Types, and the names under which files are kept. Pure. */
import { FetchError } from './fetch-error.ts';
import type { EvidenceFile } from './trust-judge.ts';

export interface PlannedFile {
	/** Within the model's folder: safe names with `/` between. */
	readonly name: string;
	readonly url: string;
	/** Headers of a request for its bytes: made anew each time, for some hold the hour. */
	headers(more: Readonly<Record<string, string>>): Promise<Readonly<Record<string, string>>>;
	/** After a 401: gets what the headers need anew. Absent: there is nothing to get. */
	renew?(): Promise<void>;
	/** Null: the answer says. */
	readonly sizeBytes: number | null;
	/** `sha256:<hex>`; null: nobody has said. */
	readonly digest: string | null;
	/** What git calls its bytes; null: nobody has said. */
	readonly gitOid: string | null;
}

/** What a source has of a model beside its bytes. */
export interface EvidenceSource {
	find(kind: 'signatures' | 'sboms'): Promise<readonly EvidenceFile[]>;
	/** A digest that stands for all files, as that of a manifest; null: there is none. */
	readonly root: string | null;
}

export interface FetchPlan {
	readonly files: readonly PlannedFile[];
	readonly evidence: EvidenceSource;
	/** What the ref stands for, as names that never mean anything else. */
	readonly manifests: readonly string[];
}

const nameBytesMax = 200;

/** A name as it is kept: what a source calls a file never leads out of the model's folder, and is no name that systems reserve. */
export function safeName(text: string): string {
	const parts = text.split('/').map((part) => part.replace(/[^A-Za-z0-9._+=@ -]/g, '_'));
	const whole = parts.join('/');
	if (parts.some((part) => part === '' || /^\.+$/.test(part)) || Buffer.byteLength(whole) > nameBytesMax)
		throw new FetchError('INVALID_PARAMS', `the source calls a file ${JSON.stringify(text.slice(0, 80))}, which is no name to keep it by`);
	return whole;
}
