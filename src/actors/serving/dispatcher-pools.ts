/**
 * The pools as the Dispatcher knows them: which there are, what each told of itself last, who is being drained or is configured no
 * more, and the engine threads that all of them use. Part of the Dispatcher actor, parent of every Pool.
 *
 * ```
 *  configured ─left out─► emptying ─no task, none on its way─► ending ─last replica gone─► (gone)
 *      ▲                     │ wanted again                                                  │ wanted again
 *      └─────────────────────┴─────────────────────── begins anew ◄──────────────────────────┘
 * ```
 */

import type { ActorContext } from '../kernel/behavior.ts';
import type { ActorRef } from '../kernel/ref.ts';
import { type BarredFor, barredModel } from './admission.ts';
import { failure } from './failure.ts';
import { memoryKeeper } from './memory-keeper.ts';
import type { MemoryCommand } from './memory-messages.ts';
import type { DispatcherCommand, EngineThreadCommand, PoolView, Purging, TaskSummary } from './messages.ts';
import type { PoolControlled, PoolOperation } from './operation-messages.ts';
import { answersTo, type OwnSnapshot, type PoolSnapshot } from './placement.ts';
import { pool } from './pool.ts';
import type { PoolMessage, PoolNews, RetireModels } from './pool-messages.ts';
import type { PoolSpec } from './pool-spec.ts';
import { noNames, startingNews } from './pool-view.ts';

export interface PoolRow {
	spec: PoolSpec;
	readonly ref: ActorRef<PoolMessage>;
	/** As the pool last told, and what was sent there since. */
	snapshot: OwnSnapshot;
	view: PoolView;
	/** As ordered: what the pool has told may be older. */
	drainingUntil: number | null;
	/** It is configured no more, and takes nothing new. */
	retiring: 'no' | 'emptying' | 'ending';
	/** Why its model may not be served, and it is drained; null: it may. */
	barred: BarredFor | null;
	/** Tasks that were sent there, and that it has told of having heard of, all in all. */
	sent: number;
	received: number;
	/** Pools that were sent tasks that waited here, and how many had been sent there by then: until they have heard of them, one may come back. */
	readonly movedTo: Map<PoolRow, number>;
}

/** The Dispatcher, as far as its pools need it. */
interface Owner extends Pick<ActorContext<never>, 'spawn' | 'watch' | 'now' | 'telemetry'> {
	readonly self: ActorRef<PoolNews>;
}

export interface DispatcherPoolsOptions {
	readonly epoch: number;
	readonly pools: readonly PoolSpec[];
	/** Engine threads by name: each replica has one for its home. */
	readonly engines: readonly string[];
	/** The fronts are to hear of it at once. */
	readonly changed: () => void;
}

const barredWords: Readonly<Record<BarredFor, string>> = { retired: 'retired', untrusted: 'not to be trusted' };
export const poolMailboxMax = 65_536;

export class DispatcherPools {
	readonly #ctx: Owner;
	readonly #options: DispatcherPoolsOptions;
	readonly #rows = new Map<string, PoolRow>();
	readonly #engines = new Map<string, ActorRef<EngineThreadCommand>>();
	/** Null: every pool is always loaded. */
	#keeper: ActorRef<MemoryCommand> | null = null;
	/** Those that are to be, as they were configured last. */
	#configured: readonly PoolSpec[];
	/** By pool, also of those that have ended: a lease of theirs is never taken for one that came later. */
	readonly #lastLeaseIds = new Map<string, number>();
	/** Pools whose purges were taken up. */
	readonly #resumed = new Set<string>();
	#grantsOpen = false;
	/** Models that no pool may serve. */
	#barred: ReadonlyMap<string, BarredFor> = new Map();
	/** What else models are called. */
	#names: ReadonlyMap<string, readonly string[]> = new Map();
	#retireMs = 0;

	constructor(ctx: Owner, options: DispatcherPoolsOptions) {
		this.#ctx = ctx;
		this.#options = options;
		this.#configured = options.pools;
		for (const spec of options.pools) this.#add(spec);
	}

	get rows(): ReadonlyMap<string, PoolRow> {
		return this.#rows;
	}

	get(poolId: string): PoolRow | undefined {
		return this.#rows.get(poolId);
	}

