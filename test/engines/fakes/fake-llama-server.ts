/**
 * llama-server, as `tools/server/README.md` of ggml-org/llama.cpp says what it takes, and its source what it answers
 * (`fake-llama-frames.ts`). Knows no field that it does not, and says so by `strayed`.
 */
import { callIn, formIn, leastOf } from './fake-answers.ts';
import type { FakeExchange } from './fake-exchange.ts';
import {
	callDeltaOf,
	chatChunkOf,
	dataOf,
	errorOf,
	finalOf,
	modelsOf,
	partialOf,
	propsOf,
	scoreOf,
	usageChunkOf,
} from './fake-llama-frames.ts';
import { beginOfText, bytesOf, endOfText, likeliest, tokenize } from './fake-model.ts';
import { type FakeRequest, FakeServer, type FakeServerOptions } from './fake-server.ts';
import { FakeSlots, type FakeSlotsOptions, type FakeWork } from './fake-slots.ts';
import { isBias, isEffort, isResponseFormat, isTool, isToolChoice, messageFields } from './openai-shapes.ts';
import {
	type BodyFields,
	isCount,
	isEither,
	isFlag,
	isListOf,
	isNumber,
	isObject,
	isOneOf,
	isRecord,
	isText,
	strictBody,
	strictFields,
} from './strict-body.ts';

export interface FakeLlamaOptions extends FakeServerOptions, Partial<FakeSlotsOptions> {
	readonly ctx?: number;
	/** What it was started with: nothing, `--embeddings`, or `--reranking`. */
	readonly mode?: 'completion' | 'embedding' | 'rerank';
	/** Without `--no-slots`. */
	readonly slotsPath?: boolean;
	/** With `--metrics`. */
	readonly metricsPath?: boolean;
	readonly kvUsage?: number;
}

/** POST /completion, "Options"; those that some client may send. */
const completionFields: BodyFields = {
	prompt: isEither(isText, isListOf(isEither(isText, isCount))),
	'stream?': isFlag,
	'n_predict?': (value) => Number.isSafeInteger(value) && Number(value) >= -1,
	'seed?': isCount,
	'temperature?': isNumber,
	'top_k?': isCount,
	'top_p?': isNumber,
	'min_p?': isNumber,
	'repeat_penalty?': isNumber,
	'presence_penalty?': isNumber,
	'frequency_penalty?': isNumber,
	'ignore_eos?': isFlag,
	'stop?': isListOf(isText),
	'grammar?': isText,
	'json_schema?': isObject,
	'logit_bias?': isBias,
	'n_probs?': isCount,
	'id_slot?': (value) => Number.isSafeInteger(value),
	'cache_prompt?': isFlag,
	'return_tokens?': isFlag,
};

/** POST /v1/chat/completions: OpenAI's fields, and "llama.cpp `/completion`-specific features". */
const { prompt: _prompt, ...specific } = completionFields;
const chatFields: BodyFields = {
	...specific,
	'model?': isText,
	messages: isListOf(isObject),
	'max_tokens?': isCount,
	'stream_options?': isRecord({ 'include_usage?': isFlag }),
	'response_format?': isResponseFormat,
	'tools?': isListOf(isTool),
	'tool_choice?': isToolChoice,
	'parallel_tool_calls?': isFlag,
	'chat_template_kwargs?': isObject,
	'reasoning_effort?': isEffort,
};

type Body = Readonly<Record<string, unknown>>;

export class FakeLlamaServer {
	readonly server: FakeServer;
	readonly slots: FakeSlots;
	readonly model = 'fake.gguf';
	readonly #ctx: number;
	readonly #count: number;
	readonly #mode: FakeLlamaOptions['mode'];
	/** What each slot holds. */
	readonly #held: (readonly number[])[];
	/** `llamacpp:kv_cache_usage_ratio`: "KV-cache usage. 1 means 100 percent usage", README.md of b5000; later builds have none. */
	kvUsage: number | null;
	#answers = 0;

