/**
 * What an engine thread and a reaper say to each other. Down its stdin one line, and `stopOrder` when the engine is to end; the end of stdin
 * says that there is no such thread any more. Up fd 3 a line for each fact.
 */
import type { ChildExit } from '../child-process.ts';

export const stopOrder = 'stop';

export interface ReaperBoot {
	readonly command: string;
	readonly args: readonly string[];
	readonly env: Readonly<Record<string, string>>;
	/** Stands in `env` too. */
	readonly mark: string;
	/** Private to the engine, and removed behind it; null: it has none. */
	readonly folder: string | null;
	/** Between SIGTERM and SIGKILL when it is told to stop. Who has nobody left to serve is given less. */
	readonly graceMs: number;
}

export type ReaperStatus =
	| { readonly type: 'started'; readonly pid: number }
	/** Nothing that it started runs any more. `asked`: it was told to. */
	| { readonly type: 'ended'; readonly exit: ChildExit; readonly asked: boolean; readonly forced: boolean };
