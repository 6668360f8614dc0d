/**
 * The `tasks` actor of a front thread: opens tasks, each at most once, keeps the finished ones for those who come later,
 * and stands between its tasks, the control thread and the journal. It is the parent of every Task actor here; it reads no
 * token and no prompt. Tasks get in once the control thread has told of its pools and the journal of what it has; a drain
 * takes no new ones, and stops with the last.
 */
import type { ActorContext, Behavior, Next, Setup, Signal } from '../kernel/behavior.ts';
import type { ActorRef, AskOutcome } from '../kernel/ref.ts';
import { nothing } from './budget.ts';
import type { DecodePort } from './decode.ts';
import type { TaskIdentity } from './desk-messages.ts';
import type { AttachElsewhere } from './elsewhere.ts';
import type { Failure } from './failure.ts';
import { failure } from './failure.ts';
import type { TaskClaimed } from './home-messages.ts';
import type { JournalLine } from './journal-line.ts';
import type { JournalCommand, JournalKept, JournalNews } from './journal-messages.ts';
import { ExpectedOfPools, expectOfFront } from './known-series.ts';
import type { DispatcherCommand, FrontCommand } from './messages.ts';
import { keyAsk, noKeyTerms, noRateLimit, type RateLimit } from './rate-limit.ts';
import { SessionNotes } from './session-notes.ts';
import { task } from './task.ts';
import { unreachable } from './task-admission.ts';
import type { Control } from './task-claims.ts';
import type { Opening, TasksCommand } from './task-directory.ts';
import { unkept } from './task-durability.ts';
import { errorJson } from './task-events.ts';
import { TaskLabelBook } from './task-labels.ts';
import type { TaskMessage, TaskRoll, TaskSurroundings, TranscriptKeeper } from './task-messages.ts';
import type { TaskRecord } from './task-record.ts';
import type { Claim, TaskRegistry } from './task-registry.ts';
import { wordsFor } from './task-telemetry.ts';
import { TasksControl } from './tasks-control.ts';
import { TasksJournal } from './tasks-journal.ts';
import { servedMs, tellServed } from './tokens-served.ts';

export type TasksMessage =
	| TasksCommand
	| FrontCommand
	/** From the composition root, for each control thread that comes up. Its end is heard by death watch. */
	| { readonly type: 'control-connected'; readonly control: Control }
	/** From the composition root, for the journal of the daemon. */
	| { readonly type: 'journal-connected'; readonly journal: ActorRef<JournalCommand> }
	| JournalNews
	| {
			readonly type: 'key-kept';
			readonly task: TaskRecord;
			readonly outcome: AskOutcome<JournalKept>;
			readonly replyTo: ActorRef<Opening>;
	  }
	| { readonly type: 'claim-answered'; readonly command: OpenTask; readonly outcome: AskOutcome<TaskClaimed> }
	| { readonly type: 'task-reported'; readonly epoch: number; readonly outcome: AskOutcome<'reported'> }
	| { readonly type: 'transcript-kept'; readonly task: TaskRecord; readonly artifactId: string }
	| { readonly type: 'send-again' }
	| { readonly type: 'served-due' }
	| { readonly type: 'forget-due' };

type OpenTask = Extract<TasksCommand, { type: 'open-task' }>;
type AttachTask = Extract<TasksCommand, { type: 'attach-task' }>;

/** Requests that name one id, while the directory has not said whose it is. */
interface Contest {
	unanswered: number;
	/** From fronts that have heard already that the id is ours. */
	waiting: AttachTask[];
}

export interface TasksOptions {
	readonly frontId: string;
	readonly registry: TaskRegistry;
	readonly decode: DecodePort;
	readonly roll: TaskRoll;
	/** Where tasks of other front threads are attached to; null: there are none. */
	readonly elsewhere: ActorRef<AttachElsewhere> | null;
	/** Default: none. */
	readonly rates?: RateLimit;
	/** Default: nobody. */
	readonly transcripts?: TranscriptKeeper | null;
	/** Default: nothing is kept. */
	readonly journal?: JournalLine | null;
}

