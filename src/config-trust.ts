/** What an operator trusts of models, as configured: files of keys and roots are read once, at the start. Main thread and CLI. */
import { createHash, createPublicKey } from 'node:crypto';
import { basename, resolve } from 'node:path';
import { type Static, Type } from '@sinclair/typebox';
import { oneOf, section } from './config-fields.ts';

const files = (description: string) => Type.Array(Type.String({ minLength: 1 }), { default: [], maxItems: 100, description });

const identity = Type.Object(
	{
		issuer: Type.String({ minLength: 1, description: 'Who says who it is, as in its certificate' }),
		subject: Type.String({ minLength: 1, description: 'Who it is, whole: an address of mail, or that of a workflow' }),
	},
	{ additionalProperties: false, description: 'Who may have signed, without a key of their own' },
);

const registryPattern = '^([a-z0-9]+:\\S+|(\\*\\.)?[a-z0-9][a-z0-9.-]*(:[0-9]+)?)$';

export const trustSection = section(
	{
		mode: oneOf(['permissive', 'strict'], 'permissive', 'Whether what breaks a rule below is told, or refused'),
		allowed_registries: Type.Array(
			Type.String({ pattern: registryPattern, allowed: 'a host, or the beginning of a ref and *, such as hf:org/*' }),
			{
				default: [],
				maxItems: 1_000,
				description: 'Where models may come from; empty: anywhere',
			},
		),
		require_signature: Type.Boolean({ default: false, description: 'Whether somebody who is trusted must have signed each model' }),
		require_sbom: Type.Boolean({ default: false, description: 'Whether each model must have an SBOM, SPDX or CycloneDX' }),
		public_keys: files('Files of public keys that may have signed, as PEM'),
		identities: Type.Array(identity, { default: [], maxItems: 100, description: 'Who may have signed by an identity; needs trusted_root' }),
		trusted_root: Type.Optional(Type.String({ minLength: 1, description: 'File of what Sigstore is trusted by: trusted_root.json' })),
		ca_roots: files('Files of authorities, as PEM, that servers of models are trusted by, beside those of the system'),
	},
	'Which models may be served',
);

export interface TrustConfig {
	readonly mode: 'permissive' | 'strict';
	readonly allowedRegistries: readonly string[];
	readonly requireSignature: boolean;
	readonly requireSbom: boolean;
	readonly caRoots: readonly string[];
	readonly publicKeys: readonly { readonly name: string; readonly pem: string }[];
	readonly identities: readonly { readonly issuer: string; readonly subject: string }[];
	readonly trustedRoot: string | null;
	readonly fingerprint: string;
}

interface World {
	readonly cwd: string;
	readFile(path: string): string;
}

/** `caRoots`: as PEM. */
export function resolveTrust(
	file: Static<typeof trustSection>,
	{ cwd, readFile }: World,
	problems: string[],
): { readonly trust: TrustConfig; readonly caRoots: readonly string[] } {
	const read = (path: string, key: string): string => {
		try {
			return readFile(resolve(cwd, path));
		} catch (error) {
			problems.push(
				`${key} is ${path}, which cannot be read (${error instanceof Error && 'code' in error ? String(error.code) : 'unknown'})`,
			);
			return '';
		}
	};
	const publicKeys = file.public_keys.map((path, index) => {
		const key = `catalog.trust.public_keys[${index}]`;
		const pem = read(path, key);
		if (pem !== '' && !isPublicKey(pem)) problems.push(`${key} is ${path}, which holds no public key as PEM`);
		return { name: basename(path), pem };
	});
	const caRoots = file.ca_roots.map((path, index) => {
		const key = `catalog.trust.ca_roots[${index}]`;
		const pem = read(path, key);
		if (pem !== '' && !pem.includes('-----BEGIN CERTIFICATE-----')) problems.push(`${key} is ${path}, which holds no certificate as PEM`);
		return pem;
	});
	const trustedRoot = file.trusted_root === undefined ? null : read(file.trusted_root, 'catalog.trust.trusted_root');
	if (trustedRoot !== null && trustedRoot !== '' && !isTrustedRoot(trustedRoot))
		problems.push(`catalog.trust.trusted_root is ${file.trusted_root}, which is no trusted_root.json of Sigstore`);
	if (file.identities.length > 0 && trustedRoot === null)
		problems.push('catalog.trust.identities is set, but catalog.trust.trusted_root is not: nobody could say that they are who they say');
	if (file.require_signature && publicKeys.length === 0 && file.identities.length === 0)
		problems.push('catalog.trust.require_signature is true, but there are no public_keys and no identities: no model could be trusted');
	const rules = {
		mode: file.mode,
		allowedRegistries: file.allowed_registries,
		requireSignature: file.require_signature,
		requireSbom: file.require_sbom,
		publicKeys,
		identities: file.identities,
		trustedRoot,
	};
	const fingerprint = createHash('sha256').update(JSON.stringify(rules)).digest('hex').slice(0, 16);
	return { trust: { ...rules, caRoots: file.ca_roots, fingerprint }, caRoots };
}

function isPublicKey(pem: string): boolean {
	try {
		return pem.includes('-----BEGIN') && createPublicKey(pem).type === 'public' && !pem.includes('PRIVATE KEY');
	} catch {
		return false;
	}
}

function isTrustedRoot(text: string): boolean {
	try {
		const root: unknown = JSON.parse(text);
		return typeof root === 'object' && root !== null && 'mediaType' in root && /sigstore\.trustedroot/.test(String(root.mediaType));
	} catch {
		return false;
	}
}
