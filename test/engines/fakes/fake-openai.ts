/**
 * An endpoint of the OpenAI API, as its own specification has it: openapi.yaml of github.com/openai/openai-openapi. Beside each route stands
 * the schema of its request and its answer there. It knows no field of other engines, and says so by `strayed`.
 */
import { callIn, formIn } from './fake-answers.ts';
import type { FakeExchange } from './fake-exchange.ts';
import { bytesOf, likeliest, type Next, tokenize } from './fake-model.ts';
import { type FakeRequest, FakeServer, type FakeServerOptions } from './fake-server.ts';
import { type FakeEnd, FakeSlots, type FakeStep, type FakeWork } from './fake-slots.ts';
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
	isText,
	strictBody,
	strictFields,
} from './strict-body.ts';

export interface FakeOpenaiOptions extends FakeServerOptions {
	readonly slots?: number;
	readonly stepMs?: number;
	readonly endsAfter?: number;
	readonly model?: string;
	/** Tokens of its context. */
	readonly ctx?: number;
}

const isStop = isEither(isText, isListOf(isText));
/** `CreateModelResponseProperties`, `CreateCompletionRequest` and `CreateChatCompletionRequest`, as far as an answer of text goes. */
const sampling: BodyFields = {
	model: isText,
	'stream?': isFlag,
	'stream_options?': isObject,
	'max_tokens?': isCount,
	'seed?': Number.isSafeInteger,
	'temperature?': isBetween(0, 2),
	'top_p?': isBetween(0, 1),
	'stop?': isStop,
	'presence_penalty?': isBetween(-2, 2),
	'frequency_penalty?': isBetween(-2, 2),
	'logit_bias?': isBias,
};
const completionFields: BodyFields = { ...sampling, prompt: isText, 'logprobs?': isBetween(0, 5) };
const chatFields: BodyFields = {
	...sampling,
	messages: isListOf(isObject),
	'max_completion_tokens?': isCount,
	'response_format?': isResponseFormat,
	'logprobs?': isFlag,
	'top_logprobs?': isBetween(0, 20),
	'tools?': isListOf(isTool),
	'tool_choice?': isToolChoice,
	'parallel_tool_calls?': isFlag,
	'reasoning_effort?': isEffort,
};

export class FakeOpenai {
	readonly server: FakeServer;
	readonly slots: FakeSlots;
	readonly model: string;
	readonly #ctx: number;
	/** `owned_by` of its model. */
	ownedBy = 'system';
	/** `ChatCompletionStreamOptions.include_obfuscation`: true unless it is sent as false. */
	obfuscates = false;
	/** Some endpoints pass over `logprobs`. */
	scores = true;
	#answers = 0;

