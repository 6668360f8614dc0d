/**
 * vLLM's server, as its source has it (vllm-project/vllm, folder `vllm/entrypoints`): beside each route stands the file that specifies what it
 * takes and answers. A field that its protocol does not have is noted as strayed, though vLLM itself passes over it.
 */
import { callIn, formIn } from './fake-answers.ts';
import type { FakeExchange } from './fake-exchange.ts';
import { beginOfText, bytesOf, likeliest, tokenize } from './fake-model.ts';
import { type FakeRequest, FakeServer, type FakeServerOptions } from './fake-server.ts';
import { FakeSlots } from './fake-slots.ts';
import { endOf, type VllmStep, vllmText } from './fake-vllm-text.ts';
import { isBias, isEffort, isResponseFormat, isTool, isToolChoice, messageFields } from './openai-shapes.ts';
import {
	type BodyFields,
	isBetween,
	isCount,
	isEither,
	isFlag,
	isListOf,
	isObject,
	isOneOf,
	isRecord,
	isText,
	strictBody,
	strictFields,
} from './strict-body.ts';

export interface FakeVllmOptions extends FakeServerOptions {
	readonly slots?: number;
	readonly stepMs?: number;
	readonly endsAfter?: number;
	readonly version?: string;
	readonly maxModelLen?: number;
	/** `--scheduling-policy priority`. */
	readonly priority?: boolean;
	/** `VLLM_SERVER_DEV_MODE=1` and `--enable-sleep-mode`. */
	readonly canSleep?: boolean;
	/** `--enable-auto-tool-choice --tool-call-parser …`. */
	readonly callsTools?: boolean;
	/** `--runner pooling`. */
	readonly pools?: boolean;
}

type Body = Readonly<Record<string, unknown>>;

const isId = isCount;
/** openai/completion/protocol.py and openai/chat_completion/protocol.py: the fields that both have. */
const common: BodyFields = {
	model: isText,
	'stream?': isFlag,
	'stream_options?': isObject,
	'max_tokens?': isCount,
	'seed?': Number.isSafeInteger,
	// Above 2 it is refused: seen of v0.32.0.
	'temperature?': isBetween(0, 2),
	// vllm/sampling_params.py, _verify_args: top_p in (0, 1], top_k −1 or above, min_p in [0, 1], repetition_penalty above 0.
	'top_p?': (value) => isBetween(0, 1)(value) && value !== 0,
	'top_k?': (value) => isEither(isOneOf(-1), (each) => isCount(each) && each !== 0)(value),
	'min_p?': isBetween(0, 1),
	'repetition_penalty?': (value) => isBetween(0, 1_000)(value) && value !== 0,
	'presence_penalty?': isBetween(-2, 2),
	'frequency_penalty?': isBetween(-2, 2),
	'ignore_eos?': isFlag,
	'min_tokens?': isCount,
	'stop?': isEither(isText, isListOf(isText)),
	'include_stop_str_in_output?': isFlag,
	'response_format?': isResponseFormat,
	'logit_bias?': isBias,
	'priority?': Number.isSafeInteger,
	'return_tokens_as_token_ids?': isFlag,
};
const completionFields: BodyFields = { ...common, prompt: isEither(isText, isListOf(isId)), 'logprobs?': isCount };
const chatFields: BodyFields = {
	...common,
	messages: isListOf(isObject),
	'logprobs?': isFlag,
	'top_logprobs?': isCount,
	'tools?': isListOf(isTool),
	'tool_choice?': isToolChoice,
	'parallel_tool_calls?': isFlag,
	'reasoning_effort?': isEffort,
	'chat_template_kwargs?': isObject,
};

export class FakeVllm {
	readonly server: FakeServer;
	readonly slots: FakeSlots;
	readonly model = 'org/fake-7b';
	readonly #options: Required<Omit<FakeVllmOptions, 'tls' | 'slots' | 'stepMs' | 'endsAfter'>>;
	/** Steps that become one chunk: `--stream-interval`, or a client that is slower than the model. */
	merged = 1;
	sleeping = false;
	readonly slept: string[] = [];
	/** Priorities as they were asked. */
	readonly priorities: unknown[] = [];
	#answers = 0;

