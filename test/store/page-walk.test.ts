/** LMDB's file as it is read without LMDB: the same entries, and of a spoiled one never more than a sentence. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { type Database, open } from 'lmdb';
import { PageProblem, PageWalk } from '../../src/store/page-walk.ts';

const folder = mkdtempSync(join(tmpdir(), 'orchestratord-pages-'));
after(() => rmSync(folder, { recursive: true }));

const tableNames = ['first', 'second', ''] as const;
type Name = (typeof tableNames)[number];
type Write = { readonly table: Name; readonly key: string; readonly bytes: number | null };
type Contents = Map<string, Buffer>;

const write: fc.Arbitrary<Write> = fc.record({
	table: fc.constantFrom(...tableNames),
	key: fc.stringMatching(/^[a-z]{1,3}$/),
	bytes: fc.option(fc.oneof(fc.nat(200), fc.nat(3_000), fc.nat(20_000)), { freq: 5 }),
});
const commits = fc.array(fc.array(write, { maxLength: 60 }), { minLength: 1, maxLength: 8 });

let made = 0;

/** A store after `all`: its file, and what it holds behind the last commit and behind that before it. */
async function storeOf(all: readonly (readonly Write[])[]): Promise<{ readonly file: string; readonly states: readonly Contents[] }> {
	const path = join(folder, `s${made++}`);
	const root = open<Buffer, string>({ path, encoding: 'binary', maxDbs: 4, overlappingSync: false });
	const tables: Record<Name, Database<Buffer, string>> = {
		first: root.openDB<Buffer, string>({ name: 'first', encoding: 'binary' }),
		second: root.openDB<Buffer, string>({ name: 'second', encoding: 'binary' }),
		'': root,
	};
	const contents: Contents = new Map();
	const states = [new Map(contents)];
	for (const [index, writes] of all.entries()) {
		root.transactionSync(() => {
			// A commit that changes nothing is none.
			tables[''].putSync('~', Buffer.from(String(index)));
			contents.set('/~', Buffer.from(String(index)));
			for (const { table, key, bytes } of writes) {
				if (bytes === null) tables[table].removeSync(key);
				else tables[table].putSync(key, Buffer.alloc(bytes, key));
				if (bytes === null) contents.delete(`${table}/${key}`);
				else contents.set(`${table}/${key}`, Buffer.alloc(bytes, key));
			}
		});
		states.push(new Map(contents));
	}
	await root.close();
	return { file: join(path, 'data.mdb'), states: states.reverse() };
}

function walked(file: string, head: 'newest' | 'older' = 'newest', lost?: (words: string) => void): Contents {
	const walk = new PageWalk(file, head);
	try {
		return new Map([...walk.entries(lost)].map(({ table, key, value }) => [`${table}/${key.toString()}`, Buffer.from(value)]));
	} finally {
		walk.close();
	}
}

function checked(file: string): void {
	const walk = new PageWalk(file);
	try {
		walk.check();
	} finally {
		walk.close();
	}
}

const sorted = (contents: Contents): [string, string][] =>
	[...contents].map(([key, value]): [string, string] => [key, value.toString('latin1')]).sort(([a], [b]) => (a < b ? -1 : 1));

test('every entry that LMDB holds is read, of the last commit and of that before it', async () => {
	await fc.assert(
		fc.asyncProperty(commits, async (all) => {
			const { file, states } = await storeOf(all);
			checked(file);
			assert.deepEqual(sorted(walked(file)), sorted(states[0] ?? new Map()));
			assert.deepEqual(sorted(walked(file, 'older')), sorted(states[1] ?? new Map()));
		}),
		{ numRuns: 40 },
	);
});

test('a file that is spoiled anywhere, or cut off, is read to its end or said to be so, and nothing else happens', async () => {
	const big = Array.from(
		{ length: 150 },
		(_, n): Write => ({ table: n % 3 === 0 ? 'first' : 'second', key: `k${n}`, bytes: (n * 53) % 9_000 }),
	);
	const { file } = await storeOf([big, big.map((each) => ({ ...each, key: `${each.key}b` })), [{ table: '', key: 'x', bytes: 4 }]]);
	const whole = readFileSync(file);
	const outcomes = { thrown: 0, read: 0 };
	const tried = (look: () => void): void => {
		try {
			look();
			outcomes.read += 1;
		} catch (error) {
			assert.ok(error instanceof PageProblem, String(error));
			outcomes.thrown += 1;
		}
	};
	const place = fc.record({ page: fc.nat(whole.length / 4_096 - 1), at: fc.oneof(fc.nat(64), fc.nat(4_095)), byte: fc.nat(255) });
	fc.assert(
		fc.property(fc.array(place, { minLength: 1, maxLength: 40 }), fc.option(fc.nat(whole.length), { freq: 3 }), (places, cut) => {
			const bytes = Buffer.from(whole);
			for (const { page, at, byte } of places) bytes[page * 4_096 + at] = byte;
			writeFileSync(file, bytes);
			if (cut !== null) truncateSync(file, cut);
			tried(() => checked(file));
			for (const head of ['newest', 'older'] as const) {
				tried(() => walked(file, head));
				const lost: string[] = [];
				tried(() => assert.ok(walked(file, head, (words) => lost.push(words)).size < 2_000));
			}
		}),
		{ numRuns: 150 },
	);
	assert.ok(outcomes.thrown > 50 && outcomes.read > 50, JSON.stringify(outcomes));
});

test('an empty file and one of something else are no store', () => {
	for (const [name, content] of [
		['empty', ''],
		['text', 'not a store\n'.repeat(2_000)],
	] as const) {
		const file = join(folder, name);
		writeFileSync(file, content);
		for (const head of ['newest', 'older'] as const) assert.throws(() => new PageWalk(file, head), PageProblem);
	}
});

test('free pages of many transactions are in the order of their numbers', async () => {
	const path = join(folder, 'many');
	const root = open<Buffer, string>({ path, encoding: 'binary', maxDbs: 4, overlappingSync: false });
	// What is read keeps the pages that are freed meanwhile.
	const reading = root.useReadTransaction();
	for (let n = 0; n < 300; n += 1) root.putSync(`key ${n % 7}`, Buffer.alloc(2_000, n));
	const walk = new PageWalk(join(path, 'data.mdb'));
	walk.check();
	walk.close();
	reading.done();
	await root.close();
});
