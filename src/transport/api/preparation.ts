/** What has to be done before a pool can take a task at all: steps of a `202`, and `prep` of its `metrics`. Pure. */
import type { WarmUpTold } from '../../actors/serving/messages.ts';

export function preparationOf(poolId: string, warmUp: WarmUpTold | null) {
	if (warmUp === null) return [];
	const { status, leftMs } = warmUp;
	return [
		{
			id: `warmup-${poolId}`,
			kind: 'pool_warmup',
			group: poolId,
			description: status === 'running' ? `Pool ${poolId} loads its model` : `Pool ${poolId} waits to start its engine again`,
			estimated_ms: leftMs === null ? null : Math.round(leftMs),
			bytes_total: null,
			status,
		},
	];
}
