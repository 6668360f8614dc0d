/**
 * From a checked body of the Anthropic paths to the body of a native task. Pure. Blocks of text that stand side by side become one text; what a block
 * would say that no model here is told is refused by its type.
 */
import { checkerOf } from '../field-problems.ts';
import { type Parsed, refused } from '../json-body.ts';
import { extendedBody } from '../openai/chat-request.ts';
import type { TaskBody } from '../schemas.ts';
import { betweenTexts, turnsOf } from '../turns.ts';
import { type Fields, fieldsOf, fitting, textField, typeNamed, Unfit } from '../unfit.ts';
import { type CountTokensBody, type MessageBody, type MessagesBody, toolSchema } from './message-schemas.ts';
import { offeredTools, toolChanges } from './offered-tools.ts';

export interface MessagesRequest {
	readonly model: string;
	readonly body: TaskBody;
	readonly stream: boolean;
	/** Whether thoughts are told. */
	readonly thinking: boolean;
}

type NativeMessage = NonNullable<TaskBody['messages']>[number];

/** A line with a number that is new each time, for the bill: it would keep every prompt from the caches. */
const billing = /^x-anthropic-billing-header:[^\n]*\n?/;

export function messagesRequest(body: MessagesBody): Parsed<MessagesRequest> {
	const { thinking, stop_sequences: stop } = body;
	const native = promptBody(body);
	if (!native.ok) return native;
	return {
		ok: true,
		value: {
			model: body.model,
			body: {
				...native.value,
				max_tokens: body.max_tokens,
				sampling: {
					...native.value.sampling,
					temperature: body.temperature ?? 1,
					top_p: body.top_p ?? 1,
					top_k: body.top_k ?? 0,
					...(stop === undefined || stop.length === 0 ? {} : { stop }),
				},
			},
			stream: body.stream === true,
			thinking: thinking !== undefined && thinking.type !== 'disabled' && thinking.display !== 'omitted',
		},
	};
}

/** What decides on the prompt. */
export function promptBody(body: MessagesBody | CountTokensBody): Parsed<TaskBody> {
	const { tool_choice: choice, output_config: output, thinking } = body;
	const offered = fitting(() => offeredTools(body.tools ?? [], body.messages, checkedTool));
	if (!offered.ok) return offered;
	const tools = offered.value;
	if (tools.length === 0 && (choice?.type === 'any' || choice?.type === 'tool')) return refused('tool_choice is given without tools');
	const format = output?.format ?? body.output_format;
	const effort = output?.effort;
	const templateArgs = {
		...(thinking === undefined ? {} : { enable_thinking: thinking.type !== 'disabled' }),
		...(effort === undefined || effort === null ? {} : { reasoning_effort: effort }),
	};
	return fitting(() => ({
		...extendedBody(body.model, body.orchestratord),
		messages: turnsOf([...systemMessages(body.system), ...conversation(body.messages)]),
		...(tools.length === 0 ? {} : toolFields(tools, choice)),
		...(Object.keys(templateArgs).length === 0 ? {} : { template_args: templateArgs }),
		sampling: format === undefined || format === null ? {} : { json_schema: format.schema },
	}));
}

const checkTool = checkerOf(toolSchema);

function checkedTool(tool: unknown, at: string): NonNullable<MessagesBody['tools']>[number] {
	const checked = checkTool(tool);
	if (!checked.ok) throw new Unfit(`${at}: ${checked.failure.message}`);
	return checked.value;
}

function toolFields(tools: NonNullable<MessagesBody['tools']>, choice: MessagesBody['tool_choice']): Partial<TaskBody> {
	const parallel = choice === undefined || choice.type === 'none' || choice.disable_parallel_tool_use !== true;
	return {
		tools: tools.map(({ name, description, input_schema: parameters, strict }) => ({
			type: 'function',
			function: { name, ...(description === undefined ? {} : { description }), parameters, ...(strict === undefined ? {} : { strict }) },
		})),
		...(choice === undefined ? {} : { tool_choice: toolChoiceOf(choice) }),
		...(parallel ? {} : { parallel_tool_calls: false }),
	};
}

function toolChoiceOf(choice: NonNullable<MessagesBody['tool_choice']>): NonNullable<TaskBody['tool_choice']> {
	if (choice.type === 'tool') return { type: 'function', function: { name: choice.name } };
	return choice.type === 'any' ? 'required' : choice.type;
}

function systemMessages(system: MessagesBody['system']): NativeMessage[] {
	const blocks = typeof system === 'string' ? [system] : (system ?? []).map((block, index) => textOf(block, `system[${index}]`));
	const content = blocks
		.map((text, index) => (index === 0 ? text.replace(billing, '') : text))
		.filter((text) => text !== '')
		.join(betweenTexts);
	return content === '' ? [] : [{ role: 'system', content }];
}

