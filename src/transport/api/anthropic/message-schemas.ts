/**
 * Bodies of the Anthropic paths, as TypeBox schemas: what is checked is what `/openapi.json` publishes. Fields that change an answer are named and
 * bounded; those that clients send and that change nothing are taken as they are; any other is refused by its name.
 */
import { type Static, Type } from '@sinclair/typebox';
import { extensionSchema, ignored } from '../openai/chat-schemas.ts';
import { jsonSchemaObject, oneOf, strict, taskBodySchema, toolName, toolsMax } from '../schemas.ts';

const task = taskBodySchema.properties;
const said = Type.String({ secret: true, allowed: 'a text' });

/** What a type of block has beside its type is looked at where it is read. */
const block = Type.Object(
	{ type: Type.String({ minLength: 1, maxLength: 64 }) },
	{ additionalProperties: true, secret: true, description: 'text, image, tool_use, tool_result, thinking' },
);

const message = strict(
	{
		role: oneOf(['user', 'assistant', 'system'], 'Who speaks'),
		content: Type.Union([said, Type.Array(block, { maxItems: 4096 })], {
			secret: true,
			description: 'What is said: a text, or blocks',
			allowed: 'a text or a list of blocks',
		}),
	},
	'A message of a conversation',
	{ secret: true },
);

export const toolSchema = Type.Object(
	{
		type: Type.Optional(
			Type.Union([Type.Literal('custom'), Type.Null()], { allowed: 'custom: tools that Anthropic runs or defines are not known here' }),
		),
		name: toolName('What it is called by'),
		description: Type.Optional(said),
		input_schema: jsonSchemaObject('JSON Schema of its input'),
		strict: Type.Optional(Type.Union([Type.Boolean(), Type.Null()], { allowed: 'true, false or null' })),
	},
	{
		additionalProperties: true,
		description: 'A tool of the client. Those that Anthropic runs (web_search_…, code_execution_…) are left out where there are others',
	},
);

const toolChoice = Type.Union(
	[
		strict(
			{ type: oneOf(['auto', 'any'], 'Whether one is called'), disable_parallel_tool_use: Type.Optional(Type.Boolean()) },
			'As the model likes, or one of them',
		),
		strict(
			{ type: oneOf(['tool'], 'That one'), name: toolName('Which'), disable_parallel_tool_use: Type.Optional(Type.Boolean()) },
			'That tool',
		),
		strict({ type: oneOf(['none'], 'None') }, 'No tool'),
	],
	{
		description: 'Whether a tool is called',
		allowed: '{"type": "auto"}, {"type": "any"}, {"type": "none"} or {"type": "tool", "name": …}',
	},
);

const thinking = Type.Object(
	{
		type: oneOf(['enabled', 'disabled', 'adaptive'], 'Whether the model thinks first, where it can'),
		budget_tokens: Type.Optional(Type.Integer({ minimum: 1, maximum: 2_147_483_647, description: 'A hint; max_tokens is what holds' })),
		display: Type.Optional(
			Type.Union([Type.Literal('summarized'), Type.Literal('omitted'), Type.Null()], { allowed: 'summarized, omitted or null' }),
		),
	},
	{ additionalProperties: true, description: 'Thoughts are told only where they are asked for' },
);

const format = strict(
	{ type: oneOf(['json_schema'], 'The form'), schema: jsonSchemaObject('JSON Schema that the answer must satisfy') },
	'JSON by a schema',
);

const contextEdit = Type.Object(
	{ type: Type.String({ pattern: '^clear_thinking_', allowed: 'clear_thinking_…: no other edit is made here' }) },
	{ additionalProperties: true },
);

const none = (description: string) =>
	Type.Optional(Type.Array(Type.Unknown(), { maxItems: 0, description, allowed: 'absent or empty: it is not available here' }));

