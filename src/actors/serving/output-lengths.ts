/**
 * How long the answers of a pool are: the last ones as a distribution. An answer that was cut, by its own limit or by its
 * client, says only that it would have been longer: the distribution is the product-limit estimate (Kaplan, Meier, 1958). Pure;
 * the first expectation behind a sample costs O(n) of a small n, the others O(log n).
 */

const kept = 256;

export class OutputLengths {
	/** In order of arrival, as a ring; each is twice the tokens, and one more when it was cut. */
	readonly #ring = new Float64Array(kept);
	/** The same by size: of equal lengths, those that were cut come last. */
	readonly #sorted = new Float64Array(kept);
	/** Part of the answers that are longer than the sample at each place, and the mean of all answers cut at its length. */
	readonly #longer = new Float64Array(kept);
	readonly #meanUpTo = new Float64Array(kept);
	#count = 0;
	#next = 0;
	/** The limit that was asked about last, and the mean up to it: it is the same for nearly all tasks of a pool. */
	#limit = -1;
	#meanToLimit = 0;
	/** A sample came since the estimate was made: ends that come together cost one. */
	#stale = false;

	get empty(): boolean {
		return this.#count === 0;
	}

	/** `cut`: it might have had more. */
	add(tokens: number, cut: boolean): void {
		if (this.#count === kept) this.#drop(this.#ring[this.#next] ?? 0);
		const sample = 2 * tokens + Number(cut);
		this.#ring[this.#next] = sample;
		this.#next = (this.#next + 1) % kept;
		const at = this.#firstAbove(sample);
		this.#sorted.copyWithin(at + 1, at, this.#count);
		this.#sorted[at] = sample;
		this.#count += 1;
		this.#stale = true;
	}

	/**
	 * Tokens still to come of an answer that has `made` and may have `most`. Of one that is longer than any that ended: as many
	 * as it has had, or half of what it may still have.
	 */
	expectedMore(made: number, most: number): number {
		if (most <= made) return 0;
		if (this.#stale) this.#estimate();
		const at = this.#firstAbove(2 * made + 1) - 1;
		const longer = at < 0 ? 1 : (this.#longer[at] ?? 0);
		if (longer === 0) return Math.min(made, (most - made) / 2);
		if (most !== this.#limit) {
			this.#limit = most;
			this.#meanToLimit = this.#mean(most);
		}
		// As `#mean(made)`, whose place is known.
		const meanSoFar = at < 0 ? made : (this.#meanUpTo[at] ?? 0) + longer * (made - this.#tokensAt(at));
		return (this.#meanToLimit - meanSoFar) / longer;
	}

	/** Of all answers, each cut at `tokens`. */
	#mean(tokens: number): number {
		const at = this.#firstAbove(2 * tokens + 1) - 1;
		if (at < 0) return tokens;
		return (this.#meanUpTo[at] ?? 0) + (this.#longer[at] ?? 0) * (tokens - this.#tokensAt(at));
	}

	#estimate(): void {
		this.#stale = false;
		this.#limit = -1;
		const sorted = this.#sorted;
		const count = this.#count;
		let longer = 1;
		let mean = 0;
		let before = 0;
		for (let at = 0; at < count; at += 1) {
			const sample = sorted[at] as number;
			const tokens = Math.floor(sample / 2);
			mean += longer * (tokens - before);
			before = tokens;
			const ended = sample === 2 * tokens;
			if (ended) longer *= 1 - 1 / (count - at);
			this.#longer[at] = longer;
			this.#meanUpTo[at] = mean;
		}
	}

	#drop(sample: number): void {
		const at = this.#firstAbove(sample) - 1;
		this.#sorted.copyWithin(at, at + 1, this.#count);
		this.#count -= 1;
	}

	#tokensAt(at: number): number {
		return Math.floor((this.#sorted[at] ?? 0) / 2);
	}

	/** Index of the smallest sample above; the count when there is none. */
	#firstAbove(sample: number): number {
		let low = 0;
		let high = this.#count;
		while (low < high) {
			const middle = (low + high) >> 1;
			if ((this.#sorted[middle] ?? 0) <= sample) low = middle + 1;
			else high = middle;
		}
		return low;
	}
}
