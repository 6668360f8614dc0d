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
	readonly #ratios = new Float64Array(kept);
	#count = 0;
	/** By size; null: to be sorted anew. */
	#sorted: Float64Array | null = null;

	add(predictedMs: number, realMs: number): void {
		this.#ratios[this.#count % kept] = errorRatio(predictedMs, realMs);
		this.#count += 1;
		this.#sorted = null;
	}

	/** What such predictions come to in the middle, over what they say; 1 until it is known. */
	get median(): number {
		const sorted = this.#bySize();
		return sorted.length < medianFrom ? 1 : (sorted[sorted.length >> 1] ?? 1);
	}

	/** Milliseconds that half of such predictions did not exceed, where the middle is `median`. */
	static p50Ms(predictedMs: number, median: number): number {
		return Math.max(0, (predictedMs + floorMs) * median - floorMs);
	}

	/** Milliseconds that nine of ten such predictions did not exceed. */
	p90Ms(predictedMs: number): number {
		const sorted = this.#bySize();
		const { length } = sorted;
		// The rank that makes the promise hold for the next one too, and not only for those that were seen.
		const rank = Math.min(length, Math.ceil((length + 1) * 0.9));
		const ratio = length === 0 ? unknownP90 : (sorted[rank - 1] ?? unknownP90);
		return Math.max(predictedMs, (predictedMs + floorMs) * ratio - floorMs);
	}

	/**
	 * The part of past predictions whose error would have let this one be within `allowedMs`. Without any: whether the
	 * prediction itself is.
	 */
	probabilityWithin(predictedMs: number, allowedMs: number): number {
		const sorted = this.#bySize();
		if (sorted.length === 0) return predictedMs <= allowedMs ? 1 : 0;
		let low = 0;
		let high = sorted.length;
		while (low < high) {
			const middle = (low + high) >> 1;
			if ((predictedMs + floorMs) * (sorted[middle] ?? 1) - floorMs <= allowedMs) low = middle + 1;
			else high = middle;
		}
		return low / sorted.length;
	}

	#bySize(): Float64Array {
		this.#sorted ??= this.#ratios.slice(0, Math.min(this.#count, kept)).sort();
		return this.#sorted;
	}
}
