/**
 * Memory that main shares with its threads: a row a thread, written by that thread, read by main's watchdog. Nothing else is
 * shared.
 *
 * | word (Int32) of a row | written by | meaning |
 * |---|---|---|
 * | 0 | the thread | heartbeats so far: grows while its event loop turns |
 * | 1 | the thread | how late the last heartbeat was, ms |
 */

const wordsPerRow = 2;

export class SharedTable {
	readonly buffer: SharedArrayBuffer;
	readonly #words: Int32Array;

	private constructor(buffer: SharedArrayBuffer) {
		this.buffer = buffer;
		this.#words = new Int32Array(buffer);
	}

	static forThreads(count: number): SharedTable {
		return new SharedTable(new SharedArrayBuffer(count * wordsPerRow * Int32Array.BYTES_PER_ELEMENT));
	}

	static over(buffer: SharedArrayBuffer): SharedTable {
		return new SharedTable(buffer);
	}

	/** By the thread itself: its event loop turns. */
	beat(row: number, lateMs: number): void {
		Atomics.add(this.#words, row * wordsPerRow, 1);
		Atomics.store(this.#words, row * wordsPerRow + 1, Math.round(lateMs));
	}

	beats(row: number): number {
		return Atomics.load(this.#words, row * wordsPerRow);
	}

	lateMs(row: number): number {
		return Atomics.load(this.#words, row * wordsPerRow + 1);
	}
}
