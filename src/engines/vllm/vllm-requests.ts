/**
 * What vLLM is asked, as `vllm/entrypoints/openai/completion/protocol.py` and `…/chat_completion/protocol.py` have it. Pure. Every sampling
 * field is sent, also where it is off: what is left out, vLLM takes from the model's `generation_config.json`.
 */
import type { GenerateRequest } from '../../actors/serving/decode.ts';
import type { Sampling, Workload } from '../../actors/serving/task-request.ts';
import { vllmSampling } from '../openai/openai-requests.ts';
import type { UpstreamTarget } from '../upstream/adapter.ts';
import type { Fields } from '../upstream/json-fields.ts';
import { hasStructuredOutputs, tellsTokenIds } from './vllm-version.ts';

/** What `look` found and the configuration says, for calls. */
export interface VllmFound {
	readonly version: string;
	readonly workload: Workload;
	readonly priorityScheduling: boolean;
}

export function foundOf({ found }: UpstreamTarget): VllmFound {
	const { version, workload, priorityScheduling } = found as Partial<VllmFound>;
	return { version: version ?? 'unknown', workload: workload ?? 'completion', priorityScheduling: priorityScheduling ?? false };
}

/** Of both completions paths. `cutsStops`: stop strings are told, for us to cut, so that every text is that of its tokens. */
export function commonBody(target: UpstreamTarget, request: GenerateRequest, maxTokens: number, cutsStops: boolean): Fields {
	const { sampling } = request;
	const { version, priorityScheduling } = foundOf(target);
	return {
		model: target.model,
		stream: true,
		stream_options: { include_usage: true },
		max_tokens: maxTokens,
		seed: request.seed,
		temperature: sampling.temperature,
		top_p: sampling.topP,
		...vllmSampling(sampling),
		presence_penalty: sampling.presencePenalty,
		frequency_penalty: sampling.frequencyPenalty,
		...(sampling.stop.length === 0 ? {} : { stop: sampling.stop }),
		...(cutsStops ? { include_stop_str_in_output: true } : {}),
		...(sampling.logitBias === undefined ? {} : { logit_bias: sampling.logitBias }),
		...structured(sampling, version),
		...(request.tellIds || (namesByText(sampling) && tellsTokenIds(version)) ? { return_token_ids: true } : {}),
		// Lower is earlier; a server that is not told to order its work refuses any but 0.
		...(priorityScheduling && request.priority === 'batch' ? { priority: 1 } : {}),
	};
}

function structured({ jsonSchema, jsonObject, grammar }: Sampling, version: string): Fields {
	const schema = jsonSchema === null || jsonSchema === undefined ? null : jsonSchema;
	return {
		...(jsonObject === true ? { response_format: { type: 'json_object' } } : {}),
		...(schema === null ? {} : { response_format: { type: 'json_schema', json_schema: { name: 'answer', schema, strict: true } } }),
		...(grammar === null ? {} : hasStructuredOutputs(version) ? { structured_outputs: { grammar } } : { guided_grammar: grammar }),
	};
}

/** vLLM names all tokens by their ids or all by their texts, and of the likeliest a client wants the texts. */
function namesByText({ topLogprobs = 0 }: Sampling): boolean {
	return topLogprobs > 0;
}

/** The log-probability of each token that was taken, and of the likeliest beside it where they are wanted. */
export function logprobFields(sampling: Sampling, chat: boolean): Fields {
	const { logprobs, topLogprobs = 0 } = sampling;
	if (!logprobs) return {};
	const names = namesByText(sampling) ? {} : { return_tokens_as_token_ids: true };
	return chat ? { logprobs, top_logprobs: topLogprobs, ...names } : { logprobs: Math.max(1, topLogprobs), ...names };
}
