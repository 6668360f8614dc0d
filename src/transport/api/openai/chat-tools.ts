/**
 * Tools of `/v1/chat/completions`: functions, tools whose input is a text (`custom`), and a choice among some of them (`allowed_tools`). What a task
 * has is functions; a client is told calls in the form in which it gave the tool. Pure.
 */
import { argumentsOf, customWords, inputOf, inputSchema } from '../custom-tools.ts';
import { type Parsed, refused } from '../json-body.ts';
import type { TaskBody } from '../schemas.ts';
import { fieldsOf } from '../unfit.ts';
import type { ChatBody } from './chat-schemas.ts';

type NativeTool = NonNullable<TaskBody['tools']>[number];
type NativeCall = NonNullable<NonNullable<TaskBody['messages']>[number]['tool_calls']>[number];
type Given = NonNullable<ChatBody['tools']>[number];

export interface ChatTools {
	/** What the model is told of; absent: it has none. */
	readonly tools?: NativeTool[];
	readonly choice?: NonNullable<TaskBody['tool_choice']>;
	/** Names of those whose input is a text. */
	readonly custom: ReadonlySet<string>;
}

/** A call as an answer has it. */
export type ToldCall =
	| { readonly id: string; readonly type: 'function'; readonly function: { readonly name: string; readonly arguments: string } }
	| { readonly id: string; readonly type: 'custom'; readonly custom: { readonly name: string; readonly input: string } };

export const noCustom: ReadonlySet<string> = new Set();
const noTools: Parsed<ChatTools> = { ok: true, value: { custom: noCustom } };

export function chatTools({ tools: given = [], tool_choice: choice }: ChatBody): Parsed<ChatTools> {
	if (given.length === 0)
		return choice === undefined || choice === 'none' || choice === 'auto' ? noTools : refused('tool_choice is given without tools');
	const all: NativeTool[] = [];
	const custom = new Set<string>();
	for (const [at, each] of given.entries()) {
		const tool = nativeTool(each, `tools[${at}]`);
		if (!tool.ok) return tool;
		all.push(tool.value);
		if (each.type === 'custom') custom.add(tool.value.function.name);
	}
	const told = (tools: NativeTool[], chosen: TaskBody['tool_choice']): Parsed<ChatTools> => ({
		ok: true,
		value: { tools, ...(chosen === undefined ? {} : { choice: chosen }), custom: custom.size === 0 ? noCustom : custom },
	});
	if (typeof choice !== 'object') return told(all, choice);
	if (choice.type === 'function') return told(all, choice);
	const has = ({ type, function: called, custom: text }: Named): string | null => {
		const name = (type === 'custom' ? text : called)?.name;
		return name !== undefined && custom.has(name) === (type === 'custom') && all.some((tool) => tool.function.name === name) ? name : null;
	};
	if (choice.type === 'custom') {
		const name = has(choice);
		if (name === null) return refused(`tool_choice.custom names ${choice.custom.name}, which is no custom tool of tools`);
		return told(all, { type: 'function', function: { name } });
	}
	const { mode, tools: allowed } = choice.allowed_tools;
	const names = allowed.map(has);
	const unknown = names.indexOf(null);
	if (unknown >= 0) return refused(`tool_choice.allowed_tools.tools[${unknown}] is none of tools`);
	return told(
		all.filter((tool) => names.includes(tool.function.name)),
		mode,
	);
}

interface Named {
	readonly type: 'function' | 'custom';
	readonly function?: { readonly name: string } | undefined;
	readonly custom?: { readonly name: string } | undefined;
}

/** The kinds of tools are one schema, so that what is wrong with one is said of its own field. */
function nativeTool({ type, function: called, custom }: Given, at: string): Parsed<NativeTool> {
	if (type === 'function')
		return called === undefined
			? refused(`${at}.function is missing; it must be an object`)
			: { ok: true, value: { type, function: called } };
	if (custom === undefined) return refused(`${at}.custom is missing; it must be an object`);
	const format = fieldsOf(custom.format);
	const words = customWords(custom.description, { ...format, ...fieldsOf(format['grammar']) });
	return {
		ok: true,
		value: {
			type: 'function',
			function: { name: custom.name, ...(words === null ? {} : { description: words }), parameters: inputSchema },
		},
	};
}

type GivenCall = NonNullable<ChatBody['messages'][number]['tool_calls']>[number];

/** What a call of an earlier turn lacks; null: nothing. */
export function callProblem(messages: ChatBody['messages']): string | null {
	for (const [at, { tool_calls: calls }] of messages.entries()) {
		if (calls === undefined || calls === null) continue;
		for (const [place, call] of calls.entries()) {
			const kind = call.type ?? 'function';
			if (call[kind] === undefined) return `messages[${at}].tool_calls[${place}].${kind} is missing; it must be an object`;
		}
	}
	return null;
}

/** As the model made it. It lacks nothing. */
export function nativeCall({ id, type, function: called, custom }: GivenCall): NativeCall {
	if (type === 'custom') return { id, function: { name: custom?.name ?? '', arguments: argumentsOf(custom?.input ?? '') } };
	return { id, function: { name: called?.name ?? '', arguments: called?.arguments ?? '' } };
}

export function toldCall(id: string, name: string, given: string, custom: ReadonlySet<string>): ToldCall {
	if (custom.has(name)) return { id, type: 'custom', custom: { name, input: inputOf(given) } };
	return { id, type: 'function', function: { name, arguments: given } };
}
