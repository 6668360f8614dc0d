/**
 * The model of a pool, and how it is exchanged: which model its replicas are to run, whose turn it is, and the way back. Part
 * of the Pool actor; pure.
 * ```
 *   steady ─reload─► verifying ─verified─► swapping ─all ready─► steady, the new model
 *      ▲                 └─refused─► steady, the old one    └─one failed─► swapping back ─► steady, the old one
 * ```
 * Replicas go one at a time: no new tasks, the last one ends, then the other model. A purge is the same with the same model, and a
 * changed configuration the same with other settings.
 */
import type { Purging, ReplicaNews } from './messages.ts';
import type { ReplicaRow } from './pool-replicas.ts';

export interface PoolModel {
	/** As it is named in a `model_ref`. */
	readonly ref: string;
	/** What its driver starts it with. */
	readonly settings: unknown;
}

interface Swap {
	readonly from: PoolModel;
	readonly to: PoolModel;
	/** To the old model, for the new one did not start; or anew with the same. There is no way further back. */
	readonly back: boolean;
	/** Replicas that are to be started anew whatever they run. */
	readonly renew: Set<string>;
	/** Replicas that were told to start with `to`. */
	readonly told: Set<string>;
	/** Replicas whose caches on the disk are to be emptied as they start anew, and have not told that they are. */
	readonly empties: Set<string>;
	/** Whether they are not waited for. */
	readonly force: boolean;
	/** It is a purge, of this kind. */
	readonly purge: { readonly emptyCaches: boolean } | null;
}

/** What a swap is unless it says otherwise. */
function swapOf(swap: Pick<Swap, 'from' | 'to'> & Partial<Swap>): Swap {
	return { back: false, renew: new Set(), told: new Set(), empties: new Set(), force: false, purge: null, ...swap };
}

export class PoolReload {
	#configured: PoolModel;
	/** What the pool says that it serves. */
	#model: PoolModel;
	#verifying: string | null = null;
	#swap: Swap | null = null;
	/** What a changed configuration wants, once what is under way is over. */
	#wanted: PoolModel | null = null;
	#resumed: Purging | null = null;
	/** Replicas that were to end while the others were exchanged: those that stay after all are exchanged then. */
	readonly #passedOver = new Set<string>();
	#undone = false;
	/** Of the last reload, when it failed. */
	#problem: string | null = null;

	constructor(configured: PoolModel) {
		this.#configured = configured;
		this.#model = configured;
	}

	get model(): PoolModel {
		return this.#model;
	}

	/** What a replica is started with that starts now. */
	get target(): PoolModel {
		return this.#swap?.to ?? this.#model;
	}

	/** The model that the pool is on the way to; null: it is on none. */
	get underWay(): string | null {
		return this.#verifying ?? this.#swap?.to.ref ?? null;
	}

	/** The model that an engine thread is to look at; null: none. */
	get verifying(): string | null {
		return this.#verifying;
	}

	get problem(): string | null {
		return this.#problem;
	}

	/** `verify`: its driver is to look at it. `ready`: it was configured, and is begun with. */
	ask(ref: string): 'busy' | 'same' | 'verify' | 'ready' {
		if (this.underWay !== null) return 'busy';
		if (ref === this.#model.ref) return 'same';
		this.#verifying = ref;
		this.#problem = null;
		return ref === this.#configured.ref ? 'ready' : 'verify';
	}

	get configured(): PoolModel {
		return this.#configured;
	}

	/** What was configured last did not start, and those from before serve: it is tried again when it is configured again. */
	get undone(): boolean {
		return this.#undone;
	}

	/** Every engine anew, with the same model, and without what it has cached on the disk if so. False: another is under way. */
	renew(rows: readonly ReplicaRow[], force: boolean, empties: boolean): boolean {
		if (this.underWay !== null) return false;
		this.#purge(
			rows.map(({ replicaId }) => replicaId),
			force,
			empties,
		);
		return true;
	}

	#purge(replicas: readonly string[], force: boolean, emptyCaches: boolean): void {
		const [from, to] = [this.#model, this.#model];
		const empties = new Set(emptyCaches ? replicas : []);
		this.#swap = swapOf({ from, to, back: true, renew: new Set(replicas), empties, force, purge: { emptyCaches } });
		this.#problem = null;
	}

