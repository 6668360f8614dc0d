/**
 * From the JSON body of `POST /v2/tasks` to a complete `TaskRequest`, with the defaults that depend on no pool, or to the
 * failure that names the field. On the front thread. Nothing is trimmed or corrected.
 */
import { randomInt } from 'node:crypto';
import { failure } from '../../actors/serving/failure.ts';
import type { Placement, PromptInput, Sampling, TaskRequest, Workload } from '../../actors/serving/task-request.ts';
import { type Principal, tenantFor } from '../auth/principal.ts';
import { bodyHash } from './canonical-json.ts';
import { messagesInput } from './chat-input.ts';
import { checkerOf, shown } from './field-problems.ts';
import { type Parsed, refused } from './json-body.ts';
import { jsonDepthMax, seedMax, type TaskBody, taskBodySchema } from './schemas.ts';

export interface TaskDefaults {
	readonly onDisconnect: 'detach' | 'cancel';
	readonly disconnectGraceMs: number;
	readonly newTaskId: () => string;
}

export interface TaskHeaders {
	readonly correlationId: string;
	readonly idempotencyKey: string | undefined;
	readonly principal: Principal;
	/** Its client cannot name it again but by an idempotency key: without one there is nothing that its body would be compared with. */
	readonly nameless?: boolean;
	/** Its client does not come back: there is no grace. */
	readonly leaves?: boolean;
}

const idempotencyKeyMax = 128;
const printable = /^[\x20-\x7e]+$/;
const checkTaskBody = checkerOf(taskBodySchema);

export function taskRequestOf(value: unknown, headers: TaskHeaders, defaults: TaskDefaults): Parsed<TaskRequest> {
	const late = lateDeadline(value);
	// What is wrong with the rest of it is told first.
	const checked = checkTaskBody(late === null ? value : { ...(value as object), deadline_ms: 1 });
	if (!checked.ok) return checked;
	const body = checked.value;
	const problem = unfitting(body) ?? keyProblem(headers.idempotencyKey);
	if (problem !== null) return refused(problem);
	const input = inputOf(body);
	if (typeof input === 'string') return refused(input);
	const placement = placementOf(body.placement ?? {});
	if (typeof placement === 'string') return refused(placement);
	const tenant = tenantFor(headers.principal, body.tenant);
	if (typeof tenant !== 'string') return { ok: false, failure: tenant };
	if (late !== null) return { ok: false, failure: failure('DEADLINE_UNMET', late) };
	const strict = body.determinism === 'strict';
	return {
		ok: true,
		value: {
			taskId: body.task_id?.toLowerCase() ?? defaults.newTaskId(),
			sessionId: body.session_id?.toLowerCase() ?? null,
			correlationId: headers.correlationId,
			workload: body.workload ?? 'completion',
			modelRef: body.model_ref,
			engine: body.engine ?? null,
			ctx: body.ctx ?? null,
			priority: body.priority ?? 'interactive',
			tenant,
			keyName: headers.principal.keyName,
			input,
			maxTokens: body.max_tokens ?? null,
			deadlineMs: body.deadline_ms ?? null,
			sampling: samplingOf(body.sampling ?? {}),
			seed: body.seed ?? randomInt(seedMax + 1),
			strict,
			samplerProfileVersion: body.sampler_profile_version ?? null,
			expectedTokens: body.expected_tokens ?? null,
			// strict says so, whatever the hint
			kvHint: strict ? 'cold' : (body.kv_hint ?? 'reuse'),
			placement,
			outputMode: body.output_mode ?? null,
			onDisconnect: body.on_disconnect ?? defaults.onDisconnect,
			disconnectGraceMs: defaults.disconnectGraceMs,
			durable: body.durable ?? body.priority === 'batch',
			idempotencyKey: headers.idempotencyKey ?? null,
			named: body.task_id !== undefined || headers.idempotencyKey !== undefined,
			bodyHash: headers.nameless === true && headers.idempotencyKey === undefined ? '' : bodyHash(body, 'task_id'),
		},
	};
}

/** A deadline that has passed already has a code of its own. */
function lateDeadline(value: unknown): string | null {
	if (typeof value !== 'object' || value === null || !Object.hasOwn(value, 'deadline_ms')) return null;
	const { deadline_ms: deadline } = value as { readonly deadline_ms: unknown };
	return typeof deadline === 'number' && deadline <= 0 ? `deadline_ms is ${deadline}; it must be at least 1 millisecond` : null;
}

/** What a schema cannot say of single fields. */
function unfitting(body: TaskBody): string | null {
	const sampling = body.sampling ?? {};
	const { json_schema: schema, json_object: object, grammar, top_logprobs: tops, logprobs } = sampling;
	if (sampling.ignore_eos === true && (schema !== undefined || object === true || grammar !== undefined))
		return 'sampling.ignore_eos is given with a form that the text must have, which says where it ends';
	if ((sampling.min_tokens ?? 0) > (body.max_tokens ?? Number.POSITIVE_INFINITY))
		return `sampling.min_tokens is ${sampling.min_tokens}; it must be at most max_tokens, which is ${body.max_tokens}`;
	if ((tops ?? 0) > 0 && logprobs !== true) return 'sampling.top_logprobs is given without sampling.logprobs, to which it belongs';
	if (object === true && (schema !== undefined || grammar !== undefined))
		return 'sampling.json_object is given beside sampling.json_schema or sampling.grammar; at most one is allowed';
	if (schema !== undefined && grammar !== undefined)
		return 'sampling.json_schema and sampling.grammar are both given; at most one is allowed';
	const deep = tooDeep(body);
	return deep === null ? null : `${deep} is nested more than ${jsonDepthMax} deep, the most that is allowed`;
}