	constructor({ slots = 4, stepMs = 0, endsAfter = 500, model = 'gpt-fake', ctx = 1_000_000, ...options }: FakeOpenaiOptions = {}) {
		this.model = model;
		this.#ctx = ctx;
		this.server = new FakeServer(options);
		this.slots = new FakeSlots({ slots, stepMs, endsAfter });
		// ErrorResponse of Error; the words are those of the API
		this.server.refuse = (exchange, status) => (status === 401 ? this.#unauthorized(exchange) : this.#unknownUrl(exchange));
		// GET /models → ListModelsResponse of Model
		this.server.on('GET', '/v1/models', (exchange) =>
			exchange.json(200, { object: 'list', data: [{ id: model, object: 'model', created: 1_686_935_002, owned_by: this.ownedBy }] }),
		);
		this.server.on('POST', '/v1/completions', (exchange, request) => this.#completion(exchange, request));
		this.server.on('POST', '/v1/chat/completions', (exchange, request) => this.#chat(exchange, request));
		this.server.on('POST', '/v1/embeddings', (exchange, request) => this.#embeddings(exchange, request));
	}

	/** createCompletion: CreateCompletionRequest → CreateCompletionResponse, in a stream one a chunk. */
	#completion(exchange: FakeExchange, request: FakeRequest): void {
		const body = this.#body(exchange, request, completionFields);
		if (body === null) return;
		const id = `cmpl-${this.#answers++}`;
		const chunk = (choices: readonly unknown[], usage: unknown): unknown => ({
			id,
			object: 'text_completion',
			created: 1_700_000_000,
			choices,
			model: this.model,
			system_fingerprint: 'fp_44709d6fcb',
			usage,
		});
		// CreateCompletionResponse: "tokens", "token_logprobs", "top_logprobs", "text_offset"
		const scores = (scored: readonly Scored[] | null): unknown =>
			scored && {
				tokens: scored.map(({ token }) => token),
				token_logprobs: scored.map(({ logprob }) => logprob),
				top_logprobs: scored.map(({ tops }) => Object.fromEntries(tops.map(({ token, logprob }) => [token, logprob]))),
				text_offset: scored.map(() => 0),
			};
		const choice = (text: string, reason: string | null, scored: readonly Scored[] | null = null): unknown => ({
			text,
			index: 0,
			logprobs: scores(scored),
			finish_reason: reason,
		});
		this.#generate(exchange, body, tokenize(String(body['prompt'])), {
			begin: [],
			delta: (text, scored) => chunk([choice(text, null, scored)], null),
			end: (reason) => chunk([choice('', reason)], null),
			usage: (usage) => chunk([], usage),
		});
	}

	/** createChatCompletion: CreateChatCompletionRequest → CreateChatCompletionStreamResponse. */
	#chat(exchange: FakeExchange, request: FakeRequest): void {
		const body = this.#body(exchange, request, chatFields);
		if (body === null) return;
		const id = `chatcmpl-${this.#answers++}`;
		const chunk = (choices: readonly unknown[], usage: unknown): unknown => ({
			id,
			object: 'chat.completion.chunk',
			created: 1_700_000_000,
			model: this.model,
			service_tier: 'default',
			system_fingerprint: 'fp_44709d6fcb',
			choices,
			usage,
			...(this.obfuscates ? { obfuscation: 'x'.repeat(1 + (this.slots.busy % 3)) } : {}),
		});
		// CreateChatCompletionStreamResponse: ChatCompletionTokenLogprob, whose `top_logprobs` have the same three fields
		const json = ({ token, logprob, bytes }: Named): object => ({ token, logprob, bytes: [...bytes] });
		const scores = (scored: readonly Scored[] | null): unknown =>
			scored && {
				content: scored.map((each) => ({ ...json(each), top_logprobs: each.tops.map(json) })),
				refusal: null,
			};
		const choice = (delta: unknown, reason: string | null, scored: readonly Scored[] | null = null): unknown => ({
			index: 0,
			delta,
			logprobs: scores(scored),
			finish_reason: reason,
		});
		const messages = (body['messages'] as readonly Record<string, unknown>[]).map((message) =>
			strictFields(message, messageFields, 'a message', this.#stray),
		);
		const prompt = messages.map(({ role, content }) => `${String(role)}: ${String(content)}\n`).join('');
		// CreateChatCompletionStreamResponse: ChatCompletionStreamResponseDelta of ChatCompletionMessageToolCallChunk; the first names the tool
		const call = callIn(body);
		const part = (called: object, more: object = {}): object => ({ tool_calls: [{ index: 0, ...more, function: called }] });
		const begin =
			call === null
				? { role: 'assistant', content: '', refusal: null }
				: {
						role: 'assistant',
						content: null,
						...part({ name: call.name, arguments: '' }, { id: `call_${id}`, type: 'function' }),
						refusal: null,
					};
		// CreateChatCompletionResponse, `finish_reason`: `tool_calls` "if the model called a tool"; where one was named it is `stop` (guide "Function calling")
		const called = call !== null && !call.named ? 'tool_calls' : 'stop';
		this.#generate(
			exchange,
			body,
			tokenize(`${prompt}assistant:`),
			{
				begin: [chunk([choice(begin, null)], null)],
				delta: (text, scored) => chunk([choice(call === null ? { content: text } : part({ arguments: text }), null, scored)], null),
				end: (reason) => chunk([choice({}, reason === 'stop' ? called : reason)], null),
				usage: (usage) => chunk([], usage),
			},
			call?.arguments ?? formIn(body),
		);
	}

