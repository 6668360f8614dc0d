/**
 * What a durable task has at the journal, and waits for: its 202 until it is kept there, its end until that is. Part of the Task actor, same
 * thread and turn. Of a task that is not durable it asks nothing, and nothing waits.
 * ```
 *   fresh ──keep──► keeping ──► kept ──seal──► sealing ──► sealed        (not on disk: tried again until it is)
 *                     └─ not on disk ─► nothing is kept: it is refused
 * ```
 */
import type { ActorContext } from '../kernel/behavior.ts';
import { type Failure, failure } from './failure.ts';
import type { JournalLine } from './journal-line.ts';
import type { JournalKept, JournalProblem } from './journal-messages.ts';
import { endJson, errorJson } from './task-events.ts';
import type { TaskMessage } from './task-messages.ts';
import type { Outcome, TaskRecord } from './task-record.ts';
import { factsOf } from './task-snapshot.ts';

/** What an answer of the journal means for the task. */
export type Kept =
	| { readonly news: 'admitted' | 'sealed' | 'nothing' }
	/** It is kept nowhere. */
	| { readonly news: 'refused'; readonly failure: Failure }
	/** Its end is not on disk yet. */
	| { readonly news: 'unsealed'; readonly failure: Failure };

const sealAgainMs = 1_000;
/** A link without room has some again by then. */
const linkAgainMs = 50;
const retryAfterMs = 1_000;

export class TaskDurability {
	readonly #ctx: ActorContext<TaskMessage>;
	readonly #record: TaskRecord;
	readonly #line: JournalLine | null;
	readonly #keys: () => readonly string[];
	#state: 'none' | 'fresh' | 'keeping' | 'kept' | 'sealing' | 'sealed';
	/** Bytes under way, by what for. */
	readonly #underWay: { readonly what: JournalKept['what']; readonly bytes: number }[] = [];
	/** Null: it is dropped, as if it had never been. */
	#outcome: Outcome | null = null;

	constructor(ctx: ActorContext<TaskMessage>, record: TaskRecord, line: JournalLine | null, keys: () => readonly string[]) {
		this.#ctx = ctx;
		this.#record = record;
		this.#line = line;
		this.#keys = keys;
		this.#state = record.request.durable ? 'fresh' : 'none';
	}

	/** Something is still to be heard of. */
	get open(): boolean {
		return this.#underWay.length > 0 || this.#state === 'sealing';
	}

	/** The journal has it, and not its end: the next daemon would run it. */
	get isKept(): boolean {
		return this.#state === 'kept';
	}

	/** It comes from the journal. */
	recalled(): void {
		this.#state = 'kept';
	}

	/** `kept`: it may have its 202 now. */
	keep(): 'kept' | 'waits' | Failure {
		if (this.#state === 'none' || this.#state === 'kept') return 'kept';
		if (this.#state !== 'fresh') return 'waits';
		const bytes = this.#line?.keepTask(this.#record, this.#keys(), this.#ctx.self) ?? null;
		if (bytes === null) return unkept('bound');
		this.#record.journaled = true;
		this.#state = 'keeping';
		this.#underWay.push({ what: 'task', bytes });
		return 'waits';
	}

	/** It has ended, or (null) is refused after all. False: nothing is to be waited for. */
	seal(outcome: Outcome | null): boolean {
		if (this.#state !== 'keeping' && this.#state !== 'kept') return false;
		this.#state = 'sealing';
		this.#outcome = outcome;
		this.sendAgain();
		return true;
	}

	sendAgain(): void {
		const line = this.#line;
		if (this.#state !== 'sealing' || line === null) return;
		const record = this.#record;
		const outcome = this.#outcome;
		const bytes =
			outcome === null
				? line.drop(record, this.#ctx.self)
				: line.keepEnd(record, { ...factsOf(record), ...outcome, phase: 'ended' }, this.#lastFrame(outcome), this.#keys(), this.#ctx.self);
		if (bytes === null) this.#ctx.setTimer('seal', linkAgainMs, { type: 'seal-due' });
		else this.#underWay.push({ what: outcome === null ? 'drop' : 'end', bytes });
	}

	heard({ what, problem }: JournalKept): Kept {
		const underWay = this.#underWay.findIndex((each) => each.what === what);
		const [sent] = underWay < 0 ? [] : this.#underWay.splice(underWay, 1);
		if (sent !== undefined) this.#line?.done(sent.bytes);
		if (what === 'task') {
			if (problem !== null) {
				this.#state = 'none';
				return { news: 'refused', failure: unkept(problem) };
			}
			if (this.#state === 'keeping') this.#state = 'kept';
			return { news: this.#state === 'sealing' && this.#outcome === null ? 'nothing' : 'admitted' };
		}
		// It was refused in the meantime.
		if (this.#state !== 'sealing') return { news: 'nothing' };
		if (problem === null) {
			this.#state = 'sealed';
			return { news: 'sealed' };
		}
		this.#ctx.setTimer('seal', sealAgainMs, { type: 'seal-due' });
		return { news: 'unsealed', failure: unkept(problem) };
	}

	/** Nothing more is asked for: its actor is ending. */
	leave(): void {
		for (const { bytes } of this.#underWay.splice(0)) this.#line?.done(bytes);
	}

	#lastFrame(outcome: Outcome): Uint8Array {
		const { log } = this.#record;
		const { failure: problem } = outcome;
		const frame =
			problem === null
				? log.frameOf('end', endJson({ ...factsOf(this.#record), ...outcome, request: this.#record.request }))
				: log.frameOf('error', errorJson(problem));
		return Buffer.from(frame);
	}
}

/** What a client is told whose task is not kept. The words of the disk are in the daemon's log. */
export function unkept(problem: JournalProblem): Failure {
	if (problem === 'bound') {
		const words =
			'the journal of durable tasks can take no more right now (store.journal_bytes_max); send it with durable: false, or again later';
		return failure('ADMISSION_REJECT', words, { retryAfterMs, policyLabel: 'journal' });
	}
	const words = 'it could not be written to disk; send it with durable: false, or again later';
	return failure('POOL_UNREADY', problem === 'full' ? `the disk of the store is full: ${words}` : words, {
		retryAfterMs,
		policyLabel: 'journal',
	});
}