	constructor(options: FakeLlamaOptions = {}) {
		const { slots = 4, ctx = 2_048, mode = 'completion', slotsPath = true, metricsPath = false } = options;
		this.server = new FakeServer(options);
		this.slots = new FakeSlots({ ...options, slots });
		this.kvUsage = options.kvUsage ?? null;
		this.#ctx = ctx;
		this.#count = slots;
		this.#mode = mode;
		this.#held = Array.from({ length: slots }, () => []);
		const { server } = this;
		// "This endpoint is public (no API key check)"; so is the list of models (server-http.cpp, public_endpoints).
		for (const path of ['/health', '/v1/models']) server.keyless.add(path);
		// server-http.cpp: `middleware_validate_api_key`, and the handler of errors for a path that is none
		server.refuse = (exchange, status) =>
			status === 401
				? exchange.json(401, errorOf(401, 'authentication_error', 'Invalid API Key'))
				: exchange.json(404, errorOf(404, 'not_found_error', 'File Not Found'));
		// README.md, "GET `/health`"; server-context.cpp, `get_health`
		server.on('GET', '/health', (exchange) => exchange.json(200, { status: 'ok' }));
		// README.md, "GET `/props`"
		server.on('GET', '/props', (exchange) =>
			exchange.json(200, propsOf(slots, ctx, "{% for m in messages %}{{ m['content'] }}{% endfor %}")),
		);
		// README.md, "GET `/v1/models`"
		server.on('GET', '/v1/models', (exchange) => exchange.json(200, modelsOf(this.model, ctx)));
		// README.md, "GET `/slots`": 501 with `--no-slots`
		server.on('GET', '/slots', (exchange) => (slotsPath ? exchange.json(200, this.#slotList()) : this.#notSupported(exchange)));
		// README.md, "GET `/metrics`": 501 without `--metrics`
		server.on('GET', '/metrics', (exchange) => (metricsPath ? this.#metrics(exchange) : this.#notSupported(exchange)));
		server.on('POST', '/tokenize', (exchange, request) => this.#tokenize(exchange, request));
		// README.md, "POST `/detokenize`"
		server.on('POST', '/detokenize', (exchange, request) => {
			const { tokens } = this.#body(request, { tokens: isListOf(isCount) }) as { tokens: readonly number[] };
			exchange.json(200, { content: Buffer.concat(tokens.map(bytesOf)).toString() });
		});
		// README.md, "POST `/apply-template`": "the same as `/v1/chat/completions`", of which it reads these
		server.on('POST', '/apply-template', (exchange, request) => {
			const body = this.#body(request, { messages: isListOf(isObject), 'tools?': isListOf(isTool), 'chat_template_kwargs?': isObject });
			exchange.json(200, { prompt: this.#template(body['messages']) });
		});
		this.#serve('completion', '/completion', (exchange, request) => this.#completion(exchange, request));
		this.#serve('completion', '/v1/chat/completions', (exchange, request) => this.#chat(exchange, request));
		this.#serve('embedding', '/v1/embeddings', (exchange, request) => this.#embeddings(exchange, request));
		this.#serve('rerank', '/v1/rerank', (exchange, request) => this.#rerank(exchange, request));
	}

	/** Answers 501 where it was not started for it, and an empty body 400 before any work. */
	#serve(mode: FakeLlamaOptions['mode'], path: string, handler: (exchange: FakeExchange, request: FakeRequest) => void): void {
		this.server.on('POST', path, (exchange, request) => {
			// A server that ranks has embeddings on.
			if (mode !== this.#mode && !(mode === 'embedding' && this.#mode === 'rerank')) return this.#notSupported(exchange);
			if (request.body === '{}') return exchange.json(400, errorOf(400, 'invalid_request_error', 'something must be provided'));
			handler(exchange, request);
		});
	}

	/** `format_error_response` of `ERROR_TYPE_NOT_SUPPORTED`, server-common.cpp. */
	#notSupported(exchange: FakeExchange): void {
		exchange.json(501, errorOf(501, 'not_supported_error', 'This server does not support this. Start it with a flag'));
	}

	/** `server_slot::to_json`, server-context.cpp, abridged to what a client may look at. */
	#slotList(): unknown {
		return Array.from({ length: this.#count }, (_, id) => ({
			id,
			id_task: this.slots.isBusy(id) ? 7 : -1,
			n_ctx: this.#ctx,
			speculative: false,
			is_processing: this.slots.isBusy(id),
		}));
	}

	/** README.md, "Available metrics". */
	#metrics(exchange: FakeExchange): void {
		const text = `# TYPE llamacpp:requests_processing gauge\nllamacpp:requests_processing ${this.slots.busy}\nllamacpp:requests_deferred ${this.slots.waiting}\n`;
		const kv = this.kvUsage === null ? '' : `# TYPE llamacpp:kv_cache_usage_ratio gauge\nllamacpp:kv_cache_usage_ratio ${this.kvUsage}\n`;
		exchange.answer(200, { 'content-type': 'text/plain; version=0.0.4' }, text + kv);
	}

	/** POST /tokenize, README.md. */
	#tokenize(exchange: FakeExchange, request: FakeRequest): void {
		const fields = { content: isText, 'add_special?': isFlag, 'parse_special?': isFlag, 'with_pieces?': isFlag };
		const body = this.#body(request, fields);
		const ids = [...(body['add_special'] === true ? [beginOfText] : []), ...tokenize(String(body['content']))];
		const piece = (id: number): unknown => {
			const text = bytesOf(id).toString();
			return text.includes('\u{fffd}') ? [...bytesOf(id)] : text;
		};
		exchange.json(200, { tokens: body['with_pieces'] === true ? ids.map((id) => ({ id, piece: piece(id) })) : ids });
	}

	/** POST /completion, README.md; frames in `fake-llama-frames.ts`. */
	#completion(exchange: FakeExchange, request: FakeRequest): void {
		const body = this.#body(request, completionFields);
		this.#accepts(request, 'text/event-stream');
		const parts = Array.isArray(body['prompt']) ? (body['prompt'] as readonly (string | number)[]) : [String(body['prompt'])];
		// `tokenize_mixed`: the text first, with what it begins with.
		const prompt = [beginOfText, ...parts.flatMap((part) => (typeof part === 'number' ? [part] : tokenize(part)))];
		if (this.#tooLong(exchange, prompt)) return;
		const probs = Number(body['n_probs'] ?? 0);
		let slot = 0;
		let cached = 0;
		const partial = (text: string, id: number, logprob: number, made: number): void => {
			const tops = likeliest({ id, logprob }, probs).map((top) => scoreOf(top.id, bytesOf(top.id), top.logprob));
			const score = probs === 0 ? null : { ...scoreOf(id, Buffer.from(text), logprob), top_logprobs: tops };
			exchange.event(dataOf(partialOf(text, id, made, prompt.length, score)));
		};
		const schema = body['json_schema'] as Body | undefined;
		const form = schema === undefined ? null : JSON.stringify(leastOf(schema));
		this.#generate(exchange, body, prompt, Number(body['n_predict'] ?? -1), form, {
			begun: (taken, inCache) => {
				slot = taken;
				cached = inCache;
				exchange.beginEvents();
			},
			// `process_token`: nothing is sent of a character that is not whole.
			token: ({ text, id, logprob, made, halfCharacter }) => {
				if (!halfCharacter) partial(text, id, logprob, made);
			},
			ended: ({ reason, text, made, stopString }) => {
				if (reason === 'end-of-text') partial(text, endOfText, 0, made);
				const final = {
					slot,
					model: this.model,
					predicted: made,
					evaluated: prompt.length,
					cached,
					prompt: Buffer.concat(prompt.map(bytesOf)).toString(),
					stopType: reason === 'length' ? 'limit' : reason === 'end-of-text' ? 'eos' : 'word',
					stoppingWord: stopString,
					settings: { seed: body['seed'], n_predict: body['n_predict'], stream: true },
				} as const;
				// Without `[DONE]`: that is of OpenAI's paths (`server_res_generator`, server-context.cpp).
				exchange.endEvents(dataOf(finalOf(final)));
			},
		});
	}

	/** POST /v1/chat/completions, README.md; frames in `fake-llama-frames.ts`. */
	#chat(exchange: FakeExchange, request: FakeRequest): void {
		const body = this.#body(request, chatFields);
		this.#accepts(request, 'text/event-stream');
		const prompt = [beginOfText, ...tokenize(this.#template(body['messages']))];
		if (this.#tooLong(exchange, prompt)) return;
		const id = `chatcmpl-${this.#answers++}`;
		const say = (delta: unknown, reason: string | null = null): string => dataOf(chatChunkOf(id, this.model, delta, reason));
		let cached = 0;
		const call = callIn(body);
		const said = (text: string): string => say(call === null ? { content: text } : callDeltaOf(text));
		this.#generate(exchange, body, prompt, Number(body['max_tokens'] ?? -1), call?.arguments ?? formIn(body), {
			begun: (_slot, inCache) => {
				cached = inCache;
				exchange.beginEvents();
			},
			token: ({ text, made, halfCharacter }) => {
				if (made === 1 && !halfCharacter) exchange.event(say({ role: 'assistant', content: null }));
				if (made === 1 && call !== null) exchange.event(say(callDeltaOf('', call.name)));
				if (text !== '') exchange.event(said(text));
			},
			ended: ({ reason, text, made }) => {
				const { include_usage: usage } = (body['stream_options'] ?? {}) as { include_usage?: boolean };
				exchange.endEvents(
					...(text === '' || reason === 'length' ? [] : [said(text)]),
					// `to_json_oaicompat_chat_stream`: `oaicompat_msg.tool_calls.empty() ? "stop" : "tool_calls"`, of a named one too
					say({}, reason === 'length' ? 'length' : call === null ? 'stop' : 'tool_calls'),
					...(usage === true ? [dataOf(usageChunkOf(id, this.model, prompt.length, cached, made))] : []),
					'data: [DONE]\n\n',
				);
			},
		});
	}

	#generate(
		exchange: FakeExchange,
		body: Body,
		prompt: readonly number[],
		maxTokens: number,
		says: string | null,
		told: Pick<FakeWork, 'token' | 'ended'> & { begun(slot: number, cached: number): void },
	): void {
		if (body['stream'] !== true) this.#stray('it is asked without stream, which no answer of this fake has');
		const pinned = Number(body['id_slot'] ?? -1);
		const work: FakeWork = {
			prompt,
			maxTokens: maxTokens < 0 ? 1_000_000 : maxTokens,
			stop: (body['stop'] ?? []) as readonly string[],
			seed: body['temperature'] === 0 ? null : Number(body['seed'] ?? 0),
			...(says === null ? {} : { says: tokenize(says) }),
			...(body['ignore_eos'] === true ? { endsNotBefore: Number.POSITIVE_INFINITY } : {}),
			...(pinned < 0 ? {} : { slot: pinned }),
			begun: (slot) => {
				const held = this.#held[slot] ?? [];
				const shared = held.findIndex((id, index) => id !== prompt[index]);
				const inCache = body['cache_prompt'] === false ? 0 : Math.min(shared < 0 ? held.length : shared, prompt.length - 1);
				this.#held[slot] = prompt;
				told.begun(slot, inCache);
			},
			token: told.token,
			ended: told.ended,
		};
		exchange.onGone(() => this.slots.drop(work));
		this.slots.add(work);
	}

