/**
 * A stream of `/v1/chat/completions`: chunks as OpenAI sends them. What surrounds the text of an ordinary piece is made once for each choice, so
 * that a piece costs two copies. On the front thread.
 */
import type { Failure } from '../../../actors/serving/failure.ts';
import type { ByteSink } from '../../stream/byte-sink.ts';
import type { Dialect, EndJson } from '../../stream/dialect-feed.ts';
import type { TokenJson } from '../../stream/token-frames.ts';
import { envelopeOf } from '../errors.ts';
import { type AnswerContext, type Identity, identityOf, timingComments, UsageCount } from './answer-context.ts';
import { chatLogprobs } from './logprobs.ts';
import { openaiError } from './openai-errors.ts';

interface Around {
	readonly before: Buffer;
	readonly after: Buffer;
}

/** The text that stands for the text of a piece: not in any name of a model. */
const place = '\u0000';

export class ChatDialect implements Dialect {
	readonly farewell = 'data: [DONE]\n\n';
	readonly #context: AnswerContext;
	readonly #usage: UsageCount;
	#identity: Identity | null = null;
	readonly #around: Around[] = [];

	constructor(context: AnswerContext) {
		this.#context = context;
		this.#usage = new UsageCount(context);
	}

	begin(out: ByteSink, choice: number): void {
		const [before = '', after = ''] = this.#chunk(choice, { content: place }).split(JSON.stringify(place).slice(1, -1));
		this.#around[choice] = { before: Buffer.from(before), after: Buffer.from(after) };
		out.text(this.#chunk(choice, { role: 'assistant', content: '', refusal: null }));
	}

	openText(out: ByteSink, choice: number): void {
		out.bytes((this.#around[choice] as Around).before);
	}

	closeText(out: ByteSink, choice: number): void {
		out.bytes((this.#around[choice] as Around).after);
	}

	piece(out: ByteSink, choice: number, token: TokenJson): void {
		const { t, n = 1, c } = token;
		if (c === 'reasoning') this.#usage.reasoning += n;
		if (t === '') return;
		if (c === 'reasoning') out.text(this.#chunk(choice, { reasoning_content: t }));
		else if (c === 'tool') out.text(this.#chunk(choice, { tool_calls: [JSON.parse(t)] }));
		else out.text(this.#chunk(choice, { content: t }, null, token.logprob === undefined ? null : chatLogprobs([token])));
	}

	end(out: ByteSink, choice: number, end: EndJson): void {
		this.#usage.add(choice, end);
		out.text(this.#chunk(choice, {}, end.finish_reason));
	}

	fail(out: ByteSink, problem: Failure): void {
		const correlationId = this.#context.tasks[0]?.request.correlationId ?? '';
		out.text(`data: ${JSON.stringify(openaiError(envelopeOf(problem, correlationId)))}\n\n`);
	}

	finish(out: ByteSink): void {
		if (this.#context.request.includeUsage) out.text(data({ ...this.#head(), choices: [], usage: this.#usage.json() }));
	}

	lastComments(): readonly string[] {
		return timingComments(this.#context);
	}

	#chunk(choice: number, delta: object, finishReason: string | null = null, logprobs: object | null = null): string {
		return data({
			...this.#head(),
			choices: [{ index: choice, delta, logprobs, finish_reason: finishReason }],
			...(this.#context.request.includeUsage ? { usage: null } : {}),
		});
	}

	#head(): object {
		this.#identity ??= identityOf(this.#context, 'chatcmpl');
		const { id, ...rest } = this.#identity;
		return { id, object: 'chat.completion.chunk', ...rest };
	}
}

export function data(json: object): string {
	return `data: ${JSON.stringify(json)}\n\n`;
}
