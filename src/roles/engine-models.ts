/**
 * The catalog of main, as the drivers of an engine thread ask it for models: each ask is answered when the model is here or when there is
 * something new of its fetch, then the next follows. Holds nothing between two.
 */
import type { CatalogAnswer, CatalogRequest, ModelAnswer, PullView } from '../actors/serving/catalog-messages.ts';
import { failure } from '../actors/serving/failure.ts';
import type { ModelFetch } from '../actors/serving/warm-up-messages.ts';
import type { ModelSource, Prepared } from '../engines/embedded/model-source.ts';

/** A pool is not told more often. */
const tellMs = 1_000;

/** `ask`: of main, once this thread is attached to it. */
export function catalogModels(ask: (request: CatalogRequest) => Promise<CatalogAnswer | undefined>): ModelSource {
	return {
		async prepare(model, path, heard, signal): Promise<Prepared> {
			let toldAt = Number.NEGATIVE_INFINITY;
			for (let after = 0; ; ) {
				const answer = await ask({ type: 'prepare-model', model, path, after });
				if (signal.aborted || answer === undefined) return { ok: false, failure: failure('WORKER_RESET', 'the engine was stopped') };
				if (!answer.ok) return answer;
				const news = JSON.parse(answer.json) as ModelAnswer;
				if (news.event === 'ready') return { ok: true, model: news.data };
				after = news.seq;
				const now = performance.now();
				if (now - toldAt < tellMs) continue;
				toldAt = now;
				heard(fetchOf(news.data));
			}
		},
	};
}

function fetchOf({ phase, bytes_done: bytesDone, bytes_total: bytesTotal, eta_ms: leftMs, note }: PullView): ModelFetch {
	return { status: phase === 'queued' || phase === 'waiting' ? 'waiting' : 'running', bytesDone, bytesTotal, leftMs, note };
}
