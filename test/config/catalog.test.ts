/** The catalog's part of the configuration: folders, sources, and keys that only the environment holds. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { load, refusal } from './loading.ts';

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
