/**
 * A task whose front thread was lost, as the thread that took its place keeps it: failed with `WORKER_RESET`, so that whoever
 * asks hears what became of it and not that it never was. What is not known of it any more has its default. Pure.
 */
import { frontLost } from './foreign-task.ts';
import type { KnownTask } from './home-messages.ts';
import type { LogLease } from './log-space.ts';
import type { AboutTask } from './task-book.ts';
import { errorJson } from './task-events.ts';
import { TaskRecord } from './task-record.ts';
import { anyPlacement, greedySampling, type TaskRequest } from './task-request.ts';

/** Above the number of any event that was logged before, so that whoever resumes gets the end and no gap is hidden below it. */
const lostSeq = 1_000_000_000;

export function lostRecord(
	known: KnownTask,
	about: AboutTask,
	{ ordinal, lease, now }: { readonly ordinal: number; readonly lease: LogLease; readonly now: number },
): TaskRecord {
	const record = new TaskRecord(requestOf(known, about), ordinal, about.admittedAt, lease, lostSeq);
	const problem = frontLost();
	record.end(record.outcomeOf({ kind: 'failed', failure: problem, cut: null }, now));
	record.log.append('error', errorJson(problem));
	return record;
}

function requestOf({ taskId, tenant, bodyHash }: KnownTask, about: AboutTask): TaskRequest {
	const { modelRef, workload, priority, sessionId, correlationId } = about;
	return {
		taskId,
		tenant,
		keyName: null,
		bodyHash,
		modelRef,
		workload,
		priority,
		sessionId,
		correlationId,
		engine: null,
		ctx: null,
		input: { kind: 'inputs', inputs: [], query: null },
		maxTokens: null,
		deadlineMs: null,
		sampling: greedySampling,
		seed: 0,
		strict: false,
		samplerProfileVersion: null,
		expectedTokens: null,
		kvHint: 'reuse',
		placement: anyPlacement,
		outputMode: null,
		onDisconnect: 'detach',
		disconnectGraceMs: 0,
		durable: false,
		idempotencyKey: null,
		named: true,
	};
}