	/** What is left of a purge that a control thread before this one had begun: once all replicas have said what they run. */
	resume(purging: Purging): void {
		this.#resumed = purging;
	}

	/** The purge that is under way, as the next control thread would have to go on with it; null: none is. */
	purging(rows: readonly ReplicaRow[]): Purging | null {
		const swap = this.#swap;
		if (swap === null || swap.purge === null) return this.#resumed;
		const left = rows.filter(({ replicaId, asked }) => swap.renew.has(replicaId) || asked !== null);
		return left.length === 0 ? null : { replicas: left.map(({ replicaId }) => replicaId), force: swap.force, ...swap.purge };
	}

	/** Whether it is to start without what it has cached on the disk. */
	empties({ replicaId }: ReplicaRow): boolean {
		return this.#swap?.empties.has(replicaId) === true;
	}

	/** It starts its engine. One that was lost before it had emptied its caches, with what it was told, is told again. */
	started({ replicaId }: ReplicaRow, { caches }: Pick<Extract<ReplicaNews, { type: 'replica-started' }>, 'caches'>): void {
		const swap = this.#swap;
		if (swap === null || !swap.told.has(replicaId) || !swap.empties.has(replicaId)) return;
		if (caches === null) {
			swap.renew.add(replicaId);
			return;
		}
		swap.empties.delete(replicaId);
		if (caches !== 'empty') this.#problem = `the caches of ${replicaId} are as they were: ${caches.problem}`;
	}

	/** The configuration has changed: every replica is to have this, behind what is under way. */
	configure(to: PoolModel, rows: readonly ReplicaRow[]): void {
		this.#configured = to;
		this.#undone = false;
		this.#wanted = to;
		this.catchUp(rows);
	}

	/** What was configured while another was under way, or is left of an earlier purge. False: nothing, or not yet. */
	catchUp(rows: readonly ReplicaRow[]): boolean {
		if (this.underWay !== null) return false;
		if (this.#wanted === null) return this.#goOnPurging(rows) || this.#bringAlong(rows);
		const to = this.#wanted;
		this.#wanted = null;
		this.#passedOver.clear();
		const renew = new Set(rows.map(({ replicaId }) => replicaId));
		this.#swap = swapOf({ from: this.#model, to, renew });
		this.#problem = null;
		return true;
	}

	#goOnPurging(rows: readonly ReplicaRow[]): boolean {
		const resumed = this.#resumed;
		if (resumed === null || rows.some(({ ref }) => ref === null)) return false;
		this.#resumed = null;
		const left = rows.flatMap(({ replicaId }) => (resumed.replicas.includes(replicaId) ? [replicaId] : []));
		if (left.length > 0) this.#purge(left, resumed.force, resumed.emptyCaches);
		return left.length > 0;
	}

	#bringAlong(rows: readonly ReplicaRow[]): boolean {
		const behind = rows.filter(({ replicaId, ref, ending }) => ending === 'no' && ref !== null && this.#passedOver.has(replicaId));
		if (behind.length === 0) return false;
		const renew = new Set(behind.map(({ replicaId }) => replicaId));
		for (const replicaId of renew) this.#passedOver.delete(replicaId);
		this.#swap = swapOf({ from: this.#model, to: this.#model, back: true, renew });
		return true;
	}

	/** It has ended; one that is added with its number is another. */
	ended(replicaId: string): void {
		this.#passedOver.delete(replicaId);
	}

