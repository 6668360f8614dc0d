/**
 * What llama-server writes, field by field in its order: `tools/server/server-task.cpp` of ggml-org/llama.cpp, functions as named beside each.
 * Pure.
 */

export const buildInfo = 'b6840-0bf5f9a2';
const created = 1_700_000_000;

export function dataOf(value: unknown): string {
	return `data: ${JSON.stringify(value)}\n\n`;
}

/** `format_error_response`, server-common.cpp. */
export function errorOf(code: number, type: string, message: string, more: Readonly<Record<string, unknown>> = {}): unknown {
	return { error: { code, message, type, ...more } };
}

export interface Score {
	readonly id: number;
	readonly token: string;
	readonly bytes: readonly number[];
	readonly logprob: number;
}

export interface ScoredToken extends Score {
	readonly top_logprobs: readonly Score[];
}

/** `completion_token_output::to_json`: `token` is cut behind its last whole character (`validate_utf8`), `bytes` are all of them. */
export function scoreOf(id: number, bytes: Buffer, logprob: number): Score {
	let whole = bytes.length;
	while (whole > 0 && bytes.subarray(0, whole).toString().includes('\u{fffd}')) whole -= 1;
	return { id, token: bytes.toString('utf8', 0, whole), bytes: [...bytes], logprob };
}

/** `server_task_result_cmpl_partial::to_json_non_oaicompat`. */
export function partialOf(content: string, id: number, predicted: number, evaluated: number, score: ScoredToken | null): unknown {
	return {
		index: 0,
		content,
		tokens: [id],
		stop: false,
		// Only the last event names the slot.
		id_slot: -1,
		tokens_predicted: predicted,
		tokens_evaluated: evaluated,
		// `completion_token_output::probs_vector_to_json`
		...(score === null ? {} : { completion_probabilities: [score] }),
	};
}

export interface FinalParts {
	readonly slot: number;
	readonly model: string;
	readonly predicted: number;
	readonly evaluated: number;
	readonly cached: number;
	readonly prompt: string;
	readonly stopType: 'eos' | 'limit' | 'word';
	readonly stoppingWord: string;
	readonly settings: Readonly<Record<string, unknown>>;
}

/** `server_task_result_cmpl_final::to_json_non_oaicompat`; in a stream, its content and tokens are empty. */
export function finalOf(parts: FinalParts): unknown {
	return {
		index: 0,
		content: '',
		tokens: [],
		id_slot: parts.slot,
		stop: true,
		model: parts.model,
		tokens_predicted: parts.predicted,
		tokens_evaluated: parts.evaluated,
		generation_settings: parts.settings,
		prompt: parts.prompt,
		has_new_line: false,
		truncated: false,
		stop_type: parts.stopType,
		stopping_word: parts.stoppingWord,
		// What the slot holds by then, not what it had before.
		tokens_cached: parts.evaluated + parts.predicted - 1,
		timings: timingsOf(parts.evaluated, parts.cached, parts.predicted),
	};
}

/** `result_timings::to_json`. */
export function timingsOf(evaluated: number, cached: number, predicted: number): unknown {
	return {
		cache_n: cached,
		prompt_n: evaluated - cached,
		prompt_ms: 12.5,
		prompt_per_token_ms: 1.25,
		prompt_per_second: 800,
		predicted_n: predicted,
		predicted_ms: 40.25,
		predicted_per_token_ms: 4.025,
		predicted_per_second: 248.447,
	};
}

/** `…_partial::to_json_oaicompat_chat` and `…_final::to_json_oaicompat_chat_stream`. */
export function chatChunkOf(id: string, model: string, delta: unknown, reason: string | null): unknown {
	return { choices: [{ finish_reason: reason, index: 0, delta }], ...chunkTail(id, model) };
}

/** `common_chat_msg_diff_to_json_oaicompat`, common/chat.cpp: a name comes with an id, and arguments are always there. */
export function callDeltaOf(given: string, name?: string): unknown {
	const known = name === undefined ? {} : { id: 'Wq7fT0x2NcAk5hYb', type: 'function' };
	return { tool_calls: [{ index: 0, ...known, function: { ...(name === undefined ? {} : { name }), arguments: given } }] };
}

/** `usage_json_oaicompat`, in the chunk without choices. */
export function usageChunkOf(id: string, model: string, evaluated: number, cached: number, predicted: number): unknown {
	return {
		choices: [],
		...chunkTail(id, model),
		usage: {
			completion_tokens: predicted,
			prompt_tokens: evaluated,
			total_tokens: predicted + evaluated,
			prompt_tokens_details: { cached_tokens: cached },
		},
		timings: timingsOf(evaluated, cached, predicted),
	};
}

function chunkTail(id: string, model: string): Readonly<Record<string, unknown>> {
	return { created, id, model, system_fingerprint: buildInfo, object: 'chat.completion.chunk' };
}

/** GET /props, README.md: abridged to what a client may look at. */
export function propsOf(slots: number, ctx: number, template: string): unknown {
	return {
		default_generation_settings: { params: {}, n_ctx: ctx },
		total_slots: slots,
		model_alias: 'fake.gguf',
		model_ftype: 'Q8_0',
		model_path: '/models/fake.gguf',
		modalities: { vision: false, video: false, audio: false },
		media_marker: '<__media__>',
		endpoint_slots: true,
		endpoint_props: false,
		endpoint_metrics: true,
		chat_template: template,
		bos_token: '<s>',
		eos_token: '</s>',
		chat_template_caps: {},
		build_info: buildInfo,
		is_sleeping: false,
	};
}

/** GET /v1/models, README.md. */
export function modelsOf(model: string, ctx: number): unknown {
	const meta = { vocab_type: 2, n_vocab: 288, n_ctx_train: ctx * 4, n_embd: 64, n_params: 1_000, size: 4_000 };
	return { object: 'list', data: [{ id: model, object: 'model', created, owned_by: 'llamacpp', meta }] };
}
