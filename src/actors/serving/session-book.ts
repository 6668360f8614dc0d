/**
 * The sessions of the daemon: turns, budgets, and the replica that had the last task. For the Dispatcher alone, on the control
 * thread. A session is there from its first use until nobody has used it for `ttlMs`; beyond `countMax` those that were not
 * used for longest go first. Sessions with tasks stay. It never sees a prompt or an output.
 */
import { type Amounts, type Budget, budgetKinds, type Limits, most, nothing, plus } from './budget.ts';
import { type Weighed, type WorstCase, weigh } from './budget-weighing.ts';
import { bytesPerToken } from './eta.ts';
import { type Failure, failure } from './failure.ts';
import type { TaskSummary } from './messages.ts';
import { type Admitted, newSession, type Session } from './session.ts';
import type {
	BudgetLeft,
	EndedOfSession,
	HeldOfSession,
	LastReplica,
	SessionRecord,
	SessionsChanged,
	SessionView,
} from './session-messages.ts';

export interface SessionOptions {
	/** Since its last use. */
	readonly ttlMs: number;
	/** Tasks of one session; 0: any number. */
	readonly turnsMax: number;
	readonly countMax: number;
}

const free: Admitted = { lease: null, outputCap: null, wallCapMs: null, budget: null, held: null };
const owner = { name: 'the session', retryAfterMs: 1_000 };
/** A task that leaves one slot for another is back well within this time, or not at all. */
const betweenMs = 10_000;
/** Sessions in one message. */
const toldAtOnce = 500;
const bornPerEpoch = 2 ** 32;

export class SessionBook {
	readonly #options: SessionOptions;
	/** The least recently used first. */
	readonly #sessions = new Map<string, Session>();
	readonly #epoch: number;
	#leases = 0;
	#made = 0;
	/** Of those that were recalled: one that is made now is younger. */
	#bornMax = 0;
	/** Of tasks that are between two slots, in the order of their leaving. */
	readonly #between = new Map<number, { readonly sessionId: string; readonly since: number }>();
	/** What fronts have not been told. */
	readonly #changed = new Set<string>();
	#settled: { readonly taskId: string; readonly version: number }[] = [];
	#forgotten: string[] = [];

	/** `epoch`: of the control thread. */
	constructor(options: SessionOptions, epoch = 1) {
		this.#options = options;
		this.#epoch = epoch;
	}

	get size(): number {
		return this.#sessions.size;
	}

	/** The dry run of `admit`. */
	check(summary: TaskSummary, worst: WorstCase, now: number): Failure | 'count-first' | null {
		const weighed = this.#weigh(summary, worst, false, now);
		return weighed === 'count-first' || 'code' in weighed ? weighed : null;
	}

