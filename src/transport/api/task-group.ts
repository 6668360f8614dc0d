/**
 * The tasks of one request of another API than ours: opened together, read together, given up together when their client leaves. On the front
 * thread.
 */
import type { Failure } from '../../actors/serving/failure.ts';
import type { TaskView } from '../../actors/serving/task-directory.ts';
import type { TaskRequest } from '../../actors/serving/task-request.ts';
import type { Exchange } from '../http/exchange.ts';
import type { FrontParts } from './front-parts.ts';
import { openTask } from './submit.ts';

export type GroupOpened = { readonly ok: true; readonly tasks: readonly TaskView[] } | { readonly ok: false; readonly failure: Failure };

/** All of them, or none: where one is refused, those that are new are cancelled. `use` is called once. */
export function openGroup(parts: FrontParts, requests: readonly TaskRequest[], use: (opened: GroupOpened) => void): void {
	const tasks: (TaskView | undefined)[] = [];
	const fresh: TaskView[] = [];
	let refusal: Failure | null = null;
	let waiting = requests.length;
	for (const [index, request] of requests.entries()) {
		openTask(parts, request, (answer) => {
			if (!answer.ok) refusal ??= answer.failure;
			else {
				tasks[index] = answer.opened.task;
				if (answer.opened.fresh) fresh.push(answer.opened.task);
			}
			waiting -= 1;
			if (waiting > 0) return;
			if (refusal === null) return use({ ok: true, tasks: tasks as TaskView[] });
			for (const task of fresh) task.ref.tell({ type: 'cancel', reason: 'client', replyTo: null });
			use({ ok: false, failure: refusal });
		});
	}
}

/** They were watched by a client that is gone. */
export function leaveGroup(tasks: readonly TaskView[]): void {
	for (const { ref } of tasks) {
		ref.tell({ type: 'watcher-attached' });
		ref.tell({ type: 'watcher-gone' });
	}
}

/** `use` is called once, when all have ended, or one can no longer be read; not when the client leaves before. */
export function whenEnded(parts: FrontParts, exchange: Exchange, tasks: readonly TaskView[], use: () => void): void {
	let done = false;
	let looking = false;
	const over = (): boolean =>
		tasks.every(({ log }) => log.ended) ||
		tasks.some(({ log, failure, finishReason }) => log.forgotten || (log.ended && (failure !== null || finishReason === 'canceled')));
	const leave = (): void => {
		done = true;
		for (const stop of stops) stop();
		for (const { ref } of tasks) ref.tell({ type: 'watcher-gone' });
	};
	const look = (): void => {
		looking = false;
		if (done || !over()) return;
		leave();
		exchange.guarded(use);
	};
	// A log may not be read while it tells of a move.
	const moved = (): void => {
		if (looking || done || !over()) return;
		looking = true;
		parts.clock.soon(look);
	};
	const stops = tasks.map(({ log }) => log.subscribe(moved));
	for (const { ref } of tasks) ref.tell({ type: 'watcher-attached' });
	exchange.sink.onAborted = () => {
		if (!done) leave();
	};
	moved();
}
