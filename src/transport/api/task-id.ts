/**
 * Ids of tasks: UUIDv7, in the order of their making within a millisecond too. The last byte names the front thread that
 * made it. On the front thread.
 */
import { randomFillSync } from 'node:crypto';

const randomBytes = 10;
const poolIds = 256;

export class TaskIds {
	readonly #wallClock: () => number;
	/** Drawn many at a time, and read as text once: a call for each id costs more than all else here. */
	readonly #pool = Buffer.alloc(poolIds * randomBytes);
	#hex = '';
	#used = this.#pool.length;
	readonly #frontHex: string;
	#lastMs = 0;
	#msHex = '';
	#counter = 0;

	/** `front` is 0 … 255. */
	constructor(front: number, wallClock: () => number = Date.now) {
		if (!Number.isInteger(front) || front < 0 || front > 255) throw new Error(`task ids: front ${front} is not 0 … 255`);
		this.#frontHex = hex(front, 2);
		this.#wallClock = wallClock;
	}

	next(): string {
		const now = Math.max(this.#wallClock(), this.#lastMs);
		if (this.#used === this.#pool.length) this.#draw();
		const at = this.#used;
		this.#used += randomBytes;
		const start = this.#pool.readUInt16BE(at) & 0x7ff;
		// RFC 9562, 6.2, method 1: 12 bits count within a millisecond, from a random start with room above it
		if (now > this.#lastMs) this.#startMs(now, start);
		else this.#counter += 1;
		if (this.#counter > 0xfff) this.#startMs(this.#lastMs + 1, start);
		const random = this.#hex.slice(2 * at + 4, 2 * (at + randomBytes - 1));
		return `${this.#msHex}-7${hex(this.#counter, 3)}-${random.slice(0, 4)}-${random.slice(4)}${this.#frontHex}`;
	}

	#startMs(ms: number, counter: number): void {
		const text = hex(ms, 12);
		this.#lastMs = ms;
		this.#msHex = `${text.slice(0, 8)}-${text.slice(8)}`;
		this.#counter = counter;
	}

	/** With the variant of RFC 9562 where it stands in an id. */
	#draw(): void {
		randomFillSync(this.#pool);
		for (let at = 2; at < this.#pool.length; at += randomBytes) this.#pool[at] = 0x80 | ((this.#pool[at] as number) & 0x3f);
		this.#hex = this.#pool.toString('hex');
		this.#used = 0;
	}
}

function hex(value: number, digits: number): string {
	return value.toString(16).padStart(digits, '0');
}
