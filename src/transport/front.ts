/**
 * Puts the HTTP surface of a front thread together: host, guard, routes, watchers. What role code calls; it brings the
 * actors and the options, and drives what is returned here.
 */
import type { ActorRef } from '../actors/kernel/ref.ts';
import type { ActorSystem } from '../actors/kernel/system.ts';
import type { ArtifactAnswer, ArtifactRequest } from '../actors/serving/artifact-messages.ts';
import type { CatalogAnswer, CatalogRequest } from '../actors/serving/catalog-messages.ts';
import type { DecodePort } from '../actors/serving/decode.ts';
import type { ReadEngineLog } from '../actors/serving/engine-log-messages.ts';
import type { DispatcherCommand } from '../actors/serving/messages.ts';
import { noRateLimit, type RateLimit } from '../actors/serving/rate-limit.ts';
import type { ConfigReload } from '../actors/serving/reload-messages.ts';
import type { ElsewhereCommand, TaskDirectory, TasksCommand } from '../actors/serving/task-directory.ts';
import type { ApiOptions, FrontParts } from './api/front-parts.ts';
import { nativeRoutes } from './api/native.ts';
import { ResponseShelf } from './api/responses/response-shelf.ts';
import { shuttingDown } from './api/submit.ts';
import { TaskIds } from './api/task-id.ts';
import { webSocketHandler, webSocketPath } from './api/websocket.ts';
import { type AuthSettings, KeyRing } from './auth/key-ring.ts';
import { OriginGuard } from './auth/origin-guard.ts';
import { type Clock, realClock } from './clock.ts';
import { Application } from './http/application.ts';
import type { HttpHost } from './http/http-host.ts';
import { MemoryGate } from './http/memory-gate.ts';
import { Router } from './http/routes.ts';
import { Watchers, type WatchersOptions } from './stream/watchers.ts';

export interface FrontOptions extends ApiOptions {
	/** 0 … 255: part of the ids of the tasks that are made here. */
	readonly front: number;
	/** As bound: what `Host` must name, beside localhost and the loopback addresses. */
	readonly hostname: string;
	/** Further names the daemon is reached by. */
	readonly hosts: readonly string[];
	readonly corsOrigins: readonly string[];
	/** TLS. Default: none. */
	readonly secure?: boolean;
	readonly auth: AuthSettings;
	readonly headerCountMax: number;
	readonly sse: WatchersOptions;
}

export interface FrontSources {
	readonly host: HttpHost;
	/** Its host's clock and telemetry are used too. */
	readonly system: ActorSystem;
	readonly tasks: ActorRef<TasksCommand>;
	readonly directory: TaskDirectory;
	/** Where tasks of the other front threads are found; null: there are none. */
	readonly elsewhere: ActorRef<ElsewhereCommand> | null;
	readonly decode: DecodePort;
	/** Default: none. */
	readonly rates?: RateLimit;
	/** Null while the control thread is away. */
	readonly dispatcher: () => ActorRef<DispatcherCommand> | null;
	/** Null while the engine thread is away. Default: there is none. */
	readonly engineLogs?: () => ActorRef<ReadEngineLog> | null;
	/** The text of a scrape: the metrics of all threads of the daemon, this one's included. */
	readonly collectMetrics: () => Promise<string>;
	/** Reads the configuration anew. Default: nobody can. */
	readonly reloadConfig?: () => Promise<ConfigReload | null>;
	/** Asks the catalog of models; null: nobody has one. Default: nobody. */
	readonly catalog?: (request: CatalogRequest) => Promise<CatalogAnswer | null>;
	/** Asks the store of artifacts; null: nobody has one. Default: nobody. */
	readonly artifacts?: (request: ArtifactRequest) => Promise<ArtifactAnswer | null>;
	readonly options: FrontOptions;
	readonly clock?: Clock;
}

export interface Front {
	/** Rejects with a `ListenError`. */
	listen(): Promise<{ readonly port: number }>;
	/** From now on these are the keys. What was let in before goes on; streams are not dropped. */
	useKeys(auth: AuthSettings): void;
	/** No new tasks and `/ready` says 503; everything else goes on. */
	drain(): void;
	/** No new connections; each answer that begins from now on ends its connection. */
	stopListening(): void;
	/** Ends every connection, now. Callable at any time, also twice. */
	close(): void;
	readonly watchers: number;
}

export function buildFront(sources: FrontSources): Front {
	const { host, system, tasks, directory, elsewhere, decode, dispatcher, collectMetrics, options } = sources;
	const { telemetry } = system.host;
	const clock = sources.clock ?? realClock(() => system.host.now());
	const memory = new MemoryGate(() => clock.now());
	let draining = false;
	const guardOf = (port: number): OriginGuard => new OriginGuard({ ...options, port });
	let guard = guardOf(0);
	const keys = new KeyRing(options.auth, (fingerprint) => {
		telemetry.log('warn', 'key-unknown', { fingerprint, human: 'A request came with a key that is none of this daemon.' });
	});

	host.onCertificate = (problem) => {
		if (problem === null) telemetry.log('info', 'certificate-loaded', { human: 'New connections get the certificate that has come.' });
		else telemetry.log('warn', 'certificate-refused', { message: problem, human: 'The certificate that has come is not used.' });
	};

	const onBug = (where: string, correlationId: string | undefined, error: unknown): void => {
		telemetry.count('http_bugs_total', {});
		const { message, stack } = error instanceof Error ? error : { message: String(error), stack: undefined };
		telemetry.log('error', 'bug', { where, correlation_id: correlationId, message, stack });
	};
	const watchers = new Watchers(
		options.sse,
		clock,
		(hook) => system.onTurnEnd(hook),
		telemetry,
		(where, error, correlationId) => onBug(where, correlationId, error),
	);
	const parts: FrontParts = {
		system,
		tasks,
		directory,
		elsewhere,
		decode,
		rates: sources.rates ?? noRateLimit,
		readmit: (principal) => keys.readmit(principal),
		dispatcher,
		engineLogs: sources.engineLogs ?? (() => null),
		collectMetrics,
		reloadConfig: sources.reloadConfig ?? (() => Promise.resolve(null)),
		catalog: sources.catalog ?? (() => Promise.resolve(null)),
		artifacts: sources.artifacts ?? (() => Promise.resolve(null)),
		options,
		clock,
		watchers,
		responses: new ResponseShelf(options.responses),
		taskIds: new TaskIds(options.front, () => clock.wallNow()),
		gate: () => (draining ? shuttingDown : memory.refusal()),
		startedAt: clock.now(),
		draining: () => draining,
	};
	const application = new Application({
		router: new Router(nativeRoutes(parts)),
		upgrades: new Map([[webSocketPath, webSocketHandler(parts)]]),
		guard: () => guard,
		keys,
		headerCountMax: options.headerCountMax,
		onBug,
	});

	return {
		async listen() {
			const listening = await host.listen(application);
			guard = guardOf(listening.port);
			return listening;
		},
		useKeys(auth) {
			keys.replace(auth);
		},
		drain() {
			draining = true;
		},
		stopListening() {
			host.stopListening();
		},
		close() {
			watchers.close();
			host.close();
		},
		get watchers() {
			return watchers.count;
		},
	};
}
