/**
 * Finds the task that a path names: 404 for one that was never here or is forgotten, 410 for one whose events are gone.
 * Pure.
 */
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { TaskDirectory, TaskView } from '../../actors/serving/task-directory.ts';
import type { Parsed } from './json-body.ts';
import { uuidPattern } from './schemas.ts';

const uuid = new RegExp(uuidPattern);

export function taskIn(directory: TaskDirectory, taskId: string): Parsed<TaskView> {
	// what is no UUID may be long and strange: it is not repeated
	if (!uuid.test(taskId)) return { ok: false, failure: failure('NOT_FOUND', 'there is no such task: its id is not a UUID') };
	const found = directory.lookup(taskId.toLowerCase());
	if (found.found === 'task' && !found.task.log.forgotten) return { ok: true, value: found.task };
	if (found.found === 'nothing') return { ok: false, failure: failure('NOT_FOUND', `there is no task ${taskId}`) };
	return { ok: false, failure: eventsExpired(taskId) };
}

export function eventsExpired(taskId: string): Failure {
	return failure('EVENTS_EXPIRED', `the events of task ${taskId} are no longer kept`);
}
