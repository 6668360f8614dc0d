/** A catalog over a real store in a folder of its own, with the production threads for hashing and fetching. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { Catalog, type CatalogRules } from '../../src/actors/catalog/catalog.ts';
import { CatalogStore } from '../../src/actors/catalog/catalog-store.ts';
import type { HashedFile } from '../../src/actors/catalog/file-digest.ts';
import type { CatalogAnswer, CatalogEntry, CatalogNews, CatalogRequest, PullNews } from '../../src/actors/serving/catalog-messages.ts';
import { packageRoot } from '../../src/config-root.ts';
import { type FetchJobs, fetchJobs } from '../../src/fetch-jobs.ts';
import { type FileJobs, fileJobs } from '../../src/file-jobs.ts';
import type { FileOutcome } from '../../src/roles/file-worker.ts';
import { rules } from '../fetch/rules.ts';

export const folder = mkdtempSync(join(tmpdir(), 'orchestratord-catalog-'));
const jobs: FileJobs = fileJobs(2);
const fetches: FetchJobs[] = [];
const stores: CatalogStore[] = [];
after(async () => {
	await Promise.all([jobs.close(), ...fetches.map((each) => each.close())]);
	for (const store of stores) await store.close();
	rmSync(folder, { recursive: true });
});

/** A real one. */
export const model = join(folder, 'tiny.gguf');
cpSync(join(packageRoot(), 'models', 'tiny-chat.gguf'), model);
export const ref = `file:${model}`;

export function digestOf(path: string): string {
	return `sha256:${createHash('sha256').update(readFileSync(path)).digest('hex')}`;
}

export const hashed = (path: string): Promise<FileOutcome<HashedFile>> => new Promise((resolve) => jobs.digest(path, resolve));

interface AddMore {
	readonly id?: string;
	readonly digest?: string;
	readonly signatures?: readonly string[];
	readonly sbom?: string;
}

let worlds = 0;

export class World {
	readonly path = join(folder, `store-${(worlds += 1)}`);
	readonly root = join(this.path, 'models');
	readonly counted: string[] = [];
	readonly news: CatalogNews[] = [];
	#rules: Partial<CatalogRules>;
	readonly #pullsMax: number;
	#fetches = fetchJobs();
	hashed = 0;
	store = new CatalogStore(this.path);
	catalog: Catalog;

	constructor(rules: Partial<CatalogRules> = {}, pullsMax = 4) {
		this.#rules = rules;
		this.#pullsMax = pullsMax;
		stores.push(this.store);
		this.catalog = this.#open();
	}

	#open(): Catalog {
		fetches.push(this.#fetches);
		return new Catalog(
			this.store,
			{
				digest: (path, done) => {
					this.hashed += 1;
					jobs.digest(path, done);
				},
				gguf: jobs.gguf,
				trust: jobs.trust,
				remove: (each) => jobs.remove(this.root, each),
				fetch: this.#fetches.start,
				pullsMax: this.#pullsMax,
				wallNow: () => 1000,
				changed: (news) => this.news.push(news),
				telemetry: {
					count: (metric, labels) => this.counted.push(`${metric} ${labels['result']} ${labels['reason']}`),
					gauge: () => undefined,
					observe: () => undefined,
					expect: () => undefined,
					log: () => undefined,
				},
			},
			{
				allowed: true,
				root: this.root,
				quotaBytes: 0,
				trust: rules(),
				sources: {
					hf: { endpoint: 'http://127.0.0.1:1', token: null },
					s3: { endpoint: null, region: 'us-east-1', keys: null },
					oci: [],
					caRoots: [],
					redirectHosts: [],
				},
				...this.#rules,
			},
		);
	}

	/** As a daemon that is started again: what it was doing is over, and nothing of it is written. */
	async reopen(rules: Partial<CatalogRules> = this.#rules): Promise<void> {
		this.#rules = rules;
		this.catalog.close();
		await this.#fetches.close();
		this.#fetches = fetchJobs();
		await this.store.close();
		this.store = new CatalogStore(this.path);
		stores.push(this.store);
		this.catalog = this.#open();
	}

	answer(request: CatalogRequest): Promise<CatalogAnswer> {
		return new Promise((resolve) => this.catalog.answer(request, resolve));
	}

	async hashedAll(): Promise<void> {
		await new Promise<void>((resolve) => this.catalog.whenSettled(resolve));
	}

	async ask(request: CatalogRequest): Promise<CatalogEntry> {
		const answer = await this.answer(request);
		assert.ok(answer.ok, JSON.stringify(answer));
		return JSON.parse(answer.json === '' ? '{}' : answer.json) as CatalogEntry;
	}

	async refused(request: CatalogRequest, code: string, words: RegExp): Promise<void> {
		const answer = await this.answer(request);
		assert.ok(!answer.ok, JSON.stringify(answer));
		assert.equal(answer.failure.code, code);
		assert.match(answer.failure.message, words);
	}

	/** `source`: a path, or a ref. */
	async add(source: string, more: AddMore = {}): Promise<CatalogEntry> {
		const from = source.startsWith('/') ? `file:${source}` : source;
		return await this.ask({
			type: 'add-model',
			ref: from,
			id: more.id ?? null,
			digest: more.digest ?? null,
			tags: ['small'],
			signatures: more.signatures ?? [],
			sbom: more.sbom ?? null,
		});
	}

	async settled(id: string): Promise<CatalogEntry> {
		await this.hashedAll();
		return await this.ask({ type: 'get-model', id });
	}

	/** All news of a pull, to the last. */
	async pulled(id: string, heard: (news: PullNews) => void = () => undefined): Promise<PullNews> {
		for (let after = 0; ; ) {
			const news = (await this.ask({ type: 'watch-pull', id, after })) as unknown as PullNews;
			heard(news);
			if (news.event !== 'progress') return news;
			after = news.seq;
		}
	}
}
