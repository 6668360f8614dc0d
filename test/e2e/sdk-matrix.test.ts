/**
 * What the official clients of OpenAI and Anthropic can ask for, of every engine: the same requests to each, as a stream and whole; what an engine
 * does not do is refused in words.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import Anthropic, { BadRequestError as AnthropicBadRequest, APIError as AnthropicError } from '@anthropic-ai/sdk';
import type { Message, Tool } from '@anthropic-ai/sdk/resources/messages';
import OpenAI, { APIError, APIUserAbortError } from 'openai';
import type {
	ChatCompletion,
	ChatCompletionChunk,
	ChatCompletionMessageParam,
	ChatCompletionTool,
} from 'openai/resources/chat/completions';
import { contextTokens, type SdkEngineWorld, sdkEngines, startSdkEngines } from './sdk-engines.ts';
import { thrownBy } from './sdk-world.ts';

const parameters = {
	type: 'object' as const,
	properties: { a: { type: 'integer', enum: [1, 2, 3] }, b: { type: 'integer', enum: [1, 2, 3] } },
	required: ['a', 'b'],
	additionalProperties: false,
};
const add: ChatCompletionTool = { type: 'function', function: { name: 'add', description: 'Adds', parameters } };
const addTool: Tool = { name: 'add', description: 'Adds', input_schema: parameters };
const ask = (content: string): [{ role: 'user'; content: string }] => [{ role: 'user', content }];
const callAdd = ask('Please\ncall add {"a": 1, "b": 2}');
/** More tokens than any context here has, whatever a token is. */
const tooLong = ask('fox '.repeat(contextTokens + 10));
const schema = {
	type: 'object',
	properties: { mood: { type: 'string', enum: ['good', 'bad'] }, age: { type: 'integer' } },
	required: ['mood', 'age'],
	additionalProperties: false,
} as const;

async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
	const all: T[] = [];
	for await (const each of stream) all.push(each);
	return all;
}

function textOf(chunks: readonly ChatCompletionChunk[], choice = 0): string {
	return chunks.map(({ choices }) => choices.find(({ index }) => index === choice)?.delta.content ?? '').join('');
}

function saidBy(message: Message): string {
	return message.content.map((block) => (block.type === 'text' ? block.text : '')).join('');
}

/** Name and arguments of its calls. */
function callsOf({ choices }: ChatCompletion): unknown[] {
	return (choices[0]?.message.tool_calls ?? []).map((call) => {
		assert.ok(call.type === 'function');
		return [call.function.name, JSON.parse(call.function.arguments)];
	});
}

