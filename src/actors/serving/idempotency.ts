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

export class IdempotencyIndex {
	readonly #tasks = new Map<string, KeyedTask>();
	readonly #keys = new Map<string, string[]>();

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
		const names = this.#keys.get(taskId);
		if (names === undefined) this.#keys.set(taskId, [name]);
		else if (names.length < keysPerTaskMax) names.push(name);
		else return false;
		this.#tasks.set(name, { taskId, bodyHash });
		return true;
	}

	/** Forgets the keys of a task. */
	drop(taskId: string): void {
		for (const name of this.#keys.get(taskId) ?? []) this.#tasks.delete(name);
		this.#keys.delete(taskId);
	}
}

/** The tenant's length keeps `a` + `b:c` and `a:b` + `c` apart. */
function scoped(tenant: string, key: string): string {
	return `${tenant.length}:${tenant}:${key}`;
}
