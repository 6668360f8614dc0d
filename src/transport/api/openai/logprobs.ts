/** Log-probabilities in the two shapes of OpenAI. Only those of the tokens that were taken are known. Pure. */
import type { TokenJson } from '../../stream/token-frames.ts';

export function chatLogprobs(tokens: readonly TokenJson[]) {
	return {
		content: tokens.map(({ t, logprob }) => ({ token: t, logprob: logprob ?? leastLogprob, bytes: [...Buffer.from(t)], top_logprobs: [] })),
		refusal: null,
	};
}

/** `offset`: characters of the answer before the first of them. */
export function completionLogprobs(tokens: readonly TokenJson[], offset: number) {
	let at = offset;
	return {
		tokens: tokens.map(({ t }) => t),
		token_logprobs: tokens.map(({ logprob }) => logprob ?? leastLogprob),
		top_logprobs: null,
		text_offset: tokens.map(({ t }) => {
			at += t.length;
			return at - t.length;
		}),
	};
}

/** What OpenAI says of a token that is as good as impossible. */
const leastLogprob = -9999;