describe('the official clients, of every engine', () => {
	let world: SdkEngineWorld;
	let openai: OpenAI;
	let anthropic: Anthropic;

	before(async () => {
		world = await startSdkEngines();
		const { url } = world.daemon;
		openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 });
		anthropic = new Anthropic({ baseURL: url, apiKey: 'none', maxRetries: 0 });
	});
	after(() => world.stop());

	const refused = async (asked: Promise<unknown>, words: RegExp): Promise<void> => {
		const { status, message } = await thrownBy(asked, APIError);
		assert.equal(status, 400, message);
		assert.match(message, words);
	};

	for (const engine of sdkEngines) {
		const { name, pool: model } = engine;
		describe(name, () => {
			const chat = { model, messages: ask('Once upon a time'), max_tokens: 12, seed: 5, temperature: 0.7 };

			it('tells a chat as a stream and whole, the same of both, with its usage', async () => {
				const whole = await openai.chat.completions.create(chat);
				const chunks = await collect(
					await openai.chat.completions.create({ ...chat, stream: true, stream_options: { include_usage: true } }),
				);
				const [choice] = whole.choices;
				assert.ok((choice?.message.content ?? '').length > 5);
				assert.equal(textOf(chunks), choice?.message.content);
				assert.equal(choice?.finish_reason, 'length');
				assert.equal(chunks.at(-2)?.choices[0]?.finish_reason, 'length');
				const { usage } = chunks.at(-1) as ChatCompletionChunk;
				for (const told of [whole.usage, usage]) {
					assert.equal(told?.completion_tokens, 12);
					assert.ok((told?.prompt_tokens ?? 0) >= 4);
					assert.equal(told?.total_tokens, (told?.prompt_tokens ?? 0) + 12);
				}
				assert.equal(usage?.prompt_tokens, whole.usage?.prompt_tokens);
			});

			it('says the same again by its seed, and something else by another', async () => {
				const said = async (seed: number): Promise<string | null | undefined> =>
					(await openai.chat.completions.create({ ...chat, max_tokens: 24, temperature: 1, seed })).choices[0]?.message.content;
				const first = await said(7);
				assert.equal(await said(7), first);
				const others = await Promise.all([8, 9, 10].map(said));
				assert.ok(others.some((other) => other !== first));
			});

			it('gives several answers, each by its seed, side by side', async () => {
				const request = { ...chat, n: 2, max_tokens: 16, temperature: 1 };
				const whole = await openai.chat.completions.create(request);
				const chunks = await collect(await openai.chat.completions.create({ ...request, stream: true }));
				const texts = whole.choices.map(({ message }) => message.content);
				assert.equal(texts.length, 2);
				assert.notEqual(texts[0], texts[1]);
				assert.deepEqual([textOf(chunks, 0), textOf(chunks, 1)], texts);
				assert.equal(whole.usage?.completion_tokens, 32);
			});

			it('stops where it is told to, and does not show it', async () => {
				const long = { ...chat, max_tokens: 40 };
				const text = (await openai.chat.completions.create(long)).choices[0]?.message.content ?? '';
				const [, stop = ''] = /.{4,}?(\w{3,})/s.exec(text) ?? [];
				assert.ok(stop !== '', text);
				for (const answer of [
					(await openai.chat.completions.create({ ...long, stop: ['never said', stop] })).choices[0],
					(await openai.chat.completions.stream({ ...long, stop }).finalChatCompletion()).choices[0],
				]) {
					assert.equal(answer?.message.content, text.slice(0, text.indexOf(stop)));
					assert.equal(answer?.finish_reason, 'stop');
				}
				const message = await anthropic.messages.create({
					...{
						model,
						max_tokens: 40,
						messages: chat.messages,
						temperature: 0.7,
						stop_sequences: ['.', 'e', 'a', 'o', ...(engine.pool === 'openai' ? [] : [' '])],
					},
				});
				assert.ok(message.stop_reason === 'stop_sequence' || message.stop_reason === 'end_turn', message.stop_reason ?? 'none');
				assert.doesNotMatch(saidBy(message), engine.pool === 'openai' ? /[eao.]/ : /[eao .]/);
			});

			it('calls tools, by itself and where it has to, as a stream and whole', async () => {
				const { tools, namedEnd } = engine;
				if (typeof tools !== 'string') {
					await refused(openai.chat.completions.create({ ...chat, messages: callAdd, tools: [add] }), tools);
					await refused(collectOf(openai.chat.completions.create({ ...chat, messages: callAdd, tools: [add], stream: true })), tools);
					const error = await thrownBy(
						anthropic.messages.create({ model, max_tokens: 60, messages: callAdd, tools: [addTool] }),
						AnthropicError,
					);
					assert.ok(error instanceof AnthropicBadRequest);
					assert.match(error.message, tools);
					return;
				}
				const request = { model: tools, messages: callAdd as ChatCompletionMessageParam[], max_tokens: 200, seed: 1, tools: [add] };
				for (const [choice, ends] of [
					['auto', 'tool_calls'],
					['required', 'tool_calls'],
					[{ type: 'function', function: { name: 'add' } }, namedEnd],
				] as const) {
					const asked = { ...request, tool_choice: choice };
					const whole = await openai.chat.completions.create(asked);
					const streamed = await openai.chat.completions.stream(asked).finalChatCompletion();
					for (const answer of [whole, streamed]) {
						const [call] = callsOf(answer) as [string, { a: number; b: number }][];
						assert.equal(call?.[0], 'add');
						assert.ok(Number.isInteger(call?.[1].a) && Number.isInteger(call?.[1].b), JSON.stringify(call));
						assert.equal(answer.choices[0]?.finish_reason, ends);
						assert.equal(answer.choices[0]?.message.content ?? '', '');
					}
					assert.deepEqual(callsOf(streamed), callsOf(whole));
					if (choice === 'auto') assert.deepEqual(callsOf(whole), [['add', { a: 1, b: 2 }]]);
				}
				const none = await openai.chat.completions.create({ ...request, tool_choice: 'none', max_tokens: 30 });
				assert.deepEqual(callsOf(none), []);
				const [call] = (await openai.chat.completions.create(request)).choices[0]?.message.tool_calls ?? [];
				const answered: ChatCompletionMessageParam[] = [
					...callAdd,
					{ role: 'assistant', content: null, tool_calls: call === undefined ? [] : [call] },
					{ role: 'tool', tool_call_id: call?.id ?? '', content: '3' },
				];
				const told = await openai.chat.completions.create({ ...request, messages: answered, max_tokens: 30 });
				assert.ok(told.choices[0]?.finish_reason !== undefined);
			});

			it('calls tools whose input is a text, and none but those that are allowed', async () => {
				const { tools } = engine;
				const shout: ChatCompletionTool = { type: 'custom', custom: { name: 'shout', description: 'Says it loudly' } };
				const messages = ask('Please\ncall shout {"input": "one \\"fox\\""}');
				const request = { model: typeof tools === 'string' ? tools : model, messages, max_tokens: 200, seed: 1, tools: [add, shout] };
				const named = { type: 'custom', custom: { name: 'shout' } } as const;
				if (typeof tools !== 'string') return refused(openai.chat.completions.create({ ...request, tool_choice: named }), tools);
				const whole = (await openai.chat.completions.create({ ...request, tool_choice: named })).choices[0];
				const [call] = whole?.message.tool_calls ?? [];
				assert.ok(call?.type === 'custom' && call.custom.name === 'shout', JSON.stringify(whole));
				if (tools !== 'caller') assert.equal(call.custom.input, 'one "fox"');
				// Its helpers for streams know functions alone; what comes is what the reference has for the whole.
				const chunks = await collect(await openai.chat.completions.create({ ...request, tool_choice: named, stream: true }));
				const deltas = chunks.flatMap(({ choices }) => (choices[0]?.delta.tool_calls ?? []) as object[]);
				const { id, ...rest } = deltas[0] as { id: string };
				assert.ok(id !== '');
				assert.deepEqual([deltas.length, rest], [1, { index: 0, type: 'custom', custom: call.custom }]);
				assert.equal(chunks.at(-1)?.choices[0]?.finish_reason, whole?.finish_reason);
				const allowed = [{ type: 'function', function: { name: 'add' } }];
				const some = await openai.chat.completions.create({
					...request,
					tool_choice: { type: 'allowed_tools', allowed_tools: { mode: 'required', tools: allowed } },
				});
				assert.deepEqual(
					(callsOf(some) as [string][]).map(([called]) => called),
					['add'],
				);
				const answered: ChatCompletionMessageParam[] = [
					...messages,
					{ role: 'assistant', content: null, tool_calls: [call] },
					{ role: 'tool', tool_call_id: call.id, content: 'ONE FOX' },
				];
				assert.equal((await openai.chat.completions.create({ ...request, messages: answered, max_tokens: 5 })).choices.length, 1);
			});

			it('calls tools for messages, and says that it is to be answered', async () => {
				const { tools } = engine;
				if (typeof tools !== 'string') return;
				const request = { model: tools, max_tokens: 200, messages: callAdd, tools: [addTool] };
				for (const choice of [{ type: 'auto' }, { type: 'any' }, { type: 'tool', name: 'add' }] as const) {
					const asked = { ...request, tool_choice: choice };
					for (const message of [await anthropic.messages.create(asked), await anthropic.messages.stream(asked).finalMessage()]) {
						const [call] = message.content;
						assert.ok(call?.type === 'tool_use' && call.name === 'add', JSON.stringify(message));
						const { a, b } = call.input as { a: number; b: number };
						assert.ok(Number.isInteger(a) && Number.isInteger(b));
						assert.equal(message.stop_reason, 'tool_use');
					}
				}
			});

			it('gives JSON by a schema, as a stream and whole, on both APIs', async () => {
				const format = { type: 'json_schema' as const, json_schema: { name: 'state', schema, strict: true } };
				const request = { ...chat, max_tokens: 200, response_format: format };
				if (engine.schema !== true) {
					await refused(openai.chat.completions.create(request), engine.schema);
					return;
				}
				const texts = [
					(await openai.chat.completions.create(request)).choices[0]?.message.content,
					textOf(await collect(await openai.chat.completions.create({ ...request, stream: true }))),
					saidBy(
						await anthropic.messages.create({
							...{ model, max_tokens: 200, messages: chat.messages },
							output_config: { format: { type: 'json_schema', schema } },
						}),
					),
				];
				for (const text of texts) {
					const state = JSON.parse(text ?? '') as { mood: string; age: number };
					assert.ok(['good', 'bad'].includes(state.mood) && Number.isInteger(state.age), text ?? '');
				}
			});

			it('tells log-probabilities with the likeliest beside them', async () => {
				const request = { ...chat, temperature: 0, logprobs: true, top_logprobs: 2 };
				if (engine.logprobs !== true) {
					await refused(openai.chat.completions.create(request), engine.logprobs);
					return;
				}
				const whole = (await openai.chat.completions.create(request)).choices[0]?.logprobs?.content ?? [];
				const chunks = await collect(await openai.chat.completions.create({ ...request, stream: true }));
				// A character of several tokens has those of its last.
				assert.ok(whole.length >= 5 && whole.length <= 12, String(whole.length));
				for (const { logprob, top_logprobs: tops } of whole)
					assert.ok(logprob <= 0 && tops.length === 2 && tops[0]?.logprob === logprob, JSON.stringify([logprob, tops]));
				assert.deepEqual(
					chunks.flatMap(({ choices }) => choices[0]?.logprobs?.content ?? []),
					whole,
				);
			});

			it('is told when its client leaves, in a stream and before a whole answer', async () => {
				const endless = { model, messages: chat.messages, max_tokens: 1_000, ignore_eos: engine.pool === 'tiny' ? true : undefined };
				const answers = engine.fake === null ? [] : world.fakes[engine.fake].server.answers;
				const before = answers.length;
				const { data: stream, response } = await openai.chat.completions.create({ ...endless, stream: true }).withResponse();
				const id = response.headers.get('x-task-id');
				for await (const each of stream) if ((each.choices[0]?.delta.content ?? '') !== '') stream.controller.abort();
				await world.isFree(engine);
				const task = (await (await fetch(`${world.daemon.url}/v2/tasks/${id}`)).json()) as { state: string; tokens_out: number };
				assert.equal(task.state, 'canceled');
				assert.ok(task.tokens_out < 1_000);
				const left = answers.slice(before).filter(({ gone, over }) => gone && !over);
				assert.equal(left.length, engine.fake === null ? 0 : 1);
				const aborting = new AbortController();
				const whole = anthropic.messages.create({ model, messages: chat.messages, max_tokens: 1_000 }, { signal: aborting.signal });
				const running = async (): Promise<boolean> =>
					((await (await fetch(`${world.daemon.url}/v2/tasks?state=running&pool_id=${model}`)).json()) as { tasks: unknown[] }).tasks
						.length > 0;
				while (!(await running())) await new Promise((resolve) => setImmediate(resolve));
				aborting.abort();
				await assert.rejects(whole, /abort/i);
				await world.isFree(engine);
			});

			it('refuses a prompt that is longer than its context, with our code, on both APIs', async () => {
				const request = { ...chat, messages: tooLong };
				await refused(openai.chat.completions.create(request), /./);
				for (const ask of [
					() => openai.chat.completions.create(request),
					() => collectOf(openai.chat.completions.create({ ...request, stream: true })),
				]) {
					const error = await thrownBy(ask(), APIError);
					assert.equal(error.code, 'INVALID_PARAMS');
				}
				const error = await thrownBy(anthropic.messages.create({ model, max_tokens: 10, messages: tooLong }), AnthropicError);
				assert.ok(error instanceof AnthropicBadRequest, error.message);
				assert.equal(error.type, 'invalid_request_error');
			});

			it('tells messages as a stream and whole, the same of both, and counts their tokens', async () => {
				const request = { model, max_tokens: 12, messages: chat.messages, temperature: 0, system: 'You are short.' };
				const whole = await anthropic.messages.create(request);
				const streamed = await anthropic.messages.stream(request).finalMessage();
				assert.ok(saidBy(whole).length > 5);
				// What the scripted engine says is its seed's, which messages have none of.
				if (engine.pool !== 'demo') assert.equal(saidBy(streamed), saidBy(whole));
				assert.deepEqual([whole.stop_reason, streamed.stop_reason], ['max_tokens', 'max_tokens']);
				const read = ({ usage }: Message): number => usage.input_tokens + (usage.cache_read_input_tokens ?? 0);
				assert.equal(read(streamed), read(whole));
				const counted = anthropic.messages.countTokens({ model, messages: chat.messages, system: 'You are short.' });
				if (engine.counts === true) assert.equal((await counted).input_tokens, read(whole));
				else assert.match((await thrownBy(counted, AnthropicError)).message, engine.counts);
			});

			it('embeds and ranks, or says that it does not', async () => {
				const { embeds, ranks } = engine;
				const vectors = { input: ['a fox', 'an owl'], encoding_format: 'float' as const };
				if (typeof embeds !== 'string') await refused(openai.embeddings.create({ model, ...vectors }), embeds);
				else {
					const { data } = await openai.embeddings.create({ model: embeds, ...vectors });
					assert.deepEqual(
						data.map(({ index }) => index),
						[0, 1],
					);
					assert.ok(data.every(({ embedding }) => embedding.length > 1 && embedding.every(Number.isFinite)));
				}
				const asked = openai.post<{ results: { index: number; relevance_score: number }[] }>('/rerank', {
					body: { model: typeof ranks === 'string' ? ranks : model, query: 'fox', documents: ['no', 'a fox ran'], top_n: 1 },
				});
				if (typeof ranks !== 'string') await refused(asked, ranks);
				else assert.ok((await asked).results[0]?.index !== undefined);
			});
		});
	}

	it('throw what fits of a model that is not there', async () => {
		const error = await thrownBy(openai.chat.completions.create({ model: 'gpt-9', messages: ask('x') }), OpenAI.NotFoundError);
		assert.deepEqual([error.code, error.type], ['NOT_FOUND', 'not_found_error']);
		const other = await thrownBy(
			anthropic.messages.create({ model: 'claude-9', max_tokens: 5, messages: ask('x') }),
			Anthropic.NotFoundError,
		);
		assert.equal(other.type, 'not_found_error');
		await assert.rejects(
			openai.chat.completions.create({ model: 'tiny', messages: ask('x') }, { signal: AbortSignal.abort() }),
			APIUserAbortError,
		);
	});
});

async function collectOf<T>(asked: Promise<AsyncIterable<T>>): Promise<T[]> {
	return collect(await asked);
}
