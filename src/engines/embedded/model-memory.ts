/**
 * What a llama.cpp host with a model takes, before it has loaded it: weights, cache and computing as `memory-estimate.ts` has them from the
 * header of the file, and the process around them. Reads the header only; on an engine thread.
 */
import type { EmbeddedSettings } from './embedded-settings.ts';
import { checkGguf } from './gguf-check.ts';
import { memoryNeed } from './memory-estimate.ts';
import { batchTokensMax } from './prefill-budget.ts';

/** Node and the library, measured without a model. */
const hostBytes = 100 * 2 ** 20;

/** Null: the file cannot be read, which whoever loads it says in words. */
export function memoryOfFile({ modelPath, slots, ctx, defaultCtx, gpuLayers }: EmbeddedSettings): number | null {
	if (modelPath === '') return null;
	try {
		const { contextLength, memory } = checkGguf(modelPath);
		const most = contextLength > 0 ? contextLength : defaultCtx;
		const need = memoryNeed(memory, { slots, ctx: ctx ?? Math.min(defaultCtx, most), batchTokens: batchTokensMax, gpuLayers });
		const bytes = need.weightBytes + need.kvBytes + need.computeBytes + hostBytes;
		// Of one that is divided, the part on the GPU, which is what others want.
		return gpuLayers === null ? bytes : bytes - need.cpuWeightBytes - need.cpuKvBytes;
	} catch {
		return null;
	}
}
