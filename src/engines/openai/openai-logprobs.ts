/**
 * Log-probabilities in the streams of an OpenAI endpoint: `logprobs.content[{token, logprob, top_logprobs}]` of a chat,
 * `logprobs.{tokens, token_logprobs, top_logprobs}` of a completion; llama-server has the former on both paths. Tokens are named by their
 * texts, never by ids. Front threads.
 */
import { noTokenId, type PieceChannel } from '../../actors/serving/decode.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import { type TopToken, topsJson } from '../../actors/serving/top-tokens.ts';
import type { AnswerSink, Score } from '../upstream/adapter.ts';
import { countOf, type Fields, fieldsOf, listOf, numberOf, textOf } from '../upstream/json-fields.ts';

/** One token in either shape. */
export interface Scored {
	readonly token: unknown;
	readonly logprob: number;
	readonly tops: readonly TopToken[];
}

/** Text of a choice, with the log-probabilities that stand beside it: a piece a token, where their texts are that text. */
export function tellScored(text: string, logprobs: unknown, most: number, channel: PieceChannel, to: AnswerSink): void {
	const scored = scoredIn(fieldsOf(logprobs), most);
	const last = scored.at(-1);
	if (last === undefined) return to.failed(withoutScores());
	if (scored.map(({ token }) => textOf(token) ?? '').join('') !== text) return to.token(text, scored.length, namelessScore(last), channel);
	for (const each of scored) to.token(textOf(each.token) ?? '', 1, namelessScore(each), channel);
}

/** `most`: of the likeliest tokens beside each; engines may add the one that was taken. */
export function scoredIn(logprobs: Fields, most: number): readonly Scored[] {
	const {
		content,
		tokens,
		token_logprobs: values,
		top_logprobs: tops,
	} = logprobs as Fields & { content?: unknown; tokens?: unknown; token_logprobs?: unknown; top_logprobs?: unknown };
	if (content !== undefined)
		return listOf(content).map((each) => {
			const {
				token,
				logprob,
				top_logprobs: beside,
			} = fieldsOf(each) as Fields & { token?: unknown; logprob?: unknown; top_logprobs?: unknown };
			return { token, logprob: numberOf(logprob) ?? Number.NaN, tops: listOf(beside).slice(0, most).flatMap(topOf) };
		});
	return listOf(tokens).map((token, at) => ({
		token,
		logprob: numberOf(listOf(values)[at]) ?? Number.NaN,
		tops: byText(fieldsOf(listOf(tops)[at])).slice(0, most),
	}));
}

export function withoutScores(): Failure {
	return failure('INVALID_PARAMS', 'sampling.logprobs is given; the engine answers without them');
}

export function namelessScore({ logprob, tops }: Scored): Score {
	return { id: noTokenId, logprob, tops: topsJson(tops) };
}

/** `{token, logprob, bytes}`; llama-server says the `id` too. */
export function topOf(value: unknown): readonly TopToken[] {
	const { id, token, logprob, bytes } = fieldsOf(value) as Fields & { id?: unknown; token?: unknown; logprob?: unknown; bytes?: unknown };
	const [t, known] = [textOf(token), countOf(id)];
	if (t === null) return [];
	const own = listOf(bytes).filter((byte): byte is number => typeof byte === 'number');
	const says = own.length === 0 || Buffer.from(t).equals(Buffer.from(own));
	return [{ t, ...(known === undefined ? {} : { id: known }), logprob: numberOf(logprob) ?? Number.NaN, ...(says ? {} : { bytes: own }) }];
}

/** `{" fox": -0.5, …}`, in no order that anybody promises. */
function byText(tops: Fields): readonly TopToken[] {
	return Object.entries(tops)
		.map(([t, logprob]) => ({ t, logprob: numberOf(logprob) ?? Number.NaN }))
		.sort((a, b) => b.logprob - a.logprob);
}
