/** One pool of the configuration: what its file says, checked and in its final form. Main thread and CLI; reads keys of engines. */
import { join, resolve } from 'node:path';
import { formatModelRef, parseModelRef } from './actors/catalog/model-ref.ts';
import type { World } from './config.ts';
import { engineOptions } from './config-engine-options.ts';
import { type ManagedConfig, noManaged, resolveManaged } from './config-managed.ts';
import { type ResidencyConfig, residencyOf } from './config-residency.ts';
import { packageRoot } from './config-root.ts';
import { type PoolFile, parseBytes, perfPriorDefaults } from './config-schema.ts';

export const builtinModel = 'builtin:tiny-chat';

export interface UpstreamConfig {
	readonly urls: readonly string[];
	/** Never logged, never shown. */
	readonly key: string | null;
	/** What the engine calls its model; null: the one that it has. */
	readonly model: string | null;
	readonly connectMs: number;
	/** Of the section named like the engine. */
	readonly options: Readonly<Record<string, string | boolean>>;
}

export interface ScriptedSettings {
	readonly prefillTokensPerS: number;
	readonly decodeTokensPerS: number;
	readonly tokens: number;
	readonly loadMs: number;
	readonly text: 'words' | 'clock' | 'echo';
	/** Null: none. */
	readonly record: string | null;
	readonly faults: readonly {
		readonly kind: 'stall' | 'die' | 'error' | 'ignore-cancel' | 'flood';
		readonly afterTokens: number;
		/** Null: every request. */
		readonly nth: number | null;
		readonly promptContains: string | null;
		readonly selfTest: boolean;
	}[];
}

export interface PoolConfig {
	readonly id: string;
	readonly engine: PoolFile['engine'];
	readonly provider: PoolFile['provider'];
	/** Of an external engine; null: it is none. */
	readonly upstream: UpstreamConfig | null;
	/** Of an engine that we start and that is not ours; null: it is none. */
	readonly managed: ManagedConfig | null;
	/** How a `model_ref` may name it: `file:/…`, `builtin:tiny-chat`, `scripted:…`. */
	readonly model: string;
	/** The file to load; null for engines that load none, and for models that the catalog has. */
	readonly modelPath: string | null;
	/** We load it, and the catalog knows where it is: it may have to be fetched. */
	readonly fromCatalog: boolean;
	readonly aliases: readonly string[];
	/** Devices the engine may see; null: all. */
	readonly devices: readonly number[] | null;
	/** Compute threads of one replica. */
	readonly cpuThreads: number;
	/** Of the model on the GPU, where llama.cpp runs in a process of ours; null: all. */
	readonly gpuLayers: number | null;
	readonly residency: ResidencyConfig;
	/** Null: as it is estimated and measured. */
	readonly memoryBytes: number | null;
	readonly replicas: number;
	/** Whether external engines may register themselves. */
	readonly workers: boolean;
	/** Tasks that decode at once in one replica. */
	readonly slots: number;
	/** Tokens a slot holds; null: the smaller of the model's and `defaultCtx`. */
	readonly ctx: number | null;
	readonly maxTokensOut: number;
	readonly queue: {
		readonly capacity: number;
		readonly bytesMax: number;
		readonly fullPolicy: 'reject' | 'drop-lru' | 'shed-low-priority';
		readonly batchMaxWaitMs: number;
		readonly order: 'fifo' | 'deadline';
		readonly preemption: 'off' | 'soft';
	};
	readonly migration: 'on' | 'off';
	readonly prices: { readonly perTokenIn: number; readonly perTokenOut: number };
	readonly perfPrior: {
		readonly prefillTokensPerS: number;
		readonly decodeTokensPerS: number;
		readonly tokensOut: number;
		/** It is not the default, which holds for no pool in particular. */
		readonly configured: boolean;
		readonly loadMs: number | null;
	};
	readonly timeouts: { readonly firstTokenMs: number; readonly idleMs: number; readonly wallMs: number };
	/** Null unless the engine is `scripted`. */
	readonly scripted: ScriptedSettings | null;
}

export interface ThreadRoom {
	readonly most: number;
	readonly share: number;
}

export interface PoolAround {
	/** Where it stands in the file, for words. */
	readonly path: string;
	/** The file has a `scripted` section for it. */
	readonly hasScript: boolean;
	readonly room: ThreadRoom;
	readonly world: Pick<World, 'env' | 'cwd' | 'readFile'>;
	/** Gets a sentence for everything that is wrong. */
	readonly problems: string[];
}

