/**
 * Finds, in a text that a user wrote, what could become a special token inside a prompt: the whole name of one, and a part of
 * a name at either edge, which the neighbouring text might complete. Pure.
 */

export interface Span {
	readonly from: number;
	readonly to: number;
}

export class SpecialGuard {
	readonly #names: RegExp | null;
	/** Every proper beginning and every proper end of a name. */
	readonly #beginnings = new Set<string>();
	readonly #ends = new Set<string>();
	readonly #longest: number;

	constructor(names: readonly string[]) {
		const byLength = names.filter((name) => name !== '').sort((a, b) => b.length - a.length);
		this.#longest = byLength[0]?.length ?? 0;
		this.#names = byLength.length === 0 ? null : new RegExp(byLength.map((name) => escaped(name)).join('|'), 'g');
		for (const name of byLength) {
			for (let length = 1; length < name.length; length += 1) {
				this.#beginnings.add(name.slice(0, length));
				this.#ends.add(name.slice(-length));
			}
		}
	}

	/** In order, none overlapping. */
	spans(text: string): Span[] {
		if (this.#names === null || text === '') return [];
		const first = this.#longestEdge(text, this.#ends, (length) => text.slice(0, length));
		const last = this.#longestEdge(text, this.#beginnings, (length) => text.slice(-length));
		const spans: Span[] = [];
		if (first > 0) spans.push({ from: 0, to: first });
		for (const match of text.matchAll(this.#names)) spans.push({ from: match.index, to: match.index + match[0].length });
		if (last > 0) spans.push({ from: text.length - last, to: text.length });
		return merged(spans);
	}

	/** Where the name begins that this place is inside of; −1: it is inside of none. */
	nameAcross(text: string, place: number): number {
		if (this.#names === null) return -1;
		const from = Math.max(0, place - this.#longest);
		for (const match of text.slice(from, place + this.#longest).matchAll(this.#names)) {
			const start = from + match.index;
			if (start < place && start + match[0].length > place) return start;
		}
		return -1;
	}

	#longestEdge(text: string, edges: ReadonlySet<string>, edge: (length: number) => string): number {
		for (let length = Math.min(this.#longest - 1, text.length); length > 0; length -= 1) if (edges.has(edge(length))) return length;
		return 0;
	}
}

function merged(spans: readonly Span[]): Span[] {
	const result: Span[] = [];
	for (const span of [...spans].sort((a, b) => a.from - b.from)) {
		const before = result.at(-1);
		if (before !== undefined && span.from < before.to) result[result.length - 1] = { from: before.from, to: Math.max(before.to, span.to) };
		else result.push(span);
	}
	return result;
}

function escaped(text: string): string {
	return text.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}
