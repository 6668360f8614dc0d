/**
 * One task on its front thread: owns its log, its lease and its decode connection, from admission to its one terminal
 * event and until its slot is settled. It never waits for a watcher, and never writes behind the terminal event.
 * ```
 *   admitting ─┬─(prompt may not fit: count)─► submit ─┬─ queued ──► queued ─┐
 *              │                                       ├─ granted ───────────┴─► prefill ─ pieces ─► decode ─► ended
 *              └─ no dispatcher ─► ended (refused)     └─ refused ─► ended (refused: never had a 202)
 *   any state ─ cancel · watchers gone · deadline · drain ─► ended        queued ─ refused (dropped) ─► ended
 *   prefill, decode ─ watchdog · replica-lost · decode-failed · log space ─► ended
 *   prefill, decode ─ replica-lost · connection lost · asked to leave ─► queued, to go on behind its tokens so far
 *   ended ─ what is still owed comes back: an answer to submit or withdraw, the generation's last news ─► at rest
 * ```
 * At rest the actor stops; its record stays with the registry.
 */
import type { ActorContext, Behavior, Next, Setup, Signal } from '../kernel/behavior.ts';
import type { ActorRef } from '../kernel/ref.ts';
import type { DecodeNews, Generation, GenerationUsage, Pieces } from './decode.ts';
import type { Failure } from './failure.ts';
import { failure } from './failure.ts';
import { LogRoom } from './log-room.ts';
import { logFull } from './log-space.ts';
import type { Lease, PlacementNews } from './messages.ts';
import { TaskAdmission, unreachable } from './task-admission.ts';
import { type Control, TaskClaims } from './task-claims.ts';
import { nowhere, TaskContinuation } from './task-continuation.ts';
import type { CancelReason } from './task-directory.ts';
import { TaskDurability } from './task-durability.ts';
import { TaskEnding } from './task-ending.ts';
import { startedJson } from './task-events.ts';
import { TaskIntake } from './task-intake.ts';
import type { TaskMessage, TaskSurroundings } from './task-messages.ts';
import type { Ending, TaskRecord } from './task-record.ts';
import { type MoveReason, TaskTelemetry } from './task-telemetry.ts';
import { TaskWatchers } from './task-watchers.ts';

/** An engine that has not acknowledged a cancel by then keeps its slot quarantined. */
const cancelAcknowledgeMs = 2000;
/** A full link, or an answer to `withdraw` that does not come. */
const sendAgainMs = 200;
const tryAgainMs = 100;
/** Timers that mean nothing to a task that has ended. */
const tillTheEnd = ['deadline', 'count', 'grace', 'again'] as const;
const noWork = { tokensIn: 0, tokensOut: 0, prefillMs: 0, decodeMs: 0 } as const;

export function task(record: TaskRecord, control: Control | null, surroundings: TaskSurroundings): Setup<TaskMessage> {
	return (ctx) => new Task(ctx, record, control, surroundings);
}

class Task implements Behavior<TaskMessage> {
	readonly #ctx: ActorContext<TaskMessage>;
	readonly #record: TaskRecord;
	readonly #around: TaskSurroundings;
	readonly #telemetry: TaskTelemetry;
	readonly #claims: TaskClaims;
	readonly #admission: TaskAdmission;
	readonly #continuation: TaskContinuation;
	readonly #room: LogRoom;
	readonly #intake: TaskIntake;
	/** Null once its last news has come, or has been given up. */
	#generation: Generation | null = null;
	readonly #durability: TaskDurability;
	readonly #end: TaskEnding;
	readonly #watchers: TaskWatchers;
	#resting = false;
	/** Waits to hear that a new control thread knows all that we hold. */
	#reporter: ActorRef<'reported'> | null = null;

