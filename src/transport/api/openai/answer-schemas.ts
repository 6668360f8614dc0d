/** What the OpenAI paths answer, as far as clients rely on it, for `/openapi.json` and the tests that check answers against it. No behaviour. */
import { type TSchema, Type } from '@sinclair/typebox';
import { failureCodes } from '../../../actors/serving/failure.ts';
import { oneOf } from '../schemas.ts';

const text = Type.String();
const count = Type.Integer({ minimum: 0 });
const nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);

const usage = Type.Object({
	prompt_tokens: count,
	completion_tokens: count,
	total_tokens: count,
	prompt_tokens_details: Type.Object({ cached_tokens: count }),
	completion_tokens_details: Type.Object({ reasoning_tokens: count }),
});
const finishReason = oneOf(['stop', 'length', 'tool_calls'], 'Why it ended');
const toolCall = Type.Union([
	Type.Object({
		id: text,
		type: oneOf(['function'], 'What is called'),
		function: Type.Object({ name: text, arguments: Type.String({ description: 'JSON, as the model wrote it' }) }),
	}),
	Type.Object({
		id: text,
		type: oneOf(['custom'], 'What is called'),
		custom: Type.Object({ name: text, input: Type.String({ description: 'A text' }) }),
	}),
]);
const identity = { id: text, created: count, model: text, system_fingerprint: Type.Optional(text) };

const scoredToken = { token: text, logprob: Type.Number(), bytes: Type.Array(count) };

export const chatAnswerSchema = Type.Object({
	...identity,
	object: oneOf(['chat.completion'], 'What it is'),
	choices: Type.Array(
		Type.Object({
			index: count,
			message: Type.Object({
				role: oneOf(['assistant'], 'Who speaks'),
				content: nullable(text),
				refusal: Type.Null(),
				reasoning_content: Type.Optional(text),
				tool_calls: Type.Optional(Type.Array(toolCall)),
			}),
			logprobs: nullable(
				Type.Object({
					content: Type.Array(Type.Object({ ...scoredToken, top_logprobs: Type.Array(Type.Object(scoredToken)) })),
					refusal: Type.Null(),
				}),
			),
			finish_reason: finishReason,
		}),
	),
	usage,
});

export const completionAnswerSchema = Type.Object({
	...identity,
	object: oneOf(['text_completion'], 'What it is'),
	choices: Type.Array(
		Type.Object({
			index: count,
			text,
			logprobs: nullable(
				Type.Object({
					tokens: Type.Array(text),
					token_logprobs: Type.Array(Type.Number()),
					top_logprobs: nullable(Type.Array(Type.Record(Type.String(), Type.Number()))),
					text_offset: Type.Array(count),
				}),
			),
			finish_reason: finishReason,
		}),
	),
	usage,
});

const inputUsage = Type.Object({ prompt_tokens: count, total_tokens: count });

export const embeddingsAnswerSchema = Type.Object({
	object: oneOf(['list'], 'What it is'),
	model: text,
	data: Type.Array(
		Type.Object({ object: oneOf(['embedding'], 'What it is'), index: count, embedding: Type.Union([Type.Array(Type.Number()), text]) }),
	),
	usage: inputUsage,
});

export const rerankAnswerSchema = Type.Object({
	id: text,
	object: oneOf(['list'], 'What it is'),
	model: text,
	results: Type.Array(Type.Object({ index: count, relevance_score: Type.Number(), document: Type.Optional(Type.Object({ text })) })),
	usage: inputUsage,
});

export const modelSchema = Type.Object({
	id: text,
	object: oneOf(['model'], 'What it is'),
	created: count,
	owned_by: text,
	max_model_len: Type.Optional(count),
	orchestratord: Type.Object({
		context_length: nullable(count),
		max_tokens_out: count,
		ready: Type.Boolean(),
		state: Type.String(),
		pools: Type.Array(text),
		engines: Type.Array(text),
		workloads: Type.Array(text),
		features: Type.Array(text),
		alias_of: Type.Array(text),
	}),
});
const anthropicModel = Type.Object(
	{
		type: oneOf(['model'], 'What it is'),
		id: text,
		display_name: text,
		created_at: text,
		max_input_tokens: nullable(count),
		max_tokens: count,
	},
	{ additionalProperties: true, description: 'For clients that send anthropic-version' },
);
export const eitherModelSchema = Type.Union([modelSchema, anthropicModel]);
export const modelListSchema = Type.Union([
	Type.Object({ object: oneOf(['list'], 'What it is'), data: Type.Array(modelSchema) }),
	Type.Object({ data: Type.Array(anthropicModel), has_more: Type.Boolean(), first_id: nullable(text), last_id: nullable(text) }),
]);

export const openaiErrorSchema = Type.Object({
	error: Type.Object({
		message: text,
		type: text,
		code: oneOf(failureCodes, 'What went wrong'),
		param: nullable(text),
		engine: Type.Optional(text),
		pool_id: Type.Optional(text),
		retriable: Type.Boolean(),
		retry_after_ms: Type.Optional(count),
		policy_label: Type.Optional(text),
		correlation_id: text,
	}),
});
