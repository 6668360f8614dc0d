/**
 * `POST /v1/responses`: an answer is a task as any other, told in the shape of OpenAI, whole, as a stream, or later. Its id is that of its task, so that
 * every front thread finds it. On the front thread.
 */
import { failure } from '../../../actors/serving/failure.ts';
import type { TaskView } from '../../../actors/serving/task-directory.ts';
import type { TaskRequest } from '../../../actors/serving/task-request.ts';
import type { Handler } from '../../http/application.ts';
import type { Exchange } from '../../http/exchange.ts';
import { DialectFeed } from '../../stream/dialect-feed.ts';
import { emptyComment, sseHeaders } from '../../stream/sse.ts';
import { budgetHeaders } from '../budgets.ts';
import { httpStatus } from '../errors.ts';
import { watchersFull } from '../events.ts';
import { checkerOf, shown } from '../field-problems.ts';
import { foreignHandler, nativeRequest } from '../foreign-body.ts';
import type { FrontParts } from '../front-parts.ts';
import { withoutHosted } from '../hosted-tools.ts';
import { type Parsed, refused } from '../json-body.ts';
import { extendedBody } from '../openai/chat-request.ts';
import { problemOf } from '../openai/completions.ts';
import type { TaskBody } from '../schemas.ts';
import { whenEnded } from '../task-group.ts';
import { taskIdHeader, timingHeaders } from '../task-timing.ts';
import { turnsOf } from '../turns.ts';
import { type Fields, fitting } from '../unfit.ts';
import { type ResponseContext, ResponseDialect } from './response-dialect.ts';
import { messagesOf, storedItems } from './response-items.ts';
import { type Recipe, recipeOf, responseJson } from './response-json.ts';
import { ShelfNote } from './response-shelf.ts';
import { toolTable } from './response-tools.ts';
import { type ResponsesBody, responsesBodySchema } from './responses-schemas.ts';
import { findResponse, outputOf } from './stored-responses.ts';

interface ResponseRequest {
	readonly body: ResponsesBody;
	/** What was said before, of the response that it goes on behind. */
	readonly before: readonly Fields[];
}

const checkBody = checkerOf(responsesBodySchema);
/** Tools that OpenAI runs. Those that it defines and a client runs (computer, shell, apply_patch) are none of them. */
const hosted = /^(?:web_search|file_search|code_interpreter|image_generation|mcp|tool_search)(?:_|$)/;

export function createResponseHandler(parts: FrontParts): Handler {
	return foreignHandler<ResponseRequest>(parts, {
		read(json) {
			const own = withoutHosted(json, hosted);
			const checked = own.ok ? checkBody(own.value) : own;
			if (!checked.ok) return checked;
			const { background, store, tools, tool_choice: choice } = checked.value;
			if (background === true && store === false) return refused('background is true and store is false; what runs by itself is kept');
			if ((tools ?? []).length === 0 && choice !== undefined && choice !== 'none' && choice !== 'auto')
				return refused('tool_choice is given without tools');
			return { ok: true, value: { body: checked.value, before: [] } };
		},
		prepare(exchange, request, use) {
			const { previous_response_id: previous } = request.body;
			if (previous === undefined) return use({ ok: true, value: request });
			findResponse(parts, exchange.principal, previous, (found) => {
				if (!found.ok) return use(found.failure.code === 'NOT_FOUND' ? gone(previous) : found);
				const { recipe, task } = found.value;
				if (!task.log.ended) return use(refused('previous_response_id is that of a response that has not ended yet'));
				use({ ok: true, value: { ...request, before: [...recipe.items, ...outputOf(found.value)] } });
			});
		},
		tasks(exchange, request) {
			const crowded = request.body.stream === true ? watchersFull(parts, exchange.principal) : null;
			if (crowded !== null) return { ok: false, failure: crowded };
			const task = taskOf(parts, exchange, request);
			return task.ok ? { ok: true, value: [task.value] } : task;
		},
		answer(exchange, { body }, [task], arrivedAt) {
			answer(parts, exchange, body, {
				recipe: recipeIn(task as TaskView, body),
				task: task as TaskView,
				arrivedAt,
				clock: parts.clock,
				after: -1,
			});
		},
	});
}

