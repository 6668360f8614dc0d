/**
 * How a task ends, once: its outcome, which of a durable one is on disk before anybody is told, then its terminal event, and what it owes its
 * pool. Part of the Task actor, same thread and turn.
 * ```
 *   lives ──begin──► sealed? ──► concluded        suspended: left to the next daemon, with no end here
 * ```
 */
import type { ActorContext } from '../kernel/behavior.ts';
import type { ActorRef } from '../kernel/ref.ts';
import type { GenerationUsage } from './decode.ts';
import { type Failure, failure } from './failure.ts';
import type { JournalKept } from './journal-messages.ts';
import type { PoolView } from './messages.ts';
import type { TaskClaims } from './task-claims.ts';
import type { CancelDone } from './task-directory.ts';
import type { TaskDurability } from './task-durability.ts';
import { endJson, errorJson } from './task-events.ts';
import type { TaskMessage } from './task-messages.ts';
import type { Ending, Outcome, TaskRecord } from './task-record.ts';
import type { TaskRequest } from './task-request.ts';
import type { TaskTelemetry } from './task-telemetry.ts';

interface Parts {
	readonly claims: TaskClaims;
	readonly durability: TaskDurability;
	readonly telemetry: TaskTelemetry;
	pools(): readonly PoolView[];
	/** It has its 202 from here on. */
	admitted(): void;
	/** A task that lives is to end. */
	fail(problem: Failure): void;
	/** It has ended; `request`: with the texts that it had. */
	concluded(request: TaskRequest): void;
}

const shuttingDown = failure('WORKER_RESET', 'the daemon is shutting down');

export class TaskEnding {
	readonly #ctx: ActorContext<TaskMessage>;
	readonly #record: TaskRecord;
	readonly #parts: Parts;
	/** Null: it lives. */
	ending: Ending | null = null;
	#outcome: Outcome | null = null;
	/** Cancels that have no answer. */
	#waiting: ActorRef<CancelDone>[] = [];

	constructor(ctx: ActorContext<TaskMessage>, record: TaskRecord, parts: Parts) {
		this.#ctx = ctx;
		this.#record = record;
		this.#parts = parts;
	}

	/** Nothing of it is left to be said or written. */
	get over(): boolean {
		return (this.#record.ended || this.#record.suspended) && !this.#parts.durability.open;
	}

	/** The one place where a task ends. */
	begin(ending: Ending): void {
		if (this.ending !== null) throw new Error('task: a second end');
		this.ending = ending;
		this.#outcome = this.#record.outcomeOf(ending, this.#ctx.now());
		this.#record.lease = null;
		const refused = ending.kind === 'failed' && !this.#record.admitted;
		if (!this.#parts.durability.seal(refused ? null : this.#outcome)) this.conclude();
	}

	/** It is not to end here: the next daemon has it from the journal. False: nothing has it there. */
	suspend(): boolean {
		if (this.ending !== null || !this.#parts.durability.isKept) return false;
		this.ending = { kind: 'failed', failure: shuttingDown, cut: 'drain' };
		this.#record.suspended = true;
		this.#parts.telemetry.suspended();
		this.#answerCancels(shuttingDown);
		this.#record.log.forget();
		return true;
	}

	/** Its actor ends before its time: a bug, or the thread is being closed. What is under way to the disk is heard by nobody any more. */
	stop(bug: boolean): void {
		const problem = bug ? failure('INTERNAL', 'the task failed inside the daemon') : shuttingDown;
		const isLeft = !bug && (this.#parts.durability.open || this.suspend());
		if (this.ending === null) {
			this.ending = { kind: 'failed', failure: problem, cut: bug ? null : 'drain' };
			this.#outcome = this.#record.outcomeOf(this.ending, this.#ctx.now());
			if (!isLeft) this.#parts.durability.seal(this.#record.admitted ? this.#outcome : null);
		}
		if (isLeft) return;
		this.conclude();
		// It failed while ending.
		if (!this.#record.log.ended) this.#record.log.append('error', errorJson(problem));
	}

	/** Said to everybody, now. Twice is once. */
	conclude(): void {
		const { ending } = this;
		const record = this.#record;
		if (ending === null || this.#outcome === null || record.ended) return;
		const { request } = record;
		record.refused = ending.kind === 'failed' && !record.admitted;
		record.end(this.#outcome);
		if (ending.kind === 'failed') record.log.append('error', errorJson(ending.failure));
		else record.log.append('end', endJson(record));
		const { telemetry } = this.#parts;
		if (record.refused) telemetry.refused();
		else telemetry.ended(this.#outcome.endedAt, ending.kind === 'done' ? null : ending.kind === 'canceled' ? ending.reason : ending.cut);
		this.#parts.concluded(request);
		this.#answerCancels();
	}

	/** Once the log gains nothing any more, and that is where it must be. */
	answerCancel(replyTo: ActorRef<CancelDone>): void {
		this.#waiting.push(replyTo);
		if (this.#record.ended) this.#answerCancels();
	}

	heard(answer: JournalKept): void {
		const kept = this.#parts.durability.heard(answer);
		if (kept.news === 'admitted') this.#parts.admitted();
		else if (kept.news === 'sealed') this.conclude();
		else if (kept.news === 'unsealed') this.#answerCancels(kept.failure);
		else if (kept.news === 'refused') {
			if (this.ending === null) return this.#parts.fail(kept.failure);
			// It came to its end before its 202: nobody has it, and nobody was told of it.
			this.ending = { kind: 'failed', failure: kept.failure, cut: null };
			this.#outcome = this.#record.outcomeOf(this.ending, this.#ctx.now());
			this.conclude();
		}
	}

	/** Ends its lease, exactly once. */
	settle(slot: 'free' | 'unknown', usage: GenerationUsage | null): void {
		const record = this.#record;
		const { ending } = this;
		if (ending === null) throw new Error('task: settled before its end');
		const { claims, telemetry } = this.#parts;
		const now = this.#ctx.now();
		const cut = ending.kind === 'canceled' || (ending.kind === 'failed' && ending.cut !== null);
		if (cut) telemetry.slotBack(now - (this.#outcome?.endedAt ?? now), slot);
		const work = record.giveBack(now, usage, this.#parts.pools());
		if (cut && usage !== null) telemetry.wasted(usage.tokensOut - work.tokensOut, this.reason);
		claims.settle({ outcome: ending.kind === 'done' ? 'completed' : ending.kind, slot, ...work, reason: this.reason });
	}

	get reason(): string {
		const { ending } = this;
		if (ending === null) return 'duplicate';
		return ending.kind === 'done' ? ending.finishReason : ending.kind === 'canceled' ? ending.reason : (ending.cut ?? ending.failure.code);
	}

	#answerCancels(problem?: Failure): void {
		const waiting = this.#waiting;
		this.#waiting = [];
		for (const replyTo of waiting) replyTo.tell({ type: 'cancel-done', ...(problem === undefined ? {} : { failure: problem }) });
	}
}
