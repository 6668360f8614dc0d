/**
 * Where a task goes: one pure, deterministic function over a snapshot of the pools. Feasible first, then the smallest
 * predicted end. Where ends are as good as equal: the pool that has seen the session, the least loaded, the most free memory,
 * the most tokens a second, the lowest id. Its answer is also what `preview` and `explain` show.
 */

import type { Considered, DecidedBy } from './decision-messages.ts';
import type { Decline } from './declines.ts';
import { bytesPerToken } from './eta.ts';
import { type EngineKind, type Failure, failure } from './failure.ts';
import type { PoolView, TaskSummary } from './messages.ts';
import type { PriorityClass, Workload } from './task-request.ts';

/** What placement knows of a pool. Null: not known before its first replica was ready. */
export interface PoolSnapshot {
	readonly poolId: string;
	readonly engine: EngineKind;
	readonly model: string;
	readonly aliases: readonly string[];
	/** What the catalog calls its model. */
	readonly names: readonly string[];
	readonly devices: readonly number[] | null;
	/** `starting`: its replicas load, or come back after a failure; `unloaded`, `unloading`: it is loaded on demand. Tasks may wait for all of these. */
	readonly state: PoolView['state'];
	/** Whoever wants it now wants it loaded. */
	readonly onDemand: boolean;
	/** It takes no tasks, and those that it has run out. */
	readonly draining: boolean;
	/** Every replica's breaker is open. */
	readonly exhausted: boolean;
	readonly lastError: string | null;
	readonly ctx: number | null;
	readonly maxTokensOut: number;
	readonly workloads: readonly Workload[] | null;
	readonly features: readonly string[] | null;
	readonly samplerProfileVersion: string | null;
	/** Of the file we load; null for others too. */
	readonly modelDigest: string | null;
	readonly modelName: string | null;
	/** Takes tasks that have begun elsewhere. */
	readonly migration: boolean;
	readonly slotsFree: number;
	readonly slotsTotal: number;
	/** Another task may wait. */
	readonly hasRoom: boolean;
	/** Tasks that run or wait. */
	readonly tasks: number;
	/** Why no replica of it can ever run on this machine, such as too little memory; null: one may. */
	readonly cannotFit: string | null;
	/** Of its devices, bytes; null: nobody has said. */
	readonly vramFreeBytes: number | null;
	/** As measured, at full depth. */
	readonly prefillMsPerToken: number;
	readonly decodeMsPerToken: number;
	/** Tokens of an answer of which nothing is known. */
	readonly tokensOut: number;
	/** For a task of each class that came now, ms. */
	readonly predictedStartMs: Readonly<Record<PriorityClass, number>>;
	/** What each further task adds to that, once no slot is free, ms. */
	readonly taskEveryMs: number;
	readonly retryAfterMs: number;
}

/** A snapshot as its owner keeps it, between two that the pool sends. */
export type OwnSnapshot = { -readonly [K in keyof PoolSnapshot]: PoolSnapshot[K] };

/** One task more was sent there: tasks of one turn spread as those of many do. */
export function countOneMore(pool: OwnSnapshot): void {
	pool.tasks += 1;
	if (pool.slotsFree > 0) {
		pool.slotsFree -= 1;
		return;
	}
	const { interactive, batch } = pool.predictedStartMs;
	pool.predictedStartMs = { interactive: interactive + pool.taskEveryMs, batch: batch + pool.taskEveryMs };
}

export type Decision =
	| {
			readonly kind: 'assigned';
			readonly poolId: string;
			readonly decidedBy: DecidedBy;
			readonly considered: readonly Considered[];
			readonly fallback: boolean;
			/** Another pool may have the task should this one decline it. */
			readonly others: boolean;
	  }
	| { readonly kind: 'none'; readonly failure: Failure; readonly considered: readonly Considered[] };

/** Ends that differ by less than this, or by this part of the earlier one, are told from each other by what comes behind. */
const sameEndMs = 10;
const sameEndPart = 0.05;

/** `affinityPoolId`: the pool that has what the session left behind; null: none. */
export function decide(pools: readonly PoolSnapshot[], job: TaskSummary, affinityPoolId: string | null = null): Decision {
	return choose(feasibility(pools, job), job, affinityPoolId);
}

/** The pools that answer to the model, or the pinned one, and what speaks against each. */
export interface Feasibility {
	readonly pools: readonly PoolSnapshot[];
	readonly considered: readonly Considered[];
	/** Why none was looked at any further. */
	readonly failure: Failure | null;
}

/** The first half of `decide`. `declines`: of pools that were chosen, and could not take it. */
export function feasibility(pools: readonly PoolSnapshot[], job: TaskSummary, declines: readonly Decline[] = []): Feasibility {
	const feasible = feasibilityOf(pools, job);
	if (declines.length === 0) return feasible;
	const considered = feasible.considered.map((each) => {
		const decline = declines.find(({ poolId }) => poolId === each.poolId);
		return decline === undefined ? each : { ...each, passed: checks.length, refusedFor: decline.failure };
	});
	return { ...feasible, considered };
}

