/**
 * Many tasks over one WebSocket. When the connection is lost it is made again, and every task that is still watched goes on behind
 * the last event that its reader got; one that was being submitted is submitted again, under its id, so that it runs once. Give
 * `credit` to bound what is sent ahead of a reader: the client gives more as tokens are read.
 */
import { ConnectionError, DaemonError } from './errors.ts';
import { type EventPlace, eventOf, isBehind, isOfEarlierRun, placeOf, start } from './task-stream.ts';
import { backoffMs, wait } from './waiting.ts';
import type { Accepted, ErrorBody, EventId, TaskEvent, TaskInput } from './wire.ts';

/** What is needed of a `WebSocket`: a browser's, Node 22's, or that of `ws`. */
export interface SocketLike {
	readonly readyState: number;
	send(text: string): void;
	close(code?: number): void;
	onopen: ((event: never) => void) | null;
	onclose: ((event: never) => void) | null;
	onerror: ((event: never) => void) | null;
	onmessage: ((event: never) => void) | null;
}

export type SocketConstructor = new (url: string, protocols: string[]) => SocketLike;

export interface SocketOptions {
	/** Token events that may be sent ahead of the reader of each task; default: as many as fit the way. */
	readonly credit?: number;
	readonly onRetry?: (reason: string) => void;
	/**
	 * The daemon was lost and runs this durable task again: what was read of it is void, and its events follow anew, from the first one.
	 * Without this, its reader gets a `DaemonError` with `EVENTS_EXPIRED`.
	 */
	readonly onNewRun?: (taskId: string) => void;
}

/** A task over a socket: its events, once, in order. */
export interface SocketTask extends AsyncIterable<TaskEvent> {
	readonly id: string;
	/** Resolves with the 202, rejects with the refusal. */
	readonly accepted: Promise<Accepted>;
	cancel(): void;
}

interface Message {
	readonly ref?: string;
	readonly task_id?: string;
	readonly seq?: EventId;
	readonly event: string;
	readonly data?: unknown;
}

const attemptsMax = 6;
const openState = 1;
const keyProtocolPrefix = 'orchestratord.key.';

export class TaskSocket {
	readonly #url: string;
	readonly #protocols: string[];
	readonly #make: SocketConstructor;
	readonly #options: SocketOptions;
	readonly #retryMs: number;
	readonly #tasks = new Map<string, Watched>();
	readonly #ended = new AbortController();
	#socket: SocketLike | null = null;
	#attempt = 0;

	constructor(url: string, key: string | null, make: SocketConstructor, retryMs: number, options: SocketOptions) {
		this.#url = `${url.replace(/^http/, 'ws')}/v2/ws`;
		this.#protocols = ['orchestratord.v2', ...(key === null ? [] : [`${keyProtocolPrefix}${key}`])];
		this.#make = make;
		this.#options = options;
		this.#retryMs = retryMs;
		this.#connect();
	}

	/** The task has an id of ours unless it names one. */
	submit(task: TaskInput): SocketTask {
		const id = task.task_id ?? crypto.randomUUID();
		return this.#watch(new Watched(id, { ...task, task_id: id }, start, this));
	}

	/** A task that somebody submitted, behind the event `after`. */
	watch(taskId: string, after: EventId = 0): SocketTask {
		return this.#watch(new Watched(taskId, null, placeOf(after), this));
	}

	/** What is still watched ends with a `ConnectionError`. */
	close(): void {
		this.#end(new ConnectionError(this.#url, new Error('the socket was closed here')));
		this.#socket?.close(1000);
	}

