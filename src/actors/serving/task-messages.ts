/**
 * What a Task actor understands, and what the tasks of a front thread share. Types only; all of it stays on the thread.
 */
import type { ActorRef } from '../kernel/ref.ts';
import type { CountNews, DecodeNews, DecodePort } from './decode.ts';
import type { TaskClaim } from './home-messages.ts';
import type { JournalLine } from './journal-line.ts';
import type { JournalKept } from './journal-messages.ts';
import type { LogSpace } from './log-space.ts';
import type { PlacementNews, PoolView } from './messages.ts';
import type { Control } from './task-claims.ts';
import type { Opening, TaskCommand, TaskView } from './task-directory.ts';
import type { TaskLabelBook } from './task-labels.ts';
import type { TaskRecord } from './task-record.ts';
import type { TaskRequest } from './task-request.ts';

/** Which tasks run here, told as they come and go: the parent process names the lost ones after a crash. */
export interface TaskRoll {
	started(taskId: string): void;
	ended(taskId: string): void;
	/** It was on the roll of a thread that was lost, if it was on any. */
	lost(taskId: string): void;
}

/** Keeps what was asked and answered, of tasks that have ended. */
export interface TranscriptKeeper {
	/** `request`: with the texts that it had. `kept` is called in a later turn, once, or never: then there is none. */
	keep(task: TaskView, request: TaskRequest, kept: (artifactId: string) => void): void;
}

export interface TaskSurroundings {
	readonly decode: DecodePort;
	readonly logSpace: LogSpace;
	readonly labels: TaskLabelBook;
	readonly roll: TaskRoll;
	/** Null: this daemon keeps nothing. */
	readonly journal: JournalLine | null;
	pools(): readonly PoolView[];
	/** One that had its 202 has ended; `request`: with the texts that it had. */
	ended(task: TaskRecord, request: TaskRequest): void;
	/** What is said of it to the directory of all tasks. */
	claimOf(request: TaskRequest): Omit<TaskClaim, 'exclusive'>;
}

export type TaskMessage =
	| TaskCommand
	| PlacementNews
	| DecodeNews
	| CountNews
	/** The first one begins the task; all that come before it is placed get the same answer. */
	| { readonly type: 'open'; readonly replyTo: ActorRef<Opening> }
	| { readonly type: 'control-lost' }
	/** A new control thread: submit again, or report the lease; then answer. */
	| { readonly type: 'report'; readonly control: Control; readonly replyTo: ActorRef<'reported'> }
	| TaskTimer
	/** Instead of `open`: the journal has kept it, and it begins anew. Behind it comes `report`. */
	| { readonly type: 'recalled' }
	/** The daemon is ending. One that is durable and waits is left to the next. */
	| { readonly type: 'suspend' }
	| JournalKept
	/** From the Task to itself, behind all that was told before: ended, and nothing is owed any more. */
	| { readonly type: 'rest' };

export interface TaskTimer {
	readonly type:
		| 'deadline-passed'
		| 'count-overdue'
		| 'answer-overdue'
		| 'watch'
		| 'grace-over'
		| 'cancel-overdue'
		| 'send-again'
		| 'try-again'
		| 'seal-due';
}
