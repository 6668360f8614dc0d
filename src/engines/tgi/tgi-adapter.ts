/**
 * Hugging Face's Text Generation Inference: `/generate_stream` for raw prompts, `/v1/chat/completions` for messages (its own template is
 * used), `/info`, `/health`, `/metrics`, `/tokenize`, `/chat_tokenize`. It takes text only, no ids: nobody can go on with its tasks.
 */
import type { GenerateRequest } from '../../actors/serving/decode.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { PromptInput } from '../../actors/serving/task-request.ts';
import { unknownModel } from '../openai/openai-adapter.ts';
import { type UpstreamAdapter, type UpstreamCall, type UpstreamClient, UpstreamProblem, type UpstreamTarget } from '../upstream/adapter.ts';
import { countOf, type Fields, fieldsOf, listOf, textOf } from '../upstream/json-fields.ts';
import { metricSum } from '../upstream/metrics-text.ts';
import { roomBehind, surelyFits } from '../upstream/prompt-room.ts';
import { GenerateReader, TgiChatReader, type TgiReadOptions } from './tgi-answers.ts';
import { beyondTgi, generateBody, tgiChat, tgiChatBody } from './tgi-requests.ts';

export const tgiAdapter: UpstreamAdapter = {
	call: (target, request) => tgiCall(target, request, request.maxTokens, null),
	prepare(client, target, request) {
		// One that is cut in the middle of a token never says how long its prompt was.
		const counts = request.workload === 'completion' && (request.sampling.stop.length > 0 || !surelyFits(request));
		return counts ? countedCall(client, target, request) : null;
	},
	async look(client, model) {
		await client.text('/health');
		const info = fieldsOf(await client.json('GET', '/info'));
		const id = textOf(info['model_id']);
		if (id === null) throw new UpstreamProblem(failure('POOL_UNREADY', 'the engine does not say what it is', { retryAfterMs: 1_000 }));
		if (model !== null && model !== id) throw unknownModel(model, [{ id, ownedBy: null, ctx: null }]);
		return {
			engineVersion: textOf(info['version']) ?? 'unknown',
			model: id,
			ctx: countOf(info['max_total_tokens']) ?? null,
			slots: countOf(info['max_concurrent_requests']) ?? null,
			workloads: ['completion'],
			features: ['json_schema', 'logprobs', 'top_logprobs', 'tools'],
			chatTemplate: true,
			found: {},
		};
	},
	async busy(client) {
		const text = await client.text('/metrics');
		if (text === null) return null;
		const running = metricSum(text, 'tgi_batch_current_size');
		const waiting = metricSum(text, 'tgi_queue_size');
		// A gauge is there only once it was set.
		return running === null && waiting === null ? null : (running ?? 0) + (waiting ?? 0);
	},
	count: (client, _target, input) => tokensIn(client, input),
	async tokenize(client, _target, text) {
		return listOf(await client.json('POST', '/tokenize', { inputs: text })).map((each) => {
			const token = fieldsOf(each) as Fields & { id?: unknown };
			return { id: countOf(token.id) ?? 0, text: textOf(token['text']) ?? '' };
		});
	},
	/** `ErrorResponse`: its `error` may quote the request. */
	problem(body) {
		const type = textOf(fieldsOf(body)['error_type']);
		return type !== null && /^[a-z_]{1,40}$/.test(type) ? type : null;
	},
};

async function countedCall(client: UpstreamClient, target: UpstreamTarget, request: GenerateRequest): Promise<UpstreamCall | Failure> {
	const tokens = await tokensIn(client, request.input);
	const room = tokens === null ? request.maxTokens : roomBehind(request, tokens);
	return typeof room === 'number' ? tgiCall(target, request, room, tokens) : room;
}

async function tokensIn(client: UpstreamClient, input: PromptInput): Promise<number | null> {
	if (input.kind === 'inputs') return null;
	if (input.kind === 'prompt' && input.raw) return lengthOf(await client.json('POST', '/tokenize', { inputs: input.text }));
	const answer = await client.json('POST', '/chat_tokenize', { model: 'tgi', ...tgiChat(input) });
	return lengthOf(fieldsOf(answer)['tokenize_response']);
}

function lengthOf(tokens: unknown): number | null {
	return Array.isArray(tokens) ? tokens.length : null;
}

function tgiCall(target: UpstreamTarget, request: GenerateRequest, maxTokens: number, tokens: number | null): UpstreamCall | Failure {
	const { input, workload, sampling } = request;
	if (workload !== 'completion' || input.kind === 'inputs')
		return failure('INVALID_PARAMS', `workload is ${workload}; TGI makes text only`);
	const raw = input.kind === 'prompt' && input.raw;
	const beyond = beyondTgi(request, !raw);
	if (beyond !== null) return beyond;
	const { stop, logprobs, topLogprobs = 0 } = sampling;
	const options: TgiReadOptions = { stop, tops: logprobs ? topLogprobs : null, tokensIn: tokens };
	const [path, body, reader] = raw
		? (['/generate_stream', generateBody(input.text, request, maxTokens), new GenerateReader(target, options)] as const)
		: ([
				'/v1/chat/completions',
				tgiChatBody(tgiChat(input), request, maxTokens),
				new TgiChatReader(target, options, input.kind === 'messages' && input.toolUse !== undefined),
			] as const);
	return { path, body, answers: 'text/event-stream', reader };
}
