/**
 * The control thread, as the `tasks` actor of a front has it: which there is, what it is to be told, and what the tasks of this front still
 * owe it of a report before others may be admitted. Part of that actor.
 * ```
 *   away ──connect──► reporting ──every task has, and the journal's──► front-reported
 *    ▲                                       │
 *    └─────────────── lose ──────────────────┘
 * ```
 */
import type { ActorContext } from '../kernel/behavior.ts';
import type { ActorRef } from '../kernel/ref.ts';
import type { DispatcherCommand, FrontCommand, Purging } from './messages.ts';
import type { SessionNotes } from './session-notes.ts';
import type { Control } from './task-claims.ts';
import type { TaskMessage } from './task-messages.ts';
import type { TaskRecord } from './task-record.ts';
import type { TaskRegistry } from './task-registry.ts';
import type { TasksMessage } from './tasks.ts';

interface Parts {
	readonly frontId: string;
	readonly registry: TaskRegistry;
	readonly live: ReadonlyMap<TaskRecord, ActorRef<TaskMessage>>;
	readonly sessions: SessionNotes;
	/** What the journal has of this front's tasks is still to report. */
	recalling(): boolean;
}

const reportMs = 5000;
/** Tasks that have ended, in one message to a new control thread. */
const reportedAtOnce = 500;
const sendAgainMs = 200;

export class TasksControl {
	readonly #ctx: ActorContext<TasksMessage>;
	readonly #parts: Parts;
	/** Null: it is away. */
	control: Control | null = null;
	/** It has told of its pools. */
	poolsKnown = false;
	/** Tasks that have not reported to it yet. */
	#unreported = 0;
	#unsent: DispatcherCommand[] = [];

	constructor(ctx: ActorContext<TasksMessage>, parts: Parts) {
		this.#ctx = ctx;
		this.#parts = parts;
	}

	get epoch(): number | null {
		return this.control?.epoch ?? null;
	}

	connect(control: Control): void {
		if (this.control !== null) {
			this.#ctx.unwatch(this.control.dispatcher);
			this.lose();
		}
		this.control = control;
		this.#ctx.watch(control.dispatcher);
		const replyTo: ActorRef<FrontCommand> = this.#ctx.self;
		const { frontId } = this.#parts;
		this.send({ type: 'front-joined', frontId, draining: this.#drainingPools(), purging: this.#purgedPools(), replyTo });
		// One more than there are tasks: the last `reported` is ours, also when there are none.
		this.#unreported = 1 + (this.#parts.recalling() ? 1 : 0);
		for (const actor of this.#parts.live.values()) this.askReport(actor);
		this.reported(control.epoch);
	}

	/** It is to hear of the task before others are admitted. */
	askReport(actor: ActorRef<TaskMessage>): void {
		const { control } = this;
		if (control === null) return;
		this.#unreported += 1;
		this.#ctx.ask<TaskMessage, 'reported'>(
			actor,
			reportMs,
			(replyTo) => ({ type: 'report', control, replyTo }),
			(outcome) => ({ type: 'task-reported', epoch: control.epoch, outcome }),
		);
	}

	reported(epoch: number | null): void {
		if (epoch === null || epoch !== this.epoch) return;
		this.#unreported -= 1;
		if (this.#unreported > 0) return;
		const { frontId, registry, sessions, live } = this.#parts;
		const ended = registry.ended();
		for (let from = 0; from < ended.length; from += reportedAtOnce) {
			this.send({ type: 'report-tasks', frontId, tasks: ended.slice(from, from + reportedAtOnce) });
		}
		for (const each of sessions.report(epoch, this.#ctx.now(), live.keys())) this.send(each);
		this.send({ type: 'front-reported', frontId });
	}

	lose(): void {
		this.control = null;
		this.poolsKnown = false;
		this.#unsent = [];
		this.#parts.registry.controlReachable = false;
		for (const actor of this.#parts.live.values()) actor.tell({ type: 'control-lost' });
		this.#ctx.telemetry.log('warn', 'control-lost', { human: 'The scheduler is away: running tasks go on, no new ones get in.' });
	}

	/** What is still to be said to it stands before whatever is said now. */
	get behind(): boolean {
		return this.#unsent.length > 0;
	}

	send(command: DispatcherCommand): void {
		this.#unsent.push(command);
		if (this.#unsent.length === 1) this.sendAgain();
	}

	sendAgain(): void {
		while (this.control !== null && this.#unsent.length > 0) {
			const sent = this.control.dispatcher.tell(this.#unsent[0] as DispatcherCommand);
			if (sent === 'full') return this.#ctx.setTimer('send-again', sendAgainMs, { type: 'send-again' });
			this.#unsent.shift();
		}
	}

	#purgedPools(): ({ readonly poolId: string } & Purging)[] {
		return this.#parts.registry.pools.flatMap(({ poolId, purging }) => (purging === null ? [] : [{ poolId, ...purging }]));
	}

	#drainingPools(): { readonly poolId: string; readonly deadlineAt: number }[] {
		return this.#parts.registry.pools.flatMap(({ poolId, drainingUntil }) =>
			drainingUntil === null ? [] : [{ poolId, deadlineAt: drainingUntil }],
		);
	}
}
