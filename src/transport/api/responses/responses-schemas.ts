/**
 * Bodies of `/v1/responses` and what it answers, as TypeBox schemas: what is checked is what `/openapi.json` publishes. Fields that change an answer are
 * named and bounded; those that clients send and that change nothing are taken; any other is refused by its name.
 */
import { type Static, Type } from '@sinclair/typebox';
import { extensionSchema, ignored } from '../openai/chat-schemas.ts';
import type { QueryFields } from '../query.ts';
import { jsonSchemaObject, oneOf, strict, taskBodySchema, toolName, toolsMax } from '../schemas.ts';

const task = taskBodySchema.properties;
const said = Type.String({ secret: true, allowed: 'a text' });
const nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T, allowed: string) =>
	Type.Union([schema, Type.Null()], { allowed, secret: true });

/** What a type of item has beside its type is looked at where it is read. */
const item = Type.Object(
	{ type: Type.Optional(Type.String({ minLength: 1, maxLength: 64 })) },
	{
		additionalProperties: true,
		secret: true,
		description: 'message, function_call, function_call_output, custom_tool_call, custom_tool_call_output, reasoning',
	},
);

const functionFields = {
	name: toolName('What it is called by'),
	description: Type.Optional(nullable(said, 'a text')),
	parameters: Type.Optional(nullable(jsonSchemaObject('JSON Schema of the arguments of a function'), 'a JSON Schema')),
	strict: Type.Optional(Type.Union([Type.Boolean(), Type.Null()], { allowed: 'true, false or null' })),
	format: Type.Optional(Type.Object({}, { additionalProperties: true, secret: true, description: 'Of a custom tool: told to the model' })),
};
const tool = Type.Object(
	{
		type: oneOf(['function', 'custom', 'namespace'], 'Tools of the client; those that OpenAI runs are left out where there are others'),
		...functionFields,
		tools: Type.Optional(
			Type.Array(
				Type.Object(
					{ type: oneOf(['function', 'custom'], 'What it is'), ...functionFields },
					{ additionalProperties: true, description: 'A tool of the namespace' },
				),
				{ maxItems: toolsMax, description: 'Of a namespace' },
			),
		),
	},
	{ additionalProperties: true, description: 'A function, a tool whose input is a text (`custom`), or a `namespace` of them' },
);

const format = Type.Union(
	[
		strict({ type: oneOf(['text', 'json_object'], 'The form') }, 'Text, or any JSON object'),
		strict(
			{
				type: oneOf(['json_schema'], 'The form'),
				name: Type.Optional(Type.String({ maxLength: 256 })),
				description: Type.Optional(said),
				schema: jsonSchemaObject('JSON Schema that the answer must satisfy'),
				strict: Type.Optional(Type.Union([Type.Boolean(), Type.Null()])),
			},
			'JSON by a schema',
		),
	],
	{ secret: true, allowed: '{"type": "text"}, {"type": "json_object"} or {"type": "json_schema", "name": …, "schema": …}' },
);

