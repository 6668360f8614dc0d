/**
 * The tasks of one front thread and how long they are known: what `TaskDirectory` shows, kept for the `tasks` actor,
 * which alone calls what writes. A task is live, then finished (events kept for `retentionMs`, at most `retentionCount`
 * of them), then expired (its id is remembered, its events are gone), then nothing. All of it bounded: live tasks by
 * the log space they reserve, the rest by count.
 * ```
 *   add ──► live ──finish──► finished ──forget──► expired ──(idsMax newer ones)──► nothing
 *            └─withdraw─► nothing (refused before its 202)
 * ```
 */

import type { Failure } from './failure.ts';
import { failure } from './failure.ts';
import type { KnownTask } from './home-messages.ts';
import { IdempotencyIndex, keysPerTaskMax } from './idempotency.ts';
import type { EndedTask, LiveTask } from './journal-record.ts';
import { LogSpace, logBytesFor, logHeadBytes, logRetryAfterMs } from './log-space.ts';
import { lostRecord } from './lost-task.ts';
import type { PoolView } from './messages.ts';
import { outputTokensMax } from './prompt-bounds.ts';
import { type NotedTask, noBook, noCell, type TaskBook } from './task-book.ts';
import type { Lookup, TaskDirectory, TaskFilter, TaskView } from './task-directory.ts';
import { comparePlaces, cursorOf, placeOf, placeOfCursor } from './task-page.ts';
import { TaskRecord } from './task-record.ts';
import type { TaskRequest } from './task-request.ts';

/** Ids of expired tasks that are remembered, so that a late watcher hears 410 and a late retry does not run again. */
const expiredIdsMax = 65_536;

/** How often one that is kept for its readers is looked at again. */
const heldLookMs = 1_000;
/** Who watches a task to its end must get it, and who waits for its result too: no bound but that of the log space goes below. */
const keptMsMin = 1000;

/** Of tasks as the directory on the control thread is to know them. */
export interface Forgotten {
	readonly expired: readonly string[];
	readonly forgotten: readonly string[];
	/** Of the expired, those that the journal has. */
	readonly durable: readonly string[];
}

export interface RetentionLimits {
	readonly logBytesMax: number;
	readonly retentionMs: number;
	readonly retentionCount: number;
}

/** As transport's `Lookup`, with the record. */
export type RecordLookup = Exclude<Lookup, { readonly found: 'task' }> | { readonly found: 'task'; readonly task: TaskRecord };

/** What an `open-task` finds. */
export type Claim =
	| { readonly kind: 'fresh' }
	/** `newKey`: it is known by that too from now on. */
	| { readonly kind: 'known'; readonly task: TaskRecord; readonly newKey: string | null }
	| { readonly kind: 'refused'; readonly failure: Failure };

export class TaskRegistry implements TaskDirectory {
	pools: readonly PoolView[] = [];
	controlReachable = false;
	/** See `TaskDirectory`. */
	complete = true;
	readonly logSpace: LogSpace;
	/** The number of this front thread. */
	readonly #front: number;
	readonly #limits: RetentionLimits;
	readonly #book: TaskBook;
	/** In order of admission. */
	readonly #tasks = new Map<string, TaskRecord>();
	#ordinal = 0;
	/** In order of their ends. */
	readonly #finished = new Map<string, TaskRecord>();
	/** Where the book has each. */
	readonly #expired = new Map<string, number>();
	readonly #keys = new IdempotencyIndex();
	/** What the directory has not been told yet. */
	#unsaid: { readonly expired: string[]; readonly forgotten: string[]; readonly durable: string[] } = nothingUnsaid();
	/** Left to the next daemon: shown as they stand until this one has ended. */
	readonly #suspended = new Map<string, TaskRecord>();

