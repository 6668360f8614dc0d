/**
 * What TGI is asked: `GenerateRequest` and `ChatRequest` of `docs/openapi.json` in huggingface/text-generation-inference, within what
 * `router/src/validation.rs` lets through. Pure.
 */
import type { GenerateRequest } from '../../actors/serving/decode.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { Sampling } from '../../actors/serving/task-request.ts';
import type { Fields } from '../upstream/json-fields.ts';

/** It takes seeds above 0 only; no task has this one. */
const seedOfZero = 0xffff_ffff;

/** Words for what it does not have; null: it has all. */
export function beyondTgi({ sampling, input }: GenerateRequest, chat: boolean): Failure | null {
	const none = chat ? 'the chat of TGI has none; a raw prompt may have it' : 'TGI has none';
	if (sampling.grammar !== null) return failure('INVALID_PARAMS', 'sampling.grammar is given; TGI takes JSON schemas only');
	if (input.kind === 'messages') {
		if (input.toolUse !== undefined) return failure('INVALID_PARAMS', 'tools are given; TGI is asked for text only');
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
		...(stop.length === 0 ? {} : { stop }),
	};
}

function schemaOf({ jsonSchema, jsonObject }: Sampling): Fields | null {
	if (jsonObject === true) return { type: 'json', value: { type: 'object' } };
	return jsonSchema === null || jsonSchema === undefined ? null : { type: 'json', value: jsonSchema };
}
