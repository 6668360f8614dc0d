/** What a model of Triton is asked, in the names of its backend; only by inputs that it has. Pure. */
import type { GenerateRequest } from '../../actors/serving/decode.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { Sampling } from '../../actors/serving/task-request.ts';
import { vllmSampling } from '../openai/openai-requests.ts';
import type { Fields } from '../upstream/json-fields.ts';
import type { TritonModel } from './triton-model.ts';

/** What it can do beside text, by names of `ReplicaFacts.features`. */
export function featuresOf({ dialect, inputs }: TritonModel): readonly string[] {
	if (dialect === 'vllm') return ['ignore_eos', 'min_tokens'];
	return [
		...(inputs.includes('guided_decoding_guide') ? ['json_schema', 'grammar'] : []),
		...(leastTokens.some((name) => inputs.includes(name)) ? ['min_tokens'] : []),
	];
}

/** What versions of the TensorRT-LLM backend call it. */
const leastTokens = ['min_tokens', 'min_length'] as const;

/** Words for what the model does not take; null: it takes all. What only makes a text likelier is left out without words. */
export function beyondTriton({ sampling }: GenerateRequest, model: TritonModel): Failure | null {
	const lacks = (name: string): boolean => model.dialect === 'tensorrt' && !model.inputs.includes(name);
	const features = featuresOf(model);
	const guided = features.includes('json_schema');
	const schema = sampling.jsonSchema !== null && sampling.jsonSchema !== undefined;
	const given: readonly (readonly [field: string, beyond: boolean])[] = [
		['logprobs', sampling.logprobs],
		['logit_bias', sampling.logitBias !== undefined],
		['grammar', sampling.grammar !== null && !guided],
		['json_schema', (schema || sampling.jsonObject === true) && !guided],
		['ignore_eos', sampling.ignoreEos === true && !features.includes('ignore_eos')],
		['min_tokens', (sampling.minTokens ?? 0) > 0 && !features.includes('min_tokens')],
		['min_p', sampling.minP > 0 && lacks('min_p')],
		['repeat_penalty', sampling.repeatPenalty !== 1 && lacks('repetition_penalty')],
		['presence_penalty', sampling.presencePenalty !== 0 && lacks('presence_penalty')],
		['frequency_penalty', sampling.frequencyPenalty !== 0 && lacks('frequency_penalty')],
	];
	const field = given.find(([, beyond]) => beyond)?.[0];
	return field === undefined ? null : failure('INVALID_PARAMS', `sampling.${field} is given; the model of the engine has no input for it`);
}

export function tritonBody(text: string, request: GenerateRequest, model: TritonModel): Fields {
	const wanted = model.dialect === 'vllm' ? vllmInputs(request) : tensorrtInputs(request);
	const optional = {
		stream: true,
		exclude_input_in_output: true,
		return_num_input_tokens: true,
		...(model.dialect === 'vllm' ? { return_num_output_tokens: true, return_finish_reason: true } : {}),
		...wanted,
	};
	const given = Object.entries(optional).filter(([name]) => model.inputs.includes(name));
	return { text_input: text, ...Object.fromEntries(given) };
}

/** Greedy is the likeliest of one: a temperature of 0 is not taken by every version. */
function tensorrtInputs({ sampling, seed, maxTokens }: GenerateRequest): Fields {
	const samples = sampling.temperature > 0;
	return {
		max_tokens: maxTokens,
		...(samples ? { temperature: sampling.temperature, top_p: sampling.topP, seed, random_seed: seed, min_p: sampling.minP } : {}),
		...(samples ? (sampling.topK > 0 ? { top_k: sampling.topK } : {}) : { top_k: 1 }),
		...(sampling.repeatPenalty === 1 ? {} : { repetition_penalty: sampling.repeatPenalty }),
		...(sampling.presencePenalty === 0 ? {} : { presence_penalty: sampling.presencePenalty }),
		...(sampling.frequencyPenalty === 0 ? {} : { frequency_penalty: sampling.frequencyPenalty }),
		...(sampling.stop.length === 0 ? {} : { stop_words: sampling.stop }),
		...((sampling.minTokens ?? 0) > 0 ? Object.fromEntries(leastTokens.map((name) => [name, sampling.minTokens])) : {}),
		...guide(sampling),
	};
}

/** `GuidedDecodingParams` of TensorRT-LLM. */
function guide({ jsonSchema, jsonObject, grammar }: Sampling): Fields {
	if (grammar !== null) return { guided_decoding_guide_type: 'ebnf_grammar', guided_decoding_guide: grammar };
	if (jsonSchema !== null && jsonSchema !== undefined)
		return { guided_decoding_guide_type: 'json_schema', guided_decoding_guide: JSON.stringify(jsonSchema) };
	return jsonObject === true ? { guided_decoding_guide_type: 'json' } : {};
}

/** vLLM's `SamplingParams`. */
function vllmInputs({ sampling, seed, maxTokens }: GenerateRequest): Fields {
	const parameters = {
		max_tokens: maxTokens,
		seed,
		temperature: sampling.temperature,
		top_p: sampling.topP,
		...vllmSampling(sampling),
		presence_penalty: sampling.presencePenalty,
		frequency_penalty: sampling.frequencyPenalty,
		...(sampling.stop.length === 0 ? {} : { stop: sampling.stop }),
	};
	return { sampling_parameters: JSON.stringify(parameters) };
}
