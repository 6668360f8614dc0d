/**
 * What the `tasks` actor of a front has to do with the journal: joins it, takes what it was the home of, and begins that anew once the pools
 * are known too. Until then no task gets in, and none is denied. Part of that actor.
 * ```
 *   joining ──journal-joined──► recalling ──journal-recalled, pools known──► ready        (no journal: ready)
 * ```
 */
import type { ActorRef } from '../kernel/ref.ts';
import type { JournalLine } from './journal-line.ts';
import type { JournalCommand, JournalKept, JournalNews, RecalledTask } from './journal-messages.ts';
import { type EndedTask, type LiveTask, readEnded, readLive } from './journal-record.ts';
import type { SessionRecord, SessionsChanged } from './session-messages.ts';
import type { SessionNotes } from './session-notes.ts';
import type { TaskRecord } from './task-record.ts';
import type { TaskRegistry } from './task-registry.ts';

type Restored =
	| { readonly state: 'live'; readonly run: number; readonly task: LiveTask; readonly keys: readonly string[] }
	| { readonly state: 'ended' | 'forgotten'; readonly task: EndedTask; readonly keys: readonly string[] };

export class TasksJournal {
	readonly #line: JournalLine | null;
	readonly #frontId: string;
	#state: 'joining' | 'recalling' | 'recalled' | 'ready';
	#restored: Restored[] = [];
	readonly #notes: SessionNotes;
	/** What the journal has not been told of sessions; null: of one that is forgotten. */
	readonly #untold = new Map<string, SessionRecord | null>();

	constructor(line: JournalLine | null, frontId: string, notes: SessionNotes) {
		this.#notes = notes;
		this.#line = line;
		this.#frontId = frontId;
		this.#state = line === null ? 'ready' : 'joining';
	}

	get ready(): boolean {
		return this.#state === 'ready';
	}

	connect(journal: ActorRef<JournalCommand>, self: ActorRef<JournalNews>): void {
		this.#line?.connect(journal);
		journal.tell({ type: 'join-journal', frontId: this.#frontId, replyTo: self });
	}

	heard(news: JournalNews, now: number): void {
		const line = this.#line;
		if (line === null || this.#state === 'ready') return;
		if (news.type === 'journal-joined') {
			line.session = news.session;
			this.#state = 'recalling';
			this.#restored = [];
			return;
		}
		if (news.session !== line.session) return;
		if (news.type === 'journal-recalled') {
			this.#state = 'recalled';
			this.#tellSessions();
			return;
		}
		if (news.type === 'recall-sessions') {
			const sessions = news.sessions.map((each) => ({ ...each, usedAt: line.hostOf(each.usedAt) }));
			this.#notes.heard({ type: 'sessions-changed', sessions, settled: [], forgotten: [] }, now);
			return;
		}
		for (const task of news.tasks) this.#restored.push(restored(task, line));
		line.tell({ type: 'recall-more', frontId: this.#frontId, session: news.session });
	}

	/** All that there was is here again, in the order of its admission; once. How many run again; null: not now. The pools are known. */
	restore(registry: TaskRegistry, runAgain: (record: TaskRecord) => void): number | null {
		if (this.#state !== 'recalled') return null;
		this.#state = 'ready';
		const ended: TaskRecord[] = [];
		let again = 0;
		for (const each of this.#restored.sort((a, b) => a.task.admittedAt - b.task.admittedAt)) {
			if (each.state === 'live') {
				const record = registry.restoreLive(each.task, each.run, each.keys);
				if (record === null) continue;
				again += 1;
				runAgain(record);
			} else {
				const record = registry.restoreEnded(each.task, each.keys, each.state === 'ended');
				if (record !== null) ended.push(record);
			}
		}
		this.#restored = [];
		ended.sort((a, b) => (a.endedAt ?? 0) - (b.endedAt ?? 0));
		for (const record of ended) registry.finish(record);
		return again;
	}

	/** Whether the key has to be kept before anybody relies on it, and by what it is asked. */
	keepKey(taskId: string, key: string): ((replyTo: ActorRef<JournalKept>) => JournalCommand) | null {
		const session = this.#line?.session ?? null;
		return session === null ? null : (replyTo) => ({ type: 'keep-key', session, taskId, key, replyTo });
	}

	/** As the control thread told of them; what finds no room is told with the next change. */
	keepSessions({ sessions, forgotten }: SessionsChanged): void {
		if (this.#line === null) return;
		for (const each of forgotten) this.#untold.set(each, null);
		for (const each of sessions) this.#untold.set(each.sessionId, each);
		this.#tellSessions();
	}

	#tellSessions(): void {
		const line = this.#line;
		const session = line?.session ?? null;
		if (line === null || session === null || this.#untold.size === 0) return;
		const sessions: SessionRecord[] = [];
		const forgotten: string[] = [];
		for (const [sessionId, record] of this.#untold) {
			if (record === null) forgotten.push(sessionId);
			else sessions.push({ ...record, usedAt: line.wallOf(record.usedAt) });
		}
		if (line.tell({ type: 'keep-sessions', session, sessions, forgotten }) === 'accepted') this.#untold.clear();
	}

	forget(taskIds: readonly string[]): void {
		const session = this.#line?.session ?? null;
		if (taskIds.length > 0 && session !== null) this.#line?.tell({ type: 'forget-tasks', session, taskIds });
	}
}

function restored({ state, run, record, keys, watched }: RecalledTask, line: JournalLine): Restored {
	if (state === 'live') {
		const task = readLive(record, line);
		return { state, run, task: { ...task, watched: task.watched || watched }, keys: [...task.keys, ...keys] };
	}
	const task = readEnded(record, line);
	return { state, task, keys: [...task.keys, ...keys] };
}
