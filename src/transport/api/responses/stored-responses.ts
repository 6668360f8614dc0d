/** What can be asked of a response by its id: how it stands, its events, its input; and its end. On the front thread. */
import { type Failure, failure } from '../../../actors/serving/failure.ts';
import type { TaskView } from '../../../actors/serving/task-directory.ts';
import type { Principal } from '../../auth/principal.ts';
import type { Handler } from '../../http/application.ts';
import type { Exchange } from '../../http/exchange.ts';
import { answerOf } from '../answer.ts';
import { httpStatus } from '../errors.ts';
import { watchersFull } from '../events.ts';
import { shown } from '../field-problems.ts';
import type { FrontParts } from '../front-parts.ts';
import { type Parsed, refused } from '../json-body.ts';
import { queryOf } from '../query.ts';
import { findTask } from '../task-lookup.ts';
import { cancelTask } from '../tasks.ts';
import type { Fields } from '../unfit.ts';
import { outputItems } from './response-items.ts';
import { knownTools, type Recipe, responseId, responseJson, statusOf } from './response-json.ts';
import { inputItemsQuery, responseIdShape, retrieveQuery } from './responses-schemas.ts';

export interface StoredResponse {
	readonly task: TaskView;
	readonly recipe: Recipe;
}

/** `use` is called exactly once, with a task whose log holds its events so far. */
export function findResponse(parts: FrontParts, principal: Principal, id: string, use: (found: Parsed<StoredResponse>) => void): void {
	const taskId = responseIdShape.exec(id)?.[1];
	const nothing: Parsed<never> = { ok: false, failure: failure('NOT_FOUND', `there is no response ${shown(id)}, or it is no longer kept`) };
	if (taskId === undefined) return use(nothing);
	const missing = ({ code }: Failure): boolean => code === 'NOT_FOUND' || code === 'EVENTS_EXPIRED';
	// As it stands at its home: a copy that is still followed here knows nothing of a deletion there.
	findTask(parts, principal, taskId, 'look', (looked) => {
		if (!looked.ok) return use(missing(looked.failure) ? nothing : looked);
		const json = looked.value.request.note?.json ?? null;
		if (json === null) return use(nothing);
		findTask(parts, principal, taskId, 'follow', (found) => {
			if (found.ok) use({ ok: true, value: { task: found.value, recipe: JSON.parse(json) as Recipe } });
			else use(missing(found.failure) ? nothing : found);
		});
	});
}

/** What a response that has ended has said, as items. */
export function outputOf({ task, recipe }: StoredResponse): readonly Fields[] {
	return outputItems(answerOf(task.log).segments, task.request.taskId, statusOf(task) !== 'completed', knownTools(recipe.echo));
}

/** `stream`: told of the response from an event on. */
export function getResponseHandler(
	parts: FrontParts,
	stream: (exchange: Exchange, found: StoredResponse, after: number, arrivedAt: number) => void,
): Handler {
	return (exchange) => {
		const arrivedAt = parts.clock.now();
		// Lists that clients send for what is told anyway.
		const query = queryOf(exchange.request.query.replaceAll(/(^|&)include(?:%5B%5D|\[\])?=[^&]*/gi, ''), retrieveQuery);
		if (!query.ok) {
			exchange.fail(query.failure);
			return null;
		}
		const { stream: wanted, starting_after: after } = query.value;
		if (after !== null && !/^\d+$/.test(after)) {
			exchange.fail(refused(`starting_after is ${shown(after)}; it must be a whole number`).failure);
			return null;
		}
		return withResponse(parts, exchange, (found) => {
			if (!wanted) return exchange.json(httpStatus.ok, responseJson(found.recipe, found.task, parts.clock));
			const crowded = watchersFull(parts, exchange.principal);
			if (crowded === null) stream(exchange, found, after === null ? -1 : Number(after), arrivedAt);
			else exchange.fail(crowded);
		});
	};
}

/** Answers with the response as it then stands; one that has ended stays as it is. */
export function cancelResponseHandler(parts: FrontParts): Handler {
	return (exchange) =>
		withResponse(parts, exchange, ({ recipe, task }) => {
			const answer = (): void => {
				exchange.guarded(() => exchange.json(httpStatus.ok, responseJson(recipe, task, parts.clock)));
			};
			cancelTask(
				parts,
				exchange.principal,
				task.request.taskId,
				() => endIn(parts, task, answer),
				(why) => exchange.guarded(() => exchange.fail(why)),
			);
		});
}

const endMs = 2000;

/** `use`, once: when the end is in the log that is here, or does not come. */
function endIn(parts: FrontParts, { log }: TaskView, use: () => void): void {
	if (log.ended || log.forgotten) return use();
	let waiting = true;
	const finish = (): void => {
		if (!waiting) return;
		waiting = false;
		stop();
		stopTimer();
		use();
	};
	const stop = log.subscribe(() => {
		if (log.ended || log.forgotten) parts.clock.soon(finish);
	});
	const stopTimer = parts.clock.after(endMs, finish);
}

/** It is not found again; what it is goes on if it runs. */
export function deleteResponseHandler(parts: FrontParts): Handler {
	return (exchange) =>
		withResponse(parts, exchange, ({ task }) => {
			task.request.note?.drop();
			exchange.json(httpStatus.ok, { id: responseId(task), object: 'response', deleted: true });
		});
}

export function inputItemsHandler(parts: FrontParts): Handler {
	return (exchange) => {
		const query = queryOf(exchange.request.query, inputItemsQuery);
		if (!query.ok) {
			exchange.fail(query.failure);
			return null;
		}
		const { limit, order, after } = query.value;
		return withResponse(parts, exchange, ({ recipe }) => {
			const items = order === 'asc' ? recipe.items : recipe.items.toReversed();
			const start = after === null ? 0 : items.findIndex(({ id }) => id === after) + 1;
			if (after !== null && start === 0) return exchange.fail(refused('after is no id of an item of this response').failure);
			const data = items.slice(start, start + limit);
			exchange.json(httpStatus.ok, {
				object: 'list',
				data,
				first_id: data[0]?.['id'] ?? null,
				last_id: data.at(-1)?.['id'] ?? null,
				has_more: start + limit < items.length,
			});
		});
	};
}

function withResponse(parts: FrontParts, exchange: Exchange, use: (found: StoredResponse) => void): null {
	findResponse(parts, exchange.principal, exchange.params['id'] ?? '', (found) => {
		exchange.guarded(() => {
			if (found.ok) use(found.value);
			else exchange.fail(found.failure);
		});
	});
	return null;
}
