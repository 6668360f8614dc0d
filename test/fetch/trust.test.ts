/** Who vouches for a model that is fetched, and what the strict mode refuses: signatures of real tools, made-up ones, bills of materials. */
import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TrustRules } from '../../src/actors/catalog/trust-messages.ts';
import { signedByIdentity, signedModel, signerIdentity, signerKey, trustedRoot } from '../fixtures/signed-model.ts';
import { putImage, serveRegistry } from './fake-registry.ts';
import { digestOf, inWorld, model, type PullMore } from './pull-world.ts';

const strict = (more: Partial<TrustRules> = {}): PullMore => ({ rules: { mode: 'strict', ...more } });
const signed = (pem: string, more: Partial<TrustRules> = {}): PullMore =>
	strict({ requireSignature: true, publicKeys: [{ name: 'team.pub', pem }], ...more });

function keys(type: 'ec' | 'ed25519' = 'ec'): { readonly pem: string; readonly privateKey: KeyObject } {
	const pair = type === 'ec' ? generateKeyPairSync('ec', { namedCurve: 'prime256v1' }) : generateKeyPairSync('ed25519');
	return { pem: pair.publicKey.export({ type: 'spki', format: 'pem' }).toString(), privateKey: pair.privateKey };
}

const material = { publicKey: { hint: 'a key' }, tlogEntries: [] };
const mediaType = 'application/vnd.dev.sigstore.bundle.v0.3+json';

/** As `cosign sign-blob --bundle` writes it. */
function ofBytes(bytes: Buffer, key: KeyObject): Buffer {
	const digest = createHash('sha256').update(bytes).digest('base64');
	const signature = sign(key.asymmetricKeyType === 'ed25519' ? null : 'sha256', bytes, key).toString('base64');
	const messageSignature = { messageDigest: { algorithm: 'SHA2_256', digest }, signature };
	return Buffer.from(JSON.stringify({ mediaType, verificationMaterial: material, messageSignature }));
}

/** As `cosign attest-blob` writes it. */
function statement(subjects: readonly string[], key: KeyObject, payloadType = 'application/vnd.in-toto+json'): Buffer {
	const subject = subjects.map((digest, index) => ({ name: `${index}`, digest: { sha256: digest.slice(7) } }));
	const payload = Buffer.from(JSON.stringify({ _type: 'https://in-toto.io/Statement/v1', subject, predicateType: 'x', predicate: {} }));
	const signedBytes = Buffer.from(`DSSEv1 ${payloadType.length} ${payloadType} ${payload.length} ${payload.toString('utf8')}`);
	const sig = sign(key.asymmetricKeyType === 'ed25519' ? null : 'sha256', signedBytes, key).toString('base64');
	const dsseEnvelope = { payload: payload.toString('base64'), payloadType, signatures: [{ sig, keyid: '' }] };
	return Buffer.from(JSON.stringify({ mediaType, verificationMaterial: material, dsseEnvelope }));
}

test('a signature that model_signing has made is found beside the model, and held against the keys of the operator', () =>
	inWorld(async (world) => {
		const ref = world.source.put('/m/tiny-chat.gguf', model);
		await world.refused(ref, 'UNTRUSTED_ARTIFACT', /tiny-chat\.gguf: it has no signature/, signed(signerKey));
		world.source.put('/m/model.sig', Buffer.from(signedModel));
		await world.refused(ref, 'UNTRUSTED_ARTIFACT', /nobody who is trusted has made it: signature verification failed/, signed(keys().pem));
		assert.deepEqual([world.visible, readdirSync(join(world.root, 'incoming'))], [[], []]);
		const fetched = await world.pull(ref, signed(signerKey));
		assert.deepEqual([fetched.trust.signedBy, fetched.trust.problems], [['team.pub'], []]);
		// What vouches for it is kept with it.
		assert.deepEqual(fetched.trust.signatures, [`file:${join(fetched.folder, '.trust', '0.sigstore.json')}`]);
		// It is of other bytes, and vouches for none of these.
		const other = world.source.put('/m/other.gguf', Buffer.concat([model, Buffer.from('x')]));
		await world.refused(other, 'UNTRUSTED_ARTIFACT', /no trusted signature covers other\.gguf/, signed(signerKey));
	}));

