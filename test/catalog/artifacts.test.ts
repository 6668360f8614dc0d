/** The store of artifacts over a real index and real files, in folders of their own. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { ArtifactIndex } from '../../src/actors/catalog/artifact-index.ts';
import { Artifacts } from '../../src/actors/catalog/artifacts.ts';
import { CatalogStore } from '../../src/actors/catalog/catalog-store.ts';
import { silentTelemetry } from '../../src/actors/kernel/telemetry.ts';
import type { ArtifactAnswer, ArtifactEntry, ArtifactRequest } from '../../src/actors/serving/artifact-messages.ts';
import { artifactFiles } from '../../src/artifact-files.ts';

const folder = mkdtempSync(join(tmpdir(), 'orchestratord-artifacts-'));
const worlds: World[] = [];
after(async () => {
	for (const world of worlds) await world.close();
	rmSync(folder, { recursive: true });
});

const idOf = (content: string): string => `sha256:${createHash('sha256').update(content).digest('hex')}`;
const hexOf = (content: string): string => idOf(content).slice('sha256:'.length);

type Told = ArtifactEntry & { readonly content?: string };
interface Page {
	readonly artifacts: readonly Told[];
	readonly next_cursor: string | null;
}

class World {
	readonly path = join(folder, `store-${worlds.length}`);
	readonly quotaBytes: number;
	readonly collected: number[] = [];
	now = 1000;
	store: CatalogStore;
	index: ArtifactIndex;
	artifacts: Artifacts;

	constructor(quotaBytes = 1024 * 1024) {
		this.quotaBytes = quotaBytes;
		worlds.push(this);
		[this.store, this.index, this.artifacts] = this.#open();
	}

	#open(): [CatalogStore, ArtifactIndex, Artifacts] {
		const store = new CatalogStore(this.path);
		const index = new ArtifactIndex(store.root);
		const telemetry = {
			...silentTelemetry,
			count: (metric: string, _labels: unknown, by = 1) => {
				if (metric === 'artifacts_collected_total') this.collected.push(by);
			},
		};
		const files = artifactFiles(join(this.path, 'artifacts'));
		const artifacts = new Artifacts(index, files, { quotaBytes: this.quotaBytes, wallNow: () => this.now, telemetry });
		return [store, index, artifacts];
	}

	open(): void {
		[this.store, this.index, this.artifacts] = this.#open();
	}

	async close(): Promise<void> {
		await new Promise<void>((resolve) => this.artifacts.close(resolve));
		await this.store.close();
	}

	async sweep(): Promise<void> {
		await new Promise<void>((resolve) => this.artifacts.sweep(resolve));
	}

	async reopen(): Promise<void> {
		await this.close();
		this.open();
	}

	answer(request: ArtifactRequest): Promise<ArtifactAnswer> {
		return new Promise((resolve) => this.artifacts.answer(request, resolve));
	}

	async #told(request: ArtifactRequest): Promise<unknown> {
		const answer = await this.answer(request);
		assert.ok(answer.ok, JSON.stringify(answer));
		return JSON.parse(answer.json === '' ? 'null' : answer.json);
	}

	async put(content: string, more: Partial<ArtifactEntry> = {}): Promise<Told> {
		this.now += 1;
		return (await this.#told(putOf(content, more))) as Told;
	}

	async get(content: string, tenant = 'a', foreign = false): Promise<Told> {
		return (await this.#told({ type: 'get-artifact', id: idOf(content), tenant, foreign })) as Told;
	}

	async remove(content: string, tenant = 'a'): Promise<void> {
		await this.#told({ type: 'delete-artifact', id: idOf(content), tenant, foreign: false });
	}

	async list(more: Partial<Extract<ArtifactRequest, { type: 'list-artifacts' }>> = {}): Promise<Page> {
		return (await this.#told({ type: 'list-artifacts', tenant: null, kind: null, tag: null, limit: 100, after: null, ...more })) as Page;
	}

	async refused(request: ArtifactRequest, code: string, words: RegExp): Promise<void> {
		const answer = await this.answer(request);
		assert.ok(!answer.ok, JSON.stringify(answer));
		assert.equal(answer.failure.code, code);
		assert.match(answer.failure.message, words);
	}

	async missing(content: string, tenant = 'a'): Promise<void> {
		await this.refused({ type: 'get-artifact', id: idOf(content), tenant, foreign: false }, 'NOT_FOUND', /no such artifact/);
	}

	/** Of contents; once what is under way has been done. */
	async onDisk(): Promise<string[]> {
		await this.reopen();
		const root = join(this.path, 'artifacts');
		return readdirSync(root)
			.filter((name) => name.length === 2)
			.flatMap((shelf) => readdirSync(join(root, shelf)))
			.sort();
	}

	fileOf(content: string): string {
		const hex = hexOf(content);
		return join(this.path, 'artifacts', hex.slice(0, 2), hex);
	}
}

function putOf(content: string, more: Partial<ArtifactEntry> = {}): ArtifactRequest {
	return { type: 'put-artifact', content, kind: 'plan', tenant: 'a', tags: [], parent: null, metadata: {}, ...more };
}

