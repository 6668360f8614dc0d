/**
 * What front threads say to each other of their tasks: a front asks the desk of another for a task that lives there, and the
 * desk tells it what happens to those that it follows. The one place where tokens cross threads: all that a turn has for
 * another front is one message. Types only.
 */
import type { ActorRef } from '../kernel/ref.ts';
import type { Failure } from './failure.ts';
import type { QueueStanding } from './messages.ts';
import type { CancelDone, CancelReason, TaskFilter } from './task-directory.ts';
import type { TaskRequest } from './task-request.ts';
import type { TaskSnapshot } from './task-snapshot.ts';

/** What a retry names a task by. */
export type TaskIdentity = Pick<TaskRequest, 'taskId' | 'tenant' | 'bodyHash' | 'idempotencyKey'>;

/** Another front → the desk of the task's home. */
export type DeskCommand =
	/** First. What happens to the tasks that the front follows is told to `replyTo`; its end ends all that it follows. */
	| { readonly type: 'join-desk'; readonly frontId: string; readonly replyTo: ActorRef<DeskNews> }
	| { readonly type: 'ask-task'; readonly taskId: string; readonly replyTo: ActorRef<TaskAnswered> }
	/** As `ask-task`; from then on all events come, from the first one on. Again for one that is followed: the answer alone. */
	| { readonly type: 'follow-task'; readonly frontId: string; readonly taskId: string; readonly replyTo: ActorRef<TaskAnswered> }
	| { readonly type: 'leave-task'; readonly frontId: string; readonly taskId: string }
	/** The front has clients that watch the task that it follows, or none any more. */
	| { readonly type: 'watch-task'; readonly frontId: string; readonly taskId: string; readonly watched: boolean }
	/** Answered once the log gains no token, and at once for a task that is not here. */
	| { readonly type: 'cancel-task'; readonly taskId: string; readonly reason: CancelReason; readonly replyTo: ActorRef<CancelDone> | null }
	/** The same request again, sent elsewhere: judged as it would be here. */
	| { readonly type: 'attach-task'; readonly identity: TaskIdentity; readonly replyTo: ActorRef<AttachAnswered> }
	| {
			readonly type: 'list-tasks';
			readonly filter: TaskFilter;
			readonly limit: number;
			readonly cursor: string | null;
			readonly replyTo: ActorRef<TasksListed>;
	  }
	/** So many more bytes of events may be sent. */
	| { readonly type: 'give-credit'; readonly frontId: string; readonly bytes: number };

export type DeskAnswer = TaskAnswered | AttachAnswered | TasksListed | CancelDone;

export interface TaskAnswered {
	readonly type: 'task-answered';
	readonly found: 'task' | 'expired' | 'nothing';
	readonly snapshot: TaskSnapshot | null;
}

export type AttachAnswered = { readonly type: 'attach-answered' } & (
	| {
			readonly outcome: 'attached';
			readonly snapshot: TaskSnapshot;
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
	readonly rows: readonly { readonly snapshot: TaskSnapshot; readonly cursor: string }[];
	readonly more: boolean;
}

/** Desk → a front that follows tasks of it. */
export type DeskNews = {
	readonly type: 'tasks-moved';
	/** Whole SSE frames, those of each task together. */
	readonly bytes: Uint8Array;
	readonly moves: readonly TaskMove[];
};

export interface TaskMove {
	readonly taskId: string;
	/** Of `bytes`: from where the move before ends. */
	readonly end: number;
	readonly tokensOut: number;
	/** When it has changed: state, standing, phase. */
	readonly snapshot: TaskSnapshot | null;
	/** The events are gone. Nothing follows. */
	readonly forgotten: boolean;
}
