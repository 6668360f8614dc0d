/**
 * Requests to a daemon: with its key, a time limit, and another try where that repeats nothing. For Node and browsers: nothing but
 * `fetch`.
 */
import { ConnectionError, DaemonError, NotADaemonError } from './errors.ts';
import { backoffMs, wait } from './waiting.ts';
import type { ErrorBody } from './wire.ts';

export interface HttpOptions {
	/** Default `http://127.0.0.1:8080`; in a page that the daemon serves, its own origin is what one wants. */
	readonly url?: string;
	/** Sent as `Authorization: Bearer`. */
	readonly apiKey?: string | null;
	/** Default: the global one. */
	readonly fetch?: typeof globalThis.fetch;
	/** Further tries of a request that was refused for now, or got no answer; default 3. */
	readonly retries?: number;
	/** For one answer; default 10 000. Streams have none. */
	readonly timeoutMs?: number;
	/** Of the first delay without a word of the daemon; default 200. */
	readonly retryMs?: number;
}

export interface Ask {
	readonly method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
	readonly body?: unknown;
	readonly headers?: Readonly<Record<string, string>>;
	readonly signal?: AbortSignal | undefined;
	/** Overrides the client's; null: none. */
	readonly timeoutMs?: number | null;
	/** False: it may have been done though no answer came, and doing it twice is not the same. Default: it may be tried again. */
	readonly mayRepeat?: boolean;
}

export class Http {
	readonly url: string;
	readonly retryMs: number;
	readonly retries: number;
	readonly #fetch: typeof globalThis.fetch;
	readonly #key: string | null;
	readonly #timeoutMs: number;

	/** Throws a `TypeError` for a url that is none. */
	constructor({ url = 'http://127.0.0.1:8080', apiKey = null, fetch, retries = 3, timeoutMs = 10_000, retryMs = 200 }: HttpOptions) {
		const whole = /^[a-z]+:\/\//i.test(url) ? url : `http://${url}`;
		if (!URL.canParse(whole)) throw new TypeError(`${JSON.stringify(url)} is not a URL`);
		this.url = whole.replace(/\/+$/, '');
		this.#fetch = fetch ?? ((input, init) => globalThis.fetch(input, init));
		this.#key = apiKey;
		this.retries = retries;
		this.#timeoutMs = timeoutMs;
		this.retryMs = retryMs;
	}

	get headers(): Readonly<Record<string, string>> {
		return this.#key === null ? {} : { authorization: `Bearer ${this.#key}` };
	}

	get key(): string | null {
		return this.#key;
	}

	/** An answer of success, as JSON. */
	async json<T>(path: string, ask: Ask = {}): Promise<T> {
		const response = await this.ask(path, ask);
		return (await response.json()) as T;
	}

	/** An answer of success. Throws `DaemonError`, `NotADaemonError`, `ConnectionError`. */
	async ask(path: string, ask: Ask = {}): Promise<Response> {
		for (let attempt = 1; ; attempt++) {
			try {
				return await this.once(path, ask);
			} catch (error) {
				if (attempt > this.retries || !mayTryAgain(error, ask.mayRepeat ?? true)) throw error;
				const retryAfterMs = error instanceof DaemonError ? error.retryAfterMs : null;
				await wait(backoffMs(attempt, retryAfterMs, Math.random(), this.retryMs), ask.signal);
			}
		}
	}

	/** One try. */
	async once(path: string, { method = 'GET', body, headers, signal, timeoutMs = this.#timeoutMs }: Ask): Promise<Response> {
		const limit = timeoutMs === null ? [] : [AbortSignal.timeout(timeoutMs)];
		const signals = [...(signal === undefined ? [] : [signal]), ...limit];
		let response: Response;
		try {
			response = await this.#fetch(this.url + path, {
				method,
				// nobody that a daemon points to gets the key
				redirect: 'error',
				headers: { ...this.headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
				...(body === undefined ? {} : { body: JSON.stringify(body) }),
				...(signals.length === 0 ? {} : { signal: AbortSignal.any(signals) }),
			});
		} catch (error) {
			if (signal?.aborted === true) throw error;
			throw new ConnectionError(this.url, error);
		}
		if (!response.ok) throw await refusal(response, this.url);
		return response;
	}
}

/** What was refused was not begun, so that it can be said again; what got no answer may have been. */
function mayTryAgain(error: unknown, mayRepeat: boolean): boolean {
	if (error instanceof DaemonError) return error.retriable && (error.status === 429 || error.status === 503);
	return error instanceof ConnectionError && mayRepeat;
}

async function refusal(response: Response, url: string): Promise<DaemonError | NotADaemonError> {
	const text = await response.text();
	try {
		const body: unknown = JSON.parse(text);
		if (isEnvelope(body)) return new DaemonError(response.status, body);
	} catch (error) {
		if (!(error instanceof SyntaxError)) throw error;
	}
	return new NotADaemonError(url, response.status);
}

function isEnvelope(value: unknown): value is ErrorBody {
	return typeof value === 'object' && value !== null && 'code' in value && typeof value.code === 'string';
}
