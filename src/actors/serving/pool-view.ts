/** A pool as others see it: the snapshot that placement decides over, and the view that fronts show. Pure. */
import type { LeaseLedger } from './lease-ledger.ts';
import type { PoolView } from './messages.ts';
import type { PoolSnapshot } from './placement.ts';
import type { PoolReplicas } from './pool-replicas.ts';
import type { PoolSpec } from './pool-spec.ts';
import type { QueueEntry, WaitingQueue } from './queue.ts';

export interface PoolParts {
	readonly spec: PoolSpec;
	readonly replicas: PoolReplicas;
	readonly ledger: LeaseLedger;
	readonly queue: WaitingQueue<QueueEntry>;
	/** Of a task that came now and waited for all others. */
	readonly predictedStartMs: number;
	readonly retryAfterMs: number;
}

export function poolNews({ spec, replicas, ledger, queue, predictedStartMs, retryAfterMs }: PoolParts): {
	readonly snapshot: PoolSnapshot;
	readonly view: PoolView;
} {
	const { facts, state, lastError } = replicas;
	const { poolId, engine, provider, model, aliases, devices, maxTokensOut } = spec;
	const slotsFree = replicas.rows.reduce((sum, row) => sum + (row.state === 'ready' && row.grantable ? ledger.free(row.replicaId) : 0), 0);
	return {
		snapshot: {
			poolId,
			engine,
			model,
			aliases,
			devices,
			state,
			lastError,
			ctx: facts?.ctx ?? null,
			maxTokensOut,
			workloads: facts?.workloads ?? null,
			samplerProfileVersion: facts?.samplerProfileVersion ?? null,
			slotsFree,
			predictedStartMs,
			retryAfterMs,
		},
		view: {
			poolId,
			engine,
			provider,
			model,
			aliases,
			ctx: facts?.ctx ?? 0,
			maxTokensOut,
			slotsTotal: replicas.readySlots,
			slotsFree,
			queueDepth: { interactive: queue.depth('interactive'), batch: queue.depth('batch') },
			state,
			lastError,
			replicas: replicas.rows.map((row) => ({
				replicaId: row.replicaId,
				state: row.state,
				facts: row.state === 'ready' ? row.facts : null,
				lastError: row.lastError?.message ?? null,
			})),
		},
	};
}
