/** Bodies of the OpenAI paths as clients send them: what becomes of them as tasks, and what is refused. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { TaskRequest } from '../../src/actors/serving/task-request.ts';
import { openaiErrorSchema } from '../../src/transport/api/openai/answer-schemas.ts';
import { json } from './published-answers.ts';
import { startFront, type TestFront } from './test-front.ts';

const messages = [{ role: 'user', content: 'hi' }];
const tool = { type: 'function', function: { name: 'add', parameters: { type: 'object' } } };

describe('a body of the OpenAI paths', () => {
	let front: TestFront;
	before(async () => {
		front = await startFront();
	});
	after(() => front.close());

	/** The tasks that it becomes; its client leaves then. */
	async function tasksOf(path: string, body: object): Promise<readonly TaskRequest[]> {
		const known = front.tasks.requests.length;
		const leaving = new AbortController();
		const answer = await front.fetch(path, { method: 'POST', body: JSON.stringify({ ...body, stream: true }), signal: leaving.signal });
		assert.equal(answer.status, 200);
		leaving.abort();
		return front.tasks.requests.slice(known);
	}

	async function refusal(body: object, path = '/v1/chat/completions'): Promise<string> {
		const answer = await front.fetch(path, { method: 'POST', body: JSON.stringify({ model: 'default', ...body }) });
		assert.equal(answer.headers.get('x-should-retry'), 'false');
		return ((await json(answer, 400, openaiErrorSchema)) as { error: { message: string } }).error.message;
	}

	it('takes what clients send, and makes of it what a native task has', async () => {
		const [task] = await tasksOf('/v1/chat/completions', {
			model: 'default',
			messages: [
				{
					role: 'developer',
					content: [
						{ type: 'text', text: 'Be ' },
						{ type: 'text', text: 'brief.' },
					],
				},
				{
					role: 'assistant',
					content: null,
					tool_calls: [{ id: 'c', type: 'function', function: { name: 'add', arguments: '{}', parsed_arguments: {} }, index: 0 }],
					refusal: null,
					parsed: null,
					audio: null,
				},
				{ role: 'tool', tool_call_id: 'c', content: '3', name: null },
			],
			tools: [tool],
			tool_choice: { type: 'function', function: { name: 'add' } },
			parallel_tool_calls: false,
			max_completion_tokens: 9,
			stop: ['', 'END'],
			seed: -1,
			top_k: -1,
			ignore_eos: true,
			min_tokens: 3,
			user: 'me',
			metadata: { a: 'b' },
			store: true,
			service_tier: 'auto',
			functions: null,
			n: null,
			reasoning_effort: 'low',
			chat_template_kwargs: { enable_thinking: false },
			orchestratord: { priority: 'batch', session_id: '01890a5d-ac96-774b-bcce-b302099a8057' },
		});
		assert.deepEqual(task?.input, {
			kind: 'messages',
			messages: [
				{ role: 'system', content: 'Be brief.' },
				{ role: 'assistant', content: '', tool_calls: [{ id: 'c', type: 'function', function: { name: 'add', arguments: '{}' } }] },
				{ role: 'tool', content: '3', tool_call_id: 'c' },
			],
			toolUse: { tools: [tool], choice: { name: 'add' }, parallel: false },
			templateArgs: { enable_thinking: false, reasoning_effort: 'low' },
		});
		const { temperature, topP, topK, stop, ignoreEos, minTokens } = task.sampling;
		assert.deepEqual([temperature, topP, topK, stop, ignoreEos, minTokens], [1, 1, 0, ['END'], true, 3]);
		assert.deepEqual(
			[task.seed, task.maxTokens, task.priority, task.onDisconnect, task.disconnectGraceMs],
			[4_294_967_294, 9, 'batch', 'cancel', 0],
		);
	});

	it('becomes a task for each answer, of seeds that follow each other', async () => {
		const tasks = await tasksOf('/v1/completions', { model: 'default', prompt: ['a', 'b'], n: 2, seed: 4_294_967_294 });
		assert.deepEqual(
			tasks.map(({ input, seed, maxTokens }) => [input, seed, maxTokens]),
			[
				[{ kind: 'prompt', text: 'a', raw: true }, 4_294_967_294, 16],
				[{ kind: 'prompt', text: 'a', raw: true }, 0, 16],
				[{ kind: 'prompt', text: 'b', raw: true }, 4_294_967_294, 16],
				[{ kind: 'prompt', text: 'b', raw: true }, 0, 16],
			],
		);
		assert.equal(new Set(tasks.map(({ taskId }) => taskId)).size, 4);
	});

	it('may give tools whose input is a text, and leave a choice among some of its tools', async () => {
		const shout = { type: 'custom', custom: { name: 'shout', description: 'Loudly' } };
		const grammar = { type: 'grammar', grammar: { syntax: 'lark', definition: 'start: "a"' } };
		const list = { type: 'custom', custom: { name: 'list', format: grammar } };
		const ask = { model: 'default', messages, tools: [tool, shout, list] };
		const asFunction = (name: string, description: string): object => ({
			type: 'function',
			function: {
				name,
				description,
				parameters: { type: 'object', properties: { input: { type: 'string' } }, required: ['input'], additionalProperties: false },
			},
		});
		const all = [tool, asFunction('shout', 'Loudly'), asFunction('list', 'Its input is a text of this grammar (lark):\nstart: "a"')];
		const used = async (more: object) => {
			const [task] = await tasksOf('/v1/chat/completions', { ...ask, ...more });
			return task?.input.kind === 'messages' ? task.input : undefined;
		};
		assert.deepEqual((await used({}))?.toolUse, { tools: all, choice: 'auto', parallel: true });
		assert.deepEqual((await used({ tool_choice: { type: 'custom', custom: { name: 'shout' } } }))?.toolUse?.choice, { name: 'shout' });
		const some = [
			{ type: 'function', function: { name: 'add' } },
			{ type: 'custom', custom: { name: 'list' } },
		];
		const allowed = (mode: string, tools: object[]): object => ({ tool_choice: { type: 'allowed_tools', allowed_tools: { mode, tools } } });
		assert.deepEqual((await used(allowed('required', some)))?.toolUse, { tools: [all[0], all[2]], choice: 'required', parallel: true });
		const said = [
			...messages,
			{ role: 'assistant', content: null, tool_calls: [{ id: 'c', type: 'custom', custom: { name: 'shout', input: 'a "b"' } }] },
			{ role: 'tool', tool_call_id: 'c', content: 'done' },
		];
		assert.deepEqual((await used({ messages: said }))?.messages[1]?.tool_calls, [
			{ id: 'c', type: 'function', function: { name: 'shout', arguments: '{"input":"a \\"b\\""}' } },
		]);
		const none = { type: 'custom', custom: { name: 'sub' } };
		for (const [more, words] of [
			[{ tools: [{ type: 'custom' }] }, /^tools\[0\]\.custom is missing/],
			[{ tools: [{ type: 'function' }] }, /^tools\[0\]\.function is missing/],
			[{ tools: [{ type: 'web_search' }] }, /^tools\[0\]\.type is "web_search"; it must be one of function, custom/],
			[{ tools: [shout, shout] }, /^tools has two of the name shout/],
			[{ tool_choice: none }, /^tool_choice\.custom names sub, which is no custom tool of tools/],
			[{ tool_choice: { type: 'custom', custom: { name: 'add' } } }, /^tool_choice\.custom names add/],
			[allowed('auto', [some[0] as object, none]), /^tool_choice\.allowed_tools\.tools\[1\] is none of tools/],
			[{ tool_choice: { type: 'allowed_tools' } }, /^tool_choice is an object; it must be auto, none, required/],
			[
				{ messages: [{ role: 'assistant', tool_calls: [{ id: 'c', type: 'custom' }] }] },
				/^messages\[0\]\.tool_calls\[0\]\.custom is missing/,
			],
		] as const)
			assert.match(await refusal({ ...ask, ...more }), words);
	});

	it('refuses by name what it cannot do', async () => {
		let deep: object = {};
		for (let depth = 0; depth < 70; depth += 1) deep = { deep };
		const chat = (more: object): Promise<string> => refusal({ messages, ...more });
		const completion = (more: object): Promise<string> => refusal({ prompt: 'x', ...more }, '/v1/completions');
		assert.match(await chat({ temprature: 1 }), /^unknown field temprature; did you mean temperature/);
		assert.match(await chat({ functions: [] }), /^unknown field functions/);
		assert.match(await chat({ web_search_options: {} }), /^unknown field web_search_options/);
		assert.match(await chat({ modalities: ['audio'] }), /^modalities\[0\] is "audio"/);
		assert.match(await chat({ n: 65 }), /^n is 65; it must be a whole number from 1 to 64/);
		assert.match(await chat({ stop: Array(33).fill('x') }), /^stop is a list of 33; it must be a text, or a list of at most 32/);
		assert.match(
			await chat({ ignore_eos: true, response_format: { type: 'json_object' } }),
			/^ignore_eos is given with a form that the text must have, which says where it ends/,
		);
		assert.match(await chat({ min_tokens: 9, max_tokens: 8 }), /^min_tokens is 9; it must be at most max_tokens, which is 8/);
		assert.match(await chat({ top_logprobs: 2 }), /^top_logprobs is given without logprobs/);
		assert.match(await chat({ tool_choice: 'required' }), /^tool_choice is given without tools/);
		assert.match(await chat({ tools: [tool, tool] }), /^tools has two of the name add/);
		assert.match(await chat({ tools: [tool], tool_choice: { type: 'function', function: { name: 'sub' } } }), /^tool_choice names sub/);
		assert.match(
			await chat({ tools: [{ ...tool, function: { name: 'x', parameters: deep } }] }),
			/^tools\[0\].function.parameters is nested more than 64 deep/,
		);
		assert.match(
			await chat({ response_format: { type: 'json_schema', json_schema: { schema: deep } } }),
			/^response_format is nested more than 64 deep/,
		);
		assert.match(await chat({ messages: [{ role: 'tool', content: 'x' }] }), /^messages\[0\].tool_call_id is missing/);
		assert.match(await chat({ messages: [{ role: 'user' }] }), /^messages\[0\].content is missing/);
		assert.match(
			await chat({ orchestratord: { priorty: 'batch' } }),
			/^unknown field orchestratord.priorty; did you mean orchestratord.priority/,
		);
		assert.match(await completion({ prompt: [1, 2] }), /^prompt is a list of 2; .*token ids are not taken/);
		assert.match(await completion({ prompt: Array(33).fill('x'), n: 2 }), /^prompt and n ask for 66 answers/);
		assert.match(await completion({ best_of: 2 }), /^best_of is 2; it must be absent, or as n/);
		assert.match(await completion({ suffix: 'x' }), /^suffix is a text of 1 characters; it must be absent/);
		assert.match(await completion({ echo: true, logprobs: 0 }), /^echo is given with logprobs/);
		assert.match(await refusal({ input: [[1]] }, '/v1/embeddings'), /^input is a list of 1; .*token ids are not taken/);
		assert.match(await refusal({ query: 'x', documents: [] }, '/v1/rerank'), /^documents is an empty list/);
	});
});
