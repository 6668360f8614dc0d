/**
 * The `tasks` actor of a front thread: opens tasks, each at most once, keeps the finished ones for those who come later,
 * and stands between its tasks and the control thread when that is lost and comes back. It is the parent of every Task
 * actor here; it reads no token and no prompt.
 * ```
 *   away ──control-connected──► joining ──pools-changed──► reachable        drain: no new tasks, stops with the last one
 *    ▲  tasks report, then front-reported                      │
 *    └──────────────────── dispatcher terminated ──────────────┘
 * ```
 */
import type { ActorContext, Behavior, Next, Setup, Signal } from '../kernel/behavior.ts';
import type { ActorRef, AskOutcome } from '../kernel/ref.ts';
import type { DecodePort } from './decode.ts';
import type { Failure } from './failure.ts';
import { failure } from './failure.ts';
import { ExpectedOfPools, expectOfFront } from './known-series.ts';
import type { DispatcherCommand, FrontCommand } from './messages.ts';
import { task } from './task.ts';
import { unreachable } from './task-admission.ts';
import type { Control } from './task-claims.ts';
import type { CancelReason, TasksCommand } from './task-directory.ts';
import { errorJson } from './task-events.ts';
import type { TaskMessage, TaskRoll, TaskSurroundings } from './task-messages.ts';
import type { TaskRecord } from './task-record.ts';
import type { TaskRegistry } from './task-registry.ts';
import { wordsFor } from './task-telemetry.ts';

export type TasksMessage =
	| TasksCommand
	| FrontCommand
	/** From the composition root, for each control thread that comes up. Its end is heard by death watch. */
	| { readonly type: 'control-connected'; readonly control: Control }
	| { readonly type: 'task-reported'; readonly epoch: number; readonly outcome: AskOutcome<'reported'> }
	| { readonly type: 'send-again' }
	| { readonly type: 'forget-due' };

type OpenTask = Extract<TasksCommand, { type: 'open-task' }>;

export interface TasksOptions {
	readonly frontId: string;
	readonly registry: TaskRegistry;
	readonly decode: DecodePort;
	readonly roll: TaskRoll;
}

/** A run's news is bounded by its tokens, one message a batch: a full mailbox there would be a bug. */
const taskMailboxMax = 65_536;
const reportMs = 5000;
const sendAgainMs = 200;

export function tasks(options: TasksOptions): Setup<TasksMessage> {
	return (ctx) => new Tasks(ctx, options);
}

class Tasks implements Behavior<TasksMessage> {
	readonly #ctx: ActorContext<TasksMessage>;
	readonly #registry: TaskRegistry;
	readonly #frontId: string;
	readonly #around: TaskSurroundings;
	readonly #roll: TaskRoll;
	readonly #live = new Map<TaskRecord, ActorRef<TaskMessage>>();
	readonly #records = new Map<ActorRef<never>, TaskRecord>();
	readonly #expected: ExpectedOfPools;
	#control: Control | null = null;
	/** Tasks that have not reported to the new control thread yet. */
	#unreported = 0;
	#unsent: DispatcherCommand[] = [];
	/** When the timer is due that forgets; null: none is set. */
	#forgetAt: number | null = null;
	#draining = false;

	constructor(ctx: ActorContext<TasksMessage>, options: TasksOptions) {
		this.#ctx = ctx;
		this.#registry = options.registry;
		this.#frontId = options.frontId;
		this.#roll = options.roll;
		const { registry, decode, roll } = options;
		this.#around = { decode, roll, logSpace: registry.logSpace, pools: () => registry.pools };
		registry.controlReachable = false;
		expectOfFront(ctx.telemetry);
		this.#expected = new ExpectedOfPools(ctx.telemetry);
	}

