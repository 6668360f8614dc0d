/**
 * One generation on a connection, from the asking side: what its task is told, in the order of the engine's bytes. The
 * pieces that one read brings are told at once: a task that is behind gets fewer and larger messages. Runs per batch of
 * tokens, on a front thread.
 */
import type { ActorRef, Delivery } from '../../actors/kernel/ref.ts';
import type { DecodeNews, Generation } from '../../actors/serving/decode.ts';

export class GenerationStream implements Generation {
	readonly kind = 'generation';
	readonly id: number;
	readonly #task: ActorRef<DecodeNews>;
	readonly #cancel: (stream: GenerationStream) => void;
	/** Of the read under way: the first run of records, and where more of them lie in the same bytes. */
	#bytes: Buffer | null = null;
	#start = 0;
	#end = 0;
	#count = 0;
	#moreBytes = 0;
	#more: number[] | null = null;
	#forsaken = false;

	constructor(id: number, task: ActorRef<DecodeNews>, cancel: (stream: GenerationStream) => void) {
		this.id = id;
		this.#task = task;
		this.#cancel = cancel;
	}

	cancel(): void {
		this.#cancel(this);
	}

	abandon(): void {
		this.forsake();
		this.cancel();
	}

	/** Nobody listens any more: what still comes is dropped, until its end. */
	forsake(): void {
		this.#forsaken = true;
	}

	/** Records that `bytes[start, end)` holds. They are told by `tellPieces`; true: nothing else waited for that. */
	hold(bytes: Buffer, start: number, end: number, count: number): boolean {
		if (this.#bytes === null) {
			this.#bytes = bytes;
			this.#start = start;
			this.#end = end;
			this.#count = count;
			return true;
		}
		this.#more ??= [];
		this.#more.push(start, end);
		this.#moreBytes += end - start;
		this.#count += count;
		return false;
	}

	/** Whether records of other bytes wait: they must be told first. */
	holdsOther(bytes: Buffer): boolean {
		return this.#bytes !== null && this.#bytes !== bytes;
	}

	/** Tells the task what was held; `accepted` when that is nothing. */
	tellPieces(): Delivery {
		const bytes = this.#bytes;
		if (bytes === null) return 'accepted';
		this.#bytes = null;
		if (this.#forsaken) {
			this.#moreBytes = 0;
			if (this.#more !== null) this.#more.length = 0;
			return 'accepted';
		}
		const count = this.#count;
		if (this.#moreBytes === 0) return this.#task.tell({ type: 'pieces', bytes, start: this.#start, end: this.#end, count });
		const gathered = this.#gather(bytes);
		return this.#task.tell({ type: 'pieces', bytes: gathered, start: 0, end: gathered.length, count });
	}

	/** Anything but pieces; what was held goes first. */
	tell(news: DecodeNews): Delivery {
		const delivery = this.tellPieces();
		if (this.#forsaken) return 'accepted';
		return delivery === 'accepted' ? this.#task.tell(news) : delivery;
	}

	/** The runs behind each other in bytes of their own: what lies between them belongs to other tasks. */
	#gather(bytes: Buffer): Buffer {
		const more = this.#more as number[];
		const gathered = Buffer.allocUnsafe(this.#end - this.#start + this.#moreBytes);
		let at = bytes.copy(gathered, 0, this.#start, this.#end);
		for (let index = 0; index < more.length; index += 2) at += bytes.copy(gathered, at, more[index], more[index + 1]);
		more.length = 0;
		this.#moreBytes = 0;
		return gathered;
	}
}
