/**
 * The artifacts as the daemon has them: files under the folder of the store, an index in its tables, asked by the fronts through main. Opened
 * behind the catalog, whose store it shares, and closed before it.
 */
import { join } from 'node:path';
import { ArtifactIndex } from './actors/catalog/artifact-index.ts';
import { Artifacts } from './actors/catalog/artifacts.ts';
import type { CatalogStore } from './actors/catalog/catalog-store.ts';
import type { Telemetry } from './actors/kernel/telemetry.ts';
import type { ArtifactAnswer, ArtifactRequest } from './actors/serving/artifact-messages.ts';
import { artifactFiles } from './artifact-files.ts';
import { inWords } from './daemon-places.ts';
import { StoreError } from './store/store-error.ts';

export interface DaemonArtifacts {
	answer(request: unknown): Promise<ArtifactAnswer>;
	/** Callable twice. */
	close(): Promise<void>;
}

/** `folder`: of the store. Throws a `Problem`. */
export function openArtifacts(folder: string, store: CatalogStore, quotaBytes: number, telemetry: Telemetry): DaemonArtifacts {
	const files = inWords(() => {
		try {
			return artifactFiles(join(folder, 'artifacts'));
		} catch (error) {
			throw new StoreError(`the artifacts in ${folder} cannot be opened: ${error instanceof Error ? error.message : String(error)}`);
		}
	});
	const artifacts = new Artifacts(new ArtifactIndex(store.root), files, { quotaBytes, wallNow: () => Date.now(), telemetry });
	artifacts.sweep(() => undefined);
	let closing: Promise<void> | null = null;
	return {
		answer: (request) => new Promise((resolve) => artifacts.answer(request as ArtifactRequest, resolve)),
		close() {
			closing ??= new Promise((resolve) => artifacts.close(resolve));
			return closing;
		},
	};
}
