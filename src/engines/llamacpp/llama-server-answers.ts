/**
 * What llama-server answers `/completion` with, as `server_task_result_cmpl_partial` and `…_final` write it (`to_json_non_oaicompat`,
 * `tools/server/server-task.cpp`): an event for each token, `{content, tokens: [id], tokens_predicted, …}`, and one with `stop: true`.
 * Front threads.
 *
 * Of a character of several tokens there is one event, with the id of the last: `tokens_predicted` tells how many there were. From there on
 * nobody could go on behind the ids that were told, so no more are.
 */
import { failure } from '../../actors/serving/failure.ts';
import { topsJson } from '../../actors/serving/top-tokens.ts';
import { topOf } from '../openai/openai-logprobs.ts';
import { type AnswerReader, type AnswerSink, type Score, shapeOf, type UpstreamTarget, unscored } from '../upstream/adapter.ts';
import { DeltaShape } from '../upstream/delta-shape.ts';
import { countOf, type Fields, fieldsOf, listOf, numberOf, textOf } from '../upstream/json-fields.ts';
import { StopCutter } from '../upstream/stop-cutter.ts';
import { failureOf } from '../upstream/upstream-errors.ts';
import { UnknownAnswer } from '../upstream/upstream-generation.ts';

export interface LlamaReadOptions {
	/** How many of the likeliest tokens beside each; null: no log-probabilities are read. */
	readonly tops: number | null;
	readonly tellIds: boolean;
	/** To cut here; empty: the engine does. */
	readonly stop: readonly string[];
	/** What the stop strings have seen of it already. */
	readonly before: string;
	/** Tokens at the end of its prompt that are of its answer. */
	readonly resumed: number;
}

interface Numbers {
	readonly tokens: number;
	readonly id: number;
	readonly logprob: number;
	readonly told: number;
}

export class LlamaReader implements AnswerReader {
	readonly shape: DeltaShape | null;
	readonly #options: LlamaReadOptions;
	readonly #stops: StopCutter;
	#predicted = 0;
	#tellIds: boolean;

	constructor(target: UpstreamTarget, options: LlamaReadOptions) {
		this.#options = options;
		const { tops, stop, before, tellIds } = options;
		this.#tellIds = tellIds;
		// Where all is read of a token, or text may have to wait, every event is parsed.
		const make = (): DeltaShape => new DeltaShape(['content'], [['tokens', 0], ['tokens_predicted']]);
		this.shape = tops !== null || stop.length > 0 ? null : shapeOf(target, `completion ${tellIds}`, make);
		this.#stops = new StopCutter(stop, tellIds, before);
	}

	numbers(shape: DeltaShape, bytes: Buffer): Numbers {
		const tokens = this.#tokensUntil(shape.number(bytes, 2));
		return { tokens, id: -1, logprob: Number.NaN, told: this.#tellIds ? shape.number(bytes, 1) : -1 };
	}

	read(event: unknown, _name: string, to: AnswerSink): void {
		const result = fieldsOf(event);
		const { error } = result as Fields & { error?: unknown };
		if (error !== undefined && error !== null) {
			const code = countOf(fieldsOf(error)['code']) ?? 500;
			return to.failed(failureOf(code, 'llamacpp', null, Date.now()));
		}
		const evaluated = countOf(result['tokens_evaluated']);
		if (evaluated !== undefined) to.used({ tokensIn: Math.max(0, evaluated - this.#options.resumed) });
		if (result['stop'] === true) return this.#end(result, to);
		const text = textOf(result['content']);
		if (text === null) throw new UnknownAnswer('the engine sent an event without content');
		const tokens = this.#tokensUntil(numberOf(result['tokens_predicted']) ?? Number.NaN);
		const score = this.#options.tops === null ? unscored : scoreOf(result, this.#options.tops);
		const told = countOf(listOf(result['tokens'])[0]);
		this.#stops.push(text, tokens, score, this.#tellIds && told !== undefined ? [told] : [], to);
		this.#stops.behind(null, to);
	}

	finish(to: AnswerSink): void {
		this.#stops.finish(to);
	}

	#end(result: Fields, to: AnswerSink): void {
		const evaluated = countOf(result['tokens_evaluated']);
		const predicted = countOf(result['tokens_predicted']);
		const timings = fieldsOf(result['timings']);
		const processed = countOf(timings['prompt_n']);
		const cached = countOf(timings['cache_n']) ?? (evaluated === undefined || processed === undefined ? undefined : evaluated - processed);
		if (cached !== undefined) to.used({ tokensCached: Math.max(0, cached) });
		if (predicted !== undefined) to.used({ tokensOut: predicted });
		const type = textOf(result['stop_type']);
		if (type === 'none' || type === null) to.failed(failure('WORKER_RESET', 'the engine gave the request up'));
		else this.#stops.behind(type === 'limit' ? 'length' : 'stop', to);
	}

	/** Since the event before. */
	#tokensUntil(predicted: number): number {
		const tokens = Number.isNaN(predicted) ? 1 : Math.max(0, predicted - this.#predicted);
		this.#predicted += tokens;
		if (tokens !== 1) this.#tellIds = false;
		return tokens;
	}
}

/** `completion_probabilities` of one token (`completion_token_output::probs_vector_to_json`). */
function scoreOf(result: Fields, most: number): Score {
	const score = fieldsOf(listOf(result['completion_probabilities'])[0]);
	const tops = listOf(score['top_logprobs']).slice(0, most).flatMap(topOf);
	return { id: countOf(score['id']) ?? -1, logprob: numberOf(score['logprob']) ?? Number.NaN, tops: topsJson(tops) };
}
