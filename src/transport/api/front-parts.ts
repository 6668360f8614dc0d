/**
 * What the handlers of a front thread stand on: the actors and views of their thread, as ports. Types, and the one way to
 * ask an actor from code that is none.
 */
import type { ActorRef, Delivery } from '../../actors/kernel/ref.ts';
import type { ActorSystem } from '../../actors/kernel/system.ts';
import type { ArtifactAnswer, ArtifactRequest } from '../../actors/serving/artifact-messages.ts';
import type { CatalogAnswer, CatalogRequest } from '../../actors/serving/catalog-messages.ts';
import type { DecodePort } from '../../actors/serving/decode.ts';
import type { ReadEngineLog } from '../../actors/serving/engine-log-messages.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { DispatcherCommand } from '../../actors/serving/messages.ts';
import type { RateLimit } from '../../actors/serving/rate-limit.ts';
import type { ConfigReload } from '../../actors/serving/reload-messages.ts';
import type { ElsewhereCommand, TaskDirectory, TasksCommand } from '../../actors/serving/task-directory.ts';
import type { Admission } from '../auth/key-ring.ts';
import type { Principal } from '../auth/principal.ts';
import type { Clock } from '../clock.ts';
import type { Watchers } from '../stream/watchers.ts';
import type { ResponseShelf, ShelfLimits } from './responses/response-shelf.ts';
import type { TaskIds } from './task-id.ts';

export interface ApiOptions {
	readonly bodyBytesMax: number;
	/** Default of `on_disconnect`. */
	readonly onDisconnect: 'detach' | 'cancel';
	readonly disconnectGraceMs: number;
	/** Of what is kept of `/v1/responses`. */
	readonly responses: ShelfLimits;
	readonly version: string;
	readonly buildCommit: string | null;
	/** ISO 8601. */
	readonly buildTime: string | null;
}

export interface FrontParts {
	readonly system: ActorSystem;
	readonly tasks: ActorRef<TasksCommand>;
	readonly directory: TaskDirectory;
	/** Where tasks of the other front threads are found; null: there are none. */
	readonly elsewhere: ActorRef<ElsewhereCommand> | null;
	readonly decode: DecodePort;
	readonly rates: RateLimit;
	/** Whether one who was let in a while ago may go on. */
	readonly readmit: (principal: Principal) => Admission;
	/** Null while the control thread is away. */
	readonly dispatcher: () => ActorRef<DispatcherCommand> | null;
	/** Null while the engine thread is away. */
	readonly engineLogs: () => ActorRef<ReadEngineLog> | null;
	/** The text of a scrape: the metrics of all threads of the daemon. */
	readonly collectMetrics: () => Promise<string>;
	/** Null while the threads are still being put together. */
	readonly reloadConfig: () => Promise<ConfigReload | null>;
	/** Null while the threads are still being put together. */
	readonly catalog: (request: CatalogRequest) => Promise<CatalogAnswer | null>;
	/** Null while the threads are still being put together. */
	readonly artifacts: (request: ArtifactRequest) => Promise<ArtifactAnswer | null>;
	readonly options: ApiOptions;
	readonly clock: Clock;
	readonly watchers: Watchers;
	readonly responses: ResponseShelf;
	readonly taskIds: TaskIds;
	/** Why no new task gets in right now; null when it may. */
	readonly gate: () => Failure | null;
	readonly startedAt: number;
	readonly draining: () => boolean;
}

export type Answer<R> = { readonly ok: true; readonly reply: R } | { readonly ok: false; readonly reason: 'full' | 'closed' | 'timeout' };

/**
 * Sends a message with a ref for its answer. `use` is called exactly once, at once when nothing could be sent. `late` gets
 * an answer that comes after `timeoutMs`, when `use` has already been told so.
 */
export function askFrom<R>(
	parts: Pick<FrontParts, 'system' | 'clock'>,
	timeoutMs: number,
	send: (replyTo: ActorRef<R>) => Delivery,
	use: (answer: Answer<R>) => void,
	late: (reply: R) => void = () => undefined,
): void {
	let answered = false;
	const edge = parts.system.edge<R>((reply) => {
		edge.close();
		if (answered) return late(reply);
		answered = true;
		stopTimer();
		use({ ok: true, reply });
	});
	const stopTimer = parts.clock.after(timeoutMs, () => {
		answered = true;
		// what comes late is still heard, for a while: it may have to be undone
		parts.clock.after(lateMs, () => edge.close());
		use({ ok: false, reason: 'timeout' });
	});
	const sent = send(edge);
	if (sent === 'accepted') return;
	answered = true;
	stopTimer();
	edge.close();
	use({ ok: false, reason: sent });
}

const lateMs = 600_000;

/** What a client is told when an actor does not answer. */
export function unanswered(who: string, reason: 'full' | 'closed' | 'timeout'): Failure {
	const why = reason === 'full' ? 'has more to do than it can take' : reason === 'closed' ? 'is not running' : 'did not answer in time';
	return failure('POOL_UNREADY', `${who} ${why}; try again shortly`, { retryAfterMs: 1000 });
}
