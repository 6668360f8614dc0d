/**
 * What a task has said, put together from its log: its answer, its thinking, its calls of tools. For answers that are given whole. On the
 * front thread.
 */
import type { EventLogView } from '../../actors/serving/event-log-view.ts';
import type { ToolCall } from '../../actors/serving/task-request.ts';

/** A token event. */
export interface TokenJson {
	readonly t: string;
	readonly i: number;
	readonly n?: number;
	/** Absent: the answer. */
	readonly c?: 'reasoning' | 'tool';
	readonly id?: number;
	readonly logprob?: number;
}

export interface Answer {
	readonly text: string;
	readonly reasoning: string;
	readonly toolCalls: readonly ToolCall[];
	/** Pieces of the answer whose log-probability was asked for. */
	readonly logprobs: readonly TokenJson[];
}

/** The JSON of a piece of a tool call, as far as it is read. */
interface CallDelta {
	readonly index: number;
	readonly id?: string;
	readonly function?: { readonly name?: string; readonly arguments?: string };
}

export function answerOf(log: EventLogView): Answer {
	let text = '';
	let reasoning = '';
	const calls: { id: string; name: string; arguments: string }[] = [];
	const logprobs: TokenJson[] = [];
	log.forEach(0, (_seq, name, json) => {
		if (name !== 'token') return;
		const token = JSON.parse(json) as TokenJson;
		if (token.c === 'reasoning') reasoning += token.t;
		else if (token.c === 'tool') {
			const { index, id, function: called } = JSON.parse(token.t) as CallDelta;
			const call = (calls[index] ??= { id: '', name: '', arguments: '' });
			call.id += id ?? '';
			call.name += called?.name ?? '';
			call.arguments += called?.arguments ?? '';
		} else {
			text += token.t;
			if (token.logprob !== undefined) logprobs.push(token);
		}
	});
	const toolCalls = calls
		.filter((call) => call !== undefined)
		.map(({ id, ...called }): ToolCall => ({ id, type: 'function', function: called }));
	return { text, reasoning, toolCalls, logprobs };
}
