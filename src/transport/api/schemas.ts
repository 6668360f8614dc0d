/**
 * The shapes of request bodies, as TypeBox schemas: what the validator checks is what `/openapi.json` publishes. No
 * behaviour. Keywords of ours: `allowed` (what is allowed, in words) and `secret` (the value is never repeated).
 */
import { type Static, type TSchema, Type } from '@sinclair/typebox';
import { engineKinds } from '../../actors/serving/failure.ts';

/** 2³¹ − 1: above it a timer would fire at once. */
const msMax = 2_147_483_647;
const tokensMax = 2_147_483_647;
/** 2³² − 2: the largest that every engine takes. */
export const seedMax = 4_294_967_294;
/** The most tools of a request: clients with many servers of tools have hundreds. */
export const toolsMax = 512;
/** How deep a JSON schema may be nested. */
export const jsonDepthMax = 64;

export const uuidPattern = '^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$';

export function oneOf<const T extends readonly string[]>(values: T, description: string, defaultValue?: T[number]) {
	return Type.Unsafe<T[number]>(
		Type.String({
			enum: [...values],
			pattern: `^(?:${values.join('|')})$`,
			description,
			...(defaultValue === undefined ? {} : { default: defaultValue }),
		}),
	);
}

function text(maxLength: number, description: string) {
	return Type.String({ minLength: 1, maxLength, description, allowed: `a text of 1 to ${maxLength} characters` });
}

/** A text of the user's: bounded by the body alone, never repeated in an answer or a log. */
function content(description: string, minLength = 1) {
	return Type.String({
		minLength,
		description,
		secret: true,
		allowed: minLength > 0 ? 'a text that is not empty' : 'a text',
	});
}

function uuid(description: string) {
	return Type.String({ pattern: uuidPattern, description, allowed: 'a UUID such as 01890a5d-ac96-774b-bcce-b302099a8057' });
}

function count(maximum: number, description: string, minimum = 1) {
	return Type.Integer({ minimum, maximum, description });
}

export function strict<T extends Record<string, TSchema>>(properties: T, description: string, more: { readonly secret?: boolean } = {}) {
	return Type.Object(properties, { additionalProperties: false, description, ...more });
}

const poolIds = (description: string) => Type.Array(text(64, 'Id of a pool'), { maxItems: 64, description });

/** Any JSON Schema: never repeated, never looked into. */
export const jsonSchemaObject = (description: string) => Type.Object({}, { additionalProperties: true, secret: true, description });

/** Passed on to engines that take more than text; others refuse it. */
const contentPart = Type.Object(
	{ type: text(32, '`text`, `image_url`, …'), text: Type.Optional(content('What is said', 0)) },
	{ additionalProperties: true, secret: true, description: 'A part of what is said' },
);

export const toolName = (description: string) =>
	Type.String({
		pattern: '^[a-zA-Z0-9_.-]{1,64}$',
		description,
		allowed: 'a name of 1 to 64 letters, digits, _, . and -',
	});

export const toolCallFields = {
	id: text(128, 'Of the call'),
	type: Type.Optional(oneOf(['function'], 'What is called', 'function')),
	function: strict({ name: toolName('Of the tool'), arguments: content('JSON, as the model wrote it', 0) }, 'The call'),
};

const toolCall = strict(toolCallFields, 'A call of a tool, as it came from the model', { secret: true });

export const chatMessageFields = {
	role: oneOf(['system', 'developer', 'user', 'assistant', 'tool'], 'Who speaks'),
	content: Type.Optional(
		Type.Union([content('What is said', 0), Type.Array(contentPart, { maxItems: 256 }), Type.Null()], {
			secret: true,
			description: 'What is said: a text, or its parts',
			allowed: 'a text, a list of parts, or null beside tool_calls',
		}),
	),
	name: Type.Optional(text(64, 'Which of several speakers of that role')),
	tool_calls: Type.Optional(Type.Array(toolCall, { maxItems: 128, description: 'What an assistant called' })),
	tool_call_id: Type.Optional(text(128, 'The call that a tool answers')),
};

