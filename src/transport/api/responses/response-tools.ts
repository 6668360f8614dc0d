/**
 * Tools of `/v1/responses`: functions, functions of a namespace, and tools whose input is a text. To a model each is a function with a name of its
 * own; in items a call has the names, and the form, that the client gave it. Pure.
 */
import { createHash } from 'node:crypto';
import type { Segment } from '../answer.ts';
import { argumentsOf, customWords, inputOf, inputSchema } from '../custom-tools.ts';
import type { TaskBody } from '../schemas.ts';
import { type Fields, fieldsOf, textField, Unfit } from '../unfit.ts';

type NativeTool = NonNullable<TaskBody['tools']>[number];

/** A tool by the name that its model knows. */
interface KnownTool {
	readonly kind: 'function' | 'custom';
	readonly name: string;
	readonly namespace: string | null;
}

export interface ToolTable {
	readonly native: readonly NativeTool[];
	readonly known: ReadonlyMap<string, KnownTool>;
}

const nameMax = 64;
const digestLength = 8;

/** Checked tools of a body, or those that were kept of one. */
export function toolTable(tools: readonly unknown[]): ToolTable {
	const native: NativeTool[] = [];
	const known = new Map<string, KnownTool>();
	const add = (tool: Fields, namespace: string | null, at: string): void => {
		const name = textField(tool, 'name', at);
		const kind = tool['type'] === 'custom' ? 'custom' : 'function';
		const flat = flatName(namespace, name);
		if (known.has(flat)) throw new Unfit(`tools has two of the name ${namespace === null ? name : `${namespace}.${name}`}`);
		known.set(flat, { kind, name, namespace });
		native.push(nativeTool(tool, flat, kind));
	};
	for (const [index, each] of tools.entries()) {
		const tool = fieldsOf(each);
		const at = `tools[${index}]`;
		if (tool['type'] !== 'namespace') add(tool, null, at);
		else {
			const inner = Array.isArray(tool['tools']) ? (tool['tools'] as readonly unknown[]) : [];
			for (const [place, one] of inner.entries()) add(fieldsOf(one), textField(tool, 'name', at), `${at}.tools[${place}]`);
		}
	}
	return { native, known };
}

/** What a model calls it: letters, digits, `_`, `.` and `-`, at most 64. One that is longer ends with what tells it apart. */
export function flatName(namespace: string | null, name: string): string {
	if (namespace === null) return name;
	const flat = `${namespace}__${name}`;
	if (flat.length <= nameMax) return flat;
	const digest = createHash('sha256').update(flat).digest('hex').slice(0, digestLength);
	return `${flat.slice(0, nameMax - digestLength - 1)}_${digest}`;
}

function nativeTool({ description, parameters, strict, format }: Fields, name: string, kind: KnownTool['kind']): NativeTool {
	const custom = kind === 'custom';
	const words = customWords(description, custom ? fieldsOf(format) : {});
	const schema = custom ? inputSchema : parameters;
	return {
		type: 'function',
		function: {
			name,
			...(words === null ? {} : { description: words }),
			...(typeof schema === 'object' && schema !== null ? { parameters: schema } : {}),
			...(typeof strict === 'boolean' ? { strict } : {}),
		},
	};
}

/** A call as an item; `status`: `in_progress` before its arguments are told. */
export function callItem(call: Extract<Segment, { readonly kind: 'call' }>, id: string, status: string, known: ToolTable['known']): Fields {
	const { kind, name, namespace } = known.get(call.name) ?? { kind: 'function', name: call.name, namespace: null };
	const named = { id, status, call_id: call.id, ...(namespace === null ? {} : { namespace }), name };
	if (kind === 'custom') return { type: 'custom_tool_call', ...named, input: inputOf(call.arguments) };
	return { type: 'function_call', ...named, arguments: call.arguments };
}

export function isCustom(name: string, known: ToolTable['known']): boolean {
	return known.get(name)?.kind === 'custom';
}

/** A call of an earlier turn, as the model made it. */
export function callOf(
	item: Fields,
	at: string,
): { readonly id: string; readonly function: { readonly name: string; readonly arguments: string } } {
	const namespace = typeof item['namespace'] === 'string' ? item['namespace'] : null;
	const name = flatName(namespace, textField(item, 'name', at));
	const given = item['type'] === 'custom_tool_call' ? argumentsOf(textField(item, 'input', at)) : textField(item, 'arguments', at);
	return { id: textField(item, 'call_id', at), function: { name, arguments: given } };
}