	/** Caches of engines that do not run are emptied once these have been started: with another start. */
	#emptyLater({ empties, force }: Swap, rows: readonly ReplicaRow[]): void {
		const left = rows.filter(({ replicaId, state }) => state === 'stopped' && empties.has(replicaId));
		if (left.length > 0) this.#resumed = { replicas: left.map(({ replicaId }) => replicaId), force, emptyCaches: true };
	}

	/** It was told to start anew, with the target. */
	told(row: ReplicaRow): void {
		row.asked = this.target.ref;
		this.#swap?.renew.delete(row.replicaId);
		this.#swap?.told.add(row.replicaId);
	}

	/** False: nobody waits for that any more. Another name of what is served is no other model: then it is over. */
	verified(to: PoolModel): boolean {
		if (this.#verifying !== to.ref) return false;
		this.#verifying = null;
		if (JSON.stringify(to.settings) === JSON.stringify(this.#model.settings)) return true;
		this.#swap = swapOf({ from: this.#model, to });
		return true;
	}

	/** Nothing was stopped for it. */
	refused(ref: string, why: string): boolean {
		if (this.#verifying !== ref) return false;
		this.#verifying = null;
		this.#problem = `the reload to ${ref} was not begun: ${why}`;
		return true;
	}

	/** What nobody can verify any more. */
	lost(): void {
		if (this.#verifying !== null) this.refused(this.#verifying, 'the engine thread is gone');
	}

	/**
	 * After a control restart: a replica that runs another model than the configured one was given it by our predecessor. One with the
	 * model that is configured and other settings was yet to be given those.
	 */
	found({ replicaId, model, settings }: { readonly replicaId: string; readonly model: string; readonly settings: unknown }): void {
		if (model === this.#model.ref) return this.#foundBehind(replicaId, { ref: model, settings });
		if (this.#swap !== null) return;
		this.#swap = swapOf({ from: this.#model, to: { ref: model, settings } });
	}

	/** After a control restart: one that is to end, and runs something else than the others are to. */
	foundEnding({ replicaId, model, settings }: { readonly replicaId: string; readonly model: string; readonly settings: unknown }): void {
		const { ref, settings: wanted } = this.target;
		if (model !== ref || JSON.stringify(settings) !== JSON.stringify(wanted)) this.#passedOver.add(replicaId);
	}

	#foundBehind(replicaId: string, from: PoolModel): void {
		const to = this.#model;
		if (JSON.stringify(from.settings) === JSON.stringify(to.settings)) return;
		if (this.#swap === null) this.#swap = swapOf({ from, to, renew: new Set([replicaId]) });
		else if (this.#swap.to === to) this.#swap.renew.add(replicaId);
	}

	/** A replica did not become ready with the new model. True: all go back to the old one. */
	failed(row: ReplicaRow, why: string): boolean {
		const swap = this.#swap;
		if (swap === null || swap.back || !row.leaving || row.model !== swap.to.ref) return false;
		// What it ran before has failed, or is failing as it is told.
		if (row.asked !== null || !swap.told.has(row.replicaId)) return false;
		this.#problem =
			swap.to.ref === swap.from.ref
				? `the changed settings failed, those from before serve again: ${why}`
				: `the reload to ${swap.to.ref} failed, ${swap.from.ref} serves again: ${why}`;
		this.#undone ||= swap.to === this.#configured;
		this.#swap = swapOf({ from: swap.to, to: swap.from, back: true, renew: new Set(swap.told) });
		return true;
	}

	/** The replica that is to be given the target now; `mayStop` says whether its last task has ended. Null: none, or not yet. */
	next(all: readonly ReplicaRow[], mayStop: (row: ReplicaRow) => boolean): ReplicaRow | null {
		const rows = all.filter(({ ending }) => ending === 'no');
		const swap = this.#swap;
		if (swap === null) return null;
		const isBehind = ({ model, replicaId }: ReplicaRow): boolean => model !== swap.to.ref || swap.renew.has(replicaId);
		for (const row of rows) {
			// Its engine has ended, for its memory was given back: the next one starts with the target.
			if (row.state === 'stopped') {
				row.leaving = false;
				swap.renew.delete(row.replicaId);
			}
			// On the way back there is no other way left: one that fails is started again as ever.
			if (!row.leaving || isBehind(row) || row.asked !== null) continue;
			if (row.state === 'ready' || (swap.back && row.state === 'failed')) row.leaving = false;
		}
		let current = rows.find(({ leaving }) => leaving);
		if (current === undefined) {
			current = rows.find((row) => isBehind(row) && row.state !== 'stopped');
			if (current === undefined) {
				this.#model = swap.to;
				this.#swap = null;
				this.#emptyLater(swap, rows);
				for (const row of all) {
					if (row.ending !== 'no' && isBehind(row)) this.#passedOver.add(row.replicaId);
					row.leaving = false;
				}
				return null;
			}
			current.leaving = true;
		}
		if (!isBehind(current) || current.asked === swap.to.ref || current.ref === null) return null;
		return swap.force || mayStop(current) ? current : null;
	}
}
