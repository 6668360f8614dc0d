/** Log-probabilities in the two shapes of OpenAI: of the tokens that were taken, and of the likeliest beside them where these were asked for. Pure. */
import { leastLogprob, type TopToken } from '../../../actors/serving/top-tokens.ts';
import type { TokenJson } from '../../stream/token-frames.ts';

export function chatLogprobs(tokens: readonly TokenJson[]) {
	return {
		content: tokens.map(({ t, logprob, top_logprobs: tops = [] }) => ({
			token: t,
			logprob: logprob ?? leastLogprob,
			bytes: bytesOf({ t }),
			top_logprobs: tops.map((top) => ({ token: top.t, logprob: top.logprob, bytes: bytesOf(top) })),
		})),
		refusal: null,
	};
}

/** `offset`: characters of the answer before the first of them. */
export function completionLogprobs(tokens: readonly TokenJson[], offset: number) {
	let at = offset;
	return {
		tokens: tokens.map(({ t }) => t),
		token_logprobs: tokens.map(({ logprob }) => logprob ?? leastLogprob),
		top_logprobs: tokens.some((token) => token.top_logprobs !== undefined) ? tokens.map(topsByText) : null,
		text_offset: tokens.map(({ t }) => {
			at += t.length;
			return at - t.length;
		}),
	};
}

/** The one that was taken is always among them. */
function topsByText({ t, logprob, top_logprobs: tops = [] }: TokenJson): Readonly<Record<string, number>> {
	return { ...Object.fromEntries(tops.map((top) => [top.t, top.logprob])), [t]: logprob ?? leastLogprob };
}

function bytesOf({ t, bytes }: Pick<TopToken, 't' | 'bytes'>): readonly number[] {
	return bytes ?? [...Buffer.from(t)];
}
