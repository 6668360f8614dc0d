/**
 * Triton with one model, as its own documents have it: docs/protocol of triton-inference-server/server (extension_generate.md,
 * extension_model_repository.md, extension_model_configuration.md), `src/http_server.cc` for what these leave open, and the inputs and outputs of
 * its backends. Triton passes a field that is no input on as a parameter, which no model here reads: it is noted as strayed.
 */

import { leastOf } from './fake-answers.ts';
import type { FakeExchange } from './fake-exchange.ts';
import { beginOfText, bytesOf, tokenize } from './fake-model.ts';
import { type FakeRequest, FakeServer, type FakeServerOptions } from './fake-server.ts';
import { FakeSlots, type FakeStep, type FakeWork } from './fake-slots.ts';
import { endOf, vllmText } from './fake-vllm-text.ts';
import { type BodyFields, isBetween, isCount, isFlag, isListOf, isText, strictBody, strictFields } from './strict-body.ts';

/** `tensorrt_llm_bls` of NVIDIA/TensorRT-LLM is `ensemble` with `accumulate_tokens`. */
export type TritonKind = 'ensemble' | 'tensorrt_llm_bls' | 'vllm_model';

export interface FakeTritonOptions extends FakeServerOptions {
	readonly slots?: number;
	readonly stepMs?: number;
	readonly endsAfter?: number;
	readonly kind?: TritonKind;
	/** Tokens of a prompt that it takes. */
	readonly maxInput?: number;
	/** Inputs that this model does not have. */
	readonly without?: readonly string[];
}

const isAbove = (least: number) => (value: unknown) => isBetween(least, 1e9)(value) && value !== least;
/** triton_backend/all_models/inflight_batcher_llm/ensemble/config.pbtxt: its inputs, and what the runtime takes in them. */
const tensorrtInputs: BodyFields = {
	text_input: isText,
	max_tokens: isAbove(0),
	'stop_words?': isListOf(isText),
	'exclude_input_in_output?': isFlag,
	'top_k?': isCount,
	'top_p?': (value) => isBetween(0, 1)(value) && value !== 0,
	'temperature?': isAbove(0),
	'repetition_penalty?': isAbove(0),
	'presence_penalty?': isBetween(-2, 2),
	'frequency_penalty?': isBetween(-2, 2),
	'seed?': isCount,
	'return_num_input_tokens?': isFlag,
	'stream?': isFlag,
	'guided_decoding_guide_type?': isText,
	'guided_decoding_guide?': isText,
};
/** vllm_backend, src/model.py: `_auto_complete_inputs_and_outputs`. */
const vllmInputs: BodyFields = {
	text_input: isText,
	'stream?': isFlag,
	'sampling_parameters?': isText,
	'exclude_input_in_output?': isFlag,
	'return_finish_reason?': isFlag,
	'return_num_input_tokens?': isFlag,
	'return_num_output_tokens?': isFlag,
};
/** vllm/sampling_params.py, as far as `TritonSamplingParams.from_dict` of the backend passes it on. */
const samplingFields: BodyFields = {
	'max_tokens?': isAbove(0),
	'seed?': isCount,
	'temperature?': isBetween(0, 100),
	'top_p?': (value) => isBetween(0, 1)(value) && value !== 0,
	'top_k?': (value) => value === -1 || isAbove(0)(value),
	'min_p?': isBetween(0, 1),
	'repetition_penalty?': isAbove(0),
	'presence_penalty?': isBetween(-2, 2),
	'frequency_penalty?': isBetween(-2, 2),
	'ignore_eos?': isFlag,
	'min_tokens?': isCount,
	'stop?': isListOf(isText),
};

export class FakeTriton {
	readonly server: FakeServer;
	readonly slots: FakeSlots;
	readonly model: TritonKind;
	readonly #fields: BodyFields;
	readonly #maxInput: number;
	/** Whether its model is loaded. */
	loaded = true;
	/** tensorrtllm_backend, README.md, "Triton Metrics": blocks in use, of so many. Null: metrics are at their own port, as a rule. */
	blocks: readonly [number, number] | null = null;

