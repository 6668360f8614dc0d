/**
 * Any endpoint that speaks the OpenAI API: `/v1/completions` for raw prompts, `/v1/chat/completions` for messages (the engine's own
 * template is used), `/v1/embeddings`, `/v1/models`.
 */
import { type FinishReason, type GenerateRequest, type PieceChannel, pieceIsReasoning } from '../../actors/serving/decode.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import { llamaSampling } from '../llamacpp/llama-server-requests.ts';
import {
	type AnswerReader,
	type AnswerSink,
	shapeOf,
	type ToolCallDelta,
	type UpstreamAdapter,
	type UpstreamCall,
	type UpstreamClient,
	type UpstreamFacts,
	UpstreamProblem,
	type UpstreamTarget,
	unscored,
} from '../upstream/adapter.ts';
import { DeltaShape } from '../upstream/delta-shape.ts';
import { countOf, type Fields, fieldsOf, listOf, numberOf, textOf } from '../upstream/json-fields.ts';
import type { JsonPath } from '../upstream/json-ranges.ts';
import { UnknownAnswer } from '../upstream/upstream-generation.ts';
import { tellScored } from './openai-logprobs.ts';
import {
	beyondOpenai,
	chatBody,
	dialectOf,
	endlessFeatures,
	foundBy,
	limitField,
	openaiChat,
	openaiSampling,
	vllmSampling,
} from './openai-requests.ts';

export const openaiAdapter: UpstreamAdapter = {
	call: (target, request) => openaiCall(target, request, {}),
	async look(client, model, options) {
		const { id, ctx, ownedBy } = await listedModel(client, model);
		const found = foundBy(options, ownedBy);
		return openaiFacts(id, ctx, { found, features: [...openaiFeatures, ...endlessFeatures(found, ownedBy)] });
	},
	busy: () => Promise.resolve(null),
	count: () => Promise.resolve(null),
	tokenize: () => Promise.resolve(null),
	problem: problemIn,
};

const openaiFeatures: readonly string[] = ['json_schema', 'logprobs', 'top_logprobs', 'tools', 'images', 'logit_bias'];

/** What `look` says of an endpoint of which no more is known. */
export function openaiFacts(model: string, ctx: number | null, more: Partial<UpstreamFacts> = {}): UpstreamFacts {
	return {
		engineVersion: 'unknown',
		model,
		ctx,
		slots: null,
		workloads: ['completion', 'embedding'],
		features: openaiFeatures,
		chatTemplate: true,
		found: {},
		...more,
	};
}

export interface ListedModel {
	readonly id: string;
	readonly ownedBy: string | null;
	readonly ctx: number | null;
}

/** `GET /v1/models`; none where the endpoint has no such path. */
export async function modelsOf(client: UpstreamClient): Promise<readonly ListedModel[]> {
	const answer = fieldsOf(await client.json('GET', '/v1/models'));
	return listOf(answer['data']).flatMap((each) => {
		const model = fieldsOf(each);
		const id = textOf(model['id']);
		const ctx = numberOf(model['max_model_len']) ?? numberOf(fieldsOf(model['meta'])['n_ctx_train']);
		return id === null ? [] : [{ id, ownedBy: textOf(model['owned_by']), ctx }];
	});
}

/** The one that is asked for, or the first; of an endpoint that lists none, no more than its name is known. */
export async function listedModel(client: UpstreamClient, model: string | null): Promise<ListedModel> {
	const listed = await modelsOf(client);
	const name = model ?? listed[0]?.id ?? null;
	if (name === null)
		throw new UpstreamProblem(failure('POOL_UNREADY', 'the engine lists no model; name one with model', { retryAfterMs: 1_000 }));
	const found = listed.find(({ id }) => id === name);
	if (found === undefined && listed.length > 0) throw unknownModel(name, listed);
	return found ?? { id: name, ownedBy: null, ctx: null };
}

export function unknownModel(name: string, listed: readonly ListedModel[]): UpstreamProblem {
	const known = listed
		.map(({ id }) => id)
		.slice(0, 10)
		.join(', ');
	return new UpstreamProblem(
		failure('POOL_UNAVAILABLE', `the engine does not have ${JSON.stringify(name)}; it has ${known}`, { retriable: false }),
	);
}

