/** What main asks of a thread, through Comlink, and what the two tell each other beside it. Types only. */
import type { MessagePort } from 'node:worker_threads';

export interface ThreadApi<Config, Facts> {
	/** Builds the role. Once, first. */
	start(config: Config): Promise<Facts>;
	/** What the role may ask of main. Once, after `start`. */
	attach(main: MainApi): void;
	/** A direct link to another thread, and which incarnation of that thread it is. */
	connect(peer: string, peerIncarnation: number, linkIncarnation: number, port: MessagePort): void;
	/** That thread is gone: its refs have ended. */
	peerLost(peer: string): void;
	/** What has changed of its configuration: plain data. A thread that starts later begins with it. */
	configure(change: unknown): void;
	/** Metrics of this thread: plain data. `ifCounted`: null unless something was counted since they were told last. */
	metrics(ifCounted: boolean): Promise<unknown>;
	/** What the role has to say of itself now: plain data. */
	inspect(): Promise<unknown>;
	/** Refuse new work, finish the old within `graceMs`. */
	drain(graceMs: number): Promise<void>;
	/** All threads of its kind have drained: let those who read the end of what was finished, there or here, come to it. */
	conclude(): Promise<void>;
	/** End everything, now. The thread may be terminated afterwards. */
	stop(): Promise<void>;
}

/** What a thread may ask of main, through Comlink. */
export interface MainApi {
	/** The text of a scrape: metrics of all threads that answer, and what is kept of those that have ended. */
	metrics(): Promise<string>;
	/** Reads the configuration anew and applies what may change while the daemon runs. Answers what that was: plain data. */
	reloadConfig(): Promise<unknown>;
	/** Asks the catalog of models, which main keeps. Plain data both ways. */
	catalog(request: unknown): Promise<unknown>;
	/** Asks the store of artifacts, which main keeps. Plain data both ways. */
	artifacts(request: unknown): Promise<unknown>;
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
	/** Its last ones, where they could still be had. */
	readonly metrics: unknown;
}
