/**
 * What a request tells the scripted engine to say before its words: lines of the last message of a user. Pure, so that tests can say what
 * must come.
 * - `think <words>`: thinking, a token a word;
 * - `call <tool> <JSON object>`: a call of that tool, if tools are given. Several lines are several calls.
 *
 * Where a call is required and none is told, one is made up from the tool's schema.
 */
import { type PieceChannel, pieceIsReasoning, pieceIsToolCall } from '../../actors/serving/decode.ts';
import type { PromptInput, ToolUse } from '../../actors/serving/task-request.ts';
import { hashText, scriptedTokens } from './scripted-text.ts';

export interface PlannedPiece {
	readonly channel: PieceChannel;
	readonly text: string;
}

export interface ScriptedPlan {
	readonly pieces: readonly PlannedPiece[];
	/** It ends with calls; else words follow. */
	readonly calls: boolean;
}

const thinkLine = /^think (.+)$/gm;
const callLine = /^call ([\w.-]{1,64}) (\{.*\})$/gm;
const argumentChars = 12;
const depthMax = 8;

export function scriptedPlan(input: PromptInput): ScriptedPlan {
	const last = input.kind === 'messages' ? input.messages.at(-1) : undefined;
	const text = last?.role === 'user' ? last.content : input.kind === 'prompt' && !input.raw ? input.text : '';
	const thinking = [...text.matchAll(thinkLine)].flatMap(([, words = '']) => scriptedTokens(words));
	const toolUse = input.kind === 'messages' && input.toolUse?.choice !== 'none' ? input.toolUse : undefined;
	const calls = toolUse === undefined || last?.role !== 'user' ? [] : callsIn(text, toolUse);
	return {
		pieces: [
			...thinking.map((word): PlannedPiece => ({ channel: pieceIsReasoning, text: word })),
			...calls.flatMap(([name, given], index) => callPieces(index, name, given)),
		],
		calls: calls.length > 0,
	};
}

function callsIn(text: string, { tools, choice, parallel }: ToolUse): readonly (readonly [name: string, given: string])[] {
	const told = [...text.matchAll(callLine)].map(([, name = '', given = '']) => [name, given] as const);
	const wanted = typeof choice === 'object' ? choice.name : null;
	const fitting = told.filter(([name]) => (wanted === null || name === wanted) && tools.some((tool) => tool.function.name === name));
	if (fitting.length > 0) return parallel ? fitting : fitting.slice(0, 1);
	if (choice === 'auto') return [];
	const tool = tools.find((each) => wanted === null || each.function.name === wanted)?.function;
	return tool === undefined ? [] : [[tool.name, JSON.stringify(sample(tool.parameters ?? { type: 'object' }, 0))]];
}

function callPieces(index: number, name: string, given: string): PlannedPiece[] {
	const id = `call${hashText(`${index} ${name} ${given}`).toString(36).padStart(7, '0')}`;
	const deltas: object[] = [{ index, id, type: 'function', function: { name, arguments: '' } }];
	const letters = Array.from(given);
	for (let at = 0; at < letters.length; at += argumentChars)
		deltas.push({ index, function: { arguments: letters.slice(at, at + argumentChars).join('') } });
	return deltas.map((delta) => ({ channel: pieceIsToolCall, text: JSON.stringify(delta) }));
}

/** The least that a simple schema takes. */
function sample(schema: unknown, depth: number): unknown {
	const { type, enum: values, const: only, properties, required, items } = (schema ?? {}) as Readonly<Record<string, unknown>>;
	if (only !== undefined) return only;
	if (Array.isArray(values)) return values[0] as unknown;
	switch (Array.isArray(type) ? (type[0] as unknown) : type) {
		case 'string':
			return 'text';
		case 'number':
		case 'integer':
			return 1;
		case 'boolean':
			return true;
		case 'null':
			return null;
		case 'array':
			return depth < depthMax && items !== undefined ? [sample(items, depth + 1)] : [];
		default: {
			const fields = (properties ?? {}) as Readonly<Record<string, unknown>>;
			const names = Array.isArray(required) && depth < depthMax ? (required as readonly string[]) : [];
			return Object.fromEntries(names.map((name) => [name, sample(fields[name] ?? { type: 'string' }, depth + 1)]));
		}
	}
}
