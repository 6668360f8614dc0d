/** A stream of `/v1/chat/completions`: roles, texts, thoughts and calls as deltas. On the front thread. */
import type { ByteSink } from '../../stream/byte-sink.ts';
import type { TokenJson } from '../../stream/token-frames.ts';
import type { AnswerContext } from './answer-context.ts';
import { toldCall } from './chat-tools.ts';
import { ChunkDialect } from './chunk-dialect.ts';
import { chatLogprobs } from './logprobs.ts';

interface CallDelta {
	readonly index: number;
	readonly id?: string;
	readonly function?: { readonly name?: string; readonly arguments?: string };
}

export class ChatDialect extends ChunkDialect {
	/** Calls of tools whose input is a text, by choice: told whole, for their text is known only then. */
	readonly #held: { readonly index: number; readonly id: string; readonly name: string; given: string }[][] = [];

	constructor(context: AnswerContext) {
		super(context, 'chatcmpl', 'chat.completion.chunk');
	}

	piece(out: ByteSink, choice: number, token: TokenJson): void {
		const { t, n = 1, c } = token;
		if (c === 'reasoning') this.usage.reasoning += n;
		this.count(choice, n);
		if (t === '') return;
		if (c === 'reasoning') out.text(this.#delta(choice, { reasoning_content: t }));
		else if (c === 'tool') this.#call(out, choice, JSON.parse(t) as CallDelta);
		else out.text(this.#delta(choice, { content: t }, null, token.logprob === undefined ? null : chatLogprobs([token])));
	}

	protected first(choice: number): string {
		return this.#delta(choice, { role: 'assistant', content: '', refusal: null });
	}

	protected textChunk(choice: number, text: string): string {
		return this.#delta(choice, { content: text });
	}

	protected endChunk(choice: number, reason: string): string {
		const held = this.#held[choice] ?? [];
		const { custom } = this.context.request;
		const calls = held.map(({ index, id, name, given }) => ({ index, ...toldCall(id, name, given, custom) }));
		return `${calls.map((call) => this.#delta(choice, { tool_calls: [call] })).join('')}${this.#delta(choice, {}, reason)}`;
	}

	#call(out: ByteSink, choice: number, delta: CallDelta): void {
		const { index, id = '', function: { name = '', arguments: given = '' } = {} } = delta;
		const { custom } = this.context.request;
		if (custom.size === 0) return out.text(this.#delta(choice, { tool_calls: [delta] }));
		const held = (this.#held[choice] ??= []);
		const call = held.find((each) => each.index === index);
		if (call !== undefined) call.given += given;
		else if (custom.has(name)) held.push({ index, id, name, given });
		else out.text(this.#delta(choice, { tool_calls: [delta] }));
	}

	#delta(choice: number, delta: object, finishReason: string | null = null, logprobs: object | null = null): string {
		return this.chunk({ index: choice, delta, logprobs, finish_reason: finishReason });
	}
}
