/** Items of `/v1/responses`: what was said, as messages for a model; and what a task has said, as items. Pure. */
import type { Segment } from '../answer.ts';
import type { TaskBody } from '../schemas.ts';
import { type Fields, fieldsOf, textField, typeNamed, Unfit } from '../unfit.ts';

import { callItem, callOf, type ToolTable } from './response-tools.ts';

type NativeMessage = NonNullable<TaskBody['messages']>[number];
export type ItemStatus = 'in_progress' | 'completed' | 'incomplete';

const roles: ReadonlySet<unknown> = new Set(['user', 'assistant', 'system', 'developer']);

/** As it is kept and listed: with an id, its content as parts. */
export function storedItems(input: string | readonly Fields[], taskId: string): readonly Fields[] {
	const items: readonly Fields[] = typeof input === 'string' ? [{ role: 'user', content: input }] : input;
	return items.map((item, index) => {
		const { id, type = 'message', content, role } = item;
		const part = role === 'assistant' ? { type: 'output_text', annotations: [] } : { type: 'input_text' };
		return {
			...item,
			id: typeof id === 'string' ? id : `item_${taskId}_${index}`,
			type,
			...(type === 'message' ? { status: 'completed' } : {}),
			...(typeof content === 'string' ? { content: [{ ...part, text: content }] } : {}),
		};
	});
}

/** What the model is told of them; the calls of one turn are one message. */
export function messagesOf(items: readonly Fields[]): NativeMessage[] {
	const messages: NativeMessage[] = [];
	for (const [index, item] of items.entries()) {
		const at = `input[${index}]`;
		switch (item['type']) {
			case 'message':
				messages.push(messageOf(item, at));
				break;
			case 'function_call':
			case 'custom_tool_call': {
				const call = callOf(item, at);
				const last = messages.at(-1);
				if (last?.role === 'assistant') messages[messages.length - 1] = { ...last, tool_calls: [...(last.tool_calls ?? []), call] };
				else messages.push({ role: 'assistant', content: '', tool_calls: [call] });
				break;
			}
			case 'function_call_output':
			case 'custom_tool_call_output': {
				const { output } = item;
				const content = typeof output === 'string' ? output : contentOf(output, `${at}.output`);
				messages.push({ role: 'tool', content, tool_call_id: textField(item, 'call_id', at) });
				break;
			}
			case 'reasoning':
				// Models are not told again what they thought.
				break;
			default:
				throw new Unfit(
					`${at} is an item ${typeNamed(item['type'])}; known are message, function_call and custom_tool_call with their outputs, and reasoning`,
				);
		}
	}
	return messages;
}

function messageOf({ role, content }: Fields, at: string): NativeMessage {
	if (!roles.has(role)) throw new Unfit(`${at}.role is none of user, assistant, system, developer`);
	return { role: role as NativeMessage['role'], content: contentOf(content, `${at}.content`) };
}

function contentOf(content: unknown, at: string): NonNullable<NativeMessage['content']> {
	if (!Array.isArray(content)) throw new Unfit(`${at} is neither a text nor a list of parts`);
	const parts = content.map((part: unknown, index) => partOf(fieldsOf(part), `${at}[${index}]`));
	if (parts.every(({ type }) => type === 'text')) return parts.map(({ text }) => text as string).join('');
	return parts as NonNullable<NativeMessage['content']>;
}

/** As the chat API has it; engines that take no images refuse them. */
function partOf(part: Fields, at: string): Fields {
	switch (part['type']) {
		case 'input_text':
		case 'output_text':
		case 'text':
			return { type: 'text', text: textField(part, 'text', at) };
		case 'refusal':
			return { type: 'text', text: textField(part, 'refusal', at) };
		case 'input_image':
			return { type: 'image_url', image_url: { url: textField(part, 'image_url', at) } };
		default:
			throw new Unfit(`${at} is a part ${typeNamed(part['type'])}; models here are told texts, and images where they take them`);
	}
}

export function itemId({ kind }: Pick<Segment, 'kind'>, index: number, taskId: string): string {
	return `${kind === 'text' ? 'msg' : kind === 'call' ? 'fc' : 'rs'}_${taskId}_${index}`;
}

/** A segment as an item of the output. `in_progress`: before anything of it is said. */
export function outputItem(segment: Segment, index: number, taskId: string, status: ItemStatus, known: ToolTable['known']): Fields {
	const id = itemId(segment, index, taskId);
	if (segment.kind === 'call') return callItem(segment, id, status, known);
	const content = status === 'in_progress' ? [] : [outputPart(segment)];
	if (segment.kind === 'text') return { id, type: 'message', status, role: 'assistant', content };
	return { id, type: 'reasoning', status, summary: [], content };
}

export function outputPart({ kind, text }: Extract<Segment, { readonly kind: 'text' | 'reasoning' }>): Fields {
	return kind === 'text' ? { type: 'output_text', annotations: [], logprobs: [], text } : { type: 'reasoning_text', text };
}

/** What an ended task has said. `cut`: its last item is not whole. */
export function outputItems(segments: readonly Segment[], taskId: string, cut: boolean, known: ToolTable['known']): readonly Fields[] {
	return segments.map((segment, index) =>
		outputItem(segment, index, taskId, cut && index === segments.length - 1 ? 'incomplete' : 'completed', known),
	);
}
