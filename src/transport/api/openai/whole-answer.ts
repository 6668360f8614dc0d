/** Answers of the completions paths that are given whole, put together from the logs of their tasks. On the front thread. */
import type { TaskView } from '../../../actors/serving/task-directory.ts';
import { answerOf } from '../answer.ts';
import { type AnswerContext, identityOf, UsageCount } from './answer-context.ts';
import { toldCall } from './chat-tools.ts';
import { chatLogprobs, completionLogprobs } from './logprobs.ts';

/** All tasks have ended well. */
export function wholeChat(context: AnswerContext): object {
	const usage = new UsageCount(context);
	const { custom } = context.request;
	const choices = context.tasks.map((task, index) => {
		const { text, reasoning, toolCalls, logprobs, reasoningTokens } = answerOf(task.log);
		count(usage, index, task, reasoningTokens);
		return {
			index,
			message: {
				role: 'assistant',
				content: text === '' && toolCalls.length > 0 ? null : text,
				refusal: null,
				...(reasoning === '' ? {} : { reasoning_content: reasoning }),
				...(toolCalls.length === 0
					? {}
					: { tool_calls: toolCalls.map((call) => toldCall(call.id, call.function.name, call.function.arguments, custom)) }),
			},
			logprobs: context.request.logprobs ? chatLogprobs(logprobs) : null,
			finish_reason: task.finishReason,
		};
	});
	const { id, ...rest } = identityOf(context, 'chatcmpl');
	return { id, object: 'chat.completion', ...rest, choices, usage: usage.json() };
}

export function wholeCompletion(context: AnswerContext): object {
	const usage = new UsageCount(context);
	const { echo, n, logprobs: wanted } = context.request;
	const choices = context.tasks.map((task, index) => {
		const { text, logprobs, reasoningTokens } = answerOf(task.log);
		count(usage, index, task, reasoningTokens);
		return {
			index,
			text: echo === null ? text : `${echo[Math.floor(index / n)] ?? ''}${text}`,
			logprobs: wanted ? completionLogprobs(logprobs, 0) : null,
			finish_reason: task.finishReason,
		};
	});
	const { id, ...rest } = identityOf(context, 'cmpl');
	return { id, object: 'text_completion', ...rest, choices, usage: usage.json() };
}

function count(usage: UsageCount, choice: number, { tokensIn, tokensOut }: TaskView, reasoningTokens: number): void {
	usage.reasoning += reasoningTokens;
	usage.add(choice, { tokens_in: tokensIn, tokens_out: tokensOut });
}
