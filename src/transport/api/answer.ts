/**
 * What a task has said, put together from its log: its answer, its thinking, its calls of tools. For answers that are given whole. On the
 * front thread.
 */
import type { EventLogView } from '../../actors/serving/event-log-view.ts';
import type { ToolCall } from '../../actors/serving/task-request.ts';
import { type FrameVisitor, type TokenJson, visitFrames } from '../stream/token-frames.ts';

const sliceBytes = 64 * 1024;

/** What follows each other in an answer: a text, a thought, a call. */
export type Segment =
	| { readonly kind: 'text' | 'reasoning'; readonly text: string }
	| { readonly kind: 'call'; readonly id: string; readonly name: string; readonly arguments: string };

export interface Answer {
	/** All of it, in its order; none is an empty text. */
	readonly segments: readonly Segment[];
	readonly text: string;
	readonly reasoning: string;
	readonly toolCalls: readonly ToolCall[];
	/** Pieces of the answer whose log-probability was asked for. */
	readonly logprobs: readonly TokenJson[];
	/** Model tokens of the thinking. */
	readonly reasoningTokens: number;
}

/** The JSON of a piece of a tool call, as far as it is read. */
export interface CallDelta {
	readonly index: number;
	readonly id?: string;
	readonly function?: { readonly name?: string; readonly arguments?: string };
}

export function answerOf(log: EventLogView): Answer {
	let reasoningTokens = 0;
	const segments: Writable<Segment>[] = [];
	const calls: Writable<Extract<Segment, { readonly kind: 'call' }>>[] = [];
	const logprobs: TokenJson[] = [];
	const add = (kind: 'text' | 'reasoning', text: string): void => {
		const last = segments.at(-1);
		if (last?.kind === kind) last.text += text;
		else if (text !== '') segments.push({ kind, text });
	};
	const visitor: FrameVisitor = {
		// With quotes around it, it is JSON.
		text(from, start, end) {
			add('text', JSON.parse(from.toString('utf8', start - 1, end + 1)) as string);
		},
		piece(token) {
			if (token.c === 'reasoning') {
				add('reasoning', token.t);
				reasoningTokens += token.n ?? 1;
			} else if (token.c === 'tool') {
				const { index, id, function: called } = JSON.parse(token.t) as CallDelta;
				let call = calls[index];
				if (call === undefined) {
					call = { kind: 'call', id: '', name: '', arguments: '' };
					calls[index] = call;
					segments.push(call);
				}
				call.id += id ?? '';
				call.name += called?.name ?? '';
				call.arguments += called?.arguments ?? '';
			} else {
				add('text', token.t);
				if (token.logprob !== undefined) logprobs.push(token);
			}
		},
		event: () => undefined,
	};
	for (let slice = log.slice(0, sliceBytes); slice !== null; slice = log.slice(slice.lastSeq, sliceBytes)) visitFrames(slice, visitor);
	const toolCalls = calls
		.filter((call) => call !== undefined)
		.map(({ id, name, arguments: given }): ToolCall => ({ id, type: 'function', function: { name, arguments: given } }));
	return { segments, text: textOf(segments, 'text'), reasoning: textOf(segments, 'reasoning'), toolCalls, logprobs, reasoningTokens };
}

type Writable<T> = T extends unknown ? { -readonly [K in keyof T]: T[K] } : never;

function textOf(segments: readonly Segment[], kind: 'text' | 'reasoning'): string {
	return segments.map((segment) => (segment.kind === kind ? segment.text : '')).join('');
}