const chatMessage = strict(chatMessageFields, 'One message of a conversation', { secret: true });

export const toolsSchema = Type.Array(
	strict(
		{
			type: oneOf(['function'], 'What it is'),
			function: strict(
				{
					name: toolName('What it is called by'),
					description: Type.Optional(content('What it does', 0)),
					parameters: Type.Optional(jsonSchemaObject('JSON Schema of its arguments')),
					strict: Type.Optional(Type.Union([Type.Boolean(), Type.Null()], { description: 'A hint', allowed: 'true, false or null' })),
				},
				'The function',
			),
		},
		'A tool',
	),
	{ minItems: 1, maxItems: toolsMax, description: 'What the model may call' },
);

export const toolChoiceSchema = Type.Union(
	[
		oneOf(['auto', 'none', 'required'], 'Whether one is called'),
		strict({ type: oneOf(['function'], 'What it is'), function: strict({ name: toolName('Of the tool') }, 'Which') }, 'That tool'),
	],
	{
		description: 'auto: the model decides; required: one of them; or the one named',
		allowed: 'auto, none, required, or {"type": "function", "function": {"name": …}}',
	},
);

export const logitBiasSchema = Type.Record(Type.String({ pattern: '^[0-9]{1,10}$' }), Type.Number({ minimum: -100, maximum: 100 }), {
	additionalProperties: false,
	maxProperties: 1024,
	description: 'Added to the logits of tokens, by their ids',
	allowed: 'an object from token ids to numbers from -100 to 100',
});

export const ignoreEosSchema = Type.Boolean({
	default: false,
	description: 'Goes on behind what ends a text, to max_tokens or a stop string; only some engines',
});
export const minTokensSchema = Type.Integer({
	minimum: 0,
	maximum: tokensMax,
	default: 0,
	description: 'Nothing but a stop string ends the text before so many tokens; only some engines',
});

export const templateArgsSchema = Type.Object(
	{},
	{
		additionalProperties: true,
		maxProperties: 32,
		description: "Further variables of the model's chat template, such as reasoning_effort and enable_thinking",
	},
);

const sampling = strict(
	{
		temperature: Type.Optional(Type.Number({ minimum: 0, maximum: 100, default: 0.8, description: '0 = always the likeliest token' })),
		top_p: Type.Optional(Type.Number({ minimum: 0, maximum: 1, default: 0.95, description: 'Nucleus sampling; 1 = off' })),
		top_k: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000, default: 40, description: 'Likeliest tokens kept; 0 = all' })),
		min_p: Type.Optional(
			Type.Number({ minimum: 0, maximum: 1, default: 0, description: 'Least probability beside the likeliest; 0 = off' }),
		),
		repeat_penalty: Type.Optional(
			Type.Number({ exclusiveMinimum: 0, maximum: 100, default: 1, description: 'Divides the logits of recent tokens; 1 = off' }),
		),
		presence_penalty: Type.Optional(
			Type.Number({ minimum: -100, maximum: 100, default: 0, description: 'Taken from tokens that occurred; 0 = off' }),
		),
		frequency_penalty: Type.Optional(
			Type.Number({ minimum: -100, maximum: 100, default: 0, description: 'Taken from tokens for each time they occurred; 0 = off' }),
		),
		stop: Type.Optional(
			Type.Array(Type.String({ minLength: 1, maxLength: 1024, secret: true, allowed: 'a text of 1 to 1024 characters' }), {
				maxItems: 32,
				default: [],
				secret: true,
				description: 'Texts that end the answer and are not part of it',
			}),
		),
		logprobs: Type.Optional(
			Type.Boolean({ default: false, description: 'Adds the id and log-probability (natural logarithm) of each token' }),
		),
		top_logprobs: Type.Optional(
			Type.Integer({ minimum: 0, maximum: 20, default: 0, description: 'The likeliest tokens beside each; only some engines' }),
		),
		logit_bias: Type.Optional(logitBiasSchema),
		ignore_eos: Type.Optional(ignoreEosSchema),
		min_tokens: Type.Optional(minTokensSchema),
		json_object: Type.Optional(Type.Boolean({ default: false, description: 'The answer must be a JSON object' })),
		json_schema: Type.Optional(jsonSchemaObject('JSON Schema that the answer must satisfy')),
		grammar: Type.Optional(
			Type.String({
				minLength: 1,
				maxLength: 262_144,
				secret: true,
				description: 'GBNF grammar of the answer',
				allowed: 'a GBNF grammar of at most 262144 characters',
			}),
		),
	},
	'How tokens are chosen',
);

