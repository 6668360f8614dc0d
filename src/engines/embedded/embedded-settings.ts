/** What a llama.cpp host is told of its pool. Plain data; crosses to the host in its boot line. */
import type { PreparedFile } from '../../actors/serving/catalog-messages.ts';

export interface EmbeddedSettings {
	/** Of the file, or of the first of its parts. Empty in the settings of a pool whose model the catalog has by `ref`: it says where it is. */
	readonly modelPath: string;
	/** What a model that lies anywhere is called; absent: it is the file at `modelPath`. */
	readonly ref?: string;
	/** Files of it that were hashed already. */
	readonly known?: readonly PreparedFile[];
	/** `sha256:<hex>` that its bytes must have; null: nobody has said. */
	readonly expectedDigest?: string | null;
	/** Tasks that decode at once: sequences of one context. */
	readonly slots: number;
	/** Tokens a slot holds; null: the smaller of the model's and `defaultCtx`. */
	readonly ctx: number | null;
	readonly defaultCtx: number;
	/** Compute threads. */
	readonly cpuThreads: number;
	/** Of the model on the GPU, its last so many, counting what follows them as one; the others stay on the CPU. Null: all, or it is refused. */
	readonly gpuLayers: number | null;
	/** Null: whatever the host sees. */
	readonly devices: readonly number[] | null;
}
