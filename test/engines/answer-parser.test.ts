/** What chat models say, read as answer, thinking and calls: each format, wrong ones, and any cut into parts. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { pieceIsReasoning, pieceIsToolCall } from '../../src/actors/serving/decode.ts';
import { AnswerParser, type AnswerShape } from '../../src/engines/embedded/answer-parser.ts';
import { AnswerPieces } from '../../src/engines/embedded/answer-pieces.ts';

const tools = ['get_weather', 'add'];
const shape: AnswerShape = { thinks: false, tools, callsMax: Number.POSITIVE_INFINITY };

interface Read {
	text: string;
	thinking: string;
	calls: { id: string; name: string; arguments: string }[];
}

function readParts(parts: readonly string[], how: AnswerShape = shape): Read {
	const read: Read = { text: '', thinking: '', calls: [] };
	let ids = 0;
	const parser = new AnswerParser(
		how,
		(channel, text) => {
			if (channel === pieceIsReasoning) read.thinking += text;
			else if (channel !== pieceIsToolCall) read.text += text;
			else {
				const delta = JSON.parse(text) as { index: number; id?: string; function: { name?: string; arguments?: string } };
				const call = (read.calls[delta.index] ??= { id: '', name: '', arguments: '' });
				call.id += delta.id ?? '';
				call.name += delta.function.name ?? '';
				call.arguments += delta.function.arguments ?? '';
			}
		},
		() => `id${ids++}`,
	);
	for (const part of parts) parser.push(part);
	parser.finish();
	return read;
}

const paris = { id: 'id0', name: 'get_weather', arguments: '{"city": "Paris {}] \\"x\\" é🦊"}' };
const sum = { id: 'id1', name: 'add', arguments: '{"a": 1, "b": [2, {"c": 3}]}' };
const json = (call: typeof paris, key = 'arguments'): string => `{"name": "${call.name}", "${key}": ${call.arguments}}`;

const said: readonly (readonly [what: string, text: string, expected: Partial<Read>, how?: AnswerShape])[] = [
	['plain text', 'Hello <b>world</b> [TOOL] <tool', { text: 'Hello <b>world</b> [TOOL] <tool' }],
	['thinking', '<think>\nLet me <see>.\n</think>\n\nHello', { thinking: 'Let me <see>.\n', text: 'Hello' }],
	['thinking that the prompt began', 'Hm.</think>Hello', { thinking: 'Hm.', text: 'Hello' }, { ...shape, thinks: true }],
	['thinking without an end', '<think>Hm. </thi', { thinking: 'Hm. </thi' }],
	['thinking, Mistral', '[THINK]Hm[/THINK]Yes', { thinking: 'Hm', text: 'Yes' }],
	['a call, Hermes', `<tool_call>\n${json(paris)}\n</tool_call>`, { calls: [paris] }],
	[
		'two calls behind text, Hermes',
		`I will look.\n<tool_call>${json(paris)}</tool_call>\n<tool_call>\n${json(sum)}\n</tool_call>\n`,
		{ text: 'I will look.\n', calls: [paris, sum] },
	],
	['a call behind thinking', `<think>Hm</think>\n<tool_call>${json(paris)}</tool_call>`, { thinking: 'Hm', calls: [paris] }],
	[
		'a call whose keys are in another order',
		`<tool_call>{"arguments": {"a":1}, "name": "add"}</tool_call>`,
		{ calls: [{ id: 'id0', name: 'add', arguments: '{"a":1}' }] },
	],
	['text behind a call', `<tool_call>${json(paris)}</tool_call> done`, { text: 'done', calls: [paris] }],
	['a call, Llama', `<|python_tag|>${json(paris, 'parameters')}`, { calls: [paris] }],
	['calls without a mark, Llama', `${json(paris, 'parameters')}; ${json(sum, 'parameters')}`, { calls: [paris, sum] }],
	['a list of calls, Mistral', `[TOOL_CALLS][${json(paris)}, ${json(sum)}]`, { calls: [paris, sum] }],
	[
		'named calls, Mistral',
		`[TOOL_CALLS]get_weather[ARGS]${paris.arguments}[TOOL_CALLS]add[CALL_ID]abc123def[ARGS]${sum.arguments}`,
		{ calls: [paris, sum] },
	],
	['one call of two, where one is allowed', `[TOOL_CALLS][${json(paris)}, ${json(sum)}]`, { calls: [paris] }, { ...shape, callsMax: 1 }],
	['an answer in JSON that is no call', '{"city": "Paris", "name": "add"}', { text: '{"city": "Paris", "name": "add"}' }],
	['a call of a tool that is not there, without a mark', json({ ...paris, name: 'other' }), { text: json({ ...paris, name: 'other' }) }],
	['what is no JSON behind a mark', '<tool_call>{"name": oops}</tool_call>', { text: '<tool_call>{"name": oops}</tool_call>' }],
	['a mark without a call', 'Use <tool_call> for that', { text: 'Use <tool_call>for that' }],
	['a call that breaks off before its name', '<tool_call>{"name": "get', { text: '<tool_call>{"name": "get' }],
	[
		'a call that breaks off',
		'<tool_call>{"name": "add", "arguments": {"a": 1',
		{ calls: [{ id: 'id0', name: 'add', arguments: '{"a": 1' }] },
	],
	[
		'marks of calls, where there are no tools',
		`<tool_call>${json(paris)}</tool_call>`,
		{ text: `<tool_call>${json(paris)}</tool_call>` },
		{ ...shape, tools: [] },
	],
];

const cut = (text: string): fc.Arbitrary<string[]> =>
	fc.array(fc.nat(text.length), { maxLength: 40 }).map((cuts) => {
		const at = [0, ...cuts.sort((a, b) => a - b), text.length];
		return at.slice(1).map((end, index) => text.slice(at[index], end));
	});

describe('what a chat model says', () => {
	for (const [what, text, expected, how] of said) {
		it(`is read, however it is cut: ${what}`, () => {
			const whole = { text: '', thinking: '', calls: [], ...expected };
			assert.deepEqual(readParts([text], how), whole);
			assert.deepEqual(readParts(text.split(''), how), whole);
			fc.assert(
				fc.property(cut(text), (parts) => assert.deepEqual(readParts(parts, how), whole)),
				{ numRuns: 60 },
			);
		});
	}

	it('is read the same however it is cut, also where it is nonsense', () => {
		const scraps = fc.constantFrom(
			'<tool_call>',
			'</tool_call>',
			'<think>',
			'</think>',
			'[TOOL_CALLS]',
			'<|python_tag|>',
			'[ARGS]',
			'{',
			'}',
			'"',
			'[',
			']',
			',',
			';',
			' ',
			'\n',
			'add',
			'"name": "add", "arguments": {',
			'{"name": "add", "arguments": {}}',
			'<',
			'x',
		);
		const text = fc.array(scraps, { maxLength: 14 }).map((parts) => parts.join(''));
		fc.assert(
			fc.property(
				text.chain((whole) => fc.tuple(fc.constant(whole), cut(whole))),
				([whole, parts]) => {
					assert.deepEqual(readParts(parts), readParts([whole]));
				},
			),
			{ numRuns: 1500 },
		);
	});

	it('is told as it comes: the arguments of a call do not wait for its end', () => {
		let told = '';
		const parser = new AnswerParser(
			shape,
			(_channel, text) => (told += text),
			() => 'id0',
		);
		parser.push('<tool_call>{"name": "add", "arguments": {"a": 1');
		assert.match(told, /\\"a\\": 1/);
	});

	it('counts each of its tokens once, and tells the id of each with the piece that it is in', () => {
		const text = `<think>Hm</think>Well: <tool_call>${json(paris)}</tool_call>`;
		fc.assert(
			fc.property(cut(text), (parts) => {
				const pieces: { tokens: number; ids: readonly number[] | null }[] = [];
				const reader = new AnswerPieces(
					shape,
					(_text, tokens, _id, _logprob, ids) => pieces.push({ tokens, ids: ids ?? null }),
					() => 'id0',
				);
				for (const [id, part] of parts.entries()) reader.take(part, 1, -1, Number.NaN, [id], null);
				reader.finish();
				const counted = pieces.filter(({ ids }) => ids !== null);
				assert.deepEqual(
					counted.flatMap(({ ids }) => ids),
					parts.map((_, id) => id),
				);
				for (const { tokens, ids } of counted) assert.equal(tokens, ids?.length);
				// Without a token of its own: a thought, a text and a call at most, whose token was given out with what came before.
				assert.ok(pieces.length - counted.length <= 3);
			}),
		);
	});
});
