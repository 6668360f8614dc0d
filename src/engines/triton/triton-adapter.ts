/**
 * Triton Inference Server by its generate extension, with models of the TensorRT-LLM backend or the vLLM backend. It has no chat path and no
 * tokenizer: prompts go as they are, messages by a template that the pool names.
 */
import type { GenerateRequest } from '../../actors/serving/decode.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { UpstreamAdapter, UpstreamCall, UpstreamTarget } from '../upstream/adapter.ts';
import { fieldsOf, textOf } from '../upstream/json-fields.ts';
import { metricSum, vllmKvUsage } from '../upstream/metrics-text.ts';
import { TritonReader } from './triton-answers.ts';
import { promptFor, templateIn } from './triton-chat.ts';
import { foundModel, loadedModel, modelFacts, pathOf, ready } from './triton-model.ts';
import { beyondTriton, featuresOf, tritonBody } from './triton-requests.ts';

export const tritonAdapter: UpstreamAdapter = {
	call: tritonCall,
	async look(client, model, options) {
		await ready(client, '/v2/health/live', 'the engine is not live');
		await ready(client, '/v2/health/ready', 'the engine is not ready');
		const version = textOf(fieldsOf(await client.json('GET', '/v2'))['version']) ?? 'unknown';
		const name = await loadedModel(client, model);
		const { batch, ...facts } = await modelFacts(client, name, options);
		const template = templateIn(options);
		return {
			engineVersion: version,
			model: name,
			ctx: null,
			slots: batch,
			workloads: ['completion'],
			features: featuresOf(facts),
			chatTemplate: template !== null,
			found: { ...facts, ...(template === null ? {} : { template }) },
		};
	},
	/** Its metrics have a port of their own: they are here where something in front of it puts them here. */
	async busy(client) {
		const text = await client.text('/metrics');
		if (text === null) return null;
		const running = metricSum(text, 'vllm:num_requests_running');
		return running === null
			? metricSum(text, 'nv_trt_llm_request_metrics', 'request_type="active"')
			: running + (metricSum(text, 'vllm:num_requests_waiting') ?? 0);
	},
	async kvUsage(client) {
		const text = (await client.text('/metrics')) ?? '';
		const ofVllm = vllmKvUsage(text);
		if (ofVllm !== null) return ofVllm;
		const [used, max] = ['used', 'max'].map((type) =>
			metricSum(text, 'nv_trt_llm_kv_cache_block_metrics', `kv_cache_block_type="${type}"`),
		);
		return typeof used === 'number' && typeof max === 'number' && max > 0 ? used / max : null;
	},
	count: () => Promise.resolve(null),
	tokenize: () => Promise.resolve(null),
	/** `{error: words}`, which may quote the request. */
	problem: () => null,
};

function tritonCall(target: UpstreamTarget, request: GenerateRequest): UpstreamCall | Failure {
	const { input, workload, sampling, maxTokens } = request;
	if (workload !== 'completion' || input.kind === 'inputs')
		return failure('INVALID_PARAMS', `workload is ${workload}; the engine makes text only`);
	const prompt = promptFor(target, input);
	if (typeof prompt !== 'string') return prompt;
	const model = foundModel(target);
	const beyond = beyondTriton(request, model);
	if (beyond !== null) return beyond;
	const vllm = model.dialect === 'vllm';
	const reader = new TritonReader({
		whole: model.whole,
		// vLLM cuts them itself.
		stop: vllm ? [] : sampling.stop,
		maxTokens,
		saysWhy: vllm && model.inputs.includes('return_finish_reason'),
		saysTokens: vllm && model.inputs.includes('return_num_output_tokens'),
	});
	const body = tritonBody(prompt, request, model);
	return { path: pathOf(target.model, 'generate_stream'), body, answers: 'text/event-stream', reader };
}
