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

	constructor(line: JournalLine | null, frontId: string) {
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

	heard(news: JournalNews): void {
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
