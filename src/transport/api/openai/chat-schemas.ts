/**
 * Bodies of the OpenAI paths, as TypeBox schemas: what is checked is what `/openapi.json` publishes. Fields that change an answer are named and
 * bounded; those that clients send and that change nothing are taken as they are; any other is refused by its name.
 */
import { type Static, Type } from '@sinclair/typebox';
import {
	chatMessageFields,
	ignoreEosSchema,
	logitBiasSchema,
	minTokensSchema,
	oneOf,
	seedMax,
	strict,
	taskBodySchema,
	templateArgsSchema,
	toolCallFields,
	toolName,
	toolsMax,
	toolsSchema,
} from '../schemas.ts';

const task = taskBodySchema.properties;
/** What clients of other APIs send and nothing here heeds. */
export const ignored = (description: string) => Type.Optional(Type.Unknown({ description: `${description}; it changes nothing here` }));
const tokens = (description: string) => Type.Optional(Type.Integer({ minimum: 1, maximum: 2_147_483_647, description }));

/** The most answers to one request. */
export const choicesMax = 64;
/** The most stop strings: those of a native task. OpenAI has 4, and editors send more. */
const stopsMax = 32;

const stopText = Type.String({ maxLength: 1024, secret: true });

/** Ours, beside the fields of the API. */
export const extensionSchema = strict(
	{
		priority: task.priority,
		deadline_ms: Type.Optional(
			Type.Number({ maximum: 2_147_483_647, description: 'The task must have ended so long after its admission' }),
		),
		session_id: task.session_id,
		tenant: task.tenant,
		engine: task.engine,
		ctx: task.ctx,
		determinism: task.determinism,
		sampler_profile_version: task.sampler_profile_version,
		expected_tokens: task.expected_tokens,
		kv_hint: task.kv_hint,
		placement: task.placement,
		output_mode: task.output_mode,
		on_disconnect: Type.Optional(oneOf(['detach', 'cancel'], 'What becomes of the task when its client leaves', 'cancel')),
	},
	'What this daemon can do beyond the API: fields of `POST /v2/tasks`',
);

const sampled = {
	model: task.model_ref,
	temperature: Type.Optional(Type.Number({ minimum: 0, maximum: 100, default: 1, description: '0 = always the likeliest token' })),
	top_p: Type.Optional(Type.Number({ minimum: 0, maximum: 1, default: 1, description: 'Nucleus sampling; 1 = off' })),
	top_k: Type.Optional(Type.Integer({ minimum: -1, maximum: 1_000_000, default: 0, description: 'Likeliest tokens kept; 0 = all' })),
	min_p: Type.Optional(Type.Number({ minimum: 0, maximum: 1, default: 0, description: 'Least probability beside the likeliest; 0 = off' })),
	repetition_penalty: Type.Optional(
		Type.Number({ exclusiveMinimum: 0, maximum: 100, default: 1, description: 'As vLLM calls it; 1 = off' }),
	),
	repeat_penalty: Type.Optional(
		Type.Number({ exclusiveMinimum: 0, maximum: 100, default: 1, description: 'As llama.cpp calls it; 1 = off' }),
	),
	presence_penalty: Type.Optional(Type.Number({ minimum: -100, maximum: 100, default: 0, description: '0 = off' })),
	frequency_penalty: Type.Optional(Type.Number({ minimum: -100, maximum: 100, default: 0, description: '0 = off' })),
	seed: Type.Optional(
		Type.Integer({
			minimum: Number.MIN_SAFE_INTEGER,
			maximum: Number.MAX_SAFE_INTEGER,
			description: `Of the random choices, modulo ${seedMax + 1}`,
		}),
	),
	stop: Type.Optional(
		Type.Union([stopText, Type.Array(stopText, { maxItems: stopsMax })], {
			secret: true,
			description: 'Texts that end the answer and are not part of it',
			allowed: `a text, or a list of at most ${stopsMax}`,
		}),
	),
	n: Type.Optional(Type.Integer({ minimum: 1, maximum: choicesMax, default: 1, description: 'Answers; each is a task of its own' })),
	logit_bias: Type.Optional(logitBiasSchema),
	ignore_eos: Type.Optional(ignoreEosSchema),
	min_tokens: Type.Optional(minTokensSchema),
	max_tokens: tokens('Most tokens of the answer'),
	stream: Type.Optional(Type.Boolean({ default: false, description: 'Answer by server-sent events' })),
	stream_options: Type.Optional(
		strict(
			{
				include_usage: Type.Optional(Type.Boolean()),
				include_obfuscation: Type.Optional(Type.Boolean()),
				continuous_usage_stats: Type.Optional(Type.Boolean()),
			},
			'include_usage: the last chunk tells the tokens; continuous_usage_stats beside it: each chunk tells those so far, as vLLM has it',
		),
	),
	orchestratord: Type.Optional(extensionSchema),
	user: ignored('Who asks'),
	metadata: ignored('Notes'),
	store: ignored('Whether it is kept'),
	service_tier: ignored('What is paid'),
	safety_identifier: ignored('Who asks'),
	prompt_cache_key: ignored('A hint for caches'),
	prompt_cache_retention: ignored('A hint for caches'),
};

