/**
 * How the engines that people run are started, as commands with macros: for a pool that names no command. What the pool does not say is
 * left to the engine. Pure.
 *
 * Flags as they stand in: llama-server, `tools/server/README.md` of ggml-org/llama.cpp (`-c` is shared by the slots of `-np`; `--metrics`
 * is off unless given) · vllm, `vllm serve --help` and docs.vllm.ai, "Engine Arguments" · tgi, huggingface.co/docs/text-generation-inference,
 * "Text-generation-launcher arguments" (two on one machine need their own `--shard-uds-path` and `--master-port`) · triton,
 * `src/command_line_parser.cc` of triton-inference-server/server (metrics listen at `--http-address` too).
 */
import type { MacroName } from './command-words.ts';

export const presetNames = ['llama-server', 'vllm', 'tgi', 'triton'] as const;
export type PresetName = (typeof presetNames)[number];

/** Of a pool: what it does not say is left out of the command. */
export interface PresetFacts {
	readonly hasCtx: boolean;
	readonly deviceCount: number | null;
}

interface Preset {
	/** The `engine` of its pools: its own way of being spoken to, and where it has that too, the OpenAI API. */
	readonly engines: readonly ('llamacpp' | 'vllm' | 'tgi' | 'triton' | 'openai')[];
	/** What `model` is to say. */
	readonly model: string;
	command(facts: PresetFacts): readonly string[];
	/** Its environment, where neither the pool nor ours says otherwise. */
	readonly env?: Readonly<Record<string, string>>;
}

/** A macro in its braces: a slip is a compile error. */
function the(name: MacroName): string {
	return `{${name}}`;
}

const listen = ['--host', the('host'), '--port', the('port')];

export const presets: Readonly<Record<PresetName, Preset>> = {
	'llama-server': {
		engines: ['llamacpp', 'openai'],
		model: 'the GGUF file to load',
		command: ({ hasCtx }) => [
			'llama-server',
			...listen,
			'--model',
			the('model'),
			'--parallel',
			the('slots'),
			...(hasCtx ? ['--ctx-size', the('total_ctx')] : []),
			'--metrics',
			'--slots',
		],
	},
	vllm: {
		engines: ['vllm', 'openai'],
		model: 'the model of the Hugging Face hub, or a folder',
		command: ({ hasCtx, deviceCount }) => [
			'vllm',
			'serve',
			the('model'),
			...listen,
			'--max-num-seqs',
			the('slots'),
			...(hasCtx ? ['--max-model-len', the('ctx')] : []),
			...(several(deviceCount) ? ['--tensor-parallel-size', the('device_count')] : []),
		],
		// What it compiles for the model and the device. Its weights are cached by the hub's library, elsewhere.
		env: { VLLM_CACHE_ROOT: `${the('cache_dir')}/vllm`, TRITON_CACHE_DIR: `${the('cache_dir')}/triton` },
	},
	tgi: {
		engines: ['tgi', 'openai'],
		model: 'the model of the Hugging Face hub, or a folder',
		command: ({ hasCtx, deviceCount }) => [
			'text-generation-launcher',
			'--model-id',
			the('model'),
			'--hostname',
			the('host'),
			'--port',
			the('port'),
			'--max-concurrent-requests',
			the('slots'),
			...(hasCtx ? ['--max-total-tokens', the('ctx')] : []),
			...(deviceCount === null ? [] : ['--num-shard', the('device_count')]),
			'--shard-uds-path',
			`${the('runtime_dir')}/tgi-${the('port')}`,
			'--master-port',
			the('port_2'),
		],
	},
	triton: {
		engines: ['triton'],
		model: 'the name of the model; the folder of models stands in args, as --model-repository',
		command: () => [
			'tritonserver',
			'--http-address',
			the('host'),
			'--http-port',
			the('port'),
			'--allow-grpc=false',
			'--metrics-port',
			the('port_2'),
		],
	},
};

function several(count: number | null): boolean {
	return count !== null && count > 1;
}
