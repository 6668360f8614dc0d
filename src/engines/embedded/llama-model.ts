/**
 * Loads a GGUF file through node-llama-cpp: checked first, hashed meanwhile, described afterwards. Runs in the llama.cpp host.
 *
 * What the library would do by itself and must not: build or download binaries, shift a full context, use flash attention
 * (its results depend on the number of threads), take more compute threads than were given.
 */
import { statSync } from 'node:fs';
import { basename } from 'node:path';
import type * as Library from 'node-llama-cpp';
import type { Llama, LlamaContext, LlamaModel } from 'node-llama-cpp';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { MeasuredMemory } from '../../actors/serving/memory-messages.ts';
import type { EmbeddedSettings } from './embedded-settings.ts';
import { LlamaEmbedder } from './embedder.ts';
import { checkGguf, type GgufFacts } from './gguf-check.ts';
import { GgufError } from './gguf-header.ts';
import { Grammars } from './grammar.ts';
import { cpuPart, layersMaxOf, layersThatFit, type MemoryUse, memoryNeed, memoryProblem } from './memory-estimate.ts';
import { cpuRoom, gpuRoom } from './memory-room.ts';
import { modelDigest } from './model-digest.ts';
import { batchTokensMax } from './prefill-budget.ts';
import { Prompts } from './prompts.ts';
import { Vocabulary } from './vocabulary.ts';

/** Why a model does not load, as its pool will be told. */
export class LoadError extends Error {
	override readonly name = 'LoadError';
	readonly failure: Failure;

	constructor(what: Failure) {
		super(what.message);
		this.failure = what;
	}
}

export interface LoadedModel {
	readonly model: LlamaModel;
	/** Null: the model makes vectors only. */
	readonly context: LlamaContext | null;
	/** Null: the model makes text only. */
	readonly embedder: LlamaEmbedder | null;
	readonly vocabulary: Vocabulary;
	readonly prompts: Prompts;
	readonly grammars: Grammars;
	readonly gguf: GgufFacts;
	/** `sha256:<hex>` of the file, or of its parts together. */
	readonly digest: string;
	readonly name: string;
	readonly slots: number;
	/** Tokens of a slot. */
	readonly ctx: number;
	readonly device: string;
	readonly engineVersion: string;
	readonly memory: MeasuredMemory;
	dispose(): Promise<void>;
}

export interface LoadObserver {
	/** A line for the log; never a prompt. */
	onLog(line: string): void;
	/** 0 to 1. */
	onProgress(progress: number): void;
}

const progressStep = 0.05;

/** Throws `LoadError`. */
export async function loadModel(settings: EmbeddedSettings, observer: LoadObserver): Promise<LoadedModel> {
	const gguf = readFacts(settings.modelPath);
	const ctx = contextSize(settings, gguf);
	const library = await import('node-llama-cpp').catch((error: unknown) => {
		throw nativeMissing(error);
	});
	const llama = await startLibrary(library, settings, observer);
	const tight = await memoryTight(llama, settings, gguf, ctx);
	if (tight !== null) {
		await llama.dispose();
		throw new LoadError(tight);
	}
	const usedBefore = await vramUsed(llama);
	const hashing = modelDigest(settings);
	// Awaited below; without this, a failure of the load would leave a failed hash unheard.
	hashing.catch(() => {});
	try {
		const model = await llama.loadModel({
			modelPath: settings.modelPath,
			defaultContextFlashAttention: false,
			...(settings.gpuLayers === null ? {} : { gpuLayers: settings.gpuLayers }),
			onLoadProgress: inSteps(observer),
		});
		const vocabulary = new Vocabulary(model);
		const context = gguf.generates ? await makeContext(model, settings, ctx) : null;
		const embedder =
			gguf.poolingType >= 1 && gguf.poolingType <= 3 ? await LlamaEmbedder.create(model, vocabulary, ctx, settings.cpuThreads) : null;
		if (context === null && embedder === null)
			throw new LoadError(unusable(`${gguf.architecture} models are neither for text nor for embeddings`));
		const digest = await hashing;
		const { expectedDigest = null } = settings;
		if (expectedDigest !== null && expectedDigest !== digest)
			throw new LoadError(
				failure('UNTRUSTED_ARTIFACT', `model file ${settings.modelPath}: it has digest ${digest}, not ${expectedDigest}`),
			);
		const name = gguf.name ?? basename(settings.modelPath);
		return {
			model,
			context,
			embedder,
			vocabulary,
			prompts: new Prompts(model, vocabulary, gguf.chatTemplate, name),
			grammars: new Grammars(library, llama, model),
			gguf,
			digest,
			name,
			slots: settings.slots,
			ctx,
			device: await deviceWords(llama, settings, model.gpuLayers, layersMaxOf(gguf.memory)),
			engineVersion: `llama.cpp ${llama.llamaCppRelease.release} via node-llama-cpp ${await library.getModuleVersion()}`,
			memory: { ramBytes: process.memoryUsage.rss(), vramBytes: Math.max(0, (await vramUsed(llama)) - usedBefore) },
			async dispose() {
				await embedder?.dispose();
				await context?.dispose();
				await model.dispose();
				await llama.dispose();
			},
		};
	} catch (error) {
		if (error instanceof LoadError) throw error;
		const words = error instanceof Error ? error.message : String(error);
		const memory = error instanceof library.InsufficientMemoryError;
		throw new LoadError(
			memory
				? failure('POOL_UNAVAILABLE', `there is not enough memory for the model with ${settings.slots} slots of ${ctx} tokens: ${words}`)
				: unusable(`model file ${settings.modelPath}: llama.cpp cannot load it: ${words}`),
		);
	}
}

