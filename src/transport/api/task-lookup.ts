/**
 * Finds the task that a request names, on this front thread or another: 404 for one that was never here or is forgotten, 410
 * for one whose events are gone, 503 when it cannot be found out now.
 */
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { FindPurpose, Lookup, TaskFound, TaskView } from '../../actors/serving/task-directory.ts';
import { maySee, type Principal } from '../auth/principal.ts';
import { askFrom, type FrontParts, unanswered } from './front-parts.ts';
import type { Parsed } from './json-body.ts';
import { uuidPattern } from './schemas.ts';

const uuid = new RegExp(uuidPattern);
const findMs = 10_000;

/**
 * `use` is called exactly once: before this returns for a task of this front thread, later for one of another. Who follows
 * subscribes to the task's log before `use` returns.
 */
export function findTask(
	parts: FrontParts,
	principal: Principal,
	taskId: string,
	purpose: FindPurpose,
	use: (found: Parsed<TaskView>) => void,
): void {
	// what is no UUID may be long and strange: it is not repeated
	if (!uuid.test(taskId)) return use({ ok: false, failure: failure('NOT_FOUND', 'there is no such task: its id is not a UUID') });
	const id = taskId.toLowerCase();
	const here = parts.directory.lookup(id);
	const { elsewhere } = parts;
	if (here.found === 'nothing' && !parts.directory.complete) return use({ ok: false, failure: recalling });
	if (here.found !== 'nothing' || elsewhere === null) return use(known(here, taskId, principal));
	askFrom<TaskFound>(
		parts,
		findMs,
		(replyTo) => elsewhere.tell({ type: 'find-task', taskId: id, purpose, replyTo }),
		(answer) => {
			if (!answer.ok) use({ ok: false, failure: unanswered('the front thread that holds the task', answer.reason) });
			else if (answer.reply.type === 'not-found-out') use({ ok: false, failure: answer.reply.failure });
			else use(known(answer.reply.lookup, taskId, principal));
		},
	);
}

/** A task of another tenant is none. */
function known(found: Lookup, taskId: string, principal: Principal): Parsed<TaskView> {
	const hidden = found.found === 'task' && !maySee(principal, found.task.request.tenant);
	if (!hidden && found.found === 'task') {
		const { log } = found.task;
		if (!log.forgotten) return { ok: true, value: found.task };
		if (!log.ended) return { ok: false, failure: suspended };
	}
	if (hidden || found.found === 'nothing') return { ok: false, failure: failure('NOT_FOUND', `there is no task ${taskId}`) };
	return { ok: false, failure: eventsExpired(taskId) };
}

/** Whether it is known, the journal has yet to tell. */
const recalling = failure('POOL_UNREADY', 'tasks that were kept are still being read; ask again shortly', { retryAfterMs: 500 });
/** It has left its slot or its place, and the next daemon has it. */
const suspended = failure('POOL_UNREADY', 'the daemon is shutting down; the task is kept, and runs when it is started again', {
	retryAfterMs: 5000,
});

export function eventsExpired(taskId: string): Failure {
	return failure('EVENTS_EXPIRED', `the events of task ${taskId} are no longer kept`);
}
