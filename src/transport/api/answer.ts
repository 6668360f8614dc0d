/**
 * What a task has said, put together from its log: its answer, its thinking, its calls of tools. For answers that are given whole. On the
 * front thread.
 */
import type { EventLogView } from '../../actors/serving/event-log-view.ts';
import type { ToolCall } from '../../actors/serving/task-request.ts';
import { type FrameVisitor, type TokenJson, visitFrames } from '../stream/token-frames.ts';

const sliceBytes = 64 * 1024;

export interface Answer {
	readonly text: string;
	readonly reasoning: string;
	readonly toolCalls: readonly ToolCall[];
	/** Pieces of the answer whose log-probability was asked for. */
	readonly logprobs: readonly TokenJson[];
	/** Model tokens of the thinking. */
	readonly reasoningTokens: number;
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
	let reasoningTokens = 0;
	const calls: { id: string; name: string; arguments: string }[] = [];
	const logprobs: TokenJson[] = [];
	const visitor: FrameVisitor = {
		// With quotes around it, it is JSON.
		text(from, start, end) {
			text += JSON.parse(from.toString('utf8', start - 1, end + 1)) as string;
		},
		piece(token) {
			if (token.c === 'reasoning') {
				reasoning += token.t;
				reasoningTokens += token.n ?? 1;
			} else if (token.c === 'tool') {
				const { index, id, function: called } = JSON.parse(token.t) as CallDelta;
				const call = (calls[index] ??= { id: '', name: '', arguments: '' });
				call.id += id ?? '';
				call.name += called?.name ?? '';
				call.arguments += called?.arguments ?? '';
			} else {
				text += token.t;
				if (token.logprob !== undefined) logprobs.push(token);
			}
		},
		event: () => undefined,
	};
	for (let slice = log.slice(0, sliceBytes); slice !== null; slice = log.slice(slice.lastSeq, sliceBytes)) visitFrames(slice, visitor);
	const toolCalls = calls
		.filter((call) => call !== undefined)
		.map(({ id, ...called }): ToolCall => ({ id, type: 'function', function: called }));
	return { text, reasoning, toolCalls, logprobs, reasoningTokens };
}