/** A run's news is bounded by its tokens, one message a batch: a full mailbox there would be a bug. */
const taskMailboxMax = 65_536;
const claimMs = 5000;
/** Between two looks for tasks that are due to be forgotten: those of a while are one message to the directory, not one each. */
const forgetEveryMs = 100;

export function tasks(options: TasksOptions): Setup<TasksMessage> {
	return (ctx) => new Tasks(ctx, options);
}

class Tasks implements Behavior<TasksMessage> {
	readonly #ctx: ActorContext<TasksMessage>;
	readonly #registry: TaskRegistry;
	readonly #frontId: string;
	readonly #around: TaskSurroundings;
	readonly #roll: TaskRoll;
	readonly #elsewhere: ActorRef<AttachElsewhere> | null;
	readonly #rates: RateLimit;
	readonly #live = new Map<TaskRecord, ActorRef<TaskMessage>>();
	readonly #records = new Map<ActorRef<never>, TaskRecord>();
	readonly #expected: ExpectedOfPools;
	readonly #sessions = new SessionNotes();
	readonly #contests = new Map<string, Contest>();
	readonly #journal: TasksJournal;
	#journalRef: ActorRef<JournalCommand> | null = null;
	readonly #control: TasksControl;
	/** When the timer is due that forgets; null: none is set. */
	#forgetAt: number | null = null;
	#draining = false;

