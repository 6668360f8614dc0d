/** What the suites ask of each real engine by each adapter, and why less than all: the reason is printed beside what is left out. */
import { allPromised, type EnginePromises, type Promised } from '../../engines/conformance.ts';
import type { RealEngineKit } from './real-engine-kits.ts';

export interface RealPromises extends EnginePromises {
	/** It notices that its client left before its first token. */
	readonly noticesEarly: Promised;
}

const noIds = 'the API names no token ids';
const openai: EnginePromises = {
	...allPromised,
	tokensInAtStart: 'usage comes with the end',
	resume: noIds,
	resumeChat: noIds,
	counts: 'the API has no tokenizer',
	tokenizes: 'the API has no tokenizer',
	refusesBeyondSlots: 'what is too much waits in the engine',
	judgesCtx: 'the engine judges by itself',
	embeds: 'the API does not say whether a model does',
};

/** Of engines that learn of it with the first token, or later. */
const late: Readonly<Partial<Record<RealEngineKit['name'], string>>> = {
	'llama-server': 'it looks for its client only when no other request has had a token for a second',
	triton: 'it does not read from a client that waits for its answer',
};

const vllm: EnginePromises = {
	...allPromised,
	aloneOrTogether: 'only where it runs with VLLM_BATCH_INVARIANT=1',
	tokensInAtStart: 'usage comes with the end',
	refusesBeyondSlots: 'what is too much waits in the engine',
};

const llamacpp: EnginePromises = {
	...allPromised,
	aloneOrTogether: 'results of batches of other sizes may differ',
	tokensInAtStart: 'the count comes with the end',
	resumeChat: 'the chat path names no token ids',
	refusesBeyondSlots: 'what is too much waits in the engine',
};

const noTokenizer = 'Triton has no tokenizer, and names no token ids';
const triton: EnginePromises = {
	...openai,
	logprobs: noTokenizer,
	tops: noTokenizer,
	resume: noTokenizer,
	resumeChat: noTokenizer,
	counts: noTokenizer,
	tokenizes: noTokenizer,
	embeds: true,
};

const byAdapter = { llamacpp, vllm, triton, openai } as const;

export function promisesOf(engine: RealEngineKit['name'], adapter: keyof typeof byAdapter): RealPromises {
	return { ...byAdapter[adapter], noticesEarly: late[engine] ?? true };
}
