/**
 * The desk of a front thread: tells the other fronts of the tasks that live here, and does for them what their clients ask.
 * Tasks that they follow are cursors into the logs, like watchers: all that has moved goes out as one message for each front
 * and turn, within the credit that the front has given, and a front that is behind catches up from where it was.
 */
import type { ActorContext, Behavior, Next, Setup, Signal } from '../kernel/behavior.ts';
import type { ActorRef, AskOutcome, Delivery } from '../kernel/ref.ts';
import type { AttachAnswered, DeskCommand, DeskNews, TaskAnswered, TaskMove } from './desk-messages.ts';
import { unreachable } from './task-admission.ts';
import type { Opening, TasksCommand, TaskUnknown } from './task-directory.ts';
import type { TaskRecord } from './task-record.ts';
import type { TaskRegistry } from './task-registry.ts';
import { factsOf, snapshotOf } from './task-snapshot.ts';

export type DeskMessage =
	| DeskCommand
	| {
			readonly type: 'attach-judged';
			readonly outcome: AskOutcome<Opening | TaskUnknown>;
			readonly replyTo: ActorRef<AttachAnswered>;
	  }
	| { readonly type: 'send-due' | 'replies-due' };

/** Bytes of events that may be under way to one front. */
export const deskWindowBytes = 1024 * 1024;
/** Of one task in one message, so that none waits long for the others. */
const sliceBytes = 64 * 1024;
const messageBytes = 256 * 1024;
const attachMs = 10_000;
const sendAgainMs = 20;
/** More than all asks that may be open: who asked has given up on those beyond. */
const unsentMax = 65_536;

interface Follow {
	readonly taskId: string;
	readonly task: TaskRecord;
	/** The last event that was sent. */
	cursor: number;
	/** Of the facts that were sent last. */
	standingVersion: number;
	/** Clients that watch the task there. */
	watchers: number;
	readonly unsubscribe: () => void;
}

interface Follower {
	readonly ref: ActorRef<DeskNews>;
	readonly session: number;
	readonly follows: Map<string, Follow>;
	/** Those that have moved, in turn. */
	readonly due: Set<Follow>;
	creditBytes: number;
}

export interface DeskOptions {
	readonly registry: TaskRegistry;
	readonly tasks: ActorRef<TasksCommand>;
}

export function desk(options: DeskOptions): Setup<DeskMessage> {
	return (ctx) => new Desk(ctx, options);
}

class Desk implements Behavior<DeskMessage> {
	readonly #ctx: ActorContext<DeskMessage>;
	readonly #registry: TaskRegistry;
	readonly #tasks: ActorRef<TasksCommand>;
	readonly #followers = new Map<string, Follower>();
	#sendDue = false;
	/** Answers that the links had no room for. */
	#unsent: (() => Delivery)[] = [];

	constructor(ctx: ActorContext<DeskMessage>, options: DeskOptions) {
		this.#ctx = ctx;
		this.#registry = options.registry;
		this.#tasks = options.tasks;
	}

