/** A pool as others see it: the snapshot that placement decides over, and the view that fronts show. Pure. */
import { PaceMeter } from './eta.ts';
import { LeaseLedger } from './lease-ledger.ts';
import type { PoolView, Purging } from './messages.ts';
import type { PoolSnapshot } from './placement.ts';
import { PoolReplicas } from './pool-replicas.ts';
import { gpusOf } from './pool-sessions.ts';
import type { PoolSpec } from './pool-spec.ts';
import { type QueueEntry, WaitingQueue } from './queue.ts';

export interface PoolParts {
	readonly spec: PoolSpec;
	readonly replicas: PoolReplicas;
	readonly ledger: LeaseLedger;
	readonly queue: WaitingQueue<QueueEntry>;
	/** Of a task of each class that came now. */
	readonly predictedStartMs: PoolSnapshot['predictedStartMs'];
	readonly taskEveryMs: number;
	readonly retryAfterMs: number;
	/** Tasks that run. */
	readonly running: number;
	/** As it is now: the configured one, or another that it was reloaded with. */
	readonly model: string;
	readonly reloadingTo: string | null;
	readonly purging: Purging | null;
	/** Of the last reload. */
	readonly reloadProblem: string | null;
	readonly drainingUntil: number | null;
	readonly readyAt: number | null;
	/** Its model is on its way here; null: it is not. */
	readonly fetch: PoolView['fetch'];
	readonly pace: Pick<PoolSnapshot, 'prefillMsPerToken' | 'decodeMsPerToken' | 'tokensOut'>;
}

/** Those it hears of on its way out. One list for all, so that who finds that a model has none need not say it anew. */
export const noNames: readonly string[] = [];

/** Of a pool that has said nothing yet: its tasks wait for it. */
export function startingNews(spec: PoolSpec): ReturnType<typeof poolNews> {
	return poolNews({
		spec,
		model: spec.model,
		reloadingTo: null,
		purging: null,
		reloadProblem: null,
		replicas: new PoolReplicas(spec, []),
		ledger: new LeaseLedger(spec.poolId, 0),
		queue: new WaitingQueue(spec.queue),
		predictedStartMs: { interactive: 0, batch: 0 },
		taskEveryMs: 0,
		retryAfterMs: 1_000,
		running: 0,
		drainingUntil: null,
		readyAt: null,
		fetch: null,
		pace: paceOf(new PaceMeter(spec.perfPrior), 1, spec.maxTokensOut),
	});
}

/** As measured with `depth` tasks on an engine. */
export function paceOf(pace: PaceMeter, depth: number, maxTokensOut: number): PoolParts['pace'] {
	return {
		prefillMsPerToken: pace.prefillMsPerToken(depth),
		decodeMsPerToken: pace.decodeMsPerToken(depth),
		tokensOut: pace.tokensOut({ promptTokens: 0, expectedTokens: null, maxTokens: maxTokensOut }),
	};
}

export function poolNews({
	spec,
	model,
	reloadingTo,
	purging,
	reloadProblem,
	replicas,
	ledger,
	queue,
	predictedStartMs,
	taskEveryMs,
	retryAfterMs,
	running,
	drainingUntil,
	readyAt,
	fetch,
	pace,
}: PoolParts): {
	readonly snapshot: PoolSnapshot;
	readonly view: PoolView;
} {
	const { facts, state } = replicas;
	const lastError = reloadProblem ?? replicas.lastError;
	const { poolId, engine, provider, aliases, devices, maxTokensOut } = spec;
	const slotsFree = replicas.slotsFree(ledger);
	return {
		snapshot: {
			poolId,
			engine,
			model,
			aliases,
			names: noNames,
			devices,
			state,
			onDemand: spec.residency.kind === 'on_demand',
			draining: drainingUntil !== null,
			exhausted: replicas.exhaustedUntil !== null,
			lastError,
			ctx: facts?.ctx ?? null,
			maxTokensOut,
			workloads: facts?.workloads ?? null,
			features: facts?.features ?? null,
			samplerProfileVersion: facts?.samplerProfileVersion ?? null,
			modelDigest: facts?.modelDigest ?? null,
			modelName: facts?.modelName ?? null,
			migration: spec.migration === 'on',
			slotsFree,
			slotsTotal: replicas.readySlots,
			hasRoom: queue.hasRoom(0),
			tasks: running + queue.length,
			cannotFit: replicas.cannotFit,
			vramFreeBytes: replicas.vramFreeBytes,
			prefillMsPerToken: pace.prefillMsPerToken,
			decodeMsPerToken: pace.decodeMsPerToken,
			tokensOut: pace.tokensOut,
			predictedStartMs,
			taskEveryMs,
			retryAfterMs,
		},
		view: {
			poolId,
			engine,
			provider,
			model,
			aliases,
			names: noNames,
			ctx: facts?.ctx ?? 0,
			maxTokensOut,
			charges: {
				wallMs: spec.timeouts.wallMs,
				perTokenIn: spec.prices.perTokenIn,
				perTokenOut: spec.prices.perTokenOut,
				gpus: gpusOf(spec, facts),
			},
			slotsTotal: replicas.readySlots,
			slotsFree,
			queueDepth: { interactive: queue.depth('interactive'), batch: queue.depth('batch') },
			state,
			residency: spec.residency.kind,
			drainingUntil,
			readyAt,
			retiring: false,
			fetch,
			reloadingTo,
			purging,
			lastError,
			replicas: replicas.views,
		},
	};
}
