/** A stream of `/v1/completions`: a raw prompt has an answer and nothing else. On the front thread. */
import type { ByteSink } from '../../stream/byte-sink.ts';
import type { TokenJson } from '../../stream/token-frames.ts';
import type { AnswerContext } from './answer-context.ts';
import { ChunkDialect } from './chunk-dialect.ts';
import { completionLogprobs } from './logprobs.ts';

export class CompletionDialect extends ChunkDialect {
	/** Characters of each answer so far, where the log-probabilities say where they are. */
	readonly #offsets: number[] = [];

	constructor(context: AnswerContext) {
		super(context, 'cmpl', 'text_completion');
	}

	piece(out: ByteSink, choice: number, token: TokenJson): void {
		this.count(choice, token.n ?? 1);
		if (token.c !== undefined || token.t === '') return;
		const offset = this.#offsets[choice] ?? 0;
		this.#offsets[choice] = offset + token.t.length;
		out.text(this.#text(choice, token.t, null, token.logprob === undefined ? null : completionLogprobs([token], offset)));
	}

	protected first(choice: number): string {
		const { echo, n } = this.context.request;
		return echo === null ? '' : this.#text(choice, echo[Math.floor(choice / n)] ?? '');
	}

	protected textChunk(choice: number, text: string): string {
		return this.#text(choice, text);
	}

	protected endChunk(choice: number, reason: string): string {
		return this.#text(choice, '', reason);
	}

	#text(choice: number, text: string, finishReason: string | null = null, logprobs: object | null = null): string {
		return this.chunk({ index: choice, text, logprobs, finish_reason: finishReason });
	}
}
