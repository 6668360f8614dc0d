/**
 * What is known of refs, by ref: for a few as for a hundred thousand. A map of V8 is copied as a whole when it grows, which for a large one
 * stops its thread for milliseconds: a large one of these is many small ones, of different sizes, so that they do not grow at the same
 * time. Single thread, pure.
 */
import type { Address } from './address.ts';

/** From so many on they are shared out. */
const manyFrom = 1_024;
const shardCount = 64;
const bits = 10;

/** Shard by the top bits of a mixed number: some have twice as many as others, and those between them all that is between. */
const shardAt = Uint8Array.from({ length: 2 ** bits }, (_, at) => Math.floor(shardCount * (2 ** (at / 2 ** bits) - 1)));

export class RefMap<V> {
	#few = new Map<Address<never>, V>();
	/** Null: there are few. */
	#shards: readonly Map<Address<never>, V>[] | null = null;
	#size = 0;

	get size(): number {
		return this.#size;
	}

	get(address: Address<never>): V | undefined {
		return this.#of(address).get(address);
	}

	has(address: Address<never>): boolean {
		return this.#of(address).has(address);
	}

	set(address: Address<never>, value: V): void {
		if (this.#shards === null && this.#size >= manyFrom) this.#shareOut();
		const map = this.#of(address);
		const before = map.size;
		map.set(address, value);
		this.#size += map.size - before;
	}

	delete(address: Address<never>): boolean {
		if (!this.#of(address).delete(address)) return false;
		this.#size -= 1;
		if (this.#size === 0) this.#shards = null;
		return true;
	}

	/** As they came; of many, in no order. */
	*keys(): Generator<Address<never>, undefined> {
		if (this.#shards === null) yield* this.#few.keys();
		else for (const shard of this.#shards) yield* shard.keys();
	}

	#of(address: Address<never>): Map<Address<never>, V> {
		if (this.#shards === null) return this.#few;
		// Fibonacci hashing (Knuth, TAOCP 3, 6.4): numbers that are counted are spread evenly.
		const at = Math.imul(address.number, 0x9e3779b1) >>> (32 - bits);
		return this.#shards[shardAt[at] as number] as Map<Address<never>, V>;
	}

	#shareOut(): void {
		const few = this.#few;
		this.#few = new Map();
		this.#shards = Array.from({ length: shardCount }, () => new Map<Address<never>, V>());
		for (const [address, value] of few) this.#of(address).set(address, value);
	}
}
