/**
 * Which task an `Idempotency-Key` of a tenant stands for. An entry lives as long as its task is known, and a task has few,
 * so the index is bounded by the tasks that are.
 */

/** A task is known by the key it came with, and by those of later requests that named it by its id. */
export const keysPerTaskMax = 8;

export interface KeyedTask {
	readonly taskId: string;
	readonly bodyHash: string;
}

/** What a task with keys is known by: one tenant's, one body's. */
export interface KeysOfTask {
	readonly tenant: string;
	readonly bodyHash: string;
	readonly keys: readonly string[];
}

export class IdempotencyIndex {
	readonly #tasks = new Map<string, KeyedTask>();
	readonly #keys = new Map<string, { readonly tenant: string; readonly bodyHash: string; readonly keys: string[] }>();

	get size(): number {
		return this.#tasks.size;
	}

	find(tenant: string, key: string): KeyedTask | null {
		return this.#tasks.get(scoped(tenant, key)) ?? null;
	}

	/** False: the task has as many keys as it may. */
	put(tenant: string, key: string, taskId: string, bodyHash: string): boolean {
		const name = scoped(tenant, key);
		if (this.#tasks.has(name)) throw new Error('idempotency: a key was given to two tasks');
		const known = this.#keys.get(taskId);
		if (known === undefined) this.#keys.set(taskId, { tenant, bodyHash, keys: [key] });
		else if (known.keys.length < keysPerTaskMax) known.keys.push(key);
		else return false;
		this.#tasks.set(name, { taskId, bodyHash });
		return true;
	}

	/** Null: it has none. */
	keysOf(taskId: string): KeysOfTask | null {
		return this.#keys.get(taskId) ?? null;
	}

	/** Forgets the keys of a task. */
	drop(taskId: string): void {
		const known = this.#keys.get(taskId);
		if (known === undefined) return;
		for (const key of known.keys) this.#tasks.delete(scoped(known.tenant, key));
		this.#keys.delete(taskId);
	}
}

/** The tenant's length keeps `a` + `b:c` and `a:b` + `c` apart. */
function scoped(tenant: string, key: string): string {
	return `${tenant.length}:${tenant}:${key}`;
}