	/** POST /v1/embeddings: `format_embeddings_response_oaicompat`, server-common.cpp. */
	#embeddings(exchange: FakeExchange, request: FakeRequest): void {
		const fields = { 'model?': isText, input: isListOf(isText), 'encoding_format?': isOneOf('float', 'base64') };
		const inputs = this.#body(request, fields)['input'] as readonly string[];
		const tokens = inputs.reduce((sum, input) => sum + tokenize(input).length, 0);
		const data = inputs.map((input, index) => ({ embedding: [input.length, 0.5], index, object: 'embedding' }));
		exchange.json(200, { model: this.model, object: 'list', usage: { prompt_tokens: tokens, total_tokens: tokens }, data });
	}

	/** POST /v1/rerank: `format_response_rerank`, server-common.cpp; the best first. */
	#rerank(exchange: FakeExchange, request: FakeRequest): void {
		const fields = { 'model?': isText, query: isText, documents: isListOf(isText), 'top_n?': isCount };
		const { query, documents } = this.#body(request, fields) as { query: string; documents: readonly string[] };
		this.#accepts(request, 'application/json');
		const results = documents.map((document, index) => ({
			index,
			relevance_score: document.includes(query) ? 4.25 : -document.length / 4,
		}));
		results.sort((a, b) => b.relevance_score - a.relevance_score);
		const tokens = documents.reduce((sum, document) => sum + tokenize(query + document).length, 0);
		exchange.json(200, { model: this.model, object: 'list', usage: { prompt_tokens: tokens, total_tokens: tokens }, results });
	}

	#template(messages: unknown): string {
		const list = messages as readonly Body[];
		const turns = list.map((message) => {
			const { role, content } = strictFields(message, messageFields, 'a message', this.#stray);
			return `<|${String(role)}|>${String(content)}\n`;
		});
		return `${turns.join('')}<|assistant|>`;
	}

	/** `exceed_context_size_error`, server-context.cpp. */
	#tooLong(exchange: FakeExchange, prompt: readonly number[]): boolean {
		if (prompt.length < this.#ctx) return false;
		const words = `the request exceeds the available context size (${this.#ctx} tokens)`;
		exchange.json(400, errorOf(400, 'exceed_context_size_error', words, { n_prompt_tokens: prompt.length, n_ctx: this.#ctx }));
		return true;
	}

	#body(request: FakeRequest, fields: BodyFields): Body {
		return strictBody(request.body, fields, request.path, this.#stray);
	}

	#accepts(request: FakeRequest, type: string): void {
		if (request.headers.get('accept') !== type) this.#stray(`${request.path} accepts ${request.headers.get('accept')}`);
	}

	readonly #stray = (words: string): void => this.server.stray(words);
}
