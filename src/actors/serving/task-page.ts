/**
 * Places in the list of all tasks: newest admission first, over all front threads. A cursor is the place of the last task of
 * a page, as text. Pure.
 */

import { cursorShape } from './task-directory.ts';

export interface TaskPlace {
	/** Microseconds on `Host.now`. */
	readonly at: number;
	/** Of the front thread; tells tasks apart that were admitted in the same microsecond. */
	readonly front: number;
	/** In order of admission on its front. */
	readonly ordinal: number;
}

export function placeOf(task: { readonly admittedAt: number; readonly ordinal: number }, front: number): TaskPlace {
	return { at: Math.round(task.admittedAt * 1000), front, ordinal: task.ordinal };
}

export function cursorOf({ at, front, ordinal }: TaskPlace): string {
	return `${at.toString(36)}.${front.toString(36)}.${ordinal.toString(36)}`;
}

/** Null: no cursor of ours. */
export function placeOfCursor(cursor: string): TaskPlace | null {
	const parts = cursorShape.exec(cursor);
	if (parts === null) return null;
	const [at, front, ordinal] = parts.slice(1).map((part) => Number.parseInt(part, 36)) as [number, number, number];
	return { at, front, ordinal };
}

/** Below 0: `a` is listed before `b`. */
export function comparePlaces(a: TaskPlace, b: TaskPlace): number {
	return b.at - a.at || b.front - a.front || b.ordinal - a.ordinal;
}
