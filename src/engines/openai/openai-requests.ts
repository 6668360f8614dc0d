/**
 * What an OpenAI endpoint is asked, in the fields of OpenAI's reference, which refuses others. Those that only some engines have are sent to
 * engines that are known to have them, then also where they are off: for what is left out they have defaults of their own. Pure.
 */
import type { GenerateRequest } from '../../actors/serving/decode.ts';
import type { PromptInput, Sampling, ToolUse } from '../../actors/serving/task-request.ts';
import type { EngineOptions, UpstreamTarget } from '../upstream/adapter.ts';
import type { Fields } from '../upstream/json-fields.ts';

/** Whose fields an endpoint takes beside those of OpenAI: nobody's, vLLM's or llama-server's. */
type Dialect = 'openai' | 'vllm' | 'llamacpp';

/** By what engines call themselves in `owned_by` of their models. SGLang has vLLM's names; Ollama (`library`) passes over what it does not know. */
const dialects: ReadonlyMap<string, Dialect> = new Map([
	['vllm', 'vllm'],
	['sglang', 'vllm'],
	['library', 'vllm'],
	['llamacpp', 'llamacpp'],
]);

/** What calls are made by, of what the configuration says and the endpoint tells. */
export function foundBy({ dialect = 'auto', max_tokens: limit }: EngineOptions, ownedBy: string | null): Readonly<Record<string, unknown>> {
	return { dialect: dialect === 'auto' ? (dialects.get(ownedBy ?? '') ?? 'openai') : dialect, limit };
}

/** Ollama would pass over them. */
export function endlessFeatures({ dialect }: Readonly<Record<string, unknown>>, ownedBy: string | null): readonly string[] {
	if (dialect === 'llamacpp') return ['ignore_eos'];
	return dialect === 'vllm' && ownedBy !== 'library' ? ['ignore_eos', 'min_tokens'] : [];
}

/** Engines with an adapter of their own have paths of OpenAI, too. */
export function dialectOf({ engine, found }: UpstreamTarget): Dialect {
	if (engine !== 'openai') return engine === 'llamacpp' ? 'llamacpp' : 'vllm';
	return found['dialect'] === 'vllm' || found['dialect'] === 'llamacpp' ? found['dialect'] : 'openai';
}

/** Of the most tokens of a chat. */
export function limitField({ found }: UpstreamTarget): 'max_tokens' | 'max_completion_tokens' {
	return found['limit'] === 'max_completion_tokens' ? 'max_completion_tokens' : 'max_tokens';
}

/** OpenAI has no switch for it but `reasoning_effort`. */
const thinkingSwitch = 'enable_thinking';

/** What OpenAI has no field for; null: nothing. `top_k` and `enable_thinking` are left out without words. */
export function beyondOpenai({ sampling, input }: GenerateRequest): string | null {
	if (sampling.minP > 0) return 'sampling.min_p';
	if (sampling.repeatPenalty !== 1) return 'sampling.repeat_penalty';
	const given = input.kind === 'messages' ? Object.keys(input.templateArgs ?? {}) : [];
	const own = given.find((name) => name !== 'reasoning_effort' && name !== thinkingSwitch);
	return own === undefined ? null : `template_args.${own}`;
}

/** Without what OpenAI has no field for. */
export function openaiChat(input: Exclude<PromptInput, { kind: 'inputs' }>): Fields {
	const { chat_template_kwargs: _own, ...fields } = chatBody(input);
	return fields;
}

/** A prompt that is to have its chat template is one turn of a user. */
export function chatBody(input: Exclude<PromptInput, { kind: 'inputs' }>): Fields {
	return input.kind === 'prompt' ? { messages: [{ role: 'user', content: input.text }] } : chatFields(input);
}

/** Messages, tools and template arguments in the names of the API. */
export function chatFields({ messages, toolUse, templateArgs = {} }: Extract<PromptInput, { readonly kind: 'messages' }>): Fields {
	const { reasoning_effort: effort, ...template } = templateArgs;
	return {
		messages: messages.map(({ parts, ...message }) => (parts === undefined ? message : { ...message, content: parts })),
		...(toolUse === undefined ? {} : toolFields(toolUse)),
		...(effort === undefined ? {} : { reasoning_effort: effort }),
		...(Object.keys(template).length === 0 ? {} : { chat_template_kwargs: template }),
	};
}

function toolFields({ tools, choice, parallel }: ToolUse): Fields {
	return {
		tools,
		...(choice === 'auto' ? {} : { tool_choice: typeof choice === 'string' ? choice : { type: 'function', function: choice } }),
		...(parallel ? {} : { parallel_tool_calls: false }),
	};
}

/** Only what the API has. */
export function openaiSampling(sampling: Sampling): Fields {
	return {
		temperature: sampling.temperature,
		top_p: sampling.topP,
		...(sampling.presencePenalty === 0 ? {} : { presence_penalty: sampling.presencePenalty }),
		...(sampling.frequencyPenalty === 0 ? {} : { frequency_penalty: sampling.frequencyPenalty }),
		...(sampling.stop.length === 0 ? {} : { stop: sampling.stop }),
		...(sampling.logitBias === undefined ? {} : { logit_bias: sampling.logitBias }),
		...(sampling.jsonObject === true ? { response_format: { type: 'json_object' } } : {}),
		...(sampling.jsonSchema === null || sampling.jsonSchema === undefined
			? {}
			: { response_format: { type: 'json_schema', json_schema: { name: 'answer', schema: sampling.jsonSchema, strict: true } } }),
	};
}

/** What vLLM has beside them. */
export function vllmSampling(sampling: Sampling): Fields {
	return {
		// 0 is refused by versions that know −1 only.
		top_k: sampling.topK > 0 ? sampling.topK : -1,
		min_p: sampling.minP,
		repetition_penalty: sampling.repeatPenalty,
		...(sampling.ignoreEos === true ? { ignore_eos: true } : {}),
		...((sampling.minTokens ?? 0) > 0 ? { min_tokens: sampling.minTokens } : {}),
	};
}
