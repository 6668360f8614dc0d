/**
 * How wrong past predictions were: real time over predicted time, of the last few hundred. What is told of the next one is
 * read off this distribution, and holds as long as the next is like the last (split conformal prediction: Vovk, Gammerman,
 * Shafer, "Algorithmic Learning in a Random World", 2005). Pure.
 */

const kept = 256;
/** Times below this are alike: keeps ratios of tiny waits from being all noise. */
const floorMs = 50;
/** Of the first predictions nobody knows. */
const unknownP90 = 2;
/** Before so many were seen a prediction is not corrected by what is usual. */
const medianFrom = 16;

/** Real over predicted. */
export function errorRatio(predictedMs: number, realMs: number): number {
	return (realMs + floorMs) / (predictedMs + floorMs);
}

export class ErrorRatios {
	/** In order of arrival, as a ring, and by size. */
	readonly #ratios = new Float64Array(kept);
	readonly #sorted = new Float64Array(kept);
	#count = 0;

	add(predictedMs: number, realMs: number): void {
		const ratio = errorRatio(predictedMs, realMs);
		const slot = this.#count % kept;
		const known = Math.min(this.#count, kept);
		if (known === kept) {
			const at = this.#firstFrom(this.#ratios[slot] ?? 0, known);
			this.#sorted.copyWithin(at, at + 1, known);
		}
		const before = Math.min(known, kept - 1);
		const at = this.#firstFrom(ratio, before);
		this.#sorted.copyWithin(at + 1, at, before);
		this.#sorted[at] = ratio;
		this.#ratios[slot] = ratio;
		this.#count += 1;
	}

	/** What such predictions come to in the middle, over what they say; 1 until it is known. */
	get median(): number {
		const known = this.#known;
		return known < medianFrom ? 1 : (this.#sorted[known >> 1] ?? 1);
	}

	/** Milliseconds that half of such predictions did not exceed, where the middle is `median`. */
	static p50Ms(predictedMs: number, median: number): number {
		return Math.max(0, (predictedMs + floorMs) * median - floorMs);
	}

	/** Milliseconds that nine of ten such predictions did not exceed. */
	p90Ms(predictedMs: number): number {
		const known = this.#known;
		// The rank that makes the promise hold for the next one too, and not only for those that were seen.
		const rank = Math.min(known, Math.ceil((known + 1) * 0.9));
		const ratio = known === 0 ? unknownP90 : (this.#sorted[rank - 1] ?? unknownP90);
		return Math.max(predictedMs, (predictedMs + floorMs) * ratio - floorMs);
	}

	/**
	 * The part of past predictions whose error would have let this one be within `allowedMs`. Without any: whether the
	 * prediction itself is.
	 */
	probabilityWithin(predictedMs: number, allowedMs: number): number {
		const known = this.#known;
		if (known === 0) return predictedMs <= allowedMs ? 1 : 0;
		let low = 0;
		let high = known;
		while (low < high) {
			const middle = (low + high) >> 1;
			if ((predictedMs + floorMs) * (this.#sorted[middle] ?? 1) - floorMs <= allowedMs) low = middle + 1;
			else high = middle;
		}
		return low / known;
	}

	get #known(): number {
		return Math.min(this.#count, kept);
	}

	/** Index of the first ratio among so many that is not below; their number when all are. */
	#firstFrom(ratio: number, among: number): number {
		let low = 0;
		let high = among;
		while (low < high) {
			const middle = (low + high) >> 1;
			if ((this.#sorted[middle] ?? 0) < ratio) low = middle + 1;
			else high = middle;
		}
		return low;
	}
}
