/**
 * What transport may know of the tasks of its front thread: find, list, attach. The `tasks` actor owns and writes it;
 * everything here is read-only for others and lives on one thread. Commands go to the refs, never to these objects.
 */
import type { ActorRef } from '../kernel/ref.ts';
import type { FinishReason } from './decode.ts';
import type { TaskIdentity } from './desk-messages.ts';
import type { EventLogView } from './event-log-view.ts';
import type { EngineKind, Failure } from './failure.ts';
import type { PoolView, QueueStanding } from './messages.ts';
import type { BudgetLeft } from './session-messages.ts';
import type { TaskRequest } from './task-request.ts';

export type TaskState = 'admitting' | 'queued' | 'running' | 'done' | 'canceled' | 'failed';

/** One task, as it stands: the same object for its whole life. Times are on `Host.now`; null = not reached. */
export interface TaskView {
	/** Once the task has ended its prompt, stop strings, schema and grammar are dropped: `input` is then an empty `inputs`. */
	readonly request: TaskRequest;
	readonly state: TaskState;
	readonly log: EventLogView;
	/** Answers `closed` once the task is at rest: ended, slot settled. Cancelling is then nothing to do. */
	readonly ref: ActorRef<TaskCommand>;
	readonly admittedAt: number;
	readonly startedAt: number | null;
	readonly firstTokenAt: number | null;
	readonly endedAt: number | null;
	readonly standing: QueueStanding | null;
	/** As told at placement; null without a deadline. */
	readonly onTimeProbability: number | null;
	/** What its session may still use, as told at placement; null: no budget is set. */
	readonly budget: BudgetLeft | null;
	/**
	 * Grows whenever `standing` or `phase` changes, and `log`'s subscribers are then called: a watcher that remembers the
	 * last one it saw knows when a `metrics` event is due. How often it sends one is the watcher's to bound.
	 */
	readonly standingVersion: number;
	/** `migrated`: it has left its slot behind its tokens so far, and no token has come of the next one yet. */
	readonly phase: 'admitting' | 'queued' | 'prefill' | 'decode' | 'migrated' | 'ended';
	readonly poolId: string | null;
	readonly replicaId: string | null;
	readonly engine: EngineKind | null;
	readonly engineVersion: string | null;
	readonly modelDigest: string | null;
	readonly tokensIn: number;
	/** Of its prompt, found in the cache of the slot that it has or had last; null: no engine has begun with it. */
	readonly tokensCached: number | null;
	readonly tokensOut: number;
	readonly decodeMs: number;
	readonly finishReason: FinishReason | 'canceled' | null;
	/** The stop string that ended it; null: none did, or its engine does not tell. */
	readonly stopSequence: string | null;
	readonly failure: Failure | null;
	/** Of a task that is not at rest: those who read an ended one are not counted. */
	readonly watchers: number;
	/** Of an embedding task that is done. */
	readonly vectors: readonly Float32Array[] | null;
	/** Id of the artifact that its transcript is kept as, once it is; null: it is not. */
	readonly transcriptArtifact: string | null;
}

/** Transport → Task. */
export type TaskCommand =
	| { readonly type: 'cancel'; readonly reason: CancelReason; readonly replyTo: ActorRef<CancelDone> | null }
	| { readonly type: 'watcher-attached' }
	| { readonly type: 'watcher-gone' };

export const cancelReasons = ['client', 'disconnect', 'deadline', 'watchdog', 'drain'] as const;
export type CancelReason = (typeof cancelReasons)[number];
/** The log gains no token from here on. */
export interface CancelDone {
	readonly type: 'cancel-done';
	/** It is not on disk yet that the task was cancelled, and why; absent: it is, or need not be. */
	readonly failure?: Failure;
}

/** Transport → the front's `tasks` actor. */
export type TasksCommand =
	| { readonly type: 'open-task'; readonly request: TaskRequest; readonly replyTo: ActorRef<Opening> }
	/** From the desk: another front was asked for what may be a task of this one. */
	| { readonly type: 'attach-task'; readonly identity: TaskIdentity; readonly replyTo: ActorRef<Opening | TaskUnknown> }
	/** Ends every live task: the last act of a shutdown whose grace is over. */
	| { readonly type: 'cancel-all'; readonly reason: CancelReason }
	/** Durable tasks that wait are left to the next daemon. */
	| { readonly type: 'suspend-waiting' };

/** Exactly one answer to `open-task`. */
export type Opening =
	/** A new task, queued or already running; or the one that the same id or idempotency key named before. */
	| {
			readonly type: 'task-opened';
			readonly task: TaskView;
			readonly standing: QueueStanding;
			/** '' when the task was cancelled before any pool had it. */
			readonly poolId: string;
			readonly onTimeProbability: number | null;
			readonly fresh: boolean;
	  }
	| { readonly type: 'task-refused'; readonly failure: Failure };

export interface TaskUnknown {
	readonly type: 'task-unknown';
}

export type Lookup =
	| { readonly found: 'task'; readonly task: TaskView }
	/** The task is known, its events are gone. */
	| { readonly found: 'expired'; readonly taskId: string }
	| { readonly found: 'nothing' };

export interface TaskFilter {
	readonly state?: TaskState;
	readonly poolId?: string;
	readonly tenant?: string;
}

/** `cursor`: an opaque value of the page before; null for the first one. */
export interface PageOf {
	readonly filter: TaskFilter;
	readonly limit: number;
	readonly cursor: string | null;
}

/** What a cursor into the list of tasks looks like; `task-page.ts` makes and reads them. */
export const cursorShape = /^([0-9a-z]{1,11})\.([0-9a-z]{1,2})\.([0-9a-z]{1,11})$/;

/** The tasks of one front thread. */
export interface TaskDirectory {
	lookup(taskId: string): Lookup;
	/** In order of admission, newest first, after `cursor` (an opaque value of an earlier page; of no page: nothing). */
	list(
		filter: TaskFilter,
		limit: number,
		cursor: string | null,
	): { readonly tasks: readonly TaskView[]; readonly nextCursor: string | null };
	/** False: tasks of an earlier thread or daemon are still to be heard of, so that none may be denied. */
	readonly complete: boolean;
	readonly pools: readonly PoolView[];
	/** False until the dispatcher has told of its pools, and again while the control thread is away. */
	readonly controlReachable: boolean;
}

/** What is wanted of a task that may live on another front thread. */
export type FindPurpose =
	/** As it stands. Its log says what was logged last and whether it has ended, and holds no events. */
	| 'look'
	/** Its events so far, and those that follow while somebody subscribes to its log: from the turn of the answer on. */
	| 'follow';

/** Transport → the front's `elsewhere` actor: tasks of all front threads, also of this one. */
export type ElsewhereCommand =
	| { readonly type: 'find-task'; readonly taskId: string; readonly purpose: FindPurpose; readonly replyTo: ActorRef<TaskFound> }
	| { readonly type: 'find-tasks'; readonly page: PageOf; readonly replyTo: ActorRef<TasksFound> };

/** Exactly one answer to `find-task`. A foreign task is a view like any other, and takes the commands of a task. */
export type TaskFound =
	| { readonly type: 'task-found'; readonly lookup: Lookup }
	/** It may be there; it cannot be had now. */
	| { readonly type: 'not-found-out'; readonly failure: Failure };

/** Exactly one answer to `find-tasks`. In order of admission, newest first. */
export type TasksFound =
	| { readonly type: 'tasks-found'; readonly tasks: readonly TaskView[]; readonly nextCursor: string | null }
	| { readonly type: 'not-found-out'; readonly failure: Failure };
