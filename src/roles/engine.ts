/**
 * Composition root of an engine thread: the guardian of its Replica actors and the drivers of the engines they look after.
 * It owns the lives of engine processes, not their bytes.
 */
import type { LogLevel } from '../actors/kernel/telemetry.ts';
import type { CatalogAnswer } from '../actors/serving/catalog-messages.ts';
import { engineGuardian } from '../actors/serving/engine-guardian.ts';
import type { EngineDriver, ModelChange } from '../actors/serving/engine-life.ts';
import { EngineLogs, engineLog } from '../actors/serving/engine-log.ts';
import { failure } from '../actors/serving/failure.ts';
import type { ReplicaSpec } from '../actors/serving/messages.ts';
import { urgentFromEngines } from '../actors/serving/urgent.ts';
import type { MainApi } from '../actors/threads/thread-api.ts';
import { runRole } from '../actors/threads/thread-role.ts';
import { DevicesDriver } from '../engines/devices-driver.ts';
import { ToolProbe, toolsOf } from '../engines/devices-probe.ts';
import { DeviceWatch } from '../engines/devices-watch.ts';
import { deviceEnv, replicaNumber } from '../engines/embedded/device-env.ts';
import type { EmbeddedSettings } from '../engines/embedded/embedded-settings.ts';
import { PreparedDriver } from '../engines/embedded/prepared-driver.ts';
import { HostProcessDriver } from '../engines/host-process-driver.ts';
import type { MemoryBounds } from '../engines/machine-memory.ts';
import { inMainMemory } from '../engines/main-memory-driver.ts';
import { CacheFolders } from '../engines/managed/cache-folders.ts';
import { endLeftovers } from '../engines/managed/leftovers.ts';
import { LogFiles } from '../engines/managed/log-files.ts';
import { ManagedDriver } from '../engines/managed/managed-driver.ts';
import { isManagedSettings, type ManagedSettings } from '../engines/managed/managed-settings.ts';
import { withScriptedModel } from '../engines/scripted/model-change.ts';
import type { ScriptedSettings } from '../engines/scripted/scripted-settings.ts';
import { UpstreamDecodePort } from '../engines/upstream/upstream-decode-port.ts';
import { UpstreamDriver } from '../engines/upstream/upstream-driver.ts';
import { isUpstreamSettings } from '../engines/upstream/upstream-settings.ts';
import { upstreamAdapters } from '../engines/upstream-adapters.ts';
import { threadLog } from '../transport/telemetry/logs.ts';
import { type ThreadTelemetry, threadTelemetry } from '../transport/telemetry/metrics.ts';
import { catalogModels } from './engine-models.ts';

export interface EngineConfig {
	/** What engine processes inherit. */
	readonly childEnv: Readonly<Record<string, string>>;
	readonly runtimeDir: string;
	/** For files of what managed engines write; null: there are none. */
	readonly logDir: string | null;
	/** For the models of all pools together. */
	readonly memory: MemoryBounds;
	readonly logLevel: LogLevel;
}

/** How long the daemon waits for engines to end. Those that take longer are ended by their reapers, behind it. */
const shutdownMs = 12_000;
/** Fewer than that are written: so the ids of a thread that starts later are higher than all of the one before. */
const linesPerMs = 100;
const devicesEveryMs = 5_000;

let telemetry: ThreadTelemetry;