/** Why it is not loaded; null: there is room. */
async function memoryTight(
	llama: Llama,
	{ slots, devices, gpuLayers }: EmbeddedSettings,
	gguf: GgufFacts,
	ctx: number,
): Promise<Failure | null> {
	const use: MemoryUse = { slots, ctx, batchTokens: batchTokensMax, gpuLayers };
	const need = memoryNeed(gguf.memory, use);
	if (llama.gpu === false) return memoryProblem(need, cpuRoom());
	const room = gpuRoom(await llama.getVramState(), devices);
	return memoryProblem(need, room, layersThatFit(gguf.memory, use, room.freeBytes)) ?? memoryProblem(cpuPart(need), cpuRoom());
}

function readFacts(path: string): GgufFacts {
	try {
		// Opening a pipe would wait for its other end.
		if (!statSync(path).isFile()) throw new LoadError(unusable(`model file ${path} is not a regular file`));
		return checkGguf(path);
	} catch (error) {
		if (error instanceof LoadError) throw error;
		if (error instanceof GgufError) throw new LoadError(unusable(`model file ${path}: ${error.message}`));
		const words = error instanceof Error ? error.message : String(error);
		if (words.startsWith('ENOENT')) throw new LoadError(failure('NOT_FOUND', `model file not found: ${path}`));
		throw new LoadError(unusable(`model file ${path} cannot be read: ${words}`));
	}
}

function contextSize(settings: EmbeddedSettings, gguf: GgufFacts): number {
	const most = gguf.contextLength > 0 ? gguf.contextLength : settings.defaultCtx;
	if (settings.ctx === null) return Math.min(settings.defaultCtx, most);
	if (settings.ctx > most)
		throw new LoadError(failure('INVALID_PARAMS', `ctx is ${settings.ctx}; the model was made for at most ${most} tokens`));
	return settings.ctx;
}

async function startLibrary(library: typeof Library, settings: EmbeddedSettings, observer: LoadObserver): Promise<Llama> {
	const wanted = settings.devices;
	const llama = await library
		.getLlama({
			gpu: wanted?.length === 0 ? false : 'auto',
			build: 'never',
			skipDownload: true,
			progressLogs: false,
			maxThreads: settings.cpuThreads,
			logLevel: library.LlamaLogLevel.warn,
			logger: (level, message) => {
				const line = message.trim();
				// Complaints about a grammar quote it, and it is a client's.
				if (line !== '' && !/grammar/i.test(line)) observer.onLog(`llama.cpp ${level}: ${line}`);
			},
		})
		.catch((error: unknown) => {
			throw nativeMissing(error);
		});
	if (wanted !== null && wanted.length > 0 && llama.gpu === false) {
		const words = `devices ${wanted.join(', ')} are configured, but no GPU can be used here: no such device, or no llama.cpp binary for it is installed`;
		throw new LoadError(failure('POOL_UNAVAILABLE', `${words}; leave devices out to use the CPU`, { retriable: false }));
	}
	if (settings.gpuLayers !== null && settings.gpuLayers > 0 && llama.gpu === false) {
		const words = `gpu_layers is ${settings.gpuLayers}, but no GPU can be used here: there is none, or no llama.cpp binary for it is installed`;
		throw new LoadError(failure('POOL_UNAVAILABLE', `${words}; leave gpu_layers out to use the CPU`, { retriable: false }));
	}
	return llama;
}

async function makeContext(model: LlamaModel, settings: EmbeddedSettings, ctx: number): Promise<LlamaContext> {
	return model.createContext({
		sequences: settings.slots,
		contextSize: ctx,
		batchSize: batchTokensMax,
		flashAttention: false,
		threads: settings.cpuThreads,
		// A smaller context than was promised is no remedy.
		failedCreationRemedy: false,
	});
}

/** Of all devices, by whomever. */
async function vramUsed(llama: Llama): Promise<number> {
	return llama.gpu === false ? 0 : (await llama.getVramState()).used;
}

async function deviceWords(llama: Llama, settings: EmbeddedSettings, gpuLayers: number, layersMax: number): Promise<string> {
	const threads = `${settings.cpuThreads} thread${settings.cpuThreads === 1 ? '' : 's'}`;
	if (llama.gpu === false) return `CPU (${threads})`;
	const names = await llama.getGpuDeviceNames();
	const part = gpuLayers < layersMax ? `, ${gpuLayers} of ${layersMax} layers` : '';
	return `GPU ${names.length === 0 ? llama.gpu : names.join(', ')} (${llama.gpu}${part})`;
}

function inSteps(observer: LoadObserver): (progress: number) => void {
	let told = -1;
	return (progress) => {
		if (progress < told + progressStep) return;
		told = progress;
		observer.onProgress(progress);
	};
}

function nativeMissing(error: unknown): LoadError {
	const words = error instanceof Error ? error.message : String(error);
	return new LoadError(
		failure(
			'POOL_UNAVAILABLE',
			`native binary missing: llama.cpp cannot be started: ${words}; reinstall with the optional dependency node-llama-cpp`,
			{
				retriable: false,
			},
		),
	);
}

function unusable(words: string): Failure {
	return failure('INVALID_PARAMS', words);
}
