/**
 * When the slots of a pool come free, as far as it can be foretold: those of replicas that take tasks by what runs in them, those of
 * replicas that load, wait to be started again, or are about to be exchanged, by how long that takes (`load-times.ts`). Part of the
 * Pool actor; made anew when something has changed.
 */
import { type LoadLeft, later, type WarmUp } from './load-times.ts';
import { type ReplicaRow, takesTasks } from './pool-replicas.ts';
import type { PoolState } from './pool-state.ts';
import { SlotLevels } from './slot-levels.ts';
import type { ModelFetch } from './warm-up-messages.ts';

export interface PoolOutlook {
	readonly levels: SlotLevels;
	/** Null: a replica takes tasks, busy or not; or none ever will by itself. */
	readonly warmUp: WarmUp | null;
	/** When a task starts that has so much work before it, ms from now. A strict one starts where a replica has become idle. */
	startMs(workAheadMs: number, strict: boolean): number;
}

type Parts = Pick<
	PoolState,
	'ctx' | 'replicas' | 'ledger' | 'tasks' | 'pace' | 'loads' | 'reload' | 'spec' | 'grantsOpen' | 'loadBeginsInMs' | 'phase' | 'fetch'
>;

/** `taskMs`: how long a task holds a slot, on average. */
export function outlookOf(pool: Parts, taskMs: number): PoolOutlook {
	const { ctx, replicas, ledger, tasks, pace, spec, grantsOpen } = pool;
	const now = ctx.now();
	const freeInMs: number[] = [];
	const away: ReplicaRow[] = [];
	for (const row of replicas.rows) {
		if (!takesTasks(row)) away.push(row);
		else if (grantsOpen) for (let slot = ledger.free(row.replicaId); slot > 0; slot -= 1) freeInMs.push(0);
	}
	const takes = away.length < replicas.rows.length;
	/** Of a replica that is left by its tasks: until the last has ended. */
	const emptyInMs = new Map<string, number>();
	for (const { work, depth, slots, startedAt, lease } of tasks) {
		const leftMs = pace.leftMs(work, depth, now - startedAt);
		const row = away.length === 0 ? undefined : away.find(({ replicaId }) => replicaId === lease.replicaId);
		if (row === undefined || isOnTrial(row)) for (let slot = 0; slot < slots; slot += 1) freeInMs.push(leftMs);
		else emptyInMs.set(lease.replicaId, Math.max(leftMs, emptyInMs.get(lease.replicaId) ?? 0));
	}
	let warmUp: WarmUp | null = null;
	for (const row of away) {
		const left = untilItTakesTasks(row, pool, emptyInMs.get(row.replicaId) ?? 0, now);
		// Nothing is built on a guess where something is known.
		if (left === null || (takes && left.basis === 'guess')) continue;
		const slots = row.facts?.slots ?? row.worker?.slots ?? spec.slots;
		for (let slot = 0; slot < slots; slot += 1) freeInMs.push(left.p50Ms);
		// One that is asked what it is busy with has loaded.
		const isLoaded = row.state === 'ready' && left.p50Ms === 0;
		if (!takes && !isLoaded && (warmUp === null || left.p50Ms < warmUp.p50Ms)) warmUp = left;
	}
	const levels = new SlotLevels(freeInMs, taskMs);
	/** Looked at only when a strict task asks. */
	let idleInMs: number | null = null;
	const startMs = (workAheadMs: number, strict: boolean): number => {
		const slotMs = levels.startMs(workAheadMs);
		if (!strict) return slotMs;
		idleInMs ??= warmUp?.p50Ms ?? untilOneIsIdle(pool, now);
		return Math.max(slotMs, idleInMs);
	};
	return { levels, warmUp, startMs };
}

function untilOneIsIdle({ replicas, tasks, pace }: Parts, now: number): number {
	const busyMs = new Map<string, number>();
	for (const { work, depth, startedAt, lease } of tasks) {
		busyMs.set(lease.replicaId, Math.max(busyMs.get(lease.replicaId) ?? 0, pace.leftMs(work, depth, now - startedAt)));
	}
	let least = Number.POSITIVE_INFINITY;
	for (const row of replicas.rows) if (takesTasks(row)) least = Math.min(least, busyMs.get(row.replicaId) ?? 0);
	return Number.isFinite(least) ? least : 0;
}

/** One task at a time shows whether its replica works again: it has a slot, which comes free. */
function isOnTrial({ state, ending, leaving, breaker }: ReplicaRow): boolean {
	return state === 'ready' && ending === 'no' && !leaving && breaker.state === 'half-open';
}

/** Null: nobody can say, or never. */
function untilItTakesTasks(
	row: ReplicaRow,
	{ loads, reload, loadBeginsInMs, phase, fetch }: Pick<Parts, 'loads' | 'reload' | 'loadBeginsInMs' | 'phase' | 'fetch'>,
	emptyInMs: number,
	now: number,
): WarmUp | null {
	if (row.ending !== 'no' || isOnTrial(row)) return null;
	const waits = (left: LoadLeft, inMs: number): WarmUp => ({
		...later(left, Math.max(0, inMs)),
		status: inMs > 0 ? 'waiting' : 'running',
		fetch: null,
	});
	// It is loaded on demand, behind those that are in its way and its own last task.
	if (loadBeginsInMs !== null) {
		if (fetch !== null) return behind(fetch, loads.left(reload.target.ref, 0));
		const left = waits(loads.left(reload.target.ref, 0), Math.max(loadBeginsInMs, emptyInMs));
		// Others may take longer than was foretold.
		return phase === 'wanting' || phase === 'leaving' ? { ...left, status: 'waiting' } : left;
	}
	switch (row.state) {
		case 'starting':
			if (row.fetch !== null) return behind(row.fetch, loads.left(row.asked ?? row.model, 0));
			return waits(loads.left(row.asked ?? row.model, row.startedAt === null ? 0 : now - row.startedAt), 0);
		case 'failed':
			return row.retryAt === null ? null : waits(loads.left(row.asked ?? row.model, 0), Math.max(1, row.retryAt - now));
		case 'stopped':
			return null;
		case 'ready':
			if (row.leaving) return waits(loads.left(reload.target.ref, 0), emptyInMs);
			// Its engine is there: it says what it is busy with, or its tasks have failed of late.
			return waits(atOnce, row.breaker.state === 'open' ? row.breaker.openUntil - now : 0);
	}
}

/** The load begins when the model is here. */
function behind(fetch: ModelFetch, load: LoadLeft): WarmUp {
	const left = later(load, fetch.leftMs ?? 0);
	// Nobody knows when it comes: the rest is then a guess too.
	return { ...left, basis: fetch.leftMs === null ? 'guess' : left.basis, status: 'waiting', fetch };
}

const atOnce: LoadLeft = { p50Ms: 0, p90Ms: 0, possibleMs: [0], basis: 'measured' };
