/**
 * The daemon as main runs it: its threads, their configuration, their losses, its end, and the catalog of models. No message of
 * an actor and no token passes here.
 */
import { Socket } from 'node:net';
import { join } from 'node:path';
import { RealHost } from './actors/kernel/real-host.ts';
import type { SupervisionSpec } from './actors/kernel/supervision.ts';
import type { LogLevel } from './actors/kernel/telemetry.ts';
import { wallOffset } from './actors/kernel/wall-time.ts';
import type { CatalogNews } from './actors/serving/catalog-messages.ts';
import { KeyMemories } from './actors/serving/key-memories.ts';
import type { PoolSpec } from './actors/serving/pool-spec.ts';
import type { ConfigChange, ConfigReload } from './actors/serving/reload-messages.ts';
import { type BookMemory, bookMemory } from './actors/serving/task-book.ts';
import { Crew, type ThreadSpec } from './actors/threads/crew.ts';
import type { DaemonFacts } from './cli/banner.ts';
import { cannotListen, nativeBinaryMissing, Problem, portInUse } from './cli/problem.ts';
import { type DaemonConfig, defaultCtx, packageVersion } from './config.ts';
import { appliedTo, changesBetween } from './config-changes.ts';
import { ConfigError } from './config-check.ts';
import { type PoolConfig } from './config-pool.ts';
import { openArtifacts } from './daemon-artifacts.ts';
import { openCatalog } from './daemon-catalog.ts';
import { daemonFacts, isSettled } from './daemon-facts.ts';
import { holdPlaces } from './daemon-places.ts';
import { storeThread, storeThreadSpec, whyNoStore } from './daemon-store.ts';
import type { EmbeddedSettings } from './engines/embedded/embedded-settings.ts';
import type { ManagedSettings } from './engines/managed/managed-settings.ts';
import type { ScriptedSettings } from './engines/scripted/scripted-settings.ts';
import type { UpstreamEngine } from './engines/upstream/adapter.ts';
import type { UpstreamSettings } from './engines/upstream/upstream-settings.ts';
import type { ControlChange, ControlConfig } from './roles/control.ts';
import type { EngineConfig } from './roles/engine.ts';
import type { FrontChange, FrontConfig, FrontFacts, FrontInspection } from './roles/front.ts';
import { threadTelemetry } from './transport/telemetry/metrics.ts';
import { addRetained, type MetricsSnapshot, renderMetrics } from './transport/telemetry/metrics-merge.ts';

export type DaemonLog = (level: LogLevel, event: string, fields: Readonly<Record<string, unknown>>) => void;

export interface Daemon {
	readonly url: string;
	/** Resolves when each pool is ready, or has failed and says why. */
	settled(): Promise<DaemonFacts>;
	/** Ends a control or engine thread by force; it is started again. For the watchdog, and for those who test it. */
	killThread(name: 'control' | 'engine-0'): void;
	/** Resolves with the reason when the daemon cannot go on. */
	readonly failed: Promise<string>;
	/** Reads the configuration anew and applies what may change. One at a time. */
	reloadConfig(): Promise<ConfigReload>;
	/** As it is by now. */
	readonly config: DaemonConfig;
	/** Running tasks may finish for `graceMs`; then all ends. */
	stop(graceMs: number): Promise<void>;
	/** Ends all now, as far as the threads still answer. A process that ends with an open server aborts. */
	halt(): Promise<void>;
}

const firstFront = 'front-0';
const threadSupervision: SupervisionSpec = {
	onFailure: 'restart',
	intensity: { restarts: 5, withinMs: 60_000 },
	backoff: { firstMs: 100, maxMs: 5_000, jitter: 0.1 },
	shutdownMs: 0,
};
/** A front makes the most of short life; the others little. */
const frontYoungMb = 24;
const quietYoungMb = 8;
/** What waits in queues survives: the less is collected at once, the shorter the others wait. */
const controlYoungMb = 4;
const settleLookMs = 50;
const haltMs = 3_000;
const mainLagMs = 1_000;

/**
 * Starts all threads. `reread` gives the configuration as a reload finds it, or throws a `ConfigError`; default: as it was. Throws a
 * `Problem` when the address cannot be had.
 */
