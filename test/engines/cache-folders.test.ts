/** Folders of what managed engines cache: emptied in a moment, deleted behind it, and nothing else touched. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
	existsSync,
	lstatSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	symlinkSync,
	watch,
	writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { CacheFolders } from '../../src/engines/managed/cache-folders.ts';

const root = mkdtempSync(join(tmpdir(), 'orchd-caches-'));
after(() => rmSync(root, { recursive: true, force: true }));
const problems: string[] = [];
const caches = new CacheFolders((words) => problems.push(words));

/** Once nothing that was put aside is left in it. */
async function deleted(poolFolder: string): Promise<string[]> {
	const watcher = watch(poolFolder);
	for (;;) {
		const names = readdirSync(poolFolder);
		if (names.every((name) => !name.startsWith('.aside-'))) {
			watcher.close();
			return names.sort();
		}
		await once(watcher, 'change');
	}
}

test('a replica has a folder of its own, which outlives its engines and is for this user alone', () => {
	const pool = join(root, 'a', 'pool');
	const folder = caches.make(pool, 'pool-0');
	assert.equal(folder, join(pool, 'pool-0'));
	writeFileSync(join(folder, 'kernel'), 'compiled');
	caches.make(pool, 'pool-0');
	assert.equal(readFileSync(join(folder, 'kernel'), 'utf8'), 'compiled');
	for (const each of [folder, pool, join(root, 'a')]) assert.equal(lstatSync(each).mode & 0o777, 0o700, each);
});

test('what is emptied is empty at once, and is deleted behind that; other replicas keep theirs', async () => {
	const pool = join(root, 'b');
	for (const id of ['b-0', 'b-1']) {
		const deep = join(caches.make(pool, id), 'x', 'y');
		mkdirSync(deep, { recursive: true });
		for (let i = 0; i < 50; i++) writeFileSync(join(deep, `${i}`), 'z');
	}
	assert.equal(caches.empty(pool, 'b-0'), null);
	assert.equal(existsSync(join(pool, 'b-0')), false);
	assert.deepEqual(readdirSync(caches.make(pool, 'b-0')), []);
	assert.deepEqual(await deleted(pool), ['b-0', 'b-1']);
	assert.equal(readdirSync(join(pool, 'b-1', 'x', 'y')).length, 50);
	assert.equal(caches.empty(pool, 'b-2'), null, 'what is not there is empty');
	assert.equal(caches.empty(join(root, 'nowhere'), 'n-0'), null);
});

test('links are taken away and not followed: what they lead to stays', async () => {
	const outside = join(root, 'models');
	mkdirSync(outside);
	writeFileSync(join(outside, 'weights'), 'precious');
	const pool = join(root, 'c');
	symlinkSync(outside, join(caches.make(pool, 'c-0'), 'hub'));
	symlinkSync(outside, join(pool, 'c-1'));
	assert.equal(caches.empty(pool, 'c-0'), null);
	assert.equal(caches.empty(pool, 'c-1'), null);
	assert.deepEqual(await deleted(pool), []);
	assert.equal(readFileSync(join(outside, 'weights'), 'utf8'), 'precious');
});

test('what a daemon that ended had put aside is deleted by the next engine of the pool', async () => {
	const pool = join(root, 'd');
	mkdirSync(join(pool, '.aside-01234567-89ab-cdef-0123-456789abcdef', 'x'), { recursive: true });
	caches.make(pool, 'd-0');
	assert.deepEqual(await deleted(pool), ['d-0']);
});

test('what cannot be emptied is told in words', () => {
	writeFileSync(join(root, 'file'), '');
	assert.match(caches.empty(join(root, 'file'), 'e-0') ?? '', /file\/e-0 could not be emptied \(ENOTDIR\)/);
	assert.throws(() => caches.make(join(root, 'file'), 'e-0'), /ENOTDIR|EEXIST/);
	assert.deepEqual(problems, []);
});
