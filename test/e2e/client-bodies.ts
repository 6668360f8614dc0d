/**
 * What well-known clients send, as they were seen to (their own prompts and schemas are left out, every field is there). A client that sends
 * something new belongs here.
 */

export interface ClientBody {
	/** As `docs/clients.md` names it. */
	readonly client: string;
	readonly seen: string;
	readonly path: string;
	readonly headers?: Readonly<Record<string, string>>;
	readonly body: Readonly<Record<string, unknown>>;
	/** Part of what the answer must hold. */
	readonly holds?: RegExp;
}

const model = 'default';
const text = (said: string) => [{ type: 'text', text: said }];
const usage = { include_usage: true };
const object = { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] };
const jsonSchema = { $schema: 'https://json-schema.org/draft/2020-12/schema', ...object, additionalProperties: false };
const chatTool = { type: 'function', function: { name: 'add', description: 'Adds', parameters: object } };
const cached = { cache_control: { type: 'ephemeral' } };
const responsesTool = { type: 'function', name: 'exec_command', description: 'Runs', strict: false, parameters: jsonSchema };
const uuid = '01a23170-4aae-7281-b21f-b4ada742afd9';

export const clientBodies: readonly ClientBody[] = [
	{
		client: 'vLLM bench serve',
		seen: '0.33, --backend openai',
		path: '/v1/completions',
		headers: { 'x-request-id': 'bench-0' },
		body: {
			model,
			prompt: 'once upon',
			repetition_penalty: 1,
			max_tokens: 40,
			logprobs: null,
			stream: true,
			stream_options: usage,
			ignore_eos: true,
		},
		holds: /"completion_tokens":40/,
	},
	{
		client: 'vLLM bench serve',
		seen: '0.33, --backend openai-chat',
		path: '/v1/chat/completions',
		body: {
			model,
			messages: [{ role: 'user', content: text('once upon') }],
			max_completion_tokens: 40,
			stream: true,
			stream_options: usage,
			ignore_eos: true,
		},
		holds: /"completion_tokens":40/,
	},
	{
		client: 'GuideLLM',
		seen: '0.8',
		path: '/v1/chat/completions',
		body: {
			model,
			stream: true,
			stream_options: { ...usage, continuous_usage_stats: true },
			max_completion_tokens: 16,
			ignore_eos: true,
			messages: [{ role: 'user', content: text('once') }],
		},
		holds: /"content":"[^"]+"[^\n]*"usage":\{"prompt_tokens":\d+,"completion_tokens":1,/,
	},
	{
		client: 'GuideLLM',
		seen: '0.8, text completions',
		path: '/v1/completions',
		body: {
			model,
			stream: true,
			stream_options: { ...usage, continuous_usage_stats: true },
			max_tokens: 16,
			stop: null,
			ignore_eos: true,
			prompt: 'once',
		},
		holds: /"completion_tokens":16,/,
	},
	{
		client: 'AIPerf',
		seen: '0.14, --extra-inputs ignore_eos:true min_tokens:30',
		path: '/v1/chat/completions',
		body: {
			messages: [{ role: 'user', name: 'user', content: 'once' }],
			model,
			stream: true,
			max_completion_tokens: 30,
			ignore_eos: true,
			min_tokens: 30,
			stream_options: usage,
		},
		holds: /"completion_tokens":30/,
	},
	{
		client: 'LangChain',
		seen: 'langchain-openai 1.7, bind_tools',
		path: '/v1/chat/completions',
		body: {
			messages: [{ content: 'Please\ncall add {"a": 1}', role: 'user' }],
			model,
			stream: true,
			stream_options: usage,
			tool_choice: { type: 'function', function: { name: 'add' } },
			parallel_tool_calls: false,
			tools: [chatTool],
		},
		holds: /"tool_calls":\[\{"index":0,"id":"/,
	},
	{
		client: 'LangChain',
		seen: 'langchain-openai 1.7, with_structured_output',
		path: '/v1/chat/completions',
		body: {
			messages: [{ content: 'x', role: 'user' }],
			model,
			parallel_tool_calls: null,
			response_format: { type: 'json_schema', json_schema: { schema: jsonSchema, name: 'Sum', strict: true, description: 'Adds' } },
			stream: false,
		},
		holds: /"content":"\{\\"a\\":1\}"/,
	},
	{
		client: 'LangChain',
		seen: 'langchain-openai 1.7, use_responses_api',
		path: '/v1/responses',
		body: { input: [{ content: 'x', role: 'user', type: 'message' }], model, stream: true },
		holds: /event: response\.completed/,
	},
	{
		client: 'LangChain',
		seen: 'langchain-openai 1.7, OpenAIEmbeddings(check_embedding_ctx_length=False)',
		path: '/v1/embeddings',
		body: { input: ['a', 'b'], model, encoding_format: 'base64' },
		holds: /"object":"embedding"/,
	},
	{
		client: 'LangChain',
		seen: 'langchain-anthropic 1.7',
		path: '/v1/messages',
		headers: { 'anthropic-version': '2023-06-01' },
		body: {
			max_tokens: 100,
			messages: [{ role: 'user', content: 'x' }],
			model,
			tool_choice: { type: 'tool', name: 'add' },
			tools: [{ name: 'add', input_schema: object, description: 'Adds' }],
			stream: true,
		},
		holds: /"stop_reason":"tool_use"/,
	},
	{
		client: 'LiteLLM',
		seen: '1.110, openai/',
		path: '/v1/chat/completions',
		body: {
			model,
			messages: [{ role: 'user', content: 'x' }],
			frequency_penalty: 0.1,
			max_tokens: 3,
			n: 1,
			presence_penalty: 0.1,
			seed: 1,
			stop: ['q'],
			temperature: 0,
			top_p: 0.9,
			user: 'u',
			reasoning_effort: 'low',
			extra_body: null,
		},
		holds: /"finish_reason":"length"/,
	},
	{
		client: 'LiteLLM',
		seen: '1.110, anthropic/',
		path: '/v1/messages',
		headers: { 'anthropic-version': '2023-06-01' },
		body: { model, messages: [{ role: 'user', content: text('x') }], max_tokens: 128_000 },
		holds: /"stop_reason":"end_turn"/,
	},
	{
		client: 'aider',
		seen: 'by LiteLLM',
		path: '/v1/chat/completions',
		body: {
			messages: [
				{ role: 'system', content: 'You code.' },
				{ role: 'user', content: 'x' },
				{ role: 'assistant', content: 'Ok.' },
				{ role: 'user', content: 'y' },
			],
			model,
			temperature: 0,
			stream: true,
		},
	},
	{
		client: 'Open WebUI',
		seen: 'its routers/openai.py and utils/payload.py',
		path: '/v1/chat/completions',
		headers: { 'x-openwebui-user-name': 'somebody', 'x-openwebui-chat-id': uuid },
		body: {
			stream: true,
			model,
			messages: [
				{ role: 'system', content: 'You help.' },
				{ role: 'user', content: text('x') },
			],
			stream_options: usage,
			temperature: 0.7,
			top_p: 0.9,
			min_p: 0,
			frequency_penalty: 0,
			presence_penalty: 0,
			max_tokens: 64,
			seed: 3,
			stop: ['<end>'],
			logit_bias: null,
			reasoning_effort: 'medium',
			user: 'somebody',
		},
	},
	{
		client: 'Continue',
		seen: 'its core/llm/llms/OpenAI.ts, chat',
		path: '/v1/chat/completions',
		headers: { 'api-key': 'none' },
		body: {
			messages: [
				{ role: 'system', content: 'You help.' },
				{ role: 'user', content: 'x' },
			],
			model,
			max_tokens: 4096,
			temperature: 0.2,
			top_p: 1,
			frequency_penalty: 0,
			presence_penalty: 0,
			stream: true,
			stop: [],
			tools: [chatTool],
			parallel_tool_calls: false,
		},
	},
	{
		client: 'Continue',
		seen: 'its core/llm/llms/OpenAI.ts, autocomplete',
		path: '/v1/completions',
		body: {
			prompt: '<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>',
			model,
			max_tokens: 128,
			temperature: 0.01,
			stream: true,
			stop: ['<|endoftext|>', '<|fim_prefix|>', '<|fim_middle|>', '<|fim_suffix|>', '<|fim_pad|>', '<|repo_name|>', '<|file_sep|>', '\n\n'],
		},
	},
	{
		client: 'Vercel AI SDK',
		seen: '@ai-sdk/openai-compatible',
		path: '/v1/chat/completions',
		body: {
			model,
			messages: [{ role: 'user', content: 'Please\ncall add {"a": 1}' }],
			tools: [chatTool],
			tool_choice: 'auto',
			stream: true,
			stream_options: usage,
		},
		holds: /"finish_reason":"tool_calls"/,
	},
	{
		client: 'Vercel AI SDK',
		seen: '@ai-sdk/openai',
		path: '/v1/responses',
		body: {
			model,
			input: [{ role: 'user', content: [{ type: 'input_text', text: 'x' }] }],
			text: { format: { type: 'json_schema', strict: true, name: 'response', schema: jsonSchema } },
		},
		holds: /"text":"\{\\"a\\":1\}"/,
	},
	{
		client: 'Vercel AI SDK',
		seen: '@ai-sdk/anthropic',
		path: '/v1/messages',
		headers: { 'anthropic-version': '2023-06-01', 'anthropic-beta': 'fine-grained-tool-streaming-2025-05-14' },
		body: { model, max_tokens: 4096, messages: [{ role: 'user', content: text('x') }], stream: true },
		holds: /event: message_stop/,
	},
	{
		client: 'Codex',
		seen: '0.171',
		path: '/v1/responses',
		headers: { 'session-id': uuid, 'thread-id': uuid, originator: 'codex_exec', 'x-codex-beta-features': 'remote_compaction_v2' },
		body: {
			model,
			stream: true,
			input: [
				{ type: 'message', id: 'msg_1', role: 'developer', content: [{ type: 'input_text', text: 'You code.' }] },
				{ type: 'message', id: 'msg_2', role: 'developer', content: [{ type: 'input_text', text: 'a' }] },
				{ type: 'message', id: 'msg_3', role: 'user', content: [{ type: 'input_text', text: '<environment_context>' }] },
				{
					type: 'message',
					id: 'msg_4',
					role: 'user',
					content: [{ type: 'input_text', text: 'Please\ncall multi_agent_v1__spawn_agent {"a": 1}' }],
				},
			],
			tools: [
				responsesTool,
				{
					type: 'namespace',
					name: 'multi_agent_v1',
					description: 'Agents',
					tools: [{ type: 'function', name: 'spawn_agent', description: 'Spawns', strict: false, parameters: jsonSchema }],
				},
				{ type: 'web_search', external_web_access: false },
			],
			tool_choice: 'auto',
			parallel_tool_calls: true,
			reasoning: { summary: 'auto' },
			store: false,
			include: ['reasoning.encrypted_content'],
			prompt_cache_key: uuid,
			client_metadata: { session_id: uuid, 'x-codex-window-id': `${uuid}:0` },
		},
		holds:
			/"type":"function_call","id":"fc_[^"]+","status":"completed","call_id":"[^"]+","namespace":"multi_agent_v1","name":"spawn_agent"/,
	},
	{
		client: 'Claude Code',
		seen: '2.1.332',
		path: '/v1/messages?beta=true',
		headers: {
			'anthropic-version': '2023-06-01',
			'anthropic-beta': 'claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,effort-2025-11-24',
			'anthropic-dangerous-direct-browser-access': 'true',
			'x-api-key': 'none',
			'x-app': 'cli',
		},
		body: {
			model,
			messages: [
				{ role: 'user', content: [...text('<system-reminder>'), ...text('Please\ncall Read {"a": 1}')] },
				{ role: 'system', content: [{ type: 'text', text: '# Environment', ...cached }] },
			],
			system: [
				{ type: 'text', text: 'x-anthropic-billing-header: cc_version=2.1.332.18b;' },
				{ type: 'text', text: 'You code.', ...cached },
			],
			tools: [
				{ name: 'Read', description: 'Reads', input_schema: jsonSchema },
				{ name: 'DeferredToolPlaceholder', description: 'None', input_schema: jsonSchema, defer_loading: true },
			],
			metadata: { user_id: '{"device_id":"0"}' },
			max_tokens: 32_000,
			thinking: { type: 'adaptive', display: 'omitted' },
			context_management: { edits: [{ type: 'clear_thinking_20251015', keep: 'all' }] },
			output_config: { effort: 'high' },
			stream: true,
		},
		holds: /"type":"tool_use","id":"[^"]+","name":"Read"/,
	},
	{
		client: 'Claude Code',
		seen: '2.1.332, how long a conversation is',
		path: '/v1/messages/count_tokens?beta=true',
		headers: { 'anthropic-version': '2023-06-01', 'anthropic-beta': 'token-counting-2024-11-01' },
		body: { model, messages: [{ role: 'user', content: 'x' }], tools: [{ name: 'Read', description: 'Reads', input_schema: jsonSchema }] },
		holds: /"input_tokens":\d+/,
	},
];
