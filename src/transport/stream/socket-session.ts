/**
 * One WebSocket of `/v2/ws`: reads operations, answers them, and lets the tasks that it watches write in turn. On the front
 * thread. Nothing is buffered for a client that does not read but what its socket had taken: its tasks wait as cursors.
 *
 *   live    ── a write refused ────────→ blocked     (tasks write nothing; answers do, up to a bound)
 *   blocked ── all has left ───────────→ live        (tasks that are behind merge their tokens)
 *   blocked ── stall_ms without progress → closed    (cut; the client may watch again from where it was)
 *   live    ── malformed too often, answers unread → closed   (1008)
 */
import { eventId } from '../../actors/serving/event-log-view.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { TaskView } from '../../actors/serving/task-directory.ts';
import { type Envelope, envelopeOf } from '../api/errors.ts';
import { parseJsonBody } from '../api/json-body.ts';
import type { WebSocketReceiver, WebSocketSink } from '../http/http-host.ts';
import { resumePoint } from './resume-point.ts';
import { readOp, type SocketOp, socketMessage } from './socket-messages.ts';
import { SocketWatch, type WatchOutput } from './socket-watch.ts';
import type { WatcherLimits } from './watcher.ts';
import type { Reader } from './watchers.ts';

type Found = { readonly ok: true; readonly value: TaskView } | { readonly ok: false; readonly failure: Failure };

/** What a session can do beside watching: the same as the HTTP paths. */
export interface SocketActions {
	/** Whose watches these are; null: the daemon has no keys. */
	readonly keyName: string | null;
	/** `opened` or `refused`, exactly once, also after the socket has closed. */
	submit(body: unknown, correlationId: string, opened: (task: TaskView, accepted: unknown) => void, refused: (why: Failure) => void): void;
	/** `use` is called once, also after the socket has closed; for a task of this front thread before this returns. */
	find(taskId: string, use: (found: Found) => void): void;
	/** `done` once the log gains no token any more. */
	cancel(taskId: string, done: () => void, refused: (why: Failure) => void): void;
	/** Why no more tasks can be watched; null when they can. */
	watchesRefused(): Failure | null;
	readonly draining: () => boolean;
}

export interface SessionOwner {
	readonly limits: WatcherLimits;
	now(): number;
	marked(reader: Reader): void;
	hasMore(reader: Reader): void;
	addSocket(reader: Reader): void;
	removeSocket(reader: Reader): void;
	socketWatches(change: number, keyName: string | null): void;
}

type WatchOp = Extract<SocketOp, { op: 'watch' }>;

/** A `watch` whose task is being found. */
interface PendingWatch {
	readonly operation: WatchOp;
	/** Given since. */
	credit: number;
	/** Answers to later operations on the same task; null: the watch is answered. */
	behind: (() => void)[] | null;
}

const malformedMax = 100;
/** Answers that a client has not read. */
const unreadAnswersMax = 1024 * 1024;
/** Submissions that have no answer yet; as many watches. */
const pendingMax = 1024;
/** Cancels that have no answer yet: more than one read of the socket brings. */
const cancelsMax = 16_384;
/** Of one task, and of all, before others have their turn. */
const watchBytes = 8 * 1024;
const pumpBytes = 64 * 1024;
const policyViolation = 1008;
const goingAway = 1001;

export class SocketSession implements Reader, WebSocketReceiver, WatchOutput {
	waiting = false;
	replaying = false;
	readonly #socket: WebSocketSink;
	readonly correlationId: string;
	readonly #actions: SocketActions;
	readonly #owner: SessionOwner;
	readonly #watches = new Map<string, SocketWatch>();
	/** By task, in order: the first is being found, the others wait for its answer. */
	readonly #finding = new Map<string, PendingWatch[]>();
	/** In all of them. */
	#pendingWatches = 0;
	#pendingCancels = 0;
	/** Those with something to write, in turn. */
	#due: SocketWatch[] = [];
	#pending = 0;
	#malformed = 0;
	#blocked = false;
	#progressAt = 0;
	#bufferedThen = 0;
	#sentBytes = 0;

