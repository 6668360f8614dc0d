/**
 * Which task an `Idempotency-Key` of a tenant stands for. An entry lives as long as its task is known, so the index is
 * bounded by the tasks that are.
 */

export interface KeyedTask {
	readonly taskId: string;
	readonly bodyHash: string;
}

export class IdempotencyIndex {
	readonly #tasks = new Map<string, KeyedTask>();
	readonly #keys = new Map<string, string>();

	get size(): number {
		return this.#tasks.size;
	}

	find(tenant: string, key: string): KeyedTask | null {
		return this.#tasks.get(scoped(tenant, key)) ?? null;
	}

	put(tenant: string, key: string, taskId: string, bodyHash: string): void {
		const name = scoped(tenant, key);
		if (this.#tasks.has(name)) throw new Error('idempotency: a key was given to two tasks');
		this.#tasks.set(name, { taskId, bodyHash });
		this.#keys.set(taskId, name);
	}

	/** Forgets the key of a task, if it had one. */
	drop(taskId: string): void {
		const name = this.#keys.get(taskId);
		if (name === undefined) return;
		this.#keys.delete(taskId);
		this.#tasks.delete(name);
	}
}

/** The tenant's length keeps `a` + `b:c` and `a:b` + `c` apart. */
function scoped(tenant: string, key: string): string {
	return `${tenant.length}:${tenant}:${key}`;
}
