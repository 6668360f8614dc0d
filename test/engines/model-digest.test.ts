/** The digest that an engine tells: of all parts of its model, and without reading again what has not changed since it was hashed. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { digestFile, digestOfFiles, markOf } from '../../src/actors/catalog/file-digest.ts';
import { LoadError } from '../../src/engines/embedded/llama-model.ts';
import { modelDigest } from '../../src/engines/embedded/model-digest.ts';
import { builtInModel, openBackend } from './embedded-world.ts';

const folder = mkdtempSync(join(tmpdir(), 'orchestratord-digest-'));
after(() => rmSync(folder, { recursive: true }));
const sha256 = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`;

test('a file that is as it was when it was hashed is not hashed again; one that has changed is', async () => {
	const path = join(folder, 'one.gguf');
	writeFileSync(path, 'one');
	assert.equal(await modelDigest({ modelPath: path }), sha256('one'));
	const { digest, mark } = digestFile(path);
	assert.equal(await modelDigest({ modelPath: path, known: [{ path, digest, ...mark }] }), sha256('one'));
	// What is known is believed, whatever it says: nothing was read.
	const said = sha256('said');
	assert.equal(await modelDigest({ modelPath: path, known: [{ path, digest: said, ...mark }] }), said);
	for (const change of [() => utimesSync(path, 5, 5), () => writeFileSync(path, 'longer')]) {
		const known = [{ path, digest: said, ...markOf(path) }];
		change();
		assert.notEqual(await modelDigest({ modelPath: path, known }), said);
	}
});

test('a model of several parts has the digest of their list, as the catalog has it', async () => {
	const names = ['m-00001-of-00002.gguf', 'm-00002-of-00002.gguf'];
	for (const name of names) writeFileSync(join(folder, name), name);
	const files = names.map((name) => ({ name, digest: sha256(name) }));
	assert.equal(await modelDigest({ modelPath: join(folder, names[0] ?? '') }), digestOfFiles(files));
});

test('a model that is not what somebody has said is not served', async () => {
	const wrong = sha256('another');
	await assert.rejects(openBackend(builtInModel, { expectedDigest: wrong }), (error) => {
		assert.ok(error instanceof LoadError);
		assert.equal(error.failure.code, 'UNTRUSTED_ARTIFACT');
		assert.match(error.message, /it has digest sha256:[0-9a-f]{64}, not sha256:/);
		return true;
	});
});
