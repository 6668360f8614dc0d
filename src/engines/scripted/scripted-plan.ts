/**
 * What a request tells the scripted engine to say before its words: lines of the last message of a user. Pure, so that tests can say what
 * must come.
 * - `think <words>`: thinking, a token a word;
 * - `call <tool> <JSON object>`: a call of that tool, if tools are given. Several lines are several calls.
 *
 * Where a call is required and none is told, one is made up from the tool's schema; where JSON is asked for, the least that its schema takes.
 */
import { type PieceChannel, pieceIsReasoning, pieceIsToolCall } from '../../actors/serving/decode.ts';
import type { PromptInput, Sampling, ToolUse } from '../../actors/serving/task-request.ts';
import { hashText, scriptedTokens } from './scripted-text.ts';

export interface PlannedPiece {
	readonly channel: PieceChannel;
	readonly text: string;
}

export interface ScriptedPlan {
	readonly pieces: readonly PlannedPiece[];
	/** What it ends with: nothing follows but words. */
	readonly ends: 'calls' | 'json' | 'words';
}

const thinkLine = /^think (.+)$/gm;
const callLine = /^call ([\w.-]{1,64}) (\{.*\})$/gm;
const partChars = 12;
const lengthMax = 64;
const depthMax = 8;

export function scriptedPlan(input: PromptInput, { jsonSchema, jsonObject }: Pick<Sampling, 'jsonSchema' | 'jsonObject'>): ScriptedPlan {
	const last = input.kind === 'messages' ? input.messages.at(-1) : undefined;
	const text = last?.role === 'user' ? last.content : input.kind === 'prompt' && !input.raw ? input.text : '';
	const thinking = [...text.matchAll(thinkLine)].flatMap(([, words = '']) => scriptedTokens(words));
	const toolUse = input.kind === 'messages' && input.toolUse?.choice !== 'none' ? input.toolUse : undefined;
	const calls = toolUse === undefined || last?.role !== 'user' ? [] : callsIn(text, toolUse);
	const schema = jsonSchema ?? (jsonObject === true ? { type: 'object' } : null);
	const json = schema === null || calls.length > 0 ? [] : jsonPieces(sample(schema, schema, 0));
	return {
		pieces: [
			...thinking.map((word): PlannedPiece => ({ channel: pieceIsReasoning, text: word })),
			...json,
			...calls.flatMap(([name, given], index) => callPieces(index, name, given)),
		],
		ends: calls.length > 0 ? 'calls' : json.length > 0 ? 'json' : 'words',
	};
}

function jsonPieces(value: unknown): PlannedPiece[] {
	return partsOf(JSON.stringify(value)).map((text) => ({ channel: 0, text }));
}

function callsIn(text: string, { tools, choice, parallel }: ToolUse): readonly (readonly [name: string, given: string])[] {
	const told = [...text.matchAll(callLine)].map(([, name = '', given = '']) => [name, given] as const);
	const wanted = typeof choice === 'object' ? choice.name : null;
	const fitting = told.filter(([name]) => (wanted === null || name === wanted) && tools.some((tool) => tool.function.name === name));
	if (fitting.length > 0) return parallel ? fitting : fitting.slice(0, 1);
	if (choice === 'auto') return [];
	const tool = tools.find((each) => wanted === null || each.function.name === wanted)?.function;
	return tool === undefined ? [] : [[tool.name, JSON.stringify(sample(tool.parameters ?? { type: 'object' }, tool.parameters, 0))]];
}

function callPieces(index: number, name: string, given: string): PlannedPiece[] {
	const id = `call${hashText(`${index} ${name} ${given}`).toString(36).padStart(7, '0')}`;
	const deltas: object[] = [{ index, id, type: 'function', function: { name, arguments: '' } }];
	for (const part of partsOf(given)) deltas.push({ index, function: { arguments: part } });
	return deltas.map((delta) => ({ channel: pieceIsToolCall, text: JSON.stringify(delta) }));
}

/** JSON comes in pieces of whole characters. */
function partsOf(json: string): string[] {
	const letters = Array.from(json);
	return Array.from({ length: Math.ceil(letters.length / partChars) }, (_, at) =>
		letters.slice(at * partChars, (at + 1) * partChars).join(''),
	);
}

/** The least that a simple schema takes; `root`: where its `$ref`s lead. */
function sample(schema: unknown, root: unknown, depth: number): unknown {
	const fields = (schema ?? {}) as Readonly<Record<string, unknown>>;
	const { type, enum: values, const: only, properties, required, items, minItems, minLength, minimum, $ref: ref } = fields;
	if (depth > depthMax) return null;
	if (typeof ref === 'string') return sample(referred(ref, root), root, depth + 1);
	if (only !== undefined) return only;
	if (Array.isArray(values)) return values[0] as unknown;
	for (const any of [fields['anyOf'], fields['oneOf'], fields['allOf']]) if (Array.isArray(any)) return sample(any[0], root, depth + 1);
	switch (Array.isArray(type) ? (type[0] as unknown) : type) {
		case 'string':
			return 'text'.padEnd(typeof minLength === 'number' ? Math.min(minLength, lengthMax) : 0, '.');
		case 'number':
		case 'integer':
			return typeof minimum === 'number' ? Math.max(1, Math.ceil(minimum)) : 1;
		case 'boolean':
			return true;
		case 'null':
			return null;
		case 'array': {
			const count = typeof minItems === 'number' ? Math.min(minItems, lengthMax) : 1;
			return items === undefined ? [] : Array.from({ length: count }, () => sample(items, root, depth + 1));
		}
		default: {
			const known = (properties ?? {}) as Readonly<Record<string, unknown>>;
			const names = Array.isArray(required) ? (required as readonly string[]) : [];
			return Object.fromEntries(names.map((name) => [name, sample(known[name] ?? { type: 'string' }, root, depth + 1)]));
		}
	}
}

/** `#/$defs/Name`, of the schema itself. */
function referred(ref: string, root: unknown): unknown {
	if (!ref.startsWith('#')) return {};
	return ref
		.split('/')
		.slice(1)
		.reduce(
			(at: unknown, name) => (typeof at === 'object' && at !== null ? (at as Readonly<Record<string, unknown>>)[name] : undefined),
			root,
		);
}
