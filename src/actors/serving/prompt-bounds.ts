/**
 * What can be said of a task's size without a tokenizer: bounds from bytes, pure. A token is at least one byte, so a
 * prompt whose bytes fit the context fits it; only where they do not must somebody count.
 */
import type { PoolView, ReplicaFacts } from './messages.ts';
import { answersTo } from './placement.ts';
import type { ChatMessage, PromptInput, TaskRequest } from './task-request.ts';

/** Of a template about tools: how they are called, and what an answer to a call looks like. */
const toolWordsMax = 4096;

/** UTF-8 bytes of all text in it, at most. */
export function inputBytes(input: PromptInput): number {
	switch (input.kind) {
		case 'prompt':
			return Buffer.byteLength(input.text);
		case 'messages':
			return input.messages.reduce((bytes, message) => bytes + messageBytes(message), 0) + toolBytes(input);
		case 'inputs':
			return input.inputs.reduce((bytes, text) => bytes + Buffer.byteLength(text), Buffer.byteLength(input.query ?? ''));
	}
}

function messageBytes({ role, content, name = '', tool_calls: calls, tool_call_id: id = '' }: ChatMessage): number {
	const called = calls === undefined ? 0 : writtenBytes(calls);
	return Buffer.byteLength(role) + Buffer.byteLength(content) + Buffer.byteLength(name) + Buffer.byteLength(id) + called;
}

/** Templates write tools and their calls as JSON, some with four spaces a level, beside words of their own. */
function toolBytes({ toolUse, templateArgs }: Extract<PromptInput, { readonly kind: 'messages' }>): number {
	const tools = toolUse === undefined ? 0 : toolWordsMax + writtenBytes(toolUse.tools);
	return tools + (templateArgs === undefined ? 0 : writtenBytes(templateArgs));
}

function writtenBytes(value: unknown): number {
	return 2 * Buffer.byteLength(JSON.stringify(value, null, 4));
}

/** Bytes that the chat template may add. */
export function templateBytesMax(input: PromptInput, template: ReplicaFacts['chatTemplate']): number {
	if (template === null || input.kind === 'inputs' || (input.kind === 'prompt' && input.raw)) return 0;
	return template.baseBytes + template.perMessageBytes * (input.kind === 'messages' ? input.messages.length : 1);
}

/** The pools that answer to a model ref. */
export function poolsNamed(modelRef: string, pools: readonly PoolView[]): readonly PoolView[] {
	return pools.filter((pool) => answersTo(pool, modelRef));
}

/** What a waiting task holds in memory, near enough: its texts, and a little for the rest. */
export function requestBytes(request: TaskRequest): number {
	const { grammar, jsonSchema, stop } = request.sampling;
	const schema = jsonSchema === null || jsonSchema === undefined ? 0 : JSON.stringify(jsonSchema).length;
	const stops = stop.reduce((bytes, text) => bytes + text.length, 0);
	return 1024 + inputBytes(request.input) + (grammar?.length ?? 0) + schema + stops;
}

/** What of its sampling not every engine can do, by names of `ReplicaFacts.features`. */
export function featuresNeeded({ sampling, input }: TaskRequest): readonly string[] {
	const { grammar, jsonSchema, jsonObject, logprobs, topLogprobs, logitBias, ignoreEos, minTokens } = sampling;
	const messages = input.kind === 'messages' ? input : null;
	return [
		...(grammar === null ? [] : ['grammar']),
		...((jsonSchema === null || jsonSchema === undefined) && jsonObject !== true ? [] : ['json_schema']),
		...(logprobs ? ['logprobs'] : []),
		...((topLogprobs ?? 0) > 0 ? ['top_logprobs'] : []),
		...(logitBias === undefined ? [] : ['logit_bias']),
		...(ignoreEos === true ? ['ignore_eos'] : []),
		...((minTokens ?? 0) > 0 ? ['min_tokens'] : []),
		...(messages?.toolUse !== undefined && messages.toolUse.choice !== 'none' ? ['tools'] : []),
		...(messages?.messages.some(({ parts }) => parts !== undefined) === true ? ['images'] : []),
	];
}

/** Bytes of the prompt as the engine will see it, at most: the text and what a template of the model's pools may add. */
export function promptBytesMax(request: TaskRequest, pools: readonly PoolView[]): number {
	let template = 0;
	for (const pool of poolsNamed(request.modelRef, pools)) {
		for (const replica of pool.replicas)
			template = Math.max(template, templateBytesMax(request.input, replica.facts?.chatTemplate ?? null));
	}
	return inputBytes(request.input) + template;
}

/**
 * The replica that should count the prompt before placement: null when the bytes fit every pool of the model, or when
 * nobody can count yet. Embedding and rerank inputs are judged by the engine, one by one.
 */
export function counterFor(request: TaskRequest, promptBytes: number, pools: readonly PoolView[]): ReplicaFacts | null {
	if (request.workload !== 'completion') return null;
	let counter: ReplicaFacts | null = null;
	let fits = true;
	for (const pool of poolsNamed(request.modelRef, pools)) {
		const ready = pool.replicas.find((replica) => replica.state === 'ready' && replica.facts !== null)?.facts;
		if (ready === undefined || ready === null) continue;
		counter ??= ready;
		const room = Math.min(request.ctx ?? pool.ctx, pool.ctx);
		if (promptBytes + (request.maxTokens ?? 1) > room) fits = false;
	}
	return fits ? null : counter;
}

/**
 * The most tokens the task can generate on any pool that might take it; 0 when none would. A pool that has not been ready
 * yet does not know its ctx: 0.
 */
export function outputTokensMax(request: TaskRequest, pools: readonly PoolView[]): number {
	if (request.workload !== 'completion') return 0;
	let most = 0;
	for (const pool of poolsNamed(request.modelRef, pools)) {
		const room = pool.ctx === 0 ? Number.POSITIVE_INFINITY : pool.ctx;
		most = Math.max(
			most,
			Math.min(request.maxTokens ?? request.outputCap ?? pool.maxTokensOut, pool.maxTokensOut, request.ctx ?? room, room),
		);
	}
	return most;
}
