/**
 * What llama-server is asked to generate by, as `tools/server/README.md` of ggml-org/llama.cpp has it ("POST /completion"). Pure. Every
 * sampling field is sent, also where it is off: what is left out, the server takes from its command line (`min_p` 0.05, for one).
 */
import type { GenerateRequest } from '../../actors/serving/decode.ts';
import type { Sampling } from '../../actors/serving/task-request.ts';
import type { UpstreamTarget } from '../upstream/adapter.ts';
import type { Fields } from '../upstream/json-fields.ts';

/** Beyond OpenAI's fields, under the names of either path. */
export function llamaSampling(sampling: Sampling): Fields {
	return {
		top_k: sampling.topK,
		min_p: sampling.minP,
		repeat_penalty: sampling.repeatPenalty,
		presence_penalty: sampling.presencePenalty,
		frequency_penalty: sampling.frequencyPenalty,
		...(sampling.ignoreEos === true ? { ignore_eos: true } : {}),
	};
}

/**
 * Which slot, and whether what it holds of the prompt may be used. A task of a session has the one that its lease names, if it names one: the
 * server waits for a slot that is asked for, so none is that may be busy. For any other the server chooses: it knows which slot has most of a
 * prompt. A strict task has the server to itself, so it is always the same slot.
 */
export function slotFields({ found }: UpstreamTarget, { strict, kvHint, lease }: GenerateRequest): Fields {
	const slot = strict && lease.exclusive ? 0 : found['sessionSlots'] === false ? undefined : lease.slot;
	return { cache_prompt: !strict && kvHint === 'reuse', ...(slot === undefined ? {} : { id_slot: slot }) };
}

/** What of a prompt was asked of the server before. */
export interface LlamaPrompt {
	readonly text: string;
	readonly maxTokens: number;
	/** Text of the tokens that it goes on behind. */
	readonly before: string;
}

/** `cutsStops`: stop strings are ours to cut, so that each text is that of its tokens. */
export function completionBody(target: UpstreamTarget, request: GenerateRequest, prompt: LlamaPrompt, cutsStops: boolean): Fields {
	const { sampling, resume, tellIds } = request;
	const { jsonObject, grammar, logprobs, topLogprobs = 0, stop, logitBias } = sampling;
	const jsonSchema = sampling.jsonSchema ?? (jsonObject === true ? { type: 'object' } : null);
	return {
		// "Mixed tokens and strings": the text is tokenized as it is alone, with what a prompt begins with.
		prompt: resume === null ? prompt.text : [prompt.text, ...resume.ids],
		stream: true,
		n_predict: prompt.maxTokens,
		seed: request.seed,
		temperature: sampling.temperature,
		top_p: sampling.topP,
		...llamaSampling(sampling),
		...(stop.length === 0 || cutsStops ? {} : { stop }),
		...(grammar === null ? {} : { grammar }),
		...(jsonSchema === null ? {} : { json_schema: jsonSchema }),
		...(logitBias === undefined ? {} : { logit_bias: logitBias }),
		...(logprobs ? { n_probs: Math.max(1, topLogprobs) } : {}),
		...(tellIds ? { return_tokens: true } : {}),
		...slotFields(target, request),
	};
}
