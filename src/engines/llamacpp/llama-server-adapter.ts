/**
 * llama-server of llama.cpp by its own API: `/completion` for raw prompts, with ids of tokens so that they can go on elsewhere; the chat path
 * for messages, so that its own template, and what it reads of tool calls and thoughts, are used; its tokenizer, slots, embeddings and scores.
 */
import type { GenerateRequest } from '../../actors/serving/decode.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { PromptInput } from '../../actors/serving/task-request.ts';
import { openaiCall, problemIn } from '../openai/openai-adapter.ts';
import { chatBody } from '../openai/openai-requests.ts';
import type { PreparedCall, UpstreamAdapter, UpstreamCall, UpstreamClient, UpstreamTarget } from '../upstream/adapter.ts';
import { fieldsOf, listOf, textOf } from '../upstream/json-fields.ts';
import { metricMean } from '../upstream/metrics-text.ts';
import { roomBehind, surelyFits } from '../upstream/prompt-room.ts';
import { ScoreReader } from '../upstream/score-reader.ts';
import { StopMatcher } from '../wire/stop-matcher.ts';
import { LlamaReader } from './llama-server-answers.ts';
import { busyLlamaServer, lookAtLlamaServer, piecesOf } from './llama-server-facts.ts';
import { completionBody, type LlamaPrompt, slotFields } from './llama-server-requests.ts';

export const llamaServerAdapter: UpstreamAdapter = {
	call(target, request) {
		const { input, maxTokens } = request;
		if (input.kind !== 'prompt' || !input.raw) return otherCall(target, request);
		return completionCall(target, request, { text: input.text, maxTokens, before: '' });
	},
	prepare(client, target, request) {
		const { workload, resume, sampling, input } = request;
		// What an image takes, no tokenizer says: the engine judges.
		if (workload !== 'completion' || hasImages(input)) return null;
		const asks = resume !== null || !surelyFits(request) || (sampling.logprobs && !(input.kind === 'prompt' && input.raw));
		return asks ? preparedCall(client, target, request) : null;
	},
	look: lookAtLlamaServer,
	busy: busyLlamaServer,
	async kvUsage(client) {
		return metricMean((await client.text('/metrics')) ?? '', ['llamacpp:kv_cache_usage_ratio']);
	},
	async count(client, _target, input) {
		return input.kind === 'inputs' || hasImages(input) ? null : countedTokens(client, await promptText(client, input));
	},
	async tokenize(client, _target, content) {
		return piecesOf(await client.json('POST', '/tokenize', { content, with_pieces: true }));
	},
	problem: problemIn,
};

/** Raw prompts, and what the server has made one of with its template. */
function completionCall(target: UpstreamTarget, request: GenerateRequest, prompt: LlamaPrompt): UpstreamCall {
	const { sampling, tellIds, resume } = request;
	// Text that the server holds back for a stop string lags behind its ids: then the stop strings are ours to cut.
	const cutsStops = tellIds && sampling.stop.length > 0;
	const reader = new LlamaReader(target, {
		tops: sampling.logprobs ? (sampling.topLogprobs ?? 0) : null,
		tellIds,
		stop: cutsStops ? sampling.stop : [],
		before: prompt.before,
		resumed: resume?.ids.length ?? 0,
	});
	return { path: '/completion', body: completionBody(target, request, prompt, cutsStops), answers: 'text/event-stream', reader };
}

function otherCall(target: UpstreamTarget, request: GenerateRequest): UpstreamCall | Failure {
	const { input, workload, sampling } = request;
	if (workload === 'rerank' && input.kind === 'inputs') {
		const body = { model: target.model, query: input.query, documents: input.inputs };
		return { path: '/v1/rerank', body, answers: 'application/json', reader: new ScoreReader(input.inputs.length) };
	}
	if (workload === 'embedding') return openaiCall(target, request, {});
	if (sampling.logprobs) return failure('INVALID_PARAMS', 'sampling.logprobs is given with tools or images; the engine does one of them');
	return openaiCall(target, request, {
		...slotFields(target, request),
		...(sampling.grammar === null ? {} : { grammar: sampling.grammar }),
	});
}

/** The prompt counted, and what is left of the answer behind the tokens of another slot. */
async function preparedCall(client: UpstreamClient, target: UpstreamTarget, request: GenerateRequest): Promise<PreparedCall> {
	const { input, resume, sampling } = request;
	if (input.kind === 'inputs') return failure('INVALID_PARAMS', 'workload is completion; it takes no inputs');
	const text = await promptText(client, input);
	const tokensIn = await countedTokens(client, text);
	if (tokensIn === null) return failure('WORKER_RESET', 'the engine does not say how long the prompt is');
	const maxTokens = roomBehind(request, tokensIn);
	if (typeof maxTokens !== 'number') return maxTokens;
	const templated = !(input.kind === 'prompt' && input.raw);
	const chats = templated && (!sampling.logprobs || (input.kind === 'messages' && input.toolUse !== undefined));
	if (chats && resume === null) return otherCall(target, { ...request, maxTokens });
	const made = resume?.ids.length ?? 0;
	if (resume !== null && made >= maxTokens) return { ended: 'length', tokensIn };
	const before = resume === null || sampling.stop.length === 0 ? '' : await textOfIds(client, resume.ids);
	if (new StopMatcher(sampling.stop).feed(before) !== null) return { ended: 'stop', tokensIn };
	return completionCall(target, request, { text, maxTokens: maxTokens - made, before });
}

function hasImages(input: PromptInput): boolean {
	return input.kind === 'messages' && input.messages.some(({ parts }) => parts !== undefined);
}

/** As the chat path makes it of messages. */
async function promptText(client: UpstreamClient, input: Exclude<PromptInput, { kind: 'inputs' }>): Promise<string> {
	if (input.kind === 'prompt' && input.raw) return input.text;
	const { messages, tools, chat_template_kwargs: template } = chatBody(input);
	const body = {
		messages,
		...(tools === undefined ? {} : { tools }),
		...(template === undefined ? {} : { chat_template_kwargs: template }),
	};
	return textOf(fieldsOf(await client.json('POST', '/apply-template', body))['prompt']) ?? '';
}

/** As `/completion` takes a prompt apart: with what the model begins with, and its special tokens read as such. */
async function countedTokens(client: UpstreamClient, content: string): Promise<number | null> {
	const answer = fieldsOf(await client.json('POST', '/tokenize', { content, add_special: true, parse_special: true }));
	return Array.isArray(answer['tokens']) ? listOf(answer['tokens']).length : null;
}

async function textOfIds(client: UpstreamClient, tokens: readonly number[]): Promise<string> {
	return textOf(fieldsOf(await client.json('POST', '/detokenize', { tokens }))['content']) ?? '';
}
