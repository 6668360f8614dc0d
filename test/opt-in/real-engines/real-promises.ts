/** What the suites ask of each real engine by each adapter, and why less than all: the reason is printed beside what is left out. */
import { allPromised, type EnginePromises, type Promised } from '../../engines/conformance.ts';

export interface RealPromises extends EnginePromises {
	/** It notices that its client left before its first token. */
	readonly noticesEarly: Promised;
}

const noIds = 'the API names no token ids';
const openai: EnginePromises = {
	...allPromised,
	tokensInAtStart: 'usage comes with the end',
	logprobs: noIds,
	resume: noIds,
	resumeChat: noIds,
	counts: 'the API has no tokenizer',
	tokenizes: 'the API has no tokenizer',
	refusesBeyondSlots: 'what is too much waits in the engine',
	judgesCtx: 'the engine judges by itself',
	embeds: 'the API does not say whether a model does',
};

const late = 'llama-server looks for its client only when no other request has had a token for a second';

const vllm: EnginePromises = {
	...allPromised,
	aloneOrTogether: 'only where it runs with VLLM_BATCH_INVARIANT=1',
	tokensInAtStart: 'usage comes with the end',
	refusesBeyondSlots: 'what is too much waits in the engine',
};

export function promisesOf(engine: string, adapter: string): RealPromises {
	return { ...(adapter === 'vllm' ? vllm : openai), noticesEarly: engine === 'llama-server' ? late : true };
}