function conversation(messages: readonly MessageBody[]): NativeMessage[] {
	if (messages.at(-1)?.role === 'assistant')
		throw new Unfit('messages ends with one of assistant; an answer that is begun already is not gone on with here');
	return messages.flatMap(({ role, content }, index) => {
		if (typeof content === 'string') return [{ role, content }];
		return role === 'assistant' ? [assistantMessage(content, index)] : userMessages(role, content, index);
	});
}

/** Results of tools are messages of their own, in the order in which they stand. */
function userMessages(role: 'user' | 'system', blocks: readonly Fields[], message: number): NativeMessage[] {
	const messages: NativeMessage[] = [];
	let run: Fields[] = [];
	const flush = (): void => {
		if (run.length > 0) messages.push({ role, content: contentOf(run) });
		run = [];
	};
	for (const [index, block] of blocks.entries()) {
		const at = `messages[${message}].content[${index}]`;
		if (toolChanges.has(block['type'])) continue;
		if (block['type'] !== 'tool_result') {
			run.push(...partsOf(block, at));
			continue;
		}
		flush();
		const { content = '' } = block;
		const parts = Array.isArray(content) ? content.flatMap((part: unknown, each) => partsOf(part, `${at}.content[${each}]`)) : null;
		if (parts === null && typeof content !== 'string') throw new Unfit(`${at}.content is neither a text nor a list of blocks`);
		messages.push({
			role: 'tool',
			content: parts === null ? (content as string) : contentOf(parts),
			tool_call_id: textField(block, 'tool_use_id', at),
		});
	}
	flush();
	return messages;
}

function assistantMessage(blocks: readonly Fields[], message: number): NativeMessage {
	let text = '';
	const calls: NonNullable<NativeMessage['tool_calls']> = [];
	for (const [index, block] of blocks.entries()) {
		const at = `messages[${message}].content[${index}]`;
		const { type, input = {} } = block;
		// Models are not told again what they thought.
		if (type === 'thinking' || type === 'redacted_thinking') continue;
		if (type !== 'tool_use') text += textOf(block, at);
		else
			calls.push({
				id: textField(block, 'id', at),
				function: { name: textField(block, 'name', at), arguments: JSON.stringify(input) },
			});
	}
	return { role: 'assistant', content: text, ...(calls.length === 0 ? {} : { tool_calls: calls }) };
}

function contentOf(parts: readonly Fields[]): NonNullable<NativeMessage['content']> {
	if (parts.every(({ type }) => type === 'text')) return parts.map(({ text }) => text as string).join(betweenTexts);
	return parts as NonNullable<NativeMessage['content']>;
}

/** Texts, and images as the chat API of OpenAI has them; engines that take no images refuse them. */
function partsOf(block: unknown, at: string): Fields[] {
	const fields = fieldsOf(block);
	switch (fields['type']) {
		case 'image':
			return [{ type: 'image_url', image_url: { url: imageUrl(fieldsOf(fields['source']), `${at}.source`) } }];
		case 'tool_reference':
			return [{ type: 'text', text: `The tool ${textField(fields, 'tool_name', at)} can be called from now on.` }];
		case 'document':
			return [titled(fields, ['title', 'context']), ...documentParts(fieldsOf(fields['source']), `${at}.source`)];
		case 'search_result':
			return [titled(fields, ['title', 'source']), ...listOf(fields['content'], at).flatMap((part) => partsOf(part, `${at}.content`))];
		default:
			return [{ type: 'text', text: textOf(fields, at) }];
	}
}

function imageUrl(source: Fields, at: string): string {
	if (source['type'] === 'url') return textField(source, 'url', at);
	if (source['type'] !== 'base64') throw new Unfit(`${at} is none that is known here: base64 or url`);
	return `data:${textField(source, 'media_type', at)};base64,${textField(source, 'data', at)}`;
}

/** What it is called, in a line. */
function titled(fields: Fields, names: readonly string[]): Fields {
	const words = names.map((name) => fields[name]).filter((word) => typeof word === 'string' && word !== '');
	return { type: 'text', text: words.length === 0 ? 'Document:' : `Document (${words.join(', ')}):` };
}

function documentParts(source: Fields, at: string): Fields[] {
	if (source['type'] === 'text') return [{ type: 'text', text: textField(source, 'data', at) }];
	if (source['type'] !== 'content')
		throw new Unfit(`${at} is ${typeNamed(source['type'])}; documents are told as text or content, for nobody here reads files`);
	const { content } = source;
	return typeof content === 'string' ? [{ type: 'text', text: content }] : listOf(content, at).flatMap((part) => partsOf(part, at));
}

function listOf(value: unknown, at: string): readonly unknown[] {
	if (!Array.isArray(value)) throw new Unfit(`${at}.content is no list of blocks`);
	return value;
}

function textOf(block: unknown, at: string): string {
	const fields = fieldsOf(block);
	const { type } = fields;
	if (type === 'text') return textField(fields, 'text', at);
	throw new Unfit(
		`${at} is a block ${typeNamed(type)}; models here are told text, documents as text, images where they take them, and calls and results of tools`,
	);
}
