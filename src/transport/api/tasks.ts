/**
 * What can be asked of tasks beside their events: state, list, cancel. On the front thread.
 */
import { type Failure, failure } from '../../actors/serving/failure.ts';
import { type CancelDone, cursorShape, type TaskState, type TasksFound, type TaskView } from '../../actors/serving/task-directory.ts';
import { isOperator, maySee, type Principal } from '../auth/principal.ts';
import type { Handler } from '../http/application.ts';
import { httpStatus } from './errors.ts';
import { shown } from './field-problems.ts';
import { askFrom, type FrontParts, unanswered } from './front-parts.ts';
import { type QueryFields, queryOf } from './query.ts';
import { taskJson } from './task-json.ts';
import { findTask } from './task-lookup.ts';

const taskStates: readonly TaskState[] = ['admitting', 'queued', 'running', 'done', 'canceled', 'failed'];
const cancelMs = 5000;
const listMs = 10_000;

export const listQuery = {
	state: { kind: 'one-of', values: taskStates, description: 'Only tasks in this state' },
	pool_id: { kind: 'text', maxLength: 64, description: 'Only tasks of this pool' },
	tenant: { kind: 'text', maxLength: 64, description: 'Only tasks of this tenant' },
	limit: { kind: 'integer', minimum: 1, maximum: 1000, default: 100, description: 'Most tasks in one answer' },
	cursor: { kind: 'text', maxLength: 64, description: '`next_cursor` of the page before' },
} as const satisfies QueryFields;

export function getTaskHandler(parts: FrontParts): Handler {
	return (exchange) => {
		findTask(parts, exchange.principal, exchange.params['id'] ?? '', 'look', (found) => {
			exchange.guarded(() => {
				if (found.ok) exchange.json(httpStatus.ok, taskJson(found.value, parts.clock));
				else exchange.fail(found.failure);
			});
		});
		return null;
	};
}

export function listTasksHandler(parts: FrontParts): Handler {
	return (exchange) => {
		const query = queryOf(exchange.request.query, listQuery);
		if (!query.ok) {
			exchange.fail(query.failure);
			return null;
		}
		const { state, pool_id: poolId, tenant, limit, cursor } = query.value;
		if (cursor !== null && !cursorShape.test(cursor)) {
			exchange.fail(failure('INVALID_PARAMS', `query parameter cursor is ${shown(cursor)}; it must be next_cursor of the page before`));
			return null;
		}
		const { principal } = exchange;
		if (tenant !== null && !maySee(principal, tenant)) {
			exchange.fail(failure('FORBIDDEN', `tenant is ${shown(tenant)}; the key is one of tenant ${shown(principal.tenant)}`));
			return null;
		}
		const ofTenant = tenant ?? (isOperator(principal) ? null : principal.tenant);
		const known = taskStates.find((candidate) => candidate === state);
		const filter = {
			...(known === undefined ? {} : { state: known }),
			...(poolId === null ? {} : { poolId }),
			...(ofTenant === null ? {} : { tenant: ofTenant }),
		};
		const answer = ({ tasks, nextCursor }: { readonly tasks: readonly TaskView[]; readonly nextCursor: string | null }): void => {
			exchange.json(httpStatus.ok, { tasks: tasks.map((task) => taskJson(task, parts.clock)), next_cursor: nextCursor });
		};
		const { elsewhere } = parts;
		if (elsewhere === null) {
			answer(parts.directory.list(filter, limit, cursor));
			return null;
		}
		askFrom<TasksFound>(
			parts,
			listMs,
			(replyTo) => elsewhere.tell({ type: 'find-tasks', page: { filter, limit, cursor }, replyTo }),
			(reply) => {
				exchange.guarded(() => {
					if (!reply.ok) exchange.fail(unanswered('a front thread', reply.reason));
					else if (reply.reply.type === 'not-found-out') exchange.fail(reply.reply.failure);
					else answer(reply.reply);
				});
			},
		);
		return null;
	};
}

/** 204 once the log gains no token any more; 204 as well for what has ended and for what was never here. */
export function cancelHandler(parts: FrontParts): Handler {
	return (exchange) => {
		cancelTask(
			parts,
			exchange.principal,
			exchange.params['id'] ?? '',
			() => exchange.guarded(() => exchange.empty(httpStatus.noContent)),
			(why) => exchange.guarded(() => exchange.fail(why)),
		);
		return null;
	};
}

/** The same for every way in. `done` or `refused`, once. */
export function cancelTask(
	parts: FrontParts,
	principal: Principal,
	taskId: string,
	done: () => void,
	refused: (why: Failure) => void,
): void {
	findTask(parts, principal, taskId, 'look', (found) => {
		if (!found.ok) {
			const { code } = found.failure;
			// any other failure says that it may be running somewhere
			return code === 'NOT_FOUND' || code === 'EVENTS_EXPIRED' ? done() : refused(found.failure);
		}
		const task = found.value;
		if (task.log.ended) return done();
		askFrom<CancelDone>(
			parts,
			cancelMs,
			(replyTo) => task.ref.tell({ type: 'cancel', reason: 'client', replyTo }),
			(answer) => {
				if (answer.ok && answer.reply.failure !== undefined) refused(answer.reply.failure);
				else if (answer.ok || task.log.ended || answer.reason === 'closed') done();
				else refused(unanswered('the task', answer.reason));
			},
		);
	});
}
