/** Pulls of the catalog over real threads, a real store and a server that misbehaves: joined, watched, called off, gone on with, bounded. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { PullNews } from '../../src/actors/serving/catalog-messages.ts';
import { BadSource } from '../fetch/bad-source.ts';
import { digestOf, model, World } from './catalog-world.ts';

const source = new BadSource();
const bytes = readFileSync(model);
const third = Math.floor(bytes.length / 3);
before(async () => {
	await source.listen();
});
after(() => source.close());

test('a model is known before it is here; a pull brings it, verified, and tells how far it is', async () => {
	const world = new World();
	const ref = source.put('/known.gguf', bytes);
	const added = await world.add(ref, { id: 'known' });
	assert.deepEqual([added.verification, added.local_path, added.source_url], ['absent', null, ref]);
	await world.refused({ type: 'verify-model', id: 'known' }, 'CONFLICT', /is not here; pull it/);
	await world.refused({ type: 'watch-pull', id: 'known', after: 0 }, 'NOT_FOUND', /no pull of known is under way/);
	source.fault('/known.gguf', { holdAfter: third });
	const asked = (await world.ask({ type: 'pull-model', id: 'known' })) as unknown as { pull: { phase: string }; fetching: boolean };
	assert.deepEqual([asked.pull.phase, asked.fetching], ['queued', true]);
	await source.held();
	const news: PullNews[] = [];
	const over = world.pulled('known', (each) => {
		news.push(each);
		if (each.event === 'progress' && each.data.bytes_done >= third) source.go();
	});
	const end = await over;
	assert.equal(end.event, 'end');
	const entry = await world.ask({ type: 'get-model', id: 'known' });
	assert.deepEqual(
		[entry.verification, entry.digest, entry.size_bytes, entry.fetching],
		['verified', digestOf(model), bytes.length, false],
	);
	assert.deepEqual(readFileSync(entry.local_path ?? ''), bytes);
	assert.ok(
		news.some((each) => each.event === 'progress' && each.data.bytes_total === bytes.length && each.data.bytes_done < bytes.length),
	);
	assert.deepEqual(world.counted, ['catalog_verifications_total ok ']);
	// It is here: nothing is asked of the source again.
	const requests = source.seen.length;
	await world.ask({ type: 'pull-model', id: 'known' });
	assert.equal((await world.pulled('known')).event, 'end');
	assert.equal(source.seen.length, requests);
	// What was hashed on its way is not hashed again, and what is asked for is.
	await world.reopen();
	world.catalog.usePools([{ poolId: 'p', model: ref, path: null }]);
	assert.equal(world.hashed, 0);
	await world.ask({ type: 'verify-model', id: 'known' });
	assert.equal((await world.settled('known')).verification, 'verified');
	assert.equal(world.hashed, 1);
});

test('several that want one model are one pull, whatever they call it; each is told', async () => {
	const world = new World();
	const ref = source.put('/shared.gguf', bytes);
	source.fault('/shared.gguf', { holdAfter: third });
	await world.add(ref, { id: 'one' });
	await world.add(ref, { id: 'two' });
	await world.add(ref, { id: 'other', digest: `sha256:${'0'.repeat(64)}` });
	for (const id of ['one', 'two', 'one', 'other']) await world.ask({ type: 'pull-model', id });
	await source.held();
	const ends = Promise.all(['one', 'one', 'two'].map((id) => world.pulled(id)));
	source.go();
	assert.deepEqual(
		(await ends).map(({ event }) => event),
		['end', 'end', 'end'],
	);
	assert.equal(source.ranges('/shared.gguf').length, 1);
	const [one, two, other] = await Promise.all(['one', 'two', 'other'].map((id) => world.ask({ type: 'get-model', id })));
	assert.equal(one?.local_path, two?.local_path);
	// It was promised other bytes.
	assert.deepEqual([other?.verification, other?.local_path], ['failed', null]);
	assert.ok(world.counted.includes('catalog_verifications_total failed mismatch'));
	// The bytes go with the last that has them.
	await world.ask({ type: 'delete-model', id: 'one' });
	assert.ok(existsSync(two?.local_path ?? ''));
	await world.ask({ type: 'delete-model', id: 'two' });
	while (existsSync(two?.folder ?? '')) await new Promise((resolve) => setImmediate(resolve));
});

test('no more pulls run at once than may; the others wait in line and can be called off there', async () => {
	const world = new World({}, 1);
	for (const name of ['first', 'second', 'third']) await world.add(source.put(`/${name}.gguf`, bytes), { id: name });
	source.fault('/first.gguf', { holdAfter: third });
	for (const name of ['first', 'second', 'third']) await world.ask({ type: 'pull-model', id: name });
	await source.held();
	await world.ask({ type: 'cancel-pull', id: 'second' });
	const second = await world.pulled('second');
	assert.ok(second.event === 'error' && /called off/.test(second.data.message));
	assert.deepEqual(source.ranges('/third.gguf'), []);
	source.go();
	assert.equal((await world.pulled('third')).event, 'end');
	assert.deepEqual(source.ranges('/second.gguf'), []);
	await world.refused({ type: 'cancel-pull', id: 'third' }, 'NOT_FOUND', /no pull of third is under way/);
});

test('a pull that a daemon did not finish is gone on with by the next one, behind what had come', async () => {
	const world = new World();
	const ref = source.put('/resumed.gguf', bytes, '"v1"');
	source.fault('/resumed.gguf', { holdAfter: third });
	await world.add(ref, { id: 'm' });
	await world.ask({ type: 'pull-model', id: 'm' });
	await source.held();
	await new Promise<void>((resolve) => {
		void world.pulled('m', (news) => {
			if (news.event === 'progress' && news.data.bytes_done >= third) resolve();
		});
	});
	await world.reopen();
	source.go();
	assert.equal(world.store.get('m')?.fetching, true);
	world.catalog.resume();
	assert.equal((await world.pulled('m')).event, 'end');
	assert.deepEqual(source.ranges('/resumed.gguf'), [undefined, `bytes=${third}-`]);
});

test('what a source refuses is told with its own code, and is asked for again at the next pull', async () => {
	const world = new World();
	const ref = source.put('/gated.gguf', bytes);
	source.fault('/gated.gguf', { status: 401 });
	await world.add(ref, { id: 'm' });
	await world.ask({ type: 'pull-model', id: 'm' });
	const end = await world.pulled('m');
	assert.ok(end.event === 'error');
	assert.deepEqual([end.data.code, end.data.retriable], ['UNAUTHORIZED', false]);
	const entry = await world.ask({ type: 'get-model', id: 'm' });
	assert.deepEqual([entry.verification, entry.fetching], ['absent', false]);
	assert.match(entry.problem ?? '', /answered 401/);
	await world.ask({ type: 'pull-model', id: 'm' });
	assert.equal((await world.pulled('m')).event, 'end');
});

test('nothing is fetched where fetching is off, nor what is no source', async () => {
	const world = new World({ allowed: false });
	await world.add(source.put('/off.gguf', bytes), { id: 'off' });
	await world.refused({ type: 'pull-model', id: 'off' }, 'FORBIDDEN', /set catalog\.fetch: true/);
	assert.deepEqual(source.ranges('/off.gguf'), []);
	await world.add(model, { id: 'file' });
	await world.refused({ type: 'pull-model', id: 'file' }, 'INVALID_PARAMS', /is not fetched/);
	await world.hashedAll();
});

test('a quota makes room by the longest unused models that no pool loads, and refuses what does not fit even so', async () => {
	const world = new World({ quotaBytes: Math.floor(bytes.length * 2.5) });
	const variant = (name: string): string => source.put(`/${name}.gguf`, Buffer.concat([bytes, Buffer.from(name)]));
	const pull = async (name: string): Promise<PullNews> => {
		await world.add(variant(name), { id: name });
		await world.ask({ type: 'pull-model', id: name });
		return await world.pulled(name);
	};
	assert.equal((await pull('a')).event, 'end');
	assert.equal((await pull('b')).event, 'end');
	const a = await world.ask({ type: 'get-model', id: 'a' });
	world.store.put({ ...(await world.ask({ type: 'get-model', id: 'b' })), used_ms: 500 });
	assert.equal((await pull('c')).event, 'end');
	const states = async (): Promise<string[]> =>
		await Promise.all(['a', 'b', 'c'].map(async (id) => (await world.ask({ type: 'get-model', id })).verification));
	assert.deepEqual(await states(), ['verified', 'absent', 'verified']);
	assert.equal(readdirSync(join(world.root, 'models')).length, 2);
	const c = await world.ask({ type: 'get-model', id: 'c' });
	world.catalog.usePools([a, c].map(({ source_url: ref }, index) => ({ poolId: `p${index}`, model: ref, path: null })));
	const refusal = await pull('d');
	assert.ok(refusal.event === 'error' && /catalog\.quota_bytes is \d+; .* exceeded by/.test(refusal.data.message), JSON.stringify(refusal));
	assert.deepEqual(await states(), ['verified', 'absent', 'verified']);
});

test('a deleted model takes its pull and its own folder along, and never a file of its user', async () => {
	const world = new World();
	const ref = source.put('/gone.gguf', bytes);
	source.fault('/gone.gguf', { holdAfter: third });
	await world.add(ref, { id: 'gone' });
	await world.ask({ type: 'pull-model', id: 'gone' });
	await source.held();
	const over = world.answer({ type: 'watch-pull', id: 'gone', after: 1_000_000 });
	await world.ask({ type: 'delete-model', id: 'gone' });
	assert.deepEqual(await over, await world.answer({ type: 'get-model', id: 'gone' }));
	source.go();
	await world.add(model, { id: 'mine' });
	await world.hashedAll();
	await world.ask({ type: 'delete-model', id: 'mine' });
	assert.ok(existsSync(model));
});

test('damage to a fetched file is found, and a pull brings it back', async () => {
	const world = new World();
	const { writeFileSync } = await import('node:fs');
	await world.add(source.put('/damaged.gguf', bytes), { id: 'm' });
	await world.ask({ type: 'pull-model', id: 'm' });
	await world.pulled('m');
	const { local_path: path } = await world.ask({ type: 'get-model', id: 'm' });
	const damaged = Buffer.from(bytes);
	damaged[damaged.length - 1] = (damaged.at(-1) ?? 0) ^ 1;
	writeFileSync(path ?? '', damaged);
	await world.ask({ type: 'verify-model', id: 'm' });
	const failed = await world.settled('m');
	assert.equal(failed.verification, 'failed');
	assert.match(failed.problem ?? '', /has digest .*, not .* as it was fetched/);
	await world.ask({ type: 'pull-model', id: 'm' });
	assert.equal((await world.pulled('m')).event, 'end');
	assert.deepEqual(readFileSync(path ?? ''), bytes);
});
