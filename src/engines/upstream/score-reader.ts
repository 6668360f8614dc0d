/**
 * Scores as Jina's API has them, `{results: [{index, relevance_score}], usage}`: `/rerank` of vLLM and `/v1/rerank` of llama-server.
 * Front threads.
 */
import type { AnswerReader, AnswerSink } from './adapter.ts';
import { countOf, type Fields, fieldsOf, listOf, numberOf } from './json-fields.ts';
import { UnknownAnswer } from './upstream-generation.ts';

/** Scores of texts, each the one number of a vector, in the order of the inputs. */
export class ScoreReader implements AnswerReader {
	readonly shape = null;
	readonly #inputs: number;

	constructor(inputs: number) {
		this.#inputs = inputs;
	}

	read(event: unknown, _name: string, to: AnswerSink): void {
		const answer = fieldsOf(event);
		const usage = fieldsOf(answer['usage']);
		const tokensIn = countOf(usage['prompt_tokens']) ?? countOf(usage['total_tokens']);
		if (tokensIn !== undefined) to.used({ tokensIn });
		const scores = new Map<number, number>();
		for (const each of listOf(answer['results'])) {
			const { index, relevance_score: value } = fieldsOf(each) as Fields & { index?: unknown; relevance_score?: unknown };
			const at = countOf(index);
			const score = numberOf(value);
			if (at === undefined || score === null) throw new UnknownAnswer('the engine sent a score without a number or an index');
			scores.set(at, score);
		}
		const vectors = Array.from({ length: this.#inputs }, (_, at) => scores.get(at)).map((score) => {
			if (score === undefined) throw new UnknownAnswer('the engine sent another number of scores than it was asked for');
			return Float32Array.of(score);
		});
		to.vectors(vectors);
		to.used({ tokensOut: 0 });
		to.ended('stop');
	}
}
