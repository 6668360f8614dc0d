/**
 * The Replica actor: keeps one engine alive, on an engine thread. It starts the engine's life, starts it again with growing
 * delays when it ends, and tells its pool. It owns the life, never a byte of what the engine says.
 *
 * ```
 *  starting ──life-ready──► ready ──life-ended──► failed ──(delay)──► starting
 *      └──────life-ended──────────────────────────► failed
 *  any ──stop──► stopping ──life-ended──► stopped
 * ```
 */
import type { ActorContext, Behavior, Next, Setup, Signal } from '../kernel/behavior.ts';
import type { ActorRef } from '../kernel/ref.ts';
import type { OpenBreaker } from './circuit-breaker.ts';
import type { EngineDriver, EngineLife, LifeNews } from './engine-life.ts';
import type { Failure } from './failure.ts';
import type { ReplicaCommand, ReplicaFacts, ReplicaNews, ReplicaSpec } from './messages.ts';
import type { ModelFetch } from './warm-up-messages.ts';

export interface ReplicaOptions {
	readonly spec: ReplicaSpec;
	readonly driver: EngineDriver;
	readonly pool: ActorRef<ReplicaNews>;
}

export type ReplicaMessage =
	| ReplicaCommand
	| LifeNews
	/** The pool that wants to know has changed: a new control thread. */
	| { readonly type: 'attach'; readonly replyTo: ActorRef<ReplicaNews> }
	| { readonly type: 'retry-due' }
	/** The link to the pool may have room again. */
	| { readonly type: 'tell-again-due' };

const backoffFirstMs = 1_000;
const backoffMaxMs = 60_000;
const backoffJitter = 0.1;
/** A life of this length starts the delays anew. */
const stableMs = 300_000;
const startsMax = 10;
const startsWithinMs = 60_000;
const tellAgainMs = 100;

/** Delay before the next start: 1 s ×2 to 60 s ±10 %, and never more than 10 starts a minute. */
export function restartDelayMs(failuresInRow: number, starts: readonly number[], now: number, random: number): number {
	const base = Math.min(backoffMaxMs, backoffFirstMs * 2 ** Math.min(failuresInRow - 1, 16));
	const delay = base * (1 + backoffJitter * (2 * random - 1));
	const recent = starts.filter((at) => now - at < startsWithinMs);
	const tenth = recent.length >= startsMax ? recent[recent.length - startsMax] : undefined;
	return tenth === undefined ? delay : Math.max(delay, tenth + startsWithinMs - now);
}

export function replica(options: ReplicaOptions): Setup<ReplicaMessage> {
	return (ctx) => new Replica(ctx, options);
}

class Replica implements Behavior<ReplicaMessage> {
	readonly #ctx: ActorContext<ReplicaMessage>;
	#spec: ReplicaSpec;
	readonly #driver: EngineDriver;
	#pool: ActorRef<ReplicaNews>;
	#life: EngineLife | null = null;
	#facts: ReplicaFacts | null = null;
	/** Null: nobody has told. */
	#vramFreeBytes: number | null = null;
	#lastFailure: { readonly failure: Failure; readonly retryAt: number } | null = null;
	/** Null: never yet. */
	#readyAt: number | null = null;
	/** Since it was stable: sets the delays. */
	#failuresInRow = 0;
	#failuresSinceReady = 0;
	#startedAt = 0;
	/** Of its model, before its engine starts; null: it is here. */
	#fetch: ModelFetch | null = null;
	/** Of the model that it runs; null: it was never ready with it. */
	#loadMs: number | null = null;
	#starts: readonly number[] = [];
	/** Kept for a pool that does not know it. */
	#breaker: OpenBreaker | null = null;
	/** Before its next start. */
	#emptiesCaches = false;
	#stopping = false;
	/** Its engine ends because another model is to run. */
	#changing = false;
	/** News that found the link to the pool full. */
	#untold: ReplicaNews[] = [];

	constructor(ctx: ActorContext<ReplicaMessage>, options: ReplicaOptions) {
		this.#ctx = ctx;
		this.#spec = options.spec;
		this.#driver = options.driver;
		this.#pool = options.pool;
		this.#start();
	}

