/**
 * The daemon as main runs it: its threads, their configuration, their losses, its end. Main supervises and nothing else: no
 * message of an actor and no token passes here.
 */
import type { SupervisionSpec } from './actors/kernel/supervision.ts';
import type { LogLevel } from './actors/kernel/telemetry.ts';
import type { PoolView } from './actors/serving/messages.ts';
import type { PoolSpec } from './actors/serving/pool-spec.ts';
import { Crew, type ThreadSpec } from './actors/threads/crew.ts';
import type { DaemonFacts, PoolFacts } from './cli/banner.ts';
import { cannotListen, nativeBinaryMissing, portInUse } from './cli/problem.ts';
import { type DaemonConfig, defaultCtx, type PoolConfig, packageVersion } from './config.ts';
import type { EmbeddedSettings } from './engines/embedded/embedded-settings.ts';
import type { ScriptedSettings } from './engines/scripted/scripted-settings.ts';
import type { ControlConfig } from './roles/control.ts';
import type { EngineConfig } from './roles/engine.ts';
import type { FrontConfig, FrontFacts, FrontInspection } from './roles/front.ts';
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
	/** Running tasks may finish for `graceMs`; then all ends. */
	stop(graceMs: number): Promise<void>;
	/** Ends all now, as far as the threads still answer. A process that ends with an open server aborts. */
	halt(): Promise<void>;
}

const frontId = 'front-0';
const threadSupervision: SupervisionSpec = {
	onFailure: 'restart',
	intensity: { restarts: 5, withinMs: 60_000 },
	backoff: { firstMs: 100, maxMs: 5_000, jitter: 0.1 },
	shutdownMs: 0,
};
/** A front makes the most of short life; the others little. */
const frontYoungMb = 24;
const quietYoungMb = 8;
const settleLookMs = 50;
const haltMs = 3_000;
const mainLagMs = 1_000;

/** Starts all threads. Throws a `Problem` when the address cannot be had. */
export async function startDaemon(config: DaemonConfig, log: DaemonLog): Promise<Daemon> {
	let fail: (why: string) => void = () => {};
	const failed = new Promise<string>((resolve) => {
		fail = resolve;
	});
	const own = threadTelemetry({ thread: 'main', log, processDefaults: true, lagMs: mainLagMs });
	// Restarted fronts must come back on the port that the first one had.
	let port = config.listen.port;
	const crew = new Crew(
		threadSpecs(config, () => port),
		{
			onLost: (name, why, delayMs) => log('error', 'thread-lost', { name, message: why, retryInMs: Math.round(delayMs) }),
			onRestarted: (name, incarnation, facts) => {
				log('info', 'thread-restarted', { name, restarts: incarnation - 1 });
				if (name === frontId && !(facts as FrontFacts).ok) fail(`front thread came back without its port: ${JSON.stringify(facts)}`);
			},
			onGivenUp: (name, why) => fail(`thread ${name}: ${why}`),
		},
		{
			keepMetrics: (kept, ended) => addRetained((kept ?? []) as MetricsSnapshot, ended as MetricsSnapshot),
			ownMetrics: () => own.snapshot(),
			renderMetrics: (all) => renderMetrics(all as MetricsSnapshot[]),
		},
	);
	await crew.start();
	const front = crew.facts(frontId) as FrontFacts;
	if (!front.ok) {
		own.close();
		await crew.stop();
		throw listenProblem(config, front);
	}
	port = front.port;
	const { hostname } = config.listen;
	const url = `http://${hostname.includes(':') ? `[${hostname}]` : hostname}:${port}`;
	return {
		url,
		failed,
		async settled() {
			for (;;) {
				const { pools } = ((await crew.inspect(frontId)) ?? { pools: [] }) as FrontInspection;
				if (pools.length === config.pools.length && pools.every((pool) => pool.state !== 'starting')) {
					return daemonFacts(config, url, front.httpHost, pools);
				}
				await new Promise((resolve) => setTimeout(resolve, settleLookMs));
			}
		},
		killThread: (name) => crew.kill(name, 'was told to'),
		async stop(graceMs) {
			await crew.drain(frontId, graceMs);
			await crew.drain('engine-0', graceMs);
			own.close();
			await crew.stop();
		},
		async halt() {
			own.close();
			await Promise.race([crew.stop(), new Promise((resolve) => setTimeout(resolve, haltMs))]);
		},
	};
}