	/** createEmbedding: CreateEmbeddingRequest → CreateEmbeddingResponse. */
	#embeddings(exchange: FakeExchange, request: FakeRequest): void {
		const fields: BodyFields = {
			model: isText,
			input: isListOf(isText),
			'encoding_format?': isOneOf('float', 'base64'),
			'dimensions?': isCount,
			'user?': isText,
		};
		const body = this.#body(exchange, request, fields);
		if (body === null) return;
		const inputs = body['input'] as readonly string[];
		const tokens = inputs.reduce((sum, input) => sum + tokenize(input).length, 0);
		const data = inputs.map((input, index) => ({ object: 'embedding', index, embedding: [input.length, 0.5, -1e-7] }));
		exchange.json(200, { object: 'list', data, model: this.model, usage: { prompt_tokens: tokens, total_tokens: tokens } });
	}

	readonly #stray = (words: string): void => this.server.stray(words);

	/** Null: it has been refused. ErrorResponse of Error: `{error: {message, type, param, code}}`. */
	#body(exchange: FakeExchange, request: FakeRequest, fields: BodyFields): Readonly<Record<string, unknown>> | null {
		const accepts = request.headers.get('accept') ?? '';
		const body = strictBody(request.body, fields, request.path, this.#stray);
		const wanted = body['stream'] === true ? 'text/event-stream' : 'application/json';
		if (accepts !== wanted && !accepts.includes('*/*')) this.#stray(`${request.path} accepts ${accepts}`);
		if (body['stream_options'] !== undefined)
			strictFields(body['stream_options'], { 'include_usage?': isFlag, 'include_obfuscation?': isFlag }, 'stream_options', this.#stray);
		if (body['model'] === this.model) return body;
		exchange.json(404, {
			error: {
				message: `The model \`${String(body['model'])}\` does not exist or you do not have access to it.`,
				type: 'invalid_request_error',
				param: null,
				code: 'model_not_found',
			},
		});
		return null;
	}

	/** `says`: what it is to say; null: what follows from the prompt. */
	#generate(
		exchange: FakeExchange,
		body: Readonly<Record<string, unknown>>,
		prompt: readonly number[],
		frames: Frames,
		says: string | null = null,
	): void {
		if (body['stream'] !== true) this.#stray('it is asked without stream, which no answer of this fake has');
		if (prompt.length + Number(body['max_tokens'] ?? 0) > this.#ctx) return this.#tooLong(exchange, prompt.length);
		const { include_usage: usage } = (body['stream_options'] ?? {}) as { include_usage?: boolean };
		const say = (value: unknown): void => exchange.event(event(value));
		const wantsScores = this.scores && body['logprobs'] !== undefined && body['logprobs'] !== false;
		// "top_logprobs … logprobs must be set to true if this parameter is used"; of completions `logprobs` itself is their number.
		if (body['top_logprobs'] !== undefined && body['logprobs'] !== true) this.#stray('top_logprobs without logprobs');
		const beside = Number(typeof body['logprobs'] === 'number' ? body['logprobs'] : (body['top_logprobs'] ?? 0));
		/** Of tokens that no text has told of. */
		const scored: Scored[] = [];
		const told = (): readonly Scored[] | null => (wantsScores ? scored.splice(0) : null);
		const work: FakeWork = {
			prompt,
			maxTokens: Number(body['max_tokens'] ?? 1_000_000),
			stop: [body['stop'] ?? []].flat() as string[],
			seed: body['temperature'] === 0 ? null : Number(body['seed'] ?? 0),
			...(says === null ? {} : { says: tokenize(says) }),
			begun: () => {
				exchange.beginEvents();
				for (const each of frames.begin) say(each);
			},
			token: ({ text, id, logprob }: FakeStep) => {
				scored.push({ ...named({ id, logprob }), tops: likeliest({ id, logprob }, beside).map(named) });
				if (text !== '') say(frames.delta(text, told()));
			},
			ended: ({ reason, text, made }: FakeEnd) => {
				if (text !== '') say(frames.delta(text, told()));
				const used = {
					prompt_tokens: prompt.length,
					completion_tokens: made,
					total_tokens: prompt.length + made,
					prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
				};
				exchange.endEvents(
					event(frames.end(reason === 'length' ? 'length' : 'stop')),
					...(usage === true ? [event(frames.usage(used))] : []),
					'data: [DONE]\n\n',
				);
			},
		};
		exchange.onGone(() => this.slots.drop(work));
		this.slots.add(work);
	}

	/** The words and the code are those of the API; its reference, "Error codes", has 400 for what is wrong with a request. */
	#tooLong(exchange: FakeExchange, tokens: number): void {
		const message = `This model's maximum context length is ${this.#ctx} tokens. However, your messages resulted in ${tokens} tokens.`;
		exchange.json(400, { error: { message, type: 'invalid_request_error', param: 'messages', code: 'context_length_exceeded' } });
	}

	#unauthorized(exchange: FakeExchange): void {
		exchange.json(401, {
			error: { message: 'Incorrect API key provided.', type: 'invalid_request_error', param: null, code: 'invalid_api_key' },
		});
	}

	#unknownUrl(exchange: FakeExchange): void {
		exchange.json(404, { error: { message: 'Unknown request URL.', type: 'invalid_request_error', param: null, code: 'unknown_url' } });
	}
}

/** `ChatCompletionTokenLogprob`, as far as both streams have it. */
interface Named {
	readonly token: string;
	readonly logprob: number;
	readonly bytes: Buffer;
}

interface Scored extends Named {
	readonly tops: readonly Named[];
}

function named({ id, logprob }: Next): Named {
	const bytes = bytesOf(id);
	const own = bytes.toString();
	// Of a part of a character: seen of the API, whose words are "the bytes … must be combined".
	const token = own.includes('\u{fffd}') ? `bytes:${[...bytes].map((byte) => `\\x${byte.toString(16)}`).join('')}` : own;
	return { token, logprob, bytes };
}

/** What differs between the two streams. */
interface Frames {
	readonly begin: readonly unknown[];
	delta(text: string, scored: readonly Scored[] | null): unknown;
	end(reason: string): unknown;
	usage(usage: unknown): unknown;
}

function event(value: unknown): string {
	return `data: ${JSON.stringify(value)}\n\n`;
}
