/** A WebSocket's session in a world made of fields: its socket, its tasks, and its turns. */
import assert from 'node:assert/strict';
import { failure } from '../../src/actors/serving/failure.ts';
import type { WebSocketSink } from '../../src/transport/http/http-host.ts';
import { type SessionOwner, type SocketActions, SocketSession } from '../../src/transport/stream/socket-session.ts';
import type { Reader } from '../../src/transport/stream/watchers.ts';
import { FakeTask, taskRequest } from './fake-task.ts';

export interface Sent {
	readonly ref?: string;
	readonly task_id?: string;
	readonly seq?: number | string;
	readonly event: string;
	readonly data?: Readonly<Record<string, unknown>>;
}

/** Takes `room` characters before it refuses; what is refused is kept and leaves when it is read. */
class FakeSocket implements WebSocketSink {
	closed = false;
	bufferedBytes = 0;
	room = Number.POSITIVE_INFINITY;
	readonly sent: Sent[] = [];
	closedWith: readonly [number, string] | null = null;
	aborted = false;
	receiver: SocketSession | null = null;

	send(text: string): boolean {
		assert.ok(!this.closed, 'written to after its end');
		this.sent.push(JSON.parse(text) as Sent);
		if (this.room >= text.length) {
			this.room -= text.length;
			return true;
		}
		this.bufferedBytes += text.length - this.room;
		this.room = 0;
		return false;
	}

	corked(writes: () => void): void {
		writes();
	}

	close(code: number, reason: string): void {
		if (this.closed) return;
		this.closed = true;
		this.closedWith = [code, reason];
		this.receiver?.onClosed();
	}

	abort(): void {
		this.aborted = true;
		if (this.closed) return;
		this.closed = true;
		this.receiver?.onClosed();
	}

	/** The client reads, and has room for more. */
	read(room = Number.POSITIVE_INFINITY): void {
		this.bufferedBytes = 0;
		this.room = room;
		this.receiver?.onDrained();
	}
}

export class World implements SessionOwner {
	readonly limits = { heartbeatMs: 15_000, stallMs: 30_000, microbatchMs: 0 };
	time = 0;
	draining = false;
	watches = 0;
	readonly sockets = new Set<Reader>();
	readonly tasks = new Map<string, FakeTask>();
	readonly socket = new FakeSocket();
	readonly session: SocketSession;
	/** Tasks are of another front thread: finding them waits for `finds`. */
	findsLater = false;
	readonly finds: (() => void)[] = [];
	/** The end of a cancelled task comes later than the answer. */
	endsLater = false;
	readonly #marked = new Set<Reader>();
	readonly #more = new Set<Reader>();

	constructor() {
		const actions: SocketActions = {
			keyName: null,
			draining: () => this.draining,
			watchesRefused: () => null,
			submit: (_body, _correlationId, opened) => opened(this.add(this.tasks.size), { position: 0 }),
			find: (taskId, use) => {
				const task = this.tasks.get(taskId.toLowerCase());
				const answer = (): void =>
					use(task === undefined ? { ok: false, failure: failure('NOT_FOUND', `no task ${taskId}`) } : { ok: true, value: task });
				if (this.findsLater) this.finds.push(answer);
				else answer();
			},
			cancel: (taskId, done) => {
				if (!this.endsLater) this.tasks.get(taskId)?.ref.tell({ type: 'cancel', reason: 'client', replyTo: null });
				done();
			},
		};
		this.session = new SocketSession(this.socket, 'correlation', actions, this);
		this.socket.receiver = this.session;
	}

	now(): number {
		return this.time;
	}

	marked(reader: Reader): void {
		this.#marked.add(reader);
	}

	hasMore(reader: Reader): void {
		this.#more.add(reader);
	}

	addSocket(reader: Reader): void {
		this.sockets.add(reader);
	}

	removeSocket(reader: Reader): void {
		this.sockets.delete(reader);
	}

	socketWatches(change: number): void {
		this.watches += change;
	}

	/** Turns until nobody has more to write. */
	turn(): void {
		while (this.#marked.size + this.#more.size > 0) {
			const due = [...this.#marked, ...this.#more];
			this.#marked.clear();
			this.#more.clear();
			for (const reader of due) reader.pump(this.now());
		}
	}

	/** The first find that waits is answered. */
	found(): void {
		this.finds.shift()?.();
		this.turn();
	}

	add(index: number, firstSeq = 1, run: number | null = null): FakeTask {
		const taskId = `01890a5d-ac96-774b-bcce-${String(index).padStart(12, '0')}`;
		const task = new FakeTask(taskRequest({ taskId, durable: run !== null }), 0, firstSeq, run);
		this.tasks.set(task.request.taskId, task);
		return task;
	}

	say(message: unknown): void {
		this.session.onMessage(Buffer.from(typeof message === 'string' ? message : JSON.stringify(message)), true);
		this.turn();
	}

	events(task: FakeTask): Sent[] {
		return this.socket.sent.filter(({ task_id: taskId, seq }) => taskId === task.request.taskId && seq !== undefined);
	}
}

/** Token events in it: a batch counts as many as it merges. */
export function tokensIn(event: Sent): readonly Readonly<Record<string, unknown>>[] {
	if (event.event !== 'token') return [];
	const batch = event.data?.['batch'] as readonly Readonly<Record<string, unknown>>[] | undefined;
	return batch ?? [event.data as Readonly<Record<string, unknown>>];
}

export function assertWhole(events: readonly Sent[], task: FakeTask): void {
	let seq = 0;
	let index = 0;
	for (const event of events) {
		const tokens = tokensIn(event);
		for (const token of tokens) assert.equal(token['i'], index++);
		seq += Math.max(1, tokens.length);
		assert.equal(event.seq, seq);
	}
	assert.equal(seq, task.log.lastSeq);
	assert.equal(index, task.log.pieces);
}