function threadSpecs(config: DaemonConfig, port: () => number): ThreadSpec[] {
	const entry = (role: string): URL =>
		new URL(`./roles/${role}${import.meta.url.slice(import.meta.url.lastIndexOf('.'))}`, import.meta.url);
	const logLevel = config.log.level;
	const common = { supervision: threadSupervision };
	return [
		{
			...common,
			name: frontId,
			entry: entry('front'),
			peers: ['control'],
			mayKill: false,
			youngGenerationMb: frontYoungMb,
			config: () => frontConfig(config, port()),
		},
		{
			...common,
			name: 'control',
			entry: entry('control'),
			peers: [frontId, 'engine-0'],
			mayKill: true,
			youngGenerationMb: quietYoungMb,
			config: (epoch): ControlConfig => ({ epoch, pools: config.pools.map(poolSpec), fronts: [frontId], logLevel }),
		},
		{
			...common,
			name: 'engine-0',
			entry: entry('engine'),
			peers: ['control'],
			mayKill: true,
			youngGenerationMb: quietYoungMb,
			config: (): EngineConfig => ({ childEnv: config.childEnv, runtimeDir: config.runtimeDir, logLevel }),
		},
	];
}

function frontConfig(config: DaemonConfig, port: number): FrontConfig {
	const { listen, limits, tasks, sse } = config;
	return {
		frontId,
		host: listen.host,
		http: {
			hostname: listen.hostname,
			port,
			bodyBytesMax: limits.bodyBytes,
			inflightBodyBytesMax: limits.inflightBodyBytes,
			connectionsMax: limits.connections,
			wsMessageBytesMax: limits.wsMessageBytes,
		},
		options: {
			bodyBytesMax: limits.bodyBytes,
			onDisconnect: tasks.onDisconnect,
			disconnectGraceMs: tasks.disconnectGraceMs,
			version: packageVersion(),
			buildCommit: null,
			buildTime: null,
			front: 0,
			hostname: listen.hostname,
			hosts: [],
			headerCountMax: limits.headerCount,
			sse: { ...sse, watchersMax: limits.watchersPerKey },
		},
		retention: { logBytesMax: tasks.logBytesMax, retentionMs: tasks.retentionMs, retentionCount: tasks.retentionCount },
		taskRollFd: config.taskRollFd,
		logLevel: config.log.level,
	};
}

function poolSpec(pool: PoolConfig): PoolSpec {
	return {
		poolId: pool.id,
		engine: pool.engine,
		provider: pool.provider,
		model: pool.model,
		aliases: pool.aliases,
		devices: pool.devices,
		replicas: pool.replicas,
		maxTokensOut: pool.maxTokensOut,
		queue: pool.queue,
		timeouts: pool.timeouts,
		settings: engineSettings(pool),
	};
}

function engineSettings(pool: PoolConfig): EmbeddedSettings | ScriptedSettings {
	if (pool.scripted !== null) return { ...pool.scripted, modelName: pool.model, slots: pool.slots, ctx: pool.ctx ?? defaultCtx };
	return {
		modelPath: pool.modelPath ?? '',
		slots: pool.slots,
		ctx: pool.ctx,
		defaultCtx,
		cpuThreads: pool.cpuThreads,
		devices: pool.devices,
	};
}

function daemonFacts(config: DaemonConfig, url: string, httpHost: string, pools: readonly PoolView[]): DaemonFacts {
	return {
		version: packageVersion(),
		url,
		httpHost,
		threads: { front: 1, control: 1, engine: 1 },
		configFile: config.configFile,
		pools: pools.map((pool): PoolFacts => {
			const facts = pool.replicas.find((replica) => replica.facts !== null)?.facts ?? null;
			const configured = config.pools.find((each) => each.id === pool.poolId);
			return {
				id: pool.poolId,
				engine: pool.engine,
				engineVersion: facts?.engineVersion ?? null,
				model: pool.model,
				aliases: pool.aliases,
				replicas: pool.replicas.length,
				slots: configured?.slots ?? 0,
				ctx: facts?.ctx ?? null,
				device: facts?.device ?? null,
				trouble: pool.state === 'ready' ? null : (pool.lastError ?? 'it is still loading'),
			};
		}),
	};
}

function listenProblem(config: DaemonConfig, front: Extract<FrontFacts, { ok: false }>): Error {
	const addr = `${config.listen.hostname}:${config.listen.port}`;
	if (front.code === 'EADDRINUSE') return portInUse(addr);
	if (front.code === 'NO_BINARY') return nativeBinaryMissing('uWebSockets.js', front.message);
	return cannotListen(addr, front.message);
}
