/**
 * Cuts stop strings from the texts of an engine that tells them, or whose texts may go on behind them. One per generation, on a front
 * thread; without stop strings it passes all on.
 */
import { type EmitPiece, PieceAssembler } from '../wire/piece-assembler.ts';
import type { AnswerSink, Score } from './adapter.ts';

export class StopCutter {
	readonly #assembler: PieceAssembler | null;
	#to: AnswerSink | null = null;
	#stopped = false;
	/** The assembler counts a token for each text; so many had none. */
	#owed = 0;
	#untold = 0;

	/** `before`: the text that it goes on behind. */
	constructor(stop: readonly string[], tellIds = false, before = '') {
		const emit: EmitPiece = (text, tokens, id, logprob, ids, tops) => {
			// Of some tokens no id may be known: nobody could go on behind them.
			if (ids !== null && !ids.includes(-1)) this.#to?.told(ids);
			const less = Math.min(this.#owed, tokens);
			this.#owed -= less;
			this.#untold += less;
			this.#to?.token(text, tokens - less, { id, logprob, tops });
		};
		this.#assembler = stop.length === 0 ? null : new PieceAssembler(stop, emit, tellIds);
		if (before !== '') this.#assembler?.resume([before]);
	}

	/** Of `tokens` tokens; `score`: of the last, for a client; `ids`: of all, for whoever goes on behind them, or none. */
	push(text: string, tokens: number, score: Score, ids: readonly number[], to: AnswerSink): void {
		this.#to = to;
		if (this.#stopped) return;
		if (this.#assembler === null) {
			to.told(ids);
			return to.token(text, tokens, score);
		}
		if (tokens === 0) {
			if (text === '') return;
			this.#owed += 1;
		}
		for (let token = 0; token < tokens - 1; token += 1) this.#assembler.push('', -1, Number.NaN, ids[token]);
		this.#stopped = this.#assembler.push(text, score.id, score.logprob, ids[tokens - 1], score.tops);
	}

	/** What an event says of the end: a reason, or null. An engine that goes on behind a stop string is left. */
	behind(reason: 'stop' | 'length' | null, to: AnswerSink): void {
		this.#to = to;
		if (reason !== null) {
			if (!this.#stopped) this.#assembler?.finish();
			to.ended(this.#stopped ? 'stop' : reason, this.#assembler?.stoppedBy);
		} else if (this.#stopped) {
			to.ended('stop', this.#assembler?.stoppedBy);
			to.enough();
		}
	}

	/** The answer is whole. Tokens of a stop string are not counted, as in our own engine; the others' usage has them. */
	finish(to: AnswerSink): void {
		if (this.#stopped && this.#assembler !== null) to.used({ tokensOut: this.#assembler.tokensOut - this.#untold });
	}
}
