/** The llama.cpp backend in the test's own process: loads a model, runs requests, keeps what the sink was told. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { FinishReason, GenerationUsage, PieceChannel } from '../../src/actors/serving/decode.ts';
import type { Failure } from '../../src/actors/serving/failure.ts';
import type { PromptInput, Sampling } from '../../src/actors/serving/task-request.ts';
import type { EmbeddedSettings } from '../../src/engines/embedded/embedded-settings.ts';
import { LlamaBackend } from '../../src/engines/embedded/llama-backend.ts';
import { loadModel } from '../../src/engines/embedded/llama-model.ts';
import type { HostGeneration, HostRequest } from '../../src/engines/wire/host-protocol.ts';
import { type GoldenOptions, goldenGguf } from '../fixtures/golden-gguf.ts';

/** The package's folder: tests run from `dist/test/engines`. */
export const builtInModel = fileURLToPath(new URL('../../../models/tiny-chat.gguf', import.meta.url));

export interface TestFolder {
	readonly path: string;
	golden(options?: GoldenOptions): string;
	remove(): void;
}

export function testFolder(): TestFolder {
	const path = mkdtempSync(join(tmpdir(), 'orchd-embedded-'));
	let files = 0;
	return {
		path,
		golden(options = {}) {
			files += 1;
			const file = join(path, `golden-${files}.gguf`);
			writeFileSync(file, goldenGguf(options));
			return file;
		},
		remove: () => rmSync(path, { recursive: true, force: true }),
	};
}

export function settings(modelPath: string, more: Partial<EmbeddedSettings> = {}): EmbeddedSettings {
	return { modelPath, slots: 4, ctx: null, defaultCtx: 2048, cpuThreads: 1, gpuLayers: null, devices: null, ...more };
}

export async function openBackend(modelPath: string, more: Partial<EmbeddedSettings> = {}): Promise<LlamaBackend> {
	return new LlamaBackend(await loadModel(settings(modelPath, more), { onLog() {}, onProgress() {} }));
}

export interface Piece {
	readonly text: string;
	readonly tokens: number;
	readonly tokenId: number;
	readonly logprob: number;
	readonly ids: readonly number[];
	readonly channel: PieceChannel;
}

export interface Outcome {
	readonly end: FinishReason | 'cancelled' | 'failed' | 'embedded';
	readonly text: string;
	readonly pieces: readonly Piece[];
	readonly tokensIn: number;
	readonly tokensCached: number;
	readonly usage: GenerationUsage | null;
	readonly failure: Failure | null;
	readonly vectors: readonly Float32Array[];
}

export interface RequestOptions extends Partial<Sampling> {
	readonly workload?: HostRequest['workload'];
	readonly maxTokens?: number;
	readonly maxTokensExplicit?: boolean;
	readonly seed?: number;
	readonly strict?: boolean;
	readonly kvHint?: 'reuse' | 'cold';
	readonly ctx?: number;
	readonly tellIds?: boolean;
	/** Behind which tokens it goes on. */
	readonly resume?: readonly number[];
	/** Called with each piece, and the generation it belongs to. */
	readonly onPiece?: (piece: Piece, generation: HostGeneration | null) => void;
	readonly onStarted?: () => void;
}

export function raw(text: string): PromptInput {
	return { kind: 'prompt', text, raw: true };
}

export function user(content: string): PromptInput {
	return { kind: 'messages', messages: [{ role: 'user', content }] };
}

let leases = 0;

export function hostRequest(input: PromptInput, options: RequestOptions = {}): HostRequest {
	leases += 1;
	const sampling: Sampling = {
		temperature: options.temperature ?? 0,
		topP: options.topP ?? 0.95,
		topK: options.topK ?? 40,
		minP: options.minP ?? 0,
		repeatPenalty: options.repeatPenalty ?? 1,
		presencePenalty: options.presencePenalty ?? 0,
		frequencyPenalty: options.frequencyPenalty ?? 0,
		stop: options.stop ?? [],
		logprobs: options.logprobs ?? false,
		jsonSchema: options.jsonSchema ?? null,
		grammar: options.grammar ?? null,
		...(options.ignoreEos === undefined ? {} : { ignoreEos: options.ignoreEos }),
		...(options.minTokens === undefined ? {} : { minTokens: options.minTokens }),
	};
	return {
		leaseKey: `1.${leases}`,
		input,
		workload: options.workload ?? 'completion',
		maxTokens: options.maxTokens ?? 64,
		maxTokensExplicit: options.maxTokensExplicit ?? false,
		ctx: options.ctx ?? 1_000_000,
		sampling,
		seed: options.seed ?? 7,
		strict: options.strict ?? false,
		kvHint: options.kvHint ?? 'reuse',
		tellIds: options.tellIds ?? false,
		resume: options.resume === undefined ? null : { ids: options.resume },
	};
}

export interface Generating {
	readonly generation: HostGeneration;
	readonly outcome: Promise<Outcome>;
}

export function begin(backend: LlamaBackend, input: PromptInput, options: RequestOptions = {}): Generating {
	const pieces: Piece[] = [];
	let counts = { tokensIn: 0, tokensCached: 0 };
	let generation: HostGeneration | null = null;
	const outcome = new Promise<Outcome>((resolve, reject) => {
		const done = (end: Outcome['end'], more: Partial<Outcome>): void => {
			resolve({
				end,
				text: pieces.map((piece) => piece.text).join(''),
				pieces,
				...counts,
				usage: null,
				failure: null,
				vectors: [],
				...more,
			});
		};
		generation = backend.start(hostRequest(input, options), {
			started(tokensIn, tokensCached) {
				counts = { tokensIn, tokensCached };
				options.onStarted?.();
			},
			piece(text, tokens, tokenId, logprob, ids, _tops, channel = 0) {
				if (tokens < 1) reject(new Error('a piece without tokens'));
				const piece = { text, tokens, tokenId, logprob, ids: ids?.slice() ?? [], channel };
				pieces.push(piece);
				options.onPiece?.(piece, generation);
			},
			embedded: (vectors, usage) => done('embedded', { vectors, usage }),
			ended: (finishReason, usage) => done(finishReason, { usage }),
			cancelled: (usage) => done('cancelled', { usage }),
			failed: (failure) => done('failed', { failure }),
		});
	});
	if (generation === null) throw new Error('no generation');
	return { generation, outcome };
}

export function generate(backend: LlamaBackend, input: PromptInput, options: RequestOptions = {}): Promise<Outcome> {
	return begin(backend, input, options).outcome;
}
