/** The journal's tables over real LMDB, and the lock of a store, in folders of their own. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { JournalWrite, StoreProblem } from '../../src/actors/serving/journal-store.ts';
import { journalFolder, LmdbJournal } from '../../src/store/lmdb-journal.ts';
import { StoreError } from '../../src/store/store-error.ts';
import { lockStore } from '../../src/store/store-lock.ts';

const folder = mkdtempSync(join(tmpdir(), 'orchestratord-store-'));
after(() => rmSync(folder, { recursive: true }));

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const put = (key: string, value: string | null): JournalWrite => ({ table: 'live', key, value: value === null ? null : text(value) });

function commit(store: LmdbJournal, ...writes: JournalWrite[]): StoreProblem | null {
	let outcome: StoreProblem | null | undefined;
	store.commit(writes, (problem) => {
		outcome = problem;
	});
	assert.notEqual(outcome, undefined);
	return outcome ?? null;
}

const keysOf = (store: LmdbJournal): string[] => [...store.entries('live')].map(({ key }) => key);

test('what a commit wrote is there when the store is opened again, and what it took away is not', async () => {
	const path = join(folder, 'again');
	const store = new LmdbJournal(path);
	assert.equal(commit(store, put('b', 'two'), put('a', 'one'), { table: 'notes', key: 'a', value: text('2') }), null);
	assert.equal(commit(store, put('b', null), put('c', 'x'.repeat(100_000))), null);
	await store.close();
	const again = new LmdbJournal(path);
	assert.deepEqual(keysOf(again), ['a', 'c']);
	assert.equal(Buffer.from(again.read('live', 'a') ?? []).toString(), 'one');
	assert.equal(again.read('live', 'c')?.length, 100_000);
	assert.equal(again.read('live', 'b'), null);
	assert.equal(again.read('ended', 'a'), null);
	await again.close();
});

test('a file of which most is free is written anew when it is opened, without that; what it held is there', async () => {
	const path = join(folder, 'compacted');
	const file = join(journalFolder(path), 'data.mdb');
	const store = await LmdbJournal.open(path);
	const keys = Array.from({ length: 400 }, (_, n) => `task ${n}`);
	const value = 'v'.repeat(100_000);
	for (const key of keys) assert.equal(commit(store, put(key, value)), null);
	commit(store, { table: 'sessions', key: 's', value: text('1') });
	await store.close();
	const full = statSync(file).size;
	const same = await LmdbJournal.open(path);
	assert.equal(same.fileBytes, full, 'all of it is held');
	commit(same, ...keys.slice(10).map((key) => put(key, null)));
	await same.close();
	assert.ok(statSync(file).size >= full, 'what is free is written to again, and not given back');
	// A daemon was killed while it did this.
	mkdirSync(join(journalFolder(path), 'compacting'));
	writeFileSync(join(journalFolder(path), 'compacting', 'data.mdb'), 'half of it');
	const small = await LmdbJournal.open(path);
	assert.ok(statSync(file).size < full / 10, `${statSync(file).size} of ${full}`);
	assert.deepEqual(keysOf(small), keys.slice(0, 10).sort());
	assert.equal(Buffer.from(small.read('live', 'task 3') ?? []).toString(), value);
	assert.equal(small.read('sessions', 's')?.length, 1);
	assert.equal(commit(small, put('new', 'x')), null);
	await small.close();
	const again = await LmdbJournal.open(path);
	assert.ok(keysOf(again).includes('new'));
	await again.close();
	assert.deepEqual(readdirSync(journalFolder(path)).sort(), ['data.mdb', 'lock.mdb']);
});

test('a record that the disk has spoiled is not taken for one', async () => {
	const path = join(folder, 'spoiled');
	const store = new LmdbJournal(path);
	commit(store, put('task', `prompt ${'p'.repeat(9_000)}`));
	await store.close();
	const file = join(journalFolder(path), 'data.mdb');
	const bytes = readFileSync(file);
	bytes[bytes.indexOf('ppppp') + 100] = 0x71;
	writeFileSync(file, bytes);
	const spoiled = new LmdbJournal(path);
	assert.throws(
		() => spoiled.read('live', 'task'),
		(error) => error instanceof StoreError && /damaged: live task/.test(error.message),
	);
	await spoiled.close();
});

/** Of a process that may make files of so many KiB and no longer: its last line of output. */
async function withFileLimit(kib: number, script: string): Promise<unknown> {
	const child = spawn('bash', ['-c', `ulimit -f ${kib}; exec "$0" --input-type=module -e "$1"`, process.execPath, script], {
		stdio: ['ignore', 'pipe', 'inherit'],
	});
	let output = '';
	child.stdout.setEncoding('utf8').on('data', (part: string) => {
		output += part;
	});
	const [code] = (await once(child, 'close')) as [number];
	assert.equal(code, 0, output);
	return JSON.parse(output.trim().split('\n').at(-1) ?? '');
}

test('a commit that the disk has no room for leaves nothing, and smaller ones go on behind it', async () => {
	const path = join(folder, 'full');
	const module = new URL('../../src/store/lmdb-journal.js', import.meta.url).href;
	const told = await withFileLimit(
		1024,
		`const { LmdbJournal } = await import(${JSON.stringify(module)});
const store = new LmdbJournal(${JSON.stringify(path)});
const commit = (...writes) => { let problem; store.commit(writes, (told) => { problem = told; }); return problem; };
const write = (key, bytes) => ({ table: 'live', key, value: bytes === null ? null : new Uint8Array(bytes) });
let written = 0;
while (commit(write('first-' + written, 8000), write('second-' + written, 8000)) === null) written += 1;
const problem = commit(write('more', 100_000));
const kept = [...store.entries('live')].length;
const away = commit(write('first-0', null), write('second-0', null));
const small = commit(write('small', 100));
console.log(JSON.stringify({ written, kept, problem: problem?.kind ?? null, away, small, keys: [...store.entries('live')].length }));
await store.close();`,
	);
	const { written, ...rest } = told as { readonly written: number };
	assert.ok(written > 5, `${written} commits`);
	assert.deepEqual(rest, { kept: written * 2, problem: 'failed', away: null, small: null, keys: written * 2 - 1 });
	const store = new LmdbJournal(path);
	assert.equal(keysOf(store).length, written * 2 - 1);
	await store.close();
});

test('of two processes that want a store one has it, under whatever name the other knows it, until it ends', async () => {
	const path = join(folder, 'locked');
	const other = join(folder, 'other-name');
	mkdirSync(path);
	symlinkSync(path, other);
	const module = new URL('../../src/store/store-lock.js', import.meta.url).href;
	const script = `import(${JSON.stringify(module)}).then(({ lockStore }) => lockStore(${JSON.stringify(path)}, ${JSON.stringify(folder)})).then((lock) => { console.log(lock !== null); setInterval(() => {}, 1000); });`;
	const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
	const [said] = (await once(child.stdout, 'data')) as [Buffer];
	assert.equal(said.toString().trim(), 'true');
	assert.equal(await lockStore(other, folder), null);
	child.kill('SIGKILL');
	await once(child, 'exit');
	const lock = await lockStore(other, folder);
	assert.ok(lock);
	lock.release();
});

test('a store whose folder cannot be made is refused in words', async () => {
	writeFileSync(join(folder, 'file'), '');
	await assert.rejects(
		lockStore(join(folder, 'file', 'store'), folder),
		(error) => error instanceof StoreError && /cannot be opened/.test(error.message),
	);
});
