/**
 * What a running task hears of its engine: pieces go into the log, their ids to the continuation, their times to the clocks and the
 * metrics. Part of the Task actor, same thread and turn. Runs once per read of a stream, which with many of them finds none of its
 * memory in the processor's caches: what is needed each time lies here, and other objects are looked at only when they have something to do.
 */
import type { ActorContext } from '../kernel/behavior.ts';
import type { Pieces } from './decode.ts';
import type { EventLog } from './event-log.ts';
import { type Failure, failure } from './failure.ts';
import type { LogRoom } from './log-room.ts';
import { logFull } from './log-space.ts';
import type { WatchdogTimeouts } from './messages.ts';
import type { TaskContinuation } from './task-continuation.ts';
import type { TaskMessage } from './task-messages.ts';
import type { TaskRecord } from './task-record.ts';
import { sampleMs, type TaskTelemetry } from './task-telemetry.ts';
import { Watchdog } from './watchdog.ts';

export interface TaskIntakeParts {
	readonly record: TaskRecord;
	readonly telemetry: TaskTelemetry;
	readonly continuation: TaskContinuation;
	readonly room: LogRoom;
}

export class TaskIntake {
	readonly #log: EventLog;
	readonly #ctx: ActorContext<TaskMessage>;
	/** The lease under way has brought tokens. */
	#decoding = false;
	#keepsIds = false;
	/** When the last tokens came, and from when on the next ones are told to the metrics. */
	#heardAt = 0;
	#sampleAt = 0;
	readonly #parts: TaskIntakeParts;
	#watchdog: Watchdog | null = null;

	constructor(ctx: ActorContext<TaskMessage>, parts: TaskIntakeParts) {
		this.#log = parts.record.log;
		this.#ctx = ctx;
		this.#parts = parts;
	}

	/** A lease begins. */
	begin(timeouts: WatchdogTimeouts): void {
		const { record, continuation } = this.#parts;
		this.#decoding = false;
		this.#keepsIds = continuation.keepsIds;
		this.#watchdog = new Watchdog(this.#ctx, timeouts, record.ranMsBefore);
	}

	/** Null, or why the task cannot go on. */
	take(pieces: Pieces): Failure | null {
		const now = this.#ctx.coarseNow();
		this.#heardAt = now;
		if (!this.#decoding) return this.#takeFirst(pieces);
		if (!this.#log.appendPieces(pieces)) return broken();
		if (now >= this.#sampleAt) this.#sample(now);
		return this.#afterwards(pieces);
	}

	/** The timer of the watchdog has fired: what is wrong, or null. */
	look(): string | null {
		return this.#watchdog?.look(this.#heardAt) ?? null;
	}

	stop(): void {
		this.#watchdog?.stop();
	}

	/** Of a lease. */
	#takeFirst(pieces: Pieces): Failure | null {
		const { record, telemetry } = this.#parts;
		const now = this.#ctx.now();
		const first = record.firstTokenAt === null;
		this.#decoding = true;
		this.#watchdog?.heard();
		record.decode(now);
		const whole = this.#log.appendPieces(pieces);
		if (first) {
			telemetry.firstToken(now);
			this.#sampleAt = now + sampleMs;
		}
		return whole ? this.#afterwards(pieces) : broken();
	}

	#afterwards(pieces: Pieces): Failure | null {
		if (this.#keepsIds) this.#keepsIds = this.#parts.continuation.take(pieces);
		const log = this.#log;
		return log.bytes <= log.bytesExpected || this.#parts.room.holds() ? null : logFull();
	}

	#sample(now: number): void {
		this.#sampleAt = now + sampleMs;
		this.#parts.telemetry.sample(now);
	}
}

function broken(): Failure {
	return failure('WORKER_RESET', 'the engine sent a token record that is not whole');
}
