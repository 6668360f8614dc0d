/**
 * Prompts that begin alike: an engine that had one has the beginning of the next in its cache. Fronts tell beginnings by hashes,
 * so that no prompt leaves its thread; the Dispatcher remembers which pool had each last, a Pool which replica. Pure. What is
 * remembered breaks ties and nothing else: two beginnings with one hash cost a prefill.
 */
import type { TaskRequest } from './task-request.ts';

/** Characters of a beginning, the longest first. Shorter prompts are computed anew as fast as they are looked up. */
const lengths = [2_048, 256] as const;
const remembered = 8_192;

const fnvOffset = 0x811c9dc5;
const fnvPrime = 0x01000193;

/** Hashes of the beginnings that a prompt is long enough for, the longest first; none where no cache may be used. */
export function prefixesOf({ input, workload, strict, kvHint }: TaskRequest): readonly number[] {
	if (workload !== 'completion' || strict || kvHint === 'cold' || input.kind === 'inputs') return [];
	const hash = new PrefixHash();
	if (input.kind === 'prompt') hash.add(input.text);
	else {
		for (const { role, content } of input.messages) {
			hash.add(role);
			if (hash.add(content)) break;
		}
	}
	return hash.found;
}

/** FNV-1a (Fowler, Noll, Vo) of UTF-16 code units. */
class PrefixHash {
	readonly found: number[] = [];
	#hash = fnvOffset;
	#length = 0;

	/** True: nothing behind this counts. */
	add(text: string): boolean {
		const end = Math.min(text.length, lengths[0] - this.#length);
		for (let at = 0; at < end; at += 1) {
			this.#hash = Math.imul(this.#hash ^ text.charCodeAt(at), fnvPrime);
			this.#length += 1;
			if (this.#length === lengths[0] || this.#length === lengths[1]) this.found.unshift(this.#hash);
		}
		return this.#length === lengths[0];
	}
}

/** Who had a beginning last. Bounded: the one that came longest ago is forgotten. */
export class PrefixPlaces {
	readonly #places = new Map<number, string>();

	/** Of the longest beginning that anybody had. */
	find(prefixes: readonly number[]): string | null {
		for (const prefix of prefixes) {
			const place = this.#places.get(prefix);
			if (place !== undefined) return place;
		}
		return null;
	}

	put(prefixes: readonly number[], place: string): void {
		for (const prefix of prefixes) {
			this.#places.delete(prefix);
			this.#places.set(prefix, place);
			if (this.#places.size <= remembered) continue;
			for (const oldest of this.#places.keys()) {
				this.#places.delete(oldest);
				break;
			}
		}
	}
}
