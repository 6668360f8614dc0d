/**
 * What Triton says of a model: whether it is loaded, and by its inputs, whose names it takes. Two kinds can be asked for text over
 * `/generate_stream`: those of the TensorRT-LLM backend (`max_tokens` and its like are inputs, `ensemble/config.pbtxt` and
 * `tensorrt_llm_bls/config.pbtxt` of NVIDIA/TensorRT-LLM), and those of the vLLM backend (all of them in `sampling_parameters`, as JSON,
 * `src/model.py` of triton-inference-server/vllm_backend).
 */
import { type Failure, failure } from '../../actors/serving/failure.ts';
import { type EngineOptions, type UpstreamClient, UpstreamProblem, type UpstreamTarget } from '../upstream/adapter.ts';
import { countOf, type Fields, fieldsOf, listOf, textOf } from '../upstream/json-fields.ts';

export interface TritonModel {
	readonly dialect: 'tensorrt' | 'vllm';
	/** Names of its inputs. */
	readonly inputs: readonly string[];
	/** `text_output` is all of the text so far. */
	readonly whole: boolean;
}

export function foundModel({ found }: UpstreamTarget): TritonModel {
	const { dialect, inputs, whole } = found as Partial<TritonModel>;
	return { dialect: dialect ?? 'tensorrt', inputs: inputs ?? [], whole: whole ?? false };
}

export function pathOf(model: string, what: string): string {
	return `/v2/models/${encodeURIComponent(model)}/${what}`;
}

/** Its name, where only one is loaded, or the one that is asked for. */
export async function loadedModel(client: UpstreamClient, wanted: string | null): Promise<string> {
	const listed = listOf(await client.json('POST', '/v2/repository/index', {})).map((each) => {
		const model = fieldsOf(each) as Fields & { state?: unknown };
		return { name: textOf(model['name']) ?? '', ready: model.state === 'READY' };
	});
	const names = [...new Set(listed.map(({ name }) => name))];
	const [first, ...others] = names;
	if (wanted === null && (first === undefined || others.length > 0)) {
		const words =
			first === undefined ? 'the engine has no model' : `the engine has several models; name one with model: ${names.join(', ')}`;
		throw new UpstreamProblem(failure('POOL_UNAVAILABLE', words, { retriable: false }));
	}
	const name = wanted ?? (first as string);
	// One that does not tell what it has is asked for the model all the same.
	if (listed.length > 0 && !names.includes(name)) {
		const words = `the engine does not have ${JSON.stringify(name)}; it has ${names.slice(0, 10).join(', ')}`;
		throw new UpstreamProblem(failure('POOL_UNAVAILABLE', words, { retriable: false }));
	}
	if (listed.length > 0 && !listed.some((each) => each.name === name && each.ready)) throw unready('the model is not loaded');
	await ready(client, pathOf(name, 'ready'), 'the model is not ready');
	return name;
}

/** Triton answers 400 to who asks while it is not: nothing is wrong with the question. */
export async function ready(client: UpstreamClient, path: string, words: string): Promise<void> {
	try {
		await client.text(path);
	} catch (error) {
		if (error instanceof UpstreamProblem && error.failure.code === 'INVALID_PARAMS') throw unready(words);
		throw error;
	}
}

export interface TritonFacts extends TritonModel {
	/** Requests that it takes into a batch; null: it does not say. */
	readonly batch: number | null;
}

export async function modelFacts(client: UpstreamClient, name: string, options: EngineOptions): Promise<TritonFacts> {
	const config = fieldsOf(await client.json('GET', pathOf(name, 'config')));
	const inputs = listOf(config['input']).map((input) => textOf(fieldsOf(input)['name']) ?? '');
	const dialect = inputs.includes('sampling_parameters') ? 'vllm' : inputs.includes('max_tokens') ? 'tensorrt' : null;
	if (!inputs.includes('text_input') || dialect === null) throw new UpstreamProblem(noText(name, inputs));
	const accumulates = textOf(fieldsOf(fieldsOf(config['parameters'])['accumulate_tokens'])['string_value']);
	const text = options['text'] ?? 'auto';
	const batch = countOf(config['max_batch_size']) ?? 0;
	return {
		dialect,
		inputs,
		whole: text === 'whole' || (text === 'auto' && accumulates?.toLowerCase() === 'true'),
		batch: batch > 0 ? batch : null,
	};
}

function noText(name: string, inputs: readonly string[]): Failure {
	const has = inputs.slice(0, 10).join(', ') || 'none';
	const words = `the model ${JSON.stringify(name)} is not asked for text: it needs the inputs text_input and max_tokens, or sampling_parameters; it has ${has}`;
	return failure('POOL_UNAVAILABLE', words, { retriable: false });
}

function unready(words: string): UpstreamProblem {
	return new UpstreamProblem(failure('POOL_UNREADY', words, { retryAfterMs: 1_000 }));
}
