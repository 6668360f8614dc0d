/** The catalog over a real store in a folder of its own, with files that the tests write; hashing is the production function. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { open } from 'lmdb';
import type { PoolModel } from '../../src/actors/catalog/catalog-shelf.ts';
import { CatalogStore } from '../../src/actors/catalog/catalog-store.ts';
import { digestFile, type HashedFile } from '../../src/actors/catalog/file-digest.ts';
import type { CatalogEntry, CatalogRequest } from '../../src/actors/serving/catalog-messages.ts';
import { StoreError } from '../../src/store/store-error.ts';
import { digestOf, folder, hashed, model, ref, World } from './catalog-world.ts';

test('a model that is added is hashed, byte by byte, and its header is shown', async () => {
	const world = new World();
	const added = await world.add(model);
	assert.deepEqual([added.id, added.verification, added.digest, added.state], [ref, 'pending', null, 'Active']);
	const entry = await world.settled(ref);
	assert.equal(entry.digest, digestOf(model));
	assert.deepEqual(
		[entry.verification, entry.problem, entry.last_verified_ms, entry.size_bytes],
		['verified', null, 1000, statSync(model).size],
	);
	assert.equal(entry.gguf?.architecture, 'llama');
	assert.ok((entry.gguf?.parameters ?? 0) > 100_000);
	assert.deepEqual(world.counted, ['catalog_verifications_total ok ']);
	await world.reopen();
	assert.deepEqual(await world.ask({ type: 'get-model', id: ref }), entry);
});

test('a digest that was promised is held against the bytes, on every verification', async () => {
	const world = new World();
	await world.add(model, { id: 'right', digest: digestOf(model) });
	await world.add(model, { id: 'wrong', digest: `sha256:${'0'.repeat(64)}` });
	assert.equal((await world.settled('right')).verification, 'verified');
	const wrong = await world.settled('wrong');
	assert.equal(wrong.verification, 'failed');
	assert.match(wrong.problem ?? '', /has digest sha256:[0-9a-f]{64}, not sha256:0000/);
	assert.ok(world.counted.includes('catalog_verifications_total failed mismatch'));
});

test('a verification reads the bytes again, and finds damage that size and date do not show', async () => {
	const world = new World();
	const path = join(folder, 'rots.gguf');
	cpSync(model, path);
	const { atime, mtime } = statSync(path);
	utimesSync(path, atime, mtime);
	await world.add(path, { id: 'rots' });
	assert.equal((await world.settled('rots')).verification, 'verified');
	const bytes = readFileSync(path);
	bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
	writeFileSync(path, bytes);
	utimesSync(path, atime, mtime);
	assert.equal((await world.ask({ type: 'verify-model', id: 'rots' })).verification, 'pending');
	const rotten = await world.settled('rots');
	assert.deepEqual([rotten.verification, rotten.digest], ['failed', digestOf(path)]);
	assert.match(rotten.problem ?? '', /its bytes have changed, though its size and date have not/);
	rmSync(path);
	await world.ask({ type: 'verify-model', id: 'rots' });
	assert.match((await world.settled('rots')).problem ?? '', /ENOENT/);
});

test('the models of pools have entries; their files are hashed again only when size, date or inode say so', async () => {
	const world = new World();
	const path = join(folder, 'pool.gguf');
	cpSync(model, path);
	const pools: PoolModel[] = [{ poolId: 'p', model: `file:${path}`, path }];
	world.catalog.usePools(pools);
	await world.hashedAll();
	assert.equal((await world.settled(`file:${path}`)).verification, 'verified');
	assert.equal(world.hashed, 1);
	await world.reopen();
	world.catalog.usePools(pools);
	await world.hashedAll();
	assert.equal(world.hashed, 1);
	utimesSync(path, 5, 5);
	world.catalog.usePools(pools);
	await world.hashedAll();
	assert.equal(world.hashed, 2);
	await world.refused({ type: 'delete-model', id: `file:${path}` }, 'CONFLICT', /pool p serves/);
});

test('what is no model file is refused in words: pipes, folders, hostile headers, refs to fetch, names that are none', async () => {
	const world = new World();
	const bad = join(folder, 'bad.gguf');
	writeFileSync(bad, Buffer.concat([Buffer.from('GGUF'), Buffer.from([3, 0, 0, 0]), Buffer.alloc(16, 255)]));
	const add = (text: string, id: string | null = null): CatalogRequest => ({
		type: 'add-model',
		ref: text,
		id,
		digest: null,
		tags: [],
		signatures: [],
		sbom: null,
	});
	await world.refused(add(`file:${bad}`), 'INVALID_PARAMS', /header promises/);
	await world.refused(add('file:/dev/zero'), 'INVALID_PARAMS', /not a GGUF file|regular file/);
	await world.refused(add(`file:${folder}`), 'INVALID_PARAMS', /not a GGUF file|regular file|EISDIR/);
	await world.refused(add('file:/no/such.gguf'), 'INVALID_PARAMS', /ENOENT/);
	await world.refused(add(`sha256:${'0'.repeat(64)}`), 'INVALID_PARAMS', /a model comes from file:/);
	await world.refused(add(model), 'INVALID_PARAMS', /did you mean file:/);
	for (const id of ['..', 'a/b', '-x', 'a b', 'a'.repeat(129)]) await world.refused(add(ref, id), 'INVALID_PARAMS', /^id is /);
	await world.add(model);
	await world.refused(add(ref), 'CONFLICT', /already/);
	await world.refused({ type: 'get-model', id: 'nobody' }, 'NOT_FOUND', /no such model/);
});

test('deleting a model forgets its entry and leaves the file of its user', async () => {
	const world = new World();
	await world.add(model, { id: 'mine' });
	await world.hashedAll();
	await world.ask({ type: 'delete-model', id: 'mine' });
	await world.refused({ type: 'get-model', id: 'mine' }, 'NOT_FOUND', /no such model/);
	assert.ok(existsSync(model));
});

test('a retired model is told by its ref and its name, stays retired over a restart, and may come back', async () => {
	const world = new World();
	await world.add(model, { id: 'old' });
	assert.equal((await world.ask({ type: 'set-model-state', id: 'old', state: 'Retired', deadlineMs: 7 })).state, 'Retired');
	assert.deepEqual(world.news.at(-1), { retired: [ref, 'old'], untrusted: [], names: [], deadlineMs: 7 });
	await world.hashedAll();
	await world.reopen();
	assert.deepEqual(world.catalog.news.retired, [ref, 'old']);
	await world.ask({ type: 'set-model-state', id: 'old', state: 'Active', deadlineMs: 0 });
	assert.deepEqual(world.catalog.news.retired, []);
});

test('pages of a list follow each other without a gap or a repeat, whatever comes and goes between them', async () => {
	const world = new World();
	const entry = await world.add(model, { id: 'm' });
	await world.hashedAll();
	const names = Array.from({ length: 250 }, (_none, index) => `n-${String(index).padStart(3, '0')}`);
	for (const id of names) world.store.put({ ...entry, id });
	const seen: string[] = [];
	for (let after: string | null = null, first = true; first || after !== null; first = false) {
		const page = (await world.ask({ type: 'list-models', limit: 60, after })) as unknown as {
			models: CatalogEntry[];
			next_cursor: string | null;
		};
		seen.push(...page.models.map(({ id }) => id));
		after = page.next_cursor;
		// The one that the cursor names goes.
		if (after !== null) world.store.remove(after);
	}
	assert.deepEqual(seen, ['m', ...names]);
});

test('a store that is damaged or of a later version is not opened, and says what to do', async () => {
	const world = new World();
	await world.add(model, { id: 'm' });
	await world.hashedAll();
	await world.store.close();
	const data = join(world.path, 'data.mdb');
	const whole = readFileSync(data);
	const broken = (bytes: Buffer, words: RegExp): void => {
		writeFileSync(data, bytes);
		assert.throws(
			() => new CatalogStore(world.path),
			(error: unknown) => error instanceof StoreError && words.test(error.message),
		);
	};
	broken(Buffer.alloc(0), /damaged: its file is empty/);
	broken(Buffer.from('not a store'), /damaged: its file does not begin/);
	broken(whole.subarray(0, 5000), /damaged/);
	broken(whole.subarray(0, 3 * 4096), /damaged: page \d+ is missing: the file has 3 pages; orchestratord store check/);
	broken(Buffer.concat([Buffer.alloc(8192, 7), whole.subarray(8192)]), /damaged/);
	writeFileSync(data, whole);
	const again = new CatalogStore(world.path);
	assert.equal(again.get('m')?.id, 'm');
	await again.close();

	const later = open<string, string>({ path: world.path, encoding: 'string', maxDbs: 8 });
	later.putSync('schema', '99');
	await later.close();
	assert.throws(() => new CatalogStore(world.path), /is of version 99; this orchestratord knows versions up to 3/);

	const file = join(folder, 'a-file');
	writeFileSync(file, '');
	assert.throws(() => new CatalogStore(join(file, 'store')), /cannot be opened/);
});

test('a store of the first version becomes one of this: its models are as they were, and by no rules looked at', async () => {
	const path = join(folder, 'first-version');
	const old = open<string, string>({ path, encoding: 'string', maxDbs: 8 });
	const policy = { mode: 'permissive', allowed_registries: [], require_signature: false, require_sbom: false, ca_roots: [] };
	const entry = { id: 'm', digest: 'sha256:ab', source_url: ref, local_path: model, tags: ['x'], state: 'Retired', trust_policy: policy };
	old.openDB<string, string>({ name: 'models', encoding: 'string' }).putSync('m', JSON.stringify(entry));
	old.putSync('schema', '1');
	await old.close();
	for (const _again of [1, 2]) {
		const store = new CatalogStore(path);
		const { trust_policy: _policy, ...kept } = entry;
		const added = { folder: null, files: [], fetching: false, used_ms: null };
		const looked = { signed_by: [], trust_problems: [], trust_rules: null, digest_said: false, untrusted: false };
		assert.deepEqual(store.get('m'), { ...kept, ...added, ...looked });
		await store.close();
	}
});

test('what was being hashed when its daemon ended stays as it was, and is hashed by the next', async () => {
	const world = new World();
	await world.add(model, { id: 'm' });
	world.catalog.close();
	await hashed(model);
	assert.equal(world.store.get('m')?.verification, 'pending');
	await world.reopen();
	world.catalog.resume();
	assert.equal((await world.settled('m')).verification, 'verified');
});

test('files are hashed on threads of their own, several at once, while the event loop goes on', async () => {
	const big = join(folder, 'big.bin');
	writeFileSync(big, '');
	truncateSync(big, 64 * 1024 * 1024);
	mkdirSync(join(folder, 'more'), { recursive: true });
	let turns = 0;
	const ticking = setInterval(() => {
		turns += 1;
	}, 1);
	const both = await Promise.all([hashed(big), hashed(model), hashed(big)]);
	clearInterval(ticking);
	const values = both.map((each) => (each.ok ? each.value : null)) as HashedFile[];
	assert.equal(values[0]?.digest, digestOf(big));
	assert.equal(values[1]?.digest, digestOf(model));
	assert.deepEqual(values[2], values[0]);
	assert.ok(turns > 3, `${turns} turns while 128 MiB were hashed`);
	assert.deepEqual(digestFile(model), values[1]);
	assert.deepEqual(await hashed('/dev/null'), { ok: false, problem: 'it is not a regular file' });
});
