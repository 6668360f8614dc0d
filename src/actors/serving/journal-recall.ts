/**
 * What a front is given when it joins: the tasks that it is the home of, a bounded part at a time. Those that are to run come first, in the
 * order of their admission, then those that have ended, in that of their ends. Part of the Journal actor.
 */
import type { ActorRef } from '../kernel/ref.ts';
import type { Entry, JournalIndex } from './journal-index.ts';
import type { JournalNews, RecalledTask } from './journal-messages.ts';
import { forgottenRecord } from './journal-record.ts';
import type { JournalStore } from './journal-store.ts';
import type { SessionRecord } from './session-messages.ts';

interface Recall {
	readonly session: number;
	readonly ref: ActorRef<JournalNews>;
	readonly tasks: readonly (readonly [string, Entry])[];
	/** Of those, which are told with their events. */
	readonly whole: ReadonlySet<string>;
	/** How many of them were sent. */
	sent: number;
	/** Messages that have not been taken. */
	open: number;
	/** The link had no room for it. */
	unsent: JournalNews[];
}

interface Timers {
	setTimer(key: string, ms: number, message: { readonly type: 'recall-due' }): void;
}

const messageBytes = 256 * 1024;
const messageTasks = 500;
const openMax = 4;
const againMs = 20;

export class JournalRecall {
	readonly #timers: Timers;
	readonly #store: JournalStore;
	readonly #index: JournalIndex;
	readonly #endedBytesMax: number;
	readonly #recalls = new Map<string, Recall>();

	/** `endedBytesMax`: of ended tasks that a front is given with their events. */
	constructor(timers: Timers, store: JournalStore, index: JournalIndex, endedBytesMax: number) {
		this.#timers = timers;
		this.#store = store;
		this.#index = index;
		this.#endedBytesMax = endedBytesMax;
	}

	begin(frontId: string, session: number, ref: ActorRef<JournalNews>, sessions: readonly SessionRecord[]): void {
		const own = [...this.#index.of(frontId)];
		const live = own.filter(([, { state }]) => state === 'live');
		const ended = own.filter(([, { state }]) => state !== 'live');
		live.sort(([, a], [, b]) => a.admittedAt - b.admittedAt || a.ordinal - b.ordinal);
		ended.sort(([, a], [, b]) => a.endedAt - b.endedAt);
		// Where not all have room, those that ended last are asked for most.
		const whole = new Set<string>();
		let bytes = 0;
		for (const [taskId, entry] of [...ended].reverse()) {
			if (entry.state !== 'ended') continue;
			bytes += entry.bytes;
			if (bytes > this.#endedBytesMax) break;
			whole.add(taskId);
		}
		const unsent: JournalNews[] = [{ type: 'journal-joined', session }];
		for (let from = 0; from < sessions.length; from += messageTasks)
			unsent.push({ type: 'recall-sessions', session, sessions: sessions.slice(from, from + messageTasks) });
		this.#recalls.set(frontId, { session, ref, tasks: [...live, ...ended], whole, sent: 0, open: 0, unsent });
		this.#send(frontId);
	}

	more(frontId: string, session: number): void {
		const recall = this.#recalls.get(frontId);
		if (recall?.session !== session) return;
		recall.open -= 1;
		this.#send(frontId);
	}

	sendAgain(): void {
		for (const frontId of [...this.#recalls.keys()]) this.#send(frontId);
	}

	stop(frontId: string): void {
		this.#recalls.delete(frontId);
	}

	#send(frontId: string): void {
		const recall = this.#recalls.get(frontId);
		if (recall === undefined) return;
		const { ref, session, tasks, unsent } = recall;
		for (;;) {
			while (unsent.length > 0) {
				if (ref.tell(unsent[0] as JournalNews) === 'full') return this.#timers.setTimer('recall', againMs, { type: 'recall-due' });
				const told = unsent.shift();
				if (told?.type === 'journal-recalled') return this.stop(frontId);
			}
			if (recall.open === openMax) return;
			if (recall.sent < tasks.length) {
				unsent.push({ type: 'recall-tasks', session, tasks: this.#next(recall) });
				recall.open += 1;
			} else if (recall.open === 0) unsent.push({ type: 'journal-recalled', session });
			else return;
		}
	}

	#next(recall: Recall): RecalledTask[] {
		const told: RecalledTask[] = [];
		let bytes = 0;
		while (recall.sent < recall.tasks.length && bytes < messageBytes && told.length < messageTasks) {
			const [taskId, entry] = recall.tasks[recall.sent++] as readonly [string, Entry];
			const record = this.#index.get(taskId) === entry ? this.#store.read(entry.state === 'live' ? 'live' : 'ended', taskId) : null;
			// Its time was over in the meantime.
			if (record === null) continue;
			const { run, keys, watched } = entry;
			const short = entry.state === 'forgotten' || (entry.state === 'ended' && !recall.whole.has(taskId));
			const state = short ? 'forgotten' : entry.state;
			const sent = { taskId, state, run, record: ownBytes(short ? forgottenRecord(record) : record), keys, watched } as const;
			told.push(sent);
			bytes += sent.record.length;
		}
		return told;
	}
}

/** In a buffer of its own: a view of a larger one would cross whole. */
function ownBytes(bytes: Uint8Array): Uint8Array {
	return bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice();
}