	onMessage(_ctx: ActorContext<ReplicaMessage>, message: ReplicaMessage): Next<ReplicaMessage> {
		switch (message.type) {
			case 'attach':
				this.#attach(message.replyTo);
				return 'same';
			case 'tell-again-due':
				this.#tellAgain();
				return 'same';
			case 'audit':
				this.#life?.audit(message.revoked);
				return 'same';
			case 'stop':
				return this.#stop();
			case 'keep-breaker':
				this.#breaker = message.breaker;
				return 'same';
			case 'change-model':
				this.#changeModel(message);
				return 'same';
			case 'retry-due':
				this.#start();
				return 'same';
			case 'life-fetching':
				if (this.#changing) return 'same';
				this.#fetch = message.fetch;
				// How long an engine loads says nothing of how long its model was on its way.
				this.#startedAt = this.#ctx.now();
				this.#tellFetch();
				return 'same';
			case 'life-ready':
				// Of an engine that is on its way out.
				if (this.#changing) return 'same';
				this.#facts = message.facts;
				this.#lastFailure = null;
				this.#failuresSinceReady = 0;
				this.#readyAt = this.#ctx.now();
				this.#loadMs = this.#readyAt - this.#startedAt;
				this.#log('info', 'replica-ready', `${this.#spec.replicaId} is ready: ${message.facts.modelName} on ${message.facts.device}.`);
				this.#tell({ type: 'replica-ready', replicaId: this.#spec.replicaId, facts: message.facts, loadMs: this.#loadMs });
				return 'same';
			case 'life-audited':
				this.#tell({ type: 'audited', replicaId: this.#spec.replicaId, busyLeases: message.busyLeases });
				return 'same';
			case 'life-memory':
				if (this.#changing || this.#facts === null) return 'same';
				this.#vramFreeBytes = message.vramFreeBytes;
				this.#tellMemory();
				return 'same';
			case 'life-ended':
				return this.#onLifeEnded(message.failure);
		}
	}

	onSignal(_ctx: ActorContext<ReplicaMessage>, signal: Signal): Next<ReplicaMessage> {
		if (signal.type === 'drain') return this.#stop();
		if (signal.type === 'post-stop') this.#life?.stop();
		return 'same';
	}

	#start(): void {
		const empties = this.#emptiesCaches;
		this.#emptiesCaches = false;
		const problem = empties ? (this.#driver.emptyCaches?.(this.#spec) ?? null) : null;
		this.#startedAt = this.#ctx.now();
		this.#fetch = null;
		this.#tell(this.#startedNews(empties ? (problem === null ? 'empty' : { problem }) : null));
		this.#starts = [...this.#starts.slice(1 - startsMax), this.#startedAt];
		this.#life = this.#driver.start(this.#spec, this.#ctx.self);
	}

	#startedNews(caches: Extract<ReplicaNews, { type: 'replica-started' }>['caches'] = null): ReplicaNews {
		const { replicaId, model, settings } = this.#spec;
		return {
			type: 'replica-started',
			replicaId,
			model,
			settings,
			breaker: this.#breaker,
			caches,
			startedAt: this.#startedAt,
			// Of one that is ready it is told behind this.
			lastLoadMs: this.#facts === null ? this.#loadMs : null,
			replyTo: this.#ctx.self,
		};
	}

	/** What the old engine did says nothing of the new one. */
	#changeModel({ model, settings, emptyCaches }: Extract<ReplicaCommand, { type: 'change-model' }>): void {
		if (this.#stopping) return;
		this.#emptiesCaches ||= emptyCaches;
		if (model !== this.#spec.model) this.#loadMs = null;
		this.#spec = { ...this.#spec, model, settings };
		this.#ctx.cancelTimer('retry');
		this.#lastFailure = null;
		this.#breaker = null;
		this.#failuresInRow = 0;
		this.#failuresSinceReady = 0;
		if (this.#life === null) return this.#start();
		this.#changing = true;
		this.#life.stop();
	}

	#stop(): Next<ReplicaMessage> {
		this.#stopping = true;
		this.#ctx.cancelTimer('retry');
		if (this.#life !== null) {
			this.#life.stop();
			return 'same';
		}
		this.#tell({ type: 'replica-stopped', replicaId: this.#spec.replicaId });
		return 'stopped';
	}

	#onLifeEnded(why: Failure): Next<ReplicaMessage> {
		this.#life = null;
		this.#fetch = null;
		this.#vramFreeBytes = null;
		if (this.#stopping) {
			this.#tell({ type: 'replica-stopped', replicaId: this.#spec.replicaId });
			return 'stopped';
		}
		if (this.#changing) {
			this.#changing = false;
			this.#facts = null;
			this.#start();
			return 'same';
		}
		const now = this.#ctx.now();
		const wasStable = this.#facts !== null && now - (this.#readyAt ?? now) >= stableMs;
		this.#facts = null;
		this.#failuresSinceReady += 1;
		this.#failuresInRow = wasStable ? 1 : this.#failuresInRow + 1;
		const retryInMs = restartDelayMs(this.#failuresInRow, this.#starts, now, this.#ctx.random());
		this.#lastFailure = { failure: why, retryAt: now + retryInMs };
		this.#ctx.setTimer('retry', retryInMs, { type: 'retry-due' });
		this.#log('error', 'replica-failed', `${this.#spec.replicaId}: ${why.message}. Next try in ${(retryInMs / 1000).toFixed(1)} s.`);
		this.#tellFailed(this.#lastFailure);
		return 'same';
	}

	/** Tells a new control thread all that it must know. */
	#attach(pool: ActorRef<ReplicaNews>): void {
		this.#pool = pool;
		this.#untold = [];
		const { replicaId } = this.#spec;
		const started = this.#startedNews();
		this.#tell(started);
		// An engine on its way out is ready for nobody.
		if (this.#changing) return;
		if (this.#facts !== null && this.#loadMs !== null) {
			this.#tell({ type: 'replica-ready', replicaId, facts: this.#facts, loadMs: this.#loadMs });
			if (this.#vramFreeBytes !== null) this.#tellMemory();
		} else if (this.#lastFailure !== null) {
			this.#tellFailed(this.#lastFailure);
			if (this.#life !== null) this.#tell(started);
		}
		if (this.#fetch !== null) this.#tellFetch();
	}

	#tellFetch(): void {
		this.#tell({ type: 'replica-fetching', replicaId: this.#spec.replicaId, fetch: this.#fetch, startedAt: this.#startedAt });
	}

	#tellMemory(): void {
		this.#tell({ type: 'replica-memory', replicaId: this.#spec.replicaId, vramFreeBytes: this.#vramFreeBytes });
	}

	#tellFailed(last: { readonly failure: Failure; readonly retryAt: number }): void {
		this.#tell({
			type: 'replica-failed',
			replicaId: this.#spec.replicaId,
			failure: last.failure,
			retryInMs: Math.max(0, last.retryAt - this.#ctx.now()),
			served: this.#readyAt !== null,
			failuresInRow: this.#failuresSinceReady,
		});
	}

	/** In order, also when the link has no room. An audit's answer is not kept: the pool asks again; nor is what is told again soon. */
	#tell(news: ReplicaNews): void {
		const passes = news.type === 'replica-fetching' && news.fetch !== null;
		const keeps = news.type !== 'audited' && news.type !== 'replica-memory' && !passes;
		if (this.#untold.length > 0) {
			if (keeps) this.#untold.push(news);
			return;
		}
		if (this.#pool.tell(news) !== 'full' || !keeps) return;
		this.#untold.push(news);
		this.#ctx.setTimer('tell-again', tellAgainMs, { type: 'tell-again-due' });
	}

	#tellAgain(): void {
		const untold = this.#untold;
		this.#untold = [];
		for (const news of untold) this.#tell(news);
	}

	#log(level: 'info' | 'error', event: string, human: string): void {
		const { engine, poolId, replicaId } = this.#spec;
		this.#ctx.telemetry.log(level, event, { engine, pool_id: poolId, replica_id: replicaId, human });
	}
}