	constructor(limits: RetentionLimits, front = 0, book: TaskBook = noBook) {
		this.#limits = limits;
		this.#front = front;
		this.#book = book;
		this.logSpace = new LogSpace(limits.logBytesMax, () => this.#forgetOldest());
	}

	get liveCount(): number {
		return this.#tasks.size - this.#finished.size;
	}

	get finishedCount(): number {
		return this.#finished.size;
	}

	/**
	 * Does the request name a task that is known, by its id or by its tenant's idempotency key? A new key beside a known id
	 * names that task from then on: the key alone must not run it again.
	 */
	claim(request: Pick<TaskRequest, 'taskId' | 'tenant' | 'bodyHash' | 'idempotencyKey'>): Claim {
		const { taskId, tenant, bodyHash, idempotencyKey } = request;
		const keyed = idempotencyKey === null ? null : this.#keys.find(tenant, idempotencyKey);
		const byId = this.#tasks.get(taskId);
		if (keyed !== null) {
			if (keyed.bodyHash !== bodyHash) return conflict('Idempotency-Key', 'was used with another body');
			if (byId !== undefined && keyed.taskId !== taskId) return conflict('task_id', 'and Idempotency-Key name two different tasks');
			const task = this.#tasks.get(keyed.taskId);
			return task === undefined ? expired(keyed.taskId) : { kind: 'known', task, newKey: null };
		}
		if (byId !== undefined) {
			const same = byId.request.bodyHash === bodyHash && byId.request.tenant === tenant;
			if (!same) return conflict('task_id', 'is that of another task');
			if (idempotencyKey !== null && !this.#keys.put(tenant, idempotencyKey, taskId, bodyHash)) {
				return conflict('Idempotency-Key', `is one more than the ${keysPerTaskMax} that this task is known by`);
			}
			if (idempotencyKey !== null) this.#noteAgain(byId);
			return { kind: 'known', task: byId, newKey: idempotencyKey };
		}
		return this.#expired.has(taskId) ? expired(taskId) : { kind: 'fresh' };
	}

	/** What `claim` would say is certain whatever other fronts know. */
	decides({ taskId, tenant, idempotencyKey }: Pick<TaskRequest, 'taskId' | 'tenant' | 'idempotencyKey'>): boolean {
		if (idempotencyKey !== null) return this.#keys.find(tenant, idempotencyKey) !== null;
		return this.#tasks.has(taskId) || this.#expired.has(taskId);
	}

	keysOf(taskId: string): readonly string[] {
		return this.#keys.keysOf(taskId)?.keys ?? noKeys;
	}

	/** Makes a live task of a request that `claim` found fresh, or says why there is no room for it. */
	add(request: TaskRequest, now: number): TaskRecord | Failure {
		const bytes = logBytesFor(request, outputTokensMax(request, this.pools));
		const { bytesMax } = this.logSpace;
		if (bytes > bytesMax) {
			return failure('INVALID_PARAMS', `the task may produce ${bytes} bytes of events; tasks.log_bytes_max is ${bytesMax}`);
		}
		const lease = this.logSpace.reserve(bytes);
		if (lease === null) {
			const message = `running tasks have reserved the log space (tasks.log_bytes_max is ${bytesMax})`;
			return failure('ADMISSION_REJECT', message, { retryAfterMs: logRetryAfterMs, policyLabel: 'log' });
		}
		const task = new TaskRecord(request, ++this.#ordinal, now, lease, 1, request.durable ? 1 : null);
		this.#tasks.set(request.taskId, task);
		if (request.idempotencyKey !== null) this.#keys.put(request.tenant, request.idempotencyKey, request.taskId, request.bodyHash);
		return task;
	}

	/** It has its 202: whoever comes after this thread is to know it. */
	note(taskId: string): void {
		const task = this.#tasks.get(taskId);
		if (task !== undefined) task.bookCell = this.#book.put(this.#noted(task), task.bookCell);
	}

	#noteAgain(task: TaskRecord): void {
		if (task.bookCell !== noCell) this.note(task.request.taskId);
	}

	/** A task that was kept when its thread or the daemon was lost: it runs again. It has its space, whoever has come since. */
	restoreLive({ request, admittedAt, held, watched }: LiveTask, run: number, keys: readonly string[]): TaskRecord | null {
		const { taskId } = request;
		if (this.#tasks.has(taskId)) return null;
		const lease = this.logSpace.restore(logBytesFor(request, outputTokensMax(request, this.pools)));
		const task = new TaskRecord(request, ++this.#ordinal, admittedAt, lease, 1, run);
		task.held = held;
		task.watched = watched;
		task.journaled = true;
		task.state = 'queued';
		task.phase = 'queued';
		this.#tasks.set(taskId, task);
		this.#putKeys(request, [request.idempotencyKey ?? [], keys].flat());
		return task;
	}

	/** One that had ended: with its events, where there is room for them; then it is to be finished, in the order of the ends. Null: it is not. */
	restoreEnded(ended: EndedTask, keys: readonly string[], whole: boolean): TaskRecord | null {
		const { request, admittedAt, run, events } = ended;
		const { taskId } = request;
		if (this.#tasks.has(taskId) || this.#expired.has(taskId)) return null;
		this.#putKeys(request, keys);
		const lease = whole ? this.logSpace.reserve(events.length + logHeadBytes) : null;
		if (lease === null) {
			this.#expire(taskId, noCell);
			return null;
		}
		const task = new TaskRecord(request, ++this.#ordinal, admittedAt, lease, 1, run);
		task.restore(ended);
		task.journaled = true;
		this.#tasks.set(taskId, task);
		return task;
	}

	/** The next daemon has it from the journal. */
	suspend(task: TaskRecord): void {
		const { taskId } = task.request;
		this.#tasks.delete(taskId);
		this.#suspended.set(taskId, task);
		this.logSpace.release(task.logLease);
	}

	/** A live task was refused: as if it had never been. Its watchers have its error event, and keep their view of it. */
	withdraw(task: TaskRecord): void {
		// The same id may have come again since.
		if (this.#tasks.get(task.request.taskId) !== task) return;
		this.#tasks.delete(task.request.taskId);
		this.#keys.drop(task.request.taskId);
		this.logSpace.release(task.logLease);
		this.#book.forget(task.bookCell);
		this.#unsaid.forgotten.push(task.request.taskId);
	}

	/** Tasks of the thread that this one took the place of: they failed with it, and are kept for those who come. */
	recall(now: number): string[] {
		const noted = this.#book.recall();
		for (const { task, cell } of noted) this.#adopt(task, cell, now);
		return noted.flatMap(({ task: { taskId, about } }) => (about === null ? [] : [taskId]));
	}

	#adopt(known: NotedTask, cell: number, now: number): void {
		const { taskId, tenant, bodyHash, keys, about } = known;
		this.#putKeys({ taskId, tenant, bodyHash }, keys);
		if (about === null) return this.#expire(taskId, cell);
		const lease = this.logSpace.reserve(logHeadBytes);
		if (lease === null) return this.#expire(taskId, this.#book.put(this.#knownExpired(taskId, tenant), cell));
		const task = lostRecord(known, about, { ordinal: ++this.#ordinal, lease, now });
		task.bookCell = cell;
		this.#tasks.set(taskId, task);
		this.finish(task);
	}

	/** Tasks that have ended, as the directory of a new control thread is to know them. */
	ended(): KnownTask[] {
		const tasks: KnownTask[] = [];
		for (const { request } of this.#finished.values()) tasks.push(this.#known(request));
		for (const taskId of this.#expired.keys()) tasks.push(this.#knownExpired(taskId, ''));
		return tasks;
	}

	#known({ taskId, tenant, bodyHash }: TaskRequest): KnownTask {
		return { taskId, tenant, bodyHash, keys: this.keysOf(taskId) };
	}

	#noted({ request, admittedAt }: TaskRecord): NotedTask {
		const { modelRef, workload, priority, sessionId, correlationId } = request;
		const { taskId, tenant, bodyHash } = request;
		const about = { modelRef, workload, priority, sessionId, correlationId, admittedAt };
		return { taskId, tenant, bodyHash, keys: this.keysOf(taskId), about };
	}

	/** What its keys are judged by, where it has any. */
	#knownExpired(taskId: string, tenant: string): NotedTask {
		const known = this.#keys.keysOf(taskId);
		if (known === null) return { taskId, tenant, bodyHash: '', keys: noKeys, about: null };
		return { taskId, tenant: known.tenant, bodyHash: known.bodyHash, keys: known.keys, about: null };
	}

	/** What was forgotten since the last call; null: nothing. */
	takeForgotten(): Forgotten | null {
		const unsaid = this.#unsaid;
		if (unsaid.expired.length + unsaid.forgotten.length === 0) return null;
		this.#unsaid = nothingUnsaid();
		return unsaid;
	}

	/** A live task has ended: it is kept for those who come later. `forgetDue` says for how long. */
	finish(task: TaskRecord): void {
		this.#finished.set(task.request.taskId, task);
		this.logSpace.finish(task.logLease, task.bytesKept);
	}

	/** Forgets what is due, by age or number, the oldest end first. Returns when the next one is, or null when nothing is kept. */
	forgetDue(now: number): number | null {
		const { retentionMs, retentionCount } = this.#limits;
		let held = 0;
		for (const task of this.#finished.values()) {
			const tooMany = this.#finished.size - held > retentionCount;
			const due = (task.endedAt ?? now) + Math.max(keptMsMin, tooMany ? 0 : retentionMs);
			if (due > now) return held > 0 ? Math.min(due, now + heldLookMs) : due;
			// A reader that is behind comes to the end, or is cut when it stands still.
			if (task.log.watched) held += 1;
			else this.#forget(task);
		}
		return held > 0 ? now + heldLookMs : null;
	}

	liveTasks(): TaskRecord[] {
		return [...this.#tasks.values()].filter((task) => !this.#finished.has(task.request.taskId));
	}

	lookup(taskId: string): RecordLookup {
		const task = this.#tasks.get(taskId) ?? this.#suspended.get(taskId);
		if (task !== undefined) return task.refused ? { found: 'nothing' } : { found: 'task', task };
		return this.#expired.has(taskId) ? { found: 'expired', taskId } : { found: 'nothing' };
	}

	list(
		filter: TaskFilter,
		limit: number,
		cursor: string | null,
	): { readonly tasks: readonly TaskView[]; readonly nextCursor: string | null } {
		const { tasks, more } = this.page(filter, limit, cursor);
		const last = tasks.at(-1);
		return { tasks, nextCursor: more && last !== undefined ? this.cursorBehind(last) : null };
	}

	/** As `list`, with the records. `cursor` may be of a page that was made of the tasks of several fronts. */
	page(filter: TaskFilter, limit: number, cursor: string | null): { readonly tasks: TaskRecord[]; readonly more: boolean } {
		const tasks: TaskRecord[] = [];
		const after = cursor === null ? null : placeOfCursor(cursor);
		if (cursor !== null && after === null) return { tasks, more: false };
		// A walk over all that are known: thousands, for a request that people make.
		const newestFirst = [...this.#tasks.values()].reverse();
		for (const task of newestFirst) {
			if (task.refused || (after !== null && comparePlaces(placeOf(task, this.#front), after) <= 0)) continue;
			if (filter.state !== undefined && task.state !== filter.state) continue;
			if (filter.poolId !== undefined && task.poolId !== filter.poolId) continue;
			if (filter.tenant !== undefined && task.request.tenant !== filter.tenant) continue;
			if (tasks.length === limit) return { tasks, more: true };
			tasks.push(task);
		}
		return { tasks, more: false };
	}

	cursorBehind(task: TaskRecord): string {
		return cursorOf(placeOf(task, this.#front));
	}

	/** Throws when the parts do not agree with each other. */
	check(): void {
		this.logSpace.check();
		for (const id of this.#finished.keys()) if (!this.#tasks.has(id)) throw new Error('task registry: finished and unknown');
		for (const id of this.#expired.keys()) if (this.#tasks.has(id)) throw new Error('task registry: expired and known');
		if (this.#keys.size > keysPerTaskMax * (this.#tasks.size + this.#expired.size)) throw new Error('task registry: keys of unknown tasks');
	}

	#forgetOldest(): boolean {
		let oldest: TaskRecord | null = null;
		for (const task of this.#finished.values()) {
			oldest ??= task;
			if (task.log.watched) continue;
			oldest = task;
			break;
		}
		if (oldest === null) return false;
		this.#forget(oldest);
		return true;
	}

	#forget(task: TaskRecord): void {
		const id = task.request.taskId;
		this.#finished.delete(id);
		this.#tasks.delete(id);
		this.logSpace.release(task.logLease);
		task.log.forget();
		this.#unsaid.expired.push(id);
		if (task.request.durable) this.#unsaid.durable.push(id);
		this.#expire(id, this.#book.put(this.#knownExpired(id, task.request.tenant), task.bookCell));
	}

	#putKeys({ taskId, tenant, bodyHash }: Pick<TaskRequest, 'taskId' | 'tenant' | 'bodyHash'>, keys: readonly string[]): void {
		for (const key of new Set(keys)) if (this.#keys.find(tenant, key) === null) this.#keys.put(tenant, key, taskId, bodyHash);
	}

	/** `cell`: where the book has it. */
	#expire(id: string, cell: number): void {
		this.#expired.set(id, cell);
		if (this.#expired.size <= expiredIdsMax) return;
		for (const [oldest, itsCell] of this.#expired) {
			if (this.#expired.size <= expiredIdsMax) break;
			this.#expired.delete(oldest);
			this.#book.forget(itsCell);
			this.#keys.drop(oldest);
			this.#unsaid.forgotten.push(oldest);
		}
	}
}

const noKeys: readonly string[] = [];

function nothingUnsaid(): { readonly expired: string[]; readonly forgotten: string[]; readonly durable: string[] } {
	return { expired: [], forgotten: [], durable: [] };
}

function conflict(field: string, problem: string): Claim {
	return { kind: 'refused', failure: failure('CONFLICT', `${field} ${problem}`) };
}

function expired(taskId: string): Claim {
	return { kind: 'refused', failure: failure('EVENTS_EXPIRED', `task ${taskId} has already run, and its events are no longer kept`) };
}
