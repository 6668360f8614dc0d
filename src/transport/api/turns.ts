/**
 * Conversations as chat templates take them: what the system says first is one message, and turns of one speaker that follow each other are
 * one. Many templates refuse, or pass over, anything else. For APIs whose clients write no prompts for a certain model. Pure.
 */
import type { TaskBody } from './schemas.ts';

type Message = NonNullable<TaskBody['messages']>[number];
type Content = NonNullable<Message['content']>;

/** Between texts that become one. */
export const betweenTexts = '\n\n';

/** What the system says in the middle of it is told in the turn of the user that it stands in. */
export function turnsOf(messages: readonly Message[]): Message[] {
	const turns: Message[] = [];
	for (const message of messages) {
		const last = turns.at(-1);
		const { role } = message;
		const system = role === 'system' || role === 'developer';
		const begins = last === undefined || last.role === 'system';
		const turn: Message = system ? { ...message, role: begins ? 'system' : 'user' } : message;
		if (last !== undefined && last.role === turn.role && turn.role !== 'tool') turns[turns.length - 1] = together(last, turn);
		else turns.push(turn);
	}
	return turns;
}

function together(one: Message, other: Message): Message {
	const calls = [...(one.tool_calls ?? []), ...(other.tool_calls ?? [])];
	return { ...one, content: joined(one.content ?? '', other.content ?? ''), ...(calls.length === 0 ? {} : { tool_calls: calls }) };
}

function joined(one: Content, other: Content): Content {
	if (typeof one === 'string' && typeof other === 'string') return [one, other].filter((text) => text !== '').join(betweenTexts);
	return [...partsOf(one), ...partsOf(other)];
}

/** A text beside parts ends as a paragraph does. */
function partsOf(content: Content): Exclude<Content, string> {
	if (typeof content !== 'string') return content;
	return content === '' ? [] : [{ type: 'text', text: content + betweenTexts }];
}