test('a signature of the bytes themselves is checked as they are read, by whichever key has made it', () =>
	inWorld(async (world) => {
		const [one, two] = [keys(), keys()];
		const rules = signed(one.pem, { publicKeys: [one, two].map(({ pem }, index) => ({ name: `${index}.pub`, pem })) });
		const ref = world.source.put('/tiny.gguf', model);
		world.source.put('/tiny.gguf.sigstore.json', ofBytes(model, two.privateKey));
		assert.deepEqual((await world.pull(ref, rules)).trust.signedBy, ['1.pub']);
		world.source.put('/tiny.gguf.sigstore.json', ofBytes(model, keys().privateKey));
		await world.refused(`${ref}?2`, 'UNTRUSTED_ARTIFACT', /nobody who is trusted has signed tiny\.gguf/, rules);
		const ed = keys('ed25519');
		world.source.put('/tiny.gguf.sigstore.json', ofBytes(model, ed.privateKey));
		assert.deepEqual((await world.pull(`${ref}?3`, signed(ed.pem))).trust.signedBy, ['team.pub']);
	}));

test('a statement must be one, of the digests of all files, and by a key that is trusted', () =>
	inWorld(async (world) => {
		const key = keys('ed25519');
		const part = Buffer.concat([Buffer.from('GGUF'), Buffer.alloc(50)]);
		world.source.put('/big-00001-of-00002.gguf', model);
		const ref = world.source.put('/big-00002-of-00002.gguf', part);
		const bundle = '/big-00001-of-00002.gguf.sigstore.json';
		world.source.put(bundle, statement([digestOf(model)], key.privateKey));
		await world.refused(ref, 'UNTRUSTED_ARTIFACT', /covers big-00002-of-00002\.gguf/, signed(key.pem));
		world.source.put(bundle, statement([digestOf(model), digestOf(part)], key.privateKey, 'text/plain'));
		await world.refused(ref, 'UNTRUSTED_ARTIFACT', /it holds text\/plain, not a statement/, signed(key.pem));
		world.source.put(bundle, Buffer.from('{"mediaType":"x"}'));
		await world.refused(
			ref,
			'UNTRUSTED_ARTIFACT',
			/no trusted signature covers .*big-00001-of-00002\.gguf\.sigstore\.json: invalid bundle/,
			signed(key.pem),
		);
		world.source.put(bundle, statement([digestOf(model), digestOf(part)], key.privateKey));
		assert.deepEqual((await world.pull(ref, signed(key.pem))).trust.signedBy, ['team.pub']);
	}));

test('an identity is trusted as a whole, by its issuer, under the root of the operator alone', () =>
	inWorld(async (world) => {
		const ref = world.source.put('/tiny.gguf', model);
		world.source.put('/tiny.gguf.sigstore.json', Buffer.from(signedByIdentity));
		const by = (more: Partial<TrustRules>): PullMore =>
			strict({ requireSignature: true, identities: [signerIdentity], trustedRoot, ...more });
		const { issuer, subject } = signerIdentity;
		const refused = async (words: RegExp, more: Partial<TrustRules>): Promise<void> =>
			await world.refused(ref, 'UNTRUSTED_ARTIFACT', words, by(more));
		await refused(/trusted_root is not set/, { trustedRoot: null });
		await refused(/certificate identity error/, { identities: [{ issuer, subject: subject.slice(0, -1) }] });
		await refused(/certificate identity error/, { identities: [{ issuer, subject: subject.replace('sign.yml', 'sign_yml') }] });
		await refused(/invalid certificate extension/, { identities: [{ issuer: 'https://another.example', subject }] });
		const another = JSON.parse(trustedRoot) as { certificateAuthorities: unknown[] };
		await refused(/no trusted signature covers/, { trustedRoot: JSON.stringify({ ...another, certificateAuthorities: [] }) });
		assert.deepEqual((await world.pull(ref, by({}))).trust.signedBy, [subject]);
	}));

