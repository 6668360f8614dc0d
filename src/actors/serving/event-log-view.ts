/**
 * How transport sees a task's event log: read-only, by sequence number. The log holds each numbered event once, as the
 * bytes that go to an SSE client; a watcher is a cursor (the last seq it has written) into it. Same thread only.
 */

export type LoggedEventName = 'started' | 'token' | 'end' | 'error';

/** A contiguous byte range of whole SSE frames. Valid until the log is forgotten; must not be written to. */
export interface LogSlice {
	readonly bytes: Buffer;
	readonly start: number;
	readonly end: number;
	/** Last sequence number inside. */
	readonly lastSeq: number;
}

/** How the API numbers an event: its seq, and before it the run of a task that may run again. */
export type EventId = number | `${number}.${number}`;

export function eventId({ run }: Pick<EventLogView, 'run'>, seq: number): EventId {
	return run === null ? seq : `${run}.${seq}`;
}

export interface EventLogView {
	/** Which run of its task this is, from 1; null: a task that runs once only. */
	readonly run: number | null;
	/** 1; above it for a task whose front was lost: what was logged there is gone, and what is told of that comes behind all of it. */
	readonly firstSeq: number;
	/** 0 (`firstSeq` − 1) = nothing logged. */
	readonly lastSeq: number;
	/** True once the terminal event is logged: nothing will follow. */
	readonly ended: boolean;
	/** Bytes held. */
	readonly bytes: number;
	/** True once the events were dropped to make room or at the end of their retention: nothing can be read any more. */
	readonly forgotten: boolean;
	/**
	 * The frames after `afterSeq`, as many as lie contiguously and within `maxBytes` (at least one frame); null when there are none.
	 */
	slice(afterSeq: number, maxBytes: number): LogSlice | null;
	/**
	 * The same events with runs of tokens merged into `token {batch:[…]}` frames, for a watcher that is behind. A merged
	 * frame carries the seq of its last token as id. At most `maxBytes` (at least one event).
	 */
	mergedSlice(afterSeq: number, maxBytes: number): LogSlice | null;
	/** Name and one-line JSON of each event after `afterSeq`, for readers that are not SSE; until `visit` answers false. */
	forEach(afterSeq: number, visit: (seq: number, name: LoggedEventName, json: string) => unknown): void;
	/**
	 * Calls `moved` once after each batch of events, when the log is forgotten, and when `TaskView.standingVersion` has
	 * changed (what `metrics` events tell is not in the log). Returns the unsubscribe. `moved` only marks the watcher for
	 * the end of the turn: it must not throw, and must not read or write the log.
	 */
	subscribe(moved: () => void): () => void;
}
