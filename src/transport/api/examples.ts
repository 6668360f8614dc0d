/**
 * An example of every operation's body and answer, for `/openapi.json`. They are not only shown: a test sends each body to a daemon, and
 * holds each example, and what the daemon answered, to the schema of its operation. No behaviour.
 */
import type { FailureCode } from '../../actors/serving/failure.ts';
import { foreignExamples } from './foreign-examples.ts';

export interface OperationExample {
	readonly body?: unknown;
	readonly answer?: unknown;
}

const taskId = '01890a5d-ac96-774b-bcce-b302099a8057';
const sessionId = '6f9619ff-8b86-4d01-b42d-00cf4fc964ff';
const streams = {
	sse: `/v2/tasks/${taskId}/events`,
	sse_verbose: `/v2/tasks/${taskId}/events?verbose=true`,
	websocket: '/v2/ws',
};
const standing = {
	queue_position: 2,
	predicted_start_ms: 420,
	predicted_end_ms: 2_300,
	predicted_start_p90_ms: 900,
	predicted_end_p90_ms: 3_100,
	estimated: 'measured',
};
const decision = {
	outcome: 'assigned',
	pool_id: 'stories',
	decided_by: 'predicted_end',
	fallback: false,
	considered: [
		{ pool_id: 'stories', feasible: true, refused_for: null, predicted_start_ms: 420, predicted_end_ms: 2_300 },
		{
			pool_id: 'small',
			feasible: false,
			refused_for: { code: 'INVALID_PARAMS', message: 'ctx is 8192; small has 2048' },
			predicted_start_ms: 0,
			predicted_end_ms: 900,
		},
	],
	stages: [
		{ stage: 'admission', us: 9 },
		{ stage: 'feasibility', us: 6 },
		{ stage: 'ranking', us: 4 },
		{ stage: 'handover', us: 5 },
	],
	total_us: 24,
};
const task = {
	task_id: taskId,
	state: 'done',
	phase: 'ended',
	workload: 'completion',
	model_ref: 'default',
	priority: 'interactive',
	tenant: 'default',
	session_id: sessionId,
	correlation_id: '7c2bb683-850b-4896-a2ad-154de83c1453',
	output_mode: null,
	pool_id: 'stories',
	replica_id: 'stories-0',
	engine: 'llamacpp',
	engine_version: 'b7000',
	model_digest: `sha256:${'5e'.repeat(32)}`,
	max_tokens: 64,
	deadline_ms: null,
	seed: 7,
	determinism: 'best_effort',
	on_disconnect: 'detach',
	watchers: 0,
	durable: false,
	last_event_id: 42,
	tokens_in: 7,
	tokens_cached: 0,
	tokens_out: 40,
	decode_time_ms: 800,
	finish_reason: 'stop',
	error: null,
	transcript_artifact: null,
	timings: {
		admitted_at_ms: 1_796_110_743_157,
		started_at_ms: 1_796_110_743_239,
		first_token_at_ms: 1_796_110_743_282,
		ended_at_ms: 1_796_110_744_082,
		queue_ms: 82,
		first_token_ms: 125,
		total_ms: 925,
	},
	streams,
};
const pool = {
	pool_id: 'stories',
	engine: 'llamacpp',
	provider: 'embedded',
	model: 'file:/models/stories.gguf',
	aliases: ['default'],
	state: 'ready',
	ready_in_ms: null,
	residency: 'always',
	draining: false,
	retiring: false,
	fetch: null,
	reloading_to: null,
	ctx: 2_048,
	max_tokens_out: 1_024,
	slots_total: 4,
	slots_free: 3,
	queue_depth: { interactive: 0, batch: 2 },
	last_error: null,
	replicas: [
		{
			replica_id: 'stories-0',
			state: 'ready',
			engine_version: 'b7000',
			model_name: 'stories',
			model_digest: `sha256:${'5e'.repeat(32)}`,
			slots: 4,
			ctx: 2_048,
			device: 'CPU',
			memory: { ram_bytes: 151_000_000, vram_bytes: 0 },
			workloads: ['completion'],
			features: ['completion', 'logprobs', 'seed', 'stop'],
			sampler_profile_version: 'llamacpp-b7000',
			breaker: 'closed',
			last_error: null,
		},
	],
};
const session = {
	session_id: sessionId,
	ttl_ms_remaining: 598_820,
	turns: 1,
	kv_bytes: null,
	kv_warmth: true,
	tokens_budget_remaining: 9_953,
	time_budget_remaining_ms: null,
	cost_budget_remaining: null,
	gpu_budget_remaining_ms: null,
};
const usage = {
	prompt_tokens: 6,
	completion_tokens: 9,
	total_tokens: 15,
	prompt_tokens_details: { cached_tokens: 0 },
	completion_tokens_details: { reasoning_tokens: 0 },
};
const model = {
	id: 'default',
	object: 'model',
	created: 1_796_110_740,
	owned_by: 'orchestratord',
	max_model_len: 2_048,
	orchestratord: {
		context_length: 2_048,
		max_tokens_out: 1_024,
		ready: true,
		state: 'ready',
		pools: ['stories'],
		engines: ['llamacpp'],
		workloads: ['completion'],
		features: ['completion', 'logprobs'],
		alias_of: ['file:/models/stories.gguf'],
	},
};

