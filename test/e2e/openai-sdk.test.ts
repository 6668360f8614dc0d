/** The official OpenAI client against a daemon: our llama.cpp, the scripted engine, and an engine elsewhere that speaks the same API. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import OpenAI, { APIError, APIUserAbortError, BadRequestError, ConflictError, NotFoundError, RateLimitError } from 'openai';
import type { ChatCompletionChunk, ChatCompletionMessageParam, ChatCompletionTool } from 'openai/resources/chat/completions';
import type { RawUpstream } from '../engines/raw-upstream.ts';
import type { Daemon } from './daemon.ts';
import { type SdkWorld, startSdkWorld, thrownBy } from './sdk-world.ts';

const add: ChatCompletionTool = {
	type: 'function',
	function: {
		name: 'add',
		parameters: { type: 'object', properties: { a: { type: 'number' }, b: { type: 'number' } }, required: ['a', 'b'] },
	},
};
const ask = (content: string): ChatCompletionMessageParam[] => [{ role: 'user', content }];
const callAdd = ask('Please\ncall add {"a": 1, "b": 2}');

async function collect(stream: AsyncIterable<ChatCompletionChunk>): Promise<ChatCompletionChunk[]> {
	const chunks: ChatCompletionChunk[] = [];
	for await (const each of stream) chunks.push(each);
	return chunks;
}

function textOf(chunks: readonly ChatCompletionChunk[], choice = 0): string {
	return chunks.map(({ choices }) => choices.find(({ index }) => index === choice)?.delta.content ?? '').join('');
}

describe('the official OpenAI client', () => {
	let world: SdkWorld;
	let upstream: RawUpstream;
	let daemon: Daemon;
	let client: OpenAI;

	before(async () => {
		world = await startSdkWorld();
		({ upstream, daemon } = world);
		client = new OpenAI({ baseURL: `${daemon.url}/v1`, apiKey: 'none', maxRetries: 0 });
	});
	after(() => world.stop());

	for (const model of ['default', 'scripted:demo', 'remote']) {
		it(`reads a chat as a stream and whole, the same of both, from ${model}`, async () => {
			const request = { model, messages: ask('Tell me "a" story'), max_tokens: 12, seed: 5, temperature: 0 };
			const chunks = await collect(
				await client.chat.completions.create({ ...request, stream: true, stream_options: { include_usage: true } }),
			);
			const { data: whole, response } = await client.chat.completions.create(request).withResponse();
			assert.deepEqual(chunks[0]?.choices[0]?.delta, { role: 'assistant', content: '', refusal: null });
			assert.equal(textOf(chunks), whole.choices[0]?.message.content);
			assert.ok(textOf(chunks).length > 10);
			const last = chunks.at(-1) as ChatCompletionChunk;
			assert.deepEqual(last.choices, []);
			assert.equal(last.usage?.total_tokens, (whole.usage?.prompt_tokens ?? 0) + (whole.usage?.completion_tokens ?? 0));
			assert.equal(last.usage?.prompt_tokens_details?.cached_tokens === undefined, false);
			assert.equal(chunks.at(-2)?.choices[0]?.finish_reason, whole.choices[0]?.finish_reason);
			assert.ok(
				chunks.every(
					({ id, object, usage: told }, at) =>
						id === chunks[0]?.id && object === 'chat.completion.chunk' && (told === null) === at < chunks.length - 1,
				),
			);
			assert.equal(whole.id, `chatcmpl-${response.headers.get('x-task-id')}`);
			const stages = [...(response.headers.get('server-timing') ?? '').matchAll(/(\w+);dur=([\d.]+)/g)].map(
				([, name, ms]) => [name, Number(ms)] as const,
			);
			assert.deepEqual(
				stages.map(([name]) => name),
				['parse', 'queue', 'load', 'prefill', 'decode', 'relay', 'total'],
			);
			const total = stages.at(-1)?.[1] ?? 0;
			assert.ok(Math.abs(stages.slice(0, -1).reduce((sum, [, ms]) => sum + ms, 0) - total) < 0.001, JSON.stringify(stages));
			assert.match(response.headers.get('x-queue-wait-ms') ?? '', /^\d+$/);
		});
	}

	for (const model of ['scripted:demo', 'remote']) {
		it(`reads calls of tools as a stream and whole, and answers them, with ${model}`, async () => {
			const request = { model, messages: callAdd, tools: [add] };
			const whole = await client.chat.completions.create(request);
			const [choice] = whole.choices;
			assert.equal(choice?.finish_reason, 'tool_calls');
			assert.equal(choice.message.content, null);
			const [call] = choice.message.tool_calls ?? [];
			assert.ok(call?.type === 'function');
			assert.deepEqual([call.function.name, JSON.parse(call.function.arguments)], ['add', { a: 1, b: 2 }]);
			const streamed = await client.chat.completions.stream(request).finalChatCompletion();
			assert.deepEqual(
				streamed.choices[0]?.message.tool_calls?.map((each) => (each.type === 'function' ? [each.id, each.function.arguments] : null)),
				[[call.id, call.function.arguments]],
			);
			if (model === 'remote') return;
			const runner = client.chat.completions.runTools({
				...request,
				tools: [
					{
						type: 'function',
						function: {
							name: 'add',
							parse: JSON.parse,
							function: ({ a, b }: { a: number; b: number }) => String(a + b),
							parameters: add.type === 'function' ? (add.function.parameters as object) : {},
							description: 'Adds',
						},
					},
				],
			});
			const said = await runner.finalContent();
			assert.ok((said ?? '').length > 20);
			assert.equal(runner.messages.find(({ role }) => role === 'tool')?.content, '3');
		});
	}

	it('has a call made where one is required, and thoughts told apart', async () => {
		const required = await client.chat.completions.create({
			model: 'scripted:demo',
			messages: ask('Hi'),
			tools: [add],
			tool_choice: 'required',
		});
		const [call] = required.choices[0]?.message.tool_calls ?? [];
		assert.deepEqual(call?.type === 'function' && JSON.parse(call.function.arguments), { a: 1, b: 1 });
		const thought = await client.chat.completions.create({ model: 'scripted:demo', messages: ask('think of it first') });
		const message = thought.choices[0]?.message as { content: string; reasoning_content?: string };
		assert.equal(message.reasoning_content, 'of it first');
		assert.ok(!message.content.includes('of it first'));
		assert.equal(thought.usage?.completion_tokens_details?.reasoning_tokens, 3);
	});

	it('gets JSON of its schema from the built-in model', async () => {
		const schema = {
			type: 'object',
			properties: { mood: { enum: ['good', 'bad'] }, age: { type: 'integer' } },
			required: ['mood', 'age'],
			additionalProperties: false,
		};
		const answer = await client.chat.completions.create({
			model: 'default',
			messages: ask('How are you?'),
			max_tokens: 200,
			response_format: { type: 'json_schema', json_schema: { name: 'state', schema, strict: true } },
		});
		const state = JSON.parse(answer.choices[0]?.message.content ?? '') as { mood: string; age: number };
		assert.ok(['good', 'bad'].includes(state.mood) && Number.isInteger(state.age));
		const object = await client.chat.completions.create({ model: 'remote', messages: ask('x'), response_format: { type: 'json_object' } });
		assert.equal(object.choices[0]?.finish_reason, 'stop');
		assert.deepEqual(upstream.lastBody['response_format'], { type: 'json_object' });
	});

	it('gets several answers, each with its seed, streamed side by side and whole', async () => {
		const request = { model: 'scripted:demo', messages: ask('Three, please'), n: 3, seed: 40 };
		const whole = await client.chat.completions.create(request);
		const texts = whole.choices.map(({ message }) => message.content);
		assert.equal(new Set(texts).size, 3);
		assert.equal(whole.usage?.completion_tokens, 72);
		const second = await client.chat.completions.create({ ...request, n: 1, seed: 41 });
		assert.equal(second.choices[0]?.message.content, texts[1]);
		const chunks = await collect(await client.chat.completions.create({ ...request, stream: true }));
		assert.deepEqual(
			[0, 1, 2].map((choice) => textOf(chunks, choice)),
			texts,
		);
		assert.equal(chunks.filter(({ choices }) => choices[0]?.finish_reason === 'stop').length, 3);
	});

	it('gets log-probabilities in the shape of each path, and stops where it says', async () => {
		const request = { model: 'default', messages: ask('Hello'), max_tokens: 6, logprobs: true, temperature: 0, seed: 1 };
		const whole = await client.chat.completions.create(request);
		const content = whole.choices[0]?.logprobs?.content ?? [];
		assert.equal(content.map(({ token }) => token).join(''), whole.choices[0]?.message.content);
		assert.ok(content.every(({ logprob, bytes, token }) => logprob <= 0 && Buffer.from(bytes ?? []).toString() === token));
		const chunks = await collect(await client.chat.completions.create({ ...request, stream: true }));
		assert.deepEqual(
			chunks.flatMap(({ choices }) => choices[0]?.logprobs?.content ?? []),
			content,
		);
		const tops = { ...request, top_logprobs: 3 };
		const wide = (await client.chat.completions.create(tops)).choices[0]?.logprobs?.content ?? [];
		assert.deepEqual(
			wide.map((each) => ({ ...each, top_logprobs: [] })),
			content,
		);
		for (const { token, logprob, bytes, top_logprobs: beside } of wide) {
			assert.deepEqual(beside[0], { token, logprob, bytes }, 'greedily the likeliest is taken');
			assert.ok(beside.length === 3 && beside.every((top, at) => at === 0 || top.logprob <= (beside[at - 1]?.logprob ?? 0)));
		}
		const streamed = await collect(await client.chat.completions.create({ ...tops, stream: true }));
		assert.deepEqual(
			streamed.flatMap(({ choices }) => choices[0]?.logprobs?.content ?? []),
			wide,
		);
		const few = await client.completions.create({ model: 'default', prompt: 'Once upon', max_tokens: 5, logprobs: 2, temperature: 0 });
		const beside = few.choices[0]?.logprobs;
		assert.equal(beside?.top_logprobs?.length, beside?.tokens?.length);
		for (const [at, token] of (beside?.tokens ?? []).entries())
			assert.equal(beside?.top_logprobs?.[at]?.[token], beside?.token_logprobs?.[at], 'the one that was taken is among them');
		const raw = await client.completions.create({ model: 'default', prompt: 'Once upon', max_tokens: 5, logprobs: 0, temperature: 0 });
		const told = raw.choices[0]?.logprobs;
		assert.equal(told?.tokens?.join(''), raw.choices[0]?.text);
		assert.equal(told?.text_offset?.length, told?.tokens?.length);
		const words =
			(await client.chat.completions.create({ model: 'scripted:demo', messages: ask('x'), seed: 1 })).choices[0]?.message.content?.split(
				' ',
			) ?? [];
		const stopped = await client.chat.completions.create({ model: 'scripted:demo', messages: ask('x'), seed: 1, stop: words[5] as string });
		assert.ok(!stopped.choices[0]?.message.content?.includes(words[5] as string));
	});

	it('completes raw prompts, one or several, with their echo', async () => {
		const answer = await client.completions.create({
			model: 'scripted:demo',
			prompt: ['one', 'two'],
			n: 2,
			echo: true,
			seed: 3,
			max_tokens: 4,
		});
		assert.deepEqual(
			answer.choices.map(({ index }) => index),
			[0, 1, 2, 3],
		);
		assert.deepEqual(
			answer.choices.map(({ text }) => text.slice(0, 3)),
			['one', 'one', 'two', 'two'],
		);
		assert.ok(answer.choices.every(({ finish_reason: reason }) => reason === 'length'));
		assert.equal(answer.usage?.completion_tokens, 16);
		let streamed = '';
		for await (const each of await client.completions.create({
			model: 'scripted:demo',
			prompt: 'one',
			echo: true,
			seed: 3,
			max_tokens: 4,
			stream: true,
		}))
			streamed += each.choices[0]?.text ?? '';
		assert.equal(streamed, answer.choices[0]?.text);
	});

	it('embeds texts, as base64 and as numbers, in as many dimensions as it wants, and lists models', async () => {
		const asBase64 = await client.embeddings.create({ model: 'scripted:demo', input: ['a', 'b'] });
		const asNumbers = await client.embeddings.create({ model: 'scripted:demo', input: ['a', 'b'], encoding_format: 'float' });
		assert.deepEqual(asBase64.data, asNumbers.data);
		assert.equal(asNumbers.data[1]?.embedding.length, 16);
		const short = await client.embeddings.create({ model: 'scripted:demo', input: 'a', dimensions: 4 });
		assert.ok(Math.abs(Math.hypot(...(short.data[0]?.embedding ?? [])) - 1) < 1e-6);
		const ids = (await client.models.list()).data.map(({ id }) => id);
		assert.deepEqual(ids.filter((id) => ['default', 'scripted:demo', 'remote'].includes(id)).sort(), [
			'default',
			'remote',
			'scripted:demo',
		]);
		assert.equal((await client.models.retrieve('default')).object, 'model');
		const ranked = (await (
			await fetch(`${daemon.url}/v1/rerank`, {
				method: 'POST',
				body: JSON.stringify({ model: 'scripted:demo', query: 'b', documents: ['a', 'b', 'c'], top_n: 2 }),
			})
		).json()) as { results: { index: number; relevance_score: number; document: { text: string } }[] };
		assert.deepEqual([ranked.results.length, ranked.results[0]?.document.text], [2, 'b']);
	});

	it('throws the errors of its own that fit, with our code, before a stream and in one', async () => {
		const chat = (more: object) =>
			client.chat.completions.create({
				model: 'scripted:demo',
				messages: ask('x'),
				...more,
			} as OpenAI.ChatCompletionCreateParamsNonStreaming);
		const thrown = (asked: Promise<unknown>): Promise<APIError> => thrownBy(asked, APIError);
		const wrong = await thrown(chat({ temperature: 'hot' }));
		assert.ok(wrong instanceof BadRequestError);
		assert.deepEqual([wrong.code, wrong.type, wrong.param], ['INVALID_PARAMS', 'invalid_request_error', 'temperature']);
		assert.match((await thrown(chat({ temprature: 1 }))).message, /unknown field temprature; did you mean temperature/);
		assert.match((await thrown(chat({ functions: [] }))).message, /unknown field functions/);
		assert.match(
			(await thrown(chat({ model: 'default', tools: [add] }))).message,
			/the model of tiny, "builtin:tiny-chat", cannot call any/,
		);
		const picture = [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,AA==' } }] }];
		assert.match((await thrown(chat({ messages: picture }))).message, /takes text only/);
		const unknown = await thrown(chat({ model: 'gpt-9' }));
		assert.ok(unknown instanceof NotFoundError && unknown.message.startsWith('404 model is "gpt-9"'));
		const broken = await thrown(
			collect(await client.chat.completions.create({ model: 'scripted:demo', messages: ask('please break'), stream: true })),
		);
		assert.deepEqual([broken.code, broken.status], ['WORKER_RESET', undefined]);
		assert.equal((await thrown(chat({ messages: ask('please break') }))).status, 502);
		const first = await client.chat.completions.create(
			{ model: 'scripted:demo', messages: ask('x') },
			{ headers: { 'Idempotency-Key': 'once' } },
		);
		const other = await thrown(
			client.chat.completions.create({ model: 'scripted:demo', messages: ask('y') }, { headers: { 'Idempotency-Key': 'once' } }),
		);
		assert.ok(other instanceof ConflictError && other.headers?.get('x-should-retry') === 'false');
		const again = await collect(
			await client.chat.completions.create(
				{ model: 'scripted:demo', messages: ask('x'), stream: true },
				{ headers: { 'Idempotency-Key': 'once' } },
			),
		);
		assert.deepEqual([again[0]?.id, textOf(again)], [first.id, first.choices[0]?.message.content]);
	});

	it('cancels its task when it aborts, whole or in a stream, and the slot is free', async () => {
		const stream = await client.chat.completions.create({ model: 'scripted:slow', messages: ask('for ever'), stream: true });
		for await (const each of stream) if ((each.choices[0]?.delta.content ?? '') !== '') stream.controller.abort();
		await world.isFree('slow');
		const aborting = new AbortController();
		const whole = client.chat.completions.create({ model: 'scripted:slow', messages: ask('for ever') }, { signal: aborting.signal });
		await world.isBusy('slow');
		aborting.abort();
		await assert.rejects(whole, APIUserAbortError);
		await world.isFree('slow');
	});

	it('is told of a task that somebody else has cancelled, whole or in a stream, and does not try it again', async () => {
		const eager = new OpenAI({ baseURL: `${daemon.url}/v1`, apiKey: 'none', maxRetries: 3 });
		const request = { model: 'scripted:slow', messages: ask('cancelled by another') };
		const tasks = async (): Promise<{ task_id: string }[]> => {
			const listed = await fetch(`${daemon.url}/v2/tasks?pool_id=slow&limit=500`);
			return ((await listed.json()) as { tasks: { task_id: string }[] }).tasks;
		};
		for (const stream of [false, true]) {
			const before = (await tasks()).length;
			const asked = stream ? eager.chat.completions.create({ ...request, stream }).then(collect) : eager.chat.completions.create(request);
			const answer = thrownBy(asked, APIError);
			await world.isBusy('slow');
			const [running] = (
				(await (await fetch(`${daemon.url}/v2/tasks?state=running&pool_id=slow`)).json()) as { tasks: { task_id: string }[] }
			).tasks;
			assert.equal((await fetch(`${daemon.url}/v2/tasks/${running?.task_id}/cancel`, { method: 'POST' })).status, 204);
			const error = await answer;
			assert.deepEqual([error.code, error.type, error.status], ['CANCELED', 'canceled_error', stream ? undefined : 410]);
			await world.isFree('slow');
			assert.equal((await tasks()).length, before + 1);
		}
	});

	it('waits in the queue, is told its place in comments, is refused when it is full, and comes in by its retries', async () => {
		const running = await client.chat.completions.create({ model: 'scripted:slow', messages: ask('first'), stream: true });
		const body = JSON.stringify({ model: 'scripted:slow', messages: ask('second'), stream: true, max_tokens: 2 });
		const waiting = await fetch(`${daemon.url}/v1/chat/completions`, { method: 'POST', body });
		const reader = waiting.body?.pipeThrough(new TextDecoderStream()).getReader();
		let read = '';
		while (!read.includes(': queue {')) read += (await reader?.read())?.value ?? '';
		assert.match(read, /: queue \{"position":\d+,"eta_ms":\d+\}\n\n/);
		await assert.rejects(client.chat.completions.create({ model: 'scripted:slow', messages: ask('third') }), RateLimitError);
		const patient = client.chat.completions.create({ model: 'scripted:slow', messages: ask('third'), max_tokens: 2 }, { maxRetries: 9 });
		running.controller.abort();
		for (let part = await reader?.read(); part?.done === false; part = await reader?.read()) read += part.value;
		assert.match(
			read,
			/\n\n: X-Task-Id: [0-9a-f-]{36}\n: X-Queue-Wait-Ms: \d+\n: Server-Timing: parse;dur=.*, total;dur=[\d.]+\n\ndata: \[DONE\]\n\n$/,
		);
		assert.equal((await patient).choices[0]?.finish_reason, 'length');
	});

	it('attaches with an idempotency key to the stream that runs, from its first chunk, or waits for the whole of it', async () => {
		const request = { model: 'scripted:slow', messages: ask('once'), max_tokens: 30 };
		const keyed = { headers: { 'Idempotency-Key': 'running' } };
		const first = await client.chat.completions.create({ ...request, stream: true }, keyed);
		const chunks: ChatCompletionChunk[] = [];
		let others: Promise<[ChatCompletionChunk[], OpenAI.ChatCompletion]> | null = null;
		for await (const each of first) {
			chunks.push(each);
			// It runs, and says something already.
			if (chunks.length !== 3) continue;
			others = Promise.all([
				client.chat.completions.create({ ...request, stream: true }, keyed).then(collect),
				client.chat.completions.create(request, keyed),
			]);
		}
		const [second, whole] = await (others as NonNullable<typeof others>);
		assert.deepEqual([second[0]?.id, whole.id], [chunks[0]?.id, chunks[0]?.id]);
		assert.deepEqual([textOf(second), whole.choices[0]?.message.content], [textOf(chunks), textOf(chunks)]);
		assert.equal(whole.usage?.completion_tokens, 30);
		await world.isFree('slow');
	});

	it('may say what is ours alone', async () => {
		const extended = { model: 'scripted:demo', messages: ask('x'), orchestratord: { priority: 'batch', output_mode: 'tagged' } };
		const { data, response } = await client.chat.completions
			.create(extended as OpenAI.ChatCompletionCreateParamsNonStreaming)
			.withResponse();
		assert.equal(data.choices.length, 1);
		const task = (await (await fetch(`${daemon.url}/v2/tasks/${response.headers.get('x-task-id')}`)).json()) as Record<string, unknown>;
		assert.deepEqual([task['priority'], task['on_disconnect']], ['batch', 'cancel']);
	});
});
