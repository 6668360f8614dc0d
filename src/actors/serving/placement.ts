/**
 * Where a task goes: one pure, deterministic function over a snapshot of the pools. Feasible first, then the smallest
 * predicted start, then most free slots, then the lowest pool id. Its answer is also what `preview` and `explain` show.
 */
import { type EngineKind, type Failure, failure } from './failure.ts';
import type { TaskSummary } from './messages.ts';
import type { Workload } from './task-request.ts';

/** What placement knows of a pool. Null: not known before its first replica was ready. */
export interface PoolSnapshot {
	readonly poolId: string;
	readonly engine: EngineKind;
	readonly model: string;
	readonly aliases: readonly string[];
	readonly devices: readonly number[] | null;
	/** `starting`: its replicas load, or come back after a failure; tasks may wait for them. */
	readonly state: 'starting' | 'ready' | 'failed';
	readonly lastError: string | null;
	readonly ctx: number | null;
	readonly maxTokensOut: number;
	readonly workloads: readonly Workload[] | null;
	readonly samplerProfileVersion: string | null;
	readonly slotsFree: number;
	/** For a task that came now, ms. */
	readonly predictedStartMs: number;
	readonly retryAfterMs: number;
}

export interface Considered {
	readonly poolId: string;
	/** Why not; null: feasible. */
	readonly refusedFor: Failure | null;
}

export type Decision =
	| { readonly kind: 'assigned'; readonly poolId: string; readonly considered: readonly Considered[]; readonly fallback: boolean }
	| { readonly kind: 'none'; readonly failure: Failure; readonly considered: readonly Considered[] };

export function decide(pools: readonly PoolSnapshot[], job: TaskSummary): Decision {
	const { placement } = job;
	if (placement.pinPoolId !== null) return decidePinned(pools, job, placement.pinPoolId);
	const named = pools.filter((pool) => answersTo(pool, job.modelRef));
	if (named.length === 0) return { kind: 'none', considered: [], failure: unknownModel(pools, job.modelRef) };
	const considered = named.map((pool) => ({ poolId: pool.poolId, refusedFor: whyNot(pool, job) }));
	const feasible = named.filter((_, index) => considered[index]?.refusedFor === null);
	const preferred = feasible.filter((pool) => placement.preferPools.includes(pool.poolId));
	const mustPrefer = placement.preferPools.length > 0 && !placement.allowFallback;
	const candidates = preferred.length > 0 || mustPrefer ? preferred : feasible;
	const best = candidates.toSorted(compare)[0];
	if (best !== undefined) {
		return { kind: 'assigned', poolId: best.poolId, considered, fallback: placement.preferPools.length > 0 && preferred.length === 0 };
	}
	return { kind: 'none', considered, failure: worstOf(considered, mustPrefer) };
}

/** A pin is exclusive: never a silent fallback. */
function decidePinned(pools: readonly PoolSnapshot[], job: TaskSummary, poolId: string): Decision {
	const pool = pools.find((each) => each.poolId === poolId);
	if (pool === undefined) {
		const known = pools.map((each) => each.poolId).join(', ');
		const words = `placement.pin_pool_id is ${JSON.stringify(poolId)}; the pools are ${known}`;
		return { kind: 'none', considered: [], failure: failure('INVALID_PARAMS', words) };
	}
	const refusedFor = answersTo(pool, job.modelRef)
		? whyNot(pool, job)
		: failure('INVALID_PARAMS', `placement.pin_pool_id is ${poolId}, which does not serve ${JSON.stringify(job.modelRef)}`, { poolId });
	const considered = [{ poolId, refusedFor }];
	return refusedFor === null
		? { kind: 'assigned', poolId, considered, fallback: false }
		: { kind: 'none', considered, failure: refusedFor };
}

export function answersTo(pool: Pick<PoolSnapshot, 'poolId' | 'model' | 'aliases'>, modelRef: string): boolean {
	return pool.aliases.includes(modelRef) || pool.model === modelRef || pool.poolId === modelRef;
}

function compare(a: PoolSnapshot, b: PoolSnapshot): number {
	if (a.state !== b.state) return a.state === 'ready' ? -1 : 1;
	if (a.predictedStartMs !== b.predictedStartMs) return a.predictedStartMs - b.predictedStartMs;
	if (a.slotsFree !== b.slotsFree) return b.slotsFree - a.slotsFree;
	return a.poolId < b.poolId ? -1 : 1;
}