const catalogModel = {
	id: 'stories',
	digest: `sha256:${'5e'.repeat(32)}`,
	expected_digest: null,
	source_url: 'file:/models/stories.gguf',
	size_bytes: 26_214_400,
	tags: ['small'],
	manifests: [],
	signatures: [],
	sbom: null,
	signed_by: [],
	trust_problems: [],
	trust_rules: null,
	digest_said: false,
	untrusted: false,
	trust_policy: { mode: 'permissive', allowed_registries: [], require_signature: false, require_sbom: false, ca_roots: [] },
	state: 'Active',
	verification: 'verified',
	problem: null,
	last_verified_ms: 1_796_110_743_157,
	local_path: '/models/stories.gguf',
	folder: null,
	files: [{ name: 'stories.gguf', digest: `sha256:${'5e'.repeat(32)}`, size_bytes: 26_214_400 }],
	fetching: false,
	used_ms: 1_796_110_743_157,
	gguf: { architecture: 'llama', parameters: 15_191_712, context_length: 2_048, quantization: 'Q8_0', chat_template: null },
};

const artifact = {
	id: 'sha256:bb86f67ac0c9f2f95b7491e39079b1eee8c9dd078286c8460cc64e4a7c44d51c',
	kind: 'plan',
	tenant: 'default',
	tags: ['fox'],
	parent: null,
	metadata: { step: 1 },
	size_bytes: 22,
	created_ms: 1_796_110_743_157,
};