	/**
	 * Takes a turn and reserves what the task may use. `again`: it has its 202, and its turn. `count-first`: its tokens matter,
	 * and its front has not asked a tokenizer.
	 */
	admit(summary: TaskSummary, worst: WorstCase, again: boolean, now: number): Admitted | Failure | 'count-first' {
		const { sessionId, taskId } = summary;
		if (sessionId === null) return free;
		const before = again ? (this.#takeBack(sessionId, taskId) ?? this.#adopt(summary, now)) : null;
		if (before !== null) return before;
		const weighed = this.#weigh(summary, worst, again, now);
		if (weighed === 'count-first' || 'code' in weighed) return weighed;
		const session = this.#touch(sessionId, now) ?? this.#open(sessionId, now);
		session.tenant ??= summary.tenant;
		const lease = ++this.#leases;
		if (!again) session.turns += 1;
		if (session.budget.limited) session.budget.reserve(lease, weighed.reserve);
		const { outputCap, wallCapMs } = weighed;
		this.#change(session);
		const held = { ...this.#heldOf(session), reserved: weighed.reserve, outputCap, wallCapMs };
		const admitted = { lease, outputCap, wallCapMs, budget: leftOf(session.budget), held };
		session.tasks.set(lease, { taskId, again, admitted });
		return admitted;
	}

	/** A task that an earlier book had admitted: it goes on with what it has. Null: it has nothing of an earlier one. */
	#adopt({ sessionId, taskId, held }: TaskSummary, now: number): Admitted | null {
		if (sessionId === null || held === null || held.epoch === this.#epoch) return null;
		const session = this.#recall(held.record, now);
		// Its session was forgotten: it goes on, and nobody asks what it uses.
		if (session === null) return free;
		const lease = ++this.#leases;
		const { outputCap, wallCapMs, reserved } = held;
		if (session.budget.limited) session.budget.reserve(lease, reserved);
		this.#change(session);
		const again = { ...held, ...this.#heldOf(session) };
		const admitted = { lease, outputCap, wallCapMs, budget: leftOf(session.budget), held: again };
		session.tasks.set(lease, { taskId, again: true, admitted });
		return admitted;
	}

	/** It comes back before its last settlement was heard: it goes on with what it had. Null: it has nothing. */
	#takeBack(sessionId: string, taskId: string): Admitted | null {
		const session = this.#sessions.get(sessionId);
		if (session === undefined) return null;
		for (const [old, task] of session.tasks) {
			if (task.taskId !== taskId) continue;
			const lease = ++this.#leases;
			session.tasks.delete(old);
			this.#between.delete(old);
			session.budget.handOver(old, lease);
			const admitted = { ...task.admitted, lease };
			session.tasks.set(lease, { taskId, again: true, admitted });
			return admitted;
		}
		return null;
	}

	/** A task of a session has a slot, or has had one. Of one that has ended the session may be somewhere else by now. */
	ran(sessionId: string, at: LastReplica): void {
		const session = this.#sessions.get(sessionId);
		if (session === undefined || (at.tokens !== undefined && session.last?.address !== at.address)) return;
		session.last = at;
		this.#change(session);
	}

	/** A task is over, or out of a pool's hands: what it has used is used, the rest is free again. `refused`: it was no turn. */
	over(sessionId: string, lease: number, used: Amounts | null, refused: boolean, now: number): void {
		const session = this.#sessions.get(sessionId);
		if (session === undefined) return;
		const task = session.tasks.get(lease);
		session.tasks.delete(lease);
		session.budget.settle(lease, used);
		if (refused && task !== undefined && !task.again) session.turns -= 1;
		this.#change(session);
		if (task !== undefined) this.#noteSettled(session, task.taskId);
		if (refused && session.turns === 0 && session.tasks.size === 0 && !session.budget.limited) this.forget(sessionId);
		else {
			// Its life counts from the end of its last task, however long that was.
			session.usedAt = now;
			this.#touch(sessionId, now);
		}
	}

	/** A task has left its slot for another, or could not reach its engine: what it has left of its reservation stays its own. */
	between(sessionId: string, lease: number, used: Amounts, now: number): void {
		const session = this.#sessions.get(sessionId);
		if (session === undefined) return;
		if (session.tasks.has(lease)) this.#between.set(lease, { sessionId, since: now });
		session.budget.draw(lease, used);
		this.#change(session);
	}

	/** Null: of no tenant yet, or of none that is known any more. */
	tenantOf(sessionId: string): string | null {
		return this.#sessions.get(sessionId)?.tenant ?? null;
	}

	/** `tenant`: whose it is if nobody has used it; null: of the first task that does. */
	setBudgets(sessionId: string, limits: Partial<Limits>, now: number, tenant: string | null = null): void {
		const session = this.#touch(sessionId, now) ?? this.#open(sessionId, now);
		session.tenant ??= tenant;
		session.budget.set(limits);
		this.#change(session);
	}

	forget(sessionId: string): boolean {
		if (!this.#sessions.delete(sessionId)) return false;
		this.#changed.delete(sessionId);
		this.#forgotten.push(sessionId);
		return true;
	}

	get haveChanged(): boolean {
		return this.#changed.size + this.#settled.length + this.#forgotten.length > 0;
	}

	/** A front has come that knows nothing. */
	tellAll(): void {
		for (const id of this.#sessions.keys()) this.#changed.add(id);
	}

	/** Not all fronts could be told. */
	untold({ sessions, settled, forgotten }: SessionsChanged): void {
		for (const { sessionId } of sessions) this.#changed.add(sessionId);
		this.#settled = [...settled, ...this.#settled];
		this.#forgotten = [...forgotten, ...this.#forgotten];
	}

	/** What fronts keep for the next book, as far as it has changed; null: it has not. */
	takeChanges(): SessionsChanged | null {
		if (!this.haveChanged) return null;
		const sessions: SessionRecord[] = [];
		for (const id of this.#changed) {
			if (sessions.length === toldAtOnce) break;
			this.#changed.delete(id);
			const session = this.#sessions.get(id);
			if (session === undefined) continue;
			session.untold = [];
			sessions.push(this.#recordOf(session));
		}
		const changes = { type: 'sessions-changed', sessions, settled: this.#settled, forgotten: this.#forgotten } as const;
		this.#settled = [];
		this.#forgotten = [];
		return changes;
	}

	/** What a front knows of sessions of an earlier book. */
	recall(record: SessionRecord, now: number): void {
		this.#recall(record, now);
	}

	/** A task of an earlier book has ended, and its settlement may have been heard by nobody. */
	recallEnded({ taskId, held, used }: EndedOfSession, now: number): void {
		if (held.epoch === this.#epoch) return;
		const session = this.#recall(held.record, now);
		if (session === null) return;
		session.budget.use(used);
		this.#change(session);
		this.#noteSettled(session, taskId);
	}

	/** All fronts have said what they know: the least recently used go first. */
	recalled(): void {
		const sessions = [...this.#sessions.values()].sort((a, b) => a.usedAt - b.usedAt);
		this.#sessions.clear();
		for (const session of sessions) this.#sessions.set(session.id, session);
	}

	/** Null: there is a younger one by its id. */
	#recall({ sessionId, born, version, tenant, limits, used, turns, usedAt, last }: SessionRecord, now: number): Session | null {
		let session = this.#sessions.get(sessionId);
		this.#bornMax = Math.max(this.#bornMax, born);
		if (session !== undefined && session.born > born) return null;
		if (session === undefined || session.born < born) {
			session = { ...newSession(sessionId, born, usedAt), version: -1, tenant, turns, last };
			this.#sessions.set(sessionId, session);
		}
		if (version > session.version) {
			session.version = version;
			session.budget.restore(limits);
			session.tenant = tenant;
			session.last = last;
		}
		const told = most(session.told, used);
		session.budget.use(plus(told, session.told, -1));
		session.told = told;
		session.turns = Math.max(session.turns, turns);
		session.usedAt = Math.min(now, Math.max(session.usedAt, usedAt));
		return session;
	}

	#heldOf(session: Session): Pick<HeldOfSession, 'epoch' | 'record' | 'settled'> {
		return { epoch: this.#epoch, record: this.#recordOf(session), settled: [...session.untold] };
	}

	#noteSettled(session: Session, taskId: string): void {
		this.#settled.push({ taskId, version: session.version });
		session.untold.push(taskId);
	}

	#change(session: Session): void {
		session.version += 1;
		this.#changed.add(session.id);
	}

	#recordOf({ id: sessionId, born, version, tenant, budget: { limits, used }, turns, usedAt, last }: Session): SessionRecord {
		return { sessionId, born, version, tenant, limits, used, turns, usedAt, ttlMs: this.#options.ttlMs, last };
	}

	lastReplica(sessionId: string | null): LastReplica | null {
		return sessionId === null ? null : (this.#sessions.get(sessionId)?.last ?? null);
	}

	/** Null: there is none. Looking at it is no use of it. */
	view(sessionId: string, isWarm: (last: LastReplica) => boolean, now: number): Omit<SessionView, 'kvBytes'> | null {
		const session = this.#sessions.get(sessionId);
		if (session === undefined || this.#expired(session, now)) return null;
		return {
			sessionId,
			ttlMsRemaining: Math.max(0, Math.round(session.usedAt + this.#options.ttlMs - now)),
			turns: session.turns,
			kvWarm: session.last !== null && isWarm(session.last),
			budget: leftOf(session.budget) ?? { tokens: null, timeMs: null, cost: null, gpuMs: null },
		};
	}

	/** Forgets what nobody has used for long enough; those that were used last are at the end. */
	sweep(now: number): void {
		for (const [lease, { sessionId, since }] of this.#between) {
			if (since + betweenMs > now) break;
			this.#between.delete(lease);
			this.over(sessionId, lease, nothing, false, now);
		}
		for (const session of this.#sessions.values()) {
			if (session.tasks.size > 0) continue;
			if (this.#expired(session, now)) this.#sessions.delete(session.id);
			else if (this.#sessions.size > this.#options.countMax) this.forget(session.id);
			else return;
		}
	}

	/** In use = the sum of leases, in every session; null, or what is wrong. */
	drift(): string | null {
		for (const { id, budget, tasks } of this.#sessions.values()) {
			const words = budget.drift() ?? (budget.open > tasks.size ? `${budget.open} leases for ${tasks.size} tasks` : null);
			if (words !== null) return `session ${id}: ${words}`;
		}
		return null;
	}

	#weigh(summary: TaskSummary, worst: WorstCase, again: boolean, now: number): Weighed | Failure | 'count-first' {
		const { sessionId, maxTokens, promptTokens, promptBytes, counted } = summary;
		const none = { reserve: { tokens: 0, timeMs: 0, cost: 0, gpuMs: 0 }, outputCap: null, wallCapMs: null };
		const known = sessionId === null ? undefined : this.#sessions.get(sessionId);
		if (known === undefined || this.#expired(known, now)) return none;
		if (known.tenant !== null && known.tenant !== summary.tenant) return failure('CONFLICT', 'session_id is that of another tenant');
		const { turnsMax } = this.#options;
		if (!again && turnsMax > 0 && known.turns >= turnsMax) {
			const words = `the session has had ${known.turns} turns; sessions.turns_max is ${turnsMax}`;
			return failure('INVALID_PARAMS', words, { policyLabel: 'session.turns' });
		}
		const { budget } = known;
		if (!budget.limited) return none;
		const tokensLeft = budget.remaining('tokens');
		const costLeft = budget.remaining('cost');
		if (tokensLeft !== null && promptTokens === null && !counted) return 'count-first';
		const tokensIn = promptTokens ?? (tokensLeft === null && costLeft === null ? promptBytes / bytesPerToken : promptBytes);
		const left = { tokens: tokensLeft, timeMs: budget.remaining('timeMs'), cost: costLeft, gpuMs: budget.remaining('gpuMs') };
		return weigh(left, { tokensIn, maxTokens }, worst, owner);
	}

	#expired({ usedAt, tasks }: Session, now: number): boolean {
		return tasks.size === 0 && usedAt + this.#options.ttlMs <= now;
	}

	/** Undefined: there is none any more. */
	#touch(sessionId: string, now: number): Session | undefined {
		const session = this.#sessions.get(sessionId);
		if (session === undefined) return undefined;
		this.#sessions.delete(sessionId);
		if (this.#expired(session, now)) return undefined;
		session.usedAt = now;
		this.#sessions.set(sessionId, session);
		return session;
	}

	#open(sessionId: string, now: number): Session {
		this.#made += 1;
		const session = newSession(sessionId, Math.max(this.#epoch * bornPerEpoch, this.#bornMax) + this.#made, now);
		this.#sessions.set(sessionId, session);
		if (this.#sessions.size > this.#options.countMax) this.sweep(now);
		return session;
	}
}

function leftOf(budget: Budget): BudgetLeft | null {
	if (!budget.limited) return null;
	const [tokens = null, timeMs = null, cost = null, gpuMs = null] = budgetKinds.map((kind) => budget.remaining(kind));
	return { tokens, timeMs, cost, gpuMs };
}
