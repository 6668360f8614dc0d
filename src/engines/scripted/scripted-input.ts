/** How the scripted engine takes its input: as text, as a number of tokens, as vectors. Pure, so that tests can say what must come. */
import type { PromptInput } from '../../actors/serving/task-request.ts';
import { hashText, scriptedTokens } from './scripted-text.ts';

export const embeddingDims = 16;
/** What its chat template adds to each message. */
export const messageTokens = 4;

export function inputText(input: PromptInput): string {
	switch (input.kind) {
		case 'prompt':
			return input.text;
		case 'messages':
			return input.messages.map((message) => `${message.role}: ${message.content}`).join('\n');
		case 'inputs':
			return input.inputs.join('\n');
	}
}

export function countInput(input: PromptInput): number {
	const extra = input.kind === 'messages' ? input.messages.length * messageTokens : 0;
	return Math.max(1, scriptedTokens(inputText(input)).length + extra);
}

/** A score from 0 to 1 for each text: how near its vector is to that of the query. */
export function scriptedScores(input: PromptInput): Float32Array[] {
	const [query = new Float32Array(0), ...texts] = scriptedVectors({
		kind: 'inputs',
		inputs: input.kind === 'inputs' ? [input.query ?? '', ...input.inputs] : [],
		query: null,
	});
	return texts.map((text) => Float32Array.of((text.reduce((sum, value, dim) => sum + value * (query[dim] ?? 0), 0) + 1) / 2));
}

/** One vector of length 1 for each text, from the text alone. */
export function scriptedVectors(input: PromptInput): Float32Array[] {
	const texts = input.kind === 'inputs' ? input.inputs : [inputText(input)];
	return texts.map((text) => {
		const vector = new Float32Array(embeddingDims);
		for (let dim = 0; dim < embeddingDims; dim += 1) vector[dim] = (hashText(`${dim} ${text}`) / 2 ** 32) * 2 - 1;
		const length = Math.hypot(...vector);
		return vector.map((value) => value / length);
	});
}
