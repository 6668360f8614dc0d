/** Where an engine's model comes from, as its driver asks for it: a port, and what is told over it. Types only. */
import type { PreparedModel } from '../../actors/serving/catalog-messages.ts';
import type { Failure } from '../../actors/serving/failure.ts';
import type { ModelFetch } from '../../actors/serving/warm-up-messages.ts';

export type Prepared = { readonly ok: true; readonly model: PreparedModel } | { readonly ok: false; readonly failure: Failure };

export interface ModelSource {
	/**
	 * The model is to be here, fetched where that is needed; `heard` is told how far it is, until `signal` says that nobody listens. `path`: of
	 * the file, where that is known.
	 */
	prepare(model: string, path: string | null, heard: (fetch: ModelFetch) => void, signal: AbortSignal): Promise<Prepared>;
}
