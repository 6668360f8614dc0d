/** A response as it is told at any time: from what was asked for, which is kept as JSON beside its task, and from the task. Pure. */
import type { Failure } from '../../../actors/serving/failure.ts';
import type { TaskView } from '../../../actors/serving/task-directory.ts';
import type { Clock } from '../../clock.ts';
import { answerOf } from '../answer.ts';
import type { Fields } from '../unfit.ts';
import { outputItems } from './response-items.ts';
import { type ToolTable, toolTable } from './response-tools.ts';
import type { ResponsesBody } from './responses-schemas.ts';

/** What a response is told with, beside its task. */
export interface Recipe {
	/** Fields of the request that are repeated. */
	readonly echo: Fields;
	/** All that went before the answer, in its order. */
	readonly items: readonly Fields[];
	readonly background: boolean;
}

export type ResponseStatus = 'queued' | 'in_progress' | 'completed' | 'incomplete' | 'failed' | 'cancelled';

export function recipeOf(body: ResponsesBody, items: readonly Fields[]): Recipe {
	return {
		items,
		background: body.background === true,
		echo: {
			model: body.model,
			instructions: body.instructions ?? null,
			previous_response_id: body.previous_response_id ?? null,
			tools: body.tools ?? [],
			tool_choice: body.tool_choice ?? 'auto',
			parallel_tool_calls: body.parallel_tool_calls ?? true,
			max_output_tokens: body.max_output_tokens ?? null,
			temperature: body.temperature ?? 1,
			top_p: body.top_p ?? 1,
			text: { format: { type: 'text' }, ...body.text },
			reasoning: { effort: null, summary: null, ...body.reasoning },
			store: body.store ?? true,
			truncation: body.truncation ?? 'disabled',
			metadata: body.metadata ?? {},
		},
	};
}

export function responseId({ request }: TaskView): string {
	return `resp_${request.taskId}`;
}

export function statusOf({ state, finishReason }: TaskView): ResponseStatus {
	switch (state) {
		case 'admitting':
		case 'queued':
			return 'queued';
		case 'running':
			return 'in_progress';
		case 'done':
			return finishReason === 'length' ? 'incomplete' : 'completed';
		case 'canceled':
			return 'cancelled';
		case 'failed':
			return 'failed';
	}
}

/** As it stands now: its output is told once it has ended. */
export function responseJson(recipe: Recipe, task: TaskView, clock: Clock): object {
	return responseAt(recipe, task, clock, task.log.ended ? statusOf(task) : unended(task), task.failure);
}

/** Of a task whose end is not logged here yet. */
function unended(task: TaskView): ResponseStatus {
	return statusOf(task) === 'queued' ? 'queued' : 'in_progress';
}

/** With a status that a stream tells at its place, whatever has happened since. */
export function responseAt(
	{ echo, background }: Recipe,
	task: TaskView,
	clock: Clock,
	status: ResponseStatus,
	problem: Failure | null,
): object {
	const ended = status !== 'queued' && status !== 'in_progress';
	const createdAt = Math.floor(clock.wallOf(task.admittedAt) / 1000);
	return {
		id: responseId(task),
		object: 'response',
		created_at: createdAt,
		status,
		background,
		error: status === 'failed' && problem !== null ? { code: problem.code, message: problem.message } : null,
		incomplete_details: status === 'incomplete' ? { reason: 'max_output_tokens' } : null,
		...echo,
		...(ended ? outcome(task, status, knownTools(echo)) : { output: [], usage: null }),
	};
}

/** Of a recipe's `echo`. */
export function knownTools({ tools }: Fields): ToolTable['known'] {
	return toolTable(Array.isArray(tools) ? tools : []).known;
}

function outcome(task: TaskView, status: ResponseStatus, known: ToolTable['known']): object {
	const { segments, reasoningTokens } = answerOf(task.log);
	const { tokensIn, tokensOut, tokensCached } = task;
	return {
		output: outputItems(segments, task.request.taskId, status !== 'completed', known),
		usage: {
			input_tokens: tokensIn,
			input_tokens_details: { cached_tokens: Math.min(tokensCached ?? 0, tokensIn) },
			output_tokens: tokensOut,
			output_tokens_details: { reasoning_tokens: reasoningTokens },
			total_tokens: tokensIn + tokensOut,
		},
	};
}
