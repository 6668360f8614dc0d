/**
 * What TGI answers: `StreamResponse` of `/generate_stream` and `ChatCompletionChunk` of `/v1/chat/completions`. Each event is one token,
 * whose text may be empty where a character is not whole, and is not shown where it is special. Texts have stop strings in them, so they are
 * cut here. Errors come as events, with 200. Front threads.
 */

import { type Failure, failure } from '../../actors/serving/failure.ts';
import { type TopToken, topsJson } from '../../actors/serving/top-tokens.ts';
import { openaiUnread } from '../openai/openai-adapter.ts';
import { namelessScore, scoredIn, withoutScores } from '../openai/openai-logprobs.ts';
import { type AnswerReader, type AnswerSink, type Score, shapeOf, type UpstreamTarget, unscored } from '../upstream/adapter.ts';
import { DeltaShape } from '../upstream/delta-shape.ts';
import { countOf, type Fields, fieldsOf, listOf, numberOf, textOf } from '../upstream/json-fields.ts';
import { StopCutter } from '../upstream/stop-cutter.ts';
import { failureOf } from '../upstream/upstream-errors.ts';

export interface TgiReadOptions {
	/** To cut here. */
	readonly stop: readonly string[];
	/** How many of the likeliest tokens beside each; null: no log-probabilities are read. */
	readonly tops: number | null;
	/** Of the prompt, where it was counted. */
	readonly tokensIn: number | null;
}

type Some<Name extends string> = Fields & Partial<Record<Name, unknown>>;

/** What both paths have in common: a token an event, and stop strings in the texts. */
abstract class TgiReader implements AnswerReader {
	abstract readonly shape: DeltaShape | null;
	protected readonly options: TgiReadOptions;
	readonly #cutter: StopCutter;

	constructor(options: TgiReadOptions) {
		this.options = options;
		this.#cutter = new StopCutter(options.stop);
	}

	abstract read(event: unknown, name: string, to: AnswerSink): void;

	finish(to: AnswerSink): void {
		this.#cutter.finish(to);
	}

	protected told(text: string, score: Score, reason: unknown, to: AnswerSink): void {
		this.#cutter.push(text, 1, score, [], to);
		this.#cutter.behind(reasonOf(reason), to);
	}

	protected use(input: unknown, output: unknown, to: AnswerSink): void {
		const tokensIn = countOf(input ?? this.options.tokensIn);
		const tokensOut = countOf(output);
		if (tokensIn !== undefined) to.used({ tokensIn });
		if (tokensOut !== undefined) to.used({ tokensOut });
	}
}

export class GenerateReader extends TgiReader {
	readonly shape: DeltaShape | null;

	constructor(target: UpstreamTarget, options: TgiReadOptions) {
		super(options);
		const { stop, tops } = options;
		const make = (): DeltaShape => new DeltaShape(['token', 'text'], [['token', 'id'], ['token', 'logprob'], ['index']]);
		this.shape = stop.length > 0 || (tops ?? 0) > 0 ? null : shapeOf(target, 'generate', make);
	}

	numbers(shape: DeltaShape, bytes: Buffer): { readonly tokens: number; readonly id: number; readonly logprob: number } {
		return this.options.tops === null ? unasked : { tokens: 1, id: shape.number(bytes, 1), logprob: shape.number(bytes, 2) };
	}

	read(event: unknown, _name: string, to: AnswerSink): void {
		const answer = fieldsOf(event) as Some<'token' | 'top_tokens' | 'details' | 'error' | 'error_type'>;
		const { token, details, error, error_type: type } = answer;
		if (error !== undefined) return to.failed(errorOf(textOf(type) ?? ''));
		const { text, special } = fieldsOf(token) as Some<'text' | 'special'>;
		const end = fieldsOf(details);
		this.use(end['input_length'], end['generated_tokens'], to);
		const { tops } = this.options;
		const score = tops === null ? unscored : scoreOf(token, answer.top_tokens, tops);
		this.told(special === true ? '' : (textOf(text) ?? ''), score, end['finish_reason'], to);
	}
}

const unasked = { tokens: 1, id: -1, logprob: Number.NaN };

/** `top_tokens` are of the same form as the token. */
function scoreOf(token: unknown, tops: unknown, most: number): Score {
	const { id, logprob } = fieldsOf(token) as Some<'id' | 'logprob'>;
	const beside = listOf(tops).slice(0, most).flatMap(topOf);
	return { id: countOf(id) ?? -1, logprob: numberOf(logprob) ?? Number.NaN, tops: topsJson(beside) };
}

