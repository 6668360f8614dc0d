/** What an operator trusts, and what was found of a model by it. Types only, and plain data: it crosses threads. */

export interface TrustRules {
	/** `strict`: what does not keep to the rules is refused; `permissive`: it is told. Other bytes than were promised are refused by both. */
	readonly mode: 'permissive' | 'strict';
	/** Hosts, and beginnings of refs with `*` behind; empty: any. */
	readonly allowedRegistries: readonly string[];
	readonly requireSignature: boolean;
	readonly requireSbom: boolean;
	/** Files of authorities that the servers of sources are trusted by, beside those of the system. */
	readonly caRoots: readonly string[];
	/** As PEM, by the names of their files. */
	readonly publicKeys: readonly { readonly name: string; readonly pem: string }[];
	readonly identities: readonly { readonly issuer: string; readonly subject: string }[];
	/** JSON of Sigstore's `trusted_root.json`; null: there is none. */
	readonly trustedRoot: string | null;
	/** Of all of it: what was found by others is looked for again. */
	readonly fingerprint: string;
}

export type TrustReason = 'registry' | 'digest' | 'signature' | 'sbom';

export interface TrustProblem {
	readonly reason: TrustReason;
	readonly words: string;
}

/** What was found of a model, by the rules with that fingerprint. */
export interface TrustFound {
	readonly rules: string;
	/** Names of keys, or identities; of trusted ones alone. */
	readonly signedBy: readonly string[];
	/** Where the signatures lie, as refs. */
	readonly signatures: readonly string[];
	readonly sbom: string | null;
	/** What the strict mode refuses for. */
	readonly problems: readonly TrustProblem[];
}

/** Where what is looked at lies: on a disk of this machine. */
export interface TrustJob {
	readonly files: readonly { readonly name: string; readonly path: string; readonly digest: string }[];
	/** Refs of files, as whoever added the model has named them; beside those that lie by the model. */
	readonly signatures: readonly string[];
	readonly sbom: string | null;
	/** Where we keep what came with a model that was fetched; null: it is a user's own. */
	readonly kept: string | null;
	/** A digest that stands for all files; null: there is none. */
	readonly root: string | null;
	readonly said: boolean;
	readonly rules: TrustRules;
}
