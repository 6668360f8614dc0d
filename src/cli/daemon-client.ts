/**
 * The command line's side of the native API: plain HTTP to a daemon, errors as `Problem`s in words. Holds no state; the
 * stream of a task is `task-stream.ts`.
 */
import { apiKey } from '../config.ts';
import { exitCodes } from './exit-codes.ts';
import { nothingAnswers, Problem } from './problem.ts';

export interface DaemonClient {
	readonly url: string;
	readonly fetch: typeof globalThis.fetch;
	/** Delay before the first reconnection of a stream; doubles. */
	readonly retryMs: number;
}

export interface TaskAccepted {
	readonly taskId: string;
	readonly queuePosition: number;
	readonly predictedStartMs: number;
	/** Absolute. */
	readonly eventsUrl: string;
	/** The whole answer. */
	readonly body: JsonObject;
}

export type JsonObject = Readonly<Record<string, unknown>>;

export function daemonClient(url: string, fetch: typeof globalThis.fetch = withKey(apiKey()), retryMs = 200): DaemonClient {
	const whole = /^[a-z]+:\/\//i.test(url) ? url : `http://${url}`;
	if (!URL.canParse(whole)) throw new Problem(exitCodes.usage, `--url ${url} is not a URL`, 'write it as http://127.0.0.1:8080');
	return { url: whole.replace(/\/+$/, ''), fetch, retryMs };
}

/** Every request carries the key, if there is one. */
function withKey(key: string | null): typeof globalThis.fetch {
	if (key === null) return globalThis.fetch;
	return (input, init) => {
		const headers = new Headers(init?.headers);
		headers.set('authorization', `Bearer ${key}`);
		// nobody that a daemon points to gets the key
		return globalThis.fetch(input, { ...init, headers, redirect: 'error' });
	};
}

export async function submitTask(client: DaemonClient, task: JsonObject, signal: AbortSignal): Promise<TaskAccepted> {
	const response = await call(client, '/v2/tasks', {
		method: 'POST',
		headers: { 'content-type': 'application/json' },
		body: JSON.stringify(task),
		signal,
	});
	const body = await jsonOf(response);
	const taskId = text(body['task_id']);
	const streams = isObject(body['streams']) ? body['streams'] : {};
	const sse = text(streams['sse']) || `/v2/tasks/${encodeURIComponent(taskId)}/events`;
	return {
		taskId,
		queuePosition: number(body['queue_position']) ?? 0,
		predictedStartMs: number(body['predicted_start_ms']) ?? 0,
		eventsUrl: new URL(sse, `${client.url}/`).href,
		body,
	};
}

/** Idempotent; an unknown task is no error. */
export async function cancelTask(client: DaemonClient, taskId: string): Promise<void> {
	const response = await call(client, `/v2/tasks/${encodeURIComponent(taskId)}/cancel`, {
		method: 'POST',
		signal: AbortSignal.timeout(5000),
	});
	await response.arrayBuffer();
}

/** Null when the daemon does not know it. */
export async function getTask(client: DaemonClient, taskId: string): Promise<JsonObject | null> {
	const response = await request(client, `/v2/tasks/${encodeURIComponent(taskId)}`, { signal: AbortSignal.timeout(10_000) });
	if (response.status === 404) return null;
	if (!response.ok) throw await refusal(response, client);
	return await jsonOf(response);
}

export async function listTasks(
	client: DaemonClient,
	query: URLSearchParams,
): Promise<{ readonly tasks: readonly JsonObject[]; readonly nextCursor: string | null }> {
	const response = await call(client, `/v2/tasks?${query.toString()}`, { signal: AbortSignal.timeout(10_000) });
	const body = await jsonOf(response);
	const tasks = Array.isArray(body['tasks']) ? body['tasks'].filter(isObject) : [];
	return { tasks, nextCursor: text(body['next_cursor']) || null };
}

export async function getJson(client: DaemonClient, path: string): Promise<JsonObject> {
	return await jsonOf(await call(client, path, { signal: AbortSignal.timeout(10_000) }));
}

export async function postJson(client: DaemonClient, path: string, body: JsonObject): Promise<JsonObject> {
	const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
	return await jsonOf(await call(client, path, { ...init, signal: AbortSignal.timeout(10_000) }));
}

async function call(client: DaemonClient, path: string, init: RequestInit): Promise<Response> {
	const response = await request(client, path, init);
	if (!response.ok) throw await refusal(response, client);
	return response;
}

async function request(client: DaemonClient, path: string, init: RequestInit): Promise<Response> {
	try {
		return await client.fetch(client.url + path, init);
	} catch (error) {
		if (init.signal?.aborted && !isTimeout(error)) throw error;
		throw connectionProblem(error, client.url);
	}
}

/** What a failed connection means, in words. */
export function connectionProblem(error: unknown, url: string): Problem {
	if (isTimeout(error))
		return new Problem(exitCodes.unavailable, `${url} took too long to answer`, 'is the machine overloaded? see its log');
	const code = causeCode(error);
	if (code === 'ECONNREFUSED' || code === 'ENOTFOUND' || code === 'EAI_AGAIN') return nothingAnswers(url);
	return new Problem(
		exitCodes.unavailable,
		`the connection to ${url} failed${code === null ? '' : ` (${code})`}`,
		'is it an orchestratord that listens there?',
	);
}

/** The daemon's error envelope as a sentence; anything else is named by its status. */
export async function refusal(response: Response, client: DaemonClient): Promise<Problem> {
	const raw = await response.text();
	let body: unknown = null;
	try {
		body = JSON.parse(raw);
	} catch {
		body = null;
	}
	if (!isObject(body) || typeof body['code'] !== 'string') {
		return new Problem(
			exitCodes.failure,
			`${client.url} answered ${response.status}, and not as an orchestratord does`,
			'is another program listening there? name the right one with --url',
		);
	}
	if (response.status === 401)
		return new Problem(exitCodes.failure, `${text(body['message'])} [UNAUTHORIZED]`, 'this command line takes its key from ORCHD_API_KEY');
	return envelopeProblem(body);
}

/** An error envelope, from a response or from an `error` event. */
export function envelopeProblem(body: JsonObject): Problem {
	const retriable = body['retriable'] === true;
	const retryAfterMs = number(body['retry_after_ms']);
	const advice = retriable ? `try again${retryAfterMs === null ? '' : ` in ${(retryAfterMs / 1000).toFixed(1)} s`}` : null;
	return new Problem(
		retriable ? exitCodes.retryLater : exitCodes.failure,
		`${text(body['message']) || 'refused'} [${text(body['code'])}]`,
		advice,
	);
}

async function jsonOf(response: Response): Promise<JsonObject> {
	const body: unknown = await response.json();
	if (isObject(body)) return body;
	throw new Problem(exitCodes.failure, 'the answer is not an object', 'is it an orchestratord that listens there?');
}

function causeCode(error: unknown): string | null {
	for (let at: unknown = error; at instanceof Error; at = at.cause) {
		if ('code' in at && typeof at.code === 'string') return at.code;
		if (at instanceof AggregateError) return causeCode(at.errors[0]);
	}
	return null;
}

function isTimeout(error: unknown): boolean {
	return error instanceof Error && error.name === 'TimeoutError';
}

export function isObject(value: unknown): value is JsonObject {
	return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Those of a list that are objects. */
export function objects(value: unknown): readonly JsonObject[] {
	return Array.isArray(value) ? value.filter(isObject) : [];
}

export function text(value: unknown): string {
	return typeof value === 'string' ? value : '';
}

export function number(value: unknown): number | null {
	return typeof value === 'number' ? value : null;
}
