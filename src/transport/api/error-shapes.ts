/** In whose shape a path tells of a failure. Pure. */
import { anthropicError } from './anthropic/anthropic-errors.ts';
import type { Envelope } from './errors.ts';
import { openaiError } from './openai/openai-errors.ts';

export type ErrorShape = 'native' | 'openai' | 'anthropic';

export const errorShapes: Readonly<Record<ErrorShape, (envelope: Envelope) => object>> = {
	native: (envelope) => envelope,
	openai: openaiError,
	anthropic: anthropicError,
};

export function shapeOf(path: string): ErrorShape {
	if (!path.startsWith('/v1/')) return 'native';
	return path === '/v1/messages' || path.startsWith('/v1/messages/') ? 'anthropic' : 'openai';
}