export async function startDaemon(started: DaemonConfig, log: DaemonLog, reread: () => DaemonConfig = () => started): Promise<Daemon> {
	let config = started;
	let fail: (why: string) => void = () => {};
	const failed = new Promise<string>((resolve) => {
		fail = resolve;
	});
	const own = threadTelemetry({ thread: 'main', log, processDefaults: true, lagMs: mainLagMs });
	const places = await holdPlaces(started);
	const catalog = openCatalog(config.store.path, config.catalog, own, (news) => void configureControl(news));
	const artifacts = openArtifacts(config.store.path, catalog.store, config.artifacts.quotaBytes, own);
	const roll = openRoll(config.taskRollFd);
	const rates = new KeyMemories();
	let stopping = false;
	const crew = new Crew(
		threadSpecs(
			config.threads.front,
			rates,
			Array.from({ length: config.threads.front }, () => bookMemory()),
			() => config,
			(name) => crew.facts(name),
			() => catalog.news,
		),
		{
			onLost: (name, why, delayMs) => log('error', 'thread-lost', { name, message: why, retryInMs: Math.round(delayMs) }),
			onRestarted: (name, incarnation, facts) => {
				log('info', 'thread-restarted', { name, restarts: incarnation - 1 });
				if (!isFront(name)) return;
				if (!(facts as FrontFacts).ok) fail(`front thread ${name} came back without its port: ${JSON.stringify(facts)}`);
				else if (stopping) void crew.drain(name, 0);
			},
			onGivenUp: (name, why) => fail(`thread ${name}: ${why}`),
		},
		{
			keepMetrics: (kept, ended) => addRetained((kept ?? []) as MetricsSnapshot, ended as MetricsSnapshot),
			ownMetrics: () => own.snapshot(),
			renderMetrics: (all) => renderMetrics(all as MetricsSnapshot[]),
			reloadConfig: () => reloadConfig(),
			catalog: (request) => catalog.answer(request),
			artifacts: (request) => artifacts.answer(request),
		},
	);
	const configureControl = (news: CatalogNews): Promise<void> => crew.configure('control', controlChange(config, news));
	/** Behind the one before. */
	let reloading: Promise<unknown> = Promise.resolve();
	const reloadConfig = (): Promise<ConfigReload> => {
		const reload = reloading.then(async (): Promise<ConfigReload> => {
			const read = readAnew(config, reread);
			if (read.ok) {
				config = read.config;
				catalog.usePools(config.pools);
				const change = { auth: config.auth, rates: rates.of(config.auth.keys) } satisfies FrontChange;
				await Promise.all([configureControl(catalog.news), ...crew.names.filter(isFront).map((name) => crew.configure(name, change))]);
			}
			logReload(log, read);
			return read.ok ? { ok: true, change: read.change } : read;
		});
		reloading = reload.catch(() => undefined);
		return reload;
	};
	const close = async (): Promise<void> => {
		own.close();
		await crew.stop();
		await artifacts.close();
		await catalog.close();
		places.release();
		roll?.destroy();
	};
	try {
		await crew.start();
	} catch (error) {
		await close();
		throw error;
	}
	const fronts = crew.names.filter(isFront);
	const refused = fronts.map((name) => crew.facts(name) as FrontFacts).find((facts) => !facts.ok);
	if (refused?.ok === false) {
		await close();
		throw listenProblem(config, refused);
	}
	const storeless = whyNoStore(crew.facts(storeThread));
	if (storeless !== null) {
		await close();
		throw storeless;
	}
	const front = crew.facts(firstFront) as ListeningFront;
	const { hostname } = config.listen;
	const url = `${config.tls === null ? 'http' : 'https'}://${hostname.includes(':') ? `[${hostname}]` : hostname}:${front.port}`;
	catalog.usePools(config.pools);
	return {
		url,
		failed,
		async settled() {
			for (;;) {
				const views = await Promise.all(
					fronts.map(async (name) => ((await crew.inspect(name)) as FrontInspection | undefined)?.pools ?? []),
				);
				if (views.every((pools) => pools.length === config.pools.length && pools.every(isSettled))) {
					return daemonFacts(config, url, fronts.length, front.httpHost, views[0] ?? []);
				}
				await new Promise((resolve) => setTimeout(resolve, settleLookMs));
			}
		},
		reloadConfig,
		killThread: (name) => crew.kill(name, 'was told to'),
		get config() {
			return config;
		},
		async stop(graceMs) {
			stopping = true;
			await Promise.all(fronts.map((name) => crew.drain(name, graceMs)));
			// What is watched on one front may run on another: no front goes before all have ended what they had.
			await Promise.all(fronts.map((name) => crew.conclude(name)));
			await crew.drain('engine-0', graceMs);
			await close();
		},
		async halt() {
			await Promise.race([close(), new Promise((resolve) => setTimeout(resolve, haltMs))]);
		},
	};
}

type ListeningFront = Extract<FrontFacts, { ok: true }>;

function isFront(name: string): boolean {
	return name.startsWith('front-');
}