/** By method and path. */
export const examples: Readonly<Record<string, OperationExample>> = {
	'POST /v2/tasks': {
		body: {
			model_ref: 'default',
			prompt: 'Tell me a story about a fox',
			max_tokens: 64,
			session_id: sessionId,
			sampling: { temperature: 0 },
		},
		answer: { task_id: taskId, ...standing, backoff_ms: 0, pool_id: 'stories', streams, preparation: { steps: [] } },
	},
	'GET /v2/tasks': { answer: { tasks: [task], next_cursor: null } },
	'POST /v2/tasks/preview': {
		body: { model_ref: 'default', messages: [{ role: 'user', content: 'Hello' }], priority: 'batch' },
		answer: { feasible: true, pool_id: 'stories', engine: 'llamacpp', ...standing, queue_depth: 2, preparation: { steps: [] }, decision },
	},
	'GET /v2/tasks/{id}': { answer: task },
	'GET /v2/tasks/{id}/result': { answer: { ...task, text: 'Once upon a time, there was a kind fox.' } },
	'GET /v2/tasks/{id}/explain': {
		answer: {
			task_id: taskId,
			state: 'queued',
			phase: 'queued',
			human: 'Waits for a slot: 2 tasks are before it.',
			pool_id: 'stories',
			control_reachable: true,
			decision,
			pools: [{ pool_id: 'stories', engine: 'llamacpp', state: 'ready', chosen: true, reason: 'it ends first there' }],
		},
	},
	'POST /v2/tokenize': {
		body: { model_ref: 'default', text: 'Hello fox' },
		answer: {
			model_ref: 'default',
			pool_id: 'stories',
			count: 2,
			tokens: [
				{ id: 12_619, text: 'Hello' },
				{ id: 26_924, text: ' fox' },
			],
		},
	},
	'GET /v2/pools': { answer: { pools: [pool] } },
	'GET /v2/pools/{id}': { answer: pool },
	'GET /v2/pools/{id}/health': {
		answer: {
			live: true,
			ready: true,
			ready_in_ms: null,
			draining: false,
			metrics: { queue_depth: 2, slots_total: 4, slots_free: 3 },
			last_error: null,
		},
	},
	'GET /v2/pools/{id}/logs': {
		answer: {
			pool_id: 'stories',
			lines: [{ id: 1, at: '2026-12-01T07:38:57.000Z', replica_id: 'stories-0', source: 'stderr', text: 'loaded in 70 ms' }],
			gap: false,
			next: 2,
		},
	},
	'POST /v2/pools/{id}/drain': { body: { deadline_ms: 30_000 }, answer: { pool_id: 'stories', draining: true, deadline_ms: 30_000 } },
	'POST /v2/pools/{id}/load': { body: {}, answer: { pool_id: 'stories', loaded: true } },
	'POST /v2/pools/{id}/unload': { body: {}, answer: { pool_id: 'stories', loaded: false } },
	'POST /v2/pools/{id}/undrain': { body: {}, answer: { pool_id: 'stories', draining: false } },
	'POST /v2/pools/{id}/reload': {
		body: { new_model_ref: 'scripted:other' },
		answer: { pool_id: 'stories', new_model_ref: 'file:/models/other.gguf' },
	},
	'POST /v2/pools/{id}/purge': {
		body: { drain_first: true, delete_cache_dirs: true },
		answer: { pool_id: 'stories', purging: true, cache_dirs: ['/var/cache/orchestratord/engines/stories/stories-0'] },
	},
	'POST /v2/workers/register': {
		body: { pool_id: 'workers', replica_id: 'rack-7', engine: 'openai', url: 'http://10.0.0.7:8000', slots: 16 },
		answer: { pool_id: 'workers', replica_id: 'rack-7', slots: 16 },
	},
	'GET /v2/meta/capabilities': {
		answer: {
			api_version: '2.0.0',
			engines: [
				{
					engine: 'llamacpp',
					engine_version: 'b7000',
					pools: ['stories'],
					ctx_max: 2_048,
					max_tokens_out: 1_024,
					slots_total: 4,
					supported_workloads: ['completion'],
					sampler_profile_version: 'llamacpp-b7000',
					features: ['completion', 'logprobs'],
					rate_limits: {},
				},
			],
		},
	},
	'GET /v2/sessions/{id}': { answer: session },
	'PUT /v2/sessions/{id}': { body: { budgets: { tokens: 10_000 } }, answer: session },
	'GET /v2/catalog/models': { answer: { models: [catalogModel], next_cursor: null } },
	'POST /v2/catalog/models': {
		body: { source_url: catalogModel.source_url, id: catalogModel.id, tags: catalogModel.tags },
		answer: catalogModel,
	},
	'GET /v2/catalog/models/{id}': { answer: catalogModel },
	'POST /v2/catalog/models/{id}/verify': { answer: { ...catalogModel, verification: 'pending' } },
	'POST /v2/catalog/models/{id}/pull': {
		answer: {
			...catalogModel,
			source_url: 'hf:org/stories/stories.gguf',
			digest: null,
			size_bytes: null,
			verification: 'absent',
			last_verified_ms: null,
			local_path: null,
			files: [],
			fetching: true,
			used_ms: null,
			gguf: null,
			pull: {
				phase: 'fetching',
				bytes_done: 4_194_304,
				bytes_total: 26_214_400,
				bytes_per_s: 10_485_760,
				eta_ms: 2_100,
				files_done: 0,
				files_total: 1,
				note: null,
			},
		},
	},
	'POST /v2/catalog/models/{id}/state': { body: { state: 'Retired', deadline_ms: 30_000 }, answer: { ...catalogModel, state: 'Retired' } },
	'POST /v2/artifacts': {
		body: { kind: artifact.kind, content: 'First the fox wakes up', tags: artifact.tags, metadata: artifact.metadata },
		answer: artifact,
	},
	'GET /v2/artifacts': { answer: { artifacts: [artifact], next_cursor: null } },
	'GET /v2/artifacts/{id}': { answer: { ...artifact, content: 'First the fox wakes up' } },
	'POST /v2/config/reload': {
		body: {},
		answer: {
			added: ['night'],
			removed: [],
			changed: ['stories'],
			unchanged: ['small'],
			keys: { added: [], removed: ['ci'], changed: [] },
			restart_needed: [],
		},
	},
	'GET /v2/meta/version': { answer: { api_version: '2.0.0', version: '0.1.0', build_commit: null, build_time: null } },
	'GET /health': { answer: { status: 'ok', uptime_ms: 3_639 } },
	'GET /ready': { answer: { ready: true, pools: [{ pool_id: 'stories', state: 'ready', draining: false, last_error: null }] } },
	'POST /v1/chat/completions': {
		body: { model: 'default', messages: [{ role: 'user', content: 'What is 7 + 5?' }], temperature: 0, max_tokens: 16 },
		answer: {
			id: `chatcmpl-${taskId}`,
			object: 'chat.completion',
			created: 1_796_110_744,
			model: 'default',
			choices: [
				{ index: 0, message: { role: 'assistant', content: '7 plus 5 is 12.', refusal: null }, logprobs: null, finish_reason: 'stop' },
			],
			usage,
		},
	},
	'POST /v1/completions': {
		body: { model: 'default', prompt: 'Once upon a time', max_tokens: 16 },
		answer: {
			id: `cmpl-${taskId}`,
			object: 'text_completion',
			created: 1_796_110_744,
			model: 'default',
			choices: [{ index: 0, text: ', there was a fox.', logprobs: null, finish_reason: 'stop' }],
			usage,
		},
	},
	'POST /v1/embeddings': {
		body: { model: 'default', input: ['a fox', 'an owl'] },
		answer: {
			object: 'list',
			model: 'default',
			data: [{ object: 'embedding', index: 0, embedding: [0.12, -0.5, 0.33] }],
			usage: { prompt_tokens: 4, total_tokens: 4 },
		},
	},
	'POST /v1/rerank': {
		body: { model: 'default', query: 'Who is kind?', documents: ['The fox is kind.', 'It rains.'] },
		answer: {
			id: `rerank-${taskId}`,
			object: 'list',
			model: 'default',
			results: [{ index: 0, relevance_score: 0.97, document: { text: 'The fox is kind.' } }],
			usage: { prompt_tokens: 12, total_tokens: 12 },
		},
	},
	'GET /v1/models': { answer: { object: 'list', data: [model] } },
	'GET /v1/models/{id}': { answer: model },
	'GET /v1/models/{owner}/{id}': { answer: model },
	...foreignExamples,
};

