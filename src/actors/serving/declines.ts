/**
 * Pools that were chosen for a task and cannot take it as they stand: its deadline by their own forecast, a full queue, a failure of
 * which the Dispatcher had not heard. The next best is asked, and the task is refused only where none is left. Pure.
 */
import type { Failure } from './failure.ts';

/** Of a pool that was chosen and cannot take the task as it stands now. */
export interface Decline {
	readonly poolId: string;
	readonly failure: Failure;
	/** When the task could have ended there, where that is the reason; else null. */
	readonly endMs: number | null;
}

/** What is sent along to the pool that is asked next. */
export interface Asked {
	/** Those that have declined. */
	readonly declines: readonly Decline[];
	/** Should this one decline, another is asked; false: it refuses. */
	readonly others: boolean;
}

/** Of a task that nobody may refuse. */
export const noOthers: Asked = { declines: [], others: false };

/** What a task is told that all have declined: where to come back helps that; else the earliest end that any pool has. */
export function lastWord(declines: readonly Decline[]): Failure | null {
	const [first, ...others] = declines;
	if (first === undefined) return null;
	const end = ({ endMs }: Decline): number => endMs ?? Number.POSITIVE_INFINITY;
	const earliest = others.reduce((least, each) => (end(each) < end(least) ? each : least), first);
	return (declines.find(({ failure: { retriable } }) => retriable) ?? earliest).failure;
}