/** Held here for as long as the daemon lives, and made one that does not block: fronts come and go, and write to it. */
function openRoll(fd: number | null): Socket | null {
	if (fd === null) return null;
	const pipe = new Socket({ fd, readable: false, writable: true });
	pipe.unref();
	pipe.on('error', () => pipe.destroy());
	return pipe;
}

/** The first front finds out the port and the server library; the others, and all that come back, do as it did. */
function threadSpecs(
	frontCount: number,
	rates: KeyMemories,
	books: readonly BookMemory[],
	current: () => DaemonConfig,
	factsOf: (name: string) => unknown,
	news: () => CatalogNews,
): ThreadSpec[] {
	const entry = (role: string): URL =>
		new URL(`./roles/${role}${import.meta.url.slice(import.meta.url.lastIndexOf('.'))}`, import.meta.url);
	const { level: logLevel } = current().log;
	const common = { supervision: threadSupervision };
	const frontIds = Array.from({ length: frontCount }, (_none, index) => `front-${index}`);
	const first = (): FrontFacts | null => factsOf(firstFront) as FrontFacts | null;
	/** Node's own server cannot share a port. */
	const running = (): readonly string[] => frontIds.slice(0, frontCount > 1 && nameOfHost(first()) === 'node' ? 1 : undefined);
	return [
		...frontIds.map(
			(frontId, index): ThreadSpec => ({
				...common,
				name: frontId,
				entry: entry('front'),
				peers: ['control', ...frontIds.filter((other) => other !== frontId)],
				mayKill: false,
				youngGenerationMb: frontYoungMb,
				wanted: () => first()?.ok === true && running().includes(frontId),
				config: () => frontConfig(current(), rates, books[index] as BookMemory, index, first()),
			}),
		),
		{
			...common,
			name: 'control',
			entry: entry('control'),
			peers: [...frontIds, 'engine-0'],
			mayKill: true,
			youngGenerationMb: controlYoungMb,
			wanted: () => first()?.ok === true,
			config: (epoch): ControlConfig => ({
				epoch,
				...controlChange(current(), news()),
				fronts: running(),
				sessions: current().sessions,
				logLevel,
			}),
		},
		{
			...common,
			name: 'engine-0',
			entry: entry('engine'),
			// Fronts read the logs of engines; what else they want of an engine goes to its socket, or over the control thread.
			peers: ['control', ...frontIds],
			mayKill: true,
			youngGenerationMb: quietYoungMb,
			wanted: () => first()?.ok === true,
			config: (): EngineConfig => {
				const { childEnv, runtimeDir, log, memory } = current();
				return { childEnv, runtimeDir, logDir: log.dir, memory, logLevel };
			},
		},
		storeThreadSpec(entry('store'), current, frontIds, running, () => first()?.ok === true),
	];
}

function nameOfHost(facts: FrontFacts | null): string | null {
	return facts?.ok === true ? facts.httpHost : null;
}

/** Fronts that tell of one task, and those that come after a lost one, agree on its times to the millisecond. */
const offsetOfThisProcess = wallOffset(() => new RealHost().now(), Date.now);

/** `first`: what the first front is; null when this is it, and it starts for the first time. */
function frontConfig(config: DaemonConfig, rates: KeyMemories, book: BookMemory, front: number, first: FrontFacts | null): FrontConfig {
	const { listen, limits, tasks, sse, threads } = config;
	const found = first?.ok === true ? first : null;
	return {
		frontId: `front-${front}`,
		wallOffset: offsetOfThisProcess,
		fronts: threads.front,
		host: found?.httpHost ?? listen.host,
		http: {
			hostname: listen.hostname,
			port: found?.port ?? listen.port,
			// Whether somebody else has the port is asked once.
			shared: found !== null,
			bodyBytesMax: limits.bodyBytes,
			inflightBodyBytesMax: limits.inflightBodyBytes,
			connectionsMax: limits.connections,
			wsMessageBytesMax: limits.wsMessageBytes,
			headMs: limits.headerMs,
			bodyMs: limits.bodyMs,
			http2: listen.http2,
			tls: config.tls,
		},
		options: {
			bodyBytesMax: limits.bodyBytes,
			onDisconnect: tasks.onDisconnect,
			disconnectGraceMs: tasks.disconnectGraceMs,
			responses: config.responses,
			version: packageVersion(),
			buildCommit: null,
			buildTime: null,
			front,
			hostname: listen.hostname,
			hosts: listen.hosts,
			corsOrigins: listen.corsOrigins,
			secure: config.tls !== null,
			auth: config.auth,
			headerCountMax: limits.headerCount,
			sse: { ...sse, watchersMax: limits.watchersPerKey },
		},
		rates: rates.of(config.auth.keys),
		transcripts: config.artifacts.transcripts,
		retention: { logBytesMax: tasks.logBytesMax, retentionMs: tasks.retentionMs, retentionCount: tasks.retentionCount },
		book,
		taskRollFd: config.taskRollFd,
		logLevel: config.log.level,
	};
}

