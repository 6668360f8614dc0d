/**
 * The body of one request, collected within the bounds, for any server library. On the front thread. Calls its receiver
 * exactly once, unless the peer leaves.
 */
import type { BodyReceiver } from './http-host.ts';

/** A body that goes on and on, a few bytes at a time, holds room that others want. */
export interface SlowBody {
	/** From its first bytes to its last. */
	readonly bodyMs: number;
	/** Ends its connection, which abandons the body. */
	readonly cut: () => void;
}

export class IncomingBody {
	readonly #receiver: BodyReceiver;
	readonly #bytesMax: number;
	readonly #reserve: (bytes: number) => boolean;
	#parts: Buffer[] = [];
	#bytes = 0;
	#done = false;
	readonly #slow: SlowBody;
	#timer: NodeJS.Timeout | null = null;

	/** `reserve`: room for so many more bytes among all bodies in flight; false when there is none. A negative number gives back. */
	constructor(receiver: BodyReceiver, bytesMax: number, reserve: (bytes: number) => boolean, slow: SlowBody) {
		this.#slow = slow;
		this.#receiver = receiver;
		this.#bytesMax = bytesMax;
		this.#reserve = reserve;
	}

	/** `chunk` is valid during the call only. */
	onData(chunk: Buffer, last: boolean): void {
		if (this.#done) return;
		const bytes = chunk.length;
		if (this.#bytes + bytes > this.#bytesMax) return this.refuse('too-large');
		if (last && this.#parts.length === 0) {
			this.#done = true;
			return this.#receiver.onBody(chunk);
		}
		if (!this.#reserve(bytes)) return this.refuse('no-room');
		if (!last) this.#timer ??= setTimeout(this.#slow.cut, this.#slow.bodyMs).unref();
		this.#bytes += bytes;
		this.#parts.push(Buffer.from(chunk));
		if (!last) return;
		const whole = Buffer.concat(this.#parts);
		this.abandon();
		this.#receiver.onBody(whole);
	}

	refuse(why: 'too-large' | 'no-room'): void {
		if (this.#done) return;
		this.abandon();
		this.#receiver.onBodyRefused(why);
	}

	abandon(): void {
		this.#done = true;
		if (this.#timer !== null) clearTimeout(this.#timer);
		this.#parts = [];
		this.#reserve(-this.#bytes);
		this.#bytes = 0;
	}
}
