/**
 * A stream of the completions paths: chunks as OpenAI sends them. What surrounds the text of an ordinary piece is made once for each choice, so
 * that a piece costs two copies. On the front thread.
 */
import type { Failure } from '../../../actors/serving/failure.ts';
import type { ByteSink } from '../../stream/byte-sink.ts';
import type { Dialect, EndJson } from '../../stream/dialect-feed.ts';
import type { TokenJson } from '../../stream/token-frames.ts';
import { envelopeOf } from '../errors.ts';
import { type AnswerContext, type Identity, identityOf, timingComments, UsageCount } from './answer-context.ts';
import { openaiError } from './openai-errors.ts';

interface Around {
	readonly before: Buffer;
	readonly after: Buffer;
	/** As far as the usage that each chunk tells; null: none does. */
	readonly toUsage: Buffer | null;
}

/** Stands for the text of a piece where its surroundings are made: in no name of a model. */
const place = '\u0000';
const usageField = '"usage":';
const placeInJson = JSON.stringify(place).slice(1, -1);

export abstract class ChunkDialect implements Dialect {
	readonly farewell = 'data: [DONE]\n\n';
	protected readonly context: AnswerContext;
	protected readonly usage: UsageCount;
	readonly #prefix: string;
	readonly #object: string;
	#identity: Identity | null = null;
	readonly #around: Around[] = [];
	/** Tokens of each choice that were told, where chunks tell the usage. */
	readonly #told: number[] = [];

	constructor(context: AnswerContext, prefix: string, object: string) {
		this.context = context;
		this.usage = new UsageCount(context);
		this.#prefix = prefix;
		this.#object = object;
	}

	/** What comes before all else of a choice; '': nothing. */
	protected abstract first(choice: number): string;
	/** A chunk with a piece of the answer. */
	protected abstract textChunk(choice: number, text: string): string;
	protected abstract endChunk(choice: number, reason: string): string;
	abstract piece(out: ByteSink, choice: number, token: TokenJson): void;

	begin(out: ByteSink, choice: number): void {
		const [before = '', after = ''] = this.textChunk(choice, place).split(placeInJson);
		const toUsage = this.context.request.continuousUsage
			? Buffer.from(after.slice(0, after.lastIndexOf(usageField) + usageField.length))
			: null;
		this.#around[choice] = { before: Buffer.from(before), after: Buffer.from(after), toUsage };
		out.text(this.first(choice));
	}

	openText(out: ByteSink, choice: number): void {
		out.bytes((this.#around[choice] as Around).before);
	}

	closeText(out: ByteSink, choice: number, tokens: number): void {
		const { after, toUsage } = this.#around[choice] as Around;
		if (toUsage === null) return out.bytes(after);
		this.count(choice, tokens);
		out.bytes(toUsage);
		out.text(`${JSON.stringify(this.#usageSoFar(choice))}}\n\n`);
	}

	end(out: ByteSink, choice: number, end: EndJson): void {
		this.usage.add(choice, end);
		this.#told[choice] = end.tokens_out;
		out.text(this.endChunk(choice, end.finish_reason));
	}

	fail(out: ByteSink, problem: Failure): void {
		const correlationId = this.context.tasks[0]?.request.correlationId ?? '';
		out.text(data(openaiError(envelopeOf(problem, correlationId))));
	}

	finish(out: ByteSink): void {
		if (this.context.request.includeUsage) out.text(data({ ...this.#head(), choices: [], usage: this.usage.json() }));
	}

	lastComments(): readonly string[] {
		return timingComments(this.context);
	}

	protected chunk<C extends { readonly index: number }>(choice: C): string {
		const { includeUsage, continuousUsage } = this.context.request;
		const usage = continuousUsage ? this.#usageSoFar(choice.index) : null;
		return data({ ...this.#head(), choices: [choice], ...(includeUsage ? { usage } : {}) });
	}

	/** So many more tokens of a choice are about to be told. */
	protected count(choice: number, tokens: number): void {
		this.#told[choice] = (this.#told[choice] ?? 0) + tokens;
	}

	/** As vLLM tells it in each chunk where `continuous_usage_stats` asks for it. */
	#usageSoFar(choice: number) {
		const prompt = this.context.tasks[choice]?.tokensIn ?? 0;
		const completion = this.#told[choice] ?? 0;
		return { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion };
	}

	#head(): object {
		this.#identity ??= identityOf(this.context, this.#prefix);
		const { id, ...rest } = this.#identity;
		return { id, object: this.#object, ...rest };
	}
}

function data(json: object): string {
	return `data: ${JSON.stringify(json)}\n\n`;
}
