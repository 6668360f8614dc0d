/**
 * Pools and what the daemon can do, from the views that the control thread tells its fronts. Pure but for the handlers.
 */
import { failure } from '../../actors/serving/failure.ts';
import type { PoolView, ReplicaFacts } from '../../actors/serving/messages.ts';
import type { ModelFetch } from '../../actors/serving/warm-up-messages.ts';
import type { Handler } from '../http/application.ts';
import type { Exchange } from '../http/exchange.ts';
import { httpStatus } from './errors.ts';
import type { FrontParts } from './front-parts.ts';

export const apiVersion = '2.0.0';

export function listPoolsHandler(parts: FrontParts): Handler {
	return (exchange) => {
		const now = parts.clock.now();
		exchange.json(httpStatus.ok, { pools: parts.directory.pools.map((pool) => poolJson(pool, now)) });
		return null;
	};
}

export function getPoolHandler(parts: FrontParts): Handler {
	return withPool(parts, (exchange, pool) => exchange.json(httpStatus.ok, poolJson(pool, parts.clock.now())));
}

export function poolHealthHandler(parts: FrontParts): Handler {
	return withPool(parts, (exchange, pool) =>
		exchange.json(httpStatus.ok, {
			live: pool.state === 'unloaded' || pool.replicas.some(({ state }) => state === 'starting' || state === 'ready'),
			ready: takesTasks(pool) && pool.state === 'ready',
			ready_in_ms: readyInMs(pool, parts.clock.now()),
			draining: pool.drainingUntil !== null,
			metrics: {
				queue_depth: pool.queueDepth.interactive + pool.queueDepth.batch,
				slots_total: pool.slotsTotal,
				slots_free: pool.slotsFree,
			},
			last_error: pool.lastError,
		}),
	);
}

/** Whether a task that comes now may be served there: at once, or once its model is loaded that is loaded for whoever comes. */
export function takesTasks({ state, residency, drainingUntil, retiring, replicas }: PoolView): boolean {
	const serves = state === 'ready' || (residency === 'on_demand' && state !== 'failed');
	return serves && drainingUntil === null && !retiring && replicas.some(({ breaker }) => breaker !== 'open');
}

function withPool(parts: FrontParts, use: (exchange: Exchange, pool: PoolView) => void): Handler {
	return (exchange) => {
		const { id } = exchange.params;
		const pool = parts.directory.pools.find(({ poolId }) => poolId === id);
		if (pool === undefined) exchange.fail(failure('NOT_FOUND', 'there is no such pool; /v2/pools lists them'));
		else use(exchange, pool);
		return null;
	};
}

/** Of a pool whose engine loads, as past loads were. Null: it is ready, or nobody knows. */
function readyInMs({ readyAt }: PoolView, now: number): number | null {
	return readyAt === null ? null : Math.max(0, Math.round(readyAt - now));
}

function fetchJson(fetch: ModelFetch | null) {
	if (fetch === null) return null;
	const { status, bytesDone, bytesTotal, leftMs, note } = fetch;
	return { status, bytes_done: bytesDone, bytes_total: bytesTotal, left_ms: leftMs === null ? null : Math.round(leftMs), note };
}

/** Without the address of a replica: that is for our decode connections alone. */
function poolJson(pool: PoolView, now: number) {
	return {
		pool_id: pool.poolId,
		engine: pool.engine,
		provider: pool.provider,
		model: pool.model,
		aliases: pool.aliases,
		state: pool.state,
		ready_in_ms: readyInMs(pool, now),
		residency: pool.residency,
		draining: pool.drainingUntil !== null,
		retiring: pool.retiring,
		fetch: fetchJson(pool.fetch),
		reloading_to: pool.reloadingTo,
		ctx: pool.ctx,
		max_tokens_out: pool.maxTokensOut,
		slots_total: pool.slotsTotal,
		slots_free: pool.slotsFree,
		queue_depth: pool.queueDepth,
		last_error: pool.lastError,
		replicas: pool.replicas.map(({ replicaId, state, facts, breaker, lastError }) => ({
			replica_id: replicaId,
			state,
			engine_version: facts?.engineVersion ?? null,
			model_name: facts?.modelName ?? null,
			model_digest: facts?.modelDigest ?? null,
			slots: facts?.slots ?? null,
			ctx: facts?.ctx ?? null,
			device: facts?.device ?? null,
			memory: facts?.memory === undefined ? null : { ram_bytes: facts.memory.ramBytes, vram_bytes: facts.memory.vramBytes },
			workloads: facts?.workloads ?? [],
			features: facts?.features ?? [],
			sampler_profile_version: facts?.samplerProfileVersion ?? null,
			breaker,
			last_error: lastError,
		})),
	};
}

/** `GET /v2/meta/capabilities`: one entry for each engine and version that serves right now. */
export function capabilitiesHandler(parts: FrontParts): Handler {
	return (exchange) => {
		exchange.json(httpStatus.ok, { api_version: apiVersion, engines: engines(parts.directory.pools) });
		return null;
	};
}

function engines(pools: readonly PoolView[]) {
	const byEngine = new Map<string, { readonly pool: PoolView; readonly facts: ReplicaFacts }[]>();
	for (const pool of pools) {
		for (const { facts } of pool.replicas) {
			if (facts === null) continue;
			const key = `${pool.engine} ${facts.engineVersion}`;
			byEngine.set(key, [...(byEngine.get(key) ?? []), { pool, facts }]);
		}
	}
	return [...byEngine.values()].map((members) => {
		const served = [...new Set(members.map(({ pool }) => pool))];
		const facts = members.map((member) => member.facts);
		return {
			engine: served[0]?.engine,
			engine_version: facts[0]?.engineVersion,
			pools: served.map(({ poolId }) => poolId),
			ctx_max: Math.max(...served.map(({ ctx }) => ctx)),
			max_tokens_out: Math.max(...served.map(({ maxTokensOut }) => maxTokensOut)),
			slots_total: facts.reduce((sum, { slots }) => sum + slots, 0),
			supported_workloads: union(facts.map(({ workloads }) => workloads)),
			sampler_profile_version: facts[0]?.samplerProfileVersion,
			features: union(facts.map(({ features }) => features)),
			rate_limits: {},
		};
	});
}

function union(lists: readonly (readonly string[])[]): string[] {
	return [...new Set(lists.flat())].sort();
}
