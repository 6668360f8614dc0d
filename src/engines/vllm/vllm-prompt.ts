/**
 * What vLLM's tokenizer is asked before a call: how long a prompt is, and its ids, behind which it can go on. `POST /tokenize` and
 * `/detokenize` of `vllm/entrypoints/serve/tokenize/protocol.py`.
 */
import type { GenerateRequest } from '../../actors/serving/decode.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { PromptInput } from '../../actors/serving/task-request.ts';
import { chatBody } from '../openai/openai-requests.ts';
import type { EndedCall, UpstreamClient, UpstreamTarget } from '../upstream/adapter.ts';
import { type Fields, fieldsOf, listOf, textOf } from '../upstream/json-fields.ts';
import { roomBehind } from '../upstream/prompt-room.ts';
import { StopMatcher } from '../wire/stop-matcher.ts';
import { pieceBytes } from './vocabulary-text.ts';

export interface VllmPrompt {
	/** Null: it is asked for as it was given. */
	readonly ids: readonly number[] | null;
	readonly maxTokens: number;
	/** Text of the tokens that it goes on behind. */
	readonly before: string;
	readonly resumed: number;
	/** Of the prompt without these; null: not known yet. */
	readonly tokensIn: number | null;
}

/** How the tokenizer is asked for what the completions paths would make of it. */
export function tokenizeBody(model: string, input: PromptInput): Fields | null {
	if (input.kind === 'inputs') return null;
	if (input.kind === 'prompt' && input.raw) return { model, prompt: input.text };
	const { messages, tools, chat_template_kwargs: template } = chatBody(input);
	return {
		model,
		messages,
		...(tools === undefined ? {} : { tools }),
		...(template === undefined ? {} : { chat_template_kwargs: template }),
		add_generation_prompt: true,
	};
}

/** Counted, and what is left of it behind the tokens of another engine. */
export async function askedPrompt(
	client: UpstreamClient,
	{ model }: UpstreamTarget,
	request: GenerateRequest,
): Promise<VllmPrompt | EndedCall | Failure> {
	const { input, resume, sampling } = request;
	const body = tokenizeBody(model, input);
	const ids = body === null ? null : tokensOf(await client.json('POST', '/tokenize', body));
	if (ids === null) return failure('WORKER_RESET', 'the engine does not say how long the prompt is');
	const maxTokens = roomBehind(request, ids.length);
	if (typeof maxTokens !== 'number') return maxTokens;
	if (resume === null) return { ids: null, maxTokens, before: '', resumed: 0, tokensIn: ids.length };
	const made = resume.ids.length;
	if (made >= maxTokens) return { ended: 'length', tokensIn: ids.length };
	const before = sampling.stop.length === 0 ? '' : await textOfIds(client, model, resume.ids);
	if (new StopMatcher(sampling.stop).feed(before) !== null) return { ended: 'stop', tokensIn: ids.length };
	return { ids: [...ids, ...resume.ids], maxTokens: maxTokens - made, before, resumed: made, tokensIn: ids.length };
}

async function textOfIds(client: UpstreamClient, model: string, tokens: readonly number[]): Promise<string> {
	return textOf(fieldsOf(await client.json('POST', '/detokenize', { model, tokens }))['prompt']) ?? '';
}

/** Null: the answer has none. */
export function tokensOf(answer: unknown): readonly number[] | null {
	const { tokens } = fieldsOf(answer) as { tokens?: unknown };
	if (!Array.isArray(tokens)) return null;
	return tokens.filter((id): id is number => typeof id === 'number');
}

/** Ids and texts. Null: the vocabulary is of a kind whose texts cannot be told apart. */
export function namedTokens(answer: unknown, text: string): readonly { readonly id: number; readonly text: string }[] | null {
	const ids = tokensOf(answer);
	const pieces = listOf(fieldsOf(answer)['token_strs']).map((piece) => textOf(piece) ?? '');
	if (ids === null || pieces.length !== ids.length) return null;
	const bytes = pieceBytes(pieces);
	// Vocabularies of SentencePiece put a space before the first word.
	const whole = Buffer.concat(bytes).toString();
	if (whole !== text && whole !== ` ${text}`) return null;
	return ids.map((id, index) => ({ id, text: (bytes[index] as Buffer).toString() }));
}
