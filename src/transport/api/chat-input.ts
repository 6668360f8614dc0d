/**
 * Messages, tools and the choice among them, from a checked body to what engines are given; or the sentence that says what does not fit.
 * For every API that has chat messages. Pure.
 */
import type { ChatMessage, ContentPart, PromptInput, ToolCall, ToolUse } from '../../actors/serving/task-request.ts';
import type { TaskBody } from './schemas.ts';

type ChatBody = Pick<TaskBody, 'tools' | 'tool_choice' | 'parallel_tool_calls' | 'template_args'>;
type MessageBody = NonNullable<TaskBody['messages']>[number];

export function messagesInput(body: ChatBody, messages: readonly MessageBody[]): PromptInput | string {
	const toolUse = toolUseOf(body);
	if (typeof toolUse === 'string') return toolUse;
	const read: ChatMessage[] = [];
	for (const [index, message] of messages.entries()) {
		const problem = messageProblem(message, index);
		if (problem !== null) return problem;
		read.push(messageOf(message));
	}
	const input: Writable<Extract<PromptInput, { readonly kind: 'messages' }>> = { kind: 'messages', messages: read };
	if (toolUse !== null) input.toolUse = toolUse;
	if (body.template_args !== undefined) input.templateArgs = body.template_args;
	return input;
}

function messageProblem({ role, content, tool_calls: calls, tool_call_id: callId }: MessageBody, index: number): string | null {
	const at = `messages[${index}]`;
	if ((content === undefined || content === null) && calls === undefined)
		return `${at}.content is missing; it must be a text or a list of parts`;
	if (calls !== undefined && role !== 'assistant') return `${at}.tool_calls is given, but its role is ${role}; it belongs to assistant`;
	if (callId !== undefined && role !== 'tool') return `${at}.tool_call_id is given, but its role is ${role}; it belongs to tool`;
	if (role === 'tool' && callId === undefined) return `${at}.tool_call_id is missing; a message of a tool says which call it answers`;
	if (Array.isArray(content)) {
		const silent = content.findIndex((part) => part.type === 'text' && part.text === undefined);
		if (silent >= 0) return `${at}.content[${silent}].text is missing; a part of type text has one`;
	}
	return null;
}

/** `developer` is what OpenAI calls the system by now; few templates know it, and some pass over what they do not know. */
function messageOf({ role, content, name, tool_calls: calls, tool_call_id: callId }: MessageBody): ChatMessage {
	const parts: readonly ContentPart[] = Array.isArray(content) ? content : [];
	const text = typeof content === 'string' ? content : parts.map((part) => (part.type === 'text' ? part.text : '')).join('');
	const message: Writable<ChatMessage> = { role: role === 'developer' ? 'system' : role, content: text };
	if (name !== undefined) message.name = name;
	if (callId !== undefined) message.tool_call_id = callId;
	if (!parts.every(({ type }) => type === 'text')) message.parts = parts;
	if (calls !== undefined && calls.length > 0) message.tool_calls = calls.map((call): ToolCall => ({ ...call, type: 'function' }));
	return message;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

function toolUseOf({ tools, tool_choice: choice, parallel_tool_calls: parallel }: ChatBody): ToolUse | null | string {
	if (tools === undefined)
		return choice === undefined || choice === 'none' || choice === 'auto' ? null : 'tool_choice is given without tools';
	const names = tools.map((tool) => tool.function.name);
	const twice = names.find((name, index) => names.indexOf(name) !== index);
	if (twice !== undefined) return `tools has two of the name ${twice}`;
	const wanted = typeof choice === 'object' ? { name: choice.function.name } : (choice ?? 'auto');
	if (typeof wanted === 'object' && !names.includes(wanted.name)) return `tool_choice names ${wanted.name}, which is not among tools`;
	return { tools, choice: wanted, parallel: parallel ?? true };
}
