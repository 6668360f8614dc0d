/**
 * Where a task goes: one pure, deterministic function over a snapshot of the pools. Feasible first, then the smallest
 * predicted start, then most free slots, then the lowest pool id. Its answer is also what `preview` and `explain` show.
 */
import { type EngineKind, type Failure, failure } from './failure.ts';
import type { TaskSummary } from './messages.ts';
import type { PriorityClass, Workload } from './task-request.ts';

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
	readonly features: readonly string[] | null;
	readonly samplerProfileVersion: string | null;
	readonly slotsFree: number;
	/** For a task of each class that came now, ms. */
	readonly predictedStartMs: Readonly<Record<PriorityClass, number>>;
	/** What each further task adds to that, once no slot is free, ms. */
	readonly taskEveryMs: number;
	readonly retryAfterMs: number;
}

/** The snapshot with one task more that was sent there: tasks of one turn spread as those of many do. */
export function withOneMore(pool: PoolSnapshot): PoolSnapshot {
	if (pool.slotsFree > 0) return { ...pool, slotsFree: pool.slotsFree - 1 };
	const { interactive, batch } = pool.predictedStartMs;
	return { ...pool, predictedStartMs: { interactive: interactive + pool.taskEveryMs, batch: batch + pool.taskEveryMs } };
}

export interface Considered {
	readonly poolId: string;
	/** Why not; null: feasible. */
	readonly refusedFor: Failure | null;
	/** Checks that it passed: of several refusals the one that came furthest says most. */
	readonly passed: number;
}

export type Decision =
	| { readonly kind: 'assigned'; readonly poolId: string; readonly considered: readonly Considered[]; readonly fallback: boolean }
	| { readonly kind: 'none'; readonly failure: Failure; readonly considered: readonly Considered[] };

export function decide(pools: readonly PoolSnapshot[], job: TaskSummary): Decision {
	const { mode, pinPoolId, preferPools, allowFallback } = job.placement;
	const named = pools.filter((pool) => answersTo(pool, job.modelRef));
	if (named.length === 0) return { kind: 'none', considered: [], failure: unknownModel(pools, job.modelRef) };
	if (pinPoolId !== null || mode === 'pin') return decidePinned(pools, job, pinPoolId);
	const considered = named.map((pool) => consider(pool, job));
	const feasible = named.filter((_, index) => considered[index]?.refusedFor === null);
	const preferred = feasible.filter((pool) => preferPools.includes(pool.poolId));
	const mustPrefer = preferPools.length > 0 && !allowFallback;
	const candidates = preferred.length > 0 || mustPrefer ? preferred : feasible;
	const best = candidates.toSorted((a, b) => compare(a, b, job.priority))[0];
	if (best !== undefined) {
		return { kind: 'assigned', poolId: best.poolId, considered, fallback: preferPools.length > 0 && preferred.length === 0 };
	}
	const asked = mustPrefer ? named.filter((pool) => preferPools.includes(pool.poolId)) : named;
	return { kind: 'none', considered, failure: mostTelling(asked, considered) ?? noneOfPreferred };
}

/** A pin is exclusive: never a silent fallback. */
function decidePinned(pools: readonly PoolSnapshot[], job: TaskSummary, poolId: string | null): Decision {
	const none = (words: string): Decision => ({ kind: 'none', considered: [], failure: failure('INVALID_PARAMS', words) });
	if (poolId === null) return none('placement.pin_pool_id is missing; placement.mode pin needs it');
	const pool = pools.find((each) => each.poolId === poolId);
	if (pool === undefined) {
		const known = pools.map((each) => each.poolId).join(', ');
		return none(`placement.pin_pool_id is ${JSON.stringify(poolId)}; the pools are ${known}`);
	}
	if (job.placement.avoidPools.includes(poolId)) {
		return none(`placement.pin_pool_id is ${poolId}, which placement.avoid_pools names too`);
	}
	if (!answersTo(pool, job.modelRef)) {
		return none(`placement.pin_pool_id is ${poolId}, which does not serve ${JSON.stringify(job.modelRef)}`);
	}
	if (pool.state === 'starting') {
		// Waiting for it would be one more promise: whoever pins wants that pool as it is now.
		const words = `${poolId} is starting${pool.lastError === null ? '' : ` again: ${pool.lastError}`}`;
		const where = { poolId, engine: pool.engine, retryAfterMs: pool.retryAfterMs };
		return { kind: 'none', considered: [], failure: failure('POOL_UNREADY', words, where) };
	}
	const only = consider(pool, job);
	return only.refusedFor === null
		? { kind: 'assigned', poolId, considered: [only], fallback: false }
		: { kind: 'none', considered: [only], failure: only.refusedFor };
}

export function answersTo(pool: Pick<PoolSnapshot, 'poolId' | 'model' | 'aliases'>, modelRef: string): boolean {
	return pool.aliases.includes(modelRef) || pool.model === modelRef || pool.poolId === modelRef;
}

function compare(a: PoolSnapshot, b: PoolSnapshot, priority: PriorityClass): number {
	if (a.state !== b.state) return a.state === 'ready' ? -1 : 1;
	const startsLater = a.predictedStartMs[priority] - b.predictedStartMs[priority];
	if (startsLater !== 0) return startsLater;
	if (a.slotsFree !== b.slotsFree) return b.slotsFree - a.slotsFree;
	return a.poolId < b.poolId ? -1 : 1;
}

function unknownModel(pools: readonly PoolSnapshot[], modelRef: string): Failure {
	const known = [...new Set(pools.flatMap((pool) => [...pool.aliases, pool.model]))].join(', ');
	return failure('NOT_FOUND', `model_ref is ${JSON.stringify(modelRef)}; the models served here are ${known}`);
}

