/** Whether a ref may be a model's by the rules of an operator, before a byte of it is looked at; and what was found, as entries have it. Pure. */
import type { CatalogEntry } from '../serving/catalog-messages.ts';
import { parseModelRef } from './model-ref.ts';
import type { TrustFound, TrustProblem, TrustRules } from './trust-messages.ts';

/** Null: it may. What comes with the program, and files of the operator's own, come from no registry. */
export function registryProblem(ref: string, { allowedRegistries }: TrustRules): TrustProblem | null {
	const parsed = parseModelRef(ref);
	if (allowedRegistries.length === 0 || !parsed.ok || parsed.ref.kind === 'file') return null;
	const host = parsed.ref.kind === 'url' ? new URL(ref).host : parsed.ref.kind === 'oci' ? parsed.ref.registry : null;
	const allowed = allowedRegistries.some((pattern) => {
		if (pattern.includes(':') && /^[a-z0-9]+:/.test(pattern) && !isHostAndPort(pattern)) return isLike(ref, pattern);
		return host !== null && (pattern.startsWith('*.') ? host.endsWith(pattern.slice(1)) : host === pattern);
	});
	return allowed ? null : { reason: 'registry', words: `${ref} is from none of catalog.trust.allowed_registries` };
}

function isHostAndPort(pattern: string): boolean {
	return /^[a-z0-9.-]+:\d+$/.test(pattern);
}

function isLike(ref: string, pattern: string): boolean {
	return pattern.endsWith('*') ? ref.startsWith(pattern.slice(0, -1)) : ref === pattern;
}

/** Whether there is anything to look for beside the bytes. */
export function hasRules({ mode, requireSignature, requireSbom, publicKeys, identities }: TrustRules): boolean {
	return mode === 'strict' || requireSignature || requireSbom || publicKeys.length > 0 || identities.length > 0;
}

/** What comes with the program. */
export function isOurs({ source_url: ref }: Pick<CatalogEntry, 'source_url'>): boolean {
	return ref.startsWith('builtin:');
}

/** What was found, as a part of an entry; `untrusted` where that is to be refused. */
export function trustOf(entry: CatalogEntry, found: TrustFound, rules: TrustRules): Partial<CatalogEntry> {
	const registry = registryProblem(entry.source_url, rules);
	const problems = [...(registry === null ? [] : [registry]), ...found.problems];
	return {
		signed_by: found.signedBy,
		signatures: [...new Set([...namedSignatures(entry), ...found.signatures])],
		sbom: found.sbom ?? entry.sbom,
		trust_problems: problems,
		trust_rules: rules.fingerprint,
		untrusted: rules.mode === 'strict' && problems.length > 0,
	};
}

/** As whoever added the model has named them: what is kept with a fetched model was found there, and goes with it. */
export function namedSignatures({ signatures, folder }: CatalogEntry): readonly string[] {
	return folder === null ? signatures : signatures.filter((ref) => !ref.startsWith(`file:${folder}/`));
}

export function namedSbom({ sbom, folder }: CatalogEntry): string | null {
	return sbom !== null && folder !== null && sbom.startsWith(`file:${folder}/`) ? null : sbom;
}
