/** Model refs: each form, the canonical text of each, and that nothing else gets through. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatModelRef, type ModelRef, parseModelRef, refLengthMax } from '../../src/actors/catalog/model-ref.ts';

const hex = 'aB'.repeat(32);

const taken: readonly [text: string, ref: ModelRef][] = [
	['hf:org/repo', { kind: 'hf', org: 'org', repo: 'repo', revision: null, path: null }],
	['hf:org/repo@main', { kind: 'hf', org: 'org', repo: 'repo', revision: 'main', path: null }],
	['hf:o/r@v1.0/a/b-Q4_K_M.gguf', { kind: 'hf', org: 'o', repo: 'r', revision: 'v1.0', path: 'a/b-Q4_K_M.gguf' }],
	['file:/models/a b.gguf', { kind: 'file', path: '/models/a b.gguf' }],
	['file:///models/a.gguf', { kind: 'file', path: '/models/a.gguf' }],
	['file:/models/./x//a.gguf', { kind: 'file', path: '/models/x/a.gguf' }],
	['https://Example.org/a.gguf?x=1', { kind: 'url', url: 'https://example.org/a.gguf?x=1' }],
	['http://127.0.0.1:8000/a.gguf', { kind: 'url', url: 'http://127.0.0.1:8000/a.gguf' }],
	['http://[::1]:80/a.gguf', { kind: 'url', url: 'http://[::1]/a.gguf' }],
	['s3://my-bucket/a/b.gguf', { kind: 's3', bucket: 'my-bucket', key: 'a/b.gguf' }],
	['oci://registry.example:5000/a/b:v1', { kind: 'oci', registry: 'registry.example:5000', repository: 'a/b', tag: 'v1' }],
	[`sha256:${hex}`, { kind: 'digest', hex: hex.toLowerCase() }],
	['default', { kind: 'alias', name: 'default' }],
	['qwen3-0.6b', { kind: 'alias', name: 'qwen3-0.6b' }],
];

test('each form of a ref is taken apart', () => {
	for (const [text, ref] of taken) assert.deepEqual(parseModelRef(text), { ok: true, ref }, text);
});

const refused: readonly [text: string, words: RegExp][] = [
	['', /write hf:org\/repo/],
	['/models/a.gguf', /did you mean file:\/models\/a\.gguf\?/],
	['./a.gguf', /absolute path/],
	['~/a.gguf', /absolute path/],
	['a.gguf', /absolute path/],
	['Qwen/Qwen3-32B', /did you mean hf:Qwen\/Qwen3-32B\?/],
	['HF:org/repo', /did you mean hf:org\/repo\?/],
	['hff:org/repo', /did you mean hf:org\/repo\?/],
	['hf://org/repo', /did you mean hf:org\/repo\?/],
	['hf:org', /organisation and a repository/],
	['hf:org/..', /organisation and a repository/],
	['hf:org/repo@', /revision/],
	['hf:org/repo@a@b', /revision/],
	['hf:org/repo@a..b', /revision/],
	['hf:org/repo/', /empty parts/],
	['hf:org/repo/../x.gguf', /dots alone/],
	['hf:org/repo/readme.md', /\.gguf/],
	['file:a.gguf', /absolute path/],
	['file:/', /not a folder/],
	['file:/models/', /not a folder/],
	['file:/models/../etc/passwd', /without/],
	['file://host/a.gguf', /did you mean file:\/host\/a\.gguf\?/],
	['http://example.org/a.gguf', /did you mean https:\/\/example\.org\/a\.gguf\?/],
	['http://localhost.example.org/a.gguf', /loopback/],
	['https://me:secret@example.org/a.gguf', /no password/],
	['https://example.org/a.gguf#x', /#/],
	['https://example.org', /names no file/],
	['https:example.org/a', /no address/],
	['s3://b/x', /bucket/],
	['s3://bucket/', /key/],
	['s3://bucket/a/../../b', /key/],
	['oci://registry/repo', /did you mean oci:\/\/registry\/repo:latest\?/],
	['oci://registry/Repo:tag', /lower case/],
	['oci://registry/repo:', /tag/],
	['sha256:abc', /64 hexadecimal/],
	['ftp://example.org/a', /no scheme of a model/],
	['a b', /alias/],
	['..', /absolute path/],
	['alias\n', /character 6/],
	['file:/a\u0000b', /character 8/],
	['a'.repeat(refLengthMax + 1), /at most 1024/],
];

test('what is none of the forms is refused in words, with a suggestion where one is likely', () => {
	for (const [text, words] of refused) {
		const parsed = parseModelRef(text);
		assert.equal(parsed.ok, false, text);
		if (!parsed.ok) assert.match(parsed.problem, words, text);
	}
});

test('a password in an address is not repeated', () => {
	const parsed = parseModelRef('https://me:secret@example.org/a.gguf');
	assert.ok(!parsed.ok && !parsed.problem.includes('secret'));
});

const word = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,20}$/);
const part = fc.stringMatching(/^[A-Za-z0-9 ,@_%-][A-Za-z0-9 ._%-]{0,10}[A-Za-z0-9]$/);
const innerPath = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
const anyRef: fc.Arbitrary<ModelRef> = fc.oneof(
	fc.record({
		kind: fc.constant('hf' as const),
		org: word,
		repo: word,
		revision: fc.option(word.filter((name) => !name.includes('..'))),
		path: fc.option(innerPath.map((path) => `${path}.gguf`)),
	}),
	innerPath.map((path): ModelRef => ({ kind: 'file', path: `/${path}` })),
	fc.webUrl({ validSchemes: ['https'] }).map((url): ModelRef => ({ kind: 'url', url: new URL(`${url}/a.gguf`).href })),
	fc.record({ kind: fc.constant('s3' as const), bucket: fc.stringMatching(/^[a-z0-9][a-z0-9-]{1,20}[a-z0-9]$/), key: innerPath }),
	fc.record({
		kind: fc.constant('oci' as const),
		registry: fc.constantFrom('localhost:5000', 'ghcr.io', 'registry.example.org'),
		repository: fc.stringMatching(/^[a-z0-9]{1,8}(\/[a-z0-9]{1,8}){0,2}$/),
		tag: fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,10}$/),
	}),
	fc.stringMatching(/^[0-9a-f]{64}$/).map((digits): ModelRef => ({ kind: 'digest', hex: digits })),
	word.filter((name) => !/\.gguf$/i.test(name)).map((name): ModelRef => ({ kind: 'alias', name })),
);

test('a ref that is written and parsed again is the same ref', () => {
	fc.assert(
		fc.property(anyRef, (ref) => {
			assert.deepEqual(parseModelRef(formatModelRef(ref)), { ok: true, ref: { ...ref } });
		}),
		{ numRuns: 400 },
	);
});

test('whatever the text, it is refused in words or has one canonical form', () => {
	const hostile = fc.oneof(
		fc.string({ unit: 'binary', maxLength: 60 }),
		fc
			.tuple(
				fc.constantFrom('hf:', 'file:/', 'file:', 'https://', 'http://localhost/', 's3://bucket/', 'oci://r/', 'sha256:', ''),
				fc.string(),
			)
			.map(([scheme, rest]) => scheme + rest),
	);
	fc.assert(
		fc.property(hostile, (text) => {
			const parsed = parseModelRef(text);
			if (!parsed.ok) return assert.ok(parsed.problem.length > 0);
			const canonical = formatModelRef(parsed.ref);
			assert.deepEqual(parseModelRef(canonical), parsed);
			assert.ok(!canonical.split(/[/:]/).includes('..') || parsed.ref.kind === 'url');
		}),
		{ numRuns: 600 },
	);
});
