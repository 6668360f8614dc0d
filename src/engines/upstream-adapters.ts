/** The adapter of each engine that is spoken to over HTTP. */
import { llamaServerAdapter } from './llamacpp/llama-server-adapter.ts';
import { openaiAdapter } from './openai/openai-adapter.ts';
import { tgiAdapter } from './tgi/tgi-adapter.ts';
import { tritonAdapter } from './triton/triton-adapter.ts';
import type { UpstreamAdapters } from './upstream/adapter.ts';
import { vllmAdapter } from './vllm/vllm-adapter.ts';

export const upstreamAdapters: UpstreamAdapters = {
	vllm: vllmAdapter,
	tgi: tgiAdapter,
	triton: tritonAdapter,
	llamacpp: llamaServerAdapter,
	openai: openaiAdapter,
};
