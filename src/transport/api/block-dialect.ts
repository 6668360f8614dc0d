/**
 * A stream of an API whose answers are blocks that follow each other: a text, a thought, a call of a tool. Says where one ends and the next begins, as
 * `answerOf` does for answers that are given whole. One task to a request. On the front thread.
 */
import type { Failure } from '../../actors/serving/failure.ts';
import type { ByteSink } from '../stream/byte-sink.ts';
import type { Dialect, EndJson } from '../stream/dialect-feed.ts';
import type { TokenJson } from '../stream/token-frames.ts';
import type { CallDelta, Segment } from './answer.ts';

export interface Block {
	readonly kind: Segment['kind'];
	readonly index: number;
	/** Of a call. */
	readonly id: string;
	readonly name: string;
}

export abstract class BlockDialect implements Dialect {
	abstract readonly farewell: string;
	#open: Block | null = null;
	#count = 0;
	readonly #calls: Block[] = [];
	/** As soon as it is known: then the last block ends. */
	protected ending: EndJson | null = null;

	abstract begin(out: ByteSink): void;
	abstract fail(out: ByteSink, problem: Failure): void;
	abstract lastComments(): readonly string[];
	protected abstract start(out: ByteSink, block: Block): void;
	protected abstract delta(out: ByteSink, block: Block, text: string): void;
	protected abstract stop(out: ByteSink, block: Block): void;
	/** Around the inside of a JSON string that is a part of a text. */
	protected abstract textHead(out: ByteSink, block: Block): void;
	protected abstract textTail(out: ByteSink): void;
	/** Behind the last block. */
	protected abstract over(out: ByteSink, end: EndJson): void;

	openText(out: ByteSink): void {
		this.textHead(out, this.#blockOf(out, 'text'));
	}

	closeText(out: ByteSink): void {
		this.textTail(out);
	}

	piece(out: ByteSink, _choice: number, { t, c }: TokenJson): void {
		if (c === 'tool') this.#call(out, JSON.parse(t) as CallDelta);
		else if (t !== '' && this.tells(c ?? 'text')) this.delta(out, this.#blockOf(out, c ?? 'text'), t);
	}

	end(out: ByteSink, _choice: number, end: EndJson): void {
		this.ending = end;
		this.#close(out);
		this.over(out, end);
	}

	finish(): void {
		// All is said with the end of its one task.
	}

	/** Whether what is of that kind is told at all. */
	protected tells(_kind: Segment['kind']): boolean {
		return true;
	}

	#call(out: ByteSink, { index, id = '', function: called = {} }: CallDelta): void {
		let block = this.#calls[index];
		if (block === undefined) {
			block = this.#next(out, { kind: 'call', id, name: called.name ?? '' });
			this.#calls[index] = block;
		}
		const { arguments: part = '' } = called;
		if (part !== '') this.delta(out, block, part);
	}

	#blockOf(out: ByteSink, kind: 'text' | 'reasoning'): Block {
		return this.#open?.kind === kind ? this.#open : this.#next(out, { kind, id: '', name: '' });
	}

	#next(out: ByteSink, what: Omit<Block, 'index'>): Block {
		this.#close(out);
		const block = { ...what, index: this.#count };
		this.#count += 1;
		this.#open = block;
		this.start(out, block);
		return block;
	}

	#close(out: ByteSink): void {
		if (this.#open !== null) this.stop(out, this.#open);
		this.#open = null;
	}
}