	onMessage(_ctx: ActorContext<DeskMessage>, message: DeskMessage): Next<DeskMessage> {
		switch (message.type) {
			case 'join-desk':
				this.#join(message);
				break;
			case 'ask-task':
				this.#reply(message.replyTo, this.#answer(message.taskId));
				break;
			case 'follow-task':
				this.#follow(message);
				break;
			case 'leave-task':
				this.#leave(message.frontId, message.taskId);
				break;
			case 'watch-task':
				this.#watched(message);
				break;
			case 'cancel-task':
				this.#cancel(message);
				break;
			case 'drop-note': {
				const lookup = this.#registry.lookup(message.taskId);
				if (lookup.found === 'task') lookup.task.request.note?.drop();
				break;
			}
			case 'attach-task':
				this.#attach(message);
				break;
			case 'attach-judged':
				this.#reply(message.replyTo, attachAnswer(message.outcome));
				break;
			case 'list-tasks': {
				const { filter, limit, cursor } = message.page;
				const { tasks, more } = this.#registry.page(filter, limit, cursor);
				const rows = tasks.map((task) => ({ cursor: this.#registry.cursorBehind(task), snapshot: snapshotOf(task) }));
				this.#reply(message.replyTo, { type: 'tasks-listed', rows, more });
				break;
			}
			case 'give-credit':
				this.#credit(message.frontId, message.bytes);
				break;
			case 'replies-due':
				this.#replyAgain();
				break;
			case 'send-due':
				this.#sendDue = false;
				for (const follower of this.#followers.values()) this.#send(follower);
				break;
		}
		return 'same';
	}

	onSignal(_ctx: ActorContext<DeskMessage>, signal: Signal): Next<DeskMessage> {
		if (signal.type !== 'terminated') return 'same';
		for (const [frontId, follower] of this.#followers) if (follower.ref === signal.ref) this.#drop(frontId);
		return 'same';
	}

	#join({ frontId, session, replyTo: ref }: Extract<DeskCommand, { type: 'join-desk' }>): void {
		this.#drop(frontId);
		this.#followers.set(frontId, { ref, session, follows: new Map(), due: new Set(), creditBytes: deskWindowBytes });
		this.#ctx.watch(ref);
	}

	/** The front is gone: nobody there watches any more. */
	#drop(frontId: string): void {
		const follower = this.#followers.get(frontId);
		if (follower === undefined) return;
		for (const taskId of [...follower.follows.keys()]) this.#leave(frontId, taskId);
		this.#ctx.unwatch(follower.ref);
		this.#followers.delete(frontId);
	}

	#answer(taskId: string): TaskAnswered {
		const lookup = this.#registry.lookup(taskId);
		if (lookup.found === 'task') return { type: 'task-answered', found: 'task', snapshot: snapshotOf(lookup.task, true) };
		const found = lookup.found === 'nothing' && !this.#registry.complete ? 'unsure' : lookup.found;
		return { type: 'task-answered', found, snapshot: null };
	}

	#follow({ frontId, taskId, replyTo }: Extract<DeskCommand, { type: 'follow-task' }>): void {
		const follower = this.#followers.get(frontId);
		const lookup = this.#registry.lookup(taskId);
		this.#reply(replyTo, this.#answer(taskId));
		if (follower === undefined || lookup.found !== 'task' || lookup.task.log.forgotten) return;
		const { task } = lookup;
		this.#leave(frontId, taskId);
		const follow: Follow = {
			taskId,
			task,
			cursor: task.log.firstSeq - 1,
			standingVersion: task.standingVersion,
			watchers: 0,
			unsubscribe: task.log.subscribe(() => this.#moved(follower, follow)),
		};
		follower.follows.set(taskId, follow);
		this.#moved(follower, follow);
	}

	#leave(frontId: string, taskId: string): void {
		const follower = this.#followers.get(frontId);
		const follow = follower?.follows.get(taskId);
		if (follower === undefined || follow === undefined) return;
		follower.follows.delete(taskId);
		follower.due.delete(follow);
		follow.unsubscribe();
		for (; follow.watchers > 0; follow.watchers--) follow.task.ref.tell({ type: 'watcher-gone' });
	}

	#watched({ frontId, taskId, watchers }: Extract<DeskCommand, { type: 'watch-task' }>): void {
		const follow = this.#followers.get(frontId)?.follows.get(taskId);
		if (follow === undefined) return;
		for (; follow.watchers < watchers; follow.watchers++) follow.task.ref.tell({ type: 'watcher-attached' });
		for (; follow.watchers > watchers; follow.watchers--) follow.task.ref.tell({ type: 'watcher-gone' });
	}