/** What decides on the prompt: also all of it that `count_tokens` looks at. */
const prompt = {
	model: task.model_ref,
	messages: Type.Array(message, { minItems: 1, maxItems: 4096, secret: true, description: 'Conversation to be completed' }),
	system: Type.Optional(
		Type.Union([said, Type.Array(block, { maxItems: 256 })], {
			secret: true,
			description: 'What the model is told before all',
			allowed: 'a text or a list of blocks of type text',
		}),
	),
	tools: Type.Optional(Type.Array(toolSchema, { maxItems: toolsMax, description: 'What the model may call' })),
	tool_choice: Type.Optional(toolChoice),
	thinking: Type.Optional(thinking),
	output_config: Type.Optional(
		strict(
			{
				effort: Type.Optional(
					Type.Union([oneOf(['low', 'medium', 'high', 'xhigh', 'max'], "Given to the model's chat template"), Type.Null()], {
						allowed: 'low, medium, high, xhigh, max or null',
					}),
				),
				task_budget: ignored('What the model is to make of a whole task'),
				format: Type.Optional(Type.Union([format, Type.Null()], { secret: true, allowed: '{"type": "json_schema", "schema": …} or null' })),
			},
			'How the answer is to be',
		),
	),
	output_format: Type.Optional(format),
	context_management: Type.Optional(
		strict(
			{ edits: Type.Optional(Type.Array(contextEdit, { maxItems: 16 })) },
			'Thoughts of earlier turns are never sent to the model again; nothing else is edited',
		),
	),
	mcp_servers: none('Servers that Anthropic would ask'),
	cache_control: ignored('Prefixes of prompts are cached by themselves'),
	speed: ignored('What is paid'),
	betas: ignored('Features of betas are taken by their fields'),
	orchestratord: Type.Optional(extensionSchema),
};

export const messagesBodySchema = strict(
	{
		...prompt,
		max_tokens: Type.Integer({
			minimum: 1,
			maximum: 2_147_483_647,
			description: 'Most tokens of the answer; fewer, where the pool or the context has room for fewer',
		}),
		stop_sequences: Type.Optional(
			Type.Array(Type.String({ minLength: 1, maxLength: 1024, secret: true, allowed: 'a text of 1 to 1024 characters' }), {
				maxItems: 32,
				secret: true,
				description: 'Texts that end the answer and are not part of it',
			}),
		),
		temperature: Type.Optional(Type.Number({ minimum: 0, maximum: 100, default: 1, description: '0 = always the likeliest token' })),
		top_p: Type.Optional(Type.Number({ minimum: 0, maximum: 1, default: 1, description: 'Nucleus sampling; 1 = off' })),
		top_k: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000, default: 0, description: 'Likeliest tokens kept; 0 = all' })),
		stream: Type.Optional(Type.Boolean({ default: false, description: 'Answer by server-sent events' })),
		metadata: ignored('Who asks'),
		service_tier: ignored('What is paid'),
		inference_geo: ignored('Where it is computed'),
		user_profile_id: ignored('Who asks'),
		workspace_id: ignored('Who asks'),
		diagnostics: ignored('Notes on caches'),
		billing_policy: ignored('What is paid'),
	},
	'A conversation to be completed, in the shape of Anthropic',
);
export type MessagesBody = Static<typeof messagesBodySchema>;

export const countTokensBodySchema = strict(prompt, 'A conversation to be counted, in the shape of Anthropic');
export type CountTokensBody = Static<typeof countTokensBodySchema>;
export type MessageBody = MessagesBody['messages'][number];

const count = Type.Integer({ minimum: 0 });
const text = Type.String();

export const messageAnswerSchema = Type.Object({
	id: text,
	type: oneOf(['message'], 'What it is'),
	role: oneOf(['assistant'], 'Who speaks'),
	model: text,
	content: Type.Array(
		Type.Union([
			Type.Object({ type: oneOf(['text'], 'What it is'), text }),
			Type.Object({ type: oneOf(['thinking'], 'What it is'), thinking: text, signature: text }),
			Type.Object({
				type: oneOf(['tool_use'], 'What it is'),
				id: text,
				name: text,
				input: Type.Object({}, { additionalProperties: true }),
			}),
		]),
	),
	stop_reason: oneOf(['end_turn', 'max_tokens', 'stop_sequence', 'tool_use'], 'Why it ended'),
	stop_sequence: Type.Union([text, Type.Null()]),
	usage: Type.Object({
		input_tokens: count,
		output_tokens: count,
		cache_read_input_tokens: count,
		cache_creation_input_tokens: count,
	}),
});

export const countTokensAnswerSchema = Type.Object({ input_tokens: count });
