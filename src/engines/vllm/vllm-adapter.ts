/**
 * vLLM's own server, as far as it is more than the OpenAI API: its tokenizer, health, metrics and version, every sampling field, ids of
 * tokens (so that tasks can go on elsewhere), priorities, scores, sleep. It aborts a request when its client has left.
 */
import type { GenerateRequest } from '../../actors/serving/decode.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { Workload } from '../../actors/serving/task-request.ts';
import { ChatReader, listedModel, openaiCall, problemIn } from '../openai/openai-adapter.ts';
import { chatBody } from '../openai/openai-requests.ts';
import {
	type PreparedCall,
	type UpstreamAdapter,
	type UpstreamCall,
	type UpstreamClient,
	UpstreamProblem,
	type UpstreamTarget,
} from '../upstream/adapter.ts';
import { countOf, fieldsOf, textOf } from '../upstream/json-fields.ts';
import { metricSum, vllmKvUsage } from '../upstream/metrics-text.ts';
import { surelyFits } from '../upstream/prompt-room.ts';
import { ScoreReader } from '../upstream/score-reader.ts';
import { VllmReader } from './vllm-answers.ts';
import { askedPrompt, namedTokens, tokenizeBody, type VllmPrompt } from './vllm-prompt.ts';
import { commonBody, foundOf, logprobFields, type VllmFound } from './vllm-requests.ts';
import { tellsTokenIds } from './vllm-version.ts';

export const vllmAdapter: UpstreamAdapter = {
	call: (target, request) => vllmCall(target, request, { ids: null, maxTokens: request.maxTokens, before: '', resumed: 0, tokensIn: null }),
	prepare(client, target, request) {
		if (request.workload !== 'completion' || (request.resume === null && surelyFits(request))) return null;
		return preparedCall(client, target, request);
	},
	async look(client, model, options) {
		await client.text('/health');
		const version = textOf(fieldsOf(await client.json('GET', '/version'))['version']) ?? 'unknown';
		if (options['sleep'] === true && (await sleeps(client))) throw asleep();
		const { id, ctx } = await listedModel(client, model);
		const workload = workloadOf(options['task']);
		const generates = workload === 'completion';
		const found: VllmFound = { version, workload, priorityScheduling: options['priority_scheduling'] === true };
		return {
			engineVersion: version,
			model: id,
			ctx,
			slots: null,
			workloads: [workload],
			features: generates
				? [
						'json_schema',
						'grammar',
						'logprobs',
						'top_logprobs',
						'tools',
						'images',
						'logit_bias',
						'ignore_eos',
						'min_tokens',
						...(tellsTokenIds(version) ? ['resume'] : []),
					]
				: [],
			chatTemplate: generates,
			found: { ...found },
		};
	},
	async rouse(client, options) {
		if (options['sleep'] === true && (await sleeps(client))) await client.order('/wake_up');
	},
	async rest(client, options) {
		if (options['sleep'] === true) await client.order('/sleep?level=1');
	},
	async busy(client) {
		const text = await client.text('/metrics');
		const running = text === null ? null : metricSum(text, 'vllm:num_requests_running');
		return text === null || running === null ? null : running + (metricSum(text, 'vllm:num_requests_waiting') ?? 0);
	},
	async kvUsage(client) {
		return vllmKvUsage((await client.text('/metrics')) ?? '');
	},
	async count(client, target, input) {
		const body = tokenizeBody(target.model, input);
		return body === null ? null : (countOf(fieldsOf(await client.json('POST', '/tokenize', body))['count']) ?? null);
	},
	async tokenize(client, { model }, text) {
		const body = { model, prompt: text, add_special_tokens: false, return_token_strs: true };
		return namedTokens(await client.json('POST', '/tokenize', body), text);
	},
	problem: problemIn,
};

async function preparedCall(client: UpstreamClient, target: UpstreamTarget, request: GenerateRequest): Promise<PreparedCall> {
	const prompt = await askedPrompt(client, target, request);
	return 'maxTokens' in prompt ? vllmCall(target, request, prompt) : prompt;
}

function vllmCall(target: UpstreamTarget, request: GenerateRequest, prompt: VllmPrompt): UpstreamCall | Failure {
	const { input, workload, sampling, tellIds } = request;
	const { workload: served } = foundOf(target);
	if (workload !== served) return failure('INVALID_PARAMS', `workload is ${workload}; the engine serves ${served} (vllm.task)`);
	if (workload === 'rerank' && input.kind === 'inputs') {
		const body = { model: target.model, query: input.query, documents: input.inputs };
		return { path: '/rerank', body, answers: 'application/json', reader: new ScoreReader(input.inputs.length) };
	}
	if (input.kind === 'inputs') return openaiCall(target, request, {});
	// Text that vLLM holds back for a stop string lags behind its ids: then the stop strings are ours to cut.
	const cutsStops = tellIds && sampling.stop.length > 0;
	const chat = prompt.ids === null && !(input.kind === 'prompt' && input.raw);
	const body = {
		...commonBody(target, request, prompt.maxTokens, cutsStops),
		...logprobFields(sampling, chat),
		...(chat ? chatBody(input) : { prompt: prompt.ids ?? (input.kind === 'prompt' ? input.text : '') }),
	};
	// Calls come without the ids of their tokens: such a task does not go on elsewhere.
	if (chat && input.kind === 'messages' && input.toolUse !== undefined) {
		if (sampling.logprobs) return failure('INVALID_PARAMS', 'sampling.logprobs is given with tools; the engine does one of them');
		return { path: '/v1/chat/completions', body, answers: 'text/event-stream', reader: new ChatReader(target) };
	}
	const reader = new VllmReader(target, {
		path: chat ? 'chat' : 'completion',
		tops: sampling.logprobs ? (sampling.topLogprobs ?? 0) : null,
		tellIds,
		stop: cutsStops ? sampling.stop : [],
		before: prompt.before,
		resumed: prompt.resumed,
		tokensIn: prompt.tokensIn,
	});
	return { path: chat ? '/v1/chat/completions' : '/v1/completions', body, answers: 'text/event-stream', reader };
}

function workloadOf(task: unknown): Workload {
	return task === 'embed' ? 'embedding' : task === 'rerank' ? 'rerank' : 'completion';
}

/** The path is there only where the server runs with `VLLM_SERVER_DEV_MODE=1` and `--enable-sleep-mode`. */
async function sleeps(client: UpstreamClient): Promise<boolean> {
	const answer = await client.json('GET', '/is_sleeping');
	if (answer === null) {
		const words = 'the engine cannot sleep: it needs VLLM_SERVER_DEV_MODE=1 and --enable-sleep-mode, or vllm.sleep: false';
		throw new UpstreamProblem(failure('POOL_UNAVAILABLE', words, { retriable: false }));
	}
	return fieldsOf(answer)['is_sleeping'] === true;
}

function asleep(): UpstreamProblem {
	return new UpstreamProblem(failure('POOL_UNREADY', 'somebody has put the engine to sleep', { retryAfterMs: 1_000 }));
}