function feasibilityOf(pools: readonly PoolSnapshot[], job: TaskSummary): Feasibility {
	const { mode, pinPoolId } = job.placement;
	const none = (problem: Failure): Feasibility => ({ pools: [], considered: [], failure: problem });
	const named = pools.filter((pool) => answersTo(pool, job.modelRef));
	if (named.length === 0) return none(unknownModel(pools, job.modelRef));
	if (pinPoolId === null && mode !== 'pin') return { pools: named, considered: named.map((pool) => consider(pool, job)), failure: null };
	const pinned = pinnedPool(pools, job, pinPoolId);
	if ('code' in pinned) return none(pinned);
	return { pools: [pinned], considered: [consider(pinned, job)], failure: null };
}

/** The second half: one of the pools that speak for themselves. */
export function choose(feasibility: Feasibility, job: TaskSummary, affinityPoolId: string | null): Decision {
	const { pools, considered, failure: problem } = feasibility;
	if (problem !== null) return { kind: 'none', considered, failure: problem };
	const { mode, pinPoolId, preferPools, allowFallback } = job.placement;
	const pinned = mode === 'pin' || pinPoolId !== null;
	/** By their places in `pools`. */
	const feasible: number[] = [];
	for (let index = 0; index < considered.length; index += 1) {
		if (index < pools.length && considered[index]?.refusedFor === null) feasible.push(index);
	}
	const hasPreference = !pinned && preferPools.length > 0;
	const preferred = hasPreference ? feasible.filter((index) => preferPools.includes((pools[index] as PoolSnapshot).poolId)) : [];
	const mustPrefer = hasPreference && !allowFallback;
	const others = (mustPrefer ? preferred : feasible).length > 1;
	const best = pick(feasibility, preferred.length > 0 || mustPrefer ? preferred : feasible, affinityPoolId);
	if (best !== null) {
		const fallback = hasPreference && preferred.length === 0;
		return { kind: 'assigned', poolId: best.poolId, decidedBy: pinned ? 'pin' : best.decidedBy, considered, fallback, others };
	}
	const asked = mustPrefer ? pools.filter((pool) => preferPools.includes(pool.poolId)) : pools;
	return { kind: 'none', considered, failure: mostTelling(asked, considered) ?? noneOfPreferred };
}

/** A pin is exclusive: never a silent fallback. */
function pinnedPool(pools: readonly PoolSnapshot[], job: TaskSummary, poolId: string | null): PoolSnapshot | Failure {
	const wrong = (words: string): Failure => failure('INVALID_PARAMS', words);
	if (poolId === null) return wrong('placement.pin_pool_id is missing; placement.mode pin needs it');
	const pool = pools.find((each) => each.poolId === poolId);
	if (pool === undefined) {
		const known = pools.map((each) => each.poolId).join(', ');
		return wrong(`placement.pin_pool_id is ${JSON.stringify(poolId)}; the pools are ${known}`);
	}
	if (job.placement.avoidPools.includes(poolId)) return wrong(`placement.pin_pool_id is ${poolId}, which placement.avoid_pools names too`);
	if (!answersTo(pool, job.modelRef)) {
		return wrong(`placement.pin_pool_id is ${poolId}, which does not serve ${JSON.stringify(job.modelRef)}`);
	}
	if (pool.state !== 'starting' || pool.onDemand) return pool;
	// Waiting for it would be one more promise: whoever pins wants that pool as it is now.
	const words = `${poolId} is starting${pool.lastError === null ? '' : ` again: ${pool.lastError}`}`;
	return failure('POOL_UNREADY', words, { poolId, engine: pool.engine, retryAfterMs: pool.retryAfterMs });
}

export function answersTo(pool: Pick<PoolSnapshot, 'poolId' | 'model' | 'aliases' | 'names'>, modelRef: string): boolean {
	return pool.aliases.includes(modelRef) || pool.model === modelRef || pool.poolId === modelRef || pool.names.includes(modelRef);
}

/** In this order, each among those that the one before it left. */
const criteria = ['ready', 'room', 'predicted_end', 'affinity', 'least_loaded', 'free_memory', 'tokens_per_s'] as const;
type Criterion = (typeof criteria)[number];

/** Smaller is better. */
function rankOf(by: Criterion, pool: PoolSnapshot, { predictedEndMs }: Considered, affinityPoolId: string | null): number {
	switch (by) {
		case 'ready':
			return pool.state === 'ready' ? 0 : 1;
		case 'room':
			return pool.hasRoom || pool.slotsFree > 0 ? 0 : 1;
		case 'predicted_end':
			return predictedEndMs;
		case 'affinity':
			return pool.poolId === affinityPoolId ? 0 : 1;
		case 'least_loaded':
			return pool.tasks / Math.max(1, pool.slotsTotal);
		case 'free_memory':
			return -(pool.vramFreeBytes ?? 0);
		case 'tokens_per_s':
			return pool.decodeMsPerToken;
	}
}

