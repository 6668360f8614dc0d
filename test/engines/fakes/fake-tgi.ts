/**
 * Text Generation Inference, as its own specification has it: docs/openapi.json of huggingface/text-generation-inference and the router's source
 * beside it. A field that is not in a schema, or a value that `router/src/validation.rs` refuses, is noted as strayed.
 */
import { callIn, leastOf } from './fake-answers.ts';
import type { FakeExchange } from './fake-exchange.ts';
import { beginOfText, bytesOf, endOfText, likeliest, tokenize } from './fake-model.ts';
import { type FakeRequest, FakeServer, type FakeServerOptions } from './fake-server.ts';
import { FakeSlots, type FakeStep, type FakeWork } from './fake-slots.ts';
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

export interface FakeTgiOptions extends FakeServerOptions {
	readonly slots?: number;
	readonly stepMs?: number;
	readonly endsAfter?: number;
	readonly maxTotalTokens?: number;
}

type Body = Readonly<Record<string, unknown>>;
/** A number with these two as bounds that it may not have. */
const isInside = (least: number, most: number) => (value: unknown) => isBetween(least, most)(value) && value !== least && value !== most;
const isAbove0 = (value: unknown): boolean => isCount(value) && value !== 0;

/** GrammarType */
const isGrammar = isRecord({ type: isOneOf('json'), value: isObject });

/** GenerateParameters, with the bounds of validation.rs: `top_p` in (0, 1), `temperature` above 0, four stop strings at most. */
const parameters: BodyFields = {
	'max_new_tokens?': isAbove0,
	'details?': isFlag,
	'decoder_input_details?': isOneOf(false),
	'return_full_text?': isFlag,
	'do_sample?': isFlag,
	'temperature?': isInside(0, 100),
	'top_k?': isAbove0,
	'top_p?': isInside(0, 1),
	'typical_p?': isInside(0, 1),
	'repetition_penalty?': isInside(0, 100),
	'frequency_penalty?': isInside(-2, 2),
	'stop?': (value) => isListOf(isText)(value) && (value as readonly string[]).length <= 4,
	'seed?': isAbove0,
	'grammar?': isGrammar,
	// `--max-top-n-tokens`, 5 where it is not given
	'top_n_tokens?': isBetween(0, 5),
};
/** Tool of FunctionDefinition, whose `arguments` are called `parameters` too and must be there */
const isTool = isRecord({
	type: isOneOf('function'),
	function: isRecord({ name: isText, 'description?': isText, parameters: isObject }),
});
/** ToolChoice: `auto` where it is left out */
const isToolChoice = isEither(
	isOneOf('auto', 'none', 'required'),
	isRecord({ type: isOneOf('function'), function: isRecord({ name: isText }) }),
);
/** Message of MessageBody, which is a content or calls */
const messageFields: BodyFields = {
	role: isText,
	'content?': isText,
	'name?': isText,
	'tool_call_id?': isText,
	'tool_calls?': isListOf(isRecord({ id: isText, type: isOneOf('function'), function: isRecord({ name: isText, arguments: isText }) })),
};
/** ChatRequest */
const chatFields: BodyFields = {
	messages: isListOf(isObject),
	'model?': isText,
	'stream?': isFlag,
	'stream_options?': isObject,
	'max_tokens?': isAbove0,
	'temperature?': isBetween(0, 2),
	'top_p?': isInside(0, 1),
	'seed?': isCount,
	'stop?': (value) => isListOf(isText)(value) && (value as readonly string[]).length <= 4,
	'presence_penalty?': isBetween(-2, 2),
	'frequency_penalty?': isBetween(-2, 2),
	'logprobs?': isFlag,
	'top_logprobs?': isBetween(0, 5),
	'response_format?': isGrammar,
	'tools?': isListOf(isTool),
	'tool_choice?': isToolChoice,
};

/** One token of a stream; `end`: of the last. */
interface Told {
	readonly id: number;
	readonly text: string;
	readonly logprob: number;
	readonly special: boolean;
	readonly made: number;
	readonly end: 'length' | 'eos_token' | 'stop_sequence' | null;
}

