/**
 * The directory of tasks: which front has which, by id and by idempotency key, so that a task is run once whatever front a
 * client speaks to. On the control thread, for the Dispatcher alone. What it knows comes with submissions; after a restart of
 * its thread the fronts report. Entries live as long as the front remembers the task: bounded by what fronts may remember.
 *
 * Of a front that is lost the entries stay, as its own, until the thread that takes its place has said which of these it knows: the others
 * had no 202.
 */

import type { KnownTask, TaskClaimed } from './home-messages.ts';
import { IdempotencyIndex } from './idempotency.ts';
import { ShardedMap } from './sharded-map.ts';

interface Entry {
	readonly frontId: string;
	readonly tenant: string;
	readonly bodyHash: string;
	keys: readonly string[];
	/** Which thread of that name has told it. */
	readonly life: number;
}

export class TaskHomes {
	readonly #entries = new ShardedMap<Entry>();
	readonly #keys = new IdempotencyIndex();
	/** How often each front was lost; not at all: absent. */
	readonly #lives = new Map<string, number>();

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
	put(frontId: string, { taskId, tenant, bodyHash, keys }: KnownTask): boolean {
		const known = this.#entries.get(taskId);
		if (known !== undefined && known.frontId !== frontId) return false;
		if (keys.some((key) => this.#isOfAnother(frontId, tenant, key))) return false;
		const entry: Entry = { frontId, tenant, bodyHash, keys: known?.keys ?? [], life: this.#lifeOf(frontId) };
		this.#entries.set(taskId, entry);
		this.#putKeys(taskId, entry, keys);
		return true;
	}

	/** Its id is remembered, and no more than that. */
	expire(frontId: string, taskId: string): void {
		const entry = this.#entries.get(taskId);
		if (entry?.frontId !== frontId) return;
		// There are tens of thousands of these: what its home judges by is not kept here as well.
		this.#entries.set(taskId, { frontId, tenant: entry.tenant, bodyHash: '', keys: entry.keys, life: entry.life });
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
		this.#lives.set(frontId, this.#lifeOf(frontId) + 1);
	}

	/** A front has told all that it knows. */
	reported(frontId: string): void {
		const life = this.#lifeOf(frontId);
		if (life === 0) return;
		const unknown = [...this.#entries].filter(([, entry]) => entry.frontId === frontId && entry.life < life);
		for (const [taskId] of unknown) this.forget(frontId, taskId);
	}

	#lifeOf(frontId: string): number {
		return this.#lives.get(frontId) ?? 0;
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
