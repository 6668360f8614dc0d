/** A stream of `/v1/completions`: chunks as OpenAI sends them. On the front thread. */
import type { Failure } from '../../../actors/serving/failure.ts';
import type { ByteSink } from '../../stream/byte-sink.ts';
import type { Dialect, EndJson } from '../../stream/dialect-feed.ts';
import type { TokenJson } from '../../stream/token-frames.ts';
import { envelopeOf } from '../errors.ts';
import { type AnswerContext, type Identity, identityOf, timingComments, UsageCount } from './answer-context.ts';
import { data } from './chat-dialect.ts';
import { completionLogprobs } from './logprobs.ts';
import { openaiError } from './openai-errors.ts';

const place = '\u0000';

export class CompletionDialect implements Dialect {
	readonly farewell = 'data: [DONE]\n\n';
	readonly #context: AnswerContext;
	readonly #usage: UsageCount;
	#identity: Identity | null = null;
	readonly #before: Buffer[] = [];
	readonly #after: Buffer[] = [];
	/** Characters of each answer so far, where the log-probabilities say where they are. */
	readonly #offsets: number[] = [];

	constructor(context: AnswerContext) {
		this.#context = context;
		this.#usage = new UsageCount(context);
	}

	begin(out: ByteSink, choice: number): void {
		const [before = '', after = ''] = this.#chunk(choice, place).split(JSON.stringify(place).slice(1, -1));
		this.#before[choice] = Buffer.from(before);
		this.#after[choice] = Buffer.from(after);
		this.#offsets[choice] = 0;
		const { echo, n } = this.#context.request;
		if (echo !== null) out.text(this.#chunk(choice, echo[Math.floor(choice / n)] ?? ''));
	}

	openText(out: ByteSink, choice: number): void {
		out.bytes(this.#before[choice] as Buffer);
	}

	closeText(out: ByteSink, choice: number): void {
		out.bytes(this.#after[choice] as Buffer);
	}

	piece(out: ByteSink, choice: number, token: TokenJson): void {
		// A raw prompt has an answer and nothing else.
		if (token.c !== undefined || token.t === '') return;
		const offset = this.#offsets[choice] ?? 0;
		this.#offsets[choice] = offset + token.t.length;
		out.text(this.#chunk(choice, token.t, null, token.logprob === undefined ? null : completionLogprobs([token], offset)));
	}

	end(out: ByteSink, choice: number, end: EndJson): void {
		this.#usage.add(choice, end);
		out.text(this.#chunk(choice, '', end.finish_reason));
	}

	fail(out: ByteSink, problem: Failure): void {
		const correlationId = this.#context.tasks[0]?.request.correlationId ?? '';
		out.text(data(openaiError(envelopeOf(problem, correlationId))));
	}

	finish(out: ByteSink): void {
		if (this.#context.request.includeUsage) out.text(data({ ...this.#head(), choices: [], usage: this.#usage.json() }));
	}

	lastComments(): readonly string[] {
		return timingComments(this.#context);
	}

	#chunk(choice: number, text: string, finishReason: string | null = null, logprobs: object | null = null): string {
		return data({
			...this.#head(),
			choices: [{ index: choice, text, logprobs, finish_reason: finishReason }],
			...(this.#context.request.includeUsage ? { usage: null } : {}),
		});
	}

	#head(): object {
		this.#identity ??= identityOf(this.#context, 'cmpl');
		const { id, ...rest } = this.#identity;
		return { id, object: 'text_completion', ...rest };
	}
}