export class FakeTgi {
	readonly server: FakeServer;
	readonly slots: FakeSlots;
	readonly model = 'org/fake-7b-instruct';
	readonly #maxTotalTokens: number;
	/** The next request has this error in place of its answer, as an event. */
	nextError: { readonly error: string; readonly error_type: string } | null = null;

	constructor({ slots = 4, stepMs = 0, endsAfter = 500, maxTotalTokens = 2_048, ...options }: FakeTgiOptions = {}) {
		this.#maxTotalTokens = maxTotalTokens;
		this.server = new FakeServer(options);
		this.slots = new FakeSlots({ slots, stepMs, endsAfter });
		// server.rs: the layer of `--api-key` answers a status alone, axum's fallback too.
		this.server.refuse = (exchange, status) => exchange.answer(status, {}, '');
		// openapi.json, `/health`: 200 or 503, without a body
		this.server.on('GET', '/health', (exchange) => exchange.answer(200, {}, ''));
		// Info
		this.server.on('GET', '/info', (exchange) =>
			exchange.json(200, {
				model_id: this.model,
				model_sha: 'e985a63c',
				model_pipeline_tag: 'text-generation',
				max_concurrent_requests: 128,
				max_best_of: 2,
				max_stop_sequences: 4,
				max_input_tokens: maxTotalTokens - 1,
				max_total_tokens: maxTotalTokens,
				validation_workers: 2,
				max_client_batch_size: 4,
				router: 'text-generation-router',
				version: '3.3.4',
				sha: null,
				docker_label: null,
			}),
		);
		// backends/v3/src/queue.rs and backend.rs: gauges without labels
		this.server.on('GET', '/metrics', (exchange) => {
			const text = `# TYPE tgi_queue_size gauge\ntgi_queue_size ${this.slots.waiting}\n\n# TYPE tgi_batch_current_size gauge\ntgi_batch_current_size ${this.slots.busy}\n`;
			exchange.answer(200, { 'content-type': 'text/plain; charset=utf-8' }, text);
		});
		// GenerateRequest → TokenizeResponse, a list of SimpleToken
		this.server.on('POST', '/tokenize', (exchange, { body, path }) => {
			const { inputs } = strictBody(body, { inputs: isText, 'parameters?': isObject }, path, this.#stray);
			exchange.json(200, simpleTokens(prompted(String(inputs))));
		});
		// ChatRequest → ChatTokenizeResponse
		this.server.on('POST', '/chat_tokenize', (exchange, { body, path }) => {
			const text = this.#template(strictBody(body, chatFields, path, this.#stray)['messages']);
			exchange.json(200, { tokenize_response: simpleTokens(tokenize(text)), templated_text: text });
		});
		this.server.on('POST', '/generate_stream', (exchange, request) => this.#generate(exchange, request));
		this.server.on('POST', '/v1/chat/completions', (exchange, request) => this.#chat(exchange, request));
	}

	/** GenerateRequest → StreamResponse, one a token; `generated_text` and StreamDetails with the last. */
	#generate(exchange: FakeExchange, request: FakeRequest): void {
		const { inputs, parameters: given } = this.#body(request, { inputs: isText, 'parameters?': isObject });
		const asked = strictFields(given ?? {}, parameters, 'parameters', this.#stray);
		if (asked['do_sample'] !== true)
			for (const name of ['temperature', 'top_k', 'top_p']) if (name in asked) this.#stray(`${name} without do_sample`);
		const prompt = prompted(String(inputs));
		let text = '';
		let index = 0;
		this.#run(
			exchange,
			prompt,
			{ ...asked, max_tokens: asked['max_new_tokens'] ?? 100, greedy: asked['do_sample'] !== true },
			formIn(asked['grammar']),
			{
				tell: ({ end, made, ...token }) => {
					if (!token.special) text += token.text;
					index += 1;
					const details = { finish_reason: end, generated_tokens: made, seed: asked['seed'] ?? null, input_length: prompt.length };
					const { id, logprob, special } = token;
					// StreamResponse: `skip_serializing_if = "Vec::is_empty"`
					const tops = topTokens(token, asked['top_n_tokens']);
					return [
						event({
							index,
							token: { id, text: token.text, logprob, special },
							...(tops.length === 0 ? {} : { top_tokens: tops }),
							generated_text: end === null ? null : text,
							details: end === null || asked['details'] !== true ? null : details,
						}),
					];
				},
				last: () => [],
			},
		);
	}

	/** ChatRequest → ChatCompletionChunk; one with the usage behind the last where that is asked for; `[DONE]`. */
	#chat(exchange: FakeExchange, request: FakeRequest): void {
		const asked = this.#body(request, chatFields);
		if (asked['stream'] !== true) this.#stray('it is asked without stream, which no answer of this fake has');
		const options = strictFields(asked['stream_options'] ?? {}, { 'include_usage?': isFlag }, 'stream_options', this.#stray);
		// lib.rs, prepare_chat_input: 422
		if (asked['response_format'] !== undefined && asked['tools'] !== undefined)
			return exchange.json(422, { error: 'Grammar and tools are mutually exclusive', error_type: 'grammar and tools' });
		const call = callIn(asked);
		// infer/tool_grammar.rs: `{"function": {"_name": …, the arguments}}`
		const called = call === null ? null : { function: { _name: call.name, ...(JSON.parse(call.arguments) as object) } };
		const calls = call === null ? null : new CallState();
		const prompt = tokenize(this.#template(asked['messages']));
		let created = 1_706_270_978;
		let tokens = 0;
		const chunk = (choices: readonly unknown[], usage: unknown): string =>
			event({
				object: 'chat.completion.chunk',
				id: '',
				created: (created += 1),
				model: this.model,
				system_fingerprint: '3.3.4-native',
				choices,
				usage,
			});
		this.#run(
			exchange,
			prompt,
			{ ...asked, greedy: asked['temperature'] === 0 },
			called === null ? formIn(asked['response_format']) : JSON.stringify(called),
			{
				tell: ({ made, end, ...token }) => {
					tokens = made;
					const part = calls?.push(token.text);
					// chat.rs: nothing is told of what is no part of a call, the end among it
					if (part === null) return [];
					const delta =
						part === undefined
							? { role: 'assistant', content: token.special ? '' : token.text }
							: { role: 'assistant', tool_calls: [part] };
					const reason = end === null || end === 'length' ? end : 'stop';
					// `impl From<(Token, Vec<Token>)> for ChatCompletionLogprobs`
					const tops = topTokens(token, asked['top_logprobs']).map(({ text, logprob }) => ({ token: text, logprob }));
					const logprobs =
						asked['logprobs'] === true ? { content: [{ token: token.text, logprob: token.logprob, top_logprobs: tops }] } : null;
					return [chunk([{ index: 0, delta, logprobs, finish_reason: reason }], null)];
				},
				last: () => {
					const usage = { prompt_tokens: prompt.length, completion_tokens: tokens, total_tokens: prompt.length + tokens };
					return [...(options['include_usage'] === true ? [chunk([], usage)] : []), 'data: [DONE]\n\n'];
				},
			},
		);
	}

	#run(
		exchange: FakeExchange,
		prompt: readonly number[],
		asked: Body & { readonly greedy: boolean },
		says: string | null,
		{ tell, last }: { tell(told: Told): readonly string[]; last(): readonly string[] },
	): void {
		const maxTokens = Number(asked['max_tokens'] ?? 100);
		// Sse with its KeepAlive: comments, the first may come before any event.
		exchange.beginEvents({ 'x-compute-type': 'gpu+optimized', 'x-accel-buffering': 'no' });
		const long = prompt.length + maxTokens > this.#maxTotalTokens;
		const error = long
			? {
					error: `Input validation error: \`inputs\` tokens + \`max_new_tokens\` must be <= ${this.#maxTotalTokens}`,
					error_type: 'validation',
				}
			: this.nextError;
		this.nextError = null;
		if (error !== null) return exchange.endEvents(event(error));
		exchange.event(':\n\n');
		const stop = (asked['stop'] ?? []) as readonly string[];
		let output = '';
		let before: FakeStep | null = null;
		const told = ({ id, text, logprob, made }: FakeStep, end: Told['end']): readonly string[] =>
			tell({ id, text, logprob, special: false, made, end });
		const work: FakeWork = {
			prompt,
			maxTokens,
			stop: [],
			seed: asked.greedy ? null : Number(asked['seed'] ?? 0),
			...(says === null ? {} : { says: tokenize(says) }),
			token: (step) => {
				output += step.text;
				// server/text_generation_server/utils/tokens.py, StopSequenceCriteria: `.*{stop}$`, looked for once a token is made.
				if (step.text !== '' && stop.some((word) => output.endsWith(word))) {
					exchange.endEvents(...told(step, 'stop_sequence'), ...last());
					return this.slots.drop(work);
				}
				before = step.made >= maxTokens ? step : null;
				if (before === null) for (const each of told(step, null)) exchange.event(each);
			},
			ended: ({ reason, made }) => {
				const end = { id: endOfText, text: '</s>', logprob: -0.5, special: true, made, end: 'eos_token' } as const;
				exchange.endEvents(...(reason === 'length' && before !== null ? told(before, 'length') : tell(end)), ...last());
			},
		};
		exchange.onGone(() => this.slots.drop(work));
		this.slots.add(work);
	}

	#body(request: FakeRequest, fields: BodyFields): Body {
		const accepts = request.headers.get('accept') ?? '';
		if (!accepts.includes('text/event-stream') && !accepts.includes('*/*')) this.#stray(`${request.path} accepts ${accepts}`);
		return strictBody(request.body, fields, request.path, this.#stray);
	}

	readonly #stray = (words: string): void => this.server.stray(words);

	/** Message; the template of the model. */
	#template(messages: unknown): string {
		const turns = (messages as readonly unknown[]).map((message) => strictFields(message, messageFields, 'a message', this.#stray));
		return `${turns.map(({ role, content }) => `<${String(role)}> ${typeof content === 'string' ? content : 'calls'}\n`).join('')}<assistant>`;
	}
}

/**
 * chat.rs, `ChatState::push`: nothing until the name is known, then `{` beside it, then each token, and of the last brace but one. A comma
 * behind the name is of its token, as the vocabularies of models have it.
 */
class CallState {
	#text = '';
	#state: 'buffering' | 'tool' = 'buffering';

	push(token: string): unknown {
		this.#text += token;
		if (this.#state === 'tool') {
			const whole = isJson(this.#text);
			if (whole) this.#state = 'buffering';
			return deltaOf(null, whole ? token.trimEnd().replace(/\}$/, '') : token);
		}
		const partial = this.#text.replace(/[\s,}]+$/, '');
		if (partial === this.#text || !isJson(`${partial}}}`)) return null;
		const { function: named } = JSON.parse(`${partial}}}`) as { function: { _name: string } };
		this.#state = 'tool';
		return deltaOf(named._name, '{');
	}
}

/** DeltaToolCall: id and type with each. */
function deltaOf(name: string | null, given: string): unknown {
	return { index: 0, id: '0', type: 'function', function: { name, arguments: given } };
}

function isJson(text: string): boolean {
	try {
		JSON.parse(text);
		return true;
	} catch (error) {
		if (!(error instanceof SyntaxError)) throw error;
		return false;
	}
}

/** GrammarType of `json`; null: any text will do. */
function formIn(grammar: unknown): string | null {
	const { value } = (grammar ?? {}) as { value?: Body };
	return value === undefined ? null : JSON.stringify(leastOf(value));
}

/** Token of `top_tokens`. */
function topTokens({ id, logprob }: Pick<Told, 'id' | 'logprob'>, count: unknown): readonly Omit<Told, 'made' | 'end'>[] {
	return likeliest({ id, logprob }, Number(count ?? 0)).map((top) => ({ ...top, text: bytesOf(top.id).toString(), special: false }));
}

/** The tokenizer puts a token of its own before a text. */
function prompted(text: string): number[] {
	return [beginOfText, ...tokenize(text)];
}

function simpleTokens(ids: readonly number[]): readonly unknown[] {
	let start = 0;
	return ids.map((id) => {
		const text = bytesOf(id).toString();
		const token = { id, text, start, stop: start + text.length };
		start = token.stop;
		return token;
	});
}

/** axum's `Event::json_data`: no space behind the colon. */
function event(value: unknown): string {
	return `data:${JSON.stringify(value)}\n\n`;
}
