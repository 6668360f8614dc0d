/** The official Anthropic client against a daemon: our llama.cpp, the scripted engine, and an engine elsewhere that speaks the API of OpenAI. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import Anthropic, { APIError, APIUserAbortError, BadRequestError, NotFoundError, RateLimitError } from '@anthropic-ai/sdk';
import type { Message, MessageParam, RawMessageStreamEvent, Tool } from '@anthropic-ai/sdk/resources/messages';
import { type SdkWorld, startSdkWorld, thrownBy } from './sdk-world.ts';

const add: Tool = {
	name: 'add',
	input_schema: { type: 'object', properties: { a: { type: 'number' }, b: { type: 'number' } }, required: ['a', 'b'] },
};
const ask = (content: string): MessageParam[] => [{ role: 'user', content }];
const callAdd = ask('Please\ncall add {"a": 1, "b": 2}');

function textOf({ content }: Message): string {
	return content.map((block) => (block.type === 'text' ? block.text : '')).join('');
}

async function collect(stream: AsyncIterable<RawMessageStreamEvent>): Promise<RawMessageStreamEvent[]> {
	const events: RawMessageStreamEvent[] = [];
	for await (const each of stream) events.push(each);
	return events;
}

const thrown = (asked: Promise<unknown>): Promise<APIError> => thrownBy(asked, APIError);

/** What ours adds to the error of theirs. */
function codeOf({ error }: APIError): unknown {
	return (error as { error: { code: unknown } }).error.code;
}