	constructor(ctx: ActorContext<TasksMessage>, options: TasksOptions) {
		this.#ctx = ctx;
		this.#registry = options.registry;
		this.#frontId = options.frontId;
		this.#roll = options.roll;
		this.#elsewhere = options.elsewhere;
		this.#rates = options.rates ?? noRateLimit;
		const { registry, decode, roll, transcripts = null, journal = null } = options;
		this.#journal = new TasksJournal(journal, options.frontId, this.#sessions);
		this.#around = {
			decode,
			journal,
			roll: {
				...roll,
				started: (taskId) => {
					registry.note(taskId);
					roll.started(taskId);
				},
			},
			logSpace: registry.logSpace,
			labels: new TaskLabelBook(),
			pools: () => registry.pools,
			ended: (record, request) => {
				if (!request.durable) roll.ended(record.request.taskId);
				transcripts?.keep(record, request, (artifactId) => void ctx.self.tell({ type: 'transcript-kept', task: record, artifactId }));
			},
			claimOf: ({ taskId, bodyHash }) => ({ frontId: options.frontId, bodyHash, keys: registry.keysOf(taskId) }),
		};
		registry.controlReachable = false;
		if (journal !== null) registry.complete = false;
		this.#control = new TasksControl(ctx, {
			frontId: options.frontId,
			registry,
			live: this.#live,
			sessions: this.#sessions,
			recalling: () => !this.#journal.ready,
		});
		expectOfFront(ctx.telemetry);
		this.#expected = new ExpectedOfPools(ctx.telemetry);
		this.#recall();
	}

	onMessage(_ctx: ActorContext<TasksMessage>, message: TasksMessage): Next<TasksMessage> {
		switch (message.type) {
			case 'open-task':
				this.#onOpenTask(message);
				break;
			case 'claim-answered':
				this.#onClaimed(message.command, message.outcome);
				this.#endContest(message.command.request.taskId);
				break;
			case 'attach-task':
				this.#onAttachTask(message);
				break;
			case 'cancel-all':
				for (const actor of this.#live.values()) actor.tell({ type: 'cancel', reason: message.reason, replyTo: null });
				break;
			case 'suspend-waiting':
				for (const actor of this.#live.values()) actor.tell({ type: 'suspend' });
				break;
			case 'journal-connected':
				this.#journalRef = message.journal;
				this.#journal.connect(message.journal, this.#ctx.self);
				break;
			case 'journal-joined':
			case 'recall-sessions':
			case 'recall-tasks':
			case 'journal-recalled':
				this.#journal.heard(message, this.#ctx.now());
				this.#seeRecalled();
				break;
			case 'key-kept':
				if (message.outcome.ok && message.outcome.reply.problem === null) this.#attach(message.task, message.replyTo);
				else this.#refuse({ request: message.task.request, replyTo: message.replyTo }, unkept('failed'));
				break;
			case 'pools-changed':
				if (message.epoch !== this.#control.epoch) break;
				this.#registry.pools = message.pools;
				this.#expected.see(message.pools);
				this.#control.poolsKnown = true;
				this.#seeRecalled();
				break;
			case 'sessions-changed':
				this.#sessions.heard(message, this.#ctx.now());
				this.#journal.keepSessions(message);
				break;
			case 'control-connected':
				this.#control.connect(message.control);
				break;
			case 'task-reported':
				this.#control.reported(message.epoch);
				break;
			case 'transcript-kept':
				message.task.transcriptArtifact = message.artifactId;
				break;
			case 'send-again':
				this.#control.sendAgain();
				break;
			case 'served-due':
				this.#tellServed();
				break;
			case 'forget-due':
				this.#forgetAt = null;
				this.#forgetDue();
				break;
		}
		this.#tellForgotten();
		return 'same';
	}

	onSignal(_ctx: ActorContext<TasksMessage>, signal: Signal): Next<TasksMessage> {
		if (signal.type === 'drain') this.#draining = true;
		else if (signal.type === 'terminated' && signal.ref === this.#control.control?.dispatcher) this.#control.lose();
		else if (signal.type === 'terminated') this.#onTaskGone(signal.ref);
		return this.#draining && this.#live.size === 0 ? 'stopped' : 'same';
	}

	// ── tasks come and go ────────────────────────────────────────────────────────────────────────────────────────

	#onOpenTask(command: OpenTask): void {
		const { request } = command;
		// Only an id or a key that a client chose can be known to another front; what is known here is ours.
		if (this.#elsewhere === null || !request.named || this.#registry.decides(request)) return this.#open(command);
		const { control } = this.#control;
		// What is still to be said of the same name must be heard first.
		if (control === null || this.#control.behind) return this.#refuse(command, unreachable());
		const { taskId, tenant, bodyHash, idempotencyKey } = request;
		const task = { taskId, tenant, bodyHash, keys: idempotencyKey === null ? [] : [idempotencyKey] };
		const contest = this.#contests.get(taskId) ?? { unanswered: 0, waiting: [] };
		contest.unanswered++;
		this.#contests.set(taskId, contest);
		this.#ctx.ask<DispatcherCommand, TaskClaimed>(
			control.dispatcher,
			claimMs,
			(replyTo) => ({ type: 'claim-task', frontId: this.#frontId, task, replyTo }),
			(outcome) => ({ type: 'claim-answered', command, outcome }),
		);
	}

	#onClaimed(command: OpenTask, outcome: AskOutcome<TaskClaimed>): void {
		const { request, replyTo } = command;
		const verdict = outcome.ok ? outcome.reply.verdict : null;
		switch (verdict?.kind) {
			case 'ours':
				this.#open(command);
				// Refused before it was a task: another front may have it.
				if (this.#registry.claim(request).kind === 'fresh') this.#sayForgotten([], [request.taskId]);
				return;
			case 'elsewhere': {
				const { frontId, taskId } = verdict;
				const { tenant, bodyHash, idempotencyKey, correlationId, sessionId } = request;
				const identity = { taskId, tenant, bodyHash, idempotencyKey, correlationId, sessionId };
				this.#elsewhere?.tell({ type: 'attach-elsewhere', frontId, identity, replyTo });
				return;
			}
			case 'contradiction':
				return this.#refuse(command, failure('CONFLICT', 'task_id and Idempotency-Key name two different tasks'));
			default:
				return this.#refuse(command, unreachable());
		}
	}

	#open(command: OpenTask): void {
		const { request, replyTo } = command;
		const claim = this.#registry.claim(request);
		if (claim.kind === 'known') return this.#attachKnown(claim, replyTo);
		if (claim.kind === 'refused') return this.#refuse(command, claim.failure);
		if (this.#draining) return this.#refuse(command, failure('POOL_UNREADY', 'the daemon is shutting down', { retryAfterMs: 1000 }));
		if (!this.#registry.controlReachable) return this.#refuse(command, unreachable());
		const { keyName } = request;
		const terms = keyName === null ? noKeyTerms : this.#rates.take(keyName, keyAsk(request, this.#registry.pools));
		if ('code' in terms) return this.#refuse(command, terms);
		const added = this.#registry.add(request, this.#ctx.now());
		if ('code' in added) {
			this.#rates.settle(keyName, terms, nothing);
			return this.#refuse(command, added);
		}
		added.keyTerms = terms;
		this.#spawn(added).tell({ type: 'open', replyTo });
	}

	#spawn(record: TaskRecord): ActorRef<TaskMessage> {
		const { correlationId, taskId } = record.request;
		const actor = this.#ctx.spawn(`${record.ordinal}`, task(record, this.#control.control, this.#around), {
			mailboxMax: taskMailboxMax,
			kind: '*',
			about: { correlation_id: correlationId, task_id: taskId },
		});
		record.ref = actor;
		if (this.#live.size === 0) this.#ctx.setTimer('served', servedMs, { type: 'served-due' });
		this.#live.set(record, actor);
		this.#records.set(actor, record);
		this.#ctx.watch(actor);
		return actor;
	}

	/** The directory has answered one of the requests for this id: those that other fronts have sent here can be judged. */
	#endContest(taskId: string): void {
		const contest = this.#contests.get(taskId);
		if (contest === undefined) return;
		contest.unanswered--;
		if (contest.unanswered === 0) this.#contests.delete(taskId);
		for (const attach of contest.waiting.splice(0)) this.#onAttachTask(attach);
	}

	/** Another front was sent a request that names a task of this one. */
	#onAttachTask(command: AttachTask): void {
		const { identity, replyTo } = command;
		const claim = this.#registry.claim(identity);
		if (claim.kind === 'known') return this.#attachKnown(claim, replyTo);
		if (claim.kind === 'refused') return this.#refuse({ request: identity, replyTo }, claim.failure);
		// It may know from the directory that the id is ours before we do.
		const contest = this.#contests.get(identity.taskId);
		if (contest === undefined) replyTo.tell({ type: 'task-unknown' });
		else contest.waiting.push(command);
	}

	/** A new key of a durable task is kept before anybody relies on it. */
	#attachKnown({ task: known, newKey }: Extract<Claim, { kind: 'known' }>, replyTo: ActorRef<Opening>): void {
		const keep = newKey === null || !known.journaled ? null : this.#journal.keepKey(known.request.taskId, newKey);
		if (keep === null || this.#journalRef === null) return this.#attach(known, replyTo);
		this.#ctx.ask<JournalCommand, JournalKept>(this.#journalRef, claimMs, keep, (outcome) => ({
			type: 'key-kept',
			task: known,
			outcome,
			replyTo,
		}));
	}

	/** The same request again: while it is being admitted it waits for the same answer. */
	#attach(known: TaskRecord, replyTo: ActorRef<Opening>): void {
		// Refused, and not yet out of the pool's hands: the id is free again only then, for a withdrawal names no more than it.
		if (known.refused && known.failure !== null) return this.#refuse({ request: known.request, replyTo }, known.failure);
		const actor = this.#live.get(known);
		const waits = !known.admitted && !known.ended && actor?.tell({ type: 'open', replyTo }) === 'accepted';
		if (!waits) replyTo.tell(known.opening(false));
	}

	/** Before there is a Task. */
	#refuse({ request, replyTo }: { readonly request: TaskIdentity; readonly replyTo: ActorRef<Opening> }, problem: Failure): void {
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
		if (this.#live.size === 0) this.#ctx.cancelTimer('served');
		if (!record.ended && !record.suspended) this.#endForLost(record);
		this.#rates.settle(record.request.keyName, record.keyTerms, record.spent);
		const ended = this.#sessions.ended(record, this.#control.epoch);
		if (ended !== null) this.#control.send({ type: 'report-sessions', sessions: [], ended: [ended] });
		if (record.suspended) this.#registry.suspend(record);
		else if (record.refused) this.#registry.withdraw(record);
		else {
			this.#registry.finish(record);
			this.#forgetDue();
		}
	}

	/** For as long as there are tasks. */
	#tellServed(): void {
		const { control } = this.#control;
		if (control !== null) tellServed(this.#live.keys(), control.dispatcher);
		this.#ctx.setTimer('served', servedMs, { type: 'served-due' });
	}

	/** An actor that could not even end its own task. */
	#endForLost(record: TaskRecord): void {
		const problem = failure('INTERNAL', 'the task failed inside the daemon');
		record.end(record.outcomeOf({ kind: 'failed', failure: problem, cut: null }, this.#ctx.now()));
		record.leave();
		if (!record.log.ended) record.log.append('error', errorJson(problem));
		if (!record.request.durable) this.#roll.ended(record.request.taskId);
	}

	/** Tasks of the thread that this one took the place of. */
	#recall(): void {
		const lost = this.#registry.recall(this.#ctx.now());
		if (lost.length === 0) return;
		for (const taskId of lost) this.#roll.lost(taskId);
		this.#forgetDue();
		this.#ctx.telemetry.log('warn', 'tasks-lost', {
			name: this.#frontId,
			count: lost.length,
			human: `${lost.length} tasks were lost with the thread ${this.#frontId}.`,
		});
	}

	#forgetDue(): void {
		const now = this.#ctx.now();
		const next = this.#registry.forgetDue(now);
		// One task more than may be kept makes the oldest due before its time.
		if (next === null || (this.#forgetAt !== null && this.#forgetAt <= next)) return;
		this.#forgetAt = Math.max(next, now + forgetEveryMs);
		this.#ctx.setTimer('forget', this.#forgetAt - now, { type: 'forget-due' });
	}

	/** To the directory of all tasks. A new control thread hears of what there is, not of what there was. */
	#tellForgotten(): void {
		const unsaid = this.#registry.takeForgotten();
		if (unsaid !== null) this.#sayForgotten(unsaid.expired, unsaid.forgotten);
		if (unsaid !== null) this.#journal.forget(unsaid.durable);
	}

	#sayForgotten(expired: readonly string[], forgotten: readonly string[]): void {
		if (this.#control.control !== null) this.#control.send({ type: 'tasks-forgotten', frontId: this.#frontId, expired, forgotten });
	}

	/** Once the pools are known too: durable tasks of the thread or daemon before this one are here again. */
	#seeRecalled(): void {
		const runAgain = (record: TaskRecord): void => {
			const actor = this.#spawn(record);
			actor.tell({ type: 'recalled' });
			this.#control.askReport(actor);
		};
		const again = this.#control.poolsKnown ? this.#journal.restore(this.#registry, runAgain) : null;
		this.#registry.controlReachable = this.#control.poolsKnown && this.#journal.ready;
		this.#registry.complete ||= this.#registry.controlReachable;
		if (again === null) return;
		const human = `${again} durable ${again === 1 ? 'task runs' : 'tasks run'} again: the journal has no end of them.`;
		if (again > 0) this.#ctx.telemetry.log('info', 'tasks-recalled', { name: this.#frontId, count: again, human });
		this.#forgetDue();
		this.#control.reported(this.#control.epoch);
	}
}
