/** A task that was submitted, or one that is known by its id: watched, cancelled, asked for. Holds no connection of its own. */
import { DaemonError } from './errors.ts';
import type { Http } from './http.ts';
import { taskEvents, textOf, type WatchOptions } from './task-stream.ts';
import type { Accepted, EndData, Explanation, TaskEvent, TaskInfo, TaskResult } from './wire.ts';

/** How long one question for a result waits at the daemon. */
const resultWaitMs = 20_000;

export class Task {
	readonly id: string;
	/** As it was admitted; null: it was not submitted here. */
	readonly accepted: Accepted | null;
	readonly #http: Http;
	readonly #path: string;

	constructor(http: Http, id: string, accepted: Accepted | null) {
		this.id = id;
		this.accepted = accepted;
		this.#http = http;
		this.#path = `/v2/tasks/${encodeURIComponent(id)}`;
	}

	/** Every event from the first, or behind `after`, however often the connection is lost; the last one is `end` or `error`. */
	events(options: WatchOptions = {}): AsyncGenerator<TaskEvent, void> {
		return taskEvents(this.#http, this.id, options);
	}

	/** The text as it comes. Returns how it ended; throws a `DaemonError` when that was an error. */
	async *text(options: WatchOptions = {}): AsyncGenerator<string, EndData> {
		for await (const event of this.events(options)) {
			if (event.type === 'token') {
				const text = textOf(event.tokens);
				if (text !== '') yield text;
			}
			if (event.type === 'error') throw new DaemonError(null, event.data);
			if (event.type === 'end') return event.data;
		}
		throw new Error('the events ended without their end');
	}

	/** Waits for its end, then the whole of it. Throws a `DaemonError` when that was an error. */
	async result({ signal }: { readonly signal?: AbortSignal } = {}): Promise<TaskResult> {
		for (;;) {
			const ask = { signal, timeoutMs: resultWaitMs + 10_000 };
			const response = await this.#http.ask(`${this.#path}/result?wait_ms=${resultWaitMs}`, ask);
			if (response.status === 200) return (await response.json()) as TaskResult;
			await response.arrayBuffer();
		}
	}

	/** Null: the daemon does not know it. */
	async info(): Promise<TaskInfo | null> {
		try {
			return await this.#http.json<TaskInfo>(this.#path);
		} catch (error) {
			if (error instanceof DaemonError && error.status === 404) return null;
			throw error;
		}
	}

	explain(): Promise<Explanation> {
		return this.#http.json(`${this.#path}/explain`);
	}

	/** Idempotent; an unknown task is no error. Once it is answered the task gains no token. */
	async cancel(): Promise<void> {
		const response = await this.#http.ask(`${this.#path}/cancel`, { method: 'POST' });
		await response.arrayBuffer();
	}
}