	#cancel({ taskId, reason, replyTo }: Extract<DeskCommand, { type: 'cancel-task' }>): void {
		const lookup = this.#registry.lookup(taskId);
		const told = lookup.found === 'task' ? lookup.task.ref.tell({ type: 'cancel', reason, replyTo }) : 'closed';
		// One that cannot be told now is not said to be cancelled.
		if (told === 'closed' && replyTo !== null) this.#reply(replyTo, { type: 'cancel-done' });
	}

	/** An answer that the link has no room for waits, and so do those behind it. */
	#reply<A>(replyTo: ActorRef<A>, answer: A): void {
		const send = (): Delivery => replyTo.tell(answer);
		if (this.#unsent.length === 0 && send() !== 'full') return;
		if (this.#unsent.length < unsentMax) this.#unsent.push(send);
		this.#ctx.setTimer('replies', sendAgainMs, { type: 'replies-due' });
	}

	#replyAgain(): void {
		const sent = this.#unsent.findIndex((send) => send() === 'full');
		this.#unsent = sent < 0 ? [] : this.#unsent.slice(sent);
		if (this.#unsent.length > 0) this.#ctx.setTimer('replies', sendAgainMs, { type: 'replies-due' });
		else this.#sendSoon();
	}

	/** Judged where a request of a client of this front would be. */
	#attach({ identity, replyTo }: Extract<DeskCommand, { type: 'attach-task' }>): void {
		this.#ctx.ask<TasksCommand, Opening | TaskUnknown>(
			this.#tasks,
			attachMs,
			(judged) => ({ type: 'attach-task', identity, replyTo: judged }),
			(outcome) => ({ type: 'attach-judged', outcome, replyTo }),
		);
	}

	// ── what has moved ───────────────────────────────────────────────────────────────────────────────────────────

	/** In the turn of the task: only marks. Behind all that has moved in it, `send-due` is read. */
	#moved(follower: Follower, follow: Follow): void {
		follower.due.add(follow);
		this.#sendSoon();
	}

	#sendSoon(): void {
		if (this.#sendDue) return;
		// A full mailbox: the next move, or the timer, tells again.
		this.#sendDue = this.#ctx.self.tell({ type: 'send-due' }) === 'accepted';
		if (!this.#sendDue) this.#ctx.setTimer('send', sendAgainMs, { type: 'send-due' });
	}

	#credit(frontId: string, bytes: number): void {
		const follower = this.#followers.get(frontId);
		if (follower === undefined) return;
		follower.creditBytes += bytes;
		if (follower.due.size > 0) this.#sendSoon();
	}

	#send(follower: Follower): void {
		// What is told of a task comes behind the answer that it is followed.
		if (follower.due.size === 0 || follower.creditBytes <= 0 || this.#unsent.length > 0) return;
		const out = new Outgoing(Math.min(messageBytes, follower.creditBytes));
		for (const follow of follower.due) {
			if (!out.hasRoom) break;
			out.add(follow);
		}
		if (follower.ref.tell(out.news(follower.session)) === 'full') {
			this.#ctx.setTimer('send', sendAgainMs, { type: 'send-due' });
			return;
		}
		follower.creditBytes -= out.bytes;
		for (const { follow, cursor, move } of out.moves) {
			follow.cursor = cursor;
			follow.standingVersion = move.facts?.standingVersion ?? follow.standingVersion;
			follower.due.delete(follow);
			if (move.gone) {
				follower.follows.delete(follow.taskId);
				follow.unsubscribe();
			} else if (cursor < follow.task.log.lastSeq) follower.due.add(follow);
		}
		if (follower.due.size > 0 && follower.creditBytes > 0) this.#sendSoon();
	}
}

/** One message in the making. Nothing of it counts until it is sent. */
class Outgoing {
	readonly moves: { readonly follow: Follow; readonly cursor: number; readonly move: TaskMove }[] = [];
	readonly #parts: Uint8Array[] = [];
	readonly #bytesMax: number;
	bytes = 0;

	constructor(bytesMax: number) {
		this.#bytesMax = bytesMax;
	}

	get hasRoom(): boolean {
		return this.bytes < this.#bytesMax;
	}

	add(follow: Follow): void {
		const { task, taskId } = follow;
		const { log } = task;
		let cursor = follow.cursor;
		const until = Math.min(this.#bytesMax, this.bytes + sliceBytes);
		while (cursor < log.lastSeq && this.bytes < until) {
			const slice = log.slice(cursor, until - this.bytes);
			if (slice === null) break;
			cursor = slice.lastSeq;
			this.#parts.push(slice.bytes.subarray(slice.start, slice.end));
			this.bytes += slice.end - slice.start;
		}
		// The end of a task is told with its terminal event, not before.
		const facts = task.standingVersion === follow.standingVersion || (log.ended && cursor < log.lastSeq) ? null : factsOf(task);
		// One that was refused has ended for good: its id may come again.
		const gone = log.forgotten || (task.refused && log.ended && cursor === log.lastSeq);
		this.moves.push({ follow, cursor, move: { taskId, end: this.bytes, tokensOut: task.tokensOut, facts, gone } });
	}

	/** The bytes are copied: a log's own buffer is larger, and would cross whole. */
	news(session: number): DeskNews {
		const bytes = new Uint8Array(this.bytes);
		let at = 0;
		for (const part of this.#parts) {
			bytes.set(part, at);
			at += part.length;
		}
		return { type: 'tasks-moved', session, bytes, moves: this.moves.map(({ move }) => move) };
	}
}

function attachAnswer(outcome: AskOutcome<Opening | TaskUnknown>): AttachAnswered {
	const type = 'attach-answered';
	if (!outcome.ok) return { type, outcome: 'refused', failure: unreachable() };
	const { reply } = outcome;
	switch (reply.type) {
		case 'task-unknown':
			return { type, outcome: 'nothing' };
		case 'task-refused':
			return { type, outcome: 'refused', failure: reply.failure };
		case 'task-opened': {
			const { task, standing, poolId, onTimeProbability } = reply;
			return { type, outcome: 'attached', taskId: task.request.taskId, standing, poolId, onTimeProbability };
		}
	}
}