export const responseIdShape = /^resp_([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$/;

export const responsesBodySchema = strict(
	{
		model: task.model_ref,
		input: Type.Union([said, Type.Array(item, { maxItems: 4096 })], {
			secret: true,
			description: 'What is said: a text of the user, or items',
			allowed: 'a text or a list of items',
		}),
		instructions: Type.Optional(said),
		previous_response_id: Type.Optional(
			Type.String({ pattern: responseIdShape.source, description: 'What was said there goes before', allowed: 'the id of a response' }),
		),
		tools: Type.Optional(Type.Array(tool, { maxItems: toolsMax, description: 'What the model may call' })),
		tool_choice: Type.Optional(
			Type.Union(
				[
					oneOf(['auto', 'none', 'required'], 'Whether one is called'),
					strict({ type: oneOf(['function', 'custom'], 'What it is'), name: toolName('Which') }, 'That tool'),
				],
				{ description: 'Whether a tool is called', allowed: 'auto, none, required, or {"type": "function", "name": …}' },
			),
		),
		parallel_tool_calls: Type.Optional(Type.Boolean({ default: true, description: 'Whether several tools may be called at once' })),
		max_output_tokens: Type.Optional(Type.Integer({ minimum: 1, maximum: 2_147_483_647, description: 'Most tokens of the answer' })),
		temperature: Type.Optional(Type.Number({ minimum: 0, maximum: 100, default: 1, description: '0 = always the likeliest token' })),
		top_p: Type.Optional(Type.Number({ minimum: 0, maximum: 1, default: 1, description: 'Nucleus sampling; 1 = off' })),
		text: Type.Optional(
			strict(
				{
					format: Type.Optional(format),
					verbosity: Type.Optional(nullable(oneOf(['low', 'medium', 'high'], 'A hint'), 'low, medium, high or null')),
				},
				'Form of the answer',
			),
		),
		reasoning: Type.Optional(
			Type.Object(
				{
					effort: Type.Optional(
						nullable(
							oneOf(['none', 'minimal', 'low', 'medium', 'high', 'xhigh'], "Given to the model's chat template"),
							'an effort or null',
						),
					),
				},
				{ additionalProperties: true, description: 'Thoughts are told as they are, never summed up' },
			),
		),
		stream: Type.Optional(Type.Boolean({ default: false, description: 'Answer by server-sent events' })),
		background: Type.Optional(
			Type.Boolean({ default: false, description: 'Answer at once, and go on whether or not anyone is there; needs store' }),
		),
		store: Type.Optional(
			Type.Boolean({ default: true, description: 'Keep it in memory, as long as its task is kept and while there is room (`responses`)' }),
		),
		truncation: Type.Optional(oneOf(['disabled', 'auto'], 'Nothing is cut from an input: one that is too long is refused')),
		metadata: Type.Optional(
			Type.Record(Type.String({ maxLength: 64 }), Type.String({ maxLength: 512 }), {
				maxProperties: 16,
				description: 'Notes of the client',
				allowed: 'an object of at most 16 texts of at most 512 characters',
			}),
		),
		include: Type.Optional(
			Type.Array(
				oneOf(
					[
						'reasoning.encrypted_content',
						'file_search_call.results',
						'web_search_call.results',
						'web_search_call.action.sources',
						'message.input_image.image_url',
						'computer_call_output.output.image_url',
						'code_interpreter_call.outputs',
					],
					'None of it is there; log-probabilities are told by /v1/chat/completions',
				),
				{ maxItems: 16 },
			),
		),
		stream_options: ignored('How a stream is padded'),
		user: ignored('Who asks'),
		service_tier: ignored('What is paid'),
		safety_identifier: ignored('Who asks'),
		prompt_cache_key: ignored('A hint for caches'),
		prompt_cache_retention: ignored('A hint for caches'),
		client_metadata: ignored('Notes'),
		max_tool_calls: ignored('Of tools that others run'),
		orchestratord: Type.Optional(extensionSchema),
	},
	'A response to be made, in the shape of OpenAI',
);
export type ResponsesBody = Static<typeof responsesBodySchema>;

export const retrieveQuery = {
	stream: { kind: 'flag', description: 'Its events from the first one on, and those that follow' },
	starting_after: { kind: 'text', maxLength: 12, description: 'Only events behind the one of this sequence_number' },
	include_obfuscation: { kind: 'flag', description: 'Changes nothing' },
} as const satisfies QueryFields;

export const inputItemsQuery = {
	limit: { kind: 'integer', minimum: 1, maximum: 100, default: 20, description: 'Most items in one answer' },
	order: { kind: 'one-of', values: ['asc', 'desc'], description: 'Default: desc, the last one first' },
	after: { kind: 'text', maxLength: 128, description: 'Only those behind the item of this id' },
} as const satisfies QueryFields;

const text = Type.String();
const count = Type.Integer({ minimum: 0 });
const orNull = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) => Type.Union([schema, Type.Null()]);
const anyItem = Type.Object({ id: text, type: text }, { additionalProperties: true });

export const responseSchema = Type.Object(
	{
		id: text,
		object: oneOf(['response'], 'What it is'),
		created_at: count,
		status: oneOf(['queued', 'in_progress', 'completed', 'incomplete', 'failed', 'cancelled'], 'How far it is'),
		background: Type.Boolean(),
		error: orNull(Type.Object({ code: text, message: text })),
		incomplete_details: orNull(Type.Object({ reason: text })),
		model: text,
		output: Type.Array(anyItem),
		usage: orNull(
			Type.Object({
				input_tokens: count,
				input_tokens_details: Type.Object({ cached_tokens: count }),
				output_tokens: count,
				output_tokens_details: Type.Object({ reasoning_tokens: count }),
				total_tokens: count,
			}),
		),
	},
	{ additionalProperties: true },
);
export const responseDeletedSchema = Type.Object({ id: text, object: oneOf(['response'], 'What it is'), deleted: Type.Literal(true) });
export const inputItemsSchema = Type.Object({
	object: oneOf(['list'], 'What it is'),
	data: Type.Array(anyItem),
	first_id: orNull(text),
	last_id: orNull(text),
	has_more: Type.Boolean(),
});
