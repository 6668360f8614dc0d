/** How much memory there is for a model: on the CPU as the system and its limits say, on a GPU as the library sees it. In the llama.cpp host. */
import { freemem, totalmem } from 'node:os';
import type { MemoryRoom } from './memory-estimate.ts';

export function cpuRoom(): MemoryRoom {
	const limit = process.constrainedMemory();
	// No limit is told as 0, or as one that no machine has.
	const totalBytes = limit > 0 && limit < totalmem() ? limit : totalmem();
	// On Linux what can be had, pages of files included; elsewhere what nobody uses at all, which is no measure.
	return {
		where: 'this machine has',
		kind: 'cpu',
		freeBytes: Math.min(freemem(), totalBytes),
		totalBytes,
		freeIsKnown: process.platform === 'linux',
	};
}

/** Of the devices that this process sees, all together: the library spreads the layers over them. */
export function gpuRoom({ free, total }: { readonly free: number; readonly total: number }, mask: readonly number[] | null): MemoryRoom {
	const where = mask === null ? 'the GPU has' : mask.length === 1 ? `GPU ${mask[0]} has` : `GPUs ${mask.join(', ')} together have`;
	return { where, kind: 'gpu', freeBytes: free, totalBytes: total, freeIsKnown: true };
}