runRole<EngineConfig, null>(
	(config, thread) => {
		telemetry = threadTelemetry({ thread, log: threadLog({ thread, level: config.logLevel }), heapDefaults: true });
		return telemetry;
	},
	async (config, { system }) => {
		const left = await endLeftovers(config.runtimeDir);
		if (left.length > 0) {
			const message = `ended processes of engines that a daemon which is gone had left behind: ${left.join(', ')}`;
			telemetry.log('warn', 'leftovers-ended', { message });
		}
		const watch = new DeviceWatch({
			probe: new ToolProbe(toolsOf(config.childEnv), process.platform),
			everyMs: devicesEveryMs,
			onProblem: (message) => telemetry.log('warn', 'devices-unknown', { message }),
		});
		const onDevices = (driver: EngineDriver): EngineDriver =>
			new DevicesDriver({
				driver,
				watch,
				telemetry,
				bounds: config.memory,
				maskOf: (settings) => (settings as EmbeddedSettings | ManagedSettings).devices,
			});
		const logs = new EngineLogs(Date.now() * linesPerMs);
		const driverOf = (
			entry: string,
			env: (spec: ReplicaSpec) => Readonly<Record<string, string>>,
			withModel?: (settings: unknown, model: string) => ModelChange,
			memoryBytes?: (settings: unknown) => number | null,
		): HostProcessDriver =>
			new HostProcessDriver({
				...(withModel === undefined ? {} : { withModel }),
				...(memoryBytes === undefined ? {} : { memoryBytes }),
				entry: entryOf(entry),
				settings: (spec) => spec.settings,
				env,
				runtimeDir: config.runtimeDir,
				onOutput: ({ poolId, replicaId }, source, text) => logs.add(poolId, { at: Date.now(), replicaId, source, text }),
				onLine: (replicaId, line) => telemetry.log('debug', 'engine-line', { replica_id: replicaId, message: line }),
			});
		const elsewhere = new UpstreamDriver({ adapters: upstreamAdapters, port: new UpstreamDecodePort(upstreamAdapters), telemetry });
		const files =
			config.logDir === null
				? null
				: new LogFiles({ dir: config.logDir, onProblem: (message) => telemetry.log('warn', 'engine-log-file', { message }) });
		const started = new ManagedDriver({
			adapters: upstreamAdapters,
			upstream: elsewhere,
			reaper: entryOf('reaper'),
			childEnv: config.childEnv,
			devices: () => watch.latest.devices,
			runtimeDir: config.runtimeDir,
			caches: new CacheFolders((message) => telemetry.log('warn', 'engine-caches', { message })),
			onLine({ poolId, replicaId }, source, text) {
				const at = Date.now();
				logs.add(poolId, { at, replicaId, source, text });
				files?.add(poolId, `${new Date(at).toISOString()} ${replicaId} ${text}`);
			},
		});
		const managed = onDevices(started);
		const notOurs = byProvider(elsewhere, managed, elsewhere);
		let attached: (main: MainApi) => void = () => undefined;
		const main = new Promise<MainApi>((resolve) => {
			attached = resolve;
		});
		const models = catalogModels(async (request) => (await (await main).catalog(request)) as CatalogAnswer);
		const guardian = system.spawn(
			'engines',
			engineGuardian({
				llamacpp: byProvider(
					elsewhere,
					managed,
					onDevices(
						new PreparedDriver({
							source: models,
							driver: driverOf('llama-host', ({ settings, replicaId }) => {
								const share = { devices: watch.latest.devices, replica: replicaNumber(replicaId) };
								return deviceEnv(config.childEnv, (settings as EmbeddedSettings).devices, share);
							}),
						}),
					),
				),
				scripted: inMainMemory(
					driverOf(
						'scripted-host',
						() => config.childEnv,
						(settings, model) => withScriptedModel(settings as ScriptedSettings, model),
						() => 0,
					),
					config.memory,
				),
				vllm: notOurs,
				tgi: notOurs,
				triton: notOurs,
				openai: notOurs,
			}),
		);
		const ended = new Promise<void>((resolve) => {
			system.spawn<never>('ending', (ctx) => {
				ctx.watch(guardian);
				return {
					onMessage: () => 'same',
					onSignal(_ctx, signal) {
						if (signal.type === 'terminated') resolve();
						return 'same';
					},
				};
			});
		});
		return {
			facts: null,
			names: { engine: guardian, logs: system.spawn('engine-log', engineLog(logs)) },
			urgent: urgentFromEngines,
			onPeer() {},
			onMain: (api) => attached(api),
			metrics: () => telemetry.snapshot(),
			counted: () => telemetry.counted,
			inspect: () => ({ stats: system.stats }),
			async drain() {
				system.drain(guardian);
				await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, shutdownMs))]);
				await files?.flush();
			},
			stop: () => Promise.resolve(),
			onUncaught() {},
		};
	},
);

/** An engine that is ours, one that we run, or one somewhere else. */
function byProvider(elsewhere: EngineDriver, managed: EngineDriver, own: EngineDriver): EngineDriver {
	const driverOf = (settings: unknown): EngineDriver =>
		isManagedSettings(settings) ? managed : isUpstreamSettings(settings) ? elsewhere : own;
	return {
		start: (spec, replica) => driverOf(spec.settings).start(spec, replica),
		withModel(settings, model, answer) {
			const driver = driverOf(settings);
			if (driver.withModel === undefined) answer(unchangeable);
			else driver.withModel(settings, model, answer);
		},
		emptyCaches: (spec) => driverOf(spec.settings).emptyCaches?.(spec) ?? null,
		memory: (settings, model, told, heard) => {
			const driver = driverOf(settings);
			if (driver.memory === undefined) told({ bytes: 0, uses: [], devices: [] });
			else driver.memory(settings, model, told, heard);
		},
	};
}

const unchangeable: ModelChange = { ok: false, failure: failure('INVALID_PARAMS', 'the model of this engine cannot be changed') };

/** Of a process that is started from here. */
function entryOf(role: string): URL {
	return new URL(`./${role}${import.meta.url.slice(import.meta.url.lastIndexOf('.'))}`, import.meta.url);
}
