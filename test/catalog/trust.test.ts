/** What the catalog makes of an operator's rules: at ingest, on verification, when an engine asks, and what the control thread is told. */
import assert from 'node:assert/strict';
import { appendFileSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { registryProblem } from '../../src/actors/catalog/trust.ts';
import type { TrustRules } from '../../src/actors/catalog/trust-messages.ts';
import type { CatalogEntry } from '../../src/actors/serving/catalog-messages.ts';
import { BadSource } from '../fetch/bad-source.ts';
import { rules } from '../fetch/rules.ts';
import { signedModel, signerKey } from '../fixtures/signed-model.ts';
import { digestOf, folder, model, World } from './catalog-world.ts';

const source = new BadSource();
const bytes = readFileSync(model);
before(async () => {
	await source.listen();
});
after(() => source.close());

const strict = (more: Partial<TrustRules> = {}) => ({ trust: rules({ mode: 'strict', ...more }) });
const signed = strict({ requireSignature: true, publicKeys: [{ name: 'team.pub', pem: signerKey }] });

/** A folder with a copy of the model. */
function own(name: string): string {
	mkdirSync(join(folder, name), { recursive: true });
	cpSync(model, join(folder, name, 'tiny-chat.gguf'));
	return join(folder, name, 'tiny-chat.gguf');
}

/** What an engine is told that wants it. */
async function wanted(world: World, name: string, path: string | null = null): Promise<string> {
	for (let after = 0; ; ) {
		const answer = await world.answer({ type: 'prepare-model', model: name, path, after });
		if (!answer.ok) return `${answer.failure.code}: ${answer.failure.message}`;
		const told = JSON.parse(answer.json) as { event: string; seq: number };
		if (told.event === 'ready') return 'ready';
		after = told.seq;
	}
}

test('a source is a host, or the beginning of a ref; what comes with the program and a file of the operator need none', () => {
	const allows = (pattern: string, ref: string): boolean => registryProblem(ref, rules({ allowedRegistries: [pattern] })) === null;
	for (const [pattern, ref] of [
		['hf:org/*', 'hf:org/repo/a.gguf'],
		['hf:*', 'hf:any/repo'],
		['models.example', 'https://models.example/a.gguf'],
		['*.example', 'https://a.models.example/a.gguf'],
		['https://models.example/team/*', 'https://models.example/team/a.gguf'],
		['registry.example:5000', 'oci://registry.example:5000/o/m:v1'],
		['oci://registry.example/o/*', 'oci://registry.example/o/m:v1'],
		['s3://bucket/*', 's3://bucket/a.gguf'],
		['nowhere.example', 'file:/models/a.gguf'],
		['nowhere.example', 'builtin:tiny-chat'],
	] as const)
		assert.ok(allows(pattern, ref), `${pattern} ${ref}`);
	for (const [pattern, ref] of [
		['hf:org/*', 'hf:organisation/repo/a.gguf'],
		['models.example', 'https://models.example.evil/a.gguf'],
		['models.example', 'https://models.example:8443/a.gguf'],
		['*.example', 'https://notexample/a.gguf'],
		['hf:org/*', 's3://bucket/a.gguf'],
		['registry.example', 'hf:registry.example/repo'],
	] as const)
		assert.ok(!allows(pattern, ref), `${pattern} ${ref}`);
});

test('a model from a source that is not allowed is not taken in by the strict mode, and told by the permissive', async () => {
	const ref = source.put('/a.gguf', bytes);
	const world = new World(strict({ allowedRegistries: ['models.example'] }));
	await world.refused(
		{ type: 'add-model', ref, id: 'a', digest: digestOf(model), tags: [], signatures: [], sbom: null },
		'UNTRUSTED_ARTIFACT',
		/is from none of catalog\.trust\.allowed_registries/,
	);
	assert.deepEqual(world.counted, ['catalog_verifications_total failed registry']);
	assert.match(await wanted(world, ref), /^UNTRUSTED_ARTIFACT/);
	assert.deepEqual(source.ranges('/a.gguf'), []);
	const permissive = new World({ trust: rules({ allowedRegistries: ['models.example'], requireSbom: true }) });
	await permissive.add(ref, { id: 'a' });
	await permissive.ask({ type: 'pull-model', id: 'a' });
	await permissive.pulled('a');
	const entry = await permissive.ask({ type: 'get-model', id: 'a' });
	assert.deepEqual([entry.verification, entry.untrusted], ['verified', false]);
	assert.deepEqual(
		entry.trust_problems.map(({ reason }) => reason),
		['registry', 'digest', 'sbom'],
	);
	assert.ok(permissive.counted.includes('catalog_verifications_total warned registry'));
});

test('a file of the operator is loaded by the strict mode once it is hashed and signed, and never as another than it was', async () => {
	const path = own('strict');
	const ref = `file:${path}`;
	const world = new World(signed);
	world.catalog.usePools([{ poolId: 'p', model: ref, path }]);
	assert.match(await wanted(world, ref, path), /^UNTRUSTED_ARTIFACT: file:.*: it has no signature$/);
	assert.deepEqual(world.news.at(-1)?.untrusted, [ref]);
	writeFileSync(join(folder, 'strict', 'model.sig'), signedModel);
	await world.ask({ type: 'verify-model', id: ref });
	assert.equal(await wanted(world, ref, path), 'ready');
	assert.deepEqual(world.news.at(-1)?.untrusted, []);
	const entry = await world.settled(ref);
	assert.deepEqual([entry.signed_by, entry.expected_digest], [['team.pub'], digestOf(model)]);
	assert.deepEqual(entry.signatures, [`file:${join(folder, 'strict', 'model.sig')}`]);
	appendFileSync(path, 'x');
	assert.match(await wanted(world, ref, path), /^UNTRUSTED_ARTIFACT: .*has digest .*, not /);
	assert.deepEqual(world.news.at(-1)?.untrusted, [ref]);
	assert.ok(world.counted.includes('catalog_verifications_total failed signature'));
	assert.ok(world.counted.includes('catalog_verifications_total failed mismatch'));
	rmSync(join(folder, 'strict'), { recursive: true });
});

test('rules that have changed are looked at again without reading the bytes again; what vouches for a fetched model was kept with it', async () => {
	const ref = source.put('/signed/tiny-chat.gguf', bytes);
	source.put('/signed/model.sig', Buffer.from(signedModel));
	const world = new World(signed);
	await world.add(ref, { id: 'm' });
	assert.equal(await wanted(world, 'm'), 'ready');
	const requests = source.seen.length;
	await world.reopen(strict({ requireSignature: true, publicKeys: [{ name: 'renamed.pub', pem: signerKey }] }));
	assert.equal(await wanted(world, 'm'), 'ready');
	assert.deepEqual((await world.settled('m')).signed_by, ['renamed.pub']);
	assert.deepEqual([source.seen.length, world.hashed], [requests, 0]);
	// Nobody looked for an SBOM then: it is looked for where the model comes from.
	source.put('/signed/sbom.cdx.json', Buffer.from('{"bomFormat":"CycloneDX"}'));
	await world.reopen(strict({ requireSbom: true, publicKeys: [{ name: 'team.pub', pem: signerKey }] }));
	assert.equal(await wanted(world, 'm'), 'ready');
	assert.match((await world.settled('m')).sbom ?? '', /\.trust\/0\.sbom\.json$/);
});

test('other bytes than were promised are refused in any mode, at load and at admission', async () => {
	const path = own('promised');
	const world = new World();
	await world.add(path, { id: 'm', digest: digestOf(model) });
	world.catalog.usePools([{ poolId: 'p', model: `file:${path}`, path }]);
	assert.equal(await wanted(world, `file:${path}`, path), 'ready');
	assert.deepEqual(world.news.at(-1)?.names, [
		['m', `file:${path}`],
		[digestOf(model), `file:${path}`],
	]);
	appendFileSync(path, 'x');
	assert.match(await wanted(world, `file:${path}`, path), /^UNTRUSTED_ARTIFACT/);
	assert.deepEqual(world.news.at(-1)?.untrusted, [`file:${path}`, 'm']);
	rmSync(join(folder, 'promised'), { recursive: true });
});

test('what is no place of a signature or an SBOM is refused', async () => {
	const world = new World();
	const add = (from: string, signatures: readonly string[], sbom: string | null = null) =>
		({ type: 'add-model', ref: from, id: 'm', digest: null, tags: [], signatures, sbom }) as const;
	await world.refused(
		add(`file:${model}`, ['https://x.example/a']),
		'INVALID_PARAMS',
		/is no place of a signature or an SBOM; it is file:/,
	);
	await world.refused(add(source.put('/b.gguf', bytes), [], 'hf:org/repo'), 'INVALID_PARAMS', /it is https:\/\/… or file:/);
	const entry: CatalogEntry = await world.ask(add(source.put('/b.gguf', bytes), ['https://x.example/a.sig'], 'file:/boms/a.json'));
	assert.deepEqual([entry.signatures, entry.sbom], [['https://x.example/a.sig'], 'file:/boms/a.json']);
});

test('an entry says which rules hold', async () => {
	const world = new World(strict({ allowedRegistries: ['hf:org/*'], caRoots: ['/etc/ca.pem'] }));
	const entry = (await world.add(model, { id: 'm' })) as unknown as { trust_policy: unknown };
	assert.deepEqual(entry.trust_policy, {
		mode: 'strict',
		allowed_registries: ['hf:org/*'],
		require_signature: false,
		require_sbom: false,
		ca_roots: ['/etc/ca.pem'],
	});
	await world.hashedAll();
});
