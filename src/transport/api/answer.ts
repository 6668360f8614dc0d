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
	const inside = new InsideText();
	const readInside = (): void => {
		if (inside.length > 0) add('text', inside.take());
	};
	const visitor: FrameVisitor = {
		text(from, start, end) {
			inside.add(from, start, end);
		},
		piece(token) {
			readInside();
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
	};
	for (let slice = log.slice(0, sliceBytes); slice !== null; slice = log.slice(slice.lastSeq, sliceBytes)) visitFrames(slice, visitor);
	readInside();
	const toolCalls = calls
		.filter((call) => call !== undefined)
		.map(({ id, name, arguments: given }): ToolCall => ({ id, type: 'function', function: { name, arguments: given } }));
	return { segments, text: textOf(segments, 'text'), reasoning: textOf(segments, 'reasoning'), toolCalls, logprobs, reasoningTokens };
}

const insideBytesMin = 1024;
const backslash = 0x5c;

/** Texts that follow each other, as the inside of a JSON string: read at once, for each call of the engine costs more than its bytes. */
class InsideText {
	length = 0;
	#bytes = Buffer.allocUnsafe(insideBytesMin);
	#escaped = false;

	add(from: Buffer, start: number, end: number): void {
		const length = this.length + end - start;
		if (length > this.#bytes.length) this.#grow(length);
		const bytes = this.#bytes;
		let escaped = this.#escaped;
		for (let at = start, to = this.length; at < end; at += 1, to += 1) {
			const byte = from[at] as number;
			if (byte === backslash) escaped = true;
			bytes[to] = byte;
		}
		this.#escaped = escaped;
		this.length = length;
	}

	take(): string {
		const text = this.#bytes.toString('utf8', 0, this.length);
		const escaped = this.#escaped;
		this.length = 0;
		this.#escaped = false;
		return escaped ? (JSON.parse(`"${text}"`) as string) : text;
	}

	#grow(length: number): void {
		const grown = Buffer.allocUnsafe(Math.max(length, this.#bytes.length * 2));
		this.#bytes.copy(grown, 0, 0, this.length);
		this.#bytes = grown;
	}
}

type Writable<T> = T extends unknown ? { -readonly [K in keyof T]: T[K] } : never;

function textOf(segments: readonly Segment[], kind: 'text' | 'reasoning'): string {
	return segments.map((segment) => (segment.kind === kind ? segment.text : '')).join('');
}
