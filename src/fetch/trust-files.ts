/**
 * Signatures and bills of materials on disk: kept with a model that was fetched, or beside a file of a user. May block: on the fetching thread,
 * and on those for jobs over files.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseModelRef } from '../actors/catalog/model-ref.ts';
import type { TrustFound, TrustJob } from '../actors/catalog/trust-messages.ts';
import { type Evidence, type EvidenceFile, evidenceBytesMax, judgeTrust, sbomNames, signatureNames } from './trust-judge.ts';

/** Within the folder of a model, beside its own files: no source can name a file so. */
const keptIn = '.trust';

/** Writes evidence into the folder of a model that will be `folder` once it is published. */
export function keepEvidence(staged: string, folder: string, { signatures, sboms }: Evidence): Evidence {
	rmSync(join(staged, keptIn), { recursive: true, force: true });
	const keep = (files: readonly EvidenceFile[], kind: string): EvidenceFile[] =>
		files.map(({ from, bytes }, index) => {
			const name = `${index}.${kind}.json`;
			mkdirSync(join(staged, keptIn), { recursive: true, mode: 0o700 });
			writeFileSync(join(staged, keptIn, name), bytes, { mode: 0o600 });
			return { from, kept: `file:${join(folder, keptIn, name)}`, bytes };
		});
	return { signatures: keep(signatures, 'sigstore'), sboms: keep(sboms, 'sbom') };
}

export async function trustOnDisk(job: TrustJob): Promise<TrustFound> {
	const { files, root, said, rules } = job;
	return await judgeTrust({ files, root, said }, evidenceOnDisk(job), rules);
}

function evidenceOnDisk({ files, signatures, sbom, kept }: TrustJob): Evidence {
	if (kept !== null) {
		const folder = join(kept, keptIn);
		const names = namesIn(folder);
		const of = (kind: string): EvidenceFile[] =>
			names.filter((name) => name.endsWith(`.${kind}.json`)).flatMap((name) => fileAt(join(folder, name)));
		return { signatures: of('sigstore'), sboms: of('sbom') };
	}
	const names = files.map(({ name }) => name);
	const beside = (name: string): EvidenceFile[] => fileAt(join(dirname(files[0]?.path ?? '/'), name));
	return {
		signatures: [...signatures.flatMap(fileOf), ...signatureNames(names).flatMap(beside)],
		sboms: [...(sbom === null ? [] : fileOf(sbom)), ...sbomNames(names).flatMap(beside)],
	};
}

/** Of a ref that an operator has named. Empty: it is no file, or is not there. */
export function fileOf(ref: string): EvidenceFile[] {
	const parsed = parseModelRef(ref);
	return parsed.ok && parsed.ref.kind === 'file' ? fileAt(parsed.ref.path) : [];
}

function fileAt(path: string): EvidenceFile[] {
	try {
		const { size } = statSync(path);
		return size > evidenceBytesMax || !statSync(path).isFile() ? [] : [{ from: `file:${path}`, bytes: readFileSync(path) }];
	} catch {
		// Most names of evidence name nothing: what is missing is said by who needs it.
		return [];
	}
}

function namesIn(folder: string): readonly string[] {
	try {
		return readdirSync(folder).sort();
	} catch {
		return [];
	}
}
