/**
 * Where the time of a request went, for `Server-Timing` and the like: parse, queue, load, prefill, decode, relay. The stages follow each other
 * between its arrival and now, so they sum to the total, also for one that attaches to a task that was there before it. Pure.
 */
import type { TaskView } from '../../actors/serving/task-directory.ts';
import type { Header } from '../http/http-host.ts';

export interface RequestTiming {
	/** `name;dur=1.2, …`, in milliseconds, with `total`. */
	readonly serverTiming: string;
	readonly queueWaitMs: number;
}

/** Times on one clock. The longest of several tasks is the one that counts. */
export function timingOf(tasks: readonly TaskView[], arrivedAt: number, now: number): RequestTiming {
	const last = tasks.reduce((one, other) => ((other.endedAt ?? now) > (one.endedAt ?? now) ? other : one));
	const admitted = between(arrivedAt, last.admittedAt, now);
	const started = between(admitted, last.startedAt ?? last.endedAt ?? now, now);
	const first = between(started, last.firstTokenAt ?? last.endedAt ?? now, now);
	const ended = between(first, last.endedAt ?? now, now);
	// Each is rounded by itself; the total is the sum of what is shown. Every pool holds its model for as long as it serves: nothing is loaded.
	const parse = micros(admitted - arrivedAt);
	const queue = micros(started - admitted);
	const prefill = micros(first - started);
	const decode = micros(ended - first);
	const relay = micros(now - ended);
	const total = parse + queue + prefill + decode + relay;
	const shown = `parse;dur=${parse / 1000}, queue;dur=${queue / 1000}, load;dur=0, prefill;dur=${prefill / 1000}, decode;dur=${decode / 1000}`;
	return {
		serverTiming: `${shown}, relay;dur=${relay / 1000}, total;dur=${total / 1000}`,
		queueWaitMs: Math.round(started - admitted),
	};
}

function micros(ms: number): number {
	return Math.round(ms * 1000);
}

export function timingHeaders(tasks: readonly TaskView[], arrivedAt: number, now: number): readonly Header[] {
	const { serverTiming, queueWaitMs } = timingOf(tasks, arrivedAt, now);
	return [taskIdHeader(tasks), ['X-Queue-Wait-Ms', String(queueWaitMs)], ['Server-Timing', serverTiming]];
}

export function taskIdHeader(tasks: readonly TaskView[]): Header {
	return ['X-Task-Id', tasks.map(({ request }) => request.taskId).join(', ')];
}

function between(least: number, value: number, most: number): number {
	return Math.min(Math.max(least, value), Math.max(least, most));
}
