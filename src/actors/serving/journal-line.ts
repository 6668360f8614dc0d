/**
 * The way of a front thread to the journal: which journal and session there is, what is under way to it, and what time of day it is. Bounded
 * by messages and bytes, so that a slow disk refuses what is new and holds no more memory. Shared by the `tasks` actor and its Tasks.
 */
import type { ActorRef, Delivery } from '../kernel/ref.ts';
import type { JournalCommand, JournalKept } from './journal-messages.ts';
import { endedRecord, liveRecord, type WallClock } from './journal-record.ts';
import type { TaskRecord } from './task-record.ts';
import type { TaskFacts } from './task-snapshot.ts';

export interface JournalLineOptions {
	readonly frontId: string;
	/** Of the actors of this thread. */
	readonly clock: WallClock;
	/** Under way at once. */
	readonly messagesMax?: number;
	readonly bytesMax?: number;
}

/** Fewer than a link has credit for answers. */
const messagesDefault = 8_192;
const bytesDefault = 64 * 1024 * 1024;

export class JournalLine implements WallClock {
	readonly #options: Required<JournalLineOptions>;
	#journal: ActorRef<JournalCommand> | null = null;
	/** Null: the journal has not told it yet. */
	session: number | null = null;
	#messages = 0;
	#bytes = 0;

	constructor(options: JournalLineOptions) {
		this.#options = { messagesMax: messagesDefault, bytesMax: bytesDefault, ...options };
	}

	connect(journal: ActorRef<JournalCommand>): void {
		this.#journal = journal;
		this.session = null;
	}

	wallOf(at: number): number {
		return this.#options.clock.wallOf(at);
	}

	hostOf(wall: number): number {
		return this.#options.clock.hostOf(wall);
	}

	tell(command: JournalCommand): Delivery {
		return this.#journal?.tell(command) ?? 'closed';
	}

	/** Answered by `journal-kept`; then `done` is called with what this returned. Null: there is no room, or no journal. */
	keepTask(task: TaskRecord, keys: readonly string[], replyTo: ActorRef<JournalKept>): number | null {
		const { session } = this;
		if (session === null || this.#messages >= this.#options.messagesMax || this.#bytes >= this.#options.bytesMax) return null;
		const record = liveRecord(task, this.#options.frontId, keys, this);
		const { taskId } = task.request;
		return this.#send({ type: 'keep-task', session, taskId, record, replyTo }, record.length);
	}

	/** As `keepTask`; what ends things is refused by the link alone. */
	keepEnd(
		task: TaskRecord,
		outcome: TaskFacts,
		lastFrame: Uint8Array,
		keys: readonly string[],
		replyTo: ActorRef<JournalKept>,
	): number | null {
		const { session } = this;
		if (session === null) return null;
		const record = endedRecord(task, outcome, lastFrame, this.#options.frontId, keys, this);
		return this.#send({ type: 'keep-end', session, taskId: task.request.taskId, record, replyTo }, record.length);
	}

	drop({ request: { taskId } }: TaskRecord, replyTo: ActorRef<JournalKept>): number | null {
		const { session } = this;
		return session === null ? null : this.#send({ type: 'drop-task', session, taskId, replyTo }, 0);
	}

	noteWatched({ request: { taskId } }: TaskRecord): void {
		if (this.session !== null) this.tell({ type: 'note-watched', session: this.session, taskId });
	}

	done(bytes: number): void {
		this.#messages -= 1;
		this.#bytes -= bytes;
	}

	#send(command: JournalCommand, bytes: number): number | null {
		if (this.tell(command) !== 'accepted') return null;
		this.#messages += 1;
		this.#bytes += bytes;
		return bytes;
	}
}