/** What each code may say. */
export const failureMessages: Readonly<Record<FailureCode, string>> = {
	INVALID_PARAMS: 'max_tokens is 0; it must be a whole number from 1 to 2147483647',
	DEADLINE_UNMET: 'deadline_ms leaves 500 ms; the earliest that this can end in stories is in about 2300 ms',
	UNAUTHORIZED: 'a key is needed, as Authorization: Bearer … or X-API-Key: …',
	FORBIDDEN: 'this needs a key with the role operator',
	NOT_FOUND: 'there is no such task; it was never known here, or is forgotten',
	CONFLICT: 'task_id names another task, with another body',
	EVENTS_EXPIRED: 'the events of this task are no longer kept',
	CANCELED: 'the task was cancelled, and makes no answer any more',
	MODEL_DEPRECATED: 'the model is retired',
	PAYLOAD_TOO_LARGE: 'the body is longer than 4194304 bytes',
	UNTRUSTED_ARTIFACT: 'the file has another digest than its entry',
	ADMISSION_REJECT: 'the queue of stories is full: 256 tasks wait',
	QUEUE_FULL_DROP_LRU: 'dropped from the queue to make room for a newer task',
	POOL_UNREADY: 'stories is draining',
	POOL_UNAVAILABLE: 'no pool can serve this task',
	REPLICA_EXHAUSTED: 'no replica of stories takes tasks: all fail',
	DECODE_TIMEOUT: 'no token came within 30000 ms',
	WORKER_RESET: 'the engine died and the task could not go on elsewhere',
	INTERNAL: 'an error inside the daemon; its log says more under the correlation id',
};
