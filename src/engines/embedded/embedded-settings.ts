/** What a llama.cpp host is told of its pool. Plain data; crosses to the host in its boot line. */
export interface EmbeddedSettings {
	readonly modelPath: string;
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