	/** From a task: its reader took so many token events. */
	took(task: Watched, events: number): void {
		if (this.#options.credit !== undefined && events > 0) this.send({ op: 'credit', task_id: task.id, n: events });
	}

	send(message: Readonly<Record<string, unknown>>): void {
		if (this.#socket?.readyState === openState) this.#socket.send(JSON.stringify(message));
	}

	forget(task: Watched): void {
		if (this.#tasks.get(task.id) === task) this.#tasks.delete(task.id);
	}

	#watch(task: Watched): Watched {
		if (this.#tasks.has(task.id)) throw new TypeError(`task ${task.id} is watched over this socket already`);
		if (this.#ended.signal.aborted) throw new ConnectionError(this.#url, new Error('the socket was closed here'));
		this.#tasks.set(task.id, task);
		this.#ask(task);
		return task;
	}

	/** `ref` is the task's id too: what is refused before it is a task names no other. */
	#ask(task: Watched): void {
		const { credit } = this.#options;
		const more = credit === undefined ? {} : { credit };
		if (task.input !== null) this.send({ op: 'submit', ref: task.id, task: task.input, ...more });
		else this.send({ op: 'watch', ref: task.id, task_id: task.id, after: task.last.id, ...more });
	}

	#connect(): void {
		const socket = new this.#make(this.#url, this.#protocols);
		this.#socket = socket;
		let why = 'the connection was lost';
		socket.onopen = () => {
			for (const task of this.#tasks.values()) this.#ask(task);
		};
		socket.onmessage = ({ data }: { readonly data: unknown }) => {
			this.#attempt = 0;
			this.#hear(JSON.parse(String(data)) as Message);
		};
		socket.onerror = ({ message }: { readonly message?: unknown }) => {
			if (typeof message === 'string') why = message;
		};
		socket.onclose = ({ code }: { readonly code?: number }) => void this.#lost(`${why}${code === undefined ? '' : ` (${code})`}`);
	}

	async #lost(why: string): Promise<void> {
		if (this.#ended.signal.aborted) return;
		this.#attempt += 1;
		if (this.#attempt >= attemptsMax) return this.#end(new ConnectionError(this.#url, new Error(why)));
		this.#options.onRetry?.(why);
		try {
			await wait(backoffMs(this.#attempt, null, Math.random(), this.#retryMs), this.#ended.signal);
		} catch (error) {
			if (this.#ended.signal.aborted) return;
			throw error;
		}
		this.#connect();
	}

	#hear({ ref, task_id: taskId, seq, event, data }: Message): void {
		const task = this.#tasks.get(taskId ?? ref ?? '') ?? this.#tasks.get(ref ?? '');
		if (task === undefined) return;
		if (event === 'accepted') task.onAccepted(data);
		else if (event === 'rejected') this.#rejected(task, new DaemonError(null, data as Partial<ErrorBody>));
		else if (event !== 'pong') task.onEvent(eventOf(event, seq ?? null, data));
	}

	#rejected(task: Watched, why: DaemonError): void {
		if (!isOfEarlierRun(why, task.last) || this.#options.onNewRun === undefined) return task.onRejected(why);
		this.#options.onNewRun(task.id);
		task.last = start;
		this.#ask(task);
	}

	#end(why: Error): void {
		this.#ended.abort();
		for (const task of [...this.#tasks.values()]) task.onRejected(why);
	}
}

class Watched implements SocketTask {
	readonly id: string;
	/** Null once it was accepted, or when it was not submitted here: then it is watched. */
	input: TaskInput | null;
	/** Its reader has, or will get, everything up to here. */
	last: EventPlace;
	readonly accepted: Promise<Accepted>;
	readonly #socket: TaskSocket;
	readonly #events: TaskEvent[] = [];
	#accept: (accepted: Accepted) => void = () => undefined;
	#refuse: (why: Error) => void = () => undefined;
	#failure: Error | null = null;
	#over = false;
	#wake: () => void = () => undefined;

	constructor(id: string, input: TaskInput | null, after: EventPlace, socket: TaskSocket) {
		this.id = id;
		this.input = input;
		this.last = after;
		this.#socket = socket;
		this.accepted = new Promise((resolve, reject) => {
			this.#accept = resolve;
			this.#refuse = reject;
		});
		// Who only reads the events hears of a refusal there.
		this.accepted.catch(() => undefined);
	}

	cancel(): void {
		this.#socket.send({ op: 'cancel', task_id: this.id });
	}

	onAccepted(data: unknown): void {
		this.input = null;
		this.#accept(data as Accepted);
	}

	onRejected(why: Error): void {
		this.#socket.forget(this);
		this.#failure = why;
		this.#refuse(why);
		this.#wake();
	}

	onEvent(event: TaskEvent): void {
		const place = event.id === null ? null : placeOf(event.id);
		if (this.#over || (place !== null && !isBehind(place, this.last))) return;
		if (place !== null) this.last = place;
		this.#events.push(event);
		this.#over = event.type === 'end' || event.type === 'error';
		if (this.#over) this.#socket.forget(this);
		this.#wake();
	}

	async *[Symbol.asyncIterator](): AsyncGenerator<TaskEvent, void> {
		try {
			for (;;) {
				for (let event = this.#events.shift(); event !== undefined; event = this.#events.shift()) {
					if (event.type === 'token') this.#socket.took(this, event.tokens.length);
					yield event;
				}
				if (this.#over) return;
				if (this.#failure !== null) throw this.#failure;
				await new Promise<void>((resolve) => {
					this.#wake = resolve;
				});
			}
		} finally {
			this.#socket.forget(this);
		}
	}
}