/** Which field is. */
function tooDeep({ sampling, template_args: args, messages = [], tools = [] }: TaskBody): string | null {
	const isDeep = (value: unknown): boolean => typeof value === 'object' && value !== null && deeperThan(value, jsonDepthMax);
	if (isDeep(sampling?.json_schema)) return 'sampling.json_schema';
	if (isDeep(args)) return 'template_args';
	const message = messages.findIndex(({ content }) => isDeep(content));
	if (message >= 0) return `messages[${message}].content`;
	const tool = tools.findIndex(({ function: { parameters } }) => isDeep(parameters));
	return tool < 0 ? null : `tools[${tool}].function.parameters`;
}

function keyProblem(key: string | undefined): string | null {
	if (key === undefined) return null;
	if (key.length <= idempotencyKeyMax && printable.test(key)) return null;
	return `the Idempotency-Key header has ${key.length} characters; it must have 1 to ${idempotencyKeyMax}, all of them printable ASCII`;
}

function inputOf(body: TaskBody): PromptInput | string {
	const workload = body.workload ?? 'completion';
	const given = (['prompt', 'messages', 'inputs'] as const).filter((field) => body[field] !== undefined);
	if (given.length > 1) return `${given.join(' and ')} are given; exactly one of prompt, messages, inputs is allowed`;
	if (body.query !== undefined && workload !== 'rerank') return `query is given, but workload is ${workload}; it belongs to rerank`;
	if (workload === 'completion') return completionInput(body, given[0]);
	return listInput(body, workload, given[0]);
}

function completionInput(body: TaskBody, given: string | undefined): PromptInput | string {
	if (body.messages !== undefined) {
		if (body.raw === true) return 'raw is true, but messages are given; it belongs to prompt';
		return messagesInput(body, body.messages);
	}
	const chatOnly = (['tools', 'template_args'] as const).find((field) => body[field] !== undefined);
	if (chatOnly !== undefined) return `${chatOnly} is given without messages, to which it belongs`;
	if (body.prompt !== undefined) return { kind: 'prompt', text: body.prompt, raw: body.raw ?? false };
	if (given === 'inputs') return 'inputs is given, but workload is completion, which takes prompt or messages';
	return 'prompt is missing; exactly one of prompt, messages is needed';
}

function listInput(body: TaskBody, workload: Workload, given: string | undefined): PromptInput | string {
	if (body.inputs === undefined) {
		const instead = given === undefined ? 'inputs is missing' : `${given} is given`;
		return `${instead}; workload ${workload} takes inputs, a list of texts`;
	}
	if (workload === 'rerank' && body.query === undefined) return 'query is missing; workload rerank needs the text to rank by';
	return { kind: 'inputs', inputs: body.inputs, query: body.query ?? null };
}

function placementOf(placement: NonNullable<TaskBody['placement']>): Placement | string {
	const pin = placement.pin_pool_id ?? null;
	const mode = placement.mode ?? (pin === null ? (placement.prefer_pools === undefined ? 'auto' : 'prefer') : 'pin');
	if (mode === 'pin' && pin === null) return 'placement.pin_pool_id is missing; placement.mode pin needs it';
	if (mode !== 'pin' && pin !== null) {
		return `placement.mode is ${shown(mode)}, but placement.pin_pool_id is given; it must be "pin" or absent`;
	}
	return {
		mode,
		pinPoolId: pin,
		preferPools: placement.prefer_pools ?? [],
		avoidPools: placement.avoid_pools ?? [],
		requireDeviceMask: placement.require_device_mask ?? null,
		allowFallback: placement.allow_fallback ?? true,
	};
}

function samplingOf(sampling: NonNullable<TaskBody['sampling']>): Sampling {
	const read: { -readonly [K in keyof Sampling]: Sampling[K] } = {
		temperature: sampling.temperature ?? 0.8,
		topP: sampling.top_p ?? 0.95,
		topK: sampling.top_k ?? 40,
		minP: sampling.min_p ?? 0,
		repeatPenalty: sampling.repeat_penalty ?? 1,
		presencePenalty: sampling.presence_penalty ?? 0,
		frequencyPenalty: sampling.frequency_penalty ?? 0,
		stop: sampling.stop ?? [],
		logprobs: sampling.logprobs ?? false,
		jsonSchema: sampling.json_schema ?? null,
		grammar: sampling.grammar ?? null,
	};
	const { top_logprobs: tops = 0, logit_bias: bias, min_tokens: least = 0 } = sampling;
	if (sampling.json_object === true) read.jsonObject = true;
	if (tops > 0) read.topLogprobs = tops;
	if (bias !== undefined && Object.keys(bias).length > 0) read.logitBias = bias;
	if (sampling.ignore_eos === true) read.ignoreEos = true;
	if (least > 0) read.minTokens = least;
	return read;
}

/** By levels, not by recursion: the value may be nested without bound. */
function deeperThan(value: object, depthMax: number): boolean {
	let level: object[] = [value];
	for (let depth = 0; level.length > 0; depth++) {
		if (depth === depthMax) return true;
		level = level
			.flatMap((parent) => Object.values(parent) as unknown[])
			.filter((child): child is object => typeof child === 'object' && child !== null);
	}
	return false;
}
