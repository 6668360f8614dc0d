/**
 * Composition root of a front thread: sockets, the tasks of its clients, their logs and watchers, and the decode connections
 * to the engines. A token that arrives here leaves here.
 */
import type { ActorRef } from '../actors/kernel/ref.ts';
import type { LogLevel } from '../actors/kernel/telemetry.ts';
import { WallTime } from '../actors/kernel/wall-time.ts';
import type { ArtifactAnswer, ArtifactRequest } from '../actors/serving/artifact-messages.ts';
import type { CatalogAnswer } from '../actors/serving/catalog-messages.ts';
import { MessageForms } from '../actors/serving/crossing.ts';
import type { DeskCommand } from '../actors/serving/desk-messages.ts';
import type { ReadEngineLog } from '../actors/serving/engine-log-messages.ts';
import { spawnFrontActors } from '../actors/serving/front-actors.ts';
import { JournalLine } from '../actors/serving/journal-line.ts';
import type { JournalCommand } from '../actors/serving/journal-messages.ts';
import { KvUsage } from '../actors/serving/kv-usage.ts';
import type { DispatcherCommand, PoolView } from '../actors/serving/messages.ts';
import { type MeteredKey, RateMeter } from '../actors/serving/rate-meter.ts';
import type { ConfigReload } from '../actors/serving/reload-messages.ts';
import { type BookMemory, SharedTaskBook } from '../actors/serving/task-book.ts';
import { type RetentionLimits, TaskRegistry } from '../actors/serving/task-registry.ts';
import { urgentFromFronts } from '../actors/serving/urgent.ts';
import type { MainApi } from '../actors/threads/thread-api.ts';
import { runRole } from '../actors/threads/thread-role.ts';
import { DecodePorts } from '../engines/decode-ports.ts';
import { UpstreamDecodePort } from '../engines/upstream/upstream-decode-port.ts';
import { upstreamAdapters } from '../engines/upstream-adapters.ts';
import { HostDecodePort } from '../engines/wire/host-decode-port.ts';
import type { TranscriptMode } from '../transport/api/transcript-json.ts';
import { Transcripts } from '../transport/api/transcripts.ts';
import type { AuthSettings } from '../transport/auth/key-ring.ts';
import { realClock } from '../transport/clock.ts';
import { buildFront, type FrontOptions } from '../transport/front.ts';
import { type ChosenHost, chooseHost, type HostPreference } from '../transport/http/choose-host.ts';
import { type BugReport, type HttpHostOptions, ListenError } from '../transport/http/http-host.ts';
import { threadLog } from '../transport/telemetry/logs.ts';
import { type ThreadTelemetry, threadTelemetry } from '../transport/telemetry/metrics.ts';
import { renderMetrics } from '../transport/telemetry/metrics-merge.ts';
import { frontShare } from './front-share.ts';
import { taskRoll } from './task-roll.ts';

export interface FrontConfig {
	readonly frontId: string;
	/** Between the clock of all threads and the time of day: one for all fronts. */
	readonly wallOffset: number;
	/** Front threads on the port: what bounds all of them together stands below as a whole, and this one takes its share. */
	readonly fronts: number;
	/** Which server library. Over node's own this thread is the only front, whatever `fronts` says. */
	readonly host: HostPreference;
	readonly http: HttpHostOptions;
	readonly options: FrontOptions;
	/** What each key may use, counted by all fronts in the same memory. */
	readonly rates: readonly MeteredKey[];
	readonly transcripts: 'off' | TranscriptMode;
	readonly retention: RetentionLimits;
	/** What the threads of this name note of their tasks, one after the other. */
	readonly book: BookMemory;
	/** Descriptor of the restarting parent's task roll; null: nobody wants it. */
	readonly taskRollFd: number | null;
	readonly logLevel: LogLevel;
}

/** What a changed configuration changes here. */
export interface FrontChange {
	readonly auth: AuthSettings;
	readonly rates: readonly MeteredKey[];
}

/** What main is told of the start: the port, or why there is none. Errors do not cross threads whole. */
export type FrontFacts =
	| { readonly ok: true; readonly port: number; readonly httpHost: 'uws' | 'node' }
	| { readonly ok: false; readonly code: string; readonly message: string };

export interface FrontInspection {
	readonly pools: readonly PoolView[];
	readonly controlReachable: boolean;
	readonly liveTasks: number;
	readonly watchers: number;
}

/** After the last task: how long its watchers may take to read the end. */
const lastReadsMs = 2_000;

let telemetry: ThreadTelemetry;

