/**
 * The memory in which fronts meter the keys: one piece for each name, made by main when the name first comes, and kept for as long
 * as the daemon runs. A key that comes back under its name, or is exchanged under it, goes on where it stood.
 */
import { type MeteredKey, rateMemory } from './rate-meter.ts';

export class KeyMemories {
	readonly #memories = new Map<string, SharedArrayBuffer>();

	of(keys: readonly Omit<MeteredKey, 'memory'>[]): MeteredKey[] {
		return keys.map(({ name, rate, budgets }) => ({ name, rate, budgets, memory: this.#memoryOf(name) }));
	}

	#memoryOf(name: string): SharedArrayBuffer {
		const memory = this.#memories.get(name) ?? rateMemory();
		this.#memories.set(name, memory);
		return memory;
	}
}
