/**
 * The client of a daemon, for Node and browsers: `import { Orchestratord } from 'orchestratord/client'`. Tasks are submitted once
 * however often it is tried, watched to their end however often the connection is lost, and cancelled.
 */
import { Http, type HttpOptions } from './http.ts';
import { type SocketConstructor, type SocketOptions, TaskSocket } from './socket.ts';
import { Task } from './task.ts';
import type {
	Accepted,
	Capabilities,
	ConfigReloaded,
	PoolHealth,
	PoolInfo,
	Preview,
	SessionBudgets,
	SessionInfo,
	TaskInput,
	TaskPage,
	Tokenized,
} from './wire.ts';

export { ConnectionError, DaemonError, NotADaemonError } from './errors.ts';
export type { SocketTask, TaskSocket } from './socket.ts';
export { Task } from './task.ts';
export { textOf } from './task-stream.ts';
export type * from './wire.ts';

export interface ClientOptions extends HttpOptions {
	/** For `socket()`; default the global one, which Node has from version 22: before it, that of the package `ws`. */
	readonly webSocket?: SocketConstructor;
}

export interface ListFilter {
	readonly state?: string;
	readonly poolId?: string;
	readonly tenant?: string;
	readonly limit?: number;
	readonly cursor?: string;
}

export class Orchestratord {
	readonly http: Http;
	readonly #options: ClientOptions;

	constructor(options: ClientOptions = {}) {
		this.#options = options;
		this.http = new Http(options);
	}

	/** Resolves once it is admitted. Where it may be tried again it gets an id here, unless it names one, so that it is one task. */
	async submit(input: TaskInput, { signal }: { readonly signal?: AbortSignal } = {}): Promise<Task> {
		const body = this.http.retries > 0 ? { task_id: crypto.randomUUID(), ...input } : input;
		const accepted = await this.http.json<Accepted>('/v2/tasks', { method: 'POST', body, signal });
		return new Task(this.http, accepted.task_id, accepted);
	}

	/** What would become of it; nothing is enqueued. */
	preview(input: TaskInput): Promise<Preview> {
		return this.http.json('/v2/tasks/preview', { method: 'POST', body: input });
	}

	/** A task by its id: nothing is asked. */
	task(id: string): Task {
		return new Task(this.http, id, null);
	}

	/** Newest first. */
	tasks({ state, poolId, tenant, limit, cursor }: ListFilter = {}): Promise<TaskPage> {
		const query = new URLSearchParams();
		for (const [name, value] of Object.entries({ limit, state, pool_id: poolId, tenant, cursor })) {
			if (value !== undefined) query.set(name, String(value));
		}
		return this.http.json(`/v2/tasks?${query.toString()}`);
	}

	/** Many tasks over one connection. */
	socket(options: SocketOptions = {}): TaskSocket {
		const make = this.#options.webSocket ?? (globalThis as { readonly WebSocket?: SocketConstructor }).WebSocket;
		if (make === undefined) throw new TypeError("there is no WebSocket here: give one, as in { webSocket: WebSocket } from 'ws'");
		return new TaskSocket(this.http.url, this.http.key, make, this.http.retryMs, options);
	}

	tokenize(modelRef: string, text: string): Promise<Tokenized> {
		return this.http.json('/v2/tokenize', { method: 'POST', body: { model_ref: modelRef, text } });
	}

	async pools(): Promise<readonly PoolInfo[]> {
		return (await this.http.json<{ readonly pools: readonly PoolInfo[] }>('/v2/pools')).pools;
	}

	pool(id: string): Pool {
		return new Pool(this.http, id);
	}

	session(id: string): Session {
		return new Session(this.http, id);
	}

	capabilities(): Promise<Capabilities> {
		return this.http.json('/v2/meta/capabilities');
	}

	/** Needs the role of an operator where there are keys, as all that changes the daemon. */
	reloadConfig(): Promise<ConfigReloaded> {
		return this.http.json('/v2/config/reload', { method: 'POST', body: {} });
	}
}

export interface PurgeHow {
	/** Only if the pool holds these. */
	readonly models?: readonly string[];
	/** Default: true. False: refused while tasks run, unless it is forced. */
	readonly drainFirst?: boolean;
	readonly force?: boolean;
	/** What managed engines have cached on the disk, too. */
	readonly deleteCaches?: boolean;
}

export class Pool {
	readonly #http: Http;
	readonly #path: string;

	constructor(http: Http, id: string) {
		this.#http = http;
		this.#path = `/v2/pools/${encodeURIComponent(id)}`;
	}

	info(): Promise<PoolInfo> {
		return this.#http.json(this.#path);
	}

	health(): Promise<PoolHealth> {
		return this.#http.json(`${this.#path}/health`);
	}

	/** No task starts there; those that run may go on for `deadlineMs`, default 30 000. */
	drain(deadlineMs?: number): Promise<{ readonly deadline_ms?: number }> {
		return this.#post('drain', deadlineMs === undefined ? {} : { deadline_ms: deadlineMs });
	}

	undrain(): Promise<unknown> {
		return this.#post('undrain', {});
	}

	/** Under way when it resolves: `info` says when it is done, and what went wrong. */
	reload(modelRef: string): Promise<unknown> {
		return this.#post('reload', { new_model_ref: modelRef });
	}

	/** `cache_dirs`: folders of caches on the disk that are emptied as their engines end. */
	purge(how: PurgeHow = {}): Promise<{ readonly cache_dirs: readonly string[] }> {
		const { models, drainFirst, force, deleteCaches } = how;
		return this.#post('purge', {
			...(models === undefined ? {} : { purge_models: models }),
			...(drainFirst === undefined ? {} : { drain_first: drainFirst }),
			...(force === undefined ? {} : { force }),
			...(deleteCaches === undefined ? {} : { delete_cache_dirs: deleteCaches }),
		});
	}

	#post<T>(operation: string, body: unknown): Promise<T> {
		return this.#http.json(`${this.#path}/${operation}`, { method: 'POST', body });
	}
}

export class Session {
	readonly #http: Http;
	readonly #path: string;

	constructor(http: Http, id: string) {
		this.#http = http;
		this.#path = `/v2/sessions/${encodeURIComponent(id)}`;
	}

	info(): Promise<SessionInfo> {
		return this.#http.json(this.#path);
	}

	/** What it may use from now on; a kind that is not named stays as it is, null is no limit. */
	setBudgets(budgets: SessionBudgets): Promise<SessionInfo> {
		return this.#http.json(this.#path, { method: 'PUT', body: { budgets } });
	}

	/** Forgets it; its tasks go on. */
	async delete(): Promise<void> {
		await (await this.#http.ask(this.#path, { method: 'DELETE' })).arrayBuffer();
	}
}