/** Checks what a schema cannot say of a pool, and gives every value its final form. */
export function resolvePool(pool: PoolFile, { path, hasScript, room, world, problems }: PoolAround): PoolConfig {
	const external = pool.provider === 'external';
	const options = engineOptions(pool, path, world, problems);
	const upstream = external ? { ...resolveUpstream(pool, path, world, problems), options } : null;
	const managed =
		pool.provider === 'managed'
			? { ...resolveManaged(pool, path, externalEngines, engineKey(pool, path, world, problems), world.env, problems), options }
			: null;
	if (managed === null) noManaged(pool, path, problems);
	if (!external && managed === null) noUpstream(pool, path, problems);
	if (hasScript && pool.engine !== 'scripted')
		problems.push(`${path}.scripted is set, but ${path}.engine is ${pool.engine}; it belongs to engine: scripted`);
	if (typeof pool.cpu_threads === 'number' && pool.cpu_threads > room.most) {
		problems.push(
			`${path}.cpu_threads is ${pool.cpu_threads}; it must be at most ${room.most} here, the cores that the front threads leave`,
		);
	}

	const scripted = pool.engine === 'scripted';
	const named =
		external || managed !== null
			? { model: pool.model ?? pool.id, modelPath: null, fromCatalog: false }
			: scripted
				? { model: scriptedModel(pool, path, problems), modelPath: null, fromCatalog: false }
				: modelFile(pool.model, `${path}.model`, problems);
	// the built-in model has so little work per token that a second thread only slows it down
	const autoThreads = named.model === builtinModel ? 1 : room.share;
	return {
		id: pool.id,
		engine: pool.engine,
		provider: pool.provider,
		upstream,
		managed,
		...named,
		aliases: pool.aliases,
		devices: pool.devices ?? null,
		gpuLayers: gpuLayersOf(pool, path, problems),
		cpuThreads: typeof pool.cpu_threads === 'number' ? pool.cpu_threads : autoThreads,
		residency: residencyOf(pool, path, problems),
		memoryBytes: pool.memory_bytes === 'auto' ? null : parseBytes(pool.memory_bytes),
		replicas: replicasOf(pool, upstream),
		workers: pool.workers,
		slots: pool.slots,
		ctx: pool.ctx ?? null,
		maxTokensOut: Math.min(pool.max_tokens_out, pool.ctx ?? pool.max_tokens_out),
		queue: {
			capacity: pool.queue.capacity,
			bytesMax: parseBytes(pool.queue.bytes_max),
			fullPolicy: pool.queue.full_policy,
			batchMaxWaitMs: pool.queue.batch_max_wait_ms,
			order: pool.queue.order,
			preemption: pool.queue.preemption,
		},
		migration: pool.migration,
		prices: { perTokenIn: pool.price.per_1k_tokens_in / 1000, perTokenOut: pool.price.per_1k_tokens_out / 1000 },
		perfPrior: {
			prefillTokensPerS: pool.perf_prior.prefill_tokens_per_s,
			decodeTokensPerS: pool.perf_prior.decode_tokens_per_s,
			tokensOut: pool.perf_prior.tokens_out,
			configured: Object.entries(perfPriorDefaults).some(
				([key, value]) => pool.perf_prior[key as keyof typeof perfPriorDefaults] !== value,
			),
			loadMs: pool.perf_prior.load_ms ?? null,
		},
		timeouts: { firstTokenMs: pool.timeouts.first_token_ms, idleMs: pool.timeouts.idle_ms, wallMs: pool.timeouts.wall_ms },
		scripted: scripted
			? {
					prefillTokensPerS: pool.scripted.prefill_tokens_per_s,
					decodeTokensPerS: pool.scripted.decode_tokens_per_s,
					tokens: pool.scripted.tokens,
					loadMs: pool.scripted.load_ms,
					text: pool.scripted.text,
					record: pool.scripted.record ?? null,
					faults: pool.scripted.faults.map((fault) => ({
						kind: fault.kind,
						afterTokens: fault.after_tokens,
						nth: fault.nth ?? null,
						promptContains: fault.prompt_contains ?? null,
						selfTest: fault.self_test,
					})),
				}
			: null,
	};
}

function gpuLayersOf({ engine, provider, gpu_layers: layers }: PoolFile, path: string, problems: string[]): number | null {
	if (layers === 'auto') return null;
	if (engine !== 'llamacpp' || provider !== 'embedded') {
		const whose =
			provider === 'managed' ? 'say it in args, in the words of the engine' : 'it belongs to engine: llamacpp with provider: embedded';
		problems.push(`${path}.gpu_layers is ${layers}, but ${path}.engine is ${engine} with provider: ${provider}; ${whose}`);
	}
	return layers;
}

/** One a url; none at first where workers are to register. */
function replicasOf(pool: PoolFile, upstream: { readonly urls: readonly string[] } | null): number {
	return upstream?.urls.length === 0 ? 0 : Math.max(pool.replicas, upstream?.urls.length ?? 1);
}

function scriptedModel(pool: PoolFile, path: string, problems: string[]): string {
	const model = pool.model ?? `scripted:${pool.id}`;
	if (!model.startsWith('scripted:'))
		problems.push(`${path}.model is ${JSON.stringify(model)}; for engine: scripted it must be scripted:<name>`);
	return model;
}

