/** The adapter of each engine that is spoken to over HTTP. */
import { openaiAdapter } from './openai/openai-adapter.ts';
import type { UpstreamAdapters } from './upstream/adapter.ts';

export const upstreamAdapters: UpstreamAdapters = {
	openai: openaiAdapter,
};
