/**
 * What an engine thread and a reaper say to each other. Down its stdin one line, and then nothing: the end of stdin is the one order there
 * is, and comes from a thread that has no more use for the engine as from one that is no more. Up fd 3 a line for each fact.
 */
import type { ChildExit } from '../child-process.ts';

export interface ReaperBoot {
	readonly command: string;
	readonly args: readonly string[];
	readonly env: Readonly<Record<string, string>>;
	/** Stands in `env` too. */
	readonly mark: string;
	/** Private to the engine, and removed behind it; null: it has none. */
	readonly folder: string | null;
	/** Between SIGTERM and SIGKILL. */
	readonly graceMs: number;
}

export type ReaperStatus =
	| { readonly type: 'started'; readonly pid: number }
	/** Nothing that it started runs any more. `asked`: for its end was asked. */
	| { readonly type: 'ended'; readonly exit: ChildExit; readonly asked: boolean; readonly forced: boolean };
