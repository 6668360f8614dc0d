/**
 * Where a task goes on that has lost its slot: a pool with the same model, its own first. Pure; what it answers is given to
 * placement as any other job over any other pools.
 */

import type { LeftBehind, TaskSummary } from './messages.ts';
import { feasibility, type PoolSnapshot } from './placement.ts';
import type { TaskRequest } from './task-request.ts';

/**
 * Whether a request may go on elsewhere behind its tokens so far. A strict one is bound to its slot, and no engine takes up a
 * grammar in its middle.
 */
export function isMovable({ workload, strict, sampling, input }: TaskRequest): boolean {
	const { grammar, jsonSchema, jsonObject } = sampling;
	const shaped = grammar !== null || (jsonSchema !== null && jsonSchema !== undefined) || jsonObject === true;
	// Half a call that has been told cannot be called back.
	const calls = input.kind === 'messages' && input.toolUse !== undefined;
	return workload === 'completion' && !strict && !shaped && !calls;
}

/** The same model, as far as tokens go. */
export function isSameModel(
	left: Pick<LeftBehind, 'modelDigest' | 'modelName'>,
	other: Pick<LeftBehind, 'modelDigest' | 'modelName'>,
): boolean {
	return left.modelDigest === null
		? other.modelDigest === null && left.modelName === other.modelName
		: left.modelDigest === other.modelDigest;
}

/** What placement is to decide over. A task that begins: what there is. */
export function placementOf(
	pools: readonly PoolSnapshot[],
	job: TaskSummary,
): { readonly pools: readonly PoolSnapshot[]; readonly job: TaskSummary } {
	const { resume } = job;
	if (resume === null) return { pools, job };
	const same = pools
		.filter(({ modelDigest, modelName }) => modelName !== null && isSameModel(resume, { modelDigest, modelName }))
		// It was asked for under a name that the others may not have.
		.map((pool) => ({ ...pool, aliases: [...pool.aliases, job.modelRef] }));
	const own = same.filter((pool) => pool.poolId === resume.poolId);
	const others = same.filter((pool) => pool.poolId !== resume.poolId && pool.migration);
	// It was placed there once: what was said of pins and preferences has been heard.
	const { placement } = job;
	const here = { ...job, placement: { ...placement, mode: 'auto', pinPoolId: null, preferPools: [], avoidPools: [] } } as const;
	const pinned = placement.mode === 'pin' || placement.pinPoolId !== null;
	const ready = (of: readonly PoolSnapshot[]): PoolSnapshot[] => of.filter((pool) => pool.state === 'ready');
	const stays = pinned || isServed(ready(own), here) || (!isServed(ready(others), job) && (isServed(own, here) || !isServed(others, job)));
	return stays ? { pools: own, job: here } : { pools: others, job };
}

/** By one of them at least, now or when it is ready. */
function isServed(pools: readonly PoolSnapshot[], job: TaskSummary): boolean {
	return feasibility(pools, job).considered.some(({ refusedFor }) => refusedFor === null);
}
