/** What the parts of the `elsewhere` actor share: a home, as it is asked, and the answers that are given of it. */
import type { ActorRef } from '../kernel/ref.ts';
import type { DeskCommand } from './desk-messages.ts';
import { type Failure, failure } from './failure.ts';
import type { ForeignTask } from './foreign-task.ts';
import type { TaskFound } from './task-directory.ts';

/** Another front thread, while it is there. */
export interface Home {
	readonly frontId: string;
	readonly desk: ActorRef<DeskCommand>;
	/** Tells its news from those of a desk that was there before. */
	readonly session: number;
	/** Bytes that have come, and for which the desk has not had its credit back. */
	owedBytes: number;
}

export type Answer = (found: TaskFound) => void;

const retryAfterMs = 1_000;

export function tellAll(answers: readonly Answer[], found: TaskFound): void {
	for (const answer of answers) answer(found);
}

export function taskFound(task: ForeignTask): TaskFound {
	return { type: 'task-found', lookup: { found: 'task', task } };
}

export function expired(taskId: string): TaskFound {
	return { type: 'task-found', lookup: { found: 'expired', taskId } };
}

export function notFoundOut(why: Failure): { readonly type: 'not-found-out'; readonly failure: Failure } {
	return { type: 'not-found-out', failure: why };
}

export function away(): Failure {
	return failure('POOL_UNREADY', 'the front thread that may hold this task cannot be asked right now; try again shortly', { retryAfterMs });
}
