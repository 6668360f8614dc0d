/** What a real engine says of itself when it is asked directly, past every adapter: how much it works on, and a whole answer in one piece. */
import assert from 'node:assert/strict';
import type { RealEngineKit } from './real-engine-kits.ts';

async function bodyOf(url: string, request?: unknown): Promise<string> {
	const post = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(request) };
	const answer = await fetch(url, request === undefined ? {} : post);
	const text = await answer.text();
	assert.equal(answer.status, 200, text);
	return text;
}

/** The sum of all series of these names. */
function sumOf(metrics: string, names: readonly string[]): number {
	return metrics
		.split('\n')
		.filter((line) => names.some((name) => line.startsWith(`${name} `) || line.startsWith(`${name}{`)))
		.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

const busyNames: Readonly<Record<RealEngineKit['name'], readonly string[]>> = {
	'llama-server': ['llamacpp:requests_processing', 'llamacpp:requests_deferred'],
	vllm: ['vllm:num_requests_running', 'vllm:num_requests_waiting'],
	// Of `triton_model.py`: Triton itself counts only what it has not handed to its model yet.
	triton: ['model_requests_running'],
};

/** Requests that it works on or has waiting, by its metrics. */
export async function busyOf(engine: RealEngineKit['name'], accounts: string): Promise<number> {
	return sumOf(await bodyOf(`${accounts}/metrics`), busyNames[engine]);
}

export interface WholeAnswer {
	readonly text: string;
	readonly tokensIn: number;
	readonly tokensOut: number;
	readonly finishReason: string;
}

/** Not streamed, over the path of the OpenAI API that has no template. Null: it has none. */
export async function wholeAnswer(
	engine: RealEngineKit['name'],
	url: string,
	request: Readonly<Record<string, unknown>>,
): Promise<WholeAnswer | null> {
	if (engine === 'triton') return null;
	const { data } = JSON.parse(await bodyOf(`${url}/v1/models`)) as { data: readonly { id: string }[] };
	const answer = JSON.parse(await bodyOf(`${url}/v1/completions`, { model: data[0]?.id, ...request })) as {
		choices: readonly { text: string; finish_reason: string }[];
		usage: { prompt_tokens: number; completion_tokens: number };
	};
	const choice = answer.choices[0];
	assert.ok(choice !== undefined);
	const { prompt_tokens: tokensIn, completion_tokens: tokensOut } = answer.usage;
	return { text: choice.text, tokensIn, tokensOut, finishReason: choice.finish_reason };
}
