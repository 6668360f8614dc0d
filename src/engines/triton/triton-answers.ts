/**
 * What `/generate_stream` answers (docs/protocol/extension_generate.md of triton-inference-server/server): outputs of the model by their names,
 * `text_output` among them, or an `error`. Nothing marks the end but the end of the body; why a text ended the vLLM backend says, of the
 * TensorRT-LLM backend it follows from how many tokens came. Front threads.
 */
import { failure } from '../../actors/serving/failure.ts';
import { type AnswerReader, type AnswerSink, unscored } from '../upstream/adapter.ts';
import { DeltaShape } from '../upstream/delta-shape.ts';
import { countOf, fieldsOf, textOf } from '../upstream/json-fields.ts';
import { StopCutter } from '../upstream/stop-cutter.ts';
import { UnknownAnswer } from '../upstream/upstream-generation.ts';

export interface TritonReadOptions {
	readonly whole: boolean;
	readonly stop: readonly string[];
	readonly maxTokens: number;
	/** It says why it ends. */
	readonly saysWhy: boolean;
	/** It says how many tokens each text has; else each has one. */
	readonly saysTokens: boolean;
}

export class TritonReader implements AnswerReader {
	readonly shape: DeltaShape | null;
	readonly #options: TritonReadOptions;
	readonly #cutter: StopCutter;
	/** Of a text that comes as a whole each time: what was passed on. */
	#told = '';
	#held = '';
	#made = 0;

	constructor(options: TritonReadOptions) {
		this.#options = options;
		this.#cutter = new StopCutter(options.stop);
		this.shape =
			options.whole || options.stop.length > 0 ? null : new DeltaShape(['text_output'], options.saysTokens ? [['num_output_tokens']] : []);
	}

	numbers(shape: DeltaShape, bytes: Buffer): { readonly tokens: number; readonly id: number; readonly logprob: number } {
		const said = this.#options.saysTokens ? shape.number(bytes, 1) : 1;
		return { tokens: this.#count(Number.isNaN(said) ? 1 : said), id: -1, logprob: Number.NaN };
	}

	read(event: unknown, _name: string, to: AnswerSink): void {
		const answer = fieldsOf(event);
		// Its words may quote the request.
		if (answer['error'] !== undefined) return to.failed(failure('WORKER_RESET', 'the engine reports an error', { engine: 'triton' }));
		const tokensIn = countOf(answer['num_input_tokens']);
		if (tokensIn !== undefined) to.used({ tokensIn });
		const text = textOf(answer['text_output']);
		if (text === null) throw new UnknownAnswer('the engine sent no text_output');
		const reason = textOf(answer['finish_reason']);
		if (reason === 'abort') return to.failed(failure('WORKER_RESET', 'the engine gave the request up: abort', { engine: 'triton' }));
		const tokens = this.#count((this.#options.saysTokens ? countOf(answer['num_output_tokens']) : undefined) ?? 1);
		if (tokens > 0 || text !== '') this.#cutter.push(this.#options.whole ? this.#new(text) : text, tokens, unscored, [], to);
		// `str(None)`: it goes on.
		const ended = !this.#options.saysWhy || reason === null || reason === 'None' ? null : reason === 'length' ? 'length' : 'stop';
		if (ended !== null) this.#flush(to);
		this.#cutter.behind(ended, to);
	}

	finish(to: AnswerSink): void {
		if (!this.#options.saysWhy) {
			this.#flush(to);
			this.#cutter.behind(this.#made >= this.#options.maxTokens ? 'length' : 'stop', to);
		}
		this.#cutter.finish(to);
	}

	/** An event behind the last token has none: it is what tells the end. */
	#count(tokens: number): number {
		const counted = Math.max(0, Math.min(tokens, this.#options.maxTokens - this.#made));
		this.#made += counted;
		return counted;
	}

	/** What a text has that it did not have before. Of a character that is not whole yet, it shows signs for broken ones. */
	#new(text: string): string {
		const whole = text.replace(/\ufffd+$/, '');
		if (!whole.startsWith(this.#told)) throw new UnknownAnswer('text_output does not go on with what it was before; is triton.text delta?');
		const more = whole.slice(this.#told.length);
		this.#told = whole;
		this.#held = text.slice(whole.length);
		return more;
	}

	#flush(to: AnswerSink): void {
		if (this.#held !== '') this.#cutter.push(this.#held, 0, unscored, [], to);
		this.#held = '';
	}
}
