/** An engine over HTTP as the daemon has it, for tests: looked at until it is ready, with the port that its tasks go through. */
import { silentTelemetry, type Telemetry } from '../../src/actors/kernel/telemetry.ts';
import type { LifeNews, ModelChange } from '../../src/actors/serving/engine-life.ts';
import type { Failure } from '../../src/actors/serving/failure.ts';
import type { ReplicaFacts } from '../../src/actors/serving/messages.ts';
import type { UpstreamEngine } from '../../src/engines/upstream/adapter.ts';
import { UpstreamDecodePort } from '../../src/engines/upstream/upstream-decode-port.ts';
import { UpstreamDriver } from '../../src/engines/upstream/upstream-driver.ts';
import type { UpstreamSettings } from '../../src/engines/upstream/upstream-settings.ts';
import { upstreamAdapters } from '../../src/engines/upstream-adapters.ts';

export function upstreamSettings(engine: UpstreamEngine, url: string, more: Partial<UpstreamSettings> = {}): UpstreamSettings {
	return {
		kind: 'upstream',
		engine,
		urls: [url],
		key: null,
		model: null,
		slots: 4,
		ctx: null,
		defaultCtx: 2_048,
		connectMs: 2_000,
		...more,
	};
}

export interface Looked {
	readonly port: UpstreamDecodePort;
	/** Null: it did not become ready. */
	readonly replica: ReplicaFacts | null;
	readonly failure: Failure | null;
	/** Why it was given up. */
	readonly ended: Promise<Failure>;
	/** Asks which leases it works on, of those that nobody holds. */
	audit(revoked: readonly string[]): Promise<readonly string[]>;
	/** What its pool would be reloaded with. */
	withModel(model: string): Promise<ModelChange>;
	/** The gauge of its KV cache has been set to that. */
	hasKvUsage(value: number): Promise<void>;
	close(): void;
}

/** Looks at an engine until it is ready or given up. */
export async function lookAt(settings: UpstreamSettings, lookEveryMs = 5_000): Promise<Looked> {
	const port = new UpstreamDecodePort(upstreamAdapters);
	const kvUsage: number[] = [];
	const seen: (() => void)[] = [];
	const telemetry: Telemetry = {
		...silentTelemetry,
		gauge(metric, labels, value) {
			if (metric !== 'kv_cache_usage_ratio' || labels['replica_id'] !== 'up-0') return;
			kvUsage.push(value);
			for (const resolve of seen.splice(0)) resolve();
		},
	};
	const driver = new UpstreamDriver({ adapters: upstreamAdapters, port, telemetry, lookEveryMs });
	const waiting: ((news: LifeNews) => void)[] = [];
	const next = (): Promise<LifeNews> =>
		new Promise((resolve) => {
			waiting.push(resolve);
		});
	const first = next();
	let onEnded: (why: Failure) => void = () => undefined;
	const ended = new Promise<Failure>((resolve) => {
		onEnded = resolve;
	});
	const life = driver.start(
		{ replicaId: 'up-0', poolId: 'up', engine: settings.engine, model: settings.model ?? 'up', settings },
		{
			tell(news) {
				waiting.shift()?.(news);
				if (news.type === 'life-ended') onEnded(news.failure);
				return 'accepted';
			},
		},
	);
	const news = await first;
	return {
		port,
		ended,
		replica: news.type === 'life-ready' ? news.facts : null,
		failure: news.type === 'life-ended' ? news.failure : null,
		async audit(revoked) {
			const answer = next();
			life.audit(revoked);
			const told = await answer;
			if (told.type !== 'life-audited') throw new Error(`not audited: ${told.type}`);
			return told.busyLeases;
		},
		withModel: (model) => new Promise((resolve) => driver.withModel(settings, model, resolve)),
		async hasKvUsage(value) {
			while (!kvUsage.includes(value)) await new Promise<void>((resolve) => seen.push(resolve));
		},
		close() {
			life.stop();
			port.close();
		},
	};
}
