/**
 * The shapes of answers, for `/openapi.json` and for the tests that hold the answers to them. No behaviour.
 */
import { type TSchema, Type } from '@sinclair/typebox';
import { engineKinds, failureCodes } from '../../actors/serving/failure.ts';

function nullable<T extends TSchema>(schema: T) {
	return Type.Union([schema, Type.Null()]);
}

function oneOf<const T extends readonly string[]>(values: T) {
	return Type.Unsafe<T[number]>(Type.Union(values.map((value) => Type.Literal(value))));
}

const engine = oneOf(engineKinds);
const count = Type.Integer({ minimum: 0 });
const text = Type.String();
const texts = Type.Array(text);

const standing = {
	queue_position: count,
	predicted_start_ms: count,
	predicted_end_ms: count,
	predicted_start_p90_ms: count,
	predicted_end_p90_ms: count,
	estimated: oneOf(['prior', 'measured']),
};

const preparation = Type.Object({
	steps: Type.Array(
		Type.Object({
			id: text,
			kind: oneOf(['engine_provision', 'model_fetch', 'pool_warmup']),
			group: text,
			description: text,
			estimated_ms: nullable(count),
			bytes_total: nullable(count),
			bytes_done: Type.Optional(count),
			status: oneOf(['running', 'waiting']),
		}),
	),
});

const streams = Type.Object({ sse: text, sse_verbose: text, websocket: text });

export const envelopeSchema = Type.Object({
	code: oneOf(failureCodes),
	message: text,
	engine: Type.Optional(engine),
	pool_id: Type.Optional(text),
	retriable: Type.Boolean(),
	retry_after_ms: Type.Optional(count),
	policy_label: Type.Optional(text),
	correlation_id: text,
});

export const acceptedSchema = Type.Object({
	tokens_budget_remaining: Type.Optional(count),
	time_budget_remaining_ms: Type.Optional(count),
	cost_budget_remaining: Type.Optional(Type.Number()),
	gpu_budget_remaining_ms: Type.Optional(count),
	task_id: text,
	...standing,
	on_time_probability: Type.Optional(Type.Number({ minimum: 0, maximum: 1 })),
	backoff_ms: count,
	pool_id: text,
	streams,
	preparation,
});

const taskFields = {
	task_id: text,
	state: oneOf(['admitting', 'queued', 'running', 'done', 'canceled', 'failed']),
	phase: oneOf(['admitting', 'queued', 'prefill', 'decode', 'migrated', 'ended']),
	workload: oneOf(['completion', 'embedding', 'rerank']),
	model_ref: text,
	priority: oneOf(['interactive', 'batch']),
	tenant: text,
	session_id: nullable(text),
	correlation_id: text,
	output_mode: nullable(text),
	pool_id: nullable(text),
	replica_id: nullable(text),
	engine: nullable(engine),
	engine_version: nullable(text),
	model_digest: nullable(text),
	queue_position: Type.Optional(count),
	predicted_start_ms: Type.Optional(count),
	predicted_end_ms: Type.Optional(count),
	predicted_start_p90_ms: Type.Optional(count),
	predicted_end_p90_ms: Type.Optional(count),
	estimated: Type.Optional(standing.estimated),
	max_tokens: nullable(count),
	deadline_ms: nullable(count),
	seed: count,
	determinism: oneOf(['strict', 'best_effort']),
	on_disconnect: oneOf(['detach', 'cancel']),
	watchers: count,
	durable: Type.Boolean({ description: 'It outlives the daemon: it runs again, from its start, when that has ended before it' }),
	last_event_id: Type.Union([count, Type.String({ pattern: '^[0-9]+[.][0-9]+$' })], {
		description: 'What a watcher resumes behind; of a durable task `<run>.<seq>`',
	}),
	tokens_in: count,
	tokens_cached: nullable(count),
	tokens_out: count,
	decode_time_ms: count,
	finish_reason: nullable(oneOf(['stop', 'length', 'tool_calls', 'canceled'])),
	error: nullable(envelopeSchema),
	transcript_artifact: nullable(text),
	timings: Type.Object({
		admitted_at_ms: count,
		started_at_ms: nullable(count),
		first_token_at_ms: nullable(count),
		ended_at_ms: nullable(count),
		queue_ms: nullable(count),
		first_token_ms: nullable(count),
		total_ms: nullable(count),
	}),
	streams,
};