test('an artifact is kept under the SHA-256 of its content, and comes back as it was given, over a restart too', async () => {
	const world = new World();
	const content = 'Zuerst wacht der Fuchs auf 🦊\n';
	const told = await world.put(content, { tags: ['fox'], metadata: { step: [1, { deep: null }] } });
	assert.deepEqual(told, {
		id: idOf(content),
		kind: 'plan',
		tenant: 'a',
		tags: ['fox'],
		parent: null,
		metadata: { step: [1, { deep: null }] },
		size_bytes: Buffer.byteLength(content),
		created_ms: 1001,
	});
	await world.reopen();
	assert.deepEqual(await world.get(content), { ...told, content });
	assert.equal(readFileSync(world.fileOf(content), 'utf8'), content);
	assert.equal(statSync(world.fileOf(content)).mode & 0o777, 0o600);
	assert.equal((await world.get((await world.put('')).size_bytes === 0 ? '' : 'x')).content, '');
});

test('the same content again is the same artifact, with what is said of it last', async () => {
	const world = new World();
	const parent = await world.put('parent');
	await world.put('text', { tags: ['one'] });
	const bytes = world.index.bytes;
	await world.put('text', { tags: ['two'] });
	assert.equal(world.index.bytes, bytes);
	const again = await world.put('text', { kind: 'summary', parent: parent.id });
	assert.deepEqual([again.kind, again.tags, again.parent, again.created_ms], ['summary', [], parent.id, 1004]);
	assert.deepEqual(
		(await world.list()).artifacts.map(({ id }) => id),
		[idOf('text'), idOf('parent')],
	);
});

test('each tenant has its own artifacts, also where the content is the same; who may see all finds them', async () => {
	const world = new World();
	await world.put('shared', { tags: ['mine'] });
	await world.put('shared', { tenant: 'b"\u0000é', tags: ['theirs'] });
	await world.put('theirs', { tenant: 'b"\u0000é' });
	assert.deepEqual((await world.get('shared')).tags, ['mine']);
	assert.deepEqual((await world.get('shared', 'b"\u0000é')).tags, ['theirs']);
	await world.missing('theirs');
	assert.equal((await world.get('theirs', 'a', true)).tenant, 'b"\u0000é');
	assert.deepEqual(
		(await world.list({ tenant: 'a' })).artifacts.map(({ tags }) => tags),
		[['mine']],
	);
	await world.remove('shared');
	await world.missing('shared');
	assert.equal((await world.get('shared', 'b"\u0000é')).content, 'shared');
	assert.deepEqual(await world.onDisk(), [hexOf('shared'), hexOf('theirs')].sort());
	await world.remove('shared', 'b"\u0000é');
	assert.deepEqual(await world.onDisk(), [hexOf('theirs')]);
});

test('a parent must be an artifact of the same tenant, and may be deleted before its children', async () => {
	const world = new World();
	const parent = await world.put('parent');
	await world.refused(
		putOf('child', { parent: idOf('nothing') }),
		'NOT_FOUND',
		/^parent is sha256:[0-9a-f]{64}; there is no such artifact$/,
	);
	await world.refused(putOf('child', { parent: parent.id, tenant: 'b' }), 'NOT_FOUND', /^parent is /);
	await world.refused(putOf('parent', { parent: parent.id }), 'INVALID_PARAMS', /the artifact itself/);
	assert.deepEqual(await world.onDisk(), [hexOf('parent')]);
	assert.equal((await world.put('child', { parent: parent.id })).parent, parent.id);
	await world.remove('parent');
	assert.equal((await world.get('child')).parent, parent.id);
});

test('when the quota is full the oldest go first, with their files', async () => {
	const world = new World(40_000);
	const text = (n: number): string => String(n).repeat(9_000);
	for (const n of [1, 2, 3, 4]) await world.put(text(n));
	assert.deepEqual(world.collected, []);
	// What was given again is young.
	await world.put(text(1));
	await world.put(text(5));
	await world.missing(text(2));
	assert.deepEqual(world.collected, [1]);
	await world.put('6'.repeat(38_000));
	for (const n of [1, 3, 4, 5]) await world.missing(text(n));
	assert.deepEqual(world.collected, [1, 4]);
	assert.deepEqual(await world.onDisk(), [hexOf('6'.repeat(38_000))]);
	await world.refused(putOf('7'.repeat(40_001)), 'PAYLOAD_TOO_LARGE', /content has 40001 bytes; artifacts\.quota_bytes is 40000/);
	assert.equal((await world.list()).artifacts.length, 1);
});

test('what is said of artifacts counts, too: no number of small ones is more than the quota', async () => {
	const world = new World(20_000);
	for (let n = 0; n < 100; n++) await world.put('', { tenant: `t${n}`, metadata: { text: 'x'.repeat(500) } });
	const kept = (await world.list()).artifacts;
	assert.ok(kept.length > 10 && kept.length < 30, String(kept.length));
	assert.equal(kept[0]?.tenant, 't99');
});

