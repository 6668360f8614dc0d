/** What a real engine says of itself when it is asked directly, past every adapter: how much it works on, and a whole answer in one piece. */
import assert from 'node:assert/strict';

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

/** Requests that it works on or has waiting. Null: it does not say. */
export async function busyOf(engine: string, url: string): Promise<number | null> {
	if (engine === 'vllm') return sumOf(await bodyOf(`${url}/metrics`), ['vllm:num_requests_running', 'vllm:num_requests_waiting']);
	if (engine !== 'llama-server') return null;
	return sumOf(await bodyOf(`${url}/metrics`), ['llamacpp:requests_processing', 'llamacpp:requests_deferred']);
}

export interface WholeAnswer {
	readonly text: string;
	readonly tokensIn: number;
	readonly tokensOut: number;
	readonly finishReason: string;
}

/** Not streamed, over the path of the OpenAI API that has no template. Null: it has none. */
export async function wholeAnswer(engine: string, url: string, request: Readonly<Record<string, unknown>>): Promise<WholeAnswer | null> {
	if (engine !== 'vllm' && engine !== 'llama-server') return null;
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