const placement = strict(
	{
		mode: Type.Optional(oneOf(['pin', 'prefer', 'auto'], 'How binding the pools named here are', 'auto')),
		pin_pool_id: Type.Optional(text(64, 'The only pool that may serve the task')),
		prefer_pools: Type.Optional(poolIds('Pools to be tried first')),
		avoid_pools: Type.Optional(poolIds('Pools that may not serve the task')),
		require_device_mask: Type.Optional(
			Type.Array(Type.Integer({ minimum: 0, maximum: 255 }), { minItems: 1, maxItems: 256, description: 'Devices the pool must have' }),
		),
		allow_fallback: Type.Optional(
			Type.Boolean({ default: true, description: 'Whether another pool may serve when none of prefer_pools can' }),
		),
	},
	'Which pools may serve the task',
);

export const taskBodySchema = strict(
	{
		task_id: Type.Optional(uuid('Id of the task; the same id with the same body is the same task. Default: a new UUIDv7')),
		session_id: Type.Optional(uuid('Conversation the task belongs to')),
		workload: Type.Optional(oneOf(['completion', 'embedding', 'rerank'], 'What is wanted of the model', 'completion')),
		model_ref: Type.String({
			minLength: 1,
			maxLength: 1024,
			description: 'Alias or name of the model, as /v2/pools lists them',
			allowed: 'the name or alias of a model',
		}),
		engine: Type.Optional(oneOf(engineKinds, 'Only pools with this engine')),
		ctx: Type.Optional(count(tokensMax, 'Tokens that prompt and answer may need together; above the limit is an error')),
		priority: Type.Optional(oneOf(['interactive', 'batch'], 'Class in the queue', 'interactive')),
		tenant: Type.Optional(text(64, 'Whom the queue is fair to')),
		prompt: Type.Optional(content('Prompt of a completion')),
		messages: Type.Optional(
			Type.Array(chatMessage, { minItems: 1, maxItems: 4096, secret: true, description: 'Conversation to be completed' }),
		),
		tools: Type.Optional(toolsSchema),
		tool_choice: Type.Optional(toolChoiceSchema),
		parallel_tool_calls: Type.Optional(Type.Boolean({ default: true, description: 'Whether several tools may be called at once' })),
		template_args: Type.Optional(templateArgsSchema),
		inputs: Type.Optional(
			Type.Array(content('A text'), {
				minItems: 1,
				maxItems: 4096,
				secret: true,
				description: 'Texts to be embedded, or ranked by their fit to the query',
			}),
		),
		query: Type.Optional(content('What rerank ranks by')),
		max_tokens: Type.Optional(count(tokensMax, 'Most tokens of the answer. Default: what the pool and the context allow')),
		raw: Type.Optional(Type.Boolean({ default: false, description: 'Gives the prompt to the model as it is, without its chat template' })),
		deadline_ms: Type.Optional(count(msMax, 'The task must have ended so long after its admission')),
		sampling: Type.Optional(sampling),
		seed: Type.Optional(count(seedMax, 'Of the random choices. Default: a new one, told in `started`', 0)),
		determinism: Type.Optional(
			oneOf(['strict', 'best_effort'], 'strict: the same request gives the same tokens; it gets a replica alone', 'best_effort'),
		),
		sampler_profile_version: Type.Optional(text(128, 'Must equal that of the pool')),
		expected_tokens: Type.Optional(count(tokensMax, 'Likely length of the answer, a hint for scheduling')),
		kv_hint: Type.Optional(oneOf(['reuse', 'cold'], 'Whether cached prompt prefixes may be used', 'reuse')),
		placement: Type.Optional(placement),
		output_mode: Type.Optional(text(64, 'A tag; never changes the answer')),
		on_disconnect: Type.Optional(
			oneOf(['detach', 'cancel'], 'cancel: the task is cancelled once its last watcher has been gone for a while'),
		),
		durable: Type.Optional(
			Type.Boolean({
				description: 'It outlives the daemon: it runs again, from its start, when that ends before it. Default: true for batch',
			}),
		),
	},
	'A generation task',
);

