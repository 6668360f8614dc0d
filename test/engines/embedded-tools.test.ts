/** Tools and thinking with the real llama.cpp: a model that says a call, templates that know of tools, calls that are required. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { pieceIsReasoning, pieceIsToolCall } from '../../src/actors/serving/decode.ts';
import type { Tool, ToolUse } from '../../src/actors/serving/task-request.ts';
import type { LlamaBackend } from '../../src/engines/embedded/llama-backend.ts';
import { goldenTemplate } from '../fixtures/golden-gguf.ts';
import { generate, type Outcome, openBackend, testFolder } from './embedded-world.ts';

const folder = testFolder();
after(() => folder.remove());

const toolTemplate = `${goldenTemplate.replace('{% for', '{% if tools %}<|system|>Tools: {{ tools | tojson }} call as <tool_call>{% endif %}{% for')}<think>`;
const weather: Tool = {
	type: 'function',
	function: {
		name: 'get_weather',
		description: 'Of <|end|> a city',
		parameters: {
			type: 'object',
			properties: { unit: { $ref: '#/$defs/unit' } },
			required: ['unit'],
			$defs: { unit: { enum: ['C', 'F'] } },
		},
	},
};
const words = [
	'Hm',
	'.',
	'</think>',
	'<tool_call>',
	'{"name": "get_weather",',
	' "arguments":',
	' {"city":',
	' "Rome"',
	'}}',
	'</tool_call>',
];

function chat(
	choice: ToolUse['choice'],
	tools: readonly Tool[] = [weather],
): { readonly kind: 'messages'; readonly messages: readonly [{ role: string; content: string }]; readonly toolUse: ToolUse } {
	return { kind: 'messages', messages: [{ role: 'user', content: 'Rome?' }], toolUse: { tools, choice, parallel: true } };
}

function said({ pieces }: Outcome, channel: number): string {
	return pieces.flatMap((piece) => (piece.channel === channel ? [piece.text] : [])).join('');
}

function called(outcome: Outcome): { name: string; arguments: unknown } {
	const deltas = outcome.pieces
		.filter(({ channel }) => channel === pieceIsToolCall)
		.map(({ text }) => JSON.parse(text) as { index: number; id?: string; function: { name?: string; arguments: string } });
	assert.match(deltas[0]?.id ?? '', /^[A-Za-z0-9]{9}$/);
	assert.ok(deltas.every(({ index }) => index === 0));
	return { name: deltas[0]?.function.name ?? '', arguments: JSON.parse(deltas.map((delta) => delta.function.arguments).join('')) };
}

describe('a model that was taught to call tools', () => {
	let backend: LlamaBackend;
	before(async () => {
		backend = await openBackend(
			folder.golden({ chatTemplate: toolTemplate, words, keys: { 'llama.context_length': { type: 'u32', value: 1024 } } }),
		);
	});
	after(() => backend.close());

	it('thinks and calls: both are told as what they are, every token once', async () => {
		const outcome = await generate(backend, chat('auto'));
		assert.equal(outcome.end, 'tool_calls');
		assert.equal(said(outcome, pieceIsReasoning), 'Hm.');
		assert.equal(said(outcome, 0), '');
		assert.deepEqual(called(outcome), { name: 'get_weather', arguments: { city: 'Rome' } });
		assert.equal(outcome.usage?.tokensOut, words.length);
		assert.equal(
			outcome.pieces.reduce((sum, { tokens }) => sum + tokens, 0),
			words.length,
		);
	});

	it('goes on behind any piece of its thinking, where no tools are given', async () => {
		const input = { kind: 'messages', messages: [{ role: 'user', content: 'Rome?' }] } as const;
		const whole = await generate(backend, input, { tellIds: true });
		assert.equal(said(whole, pieceIsReasoning), 'Hm.');
		assert.match(said(whole, 0), /^<tool_call>/);
		for (let cut = 0; cut <= whole.pieces.length; cut += 1) {
			const resume = whole.pieces.slice(0, cut).flatMap(({ ids }) => ids);
			const rest = await generate(backend, input, { tellIds: true, resume });
			assert.deepEqual(rest.pieces, whole.pieces.slice(cut), String(cut));
		}
	});

	it('has to call where that is asked for, in the form of the tool, whatever it would have said', async () => {
		for (const choice of ['required', { name: 'get_weather' }] as const) {
			const outcome = await generate(backend, chat(choice), { maxTokens: 300 });
			assert.equal(outcome.end, 'tool_calls');
			const call = called(outcome);
			assert.equal(call.name, 'get_weather');
			assert.match(JSON.stringify(call.arguments), /^\{"unit":"[CF]"\}$/);
		}
	});

	it('is given no tools where none may be called, and its prompt counts those that are given', async () => {
		const none = await generate(backend, chat('none'));
		assert.equal(none.end, 'stop');
		assert.match(said(none, 0), /^<tool_call>/);
		const auto = await generate(backend, chat('auto'));
		assert.ok(auto.tokensIn > none.tokensIn + 50);
		assert.equal(await backend.count(chat('auto')), auto.tokensIn);
	});

	it('takes a call and its result back into the conversation', async () => {
		const { kind, toolUse } = chat('auto');
		const call = { id: 'abcdefghi', type: 'function', function: { name: 'get_weather', arguments: '{"unit": "C"}' } } as const;
		const messages = [
			{ role: 'user', content: 'Rome?' },
			{ role: 'assistant', content: '', tool_calls: [call] },
			{ role: 'tool', content: '21', tool_call_id: 'abcdefghi' },
		];
		assert.equal((await generate(backend, { kind, toolUse, messages })).end, 'tool_calls');
	});

	it('refuses tools beside a schema for the answer, and tools of which no grammar can be made', async () => {
		const both = await generate(backend, chat('auto'), { jsonSchema: { type: 'object' } });
		assert.match(both.failure?.message ?? '', /tools are given with a grammar or a JSON schema/);
		const strange: Tool = {
			type: 'function',
			function: { name: 'x', parameters: { type: 'object', properties: { a: { type: 'string', pattern: 'x' } } } },
		};
		const outcome = await generate(backend, chat('required', [strange]));
		assert.match(outcome.failure?.message ?? '', /^tools cannot be used: .*pattern/);
	});
});

describe('a model that was taught no tools', () => {
	it('refuses them by its name', async () => {
		const backend = await openBackend(folder.golden({ chatTemplate: goldenTemplate }));
		const { failure } = await generate(backend, chat('auto'));
		assert.match(failure?.message ?? '', /tools are given; the chat template of golden has no place for any/);
		assert.equal(backend.facts.features.includes('tools'), false);
		await backend.close();
	});
});
