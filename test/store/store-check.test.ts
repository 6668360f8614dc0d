/** What `store check` says of a store that is whole and of one that is damaged, and what `store repair` leaves of it. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { CatalogStore, schemaVersion } from '../../src/actors/catalog/catalog-store.ts';
import { JournalIndex } from '../../src/actors/serving/journal-index.ts';
import type { JournalWrite } from '../../src/actors/serving/journal-store.ts';
import { journalFolder, LmdbJournal } from '../../src/store/lmdb-journal.ts';
import { checkStore, type MendedPart, repairStore } from '../../src/store/store-check.ts';
import { StoreError } from '../../src/store/store-error.ts';
import { lockStore } from '../../src/store/store-lock.ts';

const folder = mkdtempSync(join(tmpdir(), 'orchestratord-check-'));
after(() => rmSync(folder, { recursive: true }));

const pageBytes = 4_096;
const padding = 'p'.repeat(1_500);

/** A record of the journal, as `journal-record` writes one. */
function record(head: Readonly<Record<string, unknown>>, body: Readonly<Record<string, unknown>>): Uint8Array {
	return Buffer.concat(
		[head, body].flatMap((part) => {
			const json = Buffer.from(JSON.stringify(part));
			const size = Buffer.alloc(4);
			size.writeUInt32LE(json.length);
			return [size, json];
		}),
	);
}

const at = { home: 'f0', admittedAt: 1_700_000_000_000, ordinal: 1, run: 1 };
const live = (id: string): JournalWrite => ({
	table: 'live',
	key: id,
	value: record({ ...at, endedAt: null }, { request: { prompt: padding }, keys: [], watched: false, held: null }),
});
const ended = (id: string): JournalWrite => ({
	table: 'ended',
	key: id,
	value: record(
		{ ...at, endedAt: at.admittedAt + 1 },
		{ request: {}, keys: [], facts: { endedAt: 1, padding }, eventBytes: 0, vectors: null },
	),
});
const note = (id: string): JournalWrite => ({ table: 'notes', key: id, value: Buffer.from('{"run":2}') });

async function stored(path: string, ...commits: JournalWrite[][]): Promise<string> {
	const store = new LmdbJournal(path);
	for (const writes of commits) store.commit(writes, (problem) => assert.equal(problem, null));
	await store.close();
	return join(journalFolder(path), 'data.mdb');
}

const ids = (count: number, prefix: string): string[] => Array.from({ length: count }, (_, n) => `${prefix}${String(n).padStart(3, '0')}`);

function spoil(file: string, page: number): void {
	const bytes = readFileSync(file);
	bytes.fill(0xee, page * pageBytes, (page + 1) * pageBytes);
	writeFileSync(file, bytes);
}

/** The pages on which a text lies. */
function pagesWith(file: string, text: string): number[] {
	const bytes = readFileSync(file);
	const found: number[] = [];
	for (let from = bytes.indexOf(text); from >= 0; from = bytes.indexOf(text, from + 1)) found.push(Math.floor(from / pageBytes));
	return found;
}

async function keysOf(path: string): Promise<Record<'live' | 'notes' | 'ended', string[]>> {
	const store = new LmdbJournal(path);
	const keys = (table: 'live' | 'notes' | 'ended'): string[] => [...store.entries(table)].map(({ key }) => key);
	const all = { live: keys('live'), notes: keys('notes'), ended: keys('ended') };
	JournalIndex.of(store, ['f0']);
	await store.close();
	return all;
}

const repair = (path: string, stamp = 'now'): Promise<MendedPart[]> => repairStore(path, schemaVersion, stamp);
const problemsOf = (path: string): string[] => checkStore(path, schemaVersion).flatMap(({ problems }) => problems);

test('a store that is whole is said to be, and is left as it is', async () => {
	const path = join(folder, 'whole');
	const lock = await lockStore(path, folder);
	assert.ok(lock);
	assert.deepEqual(checkStore(path, schemaVersion), []);
	const file = await stored(path, ids(30, 'l').map(live), ids(30, 'e').map(ended), [note('l001')]);
	await new CatalogStore(path).close();
	const before = readFileSync(file);
	const report = checkStore(path, schemaVersion);
	assert.deepEqual(
		report.map(({ name, problems }) => ({ name, problems })),
		[
			{ name: 'catalog', problems: [] },
			{ name: 'journal', problems: [] },
		],
	);
	assert.equal(report[1]?.entries, 30 + 30 + 1 + 1);
	const mended = await repair(path);
	assert.deepEqual(
		mended.map(({ keptAs }) => keptAs),
		[null, null],
	);
	assert.ok(readFileSync(file).equals(before));
	lock.release();
});

test('of a store with a spoiled page the rest is kept, what is gone is told, and the damaged file stays', async () => {
	const path = join(folder, 'page');
	const all = ids(200, 'task');
	const file = await stored(path, all.map(live), ids(50, 'over').map(ended));
	const [page = 0] = pagesWith(file, 'task120').slice(-1);
	spoil(file, page);
	const damaged = readFileSync(file);
	assert.throws(() => new LmdbJournal(path), /is damaged.*store check.*store repair/);
	assert.match(problemsOf(path).join(), /live: page \d+ is not what belongs there/);
	const [part] = await repair(path);
	assert.equal(part?.keptAs, `${file}.damaged-now`);
	assert.ok(readFileSync(`${file}.damaged-now`).equals(damaged));
	assert.notDeepEqual(part?.problems, []);
	assert.deepEqual(problemsOf(path), []);
	const { live: kept, ended: over } = await keysOf(path);
	assert.ok(kept.length >= 190 && kept.length <= 200, `${kept.length} were kept`);
	assert.equal(over.length, 50);
	assert.equal((await repair(path, 'later'))[0]?.keptAs, null);
	assert.deepEqual(
		readdirSync(journalFolder(path)).filter((name) => !name.startsWith('lock')),
		['data.mdb', 'data.mdb.damaged-now'],
	);
});

