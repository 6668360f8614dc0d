/**
 * What front threads ask of the logs of engine processes, and what they are told. Types only. A log may quote what clients sent: it goes
 * to an operator who asks for it, and into no log of ours.
 */
import type { ActorRef } from '../kernel/ref.ts';

export interface EngineLine {
	/** Grows from line to line of a pool, also over restarts of the engine thread and of the daemon. */
	readonly id: number;
	/** Milliseconds since 1970. */
	readonly at: number;
	readonly replicaId: string;
	readonly source: 'stdout' | 'stderr';
	readonly text: string;
}

/** Front → the keeper of the logs on an engine thread. */
export interface ReadEngineLog {
	readonly type: 'read-engine-log';
	readonly poolId: string;
	/** Lines behind this one, the oldest first; null: the last ones. */
	readonly after: number | null;
	readonly linesMax: number;
	/** How long the answer may wait for a line where there is none. */
	readonly waitMs: number;
	readonly replyTo: ActorRef<EngineLogRead>;
}

export interface EngineLogRead {
	readonly type: 'engine-log-read';
	/** Oldest first. */
	readonly lines: readonly EngineLine[];
	/** What was asked for began with lines that are kept no more. */
	readonly gap: boolean;
	/** Who reads on asks for what is behind this one. */
	readonly next: number;
}
