/** The catalog's part of the configuration: folders, sources, and keys that only the environment holds. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadConfig } from '../../src/config.ts';
import { firstPair } from '../fixtures/certificates.ts';
import { signerKey, trustedRoot } from '../fixtures/signed-model.ts';
import { load, refusal, world } from './loading.ts';

const of = (yaml: string, env: Readonly<Record<string, string>> = {}) => load([], yaml, env).catalog;

test('nothing is fetched and nobody is named unless it is said; fetched models lie in the store', () => {
	const { fetch, quotaBytes, root, sources } = of('store: { path: /data/store }');
	assert.deepEqual([fetch, quotaBytes, root], [false, 0, '/data/store/models']);
	assert.deepEqual(sources.hf, { endpoint: 'https://huggingface.co', token: null });
	assert.deepEqual(sources.s3, { endpoint: null, region: 'us-east-1', keys: null });
	assert.equal(of('catalog: { root: /models }').root, '/models');
	assert.equal(of('catalog: { quota_bytes: 2GiB }').quotaBytes, 2 * 1024 ** 3);
});

test('sources take their keys and places from the environment, by the names that their own tools use; the file goes before it', () => {
	const env = {
		HF_ENDPOINT: 'https://hub.example/',
		HF_TOKEN: 'hf_secret',
		OTHER: 'hf_other',
		AWS_ENDPOINT_URL: 'http://127.0.0.1:9000',
		AWS_REGION: 'eu-west-1',
		AWS_ACCESS_KEY_ID: 'id',
		AWS_SECRET_ACCESS_KEY: 'secret',
		AWS_SESSION_TOKEN: 'session',
		REGISTRY: 'password',
	};
	const { sources } = of('catalog: { oci: [{ registry: "r.example", username: me, password_env: REGISTRY }] }', env);
	assert.deepEqual(sources.hf, { endpoint: 'https://hub.example', token: 'hf_secret' });
	assert.deepEqual(sources.s3, {
		endpoint: 'http://127.0.0.1:9000',
		region: 'eu-west-1',
		keys: { id: 'id', secret: 'secret', session: 'session' },
	});
	assert.deepEqual(sources.oci, [{ registry: 'r.example', username: 'me', password: 'password' }]);
	const said = of('catalog: { hf: { endpoint: "https://other.example", token_env: OTHER }, s3: { region: here } }', env).sources;
	assert.deepEqual(said.hf, { endpoint: 'https://other.example', token: 'hf_other' });
	assert.equal(said.s3.region, 'here');
});

test('a place that keys would be sent to in the clear is refused, as is a password that is not there', () => {
	const bad = (yaml: string, words: RegExp, env: Readonly<Record<string, string>> = {}): void =>
		assert.match(refusal([], yaml, env), words);
	bad('catalog: { hf: { endpoint: "http://hub.example" } }', /catalog\.hf\.endpoint is "http:\/\/hub\.example"; it must be https:/);
	bad('catalog: { s3: { endpoint: "https://me:pw@s3.example" } }', /catalog\.s3\.endpoint .* must be https:/);
	bad('', /catalog\.hf\.endpoint is "ftp:\/\/x"/, { HF_ENDPOINT: 'ftp://x' });
	bad('catalog: { oci: [{ registry: r, username: me, password_env: NOT_SET }] }', /password_env is NOT_SET, which is not set/);
	bad('', /HF_TOKEN in the environment holds characters that no header takes/, { HF_TOKEN: 'a\nb' });
	bad('catalog: { redirect_hosts: ["https://x"] }', /a host, or \*\. and a domain/);
});

test('what is trusted is read from files once; rules that nothing could keep to are refused', () => {
	const files: Readonly<Record<string, string>> = {
		'/etc/orchestratord.yaml': '',
		'/keys/team.pub': signerKey,
		'/keys/root.json': trustedRoot,
		'/keys/ca.pem': firstPair.cert,
		'/keys/secret.pem': firstPair.key,
	};
	const readFile = (path: string): string => {
		const text = files[path];
		if (text === undefined) throw Object.assign(new Error('none'), { code: 'ENOENT' });
		return text;
	};
	const trustOf = (yaml: string) => {
		const file = (path: string): string => (path === '/etc/orchestratord.yaml' ? `catalog: { trust: { ${yaml} } }` : readFile(path));
		return loadConfig([], { ...world('x'), readFile: file }).catalog;
	};
	const { trust, sources } = trustOf('mode: strict, require_signature: true, public_keys: [/keys/team.pub], ca_roots: [/keys/ca.pem]');
	assert.deepEqual([trust.mode, trust.publicKeys, trust.caRoots], ['strict', [{ name: 'team.pub', pem: signerKey }], ['/keys/ca.pem']]);
	assert.deepEqual(sources.caRoots, [firstPair.cert]);
	assert.notEqual(trust.fingerprint, trustOf('mode: strict').trust.fingerprint);
	const identity = 'identities: [{ issuer: a, subject: b }]';
	assert.equal(trustOf(`${identity}, trusted_root: /keys/root.json`).trust.trustedRoot, trustedRoot);
	const bad = (yaml: string, words: RegExp): void => assert.throws(() => trustOf(yaml), words);
	bad('public_keys: [/keys/none.pub]', /public_keys\[0\] is \/keys\/none\.pub, which cannot be read \(ENOENT\)/);
	bad('public_keys: [/keys/ca.pem, /keys/root.json]', /public_keys\[1\] is \/keys\/root\.json, which holds no public key/);
	bad('public_keys: [/keys/secret.pem]', /holds no public key/);
	bad('ca_roots: [/keys/team.pub]', /holds no certificate/);
	bad('trusted_root: /keys/team.pub', /is no trusted_root\.json/);
	bad(identity, /identities is set, but catalog\.trust\.trusted_root is not/);
	bad('require_signature: true', /no public_keys and no identities: no model could be trusted/);
	bad('allowed_registries: ["https //x"]', /a host, or the beginning of a ref/);
});