test('a record whose bytes have changed is lost alone', async () => {
	const path = join(folder, 'record');
	const file = await stored(path, ids(20, 'task').map(live), [live('other')]);
	const bytes = readFileSync(file);
	const where = bytes.lastIndexOf(padding.slice(0, 1_400), bytes.lastIndexOf('other'));
	const found = where < 0 ? bytes.lastIndexOf(padding.slice(0, 1_400)) : where;
	bytes[found + 700] = 0x71;
	writeFileSync(file, bytes);
	const problems = problemsOf(path);
	assert.equal(problems.length, 1);
	assert.match(problems[0] ?? '', /^live \S+ is not as it was written$/);
	const lost = problems[0]?.split(' ')[1] ?? '';
	await repair(path);
	const { live: kept } = await keysOf(path);
	// What the last commit but one still had of it is as good.
	assert.deepEqual([...new Set([...kept, lost])].sort(), [...ids(20, 'task'), 'other'].sort());
	assert.ok(kept.length >= 20);
});

test('where the last head is gone, the commit before it is what is left', async () => {
	const path = join(folder, 'head');
	const file = await stored(path, [live('a')], [live('b')], [live('c')]);
	const heads = [0, 1].map((page) => readFileSync(file).readBigUInt64LE(page * pageBytes + 152));
	spoil(file, (heads[0] ?? 0n) > (heads[1] ?? 0n) ? 0 : 1);
	assert.notDeepEqual(problemsOf(path), []);
	await repair(path);
	assert.deepEqual((await keysOf(path)).live, ['a', 'b']);
	assert.deepEqual(problemsOf(path), []);
});

test('a task that has ended is not run again, and notes that are of no task are dropped', async () => {
	const path = join(folder, 'contradiction');
	await stored(path, [live('a'), ended('a'), live('b'), note('b'), note('nobody')]);
	assert.deepEqual(problemsOf(path), ['a is to run, and has ended', 'notes nobody are of no task']);
	const [part] = await repair(path);
	assert.equal(part?.problems.length, 2);
	assert.deepEqual(await keysOf(path), { live: ['b'], notes: ['b'], ended: ['a'] });
	assert.deepEqual(problemsOf(path), []);
});

test('a file that holds nothing of a store is replaced by an empty one', async () => {
	const path = join(folder, 'nothing');
	const file = await stored(path, [live('a')]);
	writeFileSync(file, 'not a store\n'.repeat(5_000));
	await repair(path);
	assert.deepEqual((await keysOf(path)).live, []);
});

test('whatever is spoiled, a repaired store is whole, opens, and holds nothing that was never written', async () => {
	const path = join(folder, 'any');
	const written = new Set(['live', 'ended'].flatMap((table) => ids(60, 'x').map((id) => `${table} ${id}`)));
	const file = await stored(path, ids(60, 'x').slice(0, 30).map(live), ids(60, 'x').slice(30).map(ended), [note('x001')]);
	const whole = readFileSync(file);
	const place = fc.record({ page: fc.nat(Math.floor(whole.length / pageBytes) - 1), at: fc.oneof(fc.nat(64), fc.nat(pageBytes - 1)) });
	let run = 0;
	await fc.assert(
		fc.asyncProperty(fc.array(place, { minLength: 1, maxLength: 30 }), fc.nat(255), fc.boolean(), async (places, byte, isCut) => {
			const bytes = Buffer.from(whole);
			for (const { page, at: offset } of places) bytes[page * pageBytes + offset] = byte;
			writeFileSync(file, isCut ? bytes.subarray(0, (places[0]?.page ?? 0) * pageBytes) : bytes);
			rmSync(join(journalFolder(path), 'lock.mdb'), { force: true });
			const [part] = await repair(path, `run${run++}`);
			assert.deepEqual(problemsOf(path), []);
			const kept = await keysOf(path);
			for (const table of ['live', 'ended'] as const) for (const id of kept[table]) assert.ok(written.has(`${table} ${id}`));
			rmSync(part?.keptAs ?? '', { force: true });
		}),
		{ numRuns: 60 },
	);
});

test('a journal of a later version is not taken for a damaged one', async () => {
	const path = join(folder, 'version');
	const file = await stored(path, [live('a')]);
	const bytes = readFileSync(file);
	for (let from = bytes.indexOf('schema'); from >= 0; from = bytes.indexOf('schema', from + 1)) {
		const value = bytes.indexOf('1', from);
		if (value - from < 12) bytes[value] = 0x32;
	}
	writeFileSync(file, bytes);
	assert.throws(
		() => new LmdbJournal(path),
		(error) => error instanceof StoreError && /is of version 2; this orchestratord knows version 1/.test(error.message),
	);
	await assert.rejects(repair(path), /version 2/);
	assert.deepEqual(readFileSync(file), bytes);
});
