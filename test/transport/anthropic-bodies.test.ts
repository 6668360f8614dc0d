/** Bodies of the Anthropic paths as clients send them: what becomes of them as tasks, and what is refused. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { TaskRequest } from '../../src/actors/serving/task-request.ts';
import { anthropicErrorSchema } from '../../src/transport/api/anthropic/anthropic-errors.ts';
import { json } from './published-answers.ts';
import { startFront, type TestFront } from './test-front.ts';

const messages = [{ role: 'user', content: 'hi' }];
const tool = (name: string, more: object = {}) => ({ name, input_schema: { type: 'object' }, ...more });

describe('a body of the Anthropic paths', () => {
	let front: TestFront;
	before(async () => {
		front = await startFront();
	});
	after(() => front.close());

	/** The task that it becomes; its client leaves then. */
	async function taskOf(body: object): Promise<TaskRequest> {
		const known = front.tasks.requests.length;
		const leaving = new AbortController();
		const answer = await front.fetch('/v1/messages?beta=true', {
			method: 'POST',
			body: JSON.stringify({ model: 'default', max_tokens: 9, messages, ...body, stream: true }),
			signal: leaving.signal,
		});
		assert.equal(answer.status, 200, answer.status === 200 ? '' : await answer.text());
		leaving.abort();
		return front.tasks.requests[known] as TaskRequest;
	}

	async function refusal(body: object): Promise<string> {
		const answer = await front.fetch('/v1/messages', {
			method: 'POST',
			body: JSON.stringify({ model: 'default', max_tokens: 9, messages, ...body }),
		});
		return ((await json(answer, 400, anthropicErrorSchema)) as { error: { message: string } }).error.message;
	}

	async function offered(body: object): Promise<string[]> {
		const { input } = await taskOf(body);
		return input.kind === 'messages' ? (input.toolUse?.tools ?? []).map((each) => each.function.name) : [];
	}

	it('asks for no more than max_tokens, and is no error where there is room for fewer', async () => {
		const task = await taskOf({ max_tokens: 128_000 });
		assert.deepEqual([task.maxTokens, task.outputCap], [null, 128_000]);
	});

	it('offers a tool whose loading is deferred once the conversation names it, and none that it has taken away', async () => {
		const tools = [tool('find'), tool('fetch', { defer_loading: true }), tool('placeholder', { defer_loading: true })];
		const found = [
			...messages,
			{ role: 'assistant', content: [{ type: 'tool_use', id: 'c', name: 'find', input: {} }] },
			{ role: 'user', content: [{ type: 'tool_result', tool_use_id: 'c', content: [{ type: 'tool_reference', tool_name: 'fetch' }] }] },
		];
		assert.deepEqual(await offered({ tools }), ['find']);
		assert.deepEqual(await offered({ tools, messages: found }), ['find', 'fetch']);
		const { input } = await taskOf({ tools, messages: found });
		assert.deepEqual(input.kind === 'messages' && input.messages.at(-1)?.content, 'The tool fetch can be called from now on.');
		const change = (type: string, changed: object) => ({ type, tool: changed });
		const changed = (...content: object[]) => [...found, { role: 'system', content }];
		const removal = change('tool_removal', { type: 'tool_reference', name: 'find' });
		assert.deepEqual(await offered({ tools, messages: changed(removal) }), ['fetch']);
		const addition = change('tool_addition', { type: 'tool_definition', definition: tool('new') });
		assert.deepEqual(await offered({ tools, messages: changed(removal, addition, { type: 'text', text: 'Noon.' }) }), ['fetch', 'new']);
		assert.match(
			await refusal({ tools, messages: changed(change('tool_addition', { type: 'tool_reference', name: 'gone' })) }),
			/^messages\[3\]\.content\[0\]\.tool names a tool that is none of this conversation/,
		);
		assert.match(
			await refusal({ tools, messages: changed(change('tool_addition', { type: 'tool_definition', definition: { name: 'x' } })) }),
			/^messages\[3\]\.content\[0\]\.tool\.definition: input_schema is missing/,
		);
		assert.match(await refusal({ tools: [tool('a'), tool('a')] }), /^tools has two of the name a/);
	});

	it('leaves tools out that Anthropic runs where there are others, and is refused where there are none', async () => {
		const hosted = [
			'web_search_20250305',
			'web_fetch_20250910',
			'code_execution_20250825',
			'tool_search_tool_bm25_20251119',
			'advisor_20260301',
		];
		assert.deepEqual(await offered({ tools: [tool('own'), ...hosted.map((type) => ({ type, name: type.slice(0, 10) }))] }), ['own']);
		assert.match(
			await refusal({ tools: [{ type: hosted[0], name: 'web_search' }] }),
			/^tools\[0\] is of type web_search_20250305, which nobody runs here, and there are no others/,
		);
		// A client runs these, and would wait for them.
		assert.match(await refusal({ tools: [tool('own'), { type: 'bash_20250124', name: 'bash' }] }), /^tools\[1\]/);
	});

	it('is told documents that are texts, results of searches, and what the system says in between', async () => {
		const text = { type: 'text', text: 'It rains.' };
		const { input } = await taskOf({
			messages: [
				{
					role: 'user',
					content: [
						{ type: 'document', title: 'Weather', source: { type: 'text', media_type: 'text/plain', data: 'Sun.' } },
						{ type: 'document', source: { type: 'content', content: [text] } },
						{ type: 'search_result', title: 'News', source: 'http://n', content: [text] },
						{ type: 'text', text: 'And?' },
					],
				},
				{ role: 'system', content: [{ type: 'text', text: 'It is noon.' }] },
			],
		});
		assert.deepEqual(input.kind === 'messages' && input.messages, [
			{
				role: 'user',
				content: 'Document (Weather):\n\nSun.\n\nDocument:\n\nIt rains.\n\nDocument (News, http://n):\n\nIt rains.\n\nAnd?\n\nIt is noon.',
			},
		]);
		const pdf = { type: 'document', source: { type: 'base64', media_type: 'application/pdf', data: 'AA==' } };
		assert.match(
			await refusal({ messages: [{ role: 'user', content: [pdf] }] }),
			/^messages\[0\]\.content\[0\]\.source is of type base64; documents are told as text or content, for nobody here reads files/,
		);
	});

	it('lists models in its own shape to clients that send anthropic-version, page by page', async () => {
		const headers = { 'anthropic-version': '2023-06-01' };
		const page = async (query: string): Promise<Record<string, unknown>> =>
			(await (await front.fetch(`/v1/models${query}`, { headers })).json()) as Record<string, unknown>;
		const { data, has_more: more, first_id: first, last_id: last } = await page('?limit=1');
		assert.deepEqual(
			[(data as { id: string; type: string }[]).map(({ id, type }) => [id, type]), more, first, last],
			[[['scripted:demo', 'model']], true, 'scripted:demo', 'scripted:demo'],
		);
		const second = await page('?limit=1&after_id=scripted:demo');
		assert.deepEqual([second['first_id'], second['has_more']], ['default', false]);
		assert.equal((await page('?before_id=default'))['last_id'], 'scripted:demo');
		const one = (await (await front.fetch('/v1/models/default', { headers })).json()) as Record<string, unknown>;
		assert.deepEqual([one['type'], one['display_name'], one['max_input_tokens'], one['max_tokens']], ['model', 'default', 2048, 1024]);
		const other = (await (await front.fetch('/v1/models')).json()) as Record<string, unknown>;
		assert.equal(other['object'], 'list');
	});
});