function unknownModel(pools: readonly PoolSnapshot[], modelRef: string): Failure {
	const known = [...new Set(pools.flatMap((pool) => [...pool.aliases, pool.model]))].join(', ');
	return failure('NOT_FOUND', `model_ref is ${JSON.stringify(modelRef)}; the models served here are ${known}`);
}

/** Null: the pool can take the task. Else the reason, as the client would be told if this were the only pool. */
function whyNot(pool: PoolSnapshot, job: TaskSummary): Failure | null {
	const where = { poolId: pool.poolId, engine: pool.engine };
	const invalid = (words: string): Failure => failure('INVALID_PARAMS', words, where);
	if (job.placement.avoidPools.includes(pool.poolId))
		return failure('POOL_UNAVAILABLE', `placement.avoid_pools names ${pool.poolId}`, { ...where, retryAfterMs: pool.retryAfterMs });
	if (job.engine !== null && job.engine !== pool.engine) return invalid(`engine is ${job.engine}; ${pool.poolId} runs ${pool.engine}`);
	if (pool.workloads !== null && !pool.workloads.includes(job.workload)) {
		return invalid(`workload is ${job.workload}; the model of ${pool.poolId} does ${pool.workloads.join(' and ')}`);
	}
	if (
		job.samplerProfileVersion !== null &&
		pool.samplerProfileVersion !== null &&
		job.samplerProfileVersion !== pool.samplerProfileVersion
	) {
		return invalid(
			`sampler_profile_version is ${JSON.stringify(job.samplerProfileVersion)}; ${pool.poolId} has ${pool.samplerProfileVersion}`,
		);
	}
	const mask = job.placement.requireDeviceMask;
	if (mask !== null && !(pool.devices !== null && mask.every((device) => pool.devices?.includes(device)))) {
		const has = pool.devices === null ? 'no device mask' : `devices ${pool.devices.join(', ')}`;
		return invalid(`placement.require_device_mask is [${mask.join(', ')}]; ${pool.poolId} has ${has}`);
	}
	const tooLarge = whyTooLarge(pool, job);
	if (tooLarge !== null) return invalid(tooLarge);
	if (pool.state === 'failed') {
		const reason = pool.lastError ?? 'its replicas have failed';
		return failure('POOL_UNREADY', `${pool.poolId} cannot serve: ${reason}`, { ...where, retryAfterMs: pool.retryAfterMs });
	}
	return null;
}

function whyTooLarge(pool: PoolSnapshot, job: TaskSummary): string | null {
	const { ctx, maxTokensOut } = pool;
	if (job.maxTokens !== null && job.maxTokens > maxTokensOut)
		return `max_tokens is ${job.maxTokens}; ${pool.poolId} allows 1 to ${maxTokensOut}`;
	if (ctx === null) return null;
	if (job.ctx !== null && job.ctx > ctx) return `ctx is ${job.ctx}; the context of ${pool.poolId} holds ${ctx} tokens`;
	if (job.promptTokens === null) return null;
	const room = Math.min(ctx, job.ctx ?? ctx) - job.promptTokens;
	if (room < 1)
		return `the prompt has ${job.promptTokens} tokens; a context of ${room + job.promptTokens} must leave at least one for the answer`;
	if (job.maxTokens !== null && job.maxTokens > room)
		return `max_tokens is ${job.maxTokens}; after a prompt of ${job.promptTokens} tokens there is room for ${room}`;
	return null;
}

/** The refusal that helps most: a wrong request before a pool that is not ready. */
function worstOf(considered: readonly Considered[], mustPrefer: boolean): Failure {
	const reasons = considered.flatMap(({ refusedFor }) => (refusedFor === null ? [] : [refusedFor]));
	const unready = reasons.find((reason) => reason.code === 'POOL_UNREADY');
	if (unready !== undefined) return unready;
	const invalid = reasons.find((reason) => reason.code === 'INVALID_PARAMS');
	if (invalid !== undefined) return invalid;
	if (mustPrefer && reasons.length < considered.length) {
		return failure('POOL_UNAVAILABLE', 'none of placement.prefer_pools can take the task, and placement.allow_fallback is false', {
			retryAfterMs: 1_000,
		});
	}
	return reasons[0] ?? failure('POOL_UNAVAILABLE', 'no pool can take the task', { retryAfterMs: 1_000 });
}
