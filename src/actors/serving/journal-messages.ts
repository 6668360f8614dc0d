/**
 * What front threads and the journal of durable tasks say to each other. Types only. Records are bytes that the front has made
 * (`journal-record.ts`): the journal keeps them and reads no more of them than their heads.
 */
import type { ActorRef } from '../kernel/ref.ts';
import type { SessionRecord } from './session-messages.ts';

/** Front → journal. `session`: as `journal-joined` told it; what an earlier thread of that name still says is nobody's. */
export type JournalCommand =
	/** First. Answered by `journal-joined`, then by all that the front is home of. */
	| { readonly type: 'join-journal'; readonly frontId: string; readonly replyTo: ActorRef<JournalNews> }
	/** One `recall-tasks` was taken: another may come. */
	| { readonly type: 'recall-more'; readonly frontId: string; readonly session: number }
	/** A task was admitted, and waits for its 202. */
	| {
			readonly type: 'keep-task';
			readonly session: number;
			readonly taskId: string;
			readonly record: Uint8Array;
			readonly replyTo: ActorRef<JournalKept>;
	  }
	/** It has come to its end, which nobody has been told. */
	| {
			readonly type: 'keep-end';
			readonly session: number;
			readonly taskId: string;
			readonly record: Uint8Array;
			readonly replyTo: ActorRef<JournalKept>;
	  }
	/** It is refused after all: as if it had never been kept. */
	| { readonly type: 'drop-task'; readonly session: number; readonly taskId: string; readonly replyTo: ActorRef<JournalKept> }
	/** It is known by one more idempotency key. */
	| {
			readonly type: 'keep-key';
			readonly session: number;
			readonly taskId: string;
			readonly key: string;
			readonly replyTo: ActorRef<JournalKept>;
	  }
	/** It is watched, and is to be cancelled when it is not any more. Nobody waits for it. */
	| { readonly type: 'note-watched'; readonly session: number; readonly taskId: string }
	/** As the control thread told of them, but with times in milliseconds since 1970. Every front tells; nobody waits for it. */
	| {
			readonly type: 'keep-sessions';
			readonly session: number;
			readonly sessions: readonly SessionRecord[];
			readonly forgotten: readonly string[];
	  }
	/** The front keeps their events no longer; ids and keys are to be known until their time is over. */
	| { readonly type: 'forget-tasks'; readonly session: number; readonly taskIds: readonly string[] };

/** Why a record is not on disk. `bound`: the journal may hold no more; `unknown`: it has no such task. */
export type JournalProblem = 'full' | 'failed' | 'bound' | 'unknown';

/** Answer to each `keep-…` and `drop-task`, in their order. */
export interface JournalKept {
	readonly type: 'journal-kept';
	readonly what: 'task' | 'end' | 'drop' | 'key';
	readonly taskId: string;
	/** Null: it is on disk. */
	readonly problem: JournalProblem | null;
}

/** Journal → the `tasks` actor of a front. */
export type JournalNews =
	| { readonly type: 'journal-joined'; readonly session: number }
	/** Those that are kept, whoever used them; times in milliseconds since 1970. */
	| { readonly type: 'recall-sessions'; readonly session: number; readonly sessions: readonly SessionRecord[] }
	/** Tasks that this front is the home of: those that are to run in the order of their admission, behind them those that have ended. */
	| { readonly type: 'recall-tasks'; readonly session: number; readonly tasks: readonly RecalledTask[] }
	/** These were all. */
	| { readonly type: 'journal-recalled'; readonly session: number };

export interface RecalledTask {
	readonly taskId: string;
	/** `forgotten`: its events are gone, its id and keys are not to be used again. */
	readonly state: 'live' | 'ended' | 'forgotten';
	/** Of a live one: the run that begins now. */
	readonly run: number;
	readonly record: Uint8Array;
	/** Beside those in its record. */
	readonly keys: readonly string[];
	/** Somebody has watched it. */
	readonly watched: boolean;
}
