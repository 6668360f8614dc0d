/**
 * What a reader of an HTTP stream is sent: the events of one task or several, in the form that its API has. A feed is a cursor in each
 * log, never a buffer; it lives with its watcher, on the front thread.
 */
export interface ByteRange {
	/** Never written to again. */
	readonly bytes: Uint8Array;
	readonly start: number;
	readonly end: number;
}

export interface Feed {
	/** Whose it is, in logs. */
	readonly correlationId: string;
	/** The logs have their last event. */
	readonly hasEnd: boolean;
	/** All has been handed out, and nothing will follow. */
	readonly finished: boolean;
	/** What is left, or would have come, cannot be had any more. */
	readonly lost: boolean;
	/** Changes whenever `standing` would say something else. */
	readonly standingVersion: number;
	/** A change of phase is told at once; other changes of standing at most once a second. */
	readonly phase: string;
	/** A reader is there: it is told of each move. Once. */
	attach(moved: () => void): void;
	/** The reader has left. Once. */
	leave(): void;
	/** What is new, about `bytesMax` at most (at least one event); null: nothing. `merged`: as few events as may be. */
	next(bytesMax: number, merged: boolean): ByteRange | null;
	/** There is more than the last `next` gave. */
	readonly hasMore: boolean;
	/** Where it stands right now; nothing that is numbered. Null: this API does not tell. */
	standing(now: number): Uint8Array | null;
}
