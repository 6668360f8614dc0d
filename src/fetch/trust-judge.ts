/**
 * What is found of a model by the rules of an operator: who has signed it, whether it has a bill of materials, whether anybody had said its
 * digest. Where the evidence lies by convention, and what it must be. On the fetching thread, and on those for jobs over files.
 */
import type { TrustFound, TrustProblem, TrustRules } from '../actors/catalog/trust-messages.ts';
import { sbomProblem } from './sbom-check.ts';
import type { SignedFile } from './signature-check.ts';

/** A signature or a bill of materials. */
export interface EvidenceFile {
	/** Where it was found, for people. */
	readonly from: string;
	/** As a ref; absent: it is not kept, and `from` is one. */
	readonly kept?: string;
	readonly bytes: Buffer;
}

export interface Evidence {
	readonly signatures: readonly EvidenceFile[];
	readonly sboms: readonly EvidenceFile[];
}

export const evidenceBytesMax = 32 * 1024 * 1024;

/** Whether anybody is to look for signatures. */
export function wantsSignatures({ requireSignature, publicKeys, identities }: TrustRules): boolean {
	return requireSignature || publicKeys.length > 0 || identities.length > 0;
}

/** Names under which signatures of these files may lie, beside them. */
export function signatureNames(names: readonly string[]): readonly string[] {
	const folder = folderOf(names);
	return [...names.flatMap((name) => [`${name}.sigstore.json`, `${name}.sigstore`]), `${folder}model.sig`];
}

export function sbomNames(names: readonly string[]): readonly string[] {
	const [first = ''] = names;
	const folder = folderOf(names);
	return [`${first}.spdx.json`, `${first}.cdx.json`, `${folder}sbom.spdx.json`, `${folder}sbom.cdx.json`, `${folder}bom.json`];
}

function folderOf([first = '']: readonly string[]): string {
	return first.slice(0, first.lastIndexOf('/') + 1);
}

export interface Judged {
	readonly files: readonly SignedFile[];
	/** A digest that stands for all of them, as that of a manifest; null: there is none. */
	readonly root: string | null;
	/** Somebody had said the digest before the bytes came; or they are a user's own. */
	readonly said: boolean;
}

export async function judgeTrust({ files, root, said }: Judged, { signatures, sboms }: Evidence, rules: TrustRules): Promise<TrustFound> {
	const problems: TrustProblem[] = [];
	const bundles = signatures.map(({ from, bytes }) => ({ name: from, bytes }));
	// Its libraries are not loaded where nobody looks for signatures.
	const signed = wantsSignatures(rules)
		? await (await import('./signature-check.ts')).checkSignatures(bundles, files, root, rules)
		: { signedBy: [], problem: null };
	if (rules.requireSignature && signed.problem !== null) problems.push({ reason: 'signature', words: signed.problem });
	const isSigned = wantsSignatures(rules) && signed.problem === null;
	if (!said && !isSigned)
		problems.push({ reason: 'digest', words: 'nobody has said what its digest is: neither its source, nor who added it, nor a signature' });
	const sbom = sboms.find(({ bytes }) => sbomProblem(bytes) === null) ?? null;
	if (rules.requireSbom && sbom === null) {
		const [first] = sboms;
		const why = first === undefined ? 'it has no SBOM' : `${first.from} is no SBOM: ${sbomProblem(first.bytes)}`;
		problems.push({ reason: 'sbom', words: why });
	}
	return {
		rules: rules.fingerprint,
		signedBy: signed.signedBy,
		signatures: signatures.map(({ from, kept }) => kept ?? from),
		sbom: sbom?.kept ?? sbom?.from ?? null,
		problems,
	};
}
