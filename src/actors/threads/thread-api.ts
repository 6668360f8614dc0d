/** What main asks of a thread, through Comlink, and what the two tell each other beside it. Types only. */
import type { MessagePort } from 'node:worker_threads';

export interface ThreadApi<Config, Facts> {
	/** Builds the role. Once, first. */
	start(config: Config): Promise<Facts>;
	/** A direct link to another thread. */
	connect(peer: string, incarnation: number, port: MessagePort): void;
	/** That thread is gone: its refs have ended. */
	peerLost(peer: string): void;
	/** Serialisable metrics of this thread. */
	metrics(): Promise<unknown>;
	/** Refuse new work, finish the old within `graceMs`. */
	drain(graceMs: number): Promise<void>;
	/** End everything, now. The thread may be terminated afterwards. */
	stop(): Promise<void>;
}

/** `workerData` of every thread. */
export interface ThreadBirth {
	readonly name: string;
	/** Row in the shared table. */
	readonly row: number;
	readonly table: SharedArrayBuffer;
	/** 1 for the first of its name, one more for each that follows. */
	readonly incarnation: number;
}

/** Thread → main, beside Comlink's own messages: an error that nothing caught. The thread has let go of what is dangerous. */
export interface ThreadFailed {
	readonly kind: 'thread-failed';
	readonly message: string;
	readonly stack: string;
}