export const taskSchema = Type.Object(taskFields);
export const taskListSchema = Type.Object({ tasks: Type.Array(taskSchema), next_cursor: nullable(text) });

export const resultSchema = Type.Object({
	...taskFields,
	text: Type.Optional(text),
	reasoning: Type.Optional(text),
	tool_calls: Type.Optional(
		Type.Array(Type.Object({ id: text, type: oneOf(['function']), function: Type.Object({ name: text, arguments: text }) })),
	),
	logprobs: Type.Optional(
		Type.Array(
			Type.Object({
				token: text,
				id: Type.Optional(Type.Integer()),
				logprob: Type.Optional(Type.Number()),
				top_logprobs: Type.Optional(
					Type.Array(
						Type.Object({
							token: text,
							id: Type.Optional(Type.Integer()),
							logprob: Type.Number(),
							bytes: Type.Optional(Type.Array(count, { description: 'Where token is a part of a character' })),
						}),
					),
				),
			}),
		),
	),
	vectors: Type.Optional(Type.Array(Type.Array(Type.Number()))),
	scores: Type.Optional(Type.Array(Type.Number(), { description: 'Of each text of a rerank, in the order of the inputs' })),
});

const decision = Type.Object({
	outcome: oneOf(['assigned', 'none']),
	pool_id: nullable(text),
	decided_by: nullable(
		oneOf(['pin', 'only_one', 'ready', 'room', 'predicted_end', 'affinity', 'least_loaded', 'free_memory', 'tokens_per_s', 'pool_id']),
	),
	fallback: Type.Boolean(),
	considered: Type.Array(
		Type.Object({
			pool_id: text,
			feasible: Type.Boolean(),
			refused_for: nullable(Type.Object({ code: oneOf(failureCodes), message: text })),
			predicted_start_ms: count,
			predicted_end_ms: count,
		}),
	),
	stages: Type.Array(Type.Object({ stage: oneOf(['admission', 'feasibility', 'ranking', 'handover']), us: count })),
	total_us: count,
});

export const previewSchema = Type.Union([
	Type.Object({
		feasible: Type.Literal(true),
		pool_id: text,
		engine,
		...standing,
		queue_depth: count,
		preparation,
		on_time_probability: Type.Optional(Type.Number()),
		decision,
	}),
	Type.Object({ feasible: Type.Literal(false), error: envelopeSchema, decision: nullable(decision) }),
]);

export const explainSchema = Type.Object({
	task_id: text,
	state: taskFields.state,
	phase: taskFields.phase,
	human: text,
	pool_id: nullable(text),
	control_reachable: Type.Boolean(),
	decision: nullable(decision),
	pools: Type.Array(Type.Object({ pool_id: text, engine, state: text, chosen: Type.Boolean(), reason: text })),
});

export const tokenizedSchema = Type.Object({
	model_ref: text,
	pool_id: text,
	count,
	tokens: Type.Array(Type.Object({ id: Type.Integer(), text })),
});

const readyInMs = Type.Union([count, Type.Null()], {
	description: 'Of an engine that loads, as past loads were; null: it is ready, or nobody knows',
});

