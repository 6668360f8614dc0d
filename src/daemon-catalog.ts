/**
 * The catalog of models as the daemon has it: opened before any thread, asked by the fronts through main, closed behind all. Puts the store,
 * the jobs over files and the catalog together; a store that cannot be opened is a reason not to start.
 */
import { Catalog } from './actors/catalog/catalog.ts';
import type { PoolModel } from './actors/catalog/catalog-shelf.ts';
import { CatalogStore } from './actors/catalog/catalog-store.ts';
import type { Telemetry } from './actors/kernel/telemetry.ts';
import type { CatalogAnswer, CatalogNews, CatalogRequest } from './actors/serving/catalog-messages.ts';
import type { CatalogConfig } from './config-catalog.ts';
import type { PoolConfig } from './config-pool.ts';
import { inWords } from './daemon-places.ts';
import { fetchJobs, pullsMax } from './fetch-jobs.ts';
import { fileJobs } from './file-jobs.ts';

export interface DaemonCatalog {
	readonly store: CatalogStore;
	/** What the control thread is to know. */
	readonly news: CatalogNews;
	/** The pools are these: each file that they load has an entry. */
	usePools(pools: readonly PoolConfig[]): void;
	answer(request: unknown): Promise<CatalogAnswer>;
	/** Callable twice. */
	close(): Promise<void>;
}

/** Throws a `Problem`. */
export function openCatalog(
	folder: string,
	config: CatalogConfig,
	telemetry: Telemetry,
	changed: (news: CatalogNews) => void,
): DaemonCatalog {
	const store = inWords(() => new CatalogStore(folder));
	const jobs = fileJobs();
	const fetches = fetchJobs();
	const catalog = new Catalog(
		store,
		{
			digest: jobs.digest,
			gguf: jobs.gguf,
			trust: jobs.trust,
			remove: (each) => jobs.remove(config.root, each),
			fetch: fetches.start,
			pullsMax,
			wallNow: () => Date.now(),
			changed,
			telemetry,
		},
		{ allowed: config.fetch, root: config.root, quotaBytes: config.quotaBytes, sources: config.sources, trust: config.trust },
	);
	catalog.resume();
	let closing: Promise<void> | null = null;
	return {
		store,
		get news() {
			return catalog.news;
		},
		usePools: (pools) => catalog.usePools(pools.flatMap(loadedModel)),
		answer: (request) => new Promise((resolve) => catalog.answer(request as CatalogRequest, resolve)),
		close() {
			catalog.close();
			closing ??= Promise.all([jobs.close(), fetches.close()]).then(() => store.close());
			return closing;
		},
	};
}

function loadedModel({ id, model, modelPath, fromCatalog }: PoolConfig): PoolModel[] {
	return modelPath === null && !fromCatalog ? [] : [{ poolId: id, model, path: modelPath }];
}