test('a file that holds something else than was given is not served, and its content given again mends it', async () => {
	const world = new World();
	await world.put('whole and sound');
	const name = { id: idOf('whole and sound'), tenant: 'a', foreign: false };
	for (const damage of [
		() => writeFileSync(world.fileOf('whole and sound'), 'whole and sounD'),
		() => writeFileSync(world.fileOf('whole and sound'), 'whole'),
		() => unlinkSync(world.fileOf('whole and sound')),
	]) {
		damage();
		await world.refused({ type: 'get-artifact', ...name }, 'UNTRUSTED_ARTIFACT', /is not served: its file (holds something else|is gone)/);
		await world.put('whole and sound');
		assert.equal((await world.get('whole and sound')).content, 'whole and sound');
	}
});

test('what a crash has left half written, or without an entry, is not visible and is gone after the next start', async () => {
	const world = new World();
	await world.put('kept');
	await world.close();
	const root = join(world.path, 'artifacts');
	const half = join(root, 'unfinished', `${hexOf('half written')}-1`);
	writeFileSync(half, 'half wr');
	const orphan = world.fileOf('never acknowledged');
	mkdirSync(join(orphan, '..'), { recursive: true });
	writeFileSync(orphan, 'never acknowledged');
	world.open();
	await world.sweep();
	await world.missing('half written');
	await world.missing('never acknowledged');
	assert.deepEqual(await world.onDisk(), [hexOf('kept')]);
	assert.equal(existsSync(half), false);
	// Its name is free for who really gives it.
	await world.put('never acknowledged');
	await world.reopen();
	assert.equal((await world.get('never acknowledged')).content, 'never acknowledged');
});

test('an artifact that the disk does not take is refused in words, and is not there', async () => {
	const world = new World();
	rmSync(join(world.path, 'artifacts', 'unfinished'), { recursive: true });
	writeFileSync(join(world.path, 'artifacts', 'unfinished'), 'in the way');
	await world.refused(putOf('text'), 'POOL_UNREADY', /could not be written to the disk/);
	await world.missing('text');
	assert.equal(world.index.bytes, 0);
});

test('half a surrogate pair is refused: it would come back as another character', async () => {
	await new World().refused(putOf('broken \ud83e'), 'INVALID_PARAMS', /half a surrogate pair/);
});

test('pages follow each other from the newest on, by kind and tag, whatever comes and goes between them', async () => {
	const world = new World();
	for (let n = 0; n < 20; n++) await world.put(`text ${n}`, { kind: n % 2 === 0 ? 'plan' : 'diff', tags: n % 4 === 0 ? ['fourth'] : [] });
	const seen: string[] = [];
	for (let after: string | null = null, first = true; first || after !== null; first = false) {
		const page: Page = await world.list({ kind: 'plan', limit: 3, after });
		seen.push(...page.artifacts.map(({ id }) => id));
		after = page.next_cursor;
		if (first) {
			await world.put('newer', { kind: 'plan' });
			await world.remove('text 8');
		}
	}
	assert.deepEqual(
		seen,
		[18, 16, 14, 12, 10, 6, 4, 2, 0].map((n) => idOf(`text ${n}`)),
	);
	const fourth = await world.list({ tag: 'fourth', limit: 2 });
	assert.deepEqual(
		fourth.artifacts.map(({ id }) => id),
		[idOf('text 16'), idOf('text 12')],
	);
	assert.equal('content' in (fourth.artifacts[0] ?? {}), false);
	assert.equal((await world.list({ tag: 'nobody' })).next_cursor, null);
});

test('whatever is put and deleted at once, the bytes that are counted are those that are there, and never above the quota', async () => {
	const operation = fc.record({
		content: fc.integer({ min: 0, max: 5 }),
		tenant: fc.constantFrom('a', 'b'),
		remove: fc.boolean(),
		tags: fc.array(fc.string({ maxLength: 20 }), { maxLength: 3 }),
	});
	await fc.assert(
		fc.asyncProperty(fc.array(operation, { maxLength: 25 }), async (operations) => {
			const world = new World(6_000);
			const textOf = (n: number): string => String(n).repeat(n * 300);
			await Promise.all(
				operations.map(({ content, tenant, remove, tags }) =>
					world.answer(
						remove
							? { type: 'delete-artifact', id: idOf(textOf(content)), tenant, foreign: false }
							: putOf(textOf(content), { tenant, tags }),
					),
				),
			);
			const { artifacts } = await world.list();
			const contents = new Map(artifacts.map(({ id, size_bytes: size }) => [id, size]));
			const sum = artifacts.reduce((bytes, entry) => bytes + world.index.costOf(entry) - entry.size_bytes, 0);
			assert.equal(
				world.index.bytes,
				[...contents.values()].reduce((bytes, size) => bytes + size, sum),
			);
			assert.ok(world.index.bytes <= 6_000);
			for (const { id, tenant } of artifacts) {
				const answer = await world.answer({ type: 'get-artifact', id, tenant, foreign: false });
				assert.ok(answer.ok);
				assert.equal(idOf((JSON.parse(answer.json) as Told).content ?? ''), id);
			}
			assert.deepEqual(await world.onDisk(), [...contents.keys()].map((id) => id.slice('sha256:'.length)).sort());
		}),
		{ numRuns: 25 },
	);
});