export type TaskBody = Static<typeof taskBodySchema>;

export const tokenizeBodySchema = strict(
	{
		model_ref: taskBodySchema.properties.model_ref,
		text: content('What is tokenized', 0),
	},
	'A text for the tokenizer of a model',
);

export const drainBodySchema = strict(
	{ deadline_ms: Type.Optional(count(msMax, 'How long running tasks may go on', 0)) },
	'How a pool is emptied',
);

const amount = (description: string, whole = true) =>
	Type.Optional(
		Type.Union([whole ? count(Number.MAX_SAFE_INTEGER, description, 0) : Type.Number({ minimum: 0, maximum: 1e15 }), Type.Null()], {
			description,
			allowed: 'a number of at least 0, or null for no limit',
		}),
	);

export const sessionBodySchema = strict(
	{
		budgets: strict(
			{
				tokens: amount('Tokens of prompts and answers'),
				time_ms: amount('Time that its tasks hold slots'),
				cost: amount('At the prices of the pools', false),
				gpu_ms: amount('Time that its tasks keep GPUs busy, for each GPU'),
			},
			'What the session may use from now on. A kind that is not named stays as it is; null is no limit',
		),
	},
	'A session',
);

export const reloadBodySchema = strict(
	{ new_model_ref: text(4096, 'The model that the pool is to serve: `file:/absolute/path.gguf`, or `scripted:<name>`') },
	'What a pool is to serve instead',
);

export const purgeBodySchema = strict(
	{
		purge_engine: Type.Optional(Type.Boolean({ description: 'End each engine and start it anew', default: true })),
		purge_models: Type.Optional(Type.Array(text(4096, 'A model that the pool holds'), { maxItems: 64, description: 'To be loaded anew' })),
		drain_first: Type.Optional(Type.Boolean({ description: 'Wait for the tasks that run', default: true })),
		delete_cache_dirs: Type.Optional(
			Type.Boolean({ description: 'Delete what managed engines have cached in their folders (`store.cache_dir`), too', default: false }),
		),
		force: Type.Optional(Type.Boolean({ description: 'Do not wait: tasks go on elsewhere, or end with WORKER_RESET', default: false })),
	},
	'What a pool is to lose',
);

export const registerBodySchema = strict(
	{
		pool_id: text(64, 'Pool that the worker serves'),
		replica_id: Type.String({
			pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$',
			description: 'Its name',
			allowed: 'letters, digits, ".", "_" and "-", at most 128, beginning with a letter or digit',
		}),
		engine: oneOf(engineKinds, 'What it runs'),
		url: text(2048, 'Where it answers'),
		slots: count(65_536, 'Tasks at once'),
	},
	'A worker that offers itself',
);

export const undrainBodySchema = strict({}, 'Nothing');

/** A schema without our own keywords. */
export function published(schema: unknown): unknown {
	return JSON.parse(JSON.stringify(schema, (key, value: unknown) => (key === 'allowed' || key === 'secret' ? undefined : value)));
}
