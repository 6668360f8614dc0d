/** What has to be done before a pool can take a task at all: steps of a `202`, and `prep` of its `metrics`. Pure. */
import type { ModelFetch, WarmUpTold } from '../../actors/serving/warm-up-messages.ts';

export function preparationOf(poolId: string, warmUp: WarmUpTold | null) {
	if (warmUp === null) return [];
	const { status, leftMs, fetch } = warmUp;
	const load = {
		id: `warmup-${poolId}`,
		kind: 'pool_warmup',
		group: poolId,
		description: loadWords(poolId, warmUp),
		estimated_ms: leftMs === null ? null : Math.round(leftMs),
		bytes_total: null,
		status,
	};
	return fetch === null ? [load] : [fetchStep(poolId, fetch), load];
}

function fetchStep(poolId: string, { status, bytesDone, bytesTotal, leftMs, note }: ModelFetch) {
	return {
		id: `fetch-${poolId}`,
		kind: 'model_fetch',
		group: poolId,
		description: note ?? `Pool ${poolId} has its model fetched`,
		estimated_ms: leftMs === null ? null : Math.round(leftMs),
		bytes_total: bytesTotal,
		bytes_done: bytesDone,
		status,
	};
}

function loadWords(poolId: string, { status, fetch }: WarmUpTold): string {
	if (fetch !== null) return `Pool ${poolId} loads its model once that is here`;
	return status === 'running' ? `Pool ${poolId} loads its model` : `Pool ${poolId} waits to start its engine`;
}
