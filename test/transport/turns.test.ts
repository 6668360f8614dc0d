/** Conversations of any shape as the turns that chat templates take. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { turnsOf } from '../../src/transport/api/turns.ts';

type Message = Parameters<typeof turnsOf>[0][number];

const word = fc.stringMatching(/^[a-z]{1,5}$/);
const content: fc.Arbitrary<Message['content']> = fc.oneof(
	word,
	fc.constant(''),
	fc.array(
		fc.oneof(
			word.map((text) => ({ type: 'text', text })),
			fc.constant({ type: 'image_url' }),
		),
		{ minLength: 1, maxLength: 3 },
	),
);
const message: fc.Arbitrary<Message> = fc.oneof(
	fc.record({ role: fc.constantFrom('system', 'developer', 'user', 'assistant'), content }) as fc.Arbitrary<Message>,
	word.map((said): Message => ({ role: 'tool', content: said, tool_call_id: 'c' })),
	word.map((id): Message => ({ role: 'assistant', content: '', tool_calls: [{ id, function: { name: 'f', arguments: '{}' } }] })),
);

/** What is said, in its order, without what is between. */
function saidBy(messages: readonly Message[]): string[] {
	const texts = messages.flatMap(({ content: said, tool_calls: calls }) => [
		...(typeof said === 'string' ? [said] : (said ?? []).map(({ type, text }) => (type === 'text' ? String(text) : type))),
		...(calls ?? []).map(({ id }) => id),
	]);
	return texts.flatMap((text) => text.split('\n\n')).filter((text) => text !== '');
}

test('whatever is said is said once and in its order, the system first and no speaker twice in a row', () => {
	fc.assert(
		fc.property(fc.array(message, { maxLength: 12 }), (messages) => {
			const turns = turnsOf(messages);
			const roles = turns.map(({ role }) => role);
			assert.ok(roles.slice(1).every((role) => role !== 'system' && role !== 'developer'));
			assert.ok(
				roles.every((role, index) => role === 'tool' || role !== roles[index - 1]),
				roles.join(),
			);
			// Calls stand behind the text of their turn.
			assert.deepEqual(saidBy(turns).sort(), saidBy(messages).sort());
			const texts = (of: readonly Message[]): string[] => saidBy(of.map(({ tool_calls: _calls, ...rest }) => rest));
			assert.deepEqual(texts(turns), texts(messages));
		}),
	);
});

test('what the system says in the middle is told in the turn of the user that it stands in', () => {
	const picture: Message = { role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } } as { type: string }] };
	assert.deepEqual(
		turnsOf([
			{ role: 'developer', content: 'Be brief.' },
			{ role: 'system', content: 'Be kind.' },
			{ role: 'user', content: 'one' },
			{ role: 'user', content: 'two' },
			{ role: 'system', content: 'It is noon.' },
			{ role: 'assistant', content: 'three' },
			{ role: 'tool', content: '4', tool_call_id: 'c' },
			{ role: 'system', content: 'It is one.' },
			picture,
		]),
		[
			{ role: 'system', content: 'Be brief.\n\nBe kind.' },
			{ role: 'user', content: 'one\n\ntwo\n\nIt is noon.' },
			{ role: 'assistant', content: 'three' },
			{ role: 'tool', content: '4', tool_call_id: 'c' },
			{
				role: 'user',
				content: [
					{ type: 'text', text: 'It is one.\n\n' },
					{ type: 'image_url', image_url: { url: 'x' } },
				],
			},
		],
	);
});
