/**
 * A map from ids to what they name, for a hundred thousand of them: many small maps, by the end of the id. A map of V8 is copied
 * as a whole when it grows, which for a large one stops its thread for milliseconds; these are copied one at a time, and not all
 * at the same number of entries. Pure.
 */

const shardsMax = 64;

export class ShardedMap<V> {
	readonly #shards: (Map<string, V> | undefined)[] = new Array(shardsMax);
	#size = 0;

	get size(): number {
		return this.#size;
	}

	get(key: string): V | undefined {
		return this.#shards[shardOf(key)]?.get(key);
	}

	has(key: string): boolean {
		return this.#shards[shardOf(key)]?.has(key) === true;
	}

	set(key: string, value: V): void {
		const at = shardOf(key);
		let shard = this.#shards[at];
		if (shard === undefined) {
			shard = new Map();
			this.#shards[at] = shard;
		}
		const before = shard.size;
		shard.set(key, value);
		this.#size += shard.size - before;
	}

	delete(key: string): boolean {
		const gone = this.#shards[shardOf(key)]?.delete(key) === true;
		if (gone) this.#size -= 1;
		return gone;
	}

	/** In no order. */
	*values(): Generator<V, undefined> {
		for (const shard of this.#shards) if (shard !== undefined) yield* shard.values();
	}

	/** In no order. */
	*[Symbol.iterator](): Generator<[string, V], undefined> {
		for (const shard of this.#shards) if (shard !== undefined) yield* shard;
	}
}

/** Ids differ at their ends: random digits, or numbers that are counted. */
function shardOf(key: string): number {
	const { length } = key;
	if (length < 2) return length === 0 ? 0 : key.charCodeAt(0) % shardsMax;
	return (key.charCodeAt(length - 1) * 31 + key.charCodeAt(length - 2) * 7) % shardsMax;
}
