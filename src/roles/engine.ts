/**
 * Composition root of an engine thread: the guardian of its Replica actors and the drivers of the engines they look after.
 * It owns the lives of engine processes, not their bytes.
 */
import type { LogLevel } from '../actors/kernel/telemetry.ts';
import { engineGuardian } from '../actors/serving/engine-guardian.ts';
import type { EngineDriver, ModelChange } from '../actors/serving/engine-life.ts';
import { EngineLogs, engineLog } from '../actors/serving/engine-log.ts';
import type { ReplicaSpec } from '../actors/serving/messages.ts';
import { urgentFromEngines } from '../actors/serving/urgent.ts';
import { runRole } from '../actors/threads/thread-role.ts';
import { deviceEnv } from '../engines/embedded/device-env.ts';
import type { EmbeddedSettings } from '../engines/embedded/embedded-settings.ts';
import { withModelFile } from '../engines/embedded/model-change.ts';
import { HostProcessDriver } from '../engines/host-process-driver.ts';
import { withScriptedModel } from '../engines/scripted/model-change.ts';
import type { ScriptedSettings } from '../engines/scripted/scripted-settings.ts';
import { UpstreamDecodePort } from '../engines/upstream/upstream-decode-port.ts';
import { UpstreamDriver } from '../engines/upstream/upstream-driver.ts';
import { isUpstreamSettings } from '../engines/upstream/upstream-settings.ts';
import { upstreamAdapters } from '../engines/upstream-adapters.ts';
import { threadLog } from '../transport/telemetry/logs.ts';
import { type ThreadTelemetry, threadTelemetry } from '../transport/telemetry/metrics.ts';

export interface EngineConfig {
	/** What engine processes inherit. */
	readonly childEnv: Readonly<Record<string, string>>;
	readonly runtimeDir: string;
	readonly logLevel: LogLevel;
}

/** How long engines may take to end when the daemon does. */
const shutdownMs = 5_000;
/** Fewer than that are written: so the ids of a thread that starts later are higher than all of the one before. */
const linesPerMs = 100;

let telemetry: ThreadTelemetry;

runRole<EngineConfig, null>(
	(config, thread) => {
		telemetry = threadTelemetry({ thread, log: threadLog({ thread, level: config.logLevel }), heapDefaults: true });
		return telemetry;
	},
	async (config, { system }) => {
		const logs = new EngineLogs(Date.now() * linesPerMs);
		const driverOf = (
			entry: string,
			env: (spec: ReplicaSpec) => Readonly<Record<string, string>>,
			withModel: (settings: unknown, model: string) => ModelChange,
		): HostProcessDriver =>
			new HostProcessDriver({
				withModel,
				entry: new URL(`./${entry}${import.meta.url.slice(import.meta.url.lastIndexOf('.'))}`, import.meta.url),
				settings: (spec) => spec.settings,
				env,
				runtimeDir: config.runtimeDir,
				onOutput: ({ poolId, replicaId }, source, text) => logs.add(poolId, { at: Date.now(), replicaId, source, text }),
				onLine: (replicaId, line) => telemetry.log('debug', 'engine-line', { replica_id: replicaId, message: line }),
			});
		const upstream = new UpstreamDriver({ adapters: upstreamAdapters, port: new UpstreamDecodePort(upstreamAdapters) });
		const guardian = system.spawn(
			'engines',
			engineGuardian({
				llamacpp: eitherDriver(
					upstream,
					driverOf(
						'llama-host',
						(spec) => deviceEnv(config.childEnv, (spec.settings as EmbeddedSettings).devices),
						(settings, model) => withModelFile(settings as EmbeddedSettings, model),
					),
				),
				scripted: driverOf(
					'scripted-host',
					() => config.childEnv,
					(settings, model) => withScriptedModel(settings as ScriptedSettings, model),
				),
				vllm: upstream,
				tgi: upstream,
				triton: upstream,
				openai: upstream,
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
			onMain() {},
			metrics: () => telemetry.snapshot(),
			inspect: () => ({ stats: system.stats }),
			async drain() {
				system.drain(guardian);
				await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, shutdownMs))]);
			},
			stop: () => Promise.resolve(),
			onUncaught() {},
		};
	},
);

/** An engine that is ours to run, or somewhere else. */
function eitherDriver(upstream: UpstreamDriver, own: HostProcessDriver): EngineDriver {
	const driverOf = (settings: unknown): EngineDriver => (isUpstreamSettings(settings) ? upstream : own);
	return {
		start: (spec, replica) => driverOf(spec.settings).start(spec, replica),
		withModel: (settings, model) => driverOf(settings).withModel?.(settings, model) ?? own.withModel(settings, model),
	};
}