	constructor(options: FakeVllmOptions = {}) {
		const { slots = 4, stepMs = 0, endsAfter = 500, tls, ...more } = options;
		this.#options = { version: '0.11.2', maxModelLen: 2_048, priority: false, canSleep: false, callsTools: true, pools: false, ...more };
		this.server = new FakeServer(tls === undefined ? {} : { tls });
		this.slots = new FakeSlots({ slots, stepMs, endsAfter });
		// serve/middleware/authenticate.py; FastAPI's own answer to an unknown path.
		this.server.refuse = (exchange, status) => exchange.json(status, status === 401 ? { error: 'Unauthorized' } : { detail: 'Not Found' });
		this.#plainRoutes();
		if (this.#options.canSleep) this.#sleepRoutes();
		if (this.#options.pools) this.#poolingRoutes();
		else {
			this.server.on('POST', '/v1/completions', (exchange, request) => this.#completion(exchange, request));
			this.server.on('POST', '/v1/chat/completions', (exchange, request) => this.#chat(exchange, request));
		}
	}

	#plainRoutes(): void {
		const { version, maxModelLen: max_model_len } = this.#options;
		// serve/instrumentator/health.py: 200 without a body
		this.server.on('GET', '/health', (exchange) => exchange.answer(200, {}, ''));
		// serve/instrumentator/basic.py: show_version
		this.server.on('GET', '/version', (exchange) => exchange.json(200, { version }));
		// openai/models/serving.py: ModelList of ModelCard
		this.server.on('GET', '/v1/models', (exchange) => {
			const card = { id: this.model, object: 'model', created: 1_700_000_000, owned_by: 'vllm', root: this.model, parent: null };
			exchange.json(200, { object: 'list', data: [{ ...card, max_model_len, permission: [] }] });
		});
		// vllm/v1/metrics/loggers.py: gauges by model and engine
		this.server.on('GET', '/metrics', (exchange) => {
			const labels = `{engine="0",model_name="${this.model}"}`;
			const text = [
				'# HELP vllm:num_requests_running Number of requests in model execution batches.',
				'# TYPE vllm:num_requests_running gauge',
				`vllm:num_requests_running${labels} ${this.slots.busy.toFixed(1)}`,
				'# HELP vllm:num_requests_waiting Number of requests waiting to be processed.',
				'# TYPE vllm:num_requests_waiting gauge',
				`vllm:num_requests_waiting${labels} ${this.slots.waiting.toFixed(1)}`,
				'# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.',
				'# TYPE vllm:kv_cache_usage_perc gauge',
				`vllm:kv_cache_usage_perc${labels} 0.25`,
			].join('\n');
			exchange.answer(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }, `${text}\n`);
		});
		// serve/tokenize/protocol.py: TokenizeCompletionRequest or TokenizeChatRequest → TokenizeResponse
		this.server.on('POST', '/tokenize', (exchange, { body, path }) => {
			const chat = body.includes('"messages"');
			const asked = strictBody(
				body,
				chat
					? {
							model: isText,
							messages: isListOf(isObject),
							'tools?': isListOf(isTool),
							'chat_template_kwargs?': isObject,
							'add_generation_prompt?': isFlag,
							'return_token_strs?': isFlag,
						}
					: { model: isText, prompt: isText, 'add_special_tokens?': isFlag, 'return_token_strs?': isFlag },
				path,
				this.#stray,
			);
			const special = asked['add_special_tokens'] !== false;
			const tokens = chat ? this.#template(asked['messages']) : this.#prompt(String(asked['prompt']), special);
			exchange.json(200, {
				count: tokens.length,
				max_model_len,
				tokens,
				token_strs: asked['return_token_strs'] === true ? tokens.map(vocabularyWord) : null,
			});
		});
		// DetokenizeRequest → DetokenizeResponse
		this.server.on('POST', '/detokenize', (exchange, { body, path }) => {
			const { tokens } = strictBody(body, { model: isText, tokens: isListOf(isId) }, path, this.#stray) as { tokens: readonly number[] };
			exchange.json(200, { prompt: Buffer.concat(tokens.map(bytesOf)).toString() });
		});
	}

	/** serve/dev/sleep/api_router.py: all is in the query, nothing in the body. */
	#sleepRoutes(): void {
		const order = (path: string, sleeping: boolean): void =>
			this.server.on('POST', path, (exchange, { body }) => {
				if (body !== '') this.#stray(`${path} has a body`);
				this.slept.push(path);
				this.sleeping = sleeping;
				exchange.answer(200, {}, '');
			});
		order('/sleep?level=1', true);
		order('/wake_up', false);
		this.server.on('GET', '/is_sleeping', (exchange) => exchange.json(200, { is_sleeping: this.sleeping }));
	}

	#poolingRoutes(): void {
		// entrypoints/pooling/embed/protocol.py: EmbeddingCompletionRequest → EmbeddingResponse
		this.server.on('POST', '/v1/embeddings', (exchange, { body, path }) => {
			const fields = { model: isText, input: isListOf(isText), 'encoding_format?': isOneOf('float', 'base64') };
			const inputs = strictBody(body, fields, path, this.#stray)['input'] as readonly string[];
			const data = inputs.map((text, index) => ({ index, object: 'embedding', embedding: [text.length, 0.5] }));
			const usage = { prompt_tokens: 7, total_tokens: 7, completion_tokens: 0, prompt_tokens_details: null };
			exchange.json(200, { id: 'embd-1', object: 'list', created: 1_700_000_000, model: this.model, data, usage });
		});
		// entrypoints/pooling/score/protocol.py: RerankRequest → RerankResponse, best first
		this.server.on('POST', '/rerank', (exchange, { body, path }) => {
			const asked = strictBody(body, { model: isText, query: isText, documents: isListOf(isText), 'top_n?': isCount }, path, this.#stray);
			const results = (asked['documents'] as readonly string[])
				.map((text, index) => ({ index, document: { text, multi_modal: null }, relevance_score: text.length / 100 }))
				.sort((a, b) => b.relevance_score - a.relevance_score);
			exchange.json(200, { id: 'rerank-1', model: this.model, usage: { prompt_tokens: 9, total_tokens: 9 }, results });
		});
	}

	/** openai/completion/serving.py, completion_stream_generator: `exclude_unset`, so that what was not set is not there. */
	#completion(exchange: FakeExchange, request: FakeRequest): void {
		const body = this.#body(exchange, request, completionFields);
		if (body === null) return;
		const { prompt: given } = body;
		const prompt = Array.isArray(given) ? (given as readonly number[]) : this.#prompt(String(given), true);
		const head = { id: `cmpl-${this.#answers++}`, object: 'text_completion', created: 1_700_000_000, model: this.model };
		let first = true;
		this.#generate(exchange, body, prompt, head, null, ({ text, ids, logprobs, finish, stopReason }) => {
			// `_create_completion_logprobs`: by text or all by id; "the top num_output_top_logprobs + 1"
			const name = namerOf(body);
			const scores = {
				text_offset: ids.map(() => 0),
				token_logprobs: logprobs,
				tokens: ids.map(name),
				top_logprobs: ids.map((id, index) =>
					Object.fromEntries(
						likeliest({ id, logprob: logprobs[index] ?? 0 }, Number(body['logprobs'] ?? 0) + 1).map((top) => [name(top.id), top.logprob]),
					),
				),
			};
			const choice = {
				index: 0,
				text,
				logprobs: body['logprobs'] === undefined ? null : scores,
				finish_reason: finish,
				stop_reason: stopReason,
				prompt_token_ids: body['return_token_ids'] === true && first ? prompt : null,
				token_ids: body['return_token_ids'] === true ? ids : null,
			};
			first = false;
			return [{ ...head, choices: [choice] }];
		});
	}

