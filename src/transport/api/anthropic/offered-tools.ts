/**
 * Which tools a model is told of: those of the request, as the conversation has changed them. A tool with `defer_loading` is told once a
 * `tool_reference` or a `tool_addition` names it, one that a `tool_removal` names no more. A prompt tells tools in one place, so what
 * holds at its end holds for all of it. Pure.
 */
import { type Fields, fieldsOf, Unfit } from '../unfit.ts';
import type { MessageBody, MessagesBody } from './message-schemas.ts';

type Tool = NonNullable<MessagesBody['tools']>[number];

/** In what a system message says; they have no words. */
export const toolChanges: ReadonlySet<unknown> = new Set(['tool_addition', 'tool_removal']);

/** `check`: a tool that is defined in the conversation is one as those of the request are. */
export function offeredTools(tools: readonly Tool[], messages: readonly MessageBody[], check: (tool: unknown, at: string) => Tool): Tool[] {
	const known = new Map(tools.map((tool) => [tool.name, tool]));
	const twice = tools.find((tool) => known.get(tool.name) !== tool);
	if (twice !== undefined) throw new Unfit(`tools has two of the name ${twice.name}`);
	const offered = new Set(tools.filter((tool) => (tool as Fields)['defer_loading'] !== true).map(({ name }) => name));
	const name = (wanted: unknown, at: string): string => {
		if (typeof wanted === 'string' && known.has(wanted)) return wanted;
		throw new Unfit(`${at} names a tool that is none of this conversation`);
	};
	for (const [index, { content }] of messages.entries()) {
		if (typeof content === 'string') continue;
		for (const [place, block] of content.entries()) {
			const at = `messages[${index}].content[${place}]`;
			if (block['type'] === 'tool_result') for (const each of referencesIn(block)) offered.add(name(each, at));
			if (!toolChanges.has(block['type'])) continue;
			const {
				type,
				name: wanted,
				definition,
			} = fieldsOf((block as Fields)['tool']) as Fields & { type?: unknown; name?: unknown; definition?: unknown };
			if (type === 'tool_definition') {
				const tool = check(definition, `${at}.tool.definition`);
				known.set(tool.name, tool);
				offered.add(tool.name);
			} else if (block['type'] === 'tool_addition') offered.add(name(wanted, `${at}.tool`));
			else offered.delete(name(wanted, `${at}.tool`));
		}
	}
	return [...known.values()].filter((tool) => offered.has(tool.name));
}

function referencesIn({ content }: Fields): unknown[] {
	if (!Array.isArray(content)) return [];
	return content.map(fieldsOf).flatMap((part) => (part['type'] === 'tool_reference' ? [part['tool_name']] : []));
}
