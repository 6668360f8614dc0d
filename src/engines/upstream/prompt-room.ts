/** What fits into the context of an engine that ends nothing by itself there: it refuses what may not fit. Pure. */
import type { GenerateRequest } from '../../actors/serving/decode.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { PromptInput } from '../../actors/serving/task-request.ts';

/** More than a chat template adds, in bytes. */
const templateBytes = 1_024;
const messageBytes = 64;

/** A token has a byte at least: what fits by its bytes fits, and need not be counted. */
export function surelyFits({ input, maxTokens, ctx }: GenerateRequest): boolean {
	return bytesMax(input) + maxTokens <= ctx;
}

function bytesMax(input: PromptInput): number {
	if (input.kind === 'inputs') return 0;
	if (input.kind === 'prompt') return Buffer.byteLength(input.text) + (input.raw ? 1 : templateBytes);
	// What tools and parts that are no text need, nobody here knows.
	if (input.toolUse !== undefined || input.messages.some(({ parts }) => parts !== undefined)) return Number.POSITIVE_INFINITY;
	const bytes = input.messages.map(({ role, content, name }) => Buffer.byteLength(`${role}${content}${name ?? ''}`) + messageBytes);
	return bytes.reduce((sum, each) => sum + each, templateBytes);
}

/** Tokens that may be made behind a prompt of so many. */
export function roomBehind({ ctx, maxTokens, maxTokensExplicit }: GenerateRequest, prompt: number): number | Failure {
	const room = ctx - prompt;
	if (room >= maxTokens || (room > 0 && !maxTokensExplicit)) return Math.min(maxTokens, room);
	const words = `the prompt has ${prompt} tokens; with max_tokens ${maxTokens} it must fit into a context of ${ctx}`;
	return failure('INVALID_PARAMS', words);
}
