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

export interface EventLogView {
	/** Sequence numbers start at 1; 0 = nothing logged. */
	readonly lastSeq: number;
	/** True once the terminal event is logged: nothing will follow. */
	readonly ended: boolean;
	/** Bytes held. */
	readonly bytes: number;
	/**
	 * The frames after `afterSeq`, as many as lie contiguously and within `maxBytes` (at least one frame); null when there are none.
	 */
	slice(afterSeq: number, maxBytes: number): LogSlice | null;
	/**
	 * The same events with runs of tokens merged into `token {batch:[…]}` frames, for a watcher that is behind. A merged
	 * frame carries the seq of its last token as id. At most `maxBytes` (at least one event).
	 */
	mergedSlice(afterSeq: number, maxBytes: number): LogSlice | null;
	/** Name and one-line JSON of each event after `afterSeq`, for readers that are not SSE. */
	forEach(afterSeq: number, visit: (seq: number, name: LoggedEventName, json: string) => void): void;
	/** Calls `moved` after the events of a turn were appended; returns the unsubscribe. `moved` must not write to the log. */
	subscribe(moved: () => void): () => void;
}
