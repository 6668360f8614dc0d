/**
 * Log-probabilities in the streams of an OpenAI endpoint: `logprobs.content[{token, logprob}]` of a chat, `logprobs.{tokens, token_logprobs}` of a
 * completion; llama-server has the former on both paths. Tokens are named by their texts, never by ids. Front threads.
 */
import { noTokenId, type PieceChannel } from '../../actors/serving/decode.ts';
import { failure } from '../../actors/serving/failure.ts';
import type { AnswerSink } from '../upstream/adapter.ts';
import { type Fields, fieldsOf, listOf, numberOf, textOf } from '../upstream/json-fields.ts';

interface Scored {
	readonly text: string;
	readonly logprob: number;
}

/** Text of a choice, with the log-probabilities that stand beside it: a piece a token, where their texts are that text. */
export function tellScored(text: string, logprobs: unknown, channel: PieceChannel, to: AnswerSink): void {
	const scored = scoredIn(fieldsOf(logprobs));
	const last = scored.at(-1);
	if (last === undefined) return to.failed(failure('INVALID_PARAMS', 'sampling.logprobs is given; the engine answers without them'));
	if (scored.map((each) => each.text).join('') !== text) return to.token(text, scored.length, noTokenId, last.logprob, channel);
	for (const each of scored) to.token(each.text, 1, noTokenId, each.logprob, channel);
}

function scoredIn(logprobs: Fields): readonly Scored[] {
	return scoresIn(logprobs).map(([token, value]) => ({ text: textOf(token) ?? '', logprob: numberOf(value) ?? Number.NaN }));
}

/** What names each token, and its log-probability, in either shape. */
export function scoresIn(logprobs: Fields): readonly (readonly [token: unknown, logprob: unknown])[] {
	const {
		content,
		tokens,
		token_logprobs: values,
	} = logprobs as Fields & { content?: unknown; tokens?: unknown; token_logprobs?: unknown };
	return content === undefined
		? listOf(tokens).map((token, at) => [token, listOf(values)[at]] as const)
		: listOf(content).map((each) => [fieldsOf(each)['token'], fieldsOf(each)['logprob']] as const);
}