	get views(): readonly PoolView[] {
		return [...this.#rows.values()].map(({ view }) => view);
	}

	/** A pool that is configured no more is there only for those that have begun: their own may be the one place to go on. */
	snapshots({ resume }: Pick<TaskSummary, 'resume'>): PoolSnapshot[] {
		const snapshots: PoolSnapshot[] = [];
		for (const { retiring, snapshot } of this.#rows.values()) {
			if (retiring === 'no' || (retiring === 'emptying' && resume !== null)) snapshots.push(snapshot);
		}
		return snapshots;
	}

	/** What the pools serve that answer to the task's model ref. */
	models(task: Pick<TaskSummary, 'resume' | 'modelRef'>): string[] {
		return this.snapshots(task)
			.filter((pool) => answersTo(pool, task.modelRef))
			.map(({ model }) => model);
	}

	/** No pool may serve these from now on, and no others: their pools are drained, and those of what is barred no more take tasks again. */
	retire({ models, untrusted, names, deadlineMs }: Omit<RetireModels, 'type'>): void {
		const barred = new Map<string, BarredFor>(models.map((model) => [model, 'retired']));
		for (const model of untrusted) barred.set(model, 'untrusted');
		this.#barred = barred;
		this.#retireMs = deadlineMs;
		const byModel = new Map<string, string[]>();
		for (const [name, model] of names) byModel.set(model, [...(byModel.get(model) ?? []), name]);
		this.#names = byModel;
		for (const row of this.#rows.values()) {
			this.#name(row);
			this.#drainBarred(row);
		}
		this.#options.changed();
	}

	/** As the catalog calls what it serves now. */
	#name(row: PoolRow): void {
		const names = this.#names.get(row.view.model) ?? noNames;
		row.snapshot.names = names;
		if (row.view.names !== names) row.view = { ...row.view, names };
	}

