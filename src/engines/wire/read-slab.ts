/**
 * Where what was read from a socket lives until its messages are handled: reads behind each other in one block, so that a
 * read costs a copy and no allocation of its own. A block is freed when nothing in it is referred to any more. Front threads.
 */

const blockBytes = 256 * 1024;

export class ReadSlab {
	#block = Buffer.allocUnsafeSlow(blockBytes);
	#used = 0;

	/** A copy of the first `length` bytes, never written to again. */
	keep(buffer: Buffer, length: number): Buffer {
		if (this.#used + length > blockBytes) {
			this.#block = Buffer.allocUnsafeSlow(Math.max(blockBytes, length));
			this.#used = 0;
		}
		const kept = this.#block.subarray(this.#used, this.#used + length);
		buffer.copy(kept, 0, 0, length);
		this.#used += length;
		return kept;
	}
}