interface LoadedModel {
	readonly model: string;
	readonly modelPath: string | null;
	readonly fromCatalog: boolean;
}

function modelFile(model: string | undefined, path: string, problems: string[]): LoadedModel {
	if (model === undefined || model === 'builtin' || model === builtinModel) {
		return { model: builtinModel, modelPath: join(packageRoot(), 'models', 'tiny-chat.gguf'), fromCatalog: false };
	}
	const parsed = parseModelRef(model);
	if (parsed.ok && parsed.ref.kind === 'file') return { model: formatModelRef(parsed.ref), modelPath: parsed.ref.path, fromCatalog: false };
	if (parsed.ok && !model.startsWith('scripted:')) return { model: formatModelRef(parsed.ref), modelPath: null, fromCatalog: true };
	const is = `${path} is ${JSON.stringify(model)}`;
	if (model.startsWith('scripted:')) problems.push(`${is}; that needs engine: scripted`);
	else if (!parsed.ok) problems.push(`${is}; ${parsed.problem}`);
	return { model, modelPath: null, fromCatalog: false };
}

/** Engines that can be spoken to over HTTP: those with an adapter. */
export const externalEngines: readonly PoolFile['engine'][] = ['llamacpp', 'vllm', 'tgi', 'triton', 'openai'];

/** A key in it would be shown. */
function isEngineUrl(url: string): boolean {
	if (url.startsWith('unix:')) return /^unix:\/[^:]+(:\/[^?#]*)?$/.test(url);
	if (!URL.canParse(url)) return false;
	const { protocol, username, password, search, hash } = new URL(url);
	return (protocol === 'http:' || protocol === 'https:') && username + password + search + hash === '';
}

/** The engine of a url, and what is needed to speak to it. */
function resolveUpstream(pool: PoolFile, path: string, world: PoolAround['world'], problems: string[]): Omit<UpstreamConfig, 'options'> {
	if (!externalEngines.includes(pool.engine)) {
		problems.push(`${path}.engine is ${pool.engine}; with provider: external it is one of ${externalEngines.join(', ')}`);
	}
	const urls = pool.url === undefined ? [] : [pool.url].flat();
	if (urls.length === 0 && !pool.workers)
		problems.push(`${path}.url is missing; provider: external needs the address of the engine, such as http://127.0.0.1:8000`);
	for (const url of urls) {
		if (!isEngineUrl(url))
			problems.push(`${path}.url is ${JSON.stringify(url)}; it must be http://host:port, https://host or unix:/path/to.sock`);
	}
	if (urls.length > 1 && pool.replicas > urls.length) {
		problems.push(
			`${path}.replicas is ${pool.replicas}, but ${path}.url names ${urls.length}; leave replicas out, or name one url for each`,
		);
	}
	return { urls, key: engineKey(pool, path, world, problems), model: pool.model ?? null, connectMs: pool.connect_ms };
}

function engineKey(pool: PoolFile, path: string, world: PoolAround['world'], problems: string[]): string | null {
	const { key_env: name, key_file: file } = pool;
	if (name !== undefined && file !== undefined) problems.push(`${path} has key_env and key_file; one of them names the key`);
	if (name !== undefined) {
		const key = world.env[name]?.trim();
		if (key === undefined || key === '') problems.push(`${path}.key_env is ${name}, which is not set in the environment`);
		return checkedKey(key ?? null, `${path}.key_env`, problems);
	}
	if (file === undefined) return null;
	try {
		return checkedKey(world.readFile(resolve(world.cwd, file)).trim(), `${path}.key_file`, problems);
	} catch (error) {
		const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
		problems.push(`${path}.key_file is ${file}, which cannot be read (${code})`);
		return null;
	}
}

/** It goes into a header as it is. */
function checkedKey(key: string | null, path: string, problems: string[]): string | null {
	if (key !== null && !/^[\x21-\x7e]*$/.test(key)) problems.push(`${path} holds a key with characters that no header takes`);
	return key;
}

function noUpstream(pool: PoolFile, path: string, problems: string[]): void {
	if (pool.engine !== 'llamacpp' && pool.engine !== 'scripted') {
		const available = externalEngines.includes(pool.engine);
		problems.push(
			available
				? `${path}.engine is ${pool.engine}, which runs elsewhere; it needs provider: external and a url`
				: `${path}.engine is ${pool.engine}, which is not available in this version`,
		);
	}
	if (pool.workers) problems.push(`${path}.workers is true, but ${path}.provider is ${pool.provider}; it belongs to provider: external`);
	for (const key of ['url', 'key_env', 'key_file'] as const) {
		if (pool[key] !== undefined)
			problems.push(
				`${path}.${key} is set, but ${path}.provider is ${pool.provider}; it belongs to ${key === 'url' ? 'provider: external' : 'provider: external or managed'}`,
			);
	}
}
