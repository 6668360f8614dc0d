/**
 * Finds stop strings in a text that comes in parts, however it is cut. Pure, one per generation, in a host process. Each
 * UTF-16 unit is looked at once per stop string (Knuth, Morris and Pratt), so that no text and no stop string is slow.
 *
 * The stop string that is whole first wins; of several that end at the same unit, the longest.
 */

interface Stop {
	readonly text: string;
	/** Its place among those that were given. */
	readonly place: number;
	/** Length of the longest proper prefix of `text` that ends each of its prefixes. */
	readonly fallback: Uint32Array;
	/** Units of `text` that the end of what was fed matches. */
	matched: number;
}

export class StopMatcher {
	readonly #stops: readonly Stop[];
	/** Units at the end of what was fed that may still become a stop string. */
	pending = 0;
	/** Place of the stop string that is whole, among those that were given; −1: none is. */
	found = -1;

	/** Empty stop strings are ignored. */
	constructor(stops: readonly string[]) {
		this.#stops = stops.map((text, place) => ({ text, place, fallback: fallbackOf(text), matched: 0 })).filter(({ text }) => text !== '');
	}

	/** Nothing to look for. */
	get idle(): boolean {
		return this.#stops.length === 0;
	}

	/** Where a stop string begins, counted from the beginning of `text` (below 0: in what was fed before); null when none is whole. */
	feed(text: string): number | null {
		for (let index = 0; index < text.length; index += 1) {
			const unit = text.charCodeAt(index);
			let longest = 0;
			for (const stop of this.#stops) {
				if (!advance(stop, unit) || stop.text.length <= longest) continue;
				longest = stop.text.length;
				this.found = stop.place;
			}
			if (longest > 0) return index + 1 - longest;
		}
		this.pending = 0;
		for (const stop of this.#stops) this.pending = Math.max(this.pending, stop.matched);
		return null;
	}
}

/** True when the stop string is whole. */
function advance(stop: Stop, unit: number): boolean {
	const { text, fallback } = stop;
	let { matched } = stop;
	while (matched > 0 && text.charCodeAt(matched) !== unit) matched = fallback[matched - 1] as number;
	if (text.charCodeAt(matched) === unit) matched += 1;
	stop.matched = matched;
	return matched === text.length;
}

function fallbackOf(text: string): Uint32Array {
	const fallback = new Uint32Array(text.length);
	let length = 0;
	for (let index = 1; index < text.length; index += 1) {
		while (length > 0 && text.charCodeAt(index) !== text.charCodeAt(length)) length = fallback[length - 1] as number;
		if (text.charCodeAt(index) === text.charCodeAt(length)) length += 1;
		fallback[index] = length;
	}
	return fallback;
}
