/**
 * Server-sent events as bytes: headers, comments, and the `metrics` frame. The numbered frames come ready from the event
 * log. Pure.
 */

import type { TaskView } from '../../actors/serving/task-directory.ts';
import type { ModelFetch, WarmUpTold } from '../../actors/serving/warm-up-messages.ts';
import { budgetFields } from '../api/budgets.ts';
import { preparationOf } from '../api/preparation.ts';
import { standingNow } from '../api/standing.ts';
import type { Header } from '../http/http-host.ts';

export const sseHeaders: readonly Header[] = [
	['Content-Type', 'text/event-stream; charset=utf-8'],
	['Cache-Control', 'no-cache'],
	['X-Accel-Buffering', 'no'],
];

/** Means nothing to any reader; opens a stream, and keeps a slow one open. */
export const emptyComment = Buffer.from(':\n\n');
export const keepAliveComment = Buffer.from(': keep-alive\n\n');

/** Not numbered, never logged: where the task stands right now. */
export function metricsFrame(task: TaskView, verbose: boolean, now: number): Buffer {
	return Buffer.from(`event: metrics\ndata: ${JSON.stringify(metricsOf(task, verbose, now))}\n\n`);
}

/** The data of a `metrics` event. */
export function metricsOf(task: TaskView, verbose: boolean, now: number): Readonly<Record<string, unknown>> {
	const { phase, poolId } = task;
	const standing = task.standing === null ? null : standingNow(task.standing, now);
	const warmUp = task.state === 'queued' ? (standing?.warmUp ?? null) : null;
	return {
		phase,
		queue_position: standing?.position,
		queue_depth: standing?.queueDepth,
		predicted_start_ms: standing === null ? undefined : Math.round(standing.predictedStartMs),
		predicted_end_ms: standing === null ? undefined : Math.round(standing.predictedEndMs),
		predicted_start_p90_ms: standing === null ? undefined : Math.round(standing.predictedStartP90Ms),
		on_time_probability: task.onTimeProbability ?? undefined,
		kv_warmth: task.tokensCached === null ? undefined : task.tokensCached > 0,
		...budgetFields(task.budget),
		prep: poolId === null || warmUp === null ? undefined : preparationOf(poolId, warmUp),
		...(verbose ? { estimated: standing?.estimated, human: humanPhase(task, now) } : {}),
	};
}

/** One sentence for people. */
export function humanPhase(task: TaskView, now: number): string {
	const pool = task.poolId === null ? '' : ` in pool ${task.poolId}`;
	switch (task.phase) {
		case 'admitting':
			return 'Being admitted.';
		case 'queued': {
			const standing = task.standing === null ? null : standingNow(task.standing, now);
			const before = standing?.position ?? 0;
			const seconds = ((standing?.predictedStartMs ?? 0) / 1000).toFixed(1);
			const place = before === 0 ? 'next to start' : before === 1 ? 'one task before it' : `${before} tasks before it`;
			const loads = warmUpWords(task.standing?.warmUp ?? null);
			return `Queued${pool}${loads}: ${place}, about ${seconds} s to go.`;
		}
		case 'prefill':
			return `Reading the prompt${pool}.`;
		case 'decode':
			return `Answering${pool}.`;
		case 'migrated':
			return `Goes on in another slot${pool}.`;
		case 'ended':
			return 'Ended.';
	}
}

function warmUpWords(warmUp: WarmUpTold | null): string {
	if (warmUp === null) return '';
	if (warmUp.fetch !== null) return `, which waits for its model${shareWords(warmUp.fetch)}`;
	return warmUp.status === 'running' ? ', which loads its model' : ', which waits to start its engine';
}

function shareWords({ bytesDone, bytesTotal }: ModelFetch): string {
	return bytesTotal === null || bytesTotal === 0 ? '' : `, ${Math.floor((100 * bytesDone) / bytesTotal)} % of which is here`;
}