function topOf(value: unknown): readonly TopToken[] {
	const { id, text, logprob } = fieldsOf(value) as Some<'id' | 'text' | 'logprob'>;
	const [t, known] = [textOf(text), countOf(id)];
	return t === null || known === undefined ? [] : [{ t, id: known, logprob: numberOf(logprob) ?? Number.NaN }];
}

export class TgiChatReader extends TgiReader {
	readonly shape: DeltaShape | null;
	/** Arguments of the call so far; null: there is none. */
	#given: string | null = null;

	constructor(target: UpstreamTarget, options: TgiReadOptions, hasTools: boolean) {
		super(options);
		const { stop, tops } = options;
		// It says of each chunk when that was made.
		const make = (): DeltaShape => new DeltaShape(['choices', 0, 'delta', 'content'], [], openaiUnread);
		this.shape = stop.length > 0 || tops !== null || hasTools ? null : shapeOf(target, 'chat', make);
	}

	read(event: unknown, _name: string, to: AnswerSink): void {
		const { error, error_type: type, usage, choices } = fieldsOf(event) as Some<'error' | 'error_type' | 'usage' | 'choices'>;
		if (error !== undefined && error !== null) {
			const status = countOf(fieldsOf(error)['http_status_code']);
			return to.failed(status === undefined ? errorOf(textOf(type) ?? '') : failureOf(status, 'tgi', null, Date.now()));
		}
		this.use(fieldsOf(usage)['prompt_tokens'], fieldsOf(usage)['completion_tokens'], to);
		const [first] = listOf(choices);
		if (first === undefined) return;
		const { delta, finish_reason: reason, logprobs } = fieldsOf(first) as Some<'delta' | 'finish_reason' | 'logprobs'>;
		const { tops } = this.options;
		const [score] = tops === null ? [unscored] : scoredIn(fieldsOf(logprobs), tops).map(namelessScore);
		if (score === undefined) return to.failed(withoutScores());
		const calls = fieldsOf(delta)['tool_calls'];
		if (calls !== undefined && calls !== null) return this.#call(Array.isArray(calls) ? listOf(calls)[0] : calls, to);
		this.told(textOf(fieldsOf(delta)['content']) ?? '', score, this.#given === null ? reason : null, to);
	}

	/** Behind a call there is no reason of an end. */
	word(data: string, to: AnswerSink): boolean {
		if (data !== '[DONE]') return false;
		if (this.#given === null) return true;
		// One without arguments is told by its first brace alone.
		if (this.#given === '{') to.toolCall({ index: 0, function: { arguments: '}' } }, 0);
		to.ended(isWhole(this.#given) ? 'tool_calls' : 'length');
		return true;
	}

	/** There is one at most; each delta of it has its id (`ChatState::push` of `router/src/chat.rs`). */
	#call(value: unknown, to: AnswerSink): void {
		const { id, function: called } = fieldsOf(value) as Some<'id' | 'function'>;
		const { name, arguments: given } = fieldsOf(called) as Some<'name' | 'arguments'>;
		const text = textOf(given) ?? '';
		if (this.#given !== null) to.toolCall({ index: 0, function: { arguments: text } });
		else {
			const known = { id: textOf(id) ?? '0', type: 'function' } as const;
			to.toolCall({ index: 0, ...known, function: { name: textOf(name) ?? '', arguments: text } });
		}
		this.#given = (this.#given ?? '') + text;
	}
}

/** `FinishReason`: `length`, `eos_token`, `stop_sequence`; in a chat `stop` for the latter. */
function reasonOf(reason: unknown): 'stop' | 'length' | null {
	return typeof reason !== 'string' ? null : reason === 'length' ? 'length' : 'stop';
}

/** `InferError::error_type` of `router/src/infer/mod.rs`. The message may quote the request. */
function errorOf(type: string): Failure {
	const says = /^[a-z_]{1,40}$/.test(type) ? `the engine reports an error: ${type}` : 'the engine reports an error';
	switch (type) {
		case 'validation':
		case 'template_error':
		case 'missing_template_variable':
		case 'tool_error':
			return failure('INVALID_PARAMS', says, { engine: 'tgi' });
		case 'overloaded':
			return failureOf(429, 'tgi', null, Date.now());
		default:
			return failure('WORKER_RESET', says, { engine: 'tgi' });
	}
}

/** TGI says no more of a call that its length cut. */
function isWhole(given: string): boolean {
	if (given === '{') return true;
	try {
		JSON.parse(given);
		return true;
	} catch (error) {
		if (!(error instanceof SyntaxError)) throw error;
		return false;
	}
}
