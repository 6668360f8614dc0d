/** `GET /v2/tasks/{id}/explain`: why a task waits, and what each pool is to it. On the front thread. */
import type { DecisionRecord, PlacementExplained } from '../../actors/serving/decision-messages.ts';
import type { PoolView } from '../../actors/serving/messages.ts';
import type { TaskView } from '../../actors/serving/task-directory.ts';
import type { Handler } from '../http/application.ts';
import { humanPhase } from '../stream/sse.ts';
import { decisionJson, wordsOf } from './decision-json.ts';
import { httpStatus } from './errors.ts';
import { askFrom, type FrontParts } from './front-parts.ts';
import { standingJson, standingNow } from './standing.ts';
import { findTask } from './task-lookup.ts';

const explainMs = 2_000;

export function explainHandler(parts: FrontParts): Handler {
	return (exchange) => {
		const taskId = exchange.params['id'] ?? '';
		findTask(parts, exchange.principal, taskId, 'look', (found) => {
			exchange.guarded(() => {
				if (!found.ok) return exchange.fail(found.failure);
				const task = found.value;
				decisionOn(parts, taskId, (decision) => {
					exchange.guarded(() => exchange.json(httpStatus.ok, explanationOf(task, decision, parts)));
				});
			});
		});
		return null;
	};
}

/** Null: nobody can say, now or any more. */
function decisionOn(parts: FrontParts, taskId: string, use: (decision: DecisionRecord | null) => void): void {
	const dispatcher = parts.dispatcher();
	if (dispatcher === null) return use(null);
	askFrom<PlacementExplained>(
		parts,
		explainMs,
		(replyTo) => dispatcher.tell({ type: 'explain', taskId, replyTo }),
		(answer) => use(answer.ok ? answer.reply.decision : null),
	);
}

function explanationOf(task: TaskView, decision: DecisionRecord | null, parts: FrontParts) {
	const { pools, controlReachable } = parts.directory;
	const now = parts.clock.now();
	return {
		task_id: task.request.taskId,
		state: task.state,
		phase: task.phase,
		human: humanPhase(task, now),
		pool_id: task.poolId,
		...(task.standing === null || task.state !== 'queued'
			? {}
			: { ...standingJson(standingNow(task.standing, now)), queue_depth: task.standing.queueDepth }),
		control_reachable: controlReachable,
		decision: decision === null ? null : decisionJson(decision),
		pools: pools.map((pool) => ({
			pool_id: pool.poolId,
			engine: pool.engine,
			state: pool.state,
			chosen: pool.poolId === task.poolId,
			reason: reasonOf(pool, task, decision),
		})),
	};
}

function reasonOf(pool: PoolView, task: TaskView, decision: DecisionRecord | null): string {
	const seen = decision?.considered.find(({ poolId }) => poolId === pool.poolId);
	if (pool.poolId === task.poolId) {
		const why = decision !== null && decision.poolId === pool.poolId ? `, chosen because ${wordsOf(decision)}` : '';
		return `${busyWords(pool, task)}${why}`;
	}
	if (decision === null) return 'what was decided of the task is not known any more';
	const { modelRef, placement } = task.request;
	if (seen === undefined) {
		if (placement.pinPoolId !== null && placement.pinPoolId !== pool.poolId) return 'the task is pinned to another pool';
		return `it serves ${pool.model}, not ${modelRef}`;
	}
	if (seen.refusedFor !== null) return seen.refusedFor.message;
	return `it could have taken the task, to end after about ${Math.round(seen.predictedEndMs)} ms`;
}

function busyWords(pool: PoolView, task: TaskView): string {
	if (task.state !== 'queued') return `the task is ${task.state} there`;
	if (pool.state === 'failed') return `it has failed: ${pool.lastError ?? 'no reason known'}`;
	if (pool.state === 'unloaded') return 'its model is not loaded';
	if (pool.state !== 'ready') return `it is ${pool.state}`;
	// the free ones are counted elsewhere, and may have been taken since
	return `the task waits for one of its ${pool.slotsTotal} slots`;
}
