/**
 * What vLLM answers: chunks of `/v1/completions` and `/v1/chat/completions` as `completion_stream_generator` and
 * `chat_completion_stream_generator` write them. Front threads.
 *
 * A chunk is one step of the engine, with one token as a rule; with more, where the server was slower than its model or guesses tokens
 * ahead. Texts lag behind their tokens where a character is not whole: such tokens count with the next text.
 */
import { noTokenId, pieceIsReasoning } from '../../actors/serving/decode.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import { topsJson } from '../../actors/serving/top-tokens.ts';
import { openaiUnread } from '../openai/openai-adapter.ts';
import { scoredIn } from '../openai/openai-logprobs.ts';
import { type AnswerReader, type AnswerSink, type Score, shapeOf, type UpstreamTarget, unscored } from '../upstream/adapter.ts';
import { DeltaShape } from '../upstream/delta-shape.ts';
import { countOf, type Fields, fieldsOf, listOf, textOf } from '../upstream/json-fields.ts';
import { StopCutter } from '../upstream/stop-cutter.ts';
import { failureOf } from '../upstream/upstream-errors.ts';
import { UnknownAnswer } from '../upstream/upstream-generation.ts';

export interface ReadOptions {
	readonly path: 'completion' | 'chat';
	/** How many of the likeliest tokens beside each; null: no log-probabilities are read. */
	readonly tops: number | null;
	readonly tellIds: boolean;
	/** To cut here; empty: the engine does. */
	readonly stop: readonly string[];
	/** What the stop strings have seen of it already. */
	readonly before: string;
	/** Tokens at the end of its prompt that are of its answer. */
	readonly resumed: number;
	/** Of the prompt without these; null: not known before the end. */
	readonly tokensIn: number | null;
}

export class VllmReader implements AnswerReader {
	readonly shape: DeltaShape | null;
	readonly #options: ReadOptions;
	readonly #cutter: StopCutter;

	constructor(target: UpstreamTarget, options: ReadOptions) {
		this.#options = options;
		const { path, tops, tellIds, stop, before } = options;
		const text = path === 'chat' ? (['choices', 0, 'delta', 'content'] as const) : (['choices', 0, 'text'] as const);
		// Where all is read of a token, or text may have to wait, every chunk is parsed.
		const make = (): DeltaShape => new DeltaShape(text, tellIds ? [['choices', 0, 'token_ids', 0]] : [], openaiUnread);
		this.shape = tops !== null || stop.length > 0 ? null : shapeOf(target, `${path} ${tellIds}`, make);
		this.#cutter = new StopCutter(stop, tellIds, before);
	}

	numbers(
		shape: DeltaShape,
		bytes: Buffer,
	): { readonly tokens: number; readonly id: number; readonly logprob: number; readonly told: number } {
		if (!this.#options.tellIds) return untold;
		const told = shape.number(bytes, 1);
		return { tokens: 1, id: -1, logprob: Number.NaN, told: Number.isNaN(told) ? -1 : told };
	}

	read(event: unknown, _name: string, to: AnswerSink): void {
		const chunk = fieldsOf(event);
		if (chunk['error'] !== undefined && chunk['error'] !== null) return to.failed(errorIn(chunk['error']));
		const { tokensIn, resumed } = this.#options;
		if (tokensIn !== null) to.used({ tokensIn });
		readUsage(chunk['usage'], resumed, to);
		const [first] = listOf(chunk['choices']);
		if (first === undefined) return;
		const choice = fieldsOf(first);
		const reason = textOf(choice['finish_reason']);
		if (reason === 'abort' || reason === 'error') return to.failed(failure('WORKER_RESET', `the engine gave the request up: ${reason}`));
		this.#piece(choice, to);
		this.#cutter.behind(reason === null ? null : reason === 'length' ? 'length' : 'stop', to);
	}

	word(data: string): boolean {
		return data === '[DONE]';
	}

	finish(to: AnswerSink): void {
		this.#cutter.finish(to);
	}

	#piece(choice: Fields, to: AnswerSink): void {
		const delta = fieldsOf(choice['delta']);
		const text = textOf(this.#options.path === 'chat' ? delta['content'] : choice['text']) ?? '';
		// The chunk that says who speaks is of no token.
		if (text === '' && delta['role'] !== undefined) return;
		const ids = listOf(choice['token_ids']).filter((id): id is number => typeof id === 'number');
		const { tops } = this.#options;
		const scores = tops === null ? [] : scoresOf(fieldsOf(choice['logprobs']), tops, ids);
		const tokens = Math.max(ids.length, scores.length);
		const score = scores.at(-1) ?? unscored;
		// A chunk that only says the end.
		if (text === '' && tokens === 0 && (Array.isArray(choice['token_ids']) || choice['finish_reason'] !== null)) return;
		const thoughts = textOf(delta['reasoning_content']) ?? textOf(delta['reasoning']) ?? '';
		// Behind thoughts nobody can go on: the raw path does not tell them from the answer. So they are without ids.
		const counted = Math.max(1, tokens);
		if (thoughts === '') return this.#cutter.push(text, counted, score, this.#options.tellIds ? ids : [], to);
		// Where a text stands beside them, the last token is its own.
		to.token(thoughts, text === '' ? counted : counted - 1, score, pieceIsReasoning);
		if (text !== '') this.#cutter.push(text, 1, score, [], to);
	}
}

const untold = { tokens: 1, id: -1, logprob: Number.NaN, told: -1 };

/** Of either path. Tokens are named `token_id:5`; by their texts where the likeliest are told, and then their `ids` stand beside. */
function scoresOf(logprobs: Fields, most: number, ids: readonly number[]): readonly Score[] {
	return scoredIn(logprobs, most).map(({ token, logprob, tops }, at) => {
		if (most > 0) return { id: ids[at] ?? noTokenId, logprob, tops: topsJson(tops) };
		const id = /^token_id:(\d+)$/.exec(textOf(token) ?? '')?.[1];
		if (id === undefined) throw new UnknownAnswer('the engine names a token by another thing than its id');
		return { id: Number(id), logprob, tops: null };
	});
}

function readUsage(value: unknown, resumed: number, to: AnswerSink): void {
	const usage = fieldsOf(value);
	const tokensIn = countOf(usage['prompt_tokens']) ?? countOf(usage['total_tokens']);
	const tokensOut = countOf(usage['completion_tokens']);
	const tokensCached = countOf(fieldsOf(usage['prompt_tokens_details'])['cached_tokens']);
	if (tokensIn !== undefined) to.used({ tokensIn: Math.max(0, tokensIn - resumed) });
	if (tokensOut !== undefined) to.used({ tokensOut });
	if (tokensCached !== undefined) to.used({ tokensCached });
}

/** `create_streaming_error_response`: the code is that of an HTTP answer. The message may quote the request. */
function errorIn(error: unknown): Failure {
	const code = countOf(fieldsOf(error)['code']) ?? 500;
	return failureOf(code, 'vllm', null, Date.now());
}
