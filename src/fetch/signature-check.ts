/**
 * Whether a signature covers the files of a model, offline: bundles of Sigstore (cosign, gitsign, GitHub attestations) and of OpenSSF Model
 * Signing, which has the same form. Made with a key that an operator trusts, or by an identity under a trusted root. Files may be of any size:
 * a signature of the bytes themselves is checked as they are read.
 */
import { createPublicKey, createVerify, type KeyObject, verify as verifyBytes } from 'node:crypto';
import { createReadStream, readFileSync, statSync } from 'node:fs';
import { type Bundle, bundleFromJSON } from '@sigstore/bundle';
import { HashAlgorithm, TrustedRoot } from '@sigstore/protobuf-specs';
import { type TrustMaterial, toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';
import type { TrustRules } from '../actors/catalog/trust-messages.ts';

export interface SignedFile {
	readonly name: string;
	readonly path: string;
	/** `sha256:<hex>` */
	readonly digest: string;
}

export interface BundleFile {
	/** For words. */
	readonly name: string;
	readonly bytes: Buffer;
}

export interface Signatures {
	/** Who has signed: names of keys, or identities. */
	readonly signedBy: readonly string[];
	/** Null: every file is covered by somebody who is trusted. */
	readonly problem: string | null;
}

type SignerRules = Pick<TrustRules, 'publicKeys' | 'identities' | 'trustedRoot'>;

const wholeBytesMax = 256 * 1024 * 1024;
const statementType = 'application/vnd.in-toto+json';
const modelSigning = /^https:\/\/model_signing\/signature\//;

/** `root`: a digest that stands for all files, as that of a manifest; null: there is none. */
export async function checkSignatures(
	bundles: readonly BundleFile[],
	files: readonly SignedFile[],
	root: string | null,
	rules: SignerRules,
): Promise<Signatures> {
	if (bundles.length === 0) return { signedBy: [], problem: 'it has no signature' };
	const covered = new Set<string>();
	const signedBy = new Set<string>();
	const problems: string[] = [];
	for (const { name, bytes } of bundles) {
		try {
			const bundle = bundleFromJSON(JSON.parse(bytes.toString('utf8')));
			const { signer, digests } = await spokenFor(bundle, trustedSigners(bundle, rules), files);
			for (const digest of digests) covered.add(digest);
			signedBy.add(signer);
		} catch (error) {
			problems.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
		}
	}
	const missing = root !== null && covered.has(root) ? [] : files.filter(({ digest }) => !covered.has(digest));
	if (missing.length === 0) return { signedBy: [...signedBy], problem: null };
	const why = problems.length === 0 ? '' : ` (${problems.join('; ')})`;
	return { signedBy: [...signedBy], problem: `no trusted signature covers ${missing.map(({ name }) => name).join(', ')}${why}` };
}

interface Signer {
	readonly name: string;
	readonly key: KeyObject;
}

/** Throws when nobody who is trusted has made it. Of a signature of bytes, these are who may have: which one, the bytes will show. */
function trustedSigners(bundle: Bundle, { publicKeys, identities, trustedRoot }: SignerRules): readonly Signer[] {
	const entity = toSignedEntity(bundle, Buffer.alloc(0));
	const { signature } = entity;
	const content = isOfBytes(bundle)
		? {
				signature: signature.signature,
				compareSignature: (other: Buffer) => signature.compareSignature(other),
				compareDigest: (other: Buffer) => signature.compareDigest(other),
				verifySignature: () => true,
			}
		: signature;
	const root = trustedRoot === null ? null : toTrustMaterial(TrustedRoot.fromJSON(JSON.parse(trustedRoot)));
	const byIdentity = entity.key.$case === 'certificate';
	if (byIdentity && root === null) throw new Error('it is signed by an identity, and catalog.trust.trusted_root is not set');
	// Without a root nobody can say whether a log is to be believed; the key is, without one.
	const logged = byIdentity || root !== null ? {} : { tlogEntries: [], timestamps: [] };
	const tries = byIdentity
		? identities.map(({ issuer, subject }) => (): Signer => {
				const policy = { subjectAlternativeName: `^${escaped(subject)}$`, extensions: { issuer } };
				return { name: subject, key: new Verifier(root ?? nobody).verify({ ...entity, signature: content }, policy).key };
			})
		: publicKeys.map(({ name, pem }) => (): Signer => {
				const key = createPublicKey(pem);
				const material: TrustMaterial = { ...(root ?? nobody), publicKey: () => ({ publicKey: key, validFor: () => true }) };
				const verifier = new Verifier(material, { tlogThreshold: 0, timestampThreshold: 0, ctlogThreshold: 0 });
				verifier.verify({ ...entity, ...logged, signature: content });
				return { name, key };
			});
	const signers: Signer[] = [];
	let why = `none is in catalog.trust.${byIdentity ? 'identities' : 'public_keys'}`;
	for (const attempt of tries) {
		try {
			signers.push(attempt());
		} catch (error) {
			why = error instanceof Error ? error.message : String(error);
		}
	}
	if (signers.length === 0) throw new Error(`nobody who is trusted has made it: ${why}`);
	return signers;
}

function isOfBytes(bundle: Bundle): boolean {
	return bundle.content.$case === 'messageSignature';
}

const nobody: TrustMaterial = {
	certificateAuthorities: [],
	timestampAuthorities: [],
	tlogs: [],
	ctlogs: [],
	publicKey: (hint) => {
		throw new Error(`no key is called ${hint}`);
	},
};

/** The digests that a bundle speaks for, and by whom. */
async function spokenFor(
	bundle: Bundle,
	signers: readonly Signer[],
	files: readonly SignedFile[],
): Promise<{ readonly signer: string; readonly digests: readonly string[] }> {
	if (bundle.content.$case === 'dsseEnvelope')
		return { signer: signers[0]?.name ?? '', digests: statedDigests(bundle.content.dsseEnvelope) };
	const { messageDigest, signature } = bundle.content.messageSignature;
	if (messageDigest.algorithm !== HashAlgorithm.SHA2_256) throw new Error('it is of a digest that is not SHA-256');
	const digest = `sha256:${Buffer.from(messageDigest.digest).toString('hex')}`;
	const file = files.find((each) => each.digest === digest);
	if (file === undefined) throw new Error(`it is of ${digest}, which is none of the files`);
	for (const { name, key } of signers) if (await isOfFile(file.path, key, signature)) return { signer: name, digests: [digest] };
	throw new Error(`nobody who is trusted has signed ${file.name}`);
}

async function isOfFile(path: string, key: KeyObject, signature: Buffer): Promise<boolean> {
	if (key.asymmetricKeyType === 'ed25519') {
		// Keys of this kind sign the bytes themselves, not their digest: all of them must be in memory.
		if (statSync(path).size > wholeBytesMax) throw new Error('an Ed25519 key signs a file whole; have it sign a statement of its digest');
		return verifyBytes(null, readFileSync(path), key, signature);
	}
	const verifier = createVerify('sha256');
	for await (const bytes of createReadStream(path, { highWaterMark: 1024 * 1024 })) verifier.update(bytes as Buffer);
	return verifier.verify(key, signature);
}

function statedDigests({ payload, payloadType }: { readonly payload: Buffer; readonly payloadType: string }): readonly string[] {
	if (payloadType !== statementType) throw new Error(`it holds ${payloadType}, not a statement`);
	const statement = record(JSON.parse(payload.toString('utf8')));
	const subjects = list(statement['subject']).map((subject) => record(record(subject)['digest'])['sha256']);
	const { predicateType, predicate } = statement;
	const resources = typeof predicateType === 'string' && modelSigning.test(predicateType) ? list(record(predicate)['resources']) : [];
	const listed = resources.map((resource) => {
		const { algorithm, digest } = record(resource);
		return algorithm === 'sha256' ? digest : null;
	});
	return [...subjects, ...listed].flatMap((hex) => (typeof hex === 'string' && /^[0-9a-f]{64}$/.test(hex) ? [`sha256:${hex}`] : []));
}

function record(value: unknown): Readonly<Record<string, unknown>> {
	return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

function list(value: unknown): readonly unknown[] {
	return Array.isArray(value) ? value : [];
}

function escaped(text: string): string {
	return text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
