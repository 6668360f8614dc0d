/**
 * What TGI is asked: `GenerateRequest` and `ChatRequest` of `docs/openapi.json` in huggingface/text-generation-inference, within what
 * `router/src/validation.rs` lets through. Pure.
 */
import type { GenerateRequest } from '../../actors/serving/decode.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { PromptInput, Sampling } from '../../actors/serving/task-request.ts';
import { chatBody } from '../openai/openai-requests.ts';
import { type Fields, fieldsOf, listOf } from '../upstream/json-fields.ts';

/** It takes seeds above 0 only; no task has this one. */
const seedOfZero = 0xffff_ffff;

/** `--max-stop-sequences`, where nobody says another: those beyond it are cut here alone, as all are. */
const stopsMax = 4;

/** Words for what it does not have; null: it has all. */
export function beyondTgi({ sampling, input }: GenerateRequest, chat: boolean): Failure | null {
	const none = chat ? 'the chat of TGI has none; a raw prompt may have it' : 'TGI has none';
	if (sampling.grammar !== null) return failure('INVALID_PARAMS', 'sampling.grammar is given; TGI takes JSON schemas only');
	if (input.kind === 'messages') {
		if (input.toolUse !== undefined && schemaOf(sampling) !== null)
			return failure('INVALID_PARAMS', 'tools are given with a JSON schema; TGI does one of them');
		if (input.toolUse !== undefined && sampling.logprobs)
			return failure('INVALID_PARAMS', 'sampling.logprobs is given with tools; the engine does one of them');
		if (input.messages.some(({ parts }) => parts !== undefined))
			return failure('INVALID_PARAMS', 'messages have parts that are no text; TGI is asked for text only');
		if (Object.keys(input.templateArgs ?? {}).length > 0)
			return failure('INVALID_PARAMS', 'arguments of the template are given; TGI takes none');
	}
	if (sampling.logitBias !== undefined) return failure('INVALID_PARAMS', 'sampling.logit_bias is given; TGI has none');
	if (sampling.minP > 0) return failure('INVALID_PARAMS', 'sampling.min_p is given; TGI has none');
	if (sampling.presencePenalty !== 0 && !chat) return failure('INVALID_PARAMS', `sampling.presence_penalty is given; ${none}`);
	if (sampling.repeatPenalty !== 1 && chat) return failure('INVALID_PARAMS', `sampling.repeat_penalty is given; ${none}`);
	return null;
}

export function generateBody(inputs: string, { sampling, seed }: GenerateRequest, maxTokens: number): Fields {
	const { temperature, topLogprobs = 0 } = sampling;
	const samples = temperature > 0;
	return {
		inputs,
		parameters: {
			max_new_tokens: maxTokens,
			details: true,
			decoder_input_details: false,
			return_full_text: false,
			do_sample: samples,
			...(samples ? { temperature, seed: seed === 0 ? seedOfZero : seed } : {}),
			...(topLogprobs > 0 ? { top_n_tokens: topLogprobs } : {}),
			...(samples && sampling.topK > 0 ? { top_k: sampling.topK } : {}),
			...nucleus(sampling),
			...(sampling.repeatPenalty === 1 ? {} : { repetition_penalty: sampling.repeatPenalty }),
			...more(sampling),
			...(schemaOf(sampling) === null ? {} : { grammar: schemaOf(sampling) }),
		},
	};
}

/** Messages and tools as TGI has them: a message has a content or calls, a tool its parameters, and there is one call at most. */
export function tgiChat(input: Exclude<PromptInput, { kind: 'inputs' }>): Fields {
	const { messages, tools, parallel_tool_calls: _one, ...more } = chatBody(input);
	return {
		...more,
		messages: listOf(messages).map((message) => {
			const { content, ...calls } = fieldsOf(message);
			return content === '' && calls['tool_calls'] !== undefined ? calls : message;
		}),
		...(tools === undefined ? {} : { tools: listOf(tools).map(toolOf) }),
	};
}

function toolOf(tool: unknown): Fields {
	const { name, description, parameters } = fieldsOf(fieldsOf(tool)['function']) as Fields & { parameters?: unknown };
	const known = { name, ...(description === undefined ? {} : { description }) };
	return { type: 'function', function: { ...known, parameters: parameters ?? { type: 'object', properties: {} } } };
}

export function tgiChatBody(chat: Fields, { sampling, seed }: GenerateRequest, maxTokens: number): Fields {
	const { topLogprobs = 0 } = sampling;
	return {
		// Any other is taken for the name of an adapter.
		model: 'tgi',
		...chat,
		stream: true,
		stream_options: { include_usage: true },
		max_tokens: maxTokens,
		temperature: sampling.temperature,
		seed: seed === 0 ? seedOfZero : seed,
		...nucleus(sampling),
		...(sampling.logprobs ? { logprobs: true } : {}),
		...(topLogprobs > 0 ? { top_logprobs: topLogprobs } : {}),
		...(sampling.presencePenalty === 0 ? {} : { presence_penalty: sampling.presencePenalty }),
		...more(sampling),
		...(schemaOf(sampling) === null ? {} : { response_format: schemaOf(sampling) }),
	};
}

/** 1 is refused: to leave it out means "off". */
function nucleus({ topP, temperature }: Sampling): Fields {
	return topP > 0 && topP < 1 && temperature > 0 ? { top_p: topP } : {};
}

function more({ frequencyPenalty, stop }: Sampling): Fields {
	return {
		...(frequencyPenalty === 0 ? {} : { frequency_penalty: frequencyPenalty }),
		...(stop.length === 0 ? {} : { stop: stop.slice(0, stopsMax) }),
	};
}

function schemaOf({ jsonSchema, jsonObject }: Sampling): Fields | null {
	if (jsonObject === true) return { type: 'json', value: { type: 'object' } };
	return jsonSchema === null || jsonSchema === undefined ? null : { type: 'json', value: jsonSchema };
}
