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
}

/** Stands for the text of a piece where its surroundings are made: in no name of a model. */
const place = '\u0000';
const placeInJson = JSON.stringify(place).slice(1, -1);

export abstract class ChunkDialect implements Dialect {
	readonly farewell = 'data: [DONE]\n\n';
	protected readonly context: AnswerContext;
	protected readonly usage: UsageCount;
	readonly #prefix: string;
	readonly #object: string;
	#identity: Identity | null = null;
	readonly #around: Around[] = [];

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
		this.#around[choice] = { before: Buffer.from(before), after: Buffer.from(after) };
		out.text(this.first(choice));
	}

	openText(out: ByteSink, choice: number): void {
		out.bytes((this.#around[choice] as Around).before);
	}

	closeText(out: ByteSink, choice: number): void {
		out.bytes((this.#around[choice] as Around).after);
	}

	end(out: ByteSink, choice: number, end: EndJson): void {
		this.usage.add(choice, end);
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

	protected chunk(choice: object): string {
		return data({ ...this.#head(), choices: [choice], ...(this.context.request.includeUsage ? { usage: null } : {}) });
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