/** Clients send back what they were answered, with fields of their own: what is not named changes nothing. */
const toolCall = Type.Object(
	{
		id: toolCallFields.id,
		type: Type.Optional(oneOf(['function', 'custom'], 'What is called', 'function')),
		function: Type.Optional(Type.Object(toolCallFields.function.properties, { additionalProperties: true, secret: true })),
		custom: Type.Optional(
			Type.Object(
				{ name: toolName('Of the tool'), input: Type.String({ secret: true, description: 'A text' }) },
				{ additionalProperties: true, secret: true },
			),
		),
	},
	{ additionalProperties: true, secret: true, description: 'A call of a tool, as it came from the model' },
);
const chatMessage = Type.Object(
	{
		...chatMessageFields,
		name: Type.Optional(Type.Union([Type.String({ maxLength: 64 }), Type.Null()], { allowed: 'a text of at most 64 characters' })),
		tool_call_id: Type.Optional(
			Type.Union([Type.String({ maxLength: 128 }), Type.Null()], { allowed: 'a text of at most 128 characters' }),
		),
		tool_calls: Type.Optional(
			Type.Union([Type.Array(toolCall, { maxItems: 128 }), Type.Null()], {
				secret: true,
				description: 'What an assistant called',
				allowed: 'a list of calls, each with id and function',
			}),
		),
	},
	{ additionalProperties: true, secret: true, description: 'One message of a conversation' },
);

/** Both kinds in one, so that what is wrong with one is said of its own field. */
const toolSchema = strict(
	{
		type: oneOf(['function', 'custom'], 'What it is'),
		function: Type.Optional(toolsSchema.items.properties.function),
		custom: Type.Optional(
			strict(
				{
					name: toolName('What it is called by'),
					description: Type.Optional(Type.String({ secret: true, description: 'What it does' })),
					format: Type.Optional(
						Type.Object(
							{ type: oneOf(['text', 'grammar'], 'Of its input') },
							{ additionalProperties: true, secret: true, description: 'A grammar is told to the model, and not kept to' },
						),
					),
				},
				'A tool whose input is a text',
			),
		),
	},
	'A tool',
);

const named = strict({ name: toolName('Of the tool') }, 'Which');
const allowedTool = strict(
	{ type: oneOf(['function', 'custom'], 'What it is'), function: Type.Optional(named), custom: Type.Optional(named) },
	'One of tools',
);
const choiceSchema = Type.Union(
	[
		oneOf(['auto', 'none', 'required'], 'Whether one is called'),
		strict({ type: Type.Literal('function'), function: named }, 'That tool'),
		strict({ type: Type.Literal('custom'), custom: named }, 'That tool'),
		strict(
			{
				type: Type.Literal('allowed_tools'),
				allowed_tools: strict(
					{
						mode: oneOf(['auto', 'required'], 'Whether one is called'),
						tools: Type.Array(allowedTool, { minItems: 1, maxItems: toolsMax }),
					},
					'The model is told of no others',
				),
			},
			'Some of tools',
		),
	],
	{
		description: 'auto: the model decides; required: one of them; or the one named, or some of them',
		allowed:
			'auto, none, required, {"type": "function", "function": {"name": …}}, {"type": "custom", "custom": {"name": …}} or {"type": "allowed_tools", "allowed_tools": {"mode": "auto" or "required", "tools": […]}}',
	},
);

