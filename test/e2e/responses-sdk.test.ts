/** `/v1/responses` by the official OpenAI client, against our llama.cpp, the scripted engine, and an engine elsewhere. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import OpenAI, { APIError, APIUserAbortError, BadRequestError, NotFoundError } from 'openai';
import type { FunctionTool, Response, ResponseStreamEvent, Tool } from 'openai/resources/responses/responses';
import { type SdkWorld, startSdkWorld, thrownBy } from './sdk-world.ts';

const add: FunctionTool = {
	type: 'function',
	name: 'add',
	strict: false,
	parameters: { type: 'object', properties: { a: { type: 'number' }, b: { type: 'number' } }, required: ['a', 'b'] },
};
const callAdd = 'Please\ncall add {"a": 1, "b": 2}';

async function collect(stream: AsyncIterable<ResponseStreamEvent>): Promise<ResponseStreamEvent[]> {
	const events: ResponseStreamEvent[] = [];
	for await (const each of stream) events.push(each);
	return events;
}

function typesOf(events: readonly ResponseStreamEvent[]): string[] {
	return events.map(({ type }) => type.replace('response.', '')).filter((type) => !type.endsWith('.delta'));
}

/** A response without what is each time another. */
function timeless({ id, created_at: _created, output, ...rest }: Response): unknown {
	return JSON.parse(JSON.stringify({ ...rest, output }).replaceAll(id.slice('resp_'.length), 'ID'));
}

const messageEvents = [
	'created',
	'in_progress',
	'output_item.added',
	'content_part.added',
	'output_text.done',
	'content_part.done',
	'output_item.done',
];

