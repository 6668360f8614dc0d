/** A stream of `/v1/chat/completions`: roles, texts, thoughts and calls as deltas. On the front thread. */
import type { ByteSink } from '../../stream/byte-sink.ts';
import type { TokenJson } from '../../stream/token-frames.ts';
import type { AnswerContext } from './answer-context.ts';
import { ChunkDialect } from './chunk-dialect.ts';
import { chatLogprobs } from './logprobs.ts';

export class ChatDialect extends ChunkDialect {
	constructor(context: AnswerContext) {
		super(context, 'chatcmpl', 'chat.completion.chunk');
	}

	piece(out: ByteSink, choice: number, token: TokenJson): void {
		const { t, n = 1, c } = token;
		if (c === 'reasoning') this.usage.reasoning += n;
		this.count(choice, n);
		if (t === '') return;
		if (c === 'reasoning') out.text(this.#delta(choice, { reasoning_content: t }));
		else if (c === 'tool') out.text(this.#delta(choice, { tool_calls: [JSON.parse(t)] }));
		else out.text(this.#delta(choice, { content: t }, null, token.logprob === undefined ? null : chatLogprobs([token])));
	}

	protected first(choice: number): string {
		return this.#delta(choice, { role: 'assistant', content: '', refusal: null });
	}

	protected textChunk(choice: number, text: string): string {
		return this.#delta(choice, { content: text });
	}

	protected endChunk(choice: number, reason: string): string {
		return this.#delta(choice, {}, reason);
	}

	#delta(choice: number, delta: object, finishReason: string | null = null, logprobs: object | null = null): string {
		return this.chunk({ index: choice, delta, logprobs, finish_reason: finishReason });
	}
}