describe('the official Anthropic client', () => {
	let world: SdkWorld;
	let client: Anthropic;

	before(async () => {
		world = await startSdkWorld();
		client = new Anthropic({ baseURL: world.daemon.url, apiKey: 'none', maxRetries: 0 });
	});
	after(() => world.stop());

	for (const model of ['default', 'scripted:demo', 'remote']) {
		it(`reads a message as a stream and whole, from ${model}`, async () => {
			const request = { model, messages: ask('Tell me "a" story'), max_tokens: 12, temperature: 0, system: 'You are short.' };
			const events = await collect(await client.messages.create({ ...request, stream: true }));
			assert.deepEqual(
				events.map(({ type }) => type).filter((type) => type !== 'content_block_delta'),
				['message_start', 'content_block_start', 'content_block_stop', 'message_delta', 'message_stop'],
			);
			const { data: whole, response } = await client.messages.create(request).withResponse();
			const streamed = await client.messages.stream(request).finalMessage();
			assert.ok(textOf(whole).length > 10);
			if (model !== 'scripted:demo') assert.equal(textOf(streamed), textOf(whole));
			assert.deepEqual([whole.type, whole.role, whole.model, whole.stop_sequence], ['message', 'assistant', model, null]);
			assert.equal(whole.stop_reason, model === 'remote' ? 'end_turn' : 'max_tokens');
			assert.equal(streamed.stop_reason, whole.stop_reason);
			const read = ({ usage }: Message): number => usage.input_tokens + (usage.cache_read_input_tokens ?? 0);
			assert.equal(read(streamed), read(whole));
			assert.equal(streamed.usage.output_tokens, whole.usage.output_tokens);
			if (model === 'remote') assert.deepEqual([whole.usage.input_tokens, whole.usage.cache_read_input_tokens], [4, 3]);
			assert.equal(whole.id, `msg_${response.headers.get('x-task-id')}`);
			assert.match(response.headers.get('server-timing') ?? '', /^parse;dur=.*, total;dur=[\d.]+$/);
			assert.match(response.headers.get('x-queue-wait-ms') ?? '', /^\d+$/);
		});
	}

	it('writes each event of a stream with its name, a ping among them, the last comments before message_stop', async () => {
		const body = JSON.stringify({ model: 'scripted:demo', messages: ask('x'), max_tokens: 2, stream: true });
		const text = await (await fetch(`${world.daemon.url}/v1/messages?beta=true`, { method: 'POST', body })).text();
		const events = text
			.split('\n\n')
			.filter((each) => each !== '' && !each.startsWith(':'))
			.map((each) => /^event: (\w+)\ndata: (.*)$/.exec(each) ?? [])
			.map(([, name, data]) => [name, JSON.parse(data ?? '') as { type: string }] as const);
		assert.ok(events.every(([name, { type }]) => name === type));
		assert.deepEqual(
			events.map(([name]) => name),
			[
				'message_start',
				'content_block_start',
				'ping',
				'content_block_delta',
				'content_block_delta',
				'content_block_stop',
				'message_delta',
				'message_stop',
			],
		);
		assert.match(text, /\n\n: X-Task-Id: [0-9a-f-]{36}\n: X-Queue-Wait-Ms: \d+\n: Server-Timing: .*\n\nevent: message_stop\n/);
	});

	for (const model of ['scripted:demo', 'remote']) {
		it(`reads calls of tools as a stream and whole, and answers them, with ${model}`, async () => {
			const request = { model, messages: callAdd, tools: [add], max_tokens: 100 };
			const whole = await client.messages.create(request);
			assert.equal(whole.stop_reason, 'tool_use');
			const call = whole.content.find((block) => block.type === 'tool_use');
			assert.ok(call !== undefined);
			assert.deepEqual([call.name, call.input], ['add', { a: 1, b: 2 }]);
			const streamed = await client.messages.stream(request).finalMessage();
			assert.deepEqual(
				streamed.content.map((block) => (block.type === 'tool_use' ? [block.id, block.name, block.input] : block.type)),
				[[call.id, 'add', { a: 1, b: 2 }]],
			);
			assert.equal(streamed.stop_reason, 'tool_use');
			const answered = await client.messages.create({
				...request,
				messages: [
					...callAdd,
					{ role: 'assistant', content: whole.content },
					{
						role: 'user',
						content: [
							{ type: 'tool_result', tool_use_id: call.id, content: [{ type: 'text', text: '3' }] },
							{ type: 'text', text: 'What is it?' },
						],
					},
				],
			});
			if (model !== 'remote') return assert.equal(answered.stop_reason, 'end_turn');
			const { messages } = world.upstream.lastBody as unknown as { messages: object[] };
			assert.deepEqual(messages.slice(1), [
				{
					role: 'assistant',
					content: '',
					tool_calls: [{ id: call.id, type: 'function', function: { name: 'add', arguments: '{"a":1,"b":2}' } }],
				},
				{ role: 'tool', content: '3', tool_call_id: call.id },
				{ role: 'user', content: 'What is it?' },
			]);
		});
	}

	it('has a call made where one is required, JSON by a schema, and thoughts where it asks for them', async () => {
		const required = await client.messages.create({
			model: 'scripted:demo',
			messages: ask('Hi'),
			max_tokens: 100,
			tools: [add],
			tool_choice: { type: 'tool', name: 'add' },
		});
		assert.deepEqual(
			required.content.map((block) => block.type === 'tool_use' && block.input),
			[{ a: 1, b: 1 }],
		);
		const thinker = { model: 'scripted:demo', messages: ask('think of it first'), max_tokens: 100 };
		const silent = await client.messages.create(thinker);
		assert.deepEqual(
			silent.content.map(({ type }) => type),
			['text'],
		);
		const thinking = { type: 'enabled', budget_tokens: 1024 } as const;
		for (const thought of [
			await client.messages.create({ ...thinker, thinking }),
			await client.messages.stream({ ...thinker, thinking }).finalMessage(),
		]) {
			const [first, second] = thought.content;
			assert.ok(first?.type === 'thinking' && second?.type === 'text');
			assert.equal(first.thinking, 'of it first');
		}
		const schema = { type: 'object', properties: { mood: { enum: ['good', 'bad'] } }, required: ['mood'], additionalProperties: false };
		const state = await client.messages.create({
			model: 'default',
			messages: ask('How are you?'),
			max_tokens: 100,
			output_config: { format: { type: 'json_schema', schema } },
		});
		assert.ok(['good', 'bad'].includes((JSON.parse(textOf(state)) as { mood: string }).mood));
	});

	it('is told which of its stop sequences ended the answer', async () => {
		for (const model of ['scripted:demo', 'default']) {
			const request = { model, max_tokens: 200, messages: ask('Tell me a story'), stop_sequences: ['never to be said', ' '] };
			const whole = await client.messages.create(request);
			const streamed = await client.messages.stream(request).finalMessage();
			for (const message of [whole, streamed]) {
				assert.deepEqual([message.stop_reason, message.stop_sequence], ['stop_sequence', ' ']);
				assert.ok(!textOf(message).includes(' '));
			}
		}
		const unstopped = await client.messages.create({
			model: 'scripted:demo',
			max_tokens: 200,
			messages: ask('x'),
			stop_sequences: ['never'],
		});
		assert.deepEqual([unstopped.stop_reason, unstopped.stop_sequence], ['end_turn', null]);
	});

	it('takes what coding agents send, and gives the model what is meant for it', async () => {
		await client.beta.messages.create({
			model: 'remote',
			max_tokens: 100,
			betas: ['context-management-2025-06-27'],
			metadata: { user_id: 'somebody' },
			system: [
				{ type: 'text', text: 'x-anthropic-billing-header: cc_version=2; cch=1a2b3;' },
				{ type: 'text', text: 'You code.', cache_control: { type: 'ephemeral' } },
				{ type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral' } },
			],
			thinking: { type: 'adaptive' },
			output_config: { effort: 'high' },
			context_management: { edits: [{ type: 'clear_thinking_20251015', keep: 'all' }] },
			messages: [
				{
					role: 'user',
					content: [
						{ type: 'text', text: 'one' },
						{ type: 'text', text: 'two', cache_control: { type: 'ephemeral' } },
					],
				},
				{
					role: 'assistant',
					content: [
						{ type: 'thinking', thinking: 'hm', signature: '' },
						{ type: 'text', text: 'three' },
					],
				},
				{ role: 'user', content: 'four' },
			],
		});
		const sent = world.upstream.lastBody as unknown as { messages: object[]; reasoning_effort: string };
		assert.deepEqual(sent.messages, [
			{ role: 'system', content: 'You code.\n\nBe brief.' },
			{ role: 'user', content: 'one\n\ntwo' },
			{ role: 'assistant', content: 'three' },
			{ role: 'user', content: 'four' },
		]);
		assert.equal(sent.reasoning_effort, 'high');
	});

	it('counts the tokens that the prompt will have', async () => {
		for (const model of ['default', 'scripted:demo']) {
			const request = { model, messages: ask('Tell me a story'), system: 'You are short.' };
			const { input_tokens: counted } = await client.messages.countTokens(request);
			const { usage } = await client.messages.create({ ...request, max_tokens: 1 });
			assert.equal(counted, usage.input_tokens + (usage.cache_read_input_tokens ?? 0));
		}
		assert.ok((await thrown(client.messages.countTokens({ model: 'gpt-9', messages: ask('x') }))) instanceof NotFoundError);
	});

	it('throws the errors of its own that fit, with our code, before a stream and in one', async () => {
		const refusal = (more: object) =>
			thrown(
				client.messages.create({
					model: 'scripted:demo',
					max_tokens: 9,
					messages: ask('x'),
					...more,
				} as Anthropic.MessageCreateParamsNonStreaming),
			);
		const wrong = await refusal({ temperature: 'hot' });
		assert.ok(wrong instanceof BadRequestError);
		assert.deepEqual([wrong.type, codeOf(wrong)], ['invalid_request_error', 'INVALID_PARAMS']);
		assert.match((await refusal({ temprature: 1 })).message, /unknown field temprature; did you mean temperature/);
		assert.match((await refusal({ max_tokens: undefined })).message, /max_tokens is missing/);
		assert.match((await refusal({ tools: [{ type: 'web_search_20250305', name: 'web_search' }] })).message, /tools\[0\]/);
		assert.match((await refusal({ mcp_servers: [{ url: 'http://x' }] })).message, /mcp_servers/);
		assert.match((await refusal({ messages: [...ask('x'), { role: 'assistant', content: '{' }] })).message, /begun already/);
		const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AA==' } };
		assert.match((await refusal({ messages: [{ role: 'user', content: [image] }] })).message, /takes text only/);
		assert.match(
			(await refusal({ messages: [{ role: 'user', content: [{ type: 'document' }] }] })).message,
			/messages\[0\]\.content\[0\]\.source is of no known type; documents are told as text or content/,
		);
		const unknown = await refusal({ model: 'gpt-9' });
		assert.ok(unknown instanceof NotFoundError && unknown.type === 'not_found_error');
		const request = { model: 'scripted:demo', max_tokens: 99, messages: ask('please break') };
		const broken = await thrown(collect(await client.messages.create({ ...request, stream: true })));
		assert.deepEqual([broken.type, codeOf(broken), broken.status], ['api_error', 'WORKER_RESET', undefined]);
		assert.equal((await thrown(client.messages.create(request))).status, 502);
		const keyed = { headers: { 'Idempotency-Key': 'once-only' } };
		const first = await client.messages.create({ ...request, messages: ask('x') }, keyed);
		const again = await client.messages
			.stream({ ...request, messages: ask('x') }, keyed)
			.finalMessage()
			.catch((error: APIError) => error);
		assert.ok(again instanceof APIError ? again.status === 409 : again.id === first.id);
	});

	it('cancels its task when it aborts, whole or in a stream, waits in the queue, and is refused when that is full', async () => {
		const request = { model: 'scripted:slow', max_tokens: 1000, messages: ask('for ever') };
		const stream = client.messages.stream(request);
		stream.on('text', () => stream.abort());
		await assert.rejects(stream.done(), APIUserAbortError);
		await world.isFree('slow');
		const aborting = new AbortController();
		const whole = client.messages.create(request, { signal: aborting.signal });
		await world.isBusy('slow');
		const body = JSON.stringify({ ...request, max_tokens: 2, stream: true });
		const waiting = await fetch(`${world.daemon.url}/v1/messages`, { method: 'POST', body });
		const reader = waiting.body?.pipeThrough(new TextDecoderStream()).getReader();
		let read = '';
		while (!read.includes(': queue {')) read += (await reader?.read())?.value ?? '';
		const full = await thrown(client.messages.create(request));
		assert.ok(full instanceof RateLimitError && full.type === 'rate_limit_error');
		aborting.abort();
		await assert.rejects(whole, APIUserAbortError);
		for (let part = await reader?.read(); part?.done === false; part = await reader?.read()) read += part.value;
		assert.match(read, /event: message_stop\ndata: \{"type":"message_stop"\}\n\n$/);
		await world.isFree('slow');
	});

	it('may say what is ours alone', async () => {
		const extended = { model: 'scripted:demo', max_tokens: 3, messages: ask('x'), orchestratord: { priority: 'batch' } };
		const { response } = await client.messages.create(extended as Anthropic.MessageCreateParamsNonStreaming).withResponse();
		const task = (await (await fetch(`${world.daemon.url}/v2/tasks/${response.headers.get('x-task-id')}`)).json()) as Record<
			string,
			unknown
		>;
		assert.deepEqual([task['priority'], task['on_disconnect']], ['batch', 'cancel']);
	});
});
