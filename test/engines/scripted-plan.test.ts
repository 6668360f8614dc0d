/** Thoughts and calls of the scripted engine, as its prompt asks for them. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { pieceIsReasoning, pieceIsToolCall } from '../../src/actors/serving/decode.ts';
import type { PromptInput, ToolUse } from '../../src/actors/serving/task-request.ts';
import { type ScriptedPlan, scriptedPlan } from '../../src/engines/scripted/scripted-plan.ts';

const tool = (name: string, parameters?: unknown) => ({ type: 'function', function: { name, parameters } }) as const;
const tools = [
	tool('now'),
	tool('add', { type: 'object', properties: { a: { type: 'integer' }, b: { enum: ['x', 'y'] } }, required: ['a', 'b'] }),
];

const free = { jsonSchema: null };

function chat(content: string, choice: ToolUse['choice'] = 'auto', parallel = true): PromptInput {
	return { kind: 'messages', messages: [{ role: 'user', content }], toolUse: { tools, choice, parallel } };
}

function callsOf({ pieces }: ScriptedPlan): string[] {
	const calls: string[] = [];
	for (const { channel, text } of pieces) {
		if (channel !== pieceIsToolCall) continue;
		const { index, function: called } = JSON.parse(text) as { index: number; function: { name?: string; arguments: string } };
		calls[index] = `${calls[index] ?? ''}${called.name ?? ''}${called.arguments}`;
	}
	return calls;
}

describe('the scripted engine', () => {
	it('says the calls and the thoughts that its prompt asks for, and then ends', () => {
		const plan = scriptedPlan(chat('Please\nthink it over\ncall add {"a": 1, "b": "ü{}"}\ncall now {}\ncall other {}'), free);
		assert.deepEqual(
			plan.pieces.filter(({ channel }) => channel === pieceIsReasoning).map(({ text }) => text),
			['it', ' over'],
		);
		assert.deepEqual(callsOf(plan), ['add{"a": 1, "b": "ü{}"}', 'now{}']);
		assert.equal(plan.ends, 'calls');
	});

	it('makes up a call where one is required and none is written', () => {
		assert.deepEqual(callsOf(scriptedPlan(chat('Hello', 'required'), free)), ['now{}']);
		assert.deepEqual(callsOf(scriptedPlan(chat('call now {}', { name: 'add' }), free)), ['add{"a":1,"b":"x"}']);
	});

	it('calls nothing without tools, where none may be called, or behind the result of a call; one where one is allowed', () => {
		assert.deepEqual(callsOf(scriptedPlan({ kind: 'prompt', text: 'call now {}', raw: false }, free)), []);
		assert.deepEqual(callsOf(scriptedPlan(chat('call now {}', 'none'), free)), []);
		const { messages, ...rest } = chat('call now {}') as Extract<PromptInput, { kind: 'messages' }>;
		const answered: PromptInput = { ...rest, messages: [...messages, { role: 'tool', content: '12:00', tool_call_id: 'x' }] };
		assert.deepEqual(callsOf(scriptedPlan(answered, free)), []);
		assert.deepEqual(callsOf(scriptedPlan(chat('call now {}\ncall now {}', 'auto', false), free)), ['now{}']);
	});

	it('says the least JSON that a schema takes, references and choices followed, and nothing behind it', () => {
		const said = (jsonSchema: unknown, jsonObject = false): unknown => {
			const plan = scriptedPlan(chat('think well', 'none'), { jsonSchema, jsonObject });
			assert.equal(plan.ends, 'json');
			assert.ok(plan.pieces.some(({ channel }) => channel === pieceIsReasoning));
			return JSON.parse(plan.pieces.map(({ channel, text }) => (channel === 0 ? text : '')).join(''));
		};
		assert.deepEqual(said(null, true), {});
		const schema = {
			type: 'object',
			$defs: { mood: { enum: ['good', 'bad'] } },
			properties: {
				mood: { $ref: '#/$defs/mood' },
				age: { anyOf: [{ type: 'integer', minimum: 18 }, { type: 'null' }] },
				names: { type: 'array', minItems: 2, items: { type: 'string', minLength: 6 } },
				left: { type: 'string' },
			},
			required: ['mood', 'age', 'names'],
		};
		assert.deepEqual(said(schema), { mood: 'good', age: 18, names: ['text..', 'text..'] });
		const endless = { $ref: '#' };
		assert.equal(said(endless), null);
	});
});
