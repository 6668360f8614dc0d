/**
 * Ids of tasks: UUIDv7, in the order of their making within a millisecond too. The last byte names the front thread that
 * made it. On the front thread.
 */
import { randomFillSync } from 'node:crypto';

const randomBytes = 10;
const poolIds = 256;

export class TaskIds {
	readonly #front: number;
	readonly #wallClock: () => number;
	/** Drawn many at a time: a call for each id costs more than all else here. */
	readonly #pool = Buffer.alloc(poolIds * randomBytes);
	#used = this.#pool.length;
	#lastMs = 0;
	#counter = 0;

	/** `front` is 0 … 255. */
	constructor(front: number, wallClock: () => number = Date.now) {
		if (!Number.isInteger(front) || front < 0 || front > 255) throw new Error(`task ids: front ${front} is not 0 … 255`);
		this.#front = front;
		this.#wallClock = wallClock;
	}

	next(): string {
		const now = Math.max(this.#wallClock(), this.#lastMs);
		if (this.#used === this.#pool.length) {
			randomFillSync(this.#pool);
			this.#used = 0;
		}
		const random = this.#pool.subarray(this.#used, this.#used + randomBytes);
		this.#used += randomBytes;
		// RFC 9562, 6.2, method 1: 12 bits count within a millisecond, from a random start with room above it
		if (now > this.#lastMs) this.#counter = random.readUInt16BE(0) & 0x7ff;
		else this.#counter += 1;
		this.#lastMs = now;
		if (this.#counter > 0xfff) {
			this.#lastMs += 1;
			this.#counter = random.readUInt16BE(0) & 0x7ff;
		}
		random[2] = 0x80 | ((random[2] as number) & 0x3f);
		random[9] = this.#front;
		const time = this.#lastMs.toString(16).padStart(12, '0');
		const hex = random.toString('hex', 2);
		const counter = this.#counter.toString(16).padStart(3, '0');
		return `${time.slice(0, 8)}-${time.slice(8)}-7${counter}-${hex.slice(0, 4)}-${hex.slice(4)}`;
	}
}