/** `extra`: fields that only this engine knows. */
export function openaiCall(target: UpstreamTarget, request: GenerateRequest, extra: Fields): UpstreamCall | Failure {
	const { input, workload, sampling } = request;
	if (workload === 'embedding' || input.kind === 'inputs') {
		if (workload !== 'embedding' || input.kind !== 'inputs')
			return failure('INVALID_PARAMS', `workload is ${workload}; the engine does not do that`);
		return {
			path: '/v1/embeddings',
			body: { model: target.model, input: input.inputs, encoding_format: 'float' },
			answers: 'application/json',
			reader: new EmbeddingReader(input.inputs.length),
		};
	}
	if (
		sampling.grammar !== null &&
		extra['grammar'] === undefined &&
		extra['guided_grammar'] === undefined &&
		extra['structured_outputs'] === undefined
	) {
		return failure('INVALID_PARAMS', 'sampling.grammar is given; the engine takes none');
	}
	const dialect = dialectOf(target);
	const beyond = dialect === 'openai' ? beyondOpenai(request) : null;
	if (beyond !== null) return failure('INVALID_PARAMS', `${beyond} is given; the OpenAI API has none`);
	const raw = input.kind === 'prompt' && input.raw;
	// Engines pass over what they do not know there: llama-server would answer as if nobody had asked for a schema.
	if (raw && sampling.jsonSchema !== null && sampling.jsonSchema !== undefined)
		return failure('INVALID_PARAMS', 'sampling.json_schema is given with a raw prompt; the OpenAI API has schemas for messages only');
	const common = {
		model: target.model,
		stream: true,
		stream_options: { include_usage: true },
		[raw ? 'max_tokens' : limitField(target)]: request.maxTokens,
		seed: request.seed,
		...openaiSampling(sampling),
		...(dialect === 'llamacpp' ? llamaSampling(sampling) : dialect === 'vllm' ? vllmSampling(sampling) : {}),
		...extra,
	};
	const { logprobs, topLogprobs = 0 } = sampling;
	const tops = logprobs ? topLogprobs : null;
	if (raw) {
		// Not 0: endpoints take that for none.
		const scores = tops === null ? {} : { logprobs: Math.max(1, tops) };
		return events('/v1/completions', { ...common, ...scores, prompt: input.text }, new CompletionReader(target, tops));
	}
	if (logprobs && input.kind === 'messages' && input.toolUse !== undefined)
		return failure('INVALID_PARAMS', 'sampling.logprobs is given with tools; the engine does one of them');
	const scores = { ...(logprobs ? { logprobs } : {}), ...(topLogprobs > 0 ? { top_logprobs: topLogprobs } : {}) };
	return events(
		'/v1/chat/completions',
		{ ...common, ...scores, ...(dialect === 'openai' ? openaiChat(input) : chatBody(input)) },
		new ChatReader(target, tops),
	);
}

function events(path: string, body: unknown, reader: AnswerReader): UpstreamCall {
	return { path, body, answers: 'text/event-stream', reader };
}

/** Of each answer its own; nobody reads them. */
export const openaiUnread: readonly JsonPath[] = [['id'], ['created']];

/** What both streams have in common: usage, errors, `[DONE]`. */
abstract class ChunkReader implements AnswerReader {
	abstract readonly shape: DeltaShape | null;

	/** Text and log-probabilities of a choice. */
	protected abstract choice(choice: Fields, to: AnswerSink): void;

	read(event: unknown, _name: string, to: AnswerSink): void {
		const chunk = fieldsOf(event);
		if (chunk['error'] !== undefined && chunk['error'] !== null) {
			to.failed(failure('WORKER_RESET', `the engine reports an error${codeOf(chunk['error'])}`));
			return;
		}
		readUsage(chunk['usage'], to);
		const [first] = listOf(chunk['choices']);
		if (first === undefined) return;
		const choice = fieldsOf(first);
		this.choice(choice, to);
		const reason = textOf(choice['finish_reason']);
		if (reason !== null) to.ended(finishOf(reason));
	}

	word(data: string): boolean {
		return data === '[DONE]';
	}
}

class CompletionReader extends ChunkReader {
	/** Null where log-probabilities are read: of those every chunk is parsed. */
	readonly shape: DeltaShape | null;
	/** How many of the likeliest tokens beside each; null: no log-probabilities are read. */
	readonly #tops: number | null;

	constructor(target: UpstreamTarget, tops: number | null) {
		super();
		this.#tops = tops;
		const make = (): DeltaShape => new DeltaShape(['choices', 0, 'text'], [], openaiUnread);
		this.shape = tops === null ? shapeOf(target, 'completion', make) : null;
	}