export const chatBodySchema = strict(
	{
		...sampled,
		messages: Type.Array(chatMessage, { minItems: 1, maxItems: 4096, secret: true, description: 'Conversation to be completed' }),
		max_completion_tokens: tokens('Most tokens of the answer'),
		tools: Type.Optional(Type.Array(toolSchema, { maxItems: toolsMax, description: 'What the model may call' })),
		tool_choice: Type.Optional(choiceSchema),
		parallel_tool_calls: Type.Optional(Type.Boolean({ default: true, description: 'Whether several tools may be called at once' })),
		response_format: Type.Optional(
			Type.Union(
				[
					strict({ type: oneOf(['text', 'json_object'], 'The form') }, 'Text, or any JSON object'),
					strict(
						{
							type: oneOf(['json_schema'], 'The form'),
							json_schema: strict(
								{
									name: Type.Optional(Type.String({ maxLength: 256 })),
									description: Type.Optional(Type.String({ secret: true })),
									schema: Type.Object(
										{},
										{ additionalProperties: true, secret: true, description: 'JSON Schema that the answer must satisfy' },
									),
									strict: Type.Optional(Type.Union([Type.Boolean(), Type.Null()])),
								},
								'The schema',
							),
						},
						'JSON by a schema',
					),
				],
				{
					secret: true,
					description: 'Form of the answer',
					allowed: '{"type": "text"}, {"type": "json_object"} or {"type": "json_schema", "json_schema": {"schema": …}}',
				},
			),
		),
		logprobs: Type.Optional(Type.Boolean({ default: false, description: 'Adds the log-probability of each token' })),
		top_logprobs: Type.Optional(
			Type.Integer({ minimum: 0, maximum: 20, default: 0, description: 'The likeliest tokens beside each; only some engines' }),
		),
		reasoning_effort: Type.Optional(oneOf(['none', 'minimal', 'low', 'medium', 'high', 'xhigh'], "Given to the model's chat template")),
		chat_template_kwargs: Type.Optional(templateArgsSchema),
		modalities: Type.Optional(Type.Array(Type.Literal('text', { allowed: '"text"' }), { maxItems: 1, description: 'Only ["text"]' })),
		verbosity: Type.Optional(oneOf(['low', 'medium', 'high'], 'A hint: models here are not told')),
		prediction: ignored('What the answer may be like'),
	},
	'A chat, in the shape of OpenAI',
);
export type ChatBody = Static<typeof chatBodySchema>;

const promptText = Type.String({ secret: true });

export const completionBodySchema = strict(
	{
		...sampled,
		prompt: Type.Union([promptText, Type.Array(promptText, { minItems: 1, maxItems: choicesMax })], {
			secret: true,
			description: 'Given to the model as it is; a list of texts is as many answers',
			allowed: `a text, or a list of 1 to ${choicesMax} texts; lists of token ids are not taken`,
		}),
		max_tokens: Type.Optional(Type.Integer({ minimum: 1, maximum: 2_147_483_647, default: 16, description: 'Most tokens of the answer' })),
		logprobs: Type.Optional(
			Type.Integer({
				minimum: 0,
				maximum: 20,
				description: '0: the log-probability of each token; more: the likeliest beside it, only some engines',
			}),
		),
		echo: Type.Optional(Type.Boolean({ default: false, description: 'Puts the prompt before the answer' })),
		best_of: Type.Optional(Type.Integer({ minimum: 1, maximum: choicesMax, description: 'Only as many as n' })),
		suffix: Type.Optional(
			Type.Literal('', { description: 'Not available', secret: true, allowed: 'absent: no engine here fills in before a suffix' }),
		),
	},
	'A raw prompt, in the shape of OpenAI',
);
export type CompletionBody = Static<typeof completionBodySchema>;

const inputText = Type.String({ minLength: 1, secret: true });

export const embeddingsBodySchema = strict(
	{
		model: task.model_ref,
		input: Type.Union([inputText, Type.Array(inputText, { minItems: 1, maxItems: 2048 })], {
			secret: true,
			description: 'Texts to be embedded',
			allowed: 'a text that is not empty, or a list of 1 to 2048 of them; lists of token ids are not taken',
		}),
		encoding_format: Type.Optional(oneOf(['float', 'base64'], 'base64: 32-bit floats, little-endian', 'float')),
		dimensions: Type.Optional(
			Type.Integer({ minimum: 1, maximum: 65_536, description: 'The first so many numbers of each vector, brought to length 1 again' }),
		),
		user: ignored('Who asks'),
		orchestratord: Type.Optional(extensionSchema),
	},
	'Texts to be embedded, in the shape of OpenAI',
);
export type EmbeddingsBody = Static<typeof embeddingsBodySchema>;

const documents = Type.Array(
	Type.Union([inputText, strict({ text: inputText }, 'A document', { secret: true })], { secret: true, allowed: 'a text, or {"text": …}' }),
	{
		minItems: 1,
		maxItems: 2048,
		secret: true,
		description: 'Texts to be ranked',
	},
);

export const rerankBodySchema = strict(
	{
		model: task.model_ref,
		query: inputText,
		documents,
		top_n: Type.Optional(Type.Integer({ minimum: 1, maximum: 2048, description: 'The best so many. Default: all' })),
		return_documents: Type.Optional(Type.Boolean({ default: true, description: 'Whether their texts are repeated' })),
		user: ignored('Who asks'),
		orchestratord: Type.Optional(extensionSchema),
	},
	'Texts to be ranked by their fit to a query, in the shape of Jina and Cohere',
);
export type RerankBody = Static<typeof rerankBodySchema>;
export type Extension = Static<typeof extensionSchema>;
