/**
 * The life of an engine that somebody else runs, from an engine thread: looks at it until it is well, has it make one token, and goes
 * on looking. What it started it would have to end; this one starts nothing.
 */

import type { ActorRef } from '../../actors/kernel/ref.ts';
import type { Labels, Telemetry } from '../../actors/kernel/telemetry.ts';
import type { DecodeNews, GenerateRequest, Generation } from '../../actors/serving/decode.ts';
import type { EngineDriver, EngineLife, LifeNews, ModelChange } from '../../actors/serving/engine-life.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { ReplicaFacts, ReplicaSpec } from '../../actors/serving/messages.ts';
import { greedySampling } from '../../actors/serving/task-request.ts';
import {
	adapterOf,
	type UpstreamAdapter,
	type UpstreamAdapters,
	type UpstreamClient,
	type UpstreamFacts,
	UpstreamProblem,
	type UpstreamTarget,
} from './adapter.ts';
import { formatUpstream } from './upstream-address.ts';
import { upstreamClient } from './upstream-client.ts';
import type { UpstreamDecodePort } from './upstream-decode-port.ts';
import type { UpstreamSettings } from './upstream-settings.ts';

export interface UpstreamDriverOptions {
	readonly adapters: UpstreamAdapters;
	/** Of this thread, for self-tests. */
	readonly port: UpstreamDecodePort;
	/** Gets what engines say of their KV caches. */
	readonly telemetry: Telemetry;
	readonly lookEveryMs?: number;
	/** For its first token, ms. */
	readonly selfTestWithinMs?: number;
}

const lookDefaultMs = 5_000;
const selfTestDefaultMs = 120_000;
/** Looks in a row that find it unwell before it is given up. */
const unwellMax = 3;
/** An engine that tells nobody what it is busy with is believed to have noticed by then that its client left. */
const forgottenMs = 5_000;
const templateBytes = { baseBytes: 1_024, perMessageBytes: 64 };

export class UpstreamDriver implements EngineDriver {
	readonly #options: UpstreamDriverOptions;

	constructor(options: UpstreamDriverOptions) {
		this.#options = options;
	}

	start(spec: ReplicaSpec, replica: ActorRef<LifeNews>): EngineLife {
		return new UpstreamLife(spec, spec.settings as UpstreamSettings, replica, this.#options);
	}

	/** Each of the pool's engines has to have it, as it says itself. */
	withModel(settings: unknown, model: string, answer: (change: ModelChange) => void): void {
		const upstream = settings as UpstreamSettings;
		const { engine, urls, options = {} } = upstream;
		const adapter = adapterOf(this.#options.adapters, engine);
		void Promise.all(urls.map((url) => adapter.look(upstreamClient({ ...upstream, url }), model, options))).then(
			() => answer({ ok: true, settings: { ...upstream, model } }),
			(error: unknown) => answer({ ok: false, failure: problemOf(error) }),
		);
	}
}

class UpstreamLife implements EngineLife {
	readonly #spec: ReplicaSpec;
	readonly #settings: UpstreamSettings;
	readonly #replica: ActorRef<LifeNews>;
	readonly #options: UpstreamDriverOptions;
	readonly #adapter: UpstreamAdapter;
	readonly #client: UpstreamClient;
	readonly #url: string;
	#timer: NodeJS.Timeout | null = null;
	#selfTest: Generation | null = null;
	#unwell = 0;
	/** Of its KV cache, where it tells. */
	#kvLabels: Labels | null = null;
	#isReady = false;
	#ended = false;
	/** Since when each lease is asked about, where the engine does not say what it is busy with. */
	readonly #asked = new Map<string, number>();

	constructor(spec: ReplicaSpec, settings: UpstreamSettings, replica: ActorRef<LifeNews>, options: UpstreamDriverOptions) {
		this.#spec = spec;
		this.#settings = settings;
		this.#replica = replica;
		this.#options = options;
		this.#adapter = adapterOf(options.adapters, settings.engine);
		const number = Number(/-(\d+)$/.exec(spec.replicaId)?.[1] ?? 0);
		this.#url = spec.worker?.url ?? settings.urls[number % settings.urls.length] ?? '';
		this.#client = upstreamClient({ ...settings, url: this.#url });
		void this.#begin();
	}

	audit(revoked: readonly string[]): void {
		void this.#audit(revoked);
	}

	stop(): void {
		const why = failure('WORKER_RESET', 'the engine is used no more');
		const rest = this.#isReady ? this.#adapter.rest?.(this.#client, this.#settings.options ?? {}) : undefined;
		this.#isReady = false;
		if (rest === undefined) return this.#end(why);
		if (this.#timer !== null) clearTimeout(this.#timer);
		// Whether it rests or not: nobody waits for more.
		rest.then(
			() => this.#end(why),
			() => this.#end(why),
		);
	}

	async #begin(): Promise<void> {
		try {
			await this.#adapter.rouse?.(this.#client, this.#settings.options ?? {});
			const facts = await this.#adapter.look(this.#client, this.#settings.model, this.#settings.options ?? {});
			const kvUsage = await this.#kvUsage();
			const told = kvUsage === null ? {} : { tellsKvUsage: true as const };
			if (!this.#ended) this.#test({ ...this.#factsOf(facts), ...told }, kvUsage);
		} catch (error) {
			this.#end(problemOf(error));
		}
	}

	/** One greedy token, by the way of any task. */
	#test(facts: ReplicaFacts, kvUsage: number | null): void {
		const withinMs = this.#options.selfTestWithinMs ?? selfTestDefaultMs;
		const failed = (why: string): void =>
			this.#end(failure('POOL_UNREADY', `the engine is up, but failed its self-test of one token: ${why}`));
		this.#timer = setTimeout(() => failed(`none came within ${withinMs / 1000} s`), withinMs).unref();
		this.#selfTest = this.#options.port.start(facts, selfTest(facts), {
			tell: (news: DecodeNews) => {
				if (news.type === 'decode-failed') failed(news.failure.message);
				if (news.type === 'decode-ended' || news.type === 'embedded') this.#ready(facts, kvUsage);
				return 'accepted';
			},
		});
	}