function controlChange({ pools, placement, store }: DaemonConfig, catalog: CatalogNews): ControlChange {
	return { pools: pools.map((pool) => poolSpec(pool, store.cacheDir)), pinning: placement.pinning, catalog };
}

type ReadAnew =
	| { readonly ok: true; readonly config: DaemonConfig; readonly change: ConfigChange }
	| { readonly ok: false; readonly problems: readonly string[] };

function readAnew(running: DaemonConfig, reread: () => DaemonConfig): ReadAnew {
	try {
		const next = reread();
		return { ok: true, config: appliedTo(running, next), change: changesBetween(running, next) };
	} catch (error) {
		if (error instanceof ConfigError) return { ok: false, problems: error.problems };
		if (error instanceof Problem) return { ok: false, problems: [error.message] };
		throw error;
	}
}

function logReload(log: DaemonLog, read: ReadAnew): void {
	if (!read.ok) {
		log('error', 'config-refused', { human: `The configuration was not reloaded: ${read.problems.join('; ')}.` });
		return;
	}
	const { added, removed, changed, keys, restartNeeded } = read.change;
	const of = (what: string, ids: readonly string[]): string[] => (ids.length === 0 ? [] : [`${what} ${ids.join(', ')}`]);
	const pools = [...of('added', added), ...of('removed', removed), ...of('changed', changed)].join('; ') || 'no pool has changed';
	const done = [pools, ...of('keys added:', keys.added), ...of('keys revoked:', keys.removed), ...of('keys changed:', keys.changed)].join(
		'; ',
	);
	const rest = restartNeeded.length === 0 ? '' : `; only a restart applies ${restartNeeded.join(', ')}`;
	log('info', 'config-reloaded', { human: `The configuration was reloaded: ${done}${rest}.` });
}

function poolSpec(pool: PoolConfig, caches: string): PoolSpec {
	const cacheDir = pool.managed?.keepsCache === true ? join(caches, pool.id) : null;
	return {
		poolId: pool.id,
		engine: pool.engine,
		provider: pool.provider,
		model: pool.model,
		aliases: pool.aliases,
		devices: pool.devices,
		residency: pool.residency,
		memoryBytes: pool.memoryBytes,
		replicas: pool.replicas,
		slots: pool.slots,
		workers: pool.workers,
		maxTokensOut: pool.maxTokensOut,
		queue: pool.queue,
		timeouts: pool.timeouts,
		perfPrior: pool.perfPrior,
		migration: pool.migration,
		prices: pool.prices,
		cacheDir,
		settings: engineSettings(pool, cacheDir),
	};
}

function engineSettings(
	pool: PoolConfig,
	cacheDir: string | null,
): EmbeddedSettings | ScriptedSettings | UpstreamSettings | ManagedSettings {
	if (pool.managed !== null) {
		const { slots, ctx, devices, maxTokensOut } = pool;
		const room = { slots, ctx, devices, maxTokensOut, defaultCtx };
		return { kind: 'managed', engine: pool.engine as UpstreamEngine, ...pool.managed, ...room, cacheDir };
	}
	if (pool.upstream !== null) {
		const { slots, ctx } = pool;
		// The configuration lets no other engine be external.
		return { kind: 'upstream', engine: pool.engine as UpstreamEngine, ...pool.upstream, slots, ctx, defaultCtx };
	}
	if (pool.scripted !== null) return { ...pool.scripted, modelName: pool.model, slots: pool.slots, ctx: pool.ctx ?? defaultCtx };
	return {
		modelPath: pool.modelPath ?? '',
		...(pool.fromCatalog ? { ref: pool.model } : {}),
		slots: pool.slots,
		ctx: pool.ctx,
		defaultCtx,
		cpuThreads: pool.cpuThreads,
		gpuLayers: pool.gpuLayers,
		devices: pool.devices,
	};
}

function listenProblem(config: DaemonConfig, front: Extract<FrontFacts, { ok: false }>): Error {
	const addr = `${config.listen.hostname}:${config.listen.port}`;
	if (front.code === 'EADDRINUSE') return portInUse(addr);
	if (front.code === 'NO_BINARY') return nativeBinaryMissing('uWebSockets.js', front.message);
	return cannotListen(addr, front.message);
}
