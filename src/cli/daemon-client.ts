/**
 * The command line's side of a daemon: the client library, its errors as `Problem`s in words. Holds no state.
 */
import { ConnectionError, DaemonError, NotADaemonError, Orchestratord, type TaskInfo } from '../client/index.ts';
import { apiKey } from '../config.ts';
import { exitCodes } from './exit-codes.ts';
import { nothingAnswers, Problem } from './problem.ts';

export interface DaemonClient {
	readonly url: string;
	readonly api: Orchestratord;
}

export type JsonObject = Readonly<Record<string, unknown>>;

/** Tries nothing again by itself: who is at the terminal is told, and decides. */
export function daemonClient(url: string, fetch?: typeof globalThis.fetch, retryMs?: number): DaemonClient {
	const more = { ...(fetch === undefined ? {} : { fetch }), ...(retryMs === undefined ? {} : { retryMs }) };
	try {
		const api = new Orchestratord({ url, apiKey: apiKey(), retries: 0, ...more });
		return { url: api.http.url, api };
	} catch (error) {
		if (!(error instanceof TypeError)) throw error;
		throw new Problem(exitCodes.usage, `--url ${url} is not a URL`, 'write it as http://127.0.0.1:8080');
	}
}

/** What a call to the daemon gives, or its failure in words. */
export async function told<T>(call: Promise<T>): Promise<T> {
	try {
		return await call;
	} catch (error) {
		throw problemOf(error);
	}
}

export function problemOf(error: unknown): unknown {
	if (error instanceof DaemonError) {
		const problem = envelopeProblem(error.body);
		if (error.status !== 401) return problem;
		return new Problem(exitCodes.failure, problem.message, 'this command line takes its key from ORCHD_API_KEY');
	}
	if (error instanceof NotADaemonError)
		return new Problem(exitCodes.failure, error.message, 'is another program listening there? name the right one with --url');
	if (!(error instanceof ConnectionError)) return error;
	const { message, code, timedOut, url } = error;
	if (code === 'ECONNREFUSED' || code === 'ENOTFOUND' || code === 'EAI_AGAIN') return nothingAnswers(url);
	const advice = timedOut ? 'is the machine overloaded? see its log' : 'is it an orchestratord that listens there?';
	return new Problem(exitCodes.unavailable, message, advice);
}

/** Null when the daemon does not know it. */
export async function getTask(client: DaemonClient, taskId: string): Promise<TaskInfo | null> {
	return await told(client.api.task(taskId).info());
}

export function getJson(client: DaemonClient, path: string): Promise<JsonObject> {
	return told(client.api.http.json<JsonObject>(path));
}

export function postJson(client: DaemonClient, path: string, body: JsonObject): Promise<JsonObject> {
	return told(client.api.http.json<JsonObject>(path, { method: 'POST', body }));
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
