/**
 * What a front thread keeps of sessions for the next control thread: each as it was told last, and those of its own tasks that
 * have ended without that being told. Written by the `tasks` actor alone.
 */
import { type Amounts, nothing } from './budget.ts';
import type { EndedOfSession, HeldOfSession, ReportSessions, SessionRecord, SessionsChanged } from './session-messages.ts';
import type { TaskRecord } from './task-record.ts';

/** In one message to a new control thread. */
const reportedAtOnce = 500;

export class SessionNotes {
	/** Least recently changed first. */
	readonly #sessions = new Map<string, SessionRecord>();
	readonly #ended = new Map<string, EndedOfSession>();

	get size(): number {
		return this.#sessions.size + this.#ended.size;
	}

	heard({ sessions, settled, forgotten }: SessionsChanged, now: number): void {
		for (const record of sessions) this.#keep(record);
		for (const { taskId, version } of settled) this.#settled(taskId, version);
		for (const sessionId of forgotten) {
			this.#sessions.delete(sessionId);
			for (const [taskId, { held }] of this.#ended) if (held.record.sessionId === sessionId) this.#ended.delete(taskId);
		}
		this.#forgetOld(now);
	}

	/** A task is gone. What it came to, for the control thread of that epoch when it does not know of the task; null: it does. */
	ended(task: TaskRecord, epoch: number | null): EndedOfSession | null {
		const { held } = task;
		if (held === null) return null;
		const { taskId } = task.request;
		const ended = { taskId, held, used: usedAtMost(task, held) };
		const isLate = epoch !== null && held.epoch < epoch;
		this.#ended.set(taskId, isLate ? known(ended, epoch) : ended);
		return isLate ? ended : null;
	}

	/** For a control thread of that epoch, once all tasks that live have reported themselves. */
	report(epoch: number, now: number, live: Iterable<Pick<TaskRecord, 'held'>>): ReportSessions[] {
		this.#forgetOld(now);
		// What was settled before a task was admitted is in what that one knows of its session.
		for (const { held } of [...live, ...this.#ended.values()]) {
			if (held !== null) for (const taskId of held.settled) this.#settled(taskId, held.record.version);
		}
		const sessions = [...this.#sessions.values()];
		const ended = [...this.#ended.values()].filter(({ held }) => held.epoch < epoch);
		const messages: ReportSessions[] = [];
		for (let from = 0; from < Math.max(sessions.length, ended.length); from += reportedAtOnce) {
			const to = from + reportedAtOnce;
			messages.push({ type: 'report-sessions', sessions: sessions.slice(from, to), ended: ended.slice(from, to) });
		}
		for (const each of ended) this.#ended.set(each.taskId, known(each, epoch));
		return messages;
	}

	#settled(taskId: string, version: number): void {
		const ended = this.#ended.get(taskId);
		if (ended !== undefined && ended.held.record.version <= version) this.#ended.delete(taskId);
	}

	#keep(record: SessionRecord): void {
		const known = this.#sessions.get(record.sessionId);
		if (known !== undefined && (known.born > record.born || (known.born === record.born && known.version > record.version))) return;
		this.#sessions.delete(record.sessionId);
		this.#sessions.set(record.sessionId, record);
	}

	#forgetOld(now: number): void {
		for (const [sessionId, { usedAt, ttlMs }] of this.#sessions) {
			if (usedAt + ttlMs > now) return;
			this.#sessions.delete(sessionId);
		}
	}
}

/** Told to the control thread of that epoch, which has yet to say that it has heard. */
function known(ended: EndedOfSession, epoch: number): EndedOfSession {
	return { ...ended, held: { ...ended.held, epoch } };
}

/** Nobody has heard what it came to: no less than this, and no more than it had. */
function usedAtMost({ startedAt, endedAt, tokensIn, tokensOut }: TaskRecord, { reserved }: HeldOfSession): Amounts {
	if (startedAt === null || endedAt === null) return nothing;
	const timeMs = Math.min(reserved.timeMs, endedAt - startedAt);
	const gpuMs = reserved.timeMs === 0 ? 0 : (reserved.gpuMs * timeMs) / reserved.timeMs;
	return { tokens: Math.min(reserved.tokens, tokensIn + tokensOut), timeMs, cost: reserved.cost, gpuMs };
}
