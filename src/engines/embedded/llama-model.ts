/**
 * A model in memory through node-llama-cpp: loaded, described, and its tokenizer. The only file, with `llama-run.ts` and
 * `llama-backend.ts`, that knows the library. Runs in the llama.cpp host.
 *
 * What the library would do by itself and must not: build or download binaries, shift the context, use flash attention (its
 * results depend on the number of threads).
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { basename } from 'node:path';
import type { Llama, LlamaContext, LlamaModel, Token } from 'node-llama-cpp';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { PromptInput } from '../../actors/serving/task-request.ts';
import { ChatTemplate } from './chat-template.ts';
import type { EmbeddedSettings } from './embedded-settings.ts';
import { checkGguf, GgufError, type GgufFacts } from './gguf-check.ts';

/** Why a model does not load, as the pool will be told. */
export class LoadError extends Error {
	override readonly name = 'LoadError';
	readonly failure: Failure;

	constructor(what: Failure) {
		super(what.message);
		this.failure = what;
	}
}

/** Prompt tokens of one decode: bounds how long a cancel waits in a prefill. */
export const batchTokens = 512;
const tokenTypeControl = 3;
const tokenTypeUserDefined = 4;

export interface LoadedModel {
	readonly llama: Llama;
	readonly model: LlamaModel;
	readonly context: LlamaContext;
	readonly gguf: GgufFacts;
	readonly digest: string;
	readonly name: string;
	readonly ctx: number;
	readonly device: string;
	readonly engineVersion: string;
	readonly prompts: PromptTokenizer;
}

export async function loadModel(
	settings: EmbeddedSettings,
	onLog: (line: string) => void,
	onProgress: (progress: number) => void,
): Promise<LoadedModel> {
	const gguf = readHeader(settings.modelPath);
	const library = await import('node-llama-cpp').catch((error: unknown) => {
		const words = `the native library of llama.cpp is missing: ${error instanceof Error ? error.message : String(error)}`;
		throw new LoadError(failure('POOL_UNAVAILABLE', `${words}; install the optional dependency node-llama-cpp`, { retriable: false }));
	});
	const llama = await library.getLlama({
		gpu: settings.devices?.length === 0 ? false : 'auto',
		build: 'never',
		skipDownload: true,
		maxThreads: settings.cpuThreads,
		logLevel: library.LlamaLogLevel.warn,
		logger: (level, message) => onLog(`llama.cpp ${level}: ${message.trim()}`),
	});
	const hashing = sha256(settings.modelPath);
	const model = await llama.loadModel({
		modelPath: settings.modelPath,
		defaultContextFlashAttention: false,
		onLoadProgress: onProgress,
	});
	const ctx = Math.min(settings.ctx ?? settings.defaultCtx, model.trainContextSize);
	if (settings.ctx !== null && settings.ctx > model.trainContextSize) {
		throw new LoadError(failure('INVALID_PARAMS', `ctx is ${settings.ctx}; the model was trained for ${model.trainContextSize} tokens`));
	}
	const context = await model.createContext({
		sequences: settings.slots,
		contextSize: ctx,
		batchSize: Math.min(batchTokens, ctx * settings.slots),
		flashAttention: false,
		threads: { ideal: settings.cpuThreads, min: settings.cpuThreads },
		failedCreationRemedy: false,
	});
	const gpuNames = llama.gpu === false ? [] : await llama.getGpuDeviceNames();
	const threads = `${settings.cpuThreads} thread${settings.cpuThreads === 1 ? '' : 's'}`;
	return {
		llama,
		model,
		context,
		gguf,
		digest: await hashing,
		name: gguf.name ?? basename(settings.modelPath),
		ctx,
		device: gpuNames.length === 0 ? `CPU (${threads})` : gpuNames.join(', '),
		engineVersion: `llama.cpp ${llama.llamaCppRelease.release}`,
		prompts: new PromptTokenizer(model, gguf),
	};
}

function readHeader(path: string): GgufFacts {
	try {
		return checkGguf(path);
	} catch (error) {
		if (error instanceof GgufError)
			throw new LoadError(failure('INVALID_PARAMS', `the model cannot be loaded: ${error.message} (${path})`));
		throw new LoadError(failure('NOT_FOUND', `the model cannot be read: ${error instanceof Error ? error.message : String(error)}`));
	}
}

async function sha256(path: string): Promise<string> {
	const hash = createHash('sha256');
	for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk as Buffer);
	return `sha256:${hash.digest('hex')}`;
}

/** Prompts, in whatever form, to token ids. */
export class PromptTokenizer {
	readonly template: ChatTemplate | null;
	readonly #model: LlamaModel;

	constructor(model: LlamaModel, gguf: GgufFacts) {
		this.#model = model;
		const special = gguf.chatTemplate === null ? new Map<string, number>() : specialTokens(model);
		this.template =
			gguf.chatTemplate === null
				? null
				: new ChatTemplate(gguf.chatTemplate, {
						special,
						bosText: textOf(model, model.tokens.bos),
						eosText: textOf(model, model.tokens.eos),
						tokenize: (text) => model.tokenize(text, false),
					});
	}

	/** Throws when messages meet a model without a template, or one that refuses them. */
	tokenize(input: Exclude<PromptInput, { kind: 'inputs' }>): Token[] {
		const ids = this.#withoutBos(input) as Token[];
		const { bos, shouldPrependBosToken } = this.#model.tokens;
		return shouldPrependBosToken && bos !== null && ids[0] !== bos ? [bos, ...ids] : ids;
	}

	#withoutBos(input: Exclude<PromptInput, { kind: 'inputs' }>): readonly number[] {
		if (input.kind === 'messages') {
			if (this.template === null) throw new Error('messages were given, and the model has no chat template; send a prompt instead');
			return this.template.tokenize(input.messages);
		}
		// A raw prompt is its author's own: special tokens in it are meant.
		if (input.raw || this.template === null) return this.#model.tokenize(input.text, true);
		return this.template.tokenize([{ role: 'user', content: input.text }]);
	}
}

function specialTokens(model: LlamaModel): Map<string, number> {
	const special = new Map<string, number>();
	const { tokens, token_type: types } = model.fileInfo.metadata.tokenizer.ggml;
	tokens.forEach((name, id) => {
		const type = types?.[id];
		if (type === tokenTypeControl || type === tokenTypeUserDefined) special.set(String(name), id);
	});
	return special;
}

function textOf(model: LlamaModel, token: Token | null): string {
	return token === null ? '' : model.detokenize([token], true);
}