	protected choice(choice: Fields, to: AnswerSink): void {
		const text = textOf(choice['text']);
		if (text === null || text === '') return;
		if (this.#tops === null) to.token(text);
		else tellScored(text, choice['logprobs'], this.#tops, 0, to);
	}
}

/** Answer, thoughts and calls of a chat. */
export class ChatReader extends ChunkReader {
	readonly #target: UpstreamTarget;
	/** Of the last delta that was read; a delta with more than one text, or a call, has none: each of its kind is to be read. */
	shape: DeltaShape | null;
	channel: PieceChannel = 0;
	/** How many of the likeliest tokens beside each; null: no log-probabilities are read. */
	readonly #tops: number | null;

	constructor(target: UpstreamTarget, tops: number | null = null) {
		super();
		this.#target = target;
		this.#tops = tops;
		this.shape = tops === null ? this.#shapeWith('content') : null;
	}

	protected choice(choice: Fields, to: AnswerSink): void {
		const delta = fieldsOf(choice['delta']);
		const content = textOf(delta['content']) ?? '';
		const reasoningField = textOf(delta['reasoning_content']) === null ? 'reasoning' : 'reasoning_content';
		const reasoning = textOf(delta[reasoningField]) ?? '';
		const calls = listOf(delta['tool_calls']);
		if (this.#tops !== null) {
			if (reasoning !== '') tellScored(reasoning, choice['logprobs'], this.#tops, pieceIsReasoning, to);
			else if (content !== '') tellScored(content, choice['logprobs'], this.#tops, 0, to);
			if (reasoning !== '' && content !== '') to.token(content, 0);
			return;
		}
		// A delta is a token, whatever it holds.
		if (reasoning !== '') to.token(reasoning, 1, unscored, pieceIsReasoning);
		if (content !== '') to.token(content, reasoning === '' ? 1 : 0);
		for (const [position, call] of calls.entries())
			to.toolCall(toolCallOf(call, position), position === 0 && content === '' && reasoning === '' ? 1 : 0);
		const alone = calls.length === 0 && (content === '' || reasoning === '');
		this.shape = alone ? this.#shapeWith(reasoning === '' ? 'content' : reasoningField) : null;
		this.channel = reasoning === '' ? 0 : pieceIsReasoning;
	}

	/** The text is in that field. */
	#shapeWith(field: string): DeltaShape {
		return shapeOf(this.#target, field, () => new DeltaShape(['choices', 0, 'delta', field], [], openaiUnread));
	}
}

function toolCallOf(value: unknown, position: number): ToolCallDelta {
	const call = fieldsOf(value);
	const called = fieldsOf(call['function']);
	const id = textOf(call['id']);
	const name = textOf(called['name']);
	const given = textOf(called['arguments']);
	return {
		index: countOf(call['index']) ?? position,
		...(id === null || id === '' ? {} : { id, type: 'function' }),
		function: { ...(name === null || name === '' ? {} : { name }), ...(given === null ? {} : { arguments: given }) },
	};
}

class EmbeddingReader implements AnswerReader {
	readonly shape = null;
	readonly #inputs: number;

	constructor(inputs: number) {
		this.#inputs = inputs;
	}

	read(event: unknown, _name: string, to: AnswerSink): void {
		const answer = fieldsOf(event);
		readUsage(answer['usage'], to);
		const vectors: Float32Array[] = [];
		for (const [position, each] of listOf(answer['data']).entries()) {
			const { index, embedding } = fieldsOf(each) as Fields & { index?: unknown; embedding?: unknown };
			const numbers = listOf(embedding).map((value) => numberOf(value) ?? Number.NaN);
			if (numbers.length === 0 || numbers.some(Number.isNaN))
				throw new UnknownAnswer('the engine sent an embedding that is no list of numbers');
			vectors[countOf(index) ?? position] = Float32Array.from(numbers);
		}
		if (vectors.length !== this.#inputs || vectors.includes(undefined as never))
			throw new UnknownAnswer('the engine sent another number of embeddings than it was asked for');
		to.vectors(vectors);
		to.used({ tokensOut: 0 });
		to.ended('stop');
	}
}

function readUsage(value: unknown, to: AnswerSink): void {
	if (typeof value !== 'object' || value === null) return;
	const usage = fieldsOf(value);
	const tokensIn = countOf(usage['prompt_tokens']);
	const tokensOut = countOf(usage['completion_tokens']);
	const tokensCached = countOf(fieldsOf(usage['prompt_tokens_details'])['cached_tokens']);
	to.used({
		...(tokensIn === undefined ? {} : { tokensIn }),
		...(tokensOut === undefined ? {} : { tokensOut }),
		...(tokensCached === undefined ? {} : { tokensCached }),
	});
}

/** `stop`, `length`, `tool_calls`; what else there is (`eos`, `content_filter`) is an end of the engine's own. */
export function finishOf(reason: string): FinishReason {
	if (reason === 'tool_calls' || reason === 'function_call') return 'tool_calls';
	return reason === 'length' || reason === 'max_tokens' ? 'length' : 'stop';
}

/** The code or type of an error: its message may quote the request. */
function codeOf(error: unknown): string {
	const { code, type } = fieldsOf(error) as Fields & { code?: unknown; type?: unknown };
	for (const each of [type, code]) if (typeof each === 'string' && /^[\w.-]{1,60}$/.test(each)) return `: ${each}`;
	return typeof code === 'number' ? `: ${code}` : '';
}

/** Engines quote fields and limits in these words; a prompt is not among them, as far as is known, but may be: only the kind is told. */
export function problemIn(body: unknown): string | null {
	const { error } = fieldsOf(body) as { error?: unknown };
	const words = codeOf(error ?? body).slice(2);
	return words === '' ? null : words;
}