	constructor(ctx: ActorContext<TaskMessage>, record: TaskRecord, control: Control | null, around: TaskSurroundings) {
		this.#ctx = ctx;
		this.#record = record;
		this.#around = around;
		this.#claims = new TaskClaims(
			control,
			ctx.self,
			record.request.correlationId,
			(beforeIts202) => ({ ...around.claimOf(record.request), exclusive: beforeIts202 && record.request.named }),
			() => ctx.setTimer('send-again', sendAgainMs, { type: 'send-again' }),
		);
		this.#telemetry = new TaskTelemetry(ctx.telemetry, record, around.pools, around.labels);
		this.#continuation = new TaskContinuation(record);
		this.#room = new LogRoom(record, around.logSpace);
		this.#intake = new TaskIntake(ctx, { record, telemetry: this.#telemetry, continuation: this.#continuation, room: this.#room });
		this.#admission = new TaskAdmission(ctx, record, this.#claims, around, this.#continuation, (problem) => this.#fail(problem, null));
		this.#durability = new TaskDurability(ctx, record, around.journal, () => around.claimOf(record.request).keys);
		this.#watchers = new TaskWatchers(ctx, record, this.#telemetry, around.journal, () => this.#cancel('disconnect'));
		this.#end = new TaskEnding(ctx, record, {
			claims: this.#claims,
			durability: this.#durability,
			telemetry: this.#telemetry,
			pools: () => around.pools(),
			admitted: () => this.#admitted(),
			fail: (problem) => this.#fail(problem, null),
			concluded: (request) => {
				if (record.admitted) around.ended(record, request);
				this.#admission.answerOpeners();
			},
		});
	}

	onMessage(_ctx: ActorContext<TaskMessage>, message: TaskMessage): Next<TaskMessage> {
		if (message.type === 'rest') return 'stopped';
		if (message.type === 'pieces') this.#onPieces(message);
		else this.#onOther(message);
		if (this.#reporter !== null && !this.#claims.behind) {
			this.#reporter.tell('reported');
			this.#reporter = null;
		}
		this.#restWhenDone();
		return 'same';
	}

	/** The actor goes before its time: a bug, or the thread is being closed. Nobody may be left waiting. */
	onSignal(_ctx: ActorContext<TaskMessage>, signal: Signal): Next<TaskMessage> {
		if (signal.type !== 'post-stop') return 'same';
		// Those who still read, or come later, have nobody to tell that they leave.
		this.#record.watchers = 0;
		if (this.#resting) return 'same';
		this.#end.stop(signal.reason.kind === 'failed');
		this.#letGo();
		if (this.#claims.lease !== null) this.#settle('unknown', null);
		this.#durability.leave();
		this.#record.leave();
		return 'same';
	}

	#onOther(message: Exclude<TaskMessage, Pieces | { readonly type: 'rest' }>): void {
		switch (message.type) {
			case 'open':
				return this.#admission.open(message.replyTo);
			case 'prompt-counted':
				return this.#admission.counted(message.tokens);
			case 'count-failed':
			case 'count-overdue':
				return this.#admission.counted(null);
			case 'answer-overdue':
				return this.#admission.unanswered();
			case 'queued':
				return this.#onQueued(message);
			case 'count-first':
				return this.#admission.countFirst();
			case 'standing-changed':
				return this.#record.standsAt(message);
			case 'granted':
				return this.#onGranted(this.#record.within(message));
			case 'refused':
				return this.#onRefused(message.failure);
			case 'withdrawn':
				return this.#claims.placed();
			case 'replica-lost':
				return this.#onReplicaLost(message.lease, message.failure);
			case 'leave-slot':
				return this.#onLeaveSlot(message.lease, message.reason);
			case 'decode-started':
			case 'embedded':
			case 'decode-ended':
			case 'decode-failed':
			case 'decode-cancelled':
				// Of a generation that was given up: its slot is settled.
				if (this.#generation !== null) this.#onDecodeNews(message);
				return;
			case 'cancel':
				this.#cancel(message.reason);
				if (message.replyTo !== null) this.#end.answerCancel(message.replyTo);
				return;
			case 'recalled':
				this.#durability.recalled();
				this.#admission.recall();
				return this.#watchers.recalled();
			case 'suspend':
				if (this.#claims.lease === null && this.#end.suspend()) this.#letGo();
				return;
			case 'journal-kept':
				return this.#end.heard(message);
			case 'seal-due':
				return this.#durability.sendAgain();
			case 'watcher-attached':
				return this.#watchers.attached();
			case 'watcher-gone':
				return this.#watchers.gone();
			case 'grace-over':
				return this.#cancel('disconnect');
			case 'deadline-passed':
				return this.#fail(failure('DEADLINE_UNMET', `the deadline of ${this.#record.request.deadlineMs} ms passed`), 'deadline');
			case 'watch':
				return this.#timedOut(this.#intake.look());
			case 'cancel-overdue':
				return this.#onCancelOverdue();
			case 'send-again':
				return this.#claims.sendAgain();
			case 'try-again':
				if (this.#end.ending === null && !this.#claims.placing && this.#claims.lease === null) this.#admission.submitAgain();
				return;
			case 'control-lost':
				return this.#onControlLost();
			case 'report':
				this.#reporter = message.replyTo;
				return this.#report(message.control);
		}
	}

	// ── admission ────────────────────────────────────────────────────────────────────────────────────────────────

	#onQueued(news: Extract<PlacementNews, { type: 'queued' }>): void {
		if (!this.#claims.placing) return;
		this.#admission.answered();
		const record = this.#record;
		record.poolId = news.poolId;
		if (this.#end.ending !== null) return this.#withdraw();
		record.queue(news);
		this.#admit();
	}

	/** A durable task has its 202 once it is on disk. It may run before: nobody knows of it yet. */
	#admit(): void {
		if (this.#record.admitted || this.#end.ending !== null) return;
		const kept = this.#durability.keep();
		if (kept === 'kept') this.#admitted();
		else if (kept !== 'waits') this.#fail(kept, null);
	}

	#admitted(): void {
		const record = this.#record;
		if (record.admitted) return;
		record.admitted = true;
		// One that is durable is not lost with the daemon.
		if (!record.request.durable) this.#around.roll.started(record.request.taskId);
		this.#telemetry.admitted();
		this.#admission.answerOpeners();
	}

	#onRefused(problem: Failure): void {
		if (!this.#claims.placing) return;
		this.#admission.answered();
		this.#claims.placed();
		this.#fail(this.#record.moves === 0 || problem.code === 'QUEUE_FULL_DROP_LRU' ? problem : nowhere(problem.message), null);
	}

	// ── running ──────────────────────────────────────────────────────────────────────────────────────────────────

	#onGranted(news: Extract<PlacementNews, { type: 'granted' }>): void {
		const { lease, replica } = news;
		if (this.#claims.isStale(lease)) return;
		this.#admission.answered();
		this.#claims.placed();
		if (this.#end.ending !== null || this.#claims.lease !== null) return this.#claims.giveBack(lease, this.#end.reason);
		const record = this.#record;
		if (!this.#continuation.fits(replica)) {
			this.#claims.giveBack(lease, 'other-model');
			return this.#fail(nowhere(`${replica.replicaId} has another model now`), null);
		}
		const { left } = this.#continuation;
		record.place(replica, news.standing);
		this.#admit();
		if (this.#end.ending !== null) return this.#claims.giveBack(lease, this.#end.reason);
		if (!this.#room.reserve(this.#continuation.outputMax(news))) {
			this.#claims.giveBack(lease, 'log');
			return this.#fail(logFull(), null);
		}
		this.#claims.take(lease);
		record.run(this.#ctx.now(), lease);
		if (record.log.lastSeq === 0) record.log.append('started', startedJson(record, news.standing));
		if (left === null) this.#telemetry.placed();
		else this.#telemetry.movedOn(this.#ctx.now(), left);
		const request = this.#continuation.begin(news);
		this.#intake.begin(news.timeouts);
		this.#generation = this.#around.decode.start(replica, request, this.#ctx.self);
	}

	/** The hot path: once per batch of tokens. */
	#onPieces(pieces: Pieces): void {
		if (this.#end.ending !== null || this.#generation === null) return;
		const problem = this.#intake.take(pieces);
		if (problem !== null) this.#fail(problem, 'watchdog');
	}

	#onDecodeNews(news: Exclude<DecodeNews, Pieces>): void {
		if (news.type === 'decode-started') {
			this.#continuation.begun();
			this.#record.tokensIn = news.tokensIn;
			this.#record.tokensCached = news.tokensCached;
			if (this.#end.ending === null && this.#record.moves === 0) this.#telemetry.started(news.tokensCached);
			return;
		}
		this.#generation = null;
		switch (news.type) {
			case 'embedded':
			case 'decode-ended':
				this.#record.tokensIn = news.usage.tokensIn;
				if (this.#end.ending === null) {
					if (news.type === 'embedded') this.#record.vectors = news.vectors;
					this.#finish({ kind: 'done', finishReason: 'stop', ...news });
				}
				return this.#settle('free', news.usage);
			case 'decode-failed':
				return this.#lose(news.slot, news.began === 'no', news.failure);
			case 'decode-cancelled':
				if (this.#goesOn('free', news.usage, null)) return;
				// Our cancel's answer, as a rule; else the engine has dropped the task by itself.
				this.#fail(failure('WORKER_RESET', 'the engine gave the task up'), null);
				return this.#settle('free', news.usage);
		}
	}

	/** The engine is gone, or has failed with it; `sure`: before it had the request. */
	#lose(slot: 'free' | 'unknown', sure: boolean, problem: Failure): void {
		if (this.#end.ending === null && this.#continuation.mayTryAgain(sure, slot)) return this.#tryAgain(sure ? 'free' : 'unknown');
		if (this.#goesOn(slot, null, slot === 'unknown' ? 'replica-lost' : null)) return;
		this.#fail(problem, null);
		this.#settle(slot, null);
	}

	/** Its pool may not know yet: back to the queue, at the old place. */
	#tryAgain(slot: 'free' | 'unknown'): void {
		this.#intake.stop();
		this.#claims.settle({ ...noWork, outcome: 'unused', slot, reason: 'unreachable' });
		this.#ctx.setTimer('again', tryAgainMs, { type: 'try-again' });
	}

	#onReplicaLost(lease: Lease, problem: Failure): void {
		if (!this.#claims.holds(lease)) return;
		// Its connection may live a little longer: nothing that still comes of it counts.
		const generation = this.#generation;
		this.#generation = null;
		generation?.abandon();
		this.#lose('unknown', false, problem.code === 'WORKER_RESET' ? problem : failure('WORKER_RESET', problem.message));
	}

	/** The pool wants the slot for others: the engine lets go first, and what it says until then counts. */
	#onLeaveSlot(lease: Lease, reason: 'preempted' | 'drained'): void {
		if (!this.#claims.holds(lease) || this.#end.ending !== null || this.#generation === null) return;
		if (this.#continuation.possible) this.#continuation.leaving = reason;
		else if (reason === 'drained') return this.#fail(failure('WORKER_RESET', `${lease.poolId} was drained before the task ended`), 'drain');
		else return;
		this.#generation.cancel();
		this.#ctx.setTimer('cancel', cancelAcknowledgeMs, { type: 'cancel-overdue' });
	}

	#onCancelOverdue(): void {
		this.#telemetry.odd('cancel-unacknowledged', 'The engine did not acknowledge a cancel: its slot is quarantined.');
		const generation = this.#generation;
		this.#generation = null;
		if (this.#end.ending !== null) return this.#settle('unknown', null);
		generation?.abandon();
		this.#lose('unknown', false, failure('WORKER_RESET', 'the engine did not let go of the task'));
	}

	/** The slot is given up (`leaving`) or lost: back to the queue, at the old place, with the tokens so far. False: it ends here. */
	#goesOn(slot: 'free' | 'unknown', usage: GenerationUsage | null, loss: MoveReason | null): boolean {
		const { leaving } = this.#continuation;
		const reason = leaving ?? loss;
		if (this.#end.ending !== null || reason === null || !this.#continuation.survives()) return false;
		this.#ctx.cancelTimer('cancel');
		this.#intake.stop();
		const now = this.#ctx.now();
		const record = this.#record;
		const work = record.giveBack(now, usage, this.#around.pools());
		this.#telemetry.left(now);
		this.#continuation.leave(reason);
		this.#claims.settle({ outcome: 'moved', slot, ...work, reason });
		record.move(now, work.decodeMs);
		// Where the connection has told it, the pool may not know yet.
		if (leaving === null) this.#ctx.setTimer('again', tryAgainMs, { type: 'try-again' });
		else this.#admission.submitAgain();
		return true;
	}

	#timedOut(problem: string | null): void {
		if (problem !== null) this.#fail(failure('DECODE_TIMEOUT', problem), 'watchdog');
	}

	// ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────

	#cancel(reason: CancelReason): void {
		if (this.#end.ending !== null) return;
		if (reason !== 'drain') return this.#finish({ kind: 'canceled', reason });
		// A durable one is left to the next daemon.
		if (this.#end.suspend()) this.#letGo();
		else this.#fail(failure('WORKER_RESET', 'the daemon is shutting down'), 'drain');
	}

	#fail(problem: Failure, cut: CancelReason | null): void {
		if (this.#end.ending !== null) return;
		const { engine, poolId } = this.#record;
		const where = { ...(engine === null ? {} : { engine }), ...(poolId === null ? {} : { poolId }) };
		this.#finish({ kind: 'failed', failure: { ...where, ...problem }, cut });
	}

	/** What it still owes (an answer from the pool, its slot, its end on disk) comes back afterwards. */
	#finish(ending: Ending): void {
		this.#end.begin(ending);
		this.#letGo();
	}

	#letGo(): void {
		for (const key of tillTheEnd) this.#ctx.cancelTimer(key);
		this.#intake.stop();
		this.#withdraw();
		if (this.#generation !== null) {
			this.#generation.cancel();
			this.#ctx.setTimer('cancel', cancelAcknowledgeMs, { type: 'cancel-overdue' });
		}
	}

	/** Until it is known which pool has the task, its first answer is waited for. */
	#withdraw(): void {
		const { poolId, request } = this.#record;
		if (poolId !== null) this.#claims.withdraw(poolId, request.taskId, this.#end.reason);
	}

	/** Ends our lease, exactly once. */
	#settle(slot: 'free' | 'unknown', usage: GenerationUsage | null): void {
		this.#ctx.cancelTimer('cancel');
		this.#end.settle(slot, usage);
	}

	// ── the control thread's deaths ──────────────────────────────────────────────────────────────────────────────

	/** A running stream goes on; a queued task waits to be submitted again; one without its 202 is refused. */
	#onControlLost(): void {
		this.#claims.controlLost();
		if (this.#record.state === 'admitting') this.#fail(unreachable(), null);
	}

	#report(control: Control): void {
		const held = this.#claims.controlBack(control, this.#admission.summary());
		if (!held && this.#end.ending === null) this.#admission.submitAgain();
		if (this.#claims.open) this.#record.knownTo(control.epoch);
	}

	#restWhenDone(): void {
		if (this.#resting || !this.#end.over || this.#claims.open || this.#generation !== null) return;
		// What was told before this turn is still read; from here on the record says `closed`.
		if (this.#ctx.self.tell({ type: 'rest' }) !== 'accepted') return;
		this.#resting = true;
		this.#record.leave();
	}
}