	#drainBarred(row: PoolRow): void {
		const why = this.#barred.get(row.view.model) ?? null;
		if (why === row.barred) return;
		const drains = why !== null;
		const drained = row.barred !== null;
		row.barred = why;
		if (drains === drained) return;
		this.drain(row, drains ? this.#ctx.now() + this.#retireMs : null);
		const { poolId, model } = row.view;
		this.#ctx.telemetry.log('info', drains ? 'pool-drain' : 'pool-undrain', {
			pool_id: poolId,
			human: drains
				? `Draining ${poolId}: its model ${model} is ${barredWords[why]}.`
				: `${poolId} takes tasks again: its model may be served.`,
		});
	}

	/** False: it has more to do than it can take. */
	send(row: PoolRow, task: Extract<PoolMessage, { type: 'enqueue' }>): boolean {
		if (row.ref.tell(task) !== 'accepted') return false;
		row.sent += 1;
		return true;
	}

	/** Every front has said what it holds. */
	openGrants(): void {
		this.#grantsOpen = true;
		for (const { ref } of this.#rows.values()) ref.tell({ type: 'open-grants' });
	}

	engineJoined(engineId: string, ref: ActorRef<EngineThreadCommand>): void {
		this.#engines.set(engineId, ref);
		this.#ctx.watch(ref);
		ref.tell({ type: 'keep-pools', poolIds: [...this.#rows.keys()] });
		for (const row of this.#rows.values()) row.ref.tell({ type: 'use-engine', engineId, replyTo: ref });
	}

	/** True: it was a pool, which had come to its end. */
	gone(ref: ActorRef<never>): boolean {
		for (const [engineId, engine] of this.#engines) if (engine === ref) this.#engines.delete(engineId);
		for (const [poolId, row] of this.#rows) {
			if (row.ref !== ref) continue;
			this.#rows.delete(poolId);
			for (const other of this.#rows.values()) other.movedTo.delete(row);
			this.#ctx.telemetry.log('info', 'pool-removed', { pool_id: poolId, human: `${poolId} has ended: it is configured no more.` });
			const again = this.#configured.find((spec) => spec.poolId === poolId);
			if (again !== undefined) this.#add(again);
			this.#options.changed();
			return true;
		}
		return false;
	}

	/** Answers what the pool was before. */
	told({
		snapshot,
		view,
		received,
		lastLeaseId,
	}: Extract<PoolNews, { type: 'pool-changed' }>): { readonly before: PoolView; readonly now: PoolView } | null {
		const row = this.#rows.get(snapshot.poolId);
		if (row === undefined) return null;
		this.#lastLeaseIds.set(snapshot.poolId, lastLeaseId);
		const before = row.view;
		const { drainingUntil } = row;
		const retiring = row.retiring !== 'no';
		// Made for us; what was ordered meanwhile the pool did not know yet.
		row.snapshot = snapshot;
		row.snapshot.draining = drainingUntil !== null;
		row.view = view.drainingUntil === drainingUntil && view.retiring === retiring ? view : { ...view, drainingUntil, retiring };
		row.received = received;
		for (const each of this.#rows.values()) if (each.retiring === 'emptying') this.#endIfEmpty(each);
		this.#name(row);
		this.#drainBarred(row);
		return { before, now: row.view };
	}

	/** No task waits or runs there, is on its way there, or may come back. */
	#endIfEmpty(row: PoolRow): void {
		for (const [other, sent] of row.movedTo) {
			if (other.received >= sent) row.movedTo.delete(other);
		}
		if (row.snapshot.tasks > 0 || row.received !== row.sent || row.movedTo.size > 0) return;
		row.retiring = 'ending';
		row.ref.tell({ type: 'end' });
	}

	/** A task that waited in one was sent to the other. */
	moved(from: PoolRow | undefined, to: PoolRow): void {
		from?.movedTo.set(to, to.sent);
	}

	/** The pools are to be these, and no others. */
	configure(pools: readonly PoolSpec[]): void {
		this.#configured = pools;
		for (const row of this.#rows.values()) {
			if (row.retiring !== 'no' || pools.some(({ poolId }) => poolId === row.spec.poolId)) continue;
			this.#retire(row, true);
		}
		for (const spec of pools) {
			const row = this.#rows.get(spec.poolId);
			if (row === undefined) this.#add(spec);
			else if (row.retiring !== 'ending') this.#change(row, spec);
		}
		this.#options.changed();
	}

	#retire(row: PoolRow, retiring: boolean): void {
		row.retiring = retiring ? 'emptying' : 'no';
		row.view = { ...row.view, retiring };
		row.ref.tell({ type: retiring ? 'retire' : 'unretire' });
	}

	#change(row: PoolRow, spec: PoolSpec): void {
		if (row.retiring === 'emptying') this.#retire(row, false);
		// Also one that is as before: what could not be started then may start now.
		row.spec = spec;
		row.ref.tell({ type: 'configure', spec });
		this.#keepMemory(spec, false);
	}

	#add(spec: PoolSpec): void {
		const { epoch, engines } = this.#options;
		const lastLeaseId = this.#lastLeaseIds.get(spec.poolId) ?? 0;
		const setup = pool({ spec, epoch, lastLeaseId, engines, dispatcher: this.#ctx.self });
		const ref = this.#ctx.spawn(spec.poolId, setup, { mailboxMax: poolMailboxMax });
		this.#ctx.watch(ref);
		this.#rows.set(spec.poolId, {
			spec,
			ref,
			drainingUntil: null,
			retiring: 'no',
			barred: null,
			sent: 0,
			received: 0,
			movedTo: new Map(),
			...startingNews(spec),
		});
		for (const [engineId, replyTo] of this.#engines) ref.tell({ type: 'use-engine', engineId, replyTo });
		if (this.#grantsOpen) ref.tell({ type: 'open-grants' });
		this.#keepMemory(spec, true);
		const row = this.#rows.get(spec.poolId);
		if (row === undefined) return;
		this.#name(row);
		this.#drainBarred(row);
	}

	/** With the first pool that is loaded on demand, memory is shared out: every pool says what it holds. */
	#keepMemory({ poolId, residency }: PoolSpec, isNew: boolean): void {
		const all = this.#keeper === null;
		if (this.#keeper === null) {
			if (residency.kind === 'always') return;
			// No pool has such a name.
			this.#keeper = this.#ctx.spawn('(memory)', memoryKeeper(), { mailboxMax: poolMailboxMax });
		}
		for (const row of this.#rows.values()) {
			if (!all && !(isNew && row.spec.poolId === poolId)) continue;
			this.#keeper.tell({ type: 'pool-joined', poolId: row.spec.poolId, replyTo: row.ref });
			row.ref.tell({ type: 'use-keeper', replyTo: this.#keeper });
		}
	}

	/** By the first front that tells of it: the others may know less. */
	resumePurge(poolId: string, purging: Purging): void {
		if (this.#resumed.has(poolId)) return;
		this.#resumed.add(poolId);
		this.#rows.get(poolId)?.ref.tell({ type: 'resume-purge', purging });
	}

	control({ poolId, operation: asked, correlationId, replyTo }: Extract<DispatcherCommand, { type: 'control-pool' }>): void {
		const row = this.#rows.get(poolId);
		// One that ends may hear nothing any more.
		if (row === undefined || row.retiring === 'ending') {
			replyTo.tell({ type: 'pool-controlled', failure: failure('NOT_FOUND', 'there is no such pool; /v2/pools lists them') });
			return;
		}
		const operation = this.#resolved(asked, row);
		const barred =
			operation.kind === 'reload' ? (this.#barred.get(operation.model) ?? null) : operation.kind === 'undrain' ? row.barred : null;
		if (barred !== null) {
			const model = operation.kind === 'reload' ? operation.model : row.view.model;
			const { code, message } = barredModel(model, barred);
			const words = barred === 'retired' ? `the model ${model} is retired; make it active again first` : message;
			replyTo.tell({ type: 'pool-controlled', failure: failure(code, words) });
			return;
		}
		if (operation.kind !== 'drain' && operation.kind !== 'undrain') {
			if (row.ref.tell(orderOf(operation, replyTo)) === 'accepted') return;
			const words = `${poolId} has more to do than it can take`;
			replyTo.tell({ type: 'pool-controlled', failure: failure('POOL_UNREADY', words, { retryAfterMs: 1_000 }) });
			return;
		}
		const deadlineAt = operation.kind === 'drain' ? this.#ctx.now() + operation.deadlineMs : null;
		this.drain(row, deadlineAt);
		this.#ctx.telemetry.log('info', operation.kind === 'drain' ? 'pool-drain' : 'pool-undrain', {
			correlation_id: correlationId,
			pool_id: poolId,
			human:
				operation.kind === 'drain'
					? `Draining ${poolId}: its tasks may run for ${operation.deadlineMs} ms more.`
					: `${poolId} takes tasks again.`,
		});
		replyTo.tell({ type: 'pool-controlled', failure: null });
	}

	/** With models by the names that pools have for them, also those that were called by the id or an alias of a pool. */
	#resolved(operation: PoolOperation, row: PoolRow): PoolOperation {
		const rows = [row, ...this.#rows.values()];
		const modelOf = (name: string): string => rows.find(({ view }) => answersTo(view, name))?.view.model ?? name;
		if (operation.kind === 'reload') return { ...operation, model: modelOf(operation.model) };
		return operation.kind === 'purge' ? { ...operation, models: operation.models.map(modelOf) } : operation;
	}

	/** Known here at once: no task is sent there behind it. Null: it takes tasks again. */
	drain(row: PoolRow, deadlineAt: number | null): void {
		row.ref.tell(deadlineAt === null ? { type: 'undrain' } : { type: 'drain', deadlineAt });
		row.drainingUntil = deadlineAt;
		row.snapshot = { ...row.snapshot, draining: deadlineAt !== null };
		row.view = { ...row.view, drainingUntil: deadlineAt };
		this.#options.changed();
	}
}

/** What the pool itself sees to. */
function orderOf(
	operation: Exclude<PoolOperation, { readonly kind: 'drain' | 'undrain' }>,
	replyTo: ActorRef<PoolControlled>,
): Extract<PoolMessage, { readonly type: 'reload' | 'purge' | 'register' | 'load' | 'unload' }> {
	switch (operation.kind) {
		case 'reload':
			return { type: 'reload', model: operation.model, replyTo };
		case 'purge':
			return { type: 'purge', operation, replyTo };
		case 'load':
		case 'unload':
			return { type: operation.kind, replyTo };
		case 'register':
			return { type: 'register', operation, replyTo };
	}
}