/** The client can say all of it again. */
function gone(previous: string): Parsed<never> {
	const words = `previous_response_id is ${shown(previous)}, of which nothing is kept (any more): a response is kept as long as its task (tasks.retention_ms) and while there is room (responses); send what was said before as input`;
	return { ok: false, failure: failure('NOT_FOUND', words) };
}

/** Of the task that it is, which may be one that an idempotency key named before. */
function recipeIn({ request: { note } }: TaskView, body: ResponsesBody): Recipe {
	return note === undefined || note.json === null ? recipeOf(body, []) : (JSON.parse(note.json) as Recipe);
}

function taskOf(parts: FrontParts, exchange: Exchange, { body, before }: ResponseRequest): Parsed<TaskRequest> {
	const taskId = parts.taskIds.next();
	const items = [...before, ...storedItems(body.input, taskId)];
	const native = fitting(() => nativeBody(body, items));
	if (!native.ok) return native;
	const request = nativeRequest(parts, exchange, native.value);
	if (!request.ok) return request;
	const { bodyHash } = request.value;
	return {
		ok: true,
		value: {
			...request.value,
			taskId,
			bodyHash: bodyHash === '' ? '' : `${bodyHash} responses`,
			...(body.store === false ? {} : { note: new ShelfNote(JSON.stringify(recipeOf(body, items))) }),
		},
	};
}

function nativeBody(body: ResponsesBody, items: readonly Fields[]): TaskBody {
	const {
		instructions,
		max_output_tokens: maxTokens,
		tools = [],
		tool_choice: choice,
		text,
		reasoning,
		parallel_tool_calls: parallel,
	} = body;
	const system = instructions === undefined || instructions === '' ? [] : [{ role: 'system' as const, content: instructions }];
	const effort = reasoning?.effort;
	const { native } = toolTable(tools);
	const format = text?.format;
	return {
		...extendedBody(body.model, body.orchestratord),
		...(body.background === true ? { on_disconnect: 'detach' } : {}),
		messages: turnsOf([...system, ...messagesOf(items)]),
		...(maxTokens === undefined ? {} : { max_tokens: maxTokens }),
		...(native.length === 0 ? {} : { tools: [...native] }),
		...(native.length === 0 || choice === undefined ? {} : { tool_choice: choiceOf(choice) }),
		...(parallel === undefined ? {} : { parallel_tool_calls: parallel }),
		...(effort === undefined || effort === null ? {} : { template_args: { reasoning_effort: effort } }),
		sampling: {
			temperature: body.temperature ?? 1,
			top_p: body.top_p ?? 1,
			top_k: 0,
			...(format?.type === 'json_object' ? { json_object: true } : {}),
			...(format?.type === 'json_schema' ? { json_schema: format.schema } : {}),
		},
	};
}

function choiceOf(choice: NonNullable<ResponsesBody['tool_choice']>): NonNullable<TaskBody['tool_choice']> {
	return typeof choice === 'string' ? choice : { type: 'function', function: { name: choice.name } };
}

function answer(parts: FrontParts, exchange: Exchange, body: ResponsesBody, context: ResponseContext): void {
	const { task, recipe, arrivedAt, clock } = context;
	const { note } = task.request;
	if (note instanceof ShelfNote) parts.responses.keep(note);
	const headers = [...budgetHeaders(task.budget), taskIdHeader([task])];
	if (body.stream === true) return streamResponse(parts, exchange, context);
	if (body.background === true) return exchange.json(httpStatus.ok, responseJson(recipe, task, clock), headers);
	whenEnded(parts, exchange, [task], () => {
		const timing = timingHeaders([task], arrivedAt, clock.now());
		const problem = problemOf([task]);
		if (problem !== null) exchange.fail(problem, timing);
		else exchange.json(httpStatus.ok, responseJson(recipe, task, clock), [...budgetHeaders(task.budget), ...timing]);
	});
}

export function streamResponse(parts: FrontParts, exchange: Exchange, context: ResponseContext): void {
	const { task } = context;
	exchange.sink.start(httpStatus.ok, exchange.headers([...sseHeaders, ...budgetHeaders(task.budget), taskIdHeader([task])]), emptyComment);
	parts.watchers.watch(new DialectFeed([task], new ResponseDialect(context)), exchange.sink, exchange.principal.keyName);
}