describe('the responses of the official OpenAI client', () => {
	let world: SdkWorld;
	let client: OpenAI;

	before(async () => {
		world = await startSdkWorld();
		client = new OpenAI({ baseURL: `${world.daemon.url}/v1`, apiKey: 'none', maxRetries: 0 });
	});
	after(() => world.stop());

	it('call functions of namespaces, and tools whose input is a text, by the names that their client gave them', async () => {
		const multiply = { ...add, name: 'multiply' };
		const tools = [
			{ type: 'namespace', name: 'math', description: 'Numbers', tools: [add, multiply] },
			{ type: 'custom', name: 'patch', description: 'Patches', format: { type: 'grammar', syntax: 'lark', definition: 'start: "x"' } },
			{ type: 'web_search' },
			multiply,
		] as Tool[];
		const input = 'Please\ncall math__multiply {"a": 2, "b": 3}\ncall patch {"input": "*** \\"x\\"\\n"}\ncall multiply {"a": 1}';
		const whole = await client.responses.create({ model: 'scripted:demo', input, tools });
		const items = whole.output.map((item) =>
			item.type === 'function_call'
				? [item.type, item.namespace, item.name, item.arguments]
				: item.type === 'custom_tool_call' && [item.type, item.name, item.input],
		);
		assert.deepEqual(items, [
			['function_call', 'math', 'multiply', '{"a": 2, "b": 3}'],
			['custom_tool_call', 'patch', '*** "x"\n'],
			['function_call', undefined, 'multiply', '{"a": 1}'],
		]);
		const events = await collect(await client.responses.create({ model: 'scripted:demo', input, tools, stream: true }));
		const callIds = (of: Response): unknown => of.output.map((item) => ('call_id' in item ? item.call_id : null));
		const completed = events.at(-1);
		assert.ok(completed?.type === 'response.completed');
		assert.deepEqual(callIds(completed.response), callIds(whole));
		const inputs = events.filter(({ type }) => type.startsWith('response.custom_tool_call_input.'));
		assert.deepEqual(
			inputs.map((event) => [event.type, 'delta' in event ? event.delta : 'input' in event && event.input]),
			[
				['response.custom_tool_call_input.delta', '*** "x"\n'],
				['response.custom_tool_call_input.done', '*** "x"\n'],
			],
		);
		// They are answered, and the model is told its calls by the names that it knows; the tool that is run elsewhere is told to nobody.
		const outputs = whole.output.map((item) => ({
			type: item.type === 'custom_tool_call' ? 'custom_tool_call_output' : 'function_call_output',
			call_id: 'call_id' in item ? item.call_id : '',
			output: 'done',
		})) as OpenAI.Responses.ResponseInputItem[];
		await client.responses.create({
			model: 'remote',
			tools,
			input: [{ role: 'user', content: 'x' }, ...(whole.output as OpenAI.Responses.ResponseInputItem[]), ...outputs],
		});
		const sent = world.upstream.lastBody as unknown as {
			tools: { function: { name: string; description?: string } }[];
			messages: { role: string; tool_calls?: { function: { name: string; arguments: string } }[] }[];
		};
		assert.deepEqual(
			sent.tools.map((tool) => tool.function.name),
			['math__add', 'math__multiply', 'patch', 'multiply'],
		);
		assert.match(sent.tools[2]?.function.description ?? '', /^Patches\n\nIts input is a text of this grammar \(lark\):\nstart: "x"$/);
		assert.deepEqual(
			sent.messages.map(({ role, tool_calls: calls }) => calls?.map(({ function: called }) => [called.name, called.arguments]) ?? role),
			[
				'user',
				[
					['math__multiply', '{"a": 2, "b": 3}'],
					['patch', '{"input":"*** \\"x\\"\\n"}'],
					['multiply', '{"a": 1}'],
				],
				'tool',
				'tool',
				'tool',
			],
		);
	});

	const refusal = (more: object): Promise<APIError> =>
		thrownBy(
			client.responses.create({ model: 'scripted:demo', input: 'x', ...more } as OpenAI.Responses.ResponseCreateParamsNonStreaming),
			APIError,
		);

	for (const model of ['default', 'scripted:demo', 'remote']) {
		it(`are read as a stream and whole, from ${model}, and again by their id`, async () => {
			const request = { model, input: 'Tell me "a" story', max_output_tokens: 12, temperature: 0, instructions: 'Be short.' };
			const events = await collect(await client.responses.create({ ...request, stream: true }));
			const ends = model === 'remote' ? 'completed' : 'incomplete';
			assert.deepEqual(typesOf(events), [...messageEvents, ends]);
			assert.deepEqual(
				events.map(({ sequence_number: sequence }) => sequence),
				events.map((_, index) => index),
			);
			const last = events.at(-1);
			assert.ok(last?.type === 'response.completed' || last?.type === 'response.incomplete');
			const streamed = last.response;
			const told = events.map((event) => (event.type === 'response.output_text.delta' ? event.delta : '')).join('');
			assert.ok(told.length > 10);
			const again = await client.responses.retrieve(streamed.id);
			assert.equal(again.output_text, told);
			assert.deepEqual({ ...again, output_text: undefined }, { ...streamed, output_text: undefined });
			const { data: whole, response } = await client.responses.create(request).withResponse();
			if (model !== 'scripted:demo') assert.deepEqual(whole.output_text, told);
			assert.equal(whole.id, `resp_${response.headers.get('x-task-id')}`);
			assert.equal(whole.status, ends);
			assert.equal(whole.usage?.total_tokens, (whole.usage?.input_tokens ?? 0) + (whole.usage?.output_tokens ?? 0));
			assert.match(response.headers.get('server-timing') ?? '', /^parse;dur=.*, total;dur=[\d.]+$/);
			if (model === 'remote') assert.deepEqual(timeless({ ...whole }), timeless({ ...again }));
			const helped = await client.responses.stream(request).finalResponse();
			// Their helper has no eye for `incomplete`.
			assert.equal(helped.status, model === 'remote' ? 'completed' : 'in_progress');
		});
	}

	for (const model of ['scripted:demo', 'remote']) {
		it(`call tools, and go on behind their results by an id, with ${model}`, async () => {
			const request = { model, input: callAdd, tools: [add] };
			const whole = await client.responses.create(request);
			assert.equal(whole.status, 'completed');
			const [call] = whole.output;
			assert.ok(call?.type === 'function_call');
			assert.deepEqual([call.name, JSON.parse(call.arguments)], ['add', { a: 1, b: 2 }]);
			const events = await collect(await client.responses.create({ ...request, stream: true }));
			assert.deepEqual(typesOf(events), [
				'created',
				'in_progress',
				'output_item.added',
				'function_call_arguments.done',
				'output_item.done',
				'completed',
			]);
			const done = events.find((event) => event.type === 'response.function_call_arguments.done');
			assert.deepEqual([done?.name, done?.arguments], ['add', call.arguments]);
			const answered = await client.responses.create({
				model,
				previous_response_id: whole.id,
				input: [{ type: 'function_call_output', call_id: call.call_id, output: '3' }],
				tools: [add],
			});
			assert.equal(answered.previous_response_id, whole.id);
			const items = (await client.responses.inputItems.list(answered.id, { order: 'asc', limit: 2 })).data;
			assert.deepEqual(
				items.map(({ type }) => type),
				['message', 'function_call'],
			);
			const all: string[] = [];
			for await (const item of client.responses.inputItems.list(answered.id, { limit: 1 })) all.push(String(item.type));
			assert.deepEqual(all, ['function_call_output', 'function_call', 'message']);
			if (model !== 'remote') return assert.ok(answered.output_text.length > 10);
			const { messages } = world.upstream.lastBody as unknown as { messages: object[] };
			assert.deepEqual(messages, [
				{ role: 'user', content: callAdd },
				{
					role: 'assistant',
					content: '',
					tool_calls: [{ id: call.call_id, type: 'function', function: { name: 'add', arguments: call.arguments } }],
				},
				{ role: 'tool', content: '3', tool_call_id: call.call_id },
			]);
		});
	}

	it('have thoughts as items of their own, and JSON of a schema', async () => {
		const events = await collect(await client.responses.create({ model: 'scripted:demo', input: 'think of it first', stream: true }));
		const thought = typesOf(events).slice(2, 7);
		assert.deepEqual(thought, ['output_item.added', 'content_part.added', 'reasoning_text.done', 'content_part.done', 'output_item.done']);
		const last = events.at(-1);
		assert.ok(last?.type === 'response.completed');
		assert.deepEqual(
			last.response.output.map((item) => (item.type === 'reasoning' ? item.content?.[0]?.text : item.type)),
			['of it first', 'message'],
		);
		assert.equal(last.response.usage?.output_tokens_details.reasoning_tokens, 3);
		const schema = { type: 'object', properties: { mood: { enum: ['good', 'bad'] } }, required: ['mood'], additionalProperties: false };
		const state = await client.responses.create({
			model: 'default',
			input: [{ role: 'user', content: [{ type: 'input_text', text: 'How are you?' }] }],
			max_output_tokens: 200,
			text: { format: { type: 'json_schema', name: 'state', schema } },
		});
		assert.ok(['good', 'bad'].includes((JSON.parse(state.output_text) as { mood: string }).mood));
	});

	it('run by themselves in the background, are followed from any event on, cancelled, and forgotten', async () => {
		const request = { model: 'scripted:slow', input: 'for ever', background: true, metadata: { of: 'mine' } };
		const begun = await client.responses.create(request);
		assert.ok(['queued', 'in_progress'].includes(begun.status ?? ''));
		assert.deepEqual([begun.background, begun.metadata, begun.output], [true, { of: 'mine' }, []]);
		const seen: ResponseStreamEvent[] = [];
		for await (const each of await client.responses.retrieve(begun.id, { stream: true })) {
			seen.push(each);
			if (seen.length === 9) break;
		}
		assert.deepEqual(typesOf(seen), ['created', 'queued', 'in_progress', 'output_item.added', 'content_part.added']);
		assert.equal((await client.responses.retrieve(begun.id)).status, 'in_progress');
		const rest: ResponseStreamEvent[] = [];
		let cancelled: Response | null = null;
		for await (const each of await client.responses.retrieve(begun.id, { stream: true, starting_after: 6 })) {
			rest.push(each);
			if (rest.length === 2) cancelled = await client.responses.cancel(begun.id);
		}
		assert.deepEqual(rest.slice(0, 2), seen.slice(7, 9));
		assert.equal(rest.at(-1)?.type, 'response.failed');
		assert.equal(cancelled?.status, 'cancelled');
		assert.equal((await client.responses.cancel(begun.id)).status, 'cancelled');
		await world.isFree('slow');
		await client.responses.delete(begun.id);
		await assert.rejects(client.responses.retrieve(begun.id), NotFoundError);
		const behind = await refusal({ previous_response_id: begun.id });
		assert.ok(behind instanceof NotFoundError);
		assert.deepEqual([behind.code, behind.param], ['NOT_FOUND', 'previous_response_id']);
		assert.match(behind.message, /of which nothing is kept \(any more\).*tasks\.retention_ms.*send what was said before as input$/);
	});

	it('are told the same each time they are followed, also behind any of their events', async () => {
		const events = await collect(await client.responses.create({ model: 'scripted:demo', input: 'x', stream: true }));
		const [first] = events;
		assert.ok(first?.type === 'response.created');
		for (const after of [0, 5, events.length - 2, events.length + 5]) {
			const later = await collect(await client.responses.retrieve(first.response.id, { stream: true, starting_after: after }));
			assert.deepEqual(later, events.slice(after + 1));
		}
	});

	it('are not kept where they are not to be', async () => {
		const unkept = await client.responses.create({ model: 'scripted:demo', input: 'x', store: false });
		await assert.rejects(client.responses.retrieve(unkept.id), NotFoundError);
		await assert.rejects(client.responses.retrieve('resp_1'), NotFoundError);
	});

	it('throw the errors that fit, with our code, before a stream, and fail in one', async () => {
		const wrong = await refusal({ temperature: 'hot' });
		assert.ok(wrong instanceof BadRequestError);
		assert.deepEqual([wrong.code, wrong.type, wrong.param], ['INVALID_PARAMS', 'invalid_request_error', 'temperature']);
		assert.match((await refusal({ inputs: 'x' })).message, /unknown field inputs; did you mean input/);
		assert.match(
			(await refusal({ tools: [{ type: 'web_search' }] })).message,
			/tools\[0\] is of type web_search, which nobody runs here, and there are no others/,
		);
		assert.match(
			(await refusal({ tools: [add, { type: 'local_shell' }] })).message,
			/tools\[1\]\.type is "local_shell"; it must be one of/,
		);
		assert.match((await refusal({ background: true, store: false })).message, /what runs by itself is kept/);
		assert.match((await refusal({ input: [{ type: 'item_reference', id: 'x' }] })).message, /input\[0\] is an item of type item_reference/);
		const image = { role: 'user', content: [{ type: 'input_image', image_url: 'data:image/png;base64,AA==', detail: 'auto' }] };
		assert.match((await refusal({ input: [image] })).message, /takes text only/);
		assert.ok((await refusal({ model: 'gpt-9' })) instanceof NotFoundError);
		assert.equal((await refusal({ input: 'please break' })).status, 502);
		const events = await collect(await client.responses.create({ model: 'scripted:demo', input: 'please break', stream: true }));
		const last = events.at(-1);
		assert.ok(last?.type === 'response.failed');
		assert.deepEqual([last.response.status, last.response.error?.code as string], ['failed', 'WORKER_RESET']);
		const keyed = { headers: { 'Idempotency-Key': 'the same response' } };
		const first = await client.responses.create({ model: 'scripted:demo', input: 'x' }, keyed);
		const second = await client.responses.create({ model: 'scripted:demo', input: 'x' }, keyed);
		assert.deepEqual(second, first);
	});

	it('are cancelled when their client aborts, whole or in a stream', async () => {
		const stream = await client.responses.create({ model: 'scripted:slow', input: 'for ever', stream: true });
		for await (const each of stream) if (each.type === 'response.output_text.delta') stream.controller.abort();
		await world.isFree('slow');
		const aborting = new AbortController();
		const whole = client.responses.create({ model: 'scripted:slow', input: 'for ever' }, { signal: aborting.signal });
		await world.isBusy('slow');
		aborting.abort();
		await assert.rejects(whole, APIUserAbortError);
		await world.isFree('slow');
	});
});