test('the strict mode wants a digest that somebody has said, and the permissive one says what the strict would refuse', () =>
	inWorld(async (world) => {
		const ref = world.source.put('/tiny.gguf', model);
		await world.refused(ref, 'UNTRUSTED_ARTIFACT', /nobody has said what its digest is/, strict());
		assert.equal((await world.pull(ref, { ...strict(), digest: digestOf(model) })).said, true);
		const told = await world.pull(`${ref}?2`, { rules: { requireSignature: true, publicKeys: [{ name: 'k', pem: signerKey }] } });
		assert.deepEqual(
			told.trust.problems.map(({ reason }) => reason),
			['signature', 'digest'],
		);
	}));

test('a bill of materials is SPDX or CycloneDX, beside the model or where whoever added it says', () =>
	inWorld(async (world) => {
		const ref = world.source.put('/tiny.gguf', model);
		const rules = { ...strict({ requireSbom: true }), digest: digestOf(model) };
		await world.refused(ref, 'UNTRUSTED_ARTIFACT', /it has no SBOM/, rules);
		world.source.put('/tiny.gguf.spdx.json', Buffer.from('{"a":1}'));
		await world.refused(ref, 'UNTRUSTED_ARTIFACT', /is no SBOM: it is neither SPDX nor CycloneDX/, rules);
		for (const text of ['{"spdxVersion":"SPDX-2.3"}', '{"@context":"https://spdx.org/rdf/3.0.1/spdx-context.jsonld","@graph":[]}']) {
			world.source.put('/tiny.gguf.spdx.json', Buffer.from(text));
			assert.match((await world.pull(ref, rules)).trust.sbom ?? '', /^file:.*\/\.trust\/0\.sbom\.json$/);
		}
		const named = world.source.put('/boms/a.json', Buffer.from('{"bomFormat":"CycloneDX"}'));
		const other = world.source.put('/other.gguf', model);
		assert.notEqual((await world.pull(other, { ...rules, sbom: named })).trust.sbom, null);
		const file = join(world.root, 'own.json');
		writeFileSync(file, '{"bomFormat":"CycloneDX"}');
		assert.notEqual((await world.pull(`${other}?2`, { ...rules, sbom: `file:${file}` })).trust.sbom, null);
	}));

test('a registry tells what refers to an image, by its list or under a tag; a signature of the manifest is one of the model', () =>
	inWorld(async (world) => {
		const key = keys();
		const registry = serveRegistry(world.source, null, false);
		const host = `127.0.0.1:${world.source.port}`;
		const layer = { mediaType: 'application/vnd.ollama.image.model', bytes: model };
		const digest = putImage(world.source, registry, 'o/m', 'v1', [layer]);
		const rules = signed(key.pem, { requireSbom: true });
		await world.refused(`oci://${host}/o/m:v1`, 'UNTRUSTED_ARTIFACT', /it has no signature/, rules);
		const bundleType = 'application/vnd.dev.sigstore.bundle.v0.3+json';
		const bundle = putImage(world.source, registry, 'o/m', 'bundle', [
			{ mediaType: bundleType, bytes: statement([digest], key.privateKey) },
		]);
		const sbom = putImage(world.source, registry, 'o/m', 'sbom', [
			{ mediaType: 'application/spdx+json', bytes: Buffer.from('{"spdxVersion":"SPDX-2.3"}') },
		]);
		const index = Buffer.from(
			JSON.stringify({
				schemaVersion: 2,
				manifests: [
					{ artifactType: bundleType, digest: bundle },
					{ artifactType: 'application/spdx+json', digest: sbom },
					{ artifactType: 'text/html', digest: `sha256:${'0'.repeat(64)}` },
				],
			}),
		);
		registry.manifests.set(digest.replace(':', '-'), index);
		const tagged = await world.pull(`oci://${host}/o/m:v1`, rules);
		assert.deepEqual([tagged.trust.signedBy, tagged.trust.problems], [['team.pub'], []]);
		registry.manifests.delete(digest.replace(':', '-'));
		world.source.put(`/v2/o/m/referrers/${digest}`, index);
		assert.deepEqual((await world.pull(`oci://${host}/o/m:v1`, rules)).trust.signedBy, ['team.pub']);
	}));
