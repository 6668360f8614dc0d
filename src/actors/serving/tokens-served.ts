/**
 * What the running tasks of a front have been served so far, for the pools that share by it: told now and then in batches,
 * never per token. Part of the `tasks` actor. Totals are told, so that a report that finds no room is made good by the next.
 */
import type { ActorRef } from '../kernel/ref.ts';
import type { DispatcherCommand, Lease } from './messages.ts';

/** How old what a pool knows may be. */
export const servedMs = 200;
/** Leases in one message. */
const atOnce = 512;

/** A task, as far as it is told of. */
export interface ServedTask {
	/** That it runs on; null: none. */
	readonly lease: Lease | null;
	/** Tokens that were made on it, and those that its pool has been told of. */
	readonly tokensHere: number;
	tokensTold: number;
}

/** By pool: what has grown since it was told last. */
export function tellServed(tasks: Iterable<ServedTask>, dispatcher: ActorRef<DispatcherCommand>): void {
	const byPool = new Map<string, number[]>();
	for (const task of tasks) {
		const { lease, tokensHere } = task;
		if (lease === null || tokensHere <= task.tokensTold) continue;
		let served = byPool.get(lease.poolId);
		if (served === undefined) byPool.set(lease.poolId, (served = []));
		served.push(lease.epoch, lease.id, tokensHere);
		task.tokensTold = tokensHere;
		if (served.length < 3 * atOnce) continue;
		dispatcher.tell({ type: 'tokens-served', poolId: lease.poolId, served });
		byPool.delete(lease.poolId);
	}
	for (const [poolId, served] of byPool) dispatcher.tell({ type: 'tokens-served', poolId, served });
}