	constructor({
		slots = 4,
		stepMs = 0,
		endsAfter = 500,
		kind = 'ensemble',
		without = [],
		maxInput = 1_000_000,
		...options
	}: FakeTritonOptions = {}) {
		this.#maxInput = maxInput;
		this.model = kind;
		const all = kind === 'vllm_model' ? vllmInputs : tensorrtInputs;
		this.#fields = Object.fromEntries(Object.entries(all).filter(([name]) => !without.includes(name.replace('?', ''))));
		this.server = new FakeServer(options);
		this.slots = new FakeSlots({ slots, stepMs, endsAfter });
		// libevhtp's own answers.
		this.server.refuse = (exchange, status) => exchange.answer(status, {}, '');
		const state = (exchange: FakeExchange): void => exchange.answer(this.loaded ? 200 : 400, {}, '');
		// http_server.cc, HandleServerHealth and HandleModelReady: 200 or 400, without a body
		this.server.on('GET', '/v2/health/live', (exchange) => exchange.answer(200, {}, ''));
		this.server.on('GET', '/v2/health/ready', state);
		this.server.on('GET', `/v2/models/${kind}/ready`, state);
		// docs/user_guide/metrics.md: Prometheus' text; the gauges are those of `blocks`
		this.server.on('GET', '/metrics', (exchange) => {
			if (this.blocks === null) return exchange.answer(404, {}, '');
			const lines = ['used', 'max'].map(
				(type, at) =>
					`nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="${type}",model="tensorrt_llm",version="1"} ${this.blocks?.[at]}\n`,
			);
			exchange.answer(200, { 'content-type': 'text/plain; charset=utf-8' }, lines.join(''));
		});
		// Server metadata of the KServe protocol, `required_api.md`
		this.server.on('GET', '/v2', (exchange) =>
			exchange.json(200, { name: 'triton', version: '2.60.0', extensions: ['model_repository', 'generate'] }),
		);
		// extension_model_repository.md: the models of an ensemble stand beside it
		this.server.on('POST', '/v2/repository/index', (exchange, { body, path }) => {
			strictBody(body, { 'ready?': isFlag }, path, this.#stray);
			const names = kind === 'ensemble' ? ['ensemble', 'postprocessing', 'preprocessing', 'tensorrt_llm'] : [kind];
			exchange.json(
				200,
				names.map((name) => ({ name, version: '1', state: this.loaded ? 'READY' : 'LOADING' })),
			);
		});
		// extension_model_configuration.md: ModelConfig as JSON
		this.server.on('GET', `/v2/models/${kind}/config`, (exchange) => {
			const names = Object.keys(this.#fields).map((name) => name.replace('?', ''));
			exchange.json(200, {
				name: kind,
				platform: kind === 'ensemble' ? 'ensemble' : '',
				backend: kind === 'vllm_model' ? 'vllm' : kind === 'ensemble' ? '' : 'python',
				max_batch_size: kind === 'vllm_model' ? 0 : 8,
				input: names.map((name) => ({ name, data_type: 'TYPE_STRING', dims: [1], optional: !['text_input', 'max_tokens'].includes(name) })),
				output: [{ name: 'text_output', data_type: 'TYPE_STRING', dims: [-1] }],
				parameters: kind === 'tensorrt_llm_bls' ? { accumulate_tokens: { string_value: 'true' } } : {},
				model_transaction_policy: { decoupled: true },
			});
		});
		this.server.on('POST', `/v2/models/${kind}/generate_stream`, (exchange, request) => this.#generate(exchange, request));
	}

	/** extension_generate.md: `POST v2/models/${MODEL_NAME}/generate_stream`. */
	#generate(exchange: FakeExchange, request: FakeRequest): void {
		const body = strictBody(request.body, this.#fields, request.path, this.#stray);
		const accepts = request.headers.get('accept') ?? '';
		if (!accepts.includes('text/event-stream') && !accepts.includes('*/*')) this.#stray(`${request.path} accepts ${accepts}`);
		if (body['stream'] !== true) this.#stray('it is asked without stream, and would answer at the end');
		const prompt = [beginOfText, ...tokenize(String(body['text_input']))];
		// http_server.cc, EVSendErrorResponse: `{"error": …}`; the words are those of TensorRT-LLM's executor, `Request::validate`
		if (prompt.length > this.#maxInput)
			return exchange.json(400, { error: `Prompt length (${prompt.length}) exceeds maximum input length (${this.#maxInput}).` });
		if (this.model === 'vllm_model') this.#vllm(exchange, prompt, body);
		else this.#tensorrt(exchange, prompt, body);
	}

	/** http_server.cc, InferResponseComplete: the head goes out with the first response. */
	#sayer(exchange: FakeExchange): (outputs: Readonly<Record<string, unknown>>) => string {
		let begun = false;
		return (outputs) => {
			if (!begun) exchange.beginEvents({ 'content-type': 'text/event-stream; charset=utf-8' });
			begun = true;
			return `data: ${JSON.stringify({ model_name: this.model, model_version: '1', ...outputs })}\n\n`;
		};
	}

	/** vllm_backend, src/utils/request.py: `create_response`; `finish_reason` is `str()` of vLLM's. */
	#vllm(exchange: FakeExchange, prompt: readonly number[], body: Readonly<Record<string, unknown>>): void {
		const { sampling_parameters: given } = body;
		const asked = strictFields(JSON.parse(typeof given === 'string' ? given : '{}'), samplingFields, 'sampling_parameters', this.#stray);
		const say = this.#sayer(exchange);
		const drop = vllmText(this.slots, {
			prompt,
			maxTokens: Number(asked['max_tokens'] ?? 16),
			stop: (asked['stop'] ?? []) as readonly string[],
			includeStop: false,
			seed: asked['temperature'] === 0 ? null : Number(asked['seed'] ?? 0),
			endsNotBefore: endOf(asked),
			says: null,
			merged: 1,
			step: ({ text, ids, finish }) => {
				const said = say({
					...(body['return_finish_reason'] === true ? { finish_reason: finish ?? 'None' } : {}),
					...(body['return_num_input_tokens'] === true ? { num_input_tokens: prompt.length } : {}),
					...(body['return_num_output_tokens'] === true ? { num_output_tokens: ids.length } : {}),
					text_output: text,
				});
				if (finish === null) exchange.event(said);
				else exchange.endEvents(said);
			},
		});
		exchange.onGone(drop);
	}

	/**
	 * One response a token. `ensemble`: postprocessing/1/model.py decodes the tokens of each response alone, so that of a character that is
	 * not whole there is a sign for a broken one. `tensorrt_llm_bls` with `accumulate_tokens`: lib/decode.py decodes all so far.
	 */
	#tensorrt(exchange: FakeExchange, prompt: readonly number[], body: Readonly<Record<string, unknown>>): void {
		const say = this.#sayer(exchange);
		const maxTokens = Number(body['max_tokens']);
		const stop = (body['stop_words'] ?? []) as readonly string[];
		let ids: number[] = [];
		let before: FakeStep | null = null;
		const told = ({ id }: { readonly id: number | null }): string => {
			ids = id === null ? ids : [...ids, id];
			const shown = this.model === 'tensorrt_llm_bls' ? ids : id === null ? [] : [id];
			const more = { cum_log_probs: 0, sequence_end: false, sequence_id: 0, sequence_start: false };
			const input = body['return_num_input_tokens'] === true ? { num_input_tokens: prompt.length } : {};
			return say({ ...more, ...input, text_output: Buffer.concat(shown.map(bytesOf)).toString() });
		};
		const work: FakeWork = {
			prompt,
			maxTokens,
			stop: [],
			seed: body['top_k'] === 1 ? null : Number(body['seed'] ?? 0),
			...guided(body),
			token: (step) => {
				// Stop words are ids there: one that is the last token ends the text, and is in it.
				if (stop.some((word) => Buffer.from(word).equals(bytesOf(step.id)))) {
					exchange.endEvents(told(step));
					return this.slots.drop(work);
				}
				before = step.made >= maxTokens ? step : null;
				if (before === null) exchange.event(told(step));
			},
			ended: ({ reason }) => exchange.endEvents(told(reason === 'length' && before !== null ? before : { id: null })),
		};
		exchange.onGone(() => this.slots.drop(work));
		this.slots.add(work);
	}

	readonly #stray = (words: string): void => this.server.stray(words);
}

/** `guided_decoding_guide_type` of tensorrt_llm/config.pbtxt, "json", "json_schema" among others; `GuidedDecodingParams::GuideType`. */
function guided({
	guided_decoding_guide_type: type,
	guided_decoding_guide: guide,
}: Readonly<Record<string, unknown>>): Pick<FakeWork, 'says'> {
	if (type !== 'json' && type !== 'json_schema') return {};
	const schema = type === 'json' ? { type: 'object' } : (JSON.parse(String(guide)) as Readonly<Record<string, unknown>>);
	return { says: tokenize(JSON.stringify(leastOf(schema))) };
}
