/** What an OpenAI endpoint says beside its answer: thoughts and calls of tools, in the ways of those who speak its API. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { pieceIsReasoning, pieceIsToolCall } from '../../src/actors/serving/decode.ts';
import type { PromptInput } from '../../src/actors/serving/task-request.ts';
import { formatUpstream } from '../../src/engines/upstream/upstream-address.ts';
import { UpstreamDecodePort } from '../../src/engines/upstream/upstream-decode-port.ts';
import { upstreamAdapters } from '../../src/engines/upstream-adapters.ts';
import { replicaFacts } from '../serving/task-requests.ts';
import { generate, type SeenTask } from './decode-world.ts';
import { chunk, eventsHead, RawUpstream } from './raw-upstream.ts';

// openapi.yaml of github.com/openai/openai-openapi: CreateChatCompletionStreamResponse with ChatCompletionMessageToolCallChunk. Thoughts stand in
// `reasoning_content` (api-docs.deepseek.com, "Reasoning Model") or `reasoning` (docs.vllm.ai, "Reasoning Outputs"; openrouter.ai/docs).
const delta = (said: object, finish: string | null = null): string =>
	chunk(`data: ${JSON.stringify({ id: 'c', choices: [{ index: 0, delta: said, finish_reason: finish }] })}\n\n`);
const call = (index: number, called: object, id?: string): object => ({
	tool_calls: [{ index, ...(id === undefined ? {} : { id, type: 'function' }), function: called }],
});
const done = `${chunk('data: [DONE]\n\n')}0\r\n\r\n`;

const tool = { type: 'function', function: { name: 'add', parameters: { type: 'object' } } } as const;
const image = { type: 'image_url', image_url: { url: 'data:image/png;base64,AA==' } };
const input: PromptInput = {
	kind: 'messages',
	messages: [
		{ role: 'user', content: 'What?', parts: [{ type: 'text', text: 'What?' }, image] },
		{ role: 'assistant', content: '', tool_calls: [{ id: 'c1', type: 'function', function: { name: 'add', arguments: '{}' } }] },
		{ role: 'tool', content: '3', tool_call_id: 'c1' },
	],
	toolUse: { tools: [tool], choice: { name: 'add' }, parallel: false },
	templateArgs: { reasoning_effort: 'low', enable_thinking: true },
};

describe('thoughts and calls of an OpenAI endpoint', () => {
	const server = new RawUpstream();
	const port = new UpstreamDecodePort(upstreamAdapters);
	let address = '';
	before(async () => {
		address = formatUpstream({
			engine: 'openai',
			url: await server.listen(),
			key: null,
			model: 'm',
			connectMs: 2_000,
			found: { dialect: 'vllm' },
		});
	});
	after(async () => {
		port.close();
		await server.close();
	});
	const ask = (): Promise<SeenTask> => generate(port, { ...replicaFacts, replicaId: 'up-0', engine: 'openai', address }, { input });

	const deltas = [
		delta({ role: 'assistant', content: null }),
		delta({ reasoning_content: 'Hm', content: null }),
		delta({ reasoning_content: ', "so', content: null }),
		delta({ reasoning: '.' }),
		delta({ content: 'I ' }),
		delta({ content: 'add' }),
		delta({ content: '!', ...call(0, { name: 'add', arguments: '' }, 'c2') }),
		delta({ content: '!', ...call(0, { name: 'add', arguments: '' }, 'c2') }),
		delta(call(0, { arguments: '{"a":' })),
		delta(call(0, { arguments: '1}' })),
		delta({ content: 'ed', reasoning: 'So' }),
		delta({}, 'tool_calls'),
	];

	it('are told as what they are, wherever the answer is cut', async () => {
		const whole = Buffer.from(`${eventsHead}${deltas.join('')}${done}`);
		for (let cutAt = eventsHead.length; cutAt < whole.length; cutAt += 7) {
			server.answer = ({ socket }) => {
				socket.write(whole.subarray(0, cutAt), () => setImmediate(() => socket.write(whole.subarray(cutAt))));
			};
			const task = await ask();
			const said = (channel: number): string[] => task.pieces.filter((piece) => piece.channel === channel).map(({ text }) => text);
			assert.equal(said(pieceIsReasoning).join(''), 'Hm, "so.So');
			assert.equal(said(0).join(''), 'I add!!ed');
			assert.deepEqual(
				said(pieceIsToolCall).map((text) => JSON.parse(text) as unknown),
				[
					{ index: 0, id: 'c2', type: 'function', function: { name: 'add', arguments: '' } },
					{ index: 0, id: 'c2', type: 'function', function: { name: 'add', arguments: '' } },
					{ index: 0, function: { arguments: '{"a":' } },
					{ index: 0, function: { arguments: '1}' } },
				],
			);
			assert.ok(task.end?.type === 'decode-ended' && task.end.finishReason === 'tool_calls');
			// A delta is a token, whatever it holds: ten of these have some text.
			assert.deepEqual([task.tokens, task.usage.tokensOut], [10, 10]);
		}
	});

	it('are asked for in its own words, images and earlier calls included', async () => {
		server.answer = ({ socket }) => void socket.write(`${eventsHead}${delta({ content: 'x' }, 'stop')}${done}`);
		await ask();
		const body = server.lastBody;
		assert.deepEqual(body['messages'], [
			{ role: 'user', content: [{ type: 'text', text: 'What?' }, image] },
			{ role: 'assistant', content: '', tool_calls: [{ id: 'c1', type: 'function', function: { name: 'add', arguments: '{}' } }] },
			{ role: 'tool', content: '3', tool_call_id: 'c1' },
		]);
		assert.deepEqual(body['tools'], [tool]);
		assert.deepEqual(body['tool_choice'], { type: 'function', function: { name: 'add' } });
		assert.deepEqual([body['parallel_tool_calls'], body['reasoning_effort']], [false, 'low']);
		assert.deepEqual(body['chat_template_kwargs'], { enable_thinking: true });
	});
});