	/** openai/chat_completion/serving.py, chat_completion_stream_generator: who speaks comes first, in a chunk of its own. */
	#chat(exchange: FakeExchange, request: FakeRequest): void {
		const body = this.#body(exchange, request, chatFields);
		if (body === null) return;
		// openai/chat_completion/serving.py, create_chat_completion
		if (!this.#options.callsTools && body['tools'] !== undefined && (body['tool_choice'] ?? 'auto') === 'auto') {
			const words = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set';
			return this.#refuse(exchange, 400, words, 'BadRequestError');
		}
		const call = callIn(body);
		const prompt = this.#template(body['messages']);
		const head = { id: `chatcmpl-${this.#answers++}`, object: 'chat.completion.chunk', created: 1_700_000_000, model: this.model };
		let first = true;
		const says = call?.arguments ?? formIn(body);
		this.#generate(exchange, body, prompt, head, says, ({ text, ids, logprobs, finish, stopReason }) => {
			const told = body['return_token_ids'] === true;
			// `_create_chat_logprobs`, `_get_top_logprobs`: the bytes are those of the decoded text, of the likeliest those of the name
			const name = namerOf(body);
			const content = ids.map((id, index) => ({
				token: name(id),
				logprob: logprobs[index],
				bytes: [...Buffer.from(bytesOf(id).toString())],
				top_logprobs: likeliest({ id, logprob: logprobs[index] ?? 0 }, Number(body['top_logprobs'] ?? 0)).map((top) => ({
					token: name(top.id),
					logprob: top.logprob,
					bytes: [...Buffer.from(name(top.id))],
				})),
			}));
			const role = { index: 0, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: null };
			const choice = {
				index: 0,
				delta: call === null ? { content: text } : { tool_calls: [{ index: 0, function: { arguments: text } }] },
				logprobs: body['logprobs'] === true ? { content } : null,
				// "tool_calls" for "auto" or "required" tool calls, and "stop" for named tool calls
				finish_reason: finish === 'stop' && call !== null && !call.named ? 'tool_calls' : finish,
				...(finish === null ? {} : { stop_reason: stopReason }),
				token_ids: told ? ids : null,
			};
			// engine/protocol.py, DeltaMessage of DeltaToolCall: the first has id, type and name
			const named = { index: 0, id: 'chatcmpl-tool-7', type: 'function', function: { name: call?.name } };
			const begun = call === null ? [] : [{ ...head, choices: [{ ...role, delta: { tool_calls: [named] } }] }];
			const chunks = [
				...(first ? [{ ...head, choices: [role], prompt_token_ids: told ? prompt : null }, ...begun] : []),
				{ ...head, choices: [choice] },
			];
			first = false;
			return chunks;
		});
	}

	#generate(
		exchange: FakeExchange,
		body: Body,
		prompt: readonly number[],
		head: Body,
		says: string | null,
		chunks: (step: VllmStep) => readonly unknown[],
	): void {
		if (body['stream'] !== true) this.#stray('it is asked without stream, which no answer of this fake has');
		const maxTokens = Number(body['max_tokens'] ?? 16);
		const { maxModelLen, priority } = this.#options;
		// vllm/renderers/params.py: get_max_tokens
		if (prompt.length + maxTokens > maxModelLen)
			return this.#refuse(exchange, 400, `This model's maximum context length is ${maxModelLen} tokens.`, 'BadRequestError');
		this.priorities.push(body['priority']);
		// vllm/v1/engine/processor.py: a priority needs the policy
		if (!priority && (body['priority'] ?? 0) !== 0)
			return this.#refuse(exchange, 400, 'Got priority but it is not enabled.', 'BadRequestError');
		const { include_usage: usage } = (body['stream_options'] ?? {}) as { include_usage?: boolean };
		let made = 0;
		// Starlette sends the head before the first chunk is made.
		exchange.beginEvents({ 'content-type': 'text/event-stream; charset=utf-8' });
		const drop = vllmText(this.slots, {
			prompt,
			maxTokens,
			stop: [body['stop'] ?? []].flat() as string[],
			includeStop: body['include_stop_str_in_output'] === true,
			seed: body['temperature'] === 0 ? null : Number(body['seed'] ?? 0),
			endsNotBefore: endOf(body),
			says: says === null ? null : tokenize(says),
			merged: this.merged,
			step: (step) => {
				made += step.ids.length;
				const said = chunks(step).map(event);
				if (step.finish === null) return said.forEach((each) => exchange.event(each));
				const used = { prompt_tokens: prompt.length, total_tokens: prompt.length + made, completion_tokens: made };
				exchange.endEvents(...said, ...(usage === true ? [event({ ...head, choices: [], usage: used })] : []), 'data: [DONE]\n\n');
			},
		});
		exchange.onGone(drop);
	}

	/** Null: it has been refused. */
	#body(exchange: FakeExchange, request: FakeRequest, fields: BodyFields): Body | null {
		const { version } = this.#options;
		const [major = 0, minor = 0, patch = 0] = version.split('.').map(Number);
		const number = (major * 1_000 + minor) * 1_000 + patch;
		const more: BodyFields = {
			// With v0.10.2 came return_token_ids, with v0.11.0 structured_outputs in place of the guided_… fields.
			...(number >= 10_002 ? { 'return_token_ids?': isFlag } : {}),
			...(number >= 11_000
				? { 'structured_outputs?': isRecord({ 'grammar?': isText, 'json?': isObject, 'regex?': isText, 'choice?': isListOf(isText) }) }
				: { 'guided_grammar?': isText }),
		};
		const body = strictBody(request.body, { ...fields, ...more }, request.path, this.#stray);
		const accepts = request.headers.get('accept') ?? '';
		if (!accepts.includes('text/event-stream') && !accepts.includes('*/*')) this.#stray(`${request.path} accepts ${accepts}`);
		if (body['stream_options'] !== undefined)
			strictFields(body['stream_options'], { 'include_usage?': isFlag, 'continuous_usage_stats?': isFlag }, 'stream_options', this.#stray);
		if (body['model'] === this.model) return body;
		// openai/models/serving.py: the model does not exist
		this.#refuse(exchange, 404, `The model \`${String(body['model'])}\` does not exist.`, 'NotFoundError');
		return null;
	}

	/** serve/engine/protocol.py: ErrorResponse of ErrorInfo */
	#refuse(exchange: FakeExchange, code: number, message: string, type: string): void {
		exchange.json(code, { error: { message, type, param: null, code } });
	}

	readonly #stray = (words: string): void => this.server.stray(words);

	#prompt(text: string, special: boolean): number[] {
		return [...(special ? [beginOfText] : []), ...tokenize(text)];
	}

	/** The model's template says where a text begins. */
	#template(messages: unknown): number[] {
		const turns = (messages as readonly unknown[]).map((message) => strictFields(message, messageFields, 'a message', this.#stray));
		const text = turns.map(({ role, content }) => `<${String(role)}> ${String(content)}\n`).join('');
		return [beginOfText, ...tokenize(`${text}<assistant>`)];
	}
}

/** `_get_decoded_token`: `format_token_id_placeholder` where ids are asked for. */
function namerOf(body: Body): (id: number) => string {
	return body['return_tokens_as_token_ids'] === true ? (id) => `token_id:${id}` : (id) => bytesOf(id).toString();
}

/** As a byte-level vocabulary has it: what cannot be printed is shifted to U+0100 and above, in order. */
function vocabularyWord(id: number): string {
	return [...bytesOf(id)].map((byte) => shown[byte]).join('');
}

const unprintable = Array.from({ length: 256 }, (_, byte) => byte).filter(
	(byte) => byte < 33 || (byte > 126 && byte < 161) || byte === 173,
);
const shown = Array.from({ length: 256 }, (_, byte) =>
	String.fromCharCode(unprintable.includes(byte) ? 256 + unprintable.indexOf(byte) : byte),
);

function event(value: unknown): string {
	return `data: ${JSON.stringify(value)}\n\n`;
}