	onMessage(_ctx: ActorContext<TasksMessage>, message: TasksMessage): Next<TasksMessage> {
		switch (message.type) {
			case 'open-task':
				this.#onOpenTask(message);
				break;
			case 'cancel-all':
				this.#cancelAll(message.reason);
				break;
			case 'pools-changed':
				if (message.epoch !== this.#control?.epoch) break;
				this.#registry.pools = message.pools;
				this.#expected.see(message.pools);
				this.#registry.controlReachable = true;
				break;
			case 'control-connected':
				this.#onControlConnected(message.control);
				break;
			case 'task-reported':
				if (message.epoch === this.#control?.epoch) this.#reported();
				break;
			case 'send-again':
				this.#sendAgain();
				break;
			case 'forget-due':
				this.#forgetAt = null;
				this.#forgetDue();
				break;
		}
		return 'same';
	}

	onSignal(_ctx: ActorContext<TasksMessage>, signal: Signal): Next<TasksMessage> {
		if (signal.type === 'drain') this.#draining = true;
		else if (signal.type === 'terminated' && signal.ref === this.#control?.dispatcher) this.#loseControl();
		else if (signal.type === 'terminated') this.#onTaskGone(signal.ref);
		return this.#draining && this.#live.size === 0 ? 'stopped' : 'same';
	}

	// ── tasks come and go ────────────────────────────────────────────────────────────────────────────────────────

	#onOpenTask(command: OpenTask): void {
		const { request, replyTo } = command;
		const claim = this.#registry.claim(request);
		if (claim.kind === 'known') return this.#attach(claim.task, command);
		if (claim.kind === 'refused') return this.#refuse(command, claim.failure);
		if (this.#draining) return this.#refuse(command, failure('POOL_UNREADY', 'the daemon is shutting down', { retryAfterMs: 1000 }));
		if (!this.#registry.controlReachable) return this.#refuse(command, unreachable());
		const added = this.#registry.add(request, this.#ctx.now());
		if ('code' in added) return this.#refuse(command, added);
		const actor = this.#ctx.spawn(`${added.ordinal}`, task(added, this.#control, this.#around), {
			mailboxMax: taskMailboxMax,
			kind: '*',
			about: { correlation_id: request.correlationId, task_id: request.taskId },
		});
		added.ref = actor;
		this.#live.set(added, actor);
		this.#records.set(actor, added);
		this.#ctx.watch(actor);
		actor.tell({ type: 'open', replyTo });
	}

	/** The same request again: while it is being admitted it waits for the same answer. */
	#attach(known: TaskRecord, command: OpenTask): void {
		const { replyTo } = command;
		// Refused, and not yet out of the pool's hands: the id is free again only then, for a withdrawal names no more than it.
		if (known.refused && known.failure !== null) return this.#refuse(command, known.failure);
		const actor = this.#live.get(known);
		const waits = known.state === 'admitting' && actor?.tell({ type: 'open', replyTo }) === 'accepted';
		if (!waits) replyTo.tell(known.opening(false));
	}

	/** Before there is a Task. */
	#refuse({ request, replyTo }: OpenTask, problem: Failure): void {
		const { telemetry } = this.#ctx;
		telemetry.count('tasks_rejected_total', { engine: '', reason: problem.code });
		if (problem.policyLabel !== undefined)
			telemetry.count('admission_backpressure_events_total', { engine: '', policy: problem.policyLabel });
		telemetry.log('info', 'task-refused', {
			correlation_id: request.correlationId,
			task_id: request.taskId,
			session_id: request.sessionId ?? undefined,
			code: problem.code,
			human: `Refused: ${wordsFor(problem)}.`,
		});
		replyTo.tell({ type: 'task-refused', failure: problem });
	}

	#onTaskGone(ref: ActorRef<never>): void {
		const record = this.#records.get(ref);
		if (record === undefined) return;
		this.#records.delete(ref);
		this.#live.delete(record);
		if (!record.ended) this.#endForLost(record);
		if (record.refused) this.#registry.withdraw(record);
		else {
			this.#registry.finish(record);
			this.#forgetDue();
		}
	}

	/** An actor that could not even end its own task. */
	#endForLost(record: TaskRecord): void {
		const problem = failure('INTERNAL', 'the task failed inside the daemon');
		record.end({ kind: 'failed', failure: problem, cut: null }, this.#ctx.now());
		record.leave();
		if (!record.log.ended) record.log.append('error', errorJson(problem));
		this.#roll.ended(record.request.taskId);
	}

	#cancelAll(reason: CancelReason): void {
		for (const actor of this.#live.values()) actor.tell({ type: 'cancel', reason, replyTo: null });
	}

	#forgetDue(): void {
		const now = this.#ctx.now();
		const next = this.#registry.forgetDue(now);
		// One task more than may be kept makes the oldest due before its time.
		if (next === null || (this.#forgetAt !== null && this.#forgetAt <= next)) return;
		this.#forgetAt = next;
		this.#ctx.setTimer('forget', next - now, { type: 'forget-due' });
	}

	// ── the control thread ───────────────────────────────────────────────────────────────────────────────────────

	#onControlConnected(control: Control): void {
		if (this.#control !== null) {
			this.#ctx.unwatch(this.#control.dispatcher);
			this.#loseControl();
		}
		this.#control = control;
		this.#ctx.watch(control.dispatcher);
		this.#send({ type: 'front-joined', frontId: this.#frontId, replyTo: this.#ctx.self });
		// One more than there are tasks: the last `reported` is ours, also when there are none.
		this.#unreported = this.#live.size + 1;
		const { epoch } = control;
		for (const actor of this.#live.values()) {
			this.#ctx.ask<TaskMessage, 'reported'>(
				actor,
				reportMs,
				(replyTo) => ({ type: 'report', control, replyTo }),
				(outcome) => ({ type: 'task-reported', epoch, outcome }),
			);
		}
		this.#reported();
	}

	#reported(): void {
		this.#unreported--;
		if (this.#unreported === 0) this.#send({ type: 'front-reported', frontId: this.#frontId });
	}

	#loseControl(): void {
		this.#control = null;
		this.#unsent = [];
		this.#registry.controlReachable = false;
		for (const actor of this.#live.values()) actor.tell({ type: 'control-lost' });
		this.#ctx.telemetry.log('warn', 'control-lost', { human: 'The scheduler is away: running tasks go on, no new ones get in.' });
	}

	#send(command: DispatcherCommand): void {
		this.#unsent.push(command);
		if (this.#unsent.length === 1) this.#sendAgain();
	}

	#sendAgain(): void {
		while (this.#control !== null && this.#unsent.length > 0) {
			const sent = this.#control.dispatcher.tell(this.#unsent[0] as DispatcherCommand);
			if (sent === 'full') return this.#ctx.setTimer('send-again', sendAgainMs, { type: 'send-again' });
			this.#unsent.shift();
		}
	}
}