export const poolSchema = Type.Object({
	pool_id: text,
	engine,
	provider: oneOf(['embedded', 'managed', 'external']),
	model: text,
	aliases: texts,
	state: oneOf(['unloaded', 'starting', 'ready', 'unloading', 'failed']),
	ready_in_ms: readyInMs,
	residency: oneOf(['always', 'on_demand']),
	draining: Type.Boolean(),
	retiring: Type.Boolean({ description: 'It is configured no more, and ends with its last task' }),
	fetch: nullable(
		Type.Object({
			status: oneOf(['running', 'waiting']),
			bytes_done: count,
			bytes_total: nullable(count),
			left_ms: nullable(count),
			note: nullable(text),
		}),
	),
	reloading_to: nullable(text),
	ctx: count,
	max_tokens_out: count,
	slots_total: count,
	slots_free: count,
	queue_depth: Type.Object({ interactive: count, batch: count }),
	last_error: nullable(text),
	replicas: Type.Array(
		Type.Object({
			replica_id: text,
			state: oneOf(['starting', 'ready', 'failed', 'stopped']),
			engine_version: nullable(text),
			model_name: nullable(text),
			model_digest: nullable(text),
			slots: nullable(count),
			ctx: nullable(count),
			device: nullable(text),
			memory: nullable(Type.Object({ ram_bytes: count, vram_bytes: count }, { description: 'Measured as it was ready' })),
			workloads: texts,
			features: texts,
			sampler_profile_version: nullable(text),
			breaker: oneOf(['closed', 'open', 'half-open']),
			last_error: nullable(text),
		}),
	),
});

export const poolListSchema = Type.Object({ pools: Type.Array(poolSchema) });

export const poolHealthSchema = Type.Object({
	live: Type.Boolean(),
	ready: Type.Boolean(),
	ready_in_ms: readyInMs,
	draining: Type.Boolean(),
	metrics: Type.Object({ queue_depth: count, slots_total: count, slots_free: count }),
	last_error: nullable(text),
});

export const sessionSchema = Type.Object({
	session_id: text,
	ttl_ms_remaining: count,
	turns: count,
	kv_bytes: nullable(count),
	kv_warmth: Type.Boolean(),
	tokens_budget_remaining: nullable(count),
	time_budget_remaining_ms: nullable(count),
	cost_budget_remaining: nullable(Type.Number()),
	gpu_budget_remaining_ms: nullable(count),
});

export const poolControlledSchema = Type.Object({ pool_id: text, draining: Type.Boolean(), deadline_ms: Type.Optional(count) });

export const poolLoadedSchema = Type.Object({ pool_id: text, loaded: Type.Boolean({ description: 'What it is on the way to' }) });

export const configReloadedSchema = Type.Object({
	added: Type.Array(text, { description: 'Pools by id' }),
	removed: Type.Array(text, { description: 'They take nothing new, and are gone with their last task' }),
	changed: Type.Array(text, { description: 'At once, or replica by replica where it is what their engines are started with' }),
	unchanged: Type.Array(text),
	keys: Type.Object(
		{
			added: Type.Array(text),
			removed: Type.Array(text, { description: 'Refused from now on; what they have running goes on' }),
			changed: Type.Array(text),
		},
		{ description: 'API keys by name' },
	),
	restart_needed: Type.Array(text, { description: 'Keys that have changed and are read at the start only' }),
});

export const poolPurgedSchema = Type.Object({
	pool_id: text,
	purging: Type.Boolean(),
	cache_dirs: Type.Array(text, { description: 'Folders that are emptied, each when its engine has ended' }),
});
export const workerRegisteredSchema = Type.Object({ pool_id: text, replica_id: text, slots: count });
export const poolReloadedSchema = Type.Object({ pool_id: text, new_model_ref: text });

export const poolLogSchema = Type.Object({
	pool_id: text,
	lines: Type.Array(Type.Object({ id: count, at: text, replica_id: text, source: oneOf(['stdout', 'stderr']), text })),
	gap: Type.Boolean(),
	next: count,
});

export const capabilitiesSchema = Type.Object({
	api_version: text,
	engines: Type.Array(
		Type.Object({
			engine,
			engine_version: text,
			pools: texts,
			ctx_max: count,
			max_tokens_out: count,
			slots_total: count,
			supported_workloads: texts,
			sampler_profile_version: text,
			features: texts,
			rate_limits: Type.Object({}),
		}),
	),
});

export const versionSchema = Type.Object({ api_version: text, version: text, build_commit: nullable(text), build_time: nullable(text) });
export const healthSchema = Type.Object({ status: Type.Literal('ok'), uptime_ms: count });
export const readySchema = Type.Object({
	ready: Type.Boolean(),
	pools: Type.Array(Type.Object({ pool_id: text, state: text, draining: Type.Boolean(), last_error: nullable(text) })),
});