	#ready(facts: ReplicaFacts, kvUsage: number | null): void {
		if (this.#ended) return;
		if (this.#timer !== null) clearTimeout(this.#timer);
		this.#selfTest = null;
		this.#isReady = true;
		if (kvUsage !== null) {
			const { engine, engineVersion, poolId, replicaId } = facts;
			this.#kvLabels = { engine, engine_version: engineVersion, pool_id: poolId, replica_id: replicaId };
			this.#showKvUsage(kvUsage);
		}
		this.#replica.tell({ type: 'life-ready', facts });
		this.#lookSoon();
	}

	#lookSoon(): void {
		this.#timer = setTimeout(() => void this.#look(), this.#options.lookEveryMs ?? lookDefaultMs).unref();
	}

	async #look(): Promise<void> {
		try {
			await this.#adapter.look(this.#client, this.#settings.model, this.#settings.options ?? {});
			this.#unwell = 0;
			if (this.#kvLabels !== null) this.#showKvUsage(await this.#kvUsage());
		} catch (error) {
			this.#unwell += 1;
			if (this.#unwell >= unwellMax) return this.#end(problemOf(error));
		}
		if (!this.#ended && this.#isReady) this.#lookSoon();
	}

	/** What is not told, or cannot be asked for now, makes nobody unwell. */
	async #kvUsage(): Promise<number | null> {
		try {
			return (await this.#adapter.kvUsage?.(this.#client)) ?? null;
		} catch (error) {
			if (!(error instanceof UpstreamProblem)) throw error;
			return null;
		}
	}

	#showKvUsage(ratio: number | null): void {
		if (this.#kvLabels === null || ratio === null) return;
		this.#options.telemetry.gauge('kv_cache_usage_ratio', this.#kvLabels, Math.max(0, Math.min(1, ratio)));
	}

	async #audit(revoked: readonly string[]): Promise<void> {
		let busy: number | null = null;
		try {
			busy = await this.#adapter.busy(this.#client);
		} catch (error) {
			// Of one that cannot be asked nobody knows more than of one that does not say.
			if (!(error instanceof UpstreamProblem)) throw error;
		}
		if (this.#ended) return;
		const now = performance.now();
		for (const key of this.#asked.keys()) if (!revoked.includes(key)) this.#asked.delete(key);
		for (const key of revoked) if (!this.#asked.has(key)) this.#asked.set(key, now);
		const old = (key: string): boolean => now - (this.#asked.get(key) ?? now) >= forgottenMs;
		const busyLeases = busy === 0 ? [] : revoked.filter((key) => !old(key));
		this.#replica.tell({ type: 'life-audited', busyLeases });
	}

	#factsOf(found: UpstreamFacts): ReplicaFacts {
		const { engine, key, ctx, defaultCtx, connectMs } = this.#settings;
		const slots = this.#spec.worker?.slots ?? this.#settings.slots;
		const target: UpstreamTarget = { engine, url: this.#url, key, model: found.model, connectMs, found: found.found };
		return {
			replicaId: this.#spec.replicaId,
			poolId: this.#spec.poolId,
			engine,
			engineVersion: found.engineVersion,
			modelDigest: null,
			modelName: found.model,
			address: formatUpstream(target),
			// More would wait in the engine, where nobody sees them.
			slots: Math.min(slots, found.slots ?? slots),
			ctx: Math.min(ctx ?? found.ctx ?? defaultCtx, found.ctx ?? Number.POSITIVE_INFINITY),
			workloads: found.workloads,
			samplerProfileVersion: `${engine}-${found.engineVersion}`,
			chatTemplate: found.chatTemplate ? templateBytes : null,
			device: 'external',
			features: found.features,
		};
	}

	#end(why: Failure): void {
		if (this.#ended) return;
		this.#ended = true;
		if (this.#timer !== null) clearTimeout(this.#timer);
		this.#showKvUsage(0);
		this.#kvLabels = null;
		this.#selfTest?.abandon();
		this.#replica.tell({ type: 'life-ended', failure: { ...why, engine: this.#spec.engine, poolId: this.#spec.poolId } });
	}
}

function problemOf(error: unknown): Failure {
	if (error instanceof UpstreamProblem) return error.failure;
	throw error;
}

function selfTest(facts: ReplicaFacts): GenerateRequest {
	const completion = facts.workloads.includes('completion');
	const reranks = !facts.workloads.includes('embedding');
	return {
		lease: { epoch: 0, id: 0, poolId: facts.poolId, replicaId: facts.replicaId, exclusive: false },
		input: completion
			? { kind: 'prompt', text: 'Hello', raw: !facts.chatTemplate }
			: { kind: 'inputs', inputs: ['Hello'], query: reranks ? 'Hello' : null },
		workload: completion ? 'completion' : reranks ? 'rerank' : 'embedding',
		maxTokens: 1,
		maxTokensExplicit: false,
		ctx: facts.ctx,
		sampling: greedySampling,
		seed: 0,
		strict: false,
		priority: 'interactive',
		kvHint: 'reuse',
		tellIds: false,
		resume: null,
	};
}
