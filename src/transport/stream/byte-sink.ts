/** Bytes put together for one write: one growing buffer a thread, used again for each; what is taken from it is a copy. Not for two at once. */
const firstBytes = 64 * 1024;
const keptBytes = 1024 * 1024;

export class ByteSink {
	#buffer = Buffer.allocUnsafeSlow(firstBytes);
	used = 0;

	/** A copy of all that was put, and an empty sink. */
	take(): Buffer {
		const bytes = Buffer.from(this.#buffer.subarray(0, this.used));
		this.used = 0;
		if (this.#buffer.length > keptBytes) this.#buffer = Buffer.allocUnsafeSlow(firstBytes);
		return bytes;
	}

	bytes(bytes: Uint8Array): void {
		const { used } = this;
		this.#reserve(bytes.length);
		this.#buffer.set(bytes, used);
		this.used = used + bytes.length;
	}

	/** Short ones byte by byte: a call into the platform costs more. */
	range(from: Buffer, start: number, end: number): void {
		const length = end - start;
		this.#reserve(length);
		let { used } = this;
		if (length > 24) {
			from.copy(this.#buffer, used, start, end);
			this.used = used + length;
			return;
		}
		const to = this.#buffer;
		for (let at = start; at < end; at += 1, used += 1) to[used] = from[at] as number;
		this.used = used;
	}

	text(text: string): void {
		this.#reserve(text.length * 3);
		this.used += this.#buffer.write(text, this.used, 'utf8');
	}

	#reserve(bytes: number): void {
		const needed = this.used + bytes;
		if (needed <= this.#buffer.length) return;
		const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2));
		this.#buffer.copy(grown, 0, 0, this.used);
		this.#buffer = grown;
	}
}
