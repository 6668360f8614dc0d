/**
 * Who watches a task, as far as it matters to it: one that is to be cancelled on disconnect is, once its last watcher has been gone for a
 * while; one that nobody ever watched is not. Part of the Task actor, same thread and turn.
 */
import type { ActorContext } from '../kernel/behavior.ts';
import type { JournalLine } from './journal-line.ts';
import type { TaskMessage } from './task-messages.ts';
import type { TaskRecord } from './task-record.ts';
import type { TaskTelemetry } from './task-telemetry.ts';

export class TaskWatchers {
	readonly #ctx: ActorContext<TaskMessage>;
	readonly #record: TaskRecord;
	readonly #telemetry: TaskTelemetry;
	readonly #journal: JournalLine | null;
	readonly #cancel: () => void;

	constructor(
		ctx: ActorContext<TaskMessage>,
		record: TaskRecord,
		telemetry: TaskTelemetry,
		journal: JournalLine | null,
		cancel: () => void,
	) {
		this.#ctx = ctx;
		this.#record = record;
		this.#telemetry = telemetry;
		this.#journal = journal;
		this.#cancel = cancel;
	}

	attached(): void {
		const record = this.#record;
		record.watchers++;
		this.#ctx.cancelTimer('grace');
		if (record.watched) return;
		record.watched = true;
		// The next daemon is to know, too.
		if (record.journaled && record.request.onDisconnect === 'cancel') this.#journal?.noteWatched(record);
	}

	gone(): void {
		const record = this.#record;
		if (record.watchers === 0) return this.#telemetry.odd('watcher-miscounted', 'More watchers left than came.');
		record.watchers--;
		if (record.watchers === 0) this.#alone();
	}

	/** It comes from the journal: those who watched it are gone with what it was on. */
	recalled(): void {
		if (this.#record.watched) this.#alone();
	}

	#alone(): void {
		const { onDisconnect, disconnectGraceMs } = this.#record.request;
		if (onDisconnect === 'detach') return;
		if (disconnectGraceMs <= 0) this.#cancel();
		else this.#ctx.setTimer('grace', disconnectGraceMs, { type: 'grace-over' });
	}
}