runRole<FrontConfig, FrontFacts>(
	(config, thread) => {
		telemetry = threadTelemetry({ thread, log: threadLog({ thread, level: config.logLevel }), heapDefaults: true });
		return telemetry;
	},
	async (whole, { system }) => {
		const bug: BugReport = (where, error) => {
			const { message, stack } = error instanceof Error ? error : { message: String(error), stack: undefined };
			telemetry.log('error', 'bug', { where, message, stack });
		};
		const choice = chosenHost(whole, bug);
		const fronts = choice.ok && choice.host.name === 'node' ? 1 : whole.fronts;
		const config = frontShare(whole, fronts);
		if (choice.ok && choice.instead !== null) {
			const alone = fronts < whole.fronts ? `, and by one front thread instead of ${whole.fronts}: it cannot share a port` : '';
			const human = `${choice.instead}. HTTP is served by node's own server, at about twice the CPU${alone}.`;
			telemetry.log('warn', 'http-host', { human });
		}
		const registry = new TaskRegistry(config.retention, config.options.front, new SharedTaskBook(config.book));
		const decode = new DecodePorts(
			new HostDecodePort((words) => bug('decode', new Error(words))),
			new UpstreamDecodePort(upstreamAdapters),
		);
		const now = (): number => system.host.now();
		const wall = new WallTime(now, Date.now, config.wallOffset);
		const clock = realClock(now, wall);
		const rates = new RateMeter(config.rates, now);
		const artifacts = async (request: ArtifactRequest): Promise<ArtifactAnswer | null> =>
			((await main?.artifacts(request)) as ArtifactAnswer | undefined) ?? null;
		const transcripts = config.transcripts === 'off' ? null : new Transcripts({ mode: config.transcripts, artifacts, telemetry, clock });
		const actors = spawnFrontActors(system, {
			frontId: config.frontId,
			fronts: Array.from({ length: fronts }, (_, number) => `front-${number}`),
			registry,
			decode,
			roll: taskRoll(config.taskRollFd),
			rates,
			transcripts,
			journal: new JournalLine({ frontId: config.frontId, clock: wall }),
		});
		const kvUsage = new KvUsage(telemetry);
		let dispatcher: ActorRef<DispatcherCommand> | null = null;
		let engineLogs: ActorRef<ReadEngineLog> | null = null;
		let main: MainApi | null = null;

		const front = choice.ok
			? buildFront({
					host: choice.host,
					system,
					tasks: actors.tasks,
					elsewhere: actors.elsewhere,
					directory: registry,
					decode,
					rates,
					clock,
					dispatcher: () => (registry.controlReachable ? dispatcher : null),
					engineLogs: () => engineLogs,
					collectMetrics: async () => (await main?.metrics()) ?? renderMetrics([await telemetry.snapshot()]),
					reloadConfig: async () => ((await main?.reloadConfig()) as ConfigReload | undefined) ?? null,
					catalog: async (request) => ((await main?.catalog(request)) as CatalogAnswer | undefined) ?? null,
					artifacts,
					options: config.options,
				})
			: null;
		/** Something that a client here may be reading has not ended. */
		const busy = (): boolean => registry.liveCount > 0;
		const facts = await listen();

		async function listen(): Promise<FrontFacts> {
			if (!choice.ok || front === null) return { ok: false, code: 'NO_BINARY', message: choice.ok ? '' : choice.reason };
			try {
				return { ok: true, port: (await front.listen()).port, httpHost: choice.host.name };
			} catch (error) {
				if (error instanceof ListenError) return { ok: false, code: error.code, message: error.message };
				throw error;
			}
		}

		return {
			facts,
			names: actors.names,
			urgent: urgentFromFronts,
			forms: () => new MessageForms(),
			onPeer(name, peer, incarnation) {
				if (name.startsWith('engine')) {
					engineLogs = peer.remote<ReadEngineLog>('logs');
					return;
				}
				if (name === 'store') {
					actors.tasks.tell({ type: 'journal-connected', journal: peer.remote<JournalCommand>('journal') });
					return;
				}
				if (name !== 'control') {
					actors.elsewhere?.tell({ type: 'desk-connected', frontId: name, desk: peer.remote<DeskCommand>('desk') });
					return;
				}
				dispatcher = peer.remote<DispatcherCommand>('dispatcher');
				actors.tasks.tell({ type: 'control-connected', control: { epoch: incarnation, dispatcher } });
			},
			onMain(api) {
				main = api;
			},
			configure(change) {
				const { auth, rates: keys } = change as FrontChange;
				rates.use(keys);
				front?.useKeys(auth);
			},
			metrics() {
				kvUsage.show(registry.pools, registry.list({ state: 'running' }, Number.POSITIVE_INFINITY, null).tasks);
				return telemetry.snapshot();
			},
			inspect: (): FrontInspection => ({
				// A front that may take nothing yet has nothing to say of them.
				pools: registry.controlReachable ? registry.pools : [],
				controlReachable: registry.controlReachable,
				liveTasks: registry.liveCount,
				watchers: front?.watchers ?? 0,
			}),
			async drain(graceMs) {
				front?.drain();
				actors.tasks.tell({ type: 'suspend-waiting' });
				await until(() => registry.liveCount === 0, performance.now() + graceMs);
				if (registry.liveCount > 0) actors.tasks.tell({ type: 'cancel-all', reason: 'drain' });
			},
			// Until here connections come in as ever: tasks of other fronts run on, and are watched and cancelled from here too.
			async conclude() {
				front?.stopListening();
				await until(() => !busy() && (front?.watchers ?? 0) === 0 && (transcripts?.pending ?? 0) === 0, performance.now() + lastReadsMs);
			},
			async stop() {
				front?.close();
				decode.close();
			},
			// An App that is open when its thread ends takes the process with it.
			onUncaught: () => front?.close(),
		};
	},
);

function chosenHost(config: FrontConfig, bug: BugReport): ChosenHost {
	const choice = chooseHost(config.host, frontShare(config, config.fronts).http, bug);
	if (!choice.ok || choice.host.name !== 'node' || config.fronts === 1) return choice;
	// It cannot share a port, so this thread is alone, and has all of what was to be shared.
	const alone = chooseHost('node', frontShare(config, 1).http, bug);
	return alone.ok ? { ...alone, instead: choice.instead } : alone;
}

/** Waits for a state that only turns of the event loop bring about. */
async function until(reached: () => boolean, deadline: number): Promise<void> {
	while (!reached() && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 10));
}
