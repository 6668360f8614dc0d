/**
 * The directory of tasks: which front has which, by id and by idempotency key, so that a task is run once whatever front a
 * client speaks to. On the control thread, for the Dispatcher alone. What it knows comes with submissions; after a restart of
 * its thread the fronts report. Entries live as long as the front remembers the task: bounded by what fronts may remember.
 *
 * Of a front that is lost the entries stay, as its own, and are handed to the thread that takes its place.
 */

import type { AboutTask, KnownTask, TaskClaimed } from './home-messages.ts';
import { IdempotencyIndex } from './idempotency.ts';
import { ShardedMap } from './sharded-map.ts';

interface Entry {
	readonly frontId: string;
	readonly tenant: string;
	readonly bodyHash: string;
	keys: readonly string[];
	readonly about: AboutTask | null;
}

export class TaskHomes {
	readonly #entries = new ShardedMap<Entry>();
	readonly #keys = new IdempotencyIndex();
	/** Fronts that are lost and have no successor yet. */
	readonly #lost = new Set<string>();

	get size(): number {
		return this.#entries.size;
	}

	/** Put-if-absent. The home judges whether a request that names a known task is the same one. */
	claim(frontId: string, task: KnownTask): TaskClaimed['verdict'] {
		const { taskId, tenant } = task;
		const known = this.#entries.get(taskId);
		for (const key of task.keys) {
			const keyed = this.#keys.find(tenant, key);
			if (keyed === null || keyed.taskId === taskId) continue;
			if (known !== undefined) return { kind: 'contradiction' };
			const home = this.#entries.get(keyed.taskId);
			if (home !== undefined && home.frontId !== frontId) return { kind: 'elsewhere', frontId: home.frontId, taskId: keyed.taskId };
			// Its own front will find it by the key.
			return { kind: 'ours' };
		}
		if (known !== undefined) {
			// A new key beside a known id names that task from then on.
			if (known.tenant === tenant && known.bodyHash === task.bodyHash) this.#putKeys(taskId, known, task.keys);
			return known.frontId === frontId ? { kind: 'ours' } : { kind: 'elsewhere', frontId: known.frontId, taskId };
		}
		this.put(frontId, task);
		return { kind: 'ours' };
	}

	/** What a front knows: it has the task. False: another has one by its id or a key of it. */
	put(frontId: string, { taskId, tenant, bodyHash, keys, about }: KnownTask): boolean {
		const known = this.#entries.get(taskId);
		if (known !== undefined && known.frontId !== frontId) return false;
		if (keys.some((key) => this.#isOfAnother(frontId, tenant, key))) return false;
		const entry: Entry = { frontId, tenant, bodyHash, keys: known?.keys ?? [], about };
		this.#entries.set(taskId, entry);
		this.#putKeys(taskId, entry, keys);
		return true;
	}

	/** Its id is remembered, and no more than that. */
	expire(frontId: string, taskId: string): void {
		const entry = this.#entries.get(taskId);
		if (entry?.frontId !== frontId) return;
		// There are tens of thousands of these: what its home judges by is not kept here as well.
		this.#entries.set(taskId, { frontId: entry.frontId, tenant: entry.tenant, bodyHash: '', keys: entry.keys, about: null });
	}

	/** By the front that had it: another's entry of the same id stays. */
	forget(frontId: string, taskId: string): void {
		if (this.#entries.get(taskId)?.frontId !== frontId) return;
		this.#entries.delete(taskId);
		this.#keys.drop(taskId);
	}

	homeOf(taskId: string): string | null {
		return this.#entries.get(taskId)?.frontId ?? null;
	}

	frontLost(frontId: string): void {
		this.#lost.add(frontId);
	}

	/** What the predecessor of a front that has just joined knew, in order of admission: handed over once. */
	takeLost(frontId: string): KnownTask[] {
		if (!this.#lost.delete(frontId)) return [];
		const tasks: KnownTask[] = [];
		for (const [taskId, { frontId: home, tenant, bodyHash, keys, about }] of this.#entries) {
			if (home === frontId) tasks.push({ taskId, tenant, bodyHash, keys, about });
		}
		return tasks.sort((a, b) => (a.about?.admittedAt ?? 0) - (b.about?.admittedAt ?? 0));
	}

	#isOfAnother(frontId: string, tenant: string, key: string): boolean {
		const keyed = this.#keys.find(tenant, key);
		const home = keyed === null ? undefined : this.#entries.get(keyed.taskId);
		return home !== undefined && home.frontId !== frontId;
	}

	#putKeys(taskId: string, entry: Entry, keys: readonly string[]): void {
		for (const key of keys) {
			if (this.#keys.find(entry.tenant, key) !== null) continue;
			if (this.#keys.put(entry.tenant, key, taskId, entry.bodyHash)) entry.keys = [...entry.keys, key];
		}
	}
}