	constructor(socket: WebSocketSink, correlationId: string, actions: SocketActions, owner: SessionOwner) {
		this.#socket = socket;
		this.correlationId = correlationId;
		this.#actions = actions;
		this.#owner = owner;
		owner.addSocket(this);
	}

	get hasEnd(): boolean {
		return this.#due.some((watch) => watch.task.log.ended);
	}

	// --- what the client says ---------------------------------------------------------------------------------------

	onMessage(message: Buffer, isText: boolean): void {
		const json = isText
			? parseJsonBody(message, 'the message')
			: ({ ok: false, failure: failure('INVALID_PARAMS', 'the message is binary; send JSON as text') } as const);
		if (!json.ok) return this.#malformedMessage(json.failure, null, null);
		const read = readOp(json.value);
		if (read.ok) this.#socket.corked(() => this.#perform(read.value));
		else this.#malformedMessage(read.failure, read.ref, read.taskId);
	}

	#perform(operation: SocketOp): void {
		switch (operation.op) {
			case 'ping':
				return this.#answer('pong', operation.ref, null);
			case 'submit':
				return this.#submit(operation);
			case 'watch':
				return this.#watch(operation);
			case 'cancel':
				return this.#cancel(operation);
			case 'credit':
				return this.#give(operation);
		}
	}

	#give({ ref, taskId, n }: Extract<SocketOp, { op: 'credit' }>): void {
		const id = taskId.toLowerCase();
		const pending = this.#finding.get(id)?.at(-1);
		if (pending !== undefined) {
			pending.credit += n;
			return;
		}
		const watch = this.#watches.get(id);
		if (watch === undefined) {
			return this.#reject(failure('NOT_FOUND', `task_id is ${taskId}, which this connection does not watch`), ref, taskId);
		}
		watch.give(n);
		this.marked(watch);
	}

	/** Done at once, and answered behind what was said of the task before. */
	#cancel({ ref, taskId }: Extract<SocketOp, { op: 'cancel' }>): void {
		if (this.#pendingCancels >= cancelsMax) return this.#reject(tooManyPending(cancelsMax, 'cancels'), ref, taskId);
		const id = taskId.toLowerCase();
		const before = this.#finding.get(id)?.at(-1);
		const answered = (answer: () => void): void => {
			this.#pendingCancels -= 1;
			if (this.#socket.closed) return;
			if (before === undefined || before.behind === null) answer();
			else before.behind.push(answer);
		};
		this.#pendingCancels += 1;
		this.#actions.cancel(
			taskId,
			() => answered(() => this.#answerCancel(id, () => this.#answer('accepted', ref, taskId, { op: 'cancel' }))),
			(why) => answered(() => this.#reject(why, ref, taskId)),
		);
	}

	/** What was logged before the cancel is read before the answer to it. */
	#answerCancel(id: string, answer: () => void): void {
		const watch = this.#watches.get(id);
		const isComing = watch !== undefined && !watch.task.log.ended && !watch.task.log.forgotten;
		if (isComing) {
			watch.atEnd.push(answer);
			return;
		}
		this.pump();
		answer();
	}

	#submit({ ref, task: body, credit }: Extract<SocketOp, { op: 'submit' }>): void {
		const refusal = this.#pending >= pendingMax ? tooManyPending(pendingMax, 'submissions') : this.#actions.watchesRefused();
		if (refusal !== null) return this.#reject(refusal, ref, null);
		this.#pending += 1;
		this.#actions.submit(
			body,
			this.correlationId,
			(task, accepted) => {
				this.#pending -= 1;
				if (this.#socket.closed) {
					// It was watched by a client that is gone.
					task.ref.tell({ type: 'watcher-attached' });
					task.ref.tell({ type: 'watcher-gone' });
					return;
				}
				this.#answer('accepted', ref, task.request.taskId, accepted);
				this.#attach(task, ref, 0, credit);
			},
			(why) => {
				this.#pending -= 1;
				this.#reject(why, ref, null);
			},
		);
	}

	#watch(operation: WatchOp): void {
		const { ref, taskId } = operation;
		if (this.#pendingWatches >= pendingMax) return this.#reject(tooManyPending(pendingMax, 'watches'), ref, taskId);
		const id = taskId.toLowerCase();
		const pending: PendingWatch = { operation, credit: 0, behind: [] };
		const sooner = this.#finding.get(id);
		this.#pendingWatches += 1;
		if (sooner !== undefined) {
			sooner.push(pending);
			return;
		}
		const queue = [pending];
		this.#finding.set(id, queue);
		this.#find(id, queue, pending);
	}

	#find(id: string, queue: PendingWatch[], pending: PendingWatch): void {
		let inMessage = true;
		this.#actions.find(pending.operation.taskId, (found) => {
			this.#pendingWatches -= 1;
			if (this.#socket.closed) return;
			queue.shift();
			if (queue.length === 0) this.#finding.delete(id);
			const answer = (): void => this.#onFound(id, found, pending);
			if (inMessage) answer();
			else this.#socket.corked(answer);
			const [next] = queue;
			if (next !== undefined && !this.#socket.closed) this.#find(id, queue, next);
		});
		inMessage = false;
	}

	#onFound(id: string, found: Found, pending: PendingWatch): void {
		const { operation, credit } = pending;
		const problem = found.ok ? this.#attachFound(found.value, operation, credit) : found.failure;
		if (problem !== null) {
			this.#reject(problem, operation.ref, operation.taskId);
			// what it is watched as already goes on, and it was meant for that
			const watch = this.#watches.get(id);
			if (watch !== undefined && credit > 0) {
				watch.give(credit);
				this.marked(watch);
			}
		}
		const behind = pending.behind ?? [];
		pending.behind = null;
		for (const answer of behind) answer();
	}

	/** Null, or why it is not watched. */
	#attachFound(task: TaskView, { ref, taskId, after, credit }: WatchOp, creditSince: number): Failure | null {
		const from = resumePoint(task.log, 'after', after, after);
		if (!from.ok) return from.failure;
		const refusal = this.#watches.has(taskId.toLowerCase()) ? null : this.#actions.watchesRefused();
		if (refusal !== null) return refusal;
		this.#answer('accepted', ref, taskId, { op: 'watch', last_seq: eventId(task.log, task.log.lastSeq) });
		this.#attach(task, ref, from.value, credit === null && creditSince === 0 ? null : (credit ?? 0) + creditSince);
		return null;
	}

	/** Watching again moves the cursor. */
	#attach(task: TaskView, ref: string | null, after: number, credit: number | null): void {
		const { taskId } = task.request;
		const watch = new SocketWatch(task, ref, after, credit, this);
		this.#drop(taskId);
		this.#watches.set(taskId, watch);
		this.#owner.socketWatches(1, this.#actions.keyName);
		this.marked(watch);
	}

	#drop(taskId: string): void {
		const watch = this.#watches.get(taskId);
		if (watch === undefined) return;
		this.#watches.delete(taskId);
		this.#due = this.#due.filter((each) => each !== watch);
		this.#owner.socketWatches(-1, this.#actions.keyName);
		watch.close();
		for (const answer of watch.atEnd.splice(0)) answer();
	}

	#malformedMessage(why: Failure, ref: string | null, taskId: string | null): void {
		this.#malformed += 1;
		this.#reject(why, ref, taskId);
		if (this.#malformed >= malformedMax) this.#socket.close(policyViolation, `${malformedMax} malformed messages`);
	}

	#reject(why: Failure, ref: string | null, taskId: string | null): void {
		const envelope: Envelope = envelopeOf(why, this.correlationId);
		this.#answer('rejected', ref, taskId, envelope);
	}

	#answer(event: string, ref: string | null, taskId: string | null, data?: unknown): void {
		this.send(socketMessage(event, { ref, taskId }, data));
		if (this.#blocked && this.#socket.bufferedBytes > unreadAnswersMax) {
			this.#socket.close(policyViolation, 'answers are not read');
			this.#socket.abort();
		}
	}

	// --- what the client reads --------------------------------------------------------------------------------------

	marked(watch: SocketWatch): void {
		if (!watch.waiting) {
			watch.waiting = true;
			this.#due.push(watch);
		}
		if (!this.#blocked) this.#owner.marked(this);
	}

	now(): number {
		return this.#owner.now();
	}

	send(text: string): boolean {
		if (this.#socket.closed) return false;
		this.#sentBytes += text.length;
		if (this.#socket.send(text)) return true;
		if (!this.#blocked) {
			this.#blocked = true;
			this.#progressAt = this.#owner.now();
			this.#bufferedThen = this.#socket.bufferedBytes;
			for (const watch of this.#watches.values()) watch.behind = true;
		}
		return false;
	}

	pump(): void {
		if (this.#blocked || this.#socket.closed || this.#due.length === 0) return;
		this.#socket.corked(this.#writeDue);
		if (this.#due.length > 0 && !this.#blocked && !this.#socket.closed) this.#owner.hasMore(this);
	}

	readonly #writeDue = (): void => {
		const until = this.#sentBytes + pumpBytes;
		while (this.#due.length > 0 && this.#sentBytes < until && !this.#blocked) {
			const watch = this.#due.shift() as SocketWatch;
			watch.waiting = false;
			const { taskId } = watch.task.request;
			if (watch.task.log.forgotten) {
				this.#reject(eventsGone(watch.task), null, taskId);
				this.#drop(taskId);
				continue;
			}
			const open = watch.pump(watchBytes);
			if (watch.task.log.ended) for (const answer of watch.atEnd.splice(0)) answer();
			if (watch.done) this.#drop(taskId);
			else if (!open || watch.hasMore) {
				watch.waiting = true;
				this.#due.push(watch);
			}
		}
	};

	onDrained(): void {
		if (!this.#blocked) return;
		this.#blocked = false;
		this.pump();
	}

	tick(now: number): void {
		if (this.#socket.closed) return;
		if (this.#blocked) {
			const buffered = this.#socket.bufferedBytes;
			if (buffered < this.#bufferedThen) this.#progressAt = now;
			this.#bufferedThen = buffered;
			if (now - this.#progressAt >= this.#owner.limits.stallMs) this.#socket.abort();
			return;
		}
		for (const watch of this.#watches.values()) if (watch.metricsDue()) this.marked(watch);
		if (this.#watches.size === 0 && this.#pending + this.#pendingWatches === 0 && this.#actions.draining())
			this.#socket.close(goingAway, 'the daemon is shutting down');
		else this.pump();
	}

	cut(): void {
		this.#socket.close(goingAway, 'this connection is being ended; watch again from where you were');
	}

	onClosed(): void {
		this.#finding.clear();
		for (const taskId of [...this.#watches.keys()]) this.#drop(taskId);
		this.#owner.removeSocket(this);
	}
}

function tooManyPending(most: number, what: string): Failure {
	const words = `${most} ${what} of this connection have no answer yet`;
	return failure('ADMISSION_REJECT', words, { retryAfterMs: 1000, policyLabel: 'socket' });
}

/** A copy of the events of another front thread's task may be given up while the task runs. */
function eventsGone({ log, request: { taskId } }: TaskView): Failure {
	if (log.ended) return failure('EVENTS_EXPIRED', `the events of task ${taskId} are no longer kept`);
	const words = `the events of task ${taskId} can no longer be followed here; watch it again from where you were`;
	return failure('POOL_UNREADY', words, { retryAfterMs: 1000 });
}