/** How much more than the least is as good as it. */
function slackOf(by: Criterion, least: number): number {
	return by === 'predicted_end' ? Math.max(sameEndMs, least * sameEndPart) : 0;
}

/** Leaves only the best in `left`: every task comes by here, so nothing is made but the answer. */
function pick(feasibility: Feasibility, left: number[], affinityPoolId: string | null): { poolId: string; decidedBy: DecidedBy } | null {
	let decidedBy: DecidedBy = 'only_one';
	for (let index = 0; index < criteria.length && left.length > 1; index += 1) {
		const by = criteria[index] as Criterion;
		if (keepBest(feasibility, left, by, affinityPoolId)) decidedBy = by;
	}
	let first: string | null = null;
	for (const index of left) {
		const { poolId } = feasibility.pools[index] as PoolSnapshot;
		if (first === null || poolId < first) first = poolId;
	}
	if (first === null) return null;
	return { poolId: first, decidedBy: left.length > 1 ? 'pool_id' : decidedBy };
}

/** Of those that are left, by the criterion that is looked at. */
let ranks = new Float64Array(16);

/** Whether that told any from the others. */
function keepBest({ pools, considered }: Feasibility, left: number[], by: Criterion, affinityPoolId: string | null): boolean {
	if (left.length > ranks.length) ranks = new Float64Array(2 * left.length);
	let least = Number.POSITIVE_INFINITY;
	for (let at = 0; at < left.length; at += 1) {
		const index = left[at] as number;
		const rank = rankOf(by, pools[index] as PoolSnapshot, considered[index] as Considered, affinityPoolId);
		ranks[at] = rank;
		if (rank < least) least = rank;
	}
	const most = least + slackOf(by, least);
	let kept = 0;
	for (let at = 0; at < left.length; at += 1) if ((ranks[at] as number) <= most) left[kept++] = left[at] as number;
	const told = kept < left.length;
	left.length = kept;
	return told;
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
	memoryTooSmall,
	unready,
];

function consider(pool: PoolSnapshot, job: TaskSummary): Considered {
	const { poolId, engine } = pool;
	const predictedStartMs = pool.predictedStartMs[job.priority];
	const predictedEndMs = predictedStartMs + serviceMs(pool, job);
	let refusedFor: Failure | null = null;
	let passed = 0;
	for (const check of checks) {
		const problem = check(pool, job);
		if (problem !== null) {
			const where = { poolId, engine };
			refusedFor = typeof problem === 'string' ? failure('INVALID_PARAMS', problem, where) : { ...problem, ...where };
			break;
		}
		passed += 1;
	}
	return { poolId, passed, refusedFor, predictedStartMs, predictedEndMs };
}

function serviceMs(pool: PoolSnapshot, job: TaskSummary): number {
	const tokensOut = Math.min(job.maxTokens ?? pool.maxTokensOut, job.expectedTokens ?? pool.tokensOut);
	const prefillMs = (job.promptTokens ?? job.promptBytes / bytesPerToken) * pool.prefillMsPerToken;
	return prefillMs + tokensOut * pool.decodeMsPerToken;
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

function featureMissing({ poolId, features, model }: PoolSnapshot, { needs }: TaskSummary): string | null {
	if (needs.length === 0 || features === null) return null;
	const missing = needs.find((feature) => !features.includes(feature));
	if (missing === undefined) return null;
	if (missing === 'tools') return `tools are given; the model of ${poolId}, ${JSON.stringify(model)}, cannot call any`;
	if (missing === 'images') return `messages hold more than text; the model of ${poolId}, ${JSON.stringify(model)}, takes text only`;
	return `sampling.${missing} is given; the engine of ${poolId} cannot do it`;
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

/** Of a pool that has found so: waiting for it is useless. */
function memoryTooSmall({ poolId, cannotFit, draining }: PoolSnapshot): Failure | null {
	if (cannotFit === null || draining) return null;
	return failure('POOL_UNAVAILABLE', `${poolId} cannot serve: ${cannotFit}`, { retriable: false });
}

function unready(pool: PoolSnapshot): Failure | null {
	if (pool.draining) return failure('POOL_UNREADY', `${pool.poolId} is draining`, { retryAfterMs: pool.retryAfterMs });
	if (pool.exhausted) {
		const words = `no replica of ${pool.poolId} takes tasks: ${pool.lastError ?? 'all fail'}`;
		return failure('REPLICA_EXHAUSTED', words, { retryAfterMs: pool.retryAfterMs });
	}
	if (pool.state !== 'failed') return null;
	const reason = pool.lastError ?? 'its replicas have failed';
	return failure('POOL_UNREADY', `${pool.poolId} cannot serve: ${reason}`, { retryAfterMs: pool.retryAfterMs });
}
