/**
 * What the model of the fakes says where tools are offered or a form is asked for: the call that the last message of a user spells out in a line of
 * its own (`call add {"a": 1}`), one that it makes up where one has to be made, the least JSON of a schema. How it is told is each engine's own. Pure.
 */

type Fields = Readonly<Record<string, unknown>>;

export interface FakeCall {
	readonly name: string;
	/** JSON. */
	readonly arguments: string;
	/** It had to be this tool. */
	readonly named: boolean;
}

/** `messages`, `tools` and `tool_choice` in the shape of OpenAI's chat; null: it calls none. */
export function callIn({ messages, tools = [], tool_choice: choice = 'auto' }: Fields): FakeCall | null {
	const offered = (tools as readonly { readonly function: { readonly name: string; readonly parameters?: Fields } }[]).map(
		(tool) => tool.function,
	);
	if (offered.length === 0 || choice === 'none') return null;
	const named = typeof choice === 'object' && choice !== null ? ((choice as Fields)['function'] as { name: string }).name : null;
	const last = (messages as readonly Fields[]).at(-1);
	const asked = /^call (\S+) (\{.*\})$/m.exec(last?.['role'] === 'user' ? textIn(last['content']) : '');
	const [, name = '', given = ''] = asked ?? [];
	if (offered.some((tool) => tool.name === name) && (named === null || named === name))
		return { name, arguments: given, named: named !== null };
	if (named === null && choice !== 'required') return null;
	const tool = offered.find((each) => named === null || each.name === named);
	return tool === undefined ? null : { name: tool.name, arguments: JSON.stringify(leastOf(tool.parameters ?? {})), named: named !== null };
}

/** A text, or parts of which some are texts. */
function textIn(content: unknown): string {
	if (!Array.isArray(content)) return typeof content === 'string' ? content : '';
	return (content as readonly { readonly text?: string }[]).map(({ text = '' }) => text).join('\n');
}

/** `response_format` of OpenAI's chat; null: any text will do. */
export function formIn({ response_format: format }: Fields): string | null {
	const { type, json_schema: named } = (format ?? {}) as { type?: string; json_schema?: { schema: Fields } };
	if (type === 'json_object') return '{"fox": "quick"}';
	return type === 'json_schema' ? JSON.stringify(leastOf(named?.schema ?? {})) : null;
}

/** The least value that a schema of plain types is satisfied with. */
export function leastOf(schema: Fields): unknown {
	const { type, enum: values, properties = {}, required = [], items = {}, minItems = 0, minimum = 1 } = schema;
	if (Array.isArray(values)) return values[0];
	if (type === 'object')
		return Object.fromEntries(
			(required as readonly string[]).map((name) => [name, leastOf((properties as Record<string, Fields>)[name] ?? {})]),
		);
	if (type === 'array') return Array.from({ length: minItems as number }, () => leastOf(items as Fields));
	if (type === 'integer' || type === 'number') return minimum;
	if (type === 'boolean') return true;
	return type === 'string' ? 'fox' : null;
}