const noneOfPreferred = failure(
	'POOL_UNAVAILABLE',
	'none of placement.prefer_pools serves the model, and placement.allow_fallback is false',
	{
		retryAfterMs: 1_000,
	},
);

/** The refusal of the pool that came nearest; of several that came as near, of the largest: it names what is possible. */
function mostTelling(pools: readonly PoolSnapshot[], considered: readonly Considered[]): Failure | null {
	const of = new Map(considered.map((each) => [each.poolId, each]));
	const passed = (pool: PoolSnapshot): number => of.get(pool.poolId)?.passed ?? 0;
	const nearest = pools.toSorted(
		(a, b) => passed(b) - passed(a) || (b.ctx ?? 0) - (a.ctx ?? 0) || b.maxTokensOut - a.maxTokensOut || (a.poolId < b.poolId ? -1 : 1),
	)[0];
	return nearest === undefined ? null : (of.get(nearest.poolId)?.refusedFor ?? null);
}

// --- why a pool cannot take a task --------------------------------------------------------------------------------

/** Words of what is wrong with the request, as far as this pool goes; a whole failure where it is not the request; null: nothing. */
type Check = (pool: PoolSnapshot, job: TaskSummary) => string | Failure | null;

/** In this order: what is wrong with a request comes before what is wrong with a pool. */
const checks: readonly Check[] = [
	avoided,
	engineDiffers,
	workloadMissing,
	featureMissing,
	samplersDiffer,
	deviceMissing,
	ctxTooSmall,
	outputTooLong,
	roomTooSmall,
	unready,
];

function consider(pool: PoolSnapshot, job: TaskSummary): Considered {
	for (const [passed, check] of checks.entries()) {
		const problem = check(pool, job);
		if (problem === null) continue;
		const where = { poolId: pool.poolId, engine: pool.engine };
		return {
			poolId: pool.poolId,
			passed,
			refusedFor: typeof problem === 'string' ? failure('INVALID_PARAMS', problem, where) : { ...problem, ...where },
		};
	}
	return { poolId: pool.poolId, passed: checks.length, refusedFor: null };
}

function avoided(pool: PoolSnapshot, job: TaskSummary): Failure | null {
	if (!job.placement.avoidPools.includes(pool.poolId)) return null;
	return failure('POOL_UNAVAILABLE', `placement.avoid_pools names ${pool.poolId}`, { retryAfterMs: pool.retryAfterMs });
}

function engineDiffers(pool: PoolSnapshot, { engine }: TaskSummary): string | null {
	return engine === null || engine === pool.engine ? null : `engine is ${engine}; ${pool.poolId} runs ${pool.engine}`;
}

function workloadMissing({ poolId, workloads }: PoolSnapshot, { workload }: TaskSummary): string | null {
	if (workloads === null || workloads.includes(workload)) return null;
	return `workload is ${workload}; the model of ${poolId} does ${workloads.join(' and ')}`;
}

function featureMissing({ poolId, features }: PoolSnapshot, { needs }: TaskSummary): string | null {
	const missing = features === null ? undefined : needs.find((feature) => !features.includes(feature));
	return missing === undefined ? null : `sampling.${missing} is given; the engine of ${poolId} cannot do it`;
}

function samplersDiffer(pool: PoolSnapshot, { samplerProfileVersion: wanted }: TaskSummary): string | null {
	if (wanted === null || pool.samplerProfileVersion === null || wanted === pool.samplerProfileVersion) return null;
	return `sampler_profile_version is ${JSON.stringify(wanted)}; ${pool.poolId} has ${pool.samplerProfileVersion}`;
}

function deviceMissing({ poolId, devices }: PoolSnapshot, { placement }: TaskSummary): string | null {
	const mask = placement.requireDeviceMask;
	if (mask === null || (devices !== null && mask.every((device) => devices.includes(device)))) return null;
	const has = devices === null ? 'no device mask' : `devices ${devices.join(', ')}`;
	return `placement.require_device_mask is [${mask.join(', ')}]; ${poolId} has ${has}`;
}

function ctxTooSmall({ poolId, ctx }: PoolSnapshot, job: TaskSummary): string | null {
	if (ctx === null || job.ctx === null || job.ctx <= ctx) return null;
	return `ctx is ${job.ctx}; the context of ${poolId} holds ${ctx} tokens`;
}

function outputTooLong({ poolId, maxTokensOut }: PoolSnapshot, { maxTokens }: TaskSummary): string | null {
	if (maxTokens === null || maxTokens <= maxTokensOut) return null;
	return `max_tokens is ${maxTokens}; ${poolId} allows 1 to ${maxTokensOut}`;
}

/** A prompt that nobody counted is taken for the least it can be: the engine judges it in the end. */
function roomTooSmall({ poolId, ctx }: PoolSnapshot, job: TaskSummary): string | null {
	if (ctx === null || job.workload !== 'completion') return null;
	const holds = Math.min(ctx, job.ctx ?? ctx);
	const promptTokens = job.promptTokens ?? Math.min(1, job.promptBytes);
	const room = holds - promptTokens;
	// whoever counted a prompt far too long for its model has not counted all of it
	if (room < 1)
		return `the prompt has at least ${promptTokens} tokens; the context of ${poolId} holds ${holds}, with at least one for the answer`;
	if (job.maxTokens === null || job.maxTokens <= room) return null;
	return `max_tokens is ${job.maxTokens}; ${poolId} has room for ${room} in a context of ${holds} after the prompt`;
}

function unready(pool: PoolSnapshot): Failure | null {
	if (pool.state !== 'failed') return null;
	const reason = pool.lastError ?? 'its replicas have failed';
	return failure('POOL_UNREADY', `${pool.poolId} cannot serve: ${reason}`, { retryAfterMs: pool.retryAfterMs });
}
