/**
 * The configurations of the models that a real Triton is given, in its protobuf text. Names, types and dims are those of vLLM's backend
 * (`src/model.py`, `auto_complete_config`, of triton-inference-server/vllm_backend) and of TensorRT-LLM's
 * (`triton_backend/all_models/inflight_batcher_llm/tensorrt_llm_bls/config.pbtxt` of NVIDIA/TensorRT-LLM), without those for images.
 */

type Tensor = readonly [name: string, type: 'STRING' | 'BOOL' | 'INT32' | 'UINT32' | 'UINT64' | 'FP32', dims?: string];

interface Model {
	readonly maxBatch: number;
	readonly needed: readonly Tensor[];
	readonly optional: readonly Tensor[];
	readonly outputs: readonly Tensor[];
}

const vllmBackend: Model = {
	maxBatch: 0,
	needed: [['text_input', 'STRING']],
	optional: [
		['stream', 'BOOL'],
		['sampling_parameters', 'STRING'],
		['exclude_input_in_output', 'BOOL'],
		['return_finish_reason', 'BOOL'],
		['return_cumulative_logprob', 'BOOL'],
		['return_logprobs', 'BOOL'],
		['return_num_input_tokens', 'BOOL'],
		['return_num_output_tokens', 'BOOL'],
	],
	outputs: [
		['text_output', 'STRING', '-1'],
		['finish_reason', 'STRING', '-1'],
		['cumulative_logprob', 'FP32', '-1'],
		['logprobs', 'STRING', '-1'],
		['num_input_tokens', 'UINT32', '1'],
		['num_output_tokens', 'UINT32', '-1'],
	],
};

const tensorrtLlm: Model = {
	maxBatch: 4,
	needed: [
		['text_input', 'STRING'],
		['max_tokens', 'INT32'],
	],
	optional: [
		['bad_words', 'STRING', '-1'],
		['stop_words', 'STRING', '-1'],
		['exclude_input_in_output', 'BOOL'],
		['end_id', 'INT32'],
		['pad_id', 'INT32'],
		['top_k', 'INT32'],
		['top_p', 'FP32'],
		['temperature', 'FP32'],
		['length_penalty', 'FP32'],
		['repetition_penalty', 'FP32'],
		['min_tokens', 'INT32'],
		['presence_penalty', 'FP32'],
		['frequency_penalty', 'FP32'],
		['seed', 'UINT64'],
		['return_log_probs', 'BOOL'],
		['return_num_input_tokens', 'BOOL'],
		['return_num_output_tokens', 'BOOL'],
		['beam_width', 'INT32'],
		['stream', 'BOOL'],
	],
	outputs: [
		['text_output', 'STRING', '-1'],
		['cum_log_probs', 'FP32', '-1'],
		['output_log_probs', 'FP32', '-1, -1'],
		['sequence_index', 'INT32', '1'],
		['num_input_tokens', 'INT32', '1'],
		['num_output_tokens', 'INT32', '1'],
	],
};

function tensor([name, type, dims = '1']: Tensor, optional: boolean): string {
	return `{ name: "${name}" data_type: TYPE_${type} dims: [ ${dims} ]${optional ? ' optional: true' : ''} }`;
}

function config({ maxBatch, needed, optional, outputs }: Model): string {
	const inputs = [...needed.map((each) => tensor(each, false)), ...optional.map((each) => tensor(each, true))];
	return [
		'backend: "python"',
		`max_batch_size: ${maxBatch}`,
		'model_transaction_policy { decoupled: true }',
		`input [ ${inputs.join(',\n')} ]`,
		`output [ ${outputs.map((each) => tensor(each, false)).join(',\n')} ]`,
		'instance_group [ { count: 1 kind: KIND_CPU } ]',
		'',
	].join('\n');
}

export const modelConfigs: Readonly<Record<string, string>> = {
	vllm_model: config(vllmBackend),
	tensorrt_llm_bls: config(tensorrtLlm),
};
