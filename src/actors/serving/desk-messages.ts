/**
 * What front threads say to each other of their tasks: a front asks the desk of another for a task that lives there, and the
 * desk tells it what happens to those that it follows. The one place where tokens cross threads: all that a turn has for
 * another front is one message. Types only.
 */
import type { ActorRef } from '../kernel/ref.ts';
import type { Failure } from './failure.ts';
import type { QueueStanding } from './messages.ts';
import type { CancelDone, CancelReason, PageOf } from './task-directory.ts';
import type { TaskRequest } from './task-request.ts';
import type { TaskFacts, TaskSnapshot } from './task-snapshot.ts';

/** What a retry names a task by. */
export type TaskIdentity = Pick<TaskRequest, 'taskId' | 'tenant' | 'bodyHash' | 'idempotencyKey' | 'correlationId' | 'sessionId'>;

/** Another front → the desk of the task's home. */
export type DeskCommand =
	/** First. What happens to the tasks that the front follows is told to `replyTo`; its end ends all that it follows. */
	| { readonly type: 'join-desk'; readonly frontId: string; readonly session: number; readonly replyTo: ActorRef<DeskNews> }
	| { readonly type: 'ask-task'; readonly taskId: string; readonly replyTo: ActorRef<TaskAnswered> }
	/** As `ask-task`; behind the answer come all events, from the first one on. At most once until `leave-task`. */
	| { readonly type: 'follow-task'; readonly frontId: string; readonly taskId: string; readonly replyTo: ActorRef<TaskAnswered> }
	| { readonly type: 'leave-task'; readonly frontId: string; readonly taskId: string }
	/** So many clients watch the task there now. */
	| { readonly type: 'watch-task'; readonly frontId: string; readonly taskId: string; readonly watchers: number }
	/** Answered once the log gains no token, and at once for a task that is not here. */
	| { readonly type: 'cancel-task'; readonly taskId: string; readonly reason: CancelReason; readonly replyTo: ActorRef<CancelDone> | null }
	/** What is kept with the task is to be forgotten. */
	| { readonly type: 'drop-note'; readonly taskId: string }
	/** The same request again, sent elsewhere: judged as it would be here. */
	| { readonly type: 'attach-task'; readonly identity: TaskIdentity; readonly replyTo: ActorRef<AttachAnswered> }
	| { readonly type: 'list-tasks'; readonly page: PageOf; readonly replyTo: ActorRef<TasksListed> }
	/** So many more bytes of events may be sent. */
	| { readonly type: 'give-credit'; readonly frontId: string; readonly bytes: number };

export interface TaskAnswered {
	readonly type: 'task-answered';
	/** `unsure`: this front has not heard yet of the tasks of the one that it took the place of. */
	readonly found: 'task' | 'expired' | 'nothing' | 'unsure';
	/** Of a `task`. */
	readonly snapshot: TaskSnapshot | null;
}

export type AttachAnswered = { readonly type: 'attach-answered' } & (
	| {
			readonly outcome: 'attached';
			readonly taskId: string;
			readonly standing: QueueStanding;
			readonly poolId: string;
			readonly onTimeProbability: number | null;
	  }
	| { readonly outcome: 'refused'; readonly failure: Failure }
	/** Not known here, or not any more. */
	| { readonly outcome: 'nothing' }
);

export interface TasksListed {
	readonly type: 'tasks-listed';
	/** In order; the cursor behind each. */
	readonly rows: readonly TaskRow[];
	readonly more: boolean;
}

export interface TaskRow {
	readonly cursor: string;
	readonly snapshot: TaskSnapshot;
}

/** Desk → a front that follows tasks of it. */
export interface DeskNews {
	readonly type: 'tasks-moved';
	/** As in `join-desk`: news of a desk that is gone may wait behind the word of its end. */
	readonly session: number;
	/** Whole SSE frames, those of each task together. */
	readonly bytes: Uint8Array;
	readonly moves: readonly TaskMove[];
}

export interface TaskMove {
	readonly taskId: string;
	/** Of `bytes`: from where the move before ends. */
	readonly end: number;
	readonly tokensOut: number;
	/** When they have changed. */
	readonly facts: TaskFacts | null;
	/** The home knows the task no more, or its id alone. Nothing follows. */
	readonly gone: boolean;
}
